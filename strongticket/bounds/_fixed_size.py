"""Subsets of exactly k items: how many of them are expected near a target, from the density of sums of k items."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, ndtr

from strongticket.bounds._floor import check_setting
from strongticket.bounds._laws import ItemLaw, Law, get_law

__all__ = ["fixed_size_failure", "fixed_size_hits"]

Array = npt.NDArray[np.float64]

_FREQUENCIES = 1 << 16


def _window(law: ItemLaw, size: int, targets: Array, eps: float) -> Array:  # [targets]
    """P(|X_1 + ... + X_k - z| <= eps) for live items, for each z."""
    if size == 0:
        return np.asarray((np.abs(targets) <= eps).astype(float))
    if law.name == "normal":
        sd = math.sqrt(size)
        return np.asarray(ndtr((targets + eps) / sd) - ndtr((targets - eps) / sd))
    if size == 1:
        below = [np.sign(x) * law.magnitude_cdf(np.abs(x)) / 2.0 for x in (targets - eps, targets + eps)]
        return np.asarray(below[1] - below[0])
    # Fourier series on a period that holds every sum and every target: exact but for the frequencies left out
    period = 2.0 * (size + float(np.abs(targets).max(initial=0.0)) + eps + 1.0)
    omega = 2.0 * math.pi / period * np.arange(1, _FREQUENCIES + 1, dtype=np.float64)
    weights = law.characteristic(omega) ** size * np.sin(omega * eps) / omega
    series = np.array([weights @ np.cos(omega * z) for z in targets])
    return np.clip((2.0 * eps + 4.0 * series) / period, 0.0, 1.0)


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


def _log_choose(items: int, size: int) -> float:
    return float(gammaln(items + 1) - gammaln(size + 1) - gammaln(items - size + 1))


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

    C(n, k) P(|X_1 + ... + X_k - z| <= eps), an exact first moment (evaluated numerically). So
    1 minus this number is a lower bound on the failure probability, by Markov's inequality.

    Args:
        items: number of items n, dead ones included.
        size: number k of items chosen.
        eps: tolerance, > 0.
        law: law of one item before scaling.
        target: |z|, or the largest |z| when averaged.
        averaged: take the mean over z ~ U(-target, target).
        scale: the items are `scale` times the law.

    >>> round(fixed_size_hits(20, 2, 0.01, target=0.5), 3) # 190 pairs, density (2 - z) / 4 of their sums
    1.425
    """
    check_setting(items, eps, target, scale, size)
    if size > items:
        return 0.0
    chosen = get_law(law, eps / scale)
    weights, windows = _windows(chosen, size, eps / scale, target / scale, averaged)
    return float(math.exp(_log_choose(items, size) + size * math.log(chosen.alive)) * (weights @ windows))


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
    subsets = math.exp(_log_choose(items, size) + size * math.log(chosen.alive))
    return float(weights @ np.exp(-subsets * windows))
