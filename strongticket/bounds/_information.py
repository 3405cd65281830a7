"""How many items a subset sum really needs: the exact coverage floor, and a prediction that says what to expect."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from strongticket.bounds._laws import LawName, get_law, positive_sum_cdf

__all__ = ["coverage_floor", "failure_predicted", "items_predicted", "quenched_failure"]

Combine = Literal["sum", "max"]

# G beyond 14 standard deviations carries 1e-44; the integrand is smooth, so the trapezoid rule is exact to rounding.
_GAUSS = np.linspace(-14.0, 14.0, 5601)
_MOST_ITEMS = 4096


def _check(items: int, eps: float, target: float, scale: float) -> None:
    if not isinstance(items, int | np.integer) or isinstance(items, bool) or items < 0:
        raise ValueError(f"items must be an integer >= 0, got {items!r}")
    if not 0.0 < eps < math.inf:
        raise ValueError(f"eps must be positive and finite, got {eps}")
    if not 0.0 <= target < math.inf:
        raise ValueError(f"target must be a magnitude >= 0 and finite, got {target}")
    if not 0.0 < scale < math.inf:
        raise ValueError(f"scale must be positive and finite, got {scale}")


def _log_binomial(items: int, probability: float) -> npt.NDArray[np.float64]:
    """Logarithms of the binomial probabilities of k = 0..items successes."""
    k = np.arange(items + 1)
    log_choose = gammaln(items + 1) - gammaln(k + 1) - gammaln(items - k + 1)
    return np.asarray(log_choose + k * math.log(probability) + (items - k) * math.log1p(-probability))


def coverage_floor(
    items: int,
    eps: float,
    *,
    law: LawName = "uniform",
    target: float = 1.0,
    averaged: bool = False,
    scale: float = 1.0,
) -> float:
    """Return a proved lower bound on P(no subset sum lies within eps of z): the items may not reach that far.

    The largest subset sum is the sum of the positive items. For items U(-1, 1) this is exact,
    2^-n L_n(-(|z| - eps)) with the Laguerre polynomial; for products the sums are rounded up on a lattice.

    Args:
        items: number of items, dead ones included.
        eps: tolerance, > 0, in the unit of the targets.
        law: law of one item before scaling.
        target: |z|, or the largest |z| when averaged.
        averaged: take z ~ U(-target, target) instead of |z| = target.
        scale: the items are `scale` times the law.

    Returns:
        The floor, 0 where it says nothing: |z| <= eps. Beyond |z| - eps = 1 item unit, its value at 1 unit.

    >>> round(coverage_floor(8, 1e-9), 3)
    0.14
    """
    _check(items, eps, target, scale)
    chosen = get_law(law)
    levels = np.linspace(0.0, target, 2001)[:-1] if averaged else np.array([target])
    levels = (levels - eps) / scale
    reached = levels > 0
    if not reached.any():
        return 0.0
    # the sum over k of Binomial(n, alive/2) times P(k positive items stay below t)
    weights = np.exp(_log_binomial(items, chosen.alive / 2.0))
    probabilities = weights @ positive_sum_cdf(chosen, items, np.minimum(levels[reached], 1.0))
    return float(min(1.0, probabilities.sum() / len(levels)))


def _quenched(items: npt.NDArray[np.int64], eps: float, z: float, variance: float) -> npt.NDArray[np.float64]:
    """E_G exp(-lambda exp(-(G - z/s)^2 / 2)) for each number of items >= 1."""
    s = np.sqrt(items * variance / 4.0)[:, None]
    log_rate = np.log(2.0 * eps) + items[:, None] * math.log(2.0) - np.log(s * math.sqrt(2.0 * math.pi))
    expected = np.exp(np.minimum(log_rate - (_GAUSS - z / s) ** 2 / 2.0, 700.0))
    density = np.exp(-(_GAUSS**2) / 2.0) / math.sqrt(2.0 * math.pi)
    step = _GAUSS[1] - _GAUSS[0]
    return np.asarray((density * np.exp(-expected)).sum(axis=1) * step)


def quenched_failure(
    items: int,
    eps: float,
    *,
    law: LawName = "uniform",
    target: float = 1.0,
    averaged: bool = False,
    scale: float = 1.0,
) -> float:
    """Predict P(no subset sum within eps of z) as if subset sums were Poisson given the items; no proof.

    The prediction ignores that the items may not reach z: combine it with `coverage_floor`. For products it is too
    small in the tail, because few large products exist.

    Args:
        items: number of items, dead ones included.
        eps: tolerance, > 0.
        law: law of one item before scaling.
        target: |z|, or the largest |z| when averaged.
        averaged: take z ~ U(-target, target).
        scale: the items are `scale` times the law.

    >>> round(quenched_failure(20, 0.01, target=0.0), 7)
    2.87e-05
    """
    _check(items, eps, target, scale)
    chosen = get_law(law)
    if averaged:
        nodes, weights = np.polynomial.legendre.leggauss(32)
        points, weights = (nodes + 1.0) * target / 2.0, weights / 2.0
    else:
        points, weights = np.array([target]), np.array([1.0])
    counts = np.arange(1, items + 1) if chosen.alive < 1.0 else np.array([items] if items else [], dtype=np.int64)
    total = 0.0
    for z, weight in zip(points / scale, weights, strict=True):
        missed_empty = float(abs(z) > eps / scale)
        by_count = _quenched(counts, eps / scale, float(z), chosen.variance) if counts.size else np.zeros(0)
        if chosen.alive < 1.0:
            alive = np.exp(_log_binomial(items, chosen.alive))
            total += weight * (alive[0] * missed_empty + float(alive[1:] @ by_count))
        else:
            total += weight * (float(by_count[0]) if by_count.size else missed_empty)
    return float(min(1.0, total))


def failure_predicted(
    items: int,
    eps: float,
    *,
    law: LawName = "uniform",
    target: float = 1.0,
    averaged: bool = False,
    scale: float = 1.0,
    combine: Combine = "sum",
) -> float:
    """Predict the failure probability of one subset sum: quenched prediction and coverage floor together.

    Simulations lie between `combine="max"` and `combine="sum"` for uniform items (for products somewhat above).

    >>> round(failure_predicted(12, 0.01, averaged=True), 3)
    0.028
    """
    quenched = quenched_failure(items, eps, law=law, target=target, averaged=averaged, scale=scale)
    floor = coverage_floor(items, eps, law=law, target=target, averaged=averaged, scale=scale)
    return min(1.0, quenched + floor) if combine == "sum" else max(quenched, floor)


@lru_cache(maxsize=4096)
def items_predicted(
    eps: float,
    delta: float,
    law: LawName = "uniform",
    *,
    target: float = 1.0,
    averaged: bool = False,
    scale: float = 1.0,
    combine: Combine = "sum",
) -> int:
    """Return how many items are expected to suffice for one target with failure probability delta; no proof.

    For N targets give delta / N: then delta is the expected number of failures.

    Args:
        eps: tolerance, in (0, 1).
        delta: failure probability of this one target, in (0, 1); 1e-12 is fine.
        law: law of one item before scaling.
        target: |z|, or the largest |z| when averaged.
        averaged: take z ~ U(-target, target).
        scale: the items are `scale` times the law.
        combine: "sum" (cautious) or "max" of prediction and floor.

    Returns:
        The smallest number of items whose predicted failure is at most delta (0 when |z| <= eps).

    Raises:
        ValueError: eps or delta outside (0, 1), or more than 4096 items would be needed.

    >>> [items_predicted(0.01, 0.1 / 397_000, target=r, averaged=True) for r in (1.0, 0.5)]
    [33, 29]
    """
    if not 0.0 < eps < 1.0 or not 0.0 < delta < 1.0:
        raise ValueError(f"eps and delta must lie in (0, 1), got eps = {eps}, delta = {delta}")

    def fails(items: int) -> bool:
        return failure_predicted(
            items, eps, law=law, target=target, averaged=averaged, scale=scale, combine=combine
        ) > delta  # fmt: skip

    if not fails(0):
        return 0
    low, high = 0, 8
    while fails(high):
        low, high = high, 2 * high
        if high > _MOST_ITEMS:
            raise ValueError(
                f"more than {_MOST_ITEMS} items would be needed for eps = {eps}, delta = {delta}, target = {target}, "
                f"scale = {scale}: scale the targets down, or loosen eps"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fails(middle) else (low, middle)
    return high
