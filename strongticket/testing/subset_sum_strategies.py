"""Hypothesis strategies for batches of subset-sum instances: those that break solvers, integer and floating point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("strongticket.testing needs hypothesis: pip install 'strongticket[testing]'") from error

__all__ = [
    "FloatKind",
    "Instances",
    "float_subset_sums",
    "long_subset_sums",
    "planted_subset_sums",
    "pooled_subset_sums",
    "subset_sum_instances",
    "widest_subset_sums",
]


@dataclass(frozen=True, eq=False)
class Instances:
    """A batch of instances, integer or floating point.

    Attributes:
        items: [batch, n], or [pools, n] with `pool`.
        targets: [batch].
        planted: masks whose sums are the targets, where some were planted, [batch].
        pool: row of `items` of each target, in any order, [batch]; None: target b has row b.
    """

    items: npt.NDArray[Any]
    targets: npt.NDArray[Any]
    planted: npt.NDArray[np.int64] | None = None
    pool: npt.NDArray[np.int64] | None = None

    @property
    def n(self) -> int:
        """Number of items of each instance."""
        return int(self.items.shape[1])

    def own(self) -> Instances:
        """The same with a row of items for each target."""
        return self if self.pool is None else Instances(self.items[self.pool], self.targets, self.planted)


_KINDS = ("any", "equal", "few values", "negative", "one huge", "zeros", "opposite", "tiny")


@st.composite
def _rows(draw: st.DrawFn, n: int, magnitude: int) -> list[int]:
    kind = draw(st.sampled_from(_KINDS))
    value = st.integers(-magnitude, magnitude)
    if kind == "equal":
        return [draw(value)] * n
    if kind == "few values":
        return draw(st.lists(st.sampled_from([-3, -2, -1, 0, 1, 2, 3]), min_size=n, max_size=n))
    if kind == "negative":
        return draw(st.lists(st.integers(-magnitude, -1), min_size=n, max_size=n))
    if kind == "zeros":
        return draw(st.lists(st.just(0) | value, min_size=n, max_size=n))
    if kind == "tiny":
        return draw(st.lists(st.integers(-20, 20), min_size=n, max_size=n))
    row = draw(st.lists(value, min_size=n, max_size=n))
    if kind == "one huge" and n:
        row = [v // 1000 for v in row]
        row[draw(st.integers(0, n - 1))] = draw(st.sampled_from([-magnitude, magnitude]))
    if kind == "opposite":
        row = [row[i] if i % 2 == 0 else -row[i - 1] for i in range(n)]
    return row


def _target(draw: st.DrawFn, row: list[int]) -> int:
    """A target at one of the places where solvers go wrong: ends of the reach, just beyond, far beyond, on a sum."""
    low, high = sum(v for v in row if v < 0), sum(v for v in row if v > 0)
    place = draw(st.sampled_from(["inside", "end", "beyond", "far", "near a sum", "zero"]))
    if place == "zero":
        return 0
    if place == "inside":
        return draw(st.integers(low, high))
    if place == "end":
        return draw(st.sampled_from([low, high]))
    if place == "beyond":
        return draw(st.sampled_from([low - 1, high + 1]))
    if place == "far":
        return draw(st.sampled_from([-1, 1])) * draw(st.integers(high - low, 1 << 60))
    bits = draw(st.integers(0, (1 << len(row)) - 1))
    return sum(v for i, v in enumerate(row) if bits >> i & 1) + draw(st.integers(-2, 2))


def _as_instances(rows: list[list[int]], targets: list[int], n: int, planted: list[int] | None = None) -> Instances:
    masks = None if planted is None else np.array(planted, np.int64)
    return Instances(np.array(rows, np.int64).reshape(len(rows), n), np.array(targets, np.int64), masks)


@st.composite
def subset_sum_instances(
    draw: st.DrawFn,
    *,
    min_items: int = 0,
    max_items: int = 12,
    max_batch: int = 9,
    magnitude: int = 1 << 46,
) -> Instances:
    """Batches of integer instances, all rows of one n: arbitrary, degenerate and unreachable ones side by side.

    Args:
        draw: given by Hypothesis.
        min_items: fewest items of an instance.
        max_items: most items of an instance.
        max_batch: most instances of a batch; batches may be empty.
        magnitude: largest |item|; max_items * magnitude must stay below 2^60.
    """
    if max_items * magnitude >= 1 << 60:
        raise ValueError(f"expected max_items * magnitude < 2^60, got {max_items} * {magnitude}")
    n = draw(st.integers(min_items, max_items))
    rows = [draw(_rows(n, magnitude)) for _ in range(draw(st.integers(0, max_batch)))]
    return _as_instances(rows, [_target(draw, row) for row in rows], n)


@st.composite
def planted_subset_sums(
    draw: st.DrawFn,
    *,
    min_items: int = 0,
    max_items: int = 30,
    max_batch: int = 9,
    magnitude: int = 1 << 46,
) -> Instances:
    """Batches whose targets are the sum of a random subset, given as `planted`: the minimum error is 0 at any n."""
    if max_items * magnitude >= 1 << 60:
        raise ValueError(f"expected max_items * magnitude < 2^60, got {max_items} * {magnitude}")
    n = draw(st.integers(min_items, max_items))
    rows = [draw(_rows(n, magnitude)) for _ in range(draw(st.integers(0, max_batch)))]
    planted = [draw(st.integers(0, (1 << n) - 1)) for _ in rows]
    targets = [sum(v for i, v in enumerate(row) if m >> i & 1) for row, m in zip(rows, planted, strict=True)]
    return _as_instances(rows, targets, n, planted)


@st.composite
def widest_subset_sums(draw: st.DrawFn, *, min_items: int = 2, max_items: int = 12, max_batch: int = 5) -> Instances:
    """Integers at the budget, sum |items| just below 2^60, where float64 cannot tell neighbours apart."""
    n = draw(st.integers(max(1, min_items), max_items))
    largest = ((1 << 60) - 1) // n
    rows, targets = [], []
    for _ in range(draw(st.integers(1, max_batch))):
        less = draw(st.lists(st.integers(0, 9) | st.integers(0, largest >> 1), min_size=n, max_size=n))
        signs = draw(st.integers(0, (1 << n) - 1))
        row = [(largest - v) * (1 if signs >> i & 1 else -1) for i, v in enumerate(less)]
        bits = draw(st.integers(0, (1 << n) - 1))
        rows.append(row)
        targets.append(sum(v for i, v in enumerate(row) if bits >> i & 1) + draw(st.integers(-3, 3)))
    return _as_instances(rows, targets, n)


@st.composite
def long_subset_sums(
    draw: st.DrawFn, *, max_items: int = 5, min_batch: int = 17, max_batch: int = 40, magnitude: int = 1 << 46
) -> Instances:
    """Batches longer than the blocks that solvers work in, of few items, made from a random seed."""
    n, batch = draw(st.integers(0, max_items)), draw(st.integers(min_batch, max_batch))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    largest = draw(st.sampled_from([3, 1000, magnitude]))
    items = rng.integers(-largest, largest + 1, (batch, n))
    items[rng.random((batch, n)) < draw(st.sampled_from([0.0, 0.3]))] = 0
    chosen = rng.random((batch, n)) < 0.5
    return Instances(items, np.where(chosen, items, 0).sum(1) + rng.integers(-3, 4, batch))


@st.composite
def pooled_subset_sums(
    draw: st.DrawFn,
    *,
    min_items: int = 0,
    max_items: int = 12,
    max_pools: int = 4,
    max_batch: int = 40,
    magnitude: int = 1 << 46,
) -> Instances:
    """Integer instances that share pools of items, in any order of the targets; some pools may not be used."""
    n = draw(st.integers(min_items, max_items))
    rows = [draw(_rows(n, magnitude)) for _ in range(draw(st.integers(1, max_pools)))]
    few, many = st.integers(0, min(5, max_batch)), st.integers(0, max_batch)
    batch = draw(few | many)
    pool = draw(st.lists(st.integers(0, len(rows) - 1), min_size=batch, max_size=batch))
    if batch <= 5:
        targets = [_target(draw, rows[p]) for p in pool]
    else:
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        bits = rng.integers(0, 1 << n, batch).tolist()
        targets = [sum(v for i, v in enumerate(rows[p]) if b >> i & 1) for p, b in zip(pool, bits, strict=True)]
        targets = [t + int(v) for t, v in zip(targets, rng.integers(-3, 4, batch), strict=True)]
    items = np.array(rows, np.int64).reshape(len(rows), n)
    return Instances(items, np.array(targets, np.int64), None, np.array(pool, np.int64))


FloatKind = Literal["on grid", "off grid", "mixed scales"]


@st.composite
def float_subset_sums(
    draw: st.DrawFn,
    *,
    min_items: int = 0,
    max_items: int = 9,
    max_batch: int = 6,
    kinds: Sequence[FloatKind] = ("on grid", "off grid", "mixed scales"),
    pools: bool = False,
) -> Instances:
    """Batches of float64 instances (on one grid also of float16 and float32).

    Args:
        draw: given by Hypothesis.
        min_items: fewest items of an instance.
        max_items: most items of an instance.
        max_batch: most instances of a batch; batches may be empty.
        kinds: "on grid": multiples of one power of two, of any size, and no target far out of reach. "off grid": values
            of one row whose binary digits do not fit 60 bits together. "mixed scales": each row on or off a grid of its
            own, with scales from 2^-1060 to 2^900.
        pools: targets share rows, and rows that no target uses may be among them.
    """
    n, kind = draw(st.integers(min_items, max_items)), draw(st.sampled_from(list(kinds)))
    scale = draw(_SCALES)
    count = draw(st.integers(1 if pools else 0, max_batch))
    rows = np.zeros((count, n))
    for r in range(count):
        scale = draw(_SCALES) if kind == "mixed scales" else scale
        off = kind == "off grid" or (kind == "mixed scales" and draw(st.booleans()))
        rows[r] = _float_row(draw, n, scale, off)
    pool = draw(st.lists(st.integers(0, count - 1), max_size=max_batch)) if pools else list(range(count))
    targets = [_float_target(draw, rows[p], kind == "on grid") for p in pool]
    items, wanted, index = rows, np.array(targets, np.float64), np.array(pool, np.int64) if pools else None
    if kind == "on grid" and scale == 1.0:
        dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
        items, wanted = items.astype(dtype), np.clip(wanted, -60000, 60000).astype(dtype)
    return Instances(items, wanted, None, index)


_SCALES = st.sampled_from([1.0, 2.0**-1060, 1e-9, 2.0**-20, 2.0**40, 1e10, 2.0**900])


def _float_row(draw: st.DrawFn, n: int, scale: float, off: bool) -> list[float]:
    small = st.integers(-2048, 2048)
    row = [float(v) for v in draw(st.lists(small, min_size=n, max_size=n))]
    if off:  # digits far below those that fit beside the largest
        down = draw(st.lists(st.integers(0, 90), min_size=n, max_size=n))
        tiny = draw(st.lists(small, min_size=n, max_size=n))
        row = [v * 2.0**-d + t * 2.0**-80 for v, d, t in zip(row, down, tiny, strict=True)]
    power = float(2.0 ** np.frexp(scale)[1]) if not off else scale  # a power of two keeps the values on the grid
    return [v * power for v in row]


def _float_target(draw: st.DrawFn, row: npt.NDArray[Any], on_grid: bool) -> float:
    reach = float(np.abs(row).sum())
    bits = draw(st.integers(0, (1 << len(row)) - 1))
    near = float(sum(float(v) for i, v in enumerate(row) if bits >> i & 1))
    tick = float(np.abs(row).min(initial=0.0))
    places = [near, near + tick, 0.0, reach, -2 * reach, near * 0.75]
    return draw(st.sampled_from(places if on_grid else [*places, 1.0, 1.5 * 2.0**200 * min(reach, 1e9)]))
