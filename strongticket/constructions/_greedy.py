"""Greedy sums over geometric bins: the engine of `orseau2020logarithmic`, in whole numbers.

The lemma, for any h_0 >= h_1 >= ... >= h_k >= 0: if 0 <= w <= h_0 and bin i holds a number v_i with
h_(i-1) - h_i <= v_i <= h_i, then "for i = 1..k, take v_i if it fits into what is left of w" leaves at most h_k. For
what is left after bin i is at most h_i: not taken, it is less than v_i <= h_i; taken, it is at most
h_(i-1) - v_i <= h_i. With h_i = h_0 phi^-i, phi the golden ratio, the bins tile the line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from strongticket.constructions._gadget import LayerPair, Pool, PrunedPair, prune_in_blocks, rows_at_once, stage

__all__ = ["Bins", "GreedyPair", "prune_greedily", "take_what_fits"]


@final
@dataclass(frozen=True)
class Bins:
    """Hold the ends of geometric bins as whole numbers: bin i is least(i)..ends[i], i = 1..count.

    Args:
        ends: h_0 > h_1 > ... > h_k, with h_(i-1) - h_i <= h_i.
        exponent: the unit is 2^exponent.
    """

    ends: tuple[int, ...]
    exponent: int

    def __post_init__(self) -> None:
        for before, after in zip(self.ends, self.ends[1:], strict=False):
            if not after <= before <= 2 * after:
                raise ValueError(f"the ends of bins fall, by a factor of 2 at most, got {before} and {after}")

    @classmethod
    def golden(cls, largest: int, tolerance: int, exponent: int) -> Bins:
        """Return the bins for weights of at most `largest` and errors of at most `tolerance`, both in units.

        >>> Bins.golden(100, 20, 0).ends
        (100, 61, 38, 23, 14)
        """
        ends = [largest]
        while ends[-1] > tolerance:
            ends.append(golden_power(largest, len(ends)))
        return cls(tuple(ends), exponent)

    @property
    def count(self) -> int:
        """Number of bins."""
        return len(self.ends) - 1

    def least(self, i: int) -> int:
        """Return the least number of bin i: what the lemma asks for, and beyond the next bin."""
        least = self.ends[i - 1] - self.ends[i]
        return least if i == self.count else max(least, self.ends[i + 1] + 1)

    def first(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many bins numbers of these sizes (at most ends[0]) do not need."""
        rising = np.array(self.ends[:0:-1], dtype=np.int64)
        return np.asarray(self.count - np.searchsorted(rising, sizes, side="left"), dtype=np.int64)

    def place(self, sizes: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the bin of each size, 1..count, or 0 where it is in none."""
        if not self.count:
            return np.zeros(sizes.shape, dtype=np.intp)
        starts = np.array([self.least(i) for i in range(self.count, 0, -1)], dtype=np.int64)
        i = self.count + 1 - np.searchsorted(starts, sizes, side="right")
        ends = np.array((*self.ends, np.iinfo(np.int64).min), dtype=np.int64)  # beyond the last bin: in none
        return np.asarray(np.where(sizes <= ends[i], i, 0), dtype=np.intp)


def golden_power(whole: int, i: int) -> int:
    """Return floor(whole * phi^-i) for i >= 1, exactly.

    phi^-i = (-1)^i (L_i - F_i sqrt 5) / 2 with Fibonacci and Lucas numbers, and the square root is of a whole number.

    >>> [golden_power(1000, i) for i in (1, 2, 3)]
    [618, 381, 236]
    """
    f, after = 0, 1
    for _ in range(i):
        f, after = after, f + after
    lucas = 2 * after - f
    root = math.isqrt(5 * (f * whole) ** 2)  # floor, and the root is no whole number unless it is 0
    if i % 2:
        return (root - lucas * whole) // 2
    return (lucas * whole - root - (1 if root else 0)) // 2


@final
@dataclass(frozen=True, eq=False)
class GreedyPair:
    """A layer pair, pruned, and which bins were filled.

    Args:
        pruned: its kept entries, and target - sum for each problem in units of the bins.
        filled: bit i - 1 is set where bin i of the problem has an item, [outputs, columns].
    """

    pruned: PrunedPair
    filled: NDArray[np.uint64]


def take_what_fits(
    items: NDArray[np.int64],  # [problems, n]
    targets: NDArray[np.int64],  # [problems]
    bins: Bins,
    tolerance: int,
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.uint64]]:
    """Run the greedy rule on the first item of each bin, stopping where what is left is within the tolerance.

    Args:
        items: whole numbers in units of the bins, of both signs; 0 is no item.
        targets: of at most bins.ends[0] in size.
        bins: at most 64 of them.
        tolerance: what may be left.

    Returns:
        (chosen [problems, n], target - sum [problems], bins that have an item as bits [problems]).

    >>> some = np.array([[30, -25, 20, 45]])
    >>> take_what_fits(some, np.array([70]), Bins.golden(100, 20, 0), 20)[1].tolist()
    [5]
    """
    problems, n = items.shape
    signs = np.where(targets < 0, -1, 1)
    sizes = items * signs[:, None]
    place = bins.place(sizes)
    every = np.arange(problems)
    table = np.full((bins.count + 1, problems), -1, dtype=np.int32)  # the first item of each bin; row 0 is of no bin
    for k in reversed(range(n)):
        table[place[:, k], every] = k
    left = np.abs(targets)
    chosen = np.zeros((problems, n), dtype=bool)
    filled = np.zeros(problems, dtype=np.uint64)
    for i in range(1, bins.count + 1):
        item = table[i]
        there = item >= 0
        filled |= there.astype(np.uint64) << np.uint64(i - 1)
        value = sizes[every, item]
        taken = there & (value <= left) & (left > tolerance)
        left = left - np.where(taken, value, 0)
        chosen[every[taken], item[taken]] = True
    return chosen, signs * left, filled


def prune_greedily(
    pair: LayerPair,
    pool: Pool,
    targets: NDArray[np.int64],  # [outputs, columns], integers on the product grid
    bins: Bins,
    tolerance: int,
    progress: Callable[[int], None] | None = None,
) -> GreedyPair:
    """Choose a greedy sum of the products for every weight and gather the mask, in blocks of rows.

    Args:
        pair: the source layers.
        pool: candidates of each half-input.
        targets: wanted weight of each output for each half-input.
        bins: on the product grid.
        tolerance: error that ends the search of a problem.
        progress: called with the number of problems done so far.
    """
    columns, n = pool.u.shape
    filled = np.empty((pair.outputs, columns), dtype=np.uint64)
    alive = pool.u.reshape(-1) != 0
    neurons = pool.neurons.reshape(-1)

    def solve(
        v: NDArray[np.int32], here: slice, seconds: dict[str, float]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:  # fmt: skip
        with stage(seconds, "source"):
            items = (v[:, neurons] * pool.u.reshape(1, -1)).reshape(-1, n)
        with stage(seconds, "solve"):
            chosen, left, bits = take_what_fits(items, targets[here].reshape(-1), bins, tolerance)
            filled[here] = bits.reshape(-1, columns)
        with stage(seconds, "mask"):
            kept = np.zeros(v.shape, dtype=bool)
            kept[:, neurons[alive]] |= chosen.reshape(len(v), -1)[:, alive]
        return kept, left.reshape(-1, columns)

    pruned = prune_in_blocks(pair, pool, rows_at_once(24 * columns * n), solve, progress)
    return GreedyPair(pruned, filled)
