"""A few values for many numbers: at equal distances or anywhere, with the least squared error."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "best_step", "lloyd", "nearest", "with_step"]

Floats = NDArray[np.float64]
_ROUNDS: Final = 300


def with_step(value: Floats, step: float, levels: int) -> Floats:
    """Return the nearest of the values (i - (levels - 1)/2) step to each number."""
    if levels == 1 or step == 0.0:
        return np.zeros_like(value)
    half = (levels - 1) / 2.0
    return np.asarray((np.clip(np.rint(value / step + half), 0, levels - 1) - half) * step)


def best_step(value: Floats, levels: int) -> float:
    """Return the float32 step of least squared error: of some up to one that clips nothing, then around the best."""
    largest = float(np.abs(value).max(initial=0.0))
    if levels == 1 or largest == 0.0:
        return 0.0

    def error(step: float) -> float:
        return float(np.square(with_step(value, step, levels) - value).sum())

    widest = 2.0 * largest / (levels - 1)
    steps = [float(np.float32(widest * share)) for share in np.linspace(0.0, 1.0, 49)[1:]]
    best = min(steps, key=error)
    near = [float(np.float32(best + widest / 48.0 * share)) for share in np.linspace(-1.0, 1.0, 33)]
    return min([best, *(step for step in near if step > 0.0)], key=error)


def lloyd(value: Floats, levels: int) -> Floats:
    """Return values, float32, rising, that Lloyd's iteration ends at, from two beginnings."""
    ordered = np.sort(value.reshape(-1))
    if not ordered.size:
        return np.zeros(1)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    if levels == 1:
        return np.array([float(np.float32(ordered.mean()))])
    half = (levels - 1) / 2.0
    spread: Floats = np.asarray((np.arange(levels) - half) * best_step(value, levels), dtype=np.float64)
    quantiles = ordered[((np.arange(levels) + 0.5) / levels * ordered.size).astype(np.int64)]
    starts: tuple[Floats, ...] = (spread, quantiles)
    ends = [_iterate(ordered, sums, start) for start in starts]
    return min(ends, key=lambda centres: float(np.square(nearest(ordered, centres) - ordered).sum()))


def _iterate(ordered: Floats, sums: Floats, centres: Floats) -> Floats:
    for _ in range(_ROUNDS):
        edges = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2.0)
        bounds = np.concatenate([[0], edges, [ordered.size]])
        counts = np.diff(bounds)
        means: Floats = np.where(counts > 0, np.diff(sums[bounds]) / np.maximum(counts, 1), centres)
        if np.array_equal(means, centres):
            break
        centres = means
    return np.sort(centres).astype(np.float32).astype(np.float64)


def nearest(value: Floats, centres: Floats) -> Floats:
    """Return the nearest of some rising values to each number."""
    edges = (centres[1:] + centres[:-1]) / 2.0
    return np.asarray(centres[np.searchsorted(edges, value)])
