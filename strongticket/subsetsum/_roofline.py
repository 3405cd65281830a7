"""How fast the bitonic kernel could be: its vector operations counted, over the rate at which this core does them.

The bound counts arithmetic only: as if every row were in a register when needed, and stores, address arithmetic,
broadcasts, reading of items and writing of masks were free. A kernel at 60 % of it leaves little to gain by any means
but fewer operations.
"""
# numba has no types: its decorators are untyped.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from strongticket.subsetsum._lanes import add, clean, column, differing, load, put_cleaned, rows_of

Keys = npt.NDArray[np.int32] | npt.NDArray[np.int64]

_LANES_DIGEST = "1139ea8cdf21"  # see `_bitonic_kernels`


@dataclass(frozen=True)
class Operations:
    """Vector operations of one block of instances, as many as lanes.

    Attributes:
        exchanges: minima and maxima.
        others: additions, subtractions, absolute values, negations, rotations, comparisons, selections.
    """

    exchanges: int
    others: int

    def __add__(self, other: Operations) -> Operations:
        return Operations(self.exchanges + other.exchanges, self.others + other.others)

    def times(self, count: int) -> Operations:
        """The operations of `count` blocks."""
        return Operations(self.exchanges * count, self.others * count)


@dataclass(frozen=True)
class Rates:
    """What one core does from registers, in vector operations of 64 bytes per second.

    Attributes:
        exchanges: minima and maxima.
        additions: additions and bitwise operations; the most that is done of any mixture.
    """

    exchanges: float
    additions: float

    def seconds(self, operations: Operations) -> float:
        """Least time for the operations: neither minima and maxima nor all together can be faster."""
        total = operations.exchanges + operations.others
        return max(operations.exchanges / self.exchanges, total / max(self.additions, self.exchanges))


def half_operations(h: int) -> Operations:
    """Sorting the upper half of the signed sums of `h` items: about (h - 2.5) 2^h minima and maxima, and making rows.

    A list of m rows grows to 2 m by m additions, subtractions and absolute values, and log2(2 m) m compare-exchanges,
    of which half of the first stage are known.
    """
    exchanges = (h - 2) * 2 ** (h - 1) - 2 ** (h - 2) + 1
    return Operations(2 * exchanges, 3 * 2 ** (h - 1) - 3)


def merge_operations(h: int) -> Operations:
    """Merging both halves and finding the best pair: 2^(h + 1) rows are made, sorted in h + 1 stages and compared.

    Each row is subtracted from its neighbour, rotated, and takes part in a minimum; each sixteen rows are compared with
    the best so far once. At the end one group is sorted and compared again.
    """
    rows = 2 ** (h + 1)
    redone = Operations(15 + 64, 2 * 16 + 2 * 16)
    return Operations((h + 1) * rows + rows, 3 * rows // 4 + 2 * rows + 3 * rows // 16) + redone


def pattern_operations(h: int) -> Operations:
    """Finding the signs behind a sum of a half: all pairs of tables of eight and of 2^(h - 4) sums are compared."""
    sums = 2 ** (h - 4)
    return Operations(7 * sums + 7, 14 + 8 + 2 * (h - 4) + sums - 1 + 13 * sums + 45)


def operations(n: int, *, shared: bool = False) -> Operations:
    """Vector operations for `n` items and as many instances as lanes.

    Of `minimum`, or with `shared` of `minimum_shared` once it has sorted the halves.

    >>> operations(20)
    Operations(exchanges=40934, others=11328)
    """
    h, extra = n // 2, n % 2
    total = Operations(4, 10 * n + 26)  # signs and sizes of the items, the target, the masks
    total += pattern_operations(h).times(2) + Operations(0, 4)
    total += (merge_operations(h) + Operations(1, 4 + extra)).times(1 + extra)
    return total if shared else total + half_operations(h).times(2)


@numba.njit(nogil=True, cache=True)
def _exchange_often(scratch: Keys, count: int) -> None:
    rows = rows_of(scratch)
    group = column(rows, 0, 1, 16)
    for _ in range(count):
        group = clean(group)  # 64 minima and maxima
    put_cleaned(rows, 0, 1, group)


@numba.njit(nogil=True, cache=True)
def _add_often(scratch: Keys, count: int) -> None:
    rows = rows_of(scratch)
    group, p, q = column(rows, 0, 1, 16), load(rows, 16), load(rows, 17)
    for _ in range(count):  # 64 operations; alternating kinds, or they would be combined beforehand
        group = differing(add(differing(add(group, p), q), p), q)
    put_cleaned(rows, 0, 1, group)


def measure_rates(dtype: npt.DTypeLike, *, repeats: int = 50) -> Rates:
    """Measure this core: the best of `repeats` runs of about 0.1 ms each, of sixteen independent chains."""
    count = 256
    scratch = np.arange(18 * 64 // np.dtype(dtype).itemsize, dtype=dtype)

    def rate(kernel: Callable[[Any, int], None]) -> float:
        kernel(scratch, 1)
        best = np.inf
        for _ in range(repeats):
            start = time.perf_counter_ns()
            kernel(scratch, 20 * count)
            best = min(best, time.perf_counter_ns() - start)
        return 64 * 20 * count / best * 1e9

    return Rates(rate(_exchange_often), rate(_add_often))
