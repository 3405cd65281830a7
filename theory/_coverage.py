"""Decide, with certainty on both sides, whether subset sums come within eps of every point of an interval."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from theory._claim import Outcome, Trial

__all__ = ["decide_coverage", "decide_targets", "rounded_sums"]

# Largest number of lattice cells of one bitset: 2^28 bits are 32 MB.
_MOST_CELLS = 1 << 28


def rounded_sums(items: npt.NDArray[np.float64], step: float, reach: float) -> npt.NDArray[np.int64]:
    """Return all subset sums of the items rounded to multiples of step, those in [-reach, reach], in units of step.

    Each true subset sum differs from the rounded one by at most len(items) * step / 2. The sums are found by shifting
    one long bitset: subset sums of X are (sum of the negative items) + subset sums of |X|.
    """
    whole = [int(x) for x in np.rint(np.asarray(items) / step)]
    lowest = sum(x for x in whole if x < 0)
    bits = 1
    for x in whole:
        bits |= bits << abs(x)
    # bit j stands for the sum lowest + j; cut out the window
    most = math.floor(reach / step)
    shift = -most - lowest
    window = bits >> shift if shift >= 0 else bits << -shift
    width = 2 * most + 1
    window &= (1 << width) - 1
    data = np.frombuffer(window.to_bytes((width + 7) // 8, "little"), dtype=np.uint8)
    return np.flatnonzero(np.unpackbits(data, bitorder="little")[:width]) - most


def _covers(sums: npt.NDArray[np.int64], c: float, tolerance: float) -> bool:
    """Whether every |z| <= c is within tolerance of one of the (sorted) sums; all in units of the lattice."""
    inside = sums[np.abs(sums) <= c + tolerance]
    if not inside.size or inside[0] > -c + tolerance or inside[-1] < c - tolerance:
        return False
    return bool(np.all(np.diff(inside) <= 2.0 * tolerance))


def _prefixes(count: int) -> list[int]:
    """Numbers of items to try: a few first, since more items never hurt and few usually suffice."""
    sizes, size = [], 12
    while size < count:
        sizes.append(size)
        size = size * 4 // 3
    return [*sizes, count]


class _Sums(NamedTuple):
    """Subset sums of the first items, rounded.

    Attributes:
        size: so many items.
        whole: whether these are all.
        step: of the lattice.
        slack: a true sum differs from its rounded one by at most this.
        sums: sorted, in units of the step; none is missing within eps + slack of the interval that is asked about.
    """

    size: int
    whole: bool
    step: float
    slack: float
    sums: npt.NDArray[np.int64]


def _finer(alive: npt.NDArray[np.float64], reach: float, eps: float) -> Iterator[_Sums]:
    """Sums of a few items first, as more never hurt; of all, on ever finer lattices, as long as memory allows."""
    for size in _prefixes(len(alive)):
        whole = size == len(alive)
        for fineness in (16, 256, 4096) if whole else (16,):
            step = eps / (fineness * max(size, 1))
            if np.abs(alive[:size]).sum() / step > _MOST_CELLS:
                break
            slack = eps / (2 * fineness)  # size * step / 2
            yield _Sums(size, whole, step, slack, rounded_sums(alive[:size], step, reach + eps + slack))


def _alive(items: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    values = np.asarray(items, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("items must be finite")
    return np.asarray(values[values != 0.0])


def decide_coverage(items: npt.NDArray[np.float64], c: float, eps: float) -> Trial:
    """Decide whether every |z| <= c is within eps of a subset sum of the items.

    The items are rounded to a lattice so fine that the rounding of a whole sum is a small part of eps; sums on the
    lattice are then complete. Success is reported when the rounded sums cover with eps minus that rounding, failure
    when they do not even cover with eps plus it, so both are certain; in between the lattice is refined twice.

    >>> decide_coverage(np.array([0.5, -0.5, 0.25, -0.25, 0.125]), 0.5, 0.07).outcome.name
    'SUCCESS'
    """
    alive = _alive(items)
    outcome = Outcome.UNDECIDED
    for size, whole, step, slack, sums in _finer(alive, c, eps):
        # a hair is taken off for the rounding of these very divisions
        if _covers(sums, c / step, (eps - slack) / step * (1.0 - 1e-9)):
            return Trial(Outcome.SUCCESS, f"covered by the first {size} of {len(alive)} live items")
        if whole and not _covers(sums, c / step, (eps + slack) / step * (1.0 + 1e-9)):
            outcome = Outcome.FAILURE
            break
    return Trial(outcome, f"{len(alive)} live items leave a gap wider than {2 * eps:g} in [-{c:g}, {c:g}]")


def decide_targets(items: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], eps: float) -> Outcome:
    """Decide whether every one of the targets is within eps of a subset sum of the items; certain on both sides."""
    for _, whole, step, slack, sums in _finer(_alive(items), float(np.abs(targets).max(initial=0.0)), eps):
        distance = _distances(sums.astype(np.float64) * step, targets)
        if np.all(distance <= (eps - slack) * (1.0 - 1e-9)):
            return Outcome.SUCCESS
        if whole and np.any(distance > (eps + slack) * (1.0 + 1e-9)):
            return Outcome.FAILURE
    return Outcome.UNDECIDED


def _distances(sums: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How far each target is from the nearest of the sorted sums."""
    if not sums.size:
        return np.full(len(targets), np.inf)
    right = np.clip(np.searchsorted(sums, targets), 0, len(sums) - 1)
    left = np.maximum(right - 1, 0)
    return np.asarray(np.minimum(np.abs(sums[right] - targets), np.abs(sums[left] - targets)))
