"""Subsets of exactly k items: how many of them are expected near a target, from the density of sums of k items."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from strongticket.bounds._counting import log_choose
from strongticket.bounds._floor import check_setting
from strongticket.bounds._laws import ItemLaw, Law, get_law

__all__ = ["fixed_size_failure", "fixed_size_hits", "normal_window"]

Array = npt.NDArray[np.float64]

_FREQUENCIES = 1 << 16
_MOST_FREQUENCIES = 1 << 20
_SETTLED = 0.01  # of the largest window: what the second half of the frequencies may change
_NARROW = 1e-4


def normal_window(z: Array | float, eps: float, sd: Array | float) -> Array:
    """Return P(|G - z| <= eps) for G ~ N(0, sd^2), also where eps is far below the rounding of z."""
    at, width = np.asarray(z) / sd, eps / np.asarray(sd)
    narrow = 2.0 * width * np.exp(-(at**2) / 2.0) / math.sqrt(2.0 * math.pi)
    wide = ndtr(at + width) - ndtr(at - width)
    return np.asarray(np.where(width * np.maximum(1.0, np.abs(at)) < _NARROW, narrow, wide))


def _window(law: ItemLaw, size: int, targets: Array, eps: float) -> Array:  # [targets]
    """P(|X_1 + ... + X_k - z| <= eps) for live items, for each z.

    Raises:
        ValueError: the Fourier series has not settled: the window is too narrow for this law.
    """
    if size == 0:
        return np.asarray((np.abs(targets) <= eps).astype(float))
    if law.name == "normal":
        return normal_window(targets, eps, math.sqrt(size))
    if size == 1:
        below = [np.sign(x) * law.magnitude_cdf(np.abs(x)) / 2.0 for x in (targets - eps, targets + eps)]
        return np.asarray(below[1] - below[0])
    # Fourier series on a period that holds every sum and every target: exact but for the frequencies left out
    period = 2.0 * (size + float(np.abs(targets).max(initial=0.0)) + eps + 1.0)
    first, most = 0, _FREQUENCIES
    found = np.full(len(targets), 2.0 * eps / period)
    while True:
        halves = [_terms(law, size, targets, eps, period, *span) for span in _halves(first, most)]
        found = found + sum(halves)
        if np.abs(halves[-1]).max() <= _SETTLED * np.abs(found).max():
            return np.clip(found, 0.0, 1.0)  # what is left of it is noise, less than the change allowed
        if most >= _MOST_FREQUENCIES:
            raise ValueError(
                f"sums of {size} {law.name} items within {eps:g} are not resolved by {most} frequencies: "
                "use method 'saddlepoint', or a larger eps"
            )
        first, most = most, 2 * most


def _halves(first: int, most: int) -> tuple[tuple[int, int], ...]:
    """At the first call both halves of the frequencies, later the new half."""
    return ((0, most // 2), (most // 2, most)) if first == 0 else ((first, most),)


def _terms(law: ItemLaw, size: int, targets: Array, eps: float, period: float, first: int, last: int) -> Array:
    omega = 2.0 * math.pi / period * np.arange(first + 1, last + 1, dtype=np.float64)
    weights = 4.0 / period * law.characteristic(omega) ** size * np.sin(omega * eps) / omega
    return np.array([weights @ np.cos(omega * z) for z in targets])


@lru_cache(maxsize=512)
def _windows(law: ItemLaw, size: int, eps: float, target: float, averaged: bool) -> tuple[Array, Array]:
    """The targets' weights, and the probability that one sum of k live items is within eps of each."""
    if not averaged or target == 0.0:
        return np.ones(1), _window(law, size, np.array([target]), eps)
    if size <= 1:  # corners at |z| = eps and near 1: many midpoints, all alike
        points = target / 4000.0 * (np.arange(4000, dtype=np.float64) + 0.5)
        return np.full(4000, 1.0 / 4000.0), _window(law, size, points, eps)
    nodes, weights = np.polynomial.legendre.leggauss(24)
    return weights / 2.0, _window(law, size, (nodes + 1.0) * target / 2.0, eps)


def fixed_size_hits(
    items: int,
    size: int,
    eps: float,
    *,
    law: Law = "uniform",
    target: float = 1.0,
    averaged: bool = False,
    scale: float = 1.0,
) -> float:
    """Return the expected number of subsets of exactly `size` live items whose sum lies within eps of z.

    C(n, k) P(|X_1 + ... + X_k - z| <= eps), by a Fourier series that is cut off where it has settled within 1 %: a
    numerical value without a bound on its error. No floor follows from it: `fixed_size_floor` is proved.

    Args:
        items: number of items n, dead ones included.
        size: number k of items chosen.
        eps: tolerance, > 0.
        law: law of one item before scaling.
        target: |z|, or the largest |z| when averaged.
        averaged: take the mean over z ~ U(-target, target).
        scale: the items are `scale` times the law.

    Raises:
        ValueError: the series does not settle (hyperbolic items and very small tolerances).

    >>> round(fixed_size_hits(20, 2, 0.01, target=0.5), 3) # 190 pairs, density (2 - z) / 4 of their sums
    1.425
    """
    check_setting(items, eps, target, scale, size)
    if size > items:
        return 0.0
    chosen = get_law(law, eps / scale)
    weights, windows = _windows(chosen, size, eps / scale, target / scale, averaged)
    return math.exp(min(log_choose(items, size) + size * math.log(chosen.alive), 700.0)) * float(weights @ windows)


def fixed_size_failure(
    items: int,
    size: int,
    eps: float,
    *,
    law: Law = "uniform",
    target: float = 1.0,
    averaged: bool = False,
    scale: float = 1.0,
) -> float:
    """Predict P(no sum of exactly `size` items lies within eps of z) from the first moment alone: no proof.

    As if the hits were Poisson with their mean: exp(-expected hits). Good for small sizes, where counting limits;
    for large ones the items may not reach (`fixed_size_floor`) and hits come in clusters, and this is far too small.

    >>> round(fixed_size_failure(20, 2, 0.01, averaged=True), 2)
    0.25
    """
    check_setting(items, eps, target, scale, size)
    if size > items:
        return 1.0
    chosen = get_law(law, eps / scale)
    weights, windows = _windows(chosen, size, eps / scale, target / scale, averaged)
    subsets = math.exp(min(log_choose(items, size) + size * math.log(chosen.alive), 700.0))
    return float(weights @ np.exp(-subsets * windows))
