"""What no method can beat: the items may not reach the target. Proved lower bounds on the failure probability."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import TypeGuard

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from strongticket.bounds._laws import ItemLaw, Law, get_law

__all__ = ["check_setting", "coverage_floor", "fixed_size_floor", "log_binomial", "positive_sum_cdf"]

Array = npt.NDArray[np.float64]

# Lattice on which sums of positive parts are convolved, and how many of them are followed; both only weaken the
# lower bound that is made from them.
_CELLS = 4000
_MOST_POSITIVE = 64
# Relative rounding of the lattice's convolutions is below 64 * 4001 * 2^-52 < 1e-10; this much is taken off.
_ROUNDING = 1e-9
_LEVELS = 2000


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_setting(items: int, eps: float, target: float, scale: float, size: int | None = None) -> None:
    """Refuse a number of items, tolerance, target, scale or size that makes no sense.

    Raises:
        ValueError: naming what is wrong.
    """
    if not _is_count(items) or items < 0:
        raise ValueError(f"items must be an integer >= 0, got {items!r}")
    if not 0.0 < eps < math.inf:
        raise ValueError(f"eps must be positive and finite, got {eps}")
    if not 0.0 <= target < math.inf:
        raise ValueError(f"target must be a magnitude >= 0 and finite, got {target}")
    if not 0.0 < scale < math.inf:
        raise ValueError(f"scale must be positive and finite, got {scale}")
    if size is not None and (not _is_count(size) or size < 0):
        raise ValueError(f"size must be an integer >= 0, got {size!r}")


def log_binomial(items: int, probability: float) -> Array:  # [items + 1]
    """Logarithms of the binomial probabilities of k = 0..items successes."""
    k = np.arange(items + 1)
    log_choose = gammaln(items + 1) - gammaln(k + 1) - gammaln(items - k + 1)
    if probability == 1.0:
        return np.where(k == items, 0.0, -np.inf)
    return np.asarray(log_choose + k * math.log(probability) + (items - k) * math.log1p(-probability))


@lru_cache(maxsize=8)
def _lattice_tables(law: ItemLaw) -> Array:  # [k, cell]
    """Distribution functions of sums of k = 0.. positive items on the lattice j / 4000 up to 1, from below.

    Each item is rounded *up* to the lattice, so every entry is at most the true probability; items beyond 1 are left
    out, as they exceed every level looked up.
    """
    cells = np.concatenate([[0.0], np.diff(law.magnitude_cdf(np.arange(_CELLS + 1) / _CELLS))])
    mass = np.zeros(_CELLS + 1)
    mass[0] = 1.0
    tables = [np.cumsum(mass)]
    for _ in range(_MOST_POSITIVE):
        # direct convolution, not FFT: entries far below 1e-16 of the largest still count
        mass = np.convolve(mass, cells)[: _CELLS + 1]
        tables.append(np.cumsum(mass) * (1.0 - _ROUNDING))
    return np.array(tables)


def positive_sum_cdf(law: ItemLaw, counts: int, levels: Array) -> Array:
    """Return P(sum of k positive items <= t) for k = 0..counts, exactly (uniform) or from below (others).

    Args:
        law: the law of the items.
        counts: largest number of positive items.
        levels: thresholds t in [0, 1]; shape [t].

    Returns:
        Probabilities of shape [k, t]; rows beyond what is followed are zero, which is a valid lower bound.
    """
    if law.name == "uniform":
        order = np.arange(counts + 1)[:, None]
        log_factorial = np.cumsum(np.log(np.maximum(order, 1)), axis=0)
        with np.errstate(divide="ignore"):
            log_level = np.where(levels > 0, np.log(levels), -np.inf)
        power = np.where(order == 0, 0.0, np.maximum(order, 1) * log_level)
        return np.asarray(np.exp(power - log_factorial))
    tables = _lattice_tables(law)
    # a level that is a lattice point but for its rounding counts as one: see _ROUNDING
    column = np.floor(np.asarray(levels) * _CELLS * (1.0 + 1e-15)).astype(int)
    rows = np.zeros((counts + 1, len(levels)))
    known = min(counts, _MOST_POSITIVE) + 1
    rows[:known] = tables[:known][:, column]
    return rows


def coverage_floor(
    items: int,
    eps: float,
    *,
    law: Law = "uniform",
    target: float = 1.0,
    averaged: bool = False,
    scale: float = 1.0,
) -> float:
    """Return a proved lower bound on P(no subset sum lies within eps of z): the items may not reach that far.

    The largest subset sum is the sum of the positive items. For items U(-1, 1) the probability that it stays below
    |z| - eps is exact, 2^-n L_n(-(|z| - eps)) with the Laguerre polynomial; for the other laws each item is rounded
    up on a lattice of step 1/4000, which only lowers the probability.

    Args:
        items: number of items, dead ones included.
        eps: tolerance, > 0, in the unit of the targets.
        law: law of one item before scaling; "hyperbolic" items are as small as eps.
        target: |z|, or the largest |z| when averaged.
        averaged: take z ~ U(-target, target) instead of |z| = target.
        scale: the items are `scale` times the law.

    Returns:
        The floor, 0 where it says nothing: |z| <= eps. Beyond |z| - eps = 1 item unit, its value at 1 unit.

    >>> round(coverage_floor(8, 1e-9), 3)
    0.14
    >>> [f"{coverage_floor(21, 0.01, law=law, averaged=True):.2g}" for law in ("uniform", "product", "normal")]
    ['8.9e-05', '0.0048', '3.9e-05']
    """
    check_setting(items, eps, target, scale)
    chosen = get_law(law, eps / scale)
    # the sum over k of Binomial(n, alive/2) times P(k positive items stay below t)
    weights = np.exp(log_binomial(items, chosen.alive / 2.0))
    furthest = (target - eps) / scale
    if furthest <= 0.0:
        return 0.0
    if averaged and chosen.name == "uniform":
        # the integral of t^k / k! from 0 to T is T^(k+1) / (k+1)! = (T / (k+1)) T^k / k!; then flat from 1 on
        reach = min(furthest, 1.0)
        at_reach = weights * positive_sum_cdf(chosen, items, np.array([reach]))[:, 0]
        area = at_reach @ (reach / np.arange(1, items + 2)) + (furthest - reach) * at_reach.sum()
        return float(min(1.0, area * scale / target))
    # averaged over z: a sum over left ends, below the integral as the function rises with z
    levels = (np.linspace(0.0, target, _LEVELS + 1)[:-1] - eps) / scale if averaged else np.array([furthest])
    reached = levels[levels > 0.0]
    probabilities = weights @ positive_sum_cdf(chosen, items, np.minimum(reached, 1.0))
    return float(min(1.0, probabilities.sum() / len(levels)))


@lru_cache(maxsize=256)
def _largest_sum_weights(items: int, size: int) -> tuple[Fraction, ...]:
    """Weights w_j, j = 1..k, of P(sum of the k largest of n items U(-1, 1) <= t) = sum_j w_j (j - y)_+^n, y = (k-t)/2.

    With the uniform spacings D_0..D_n of [0, 1], k minus the sum of the k largest of n numbers U(0, 1) is the sum of
    j D_j over j = 1..k, the other n + 1 - k spacings having weight 0; its tail is a divided difference (a B-spline).
    """
    others = (math.prod(j - i for i in range(1, size + 1) if i != j) for j in range(1, size + 1))
    return tuple(Fraction(1, j ** (items - size + 1) * other) for j, other in enumerate(others, start=1))


def _largest_sum_cdf(items: int, size: int, level: Fraction, *, integral: bool = False) -> Fraction:
    """P(sum of the `size` largest of n items U(-1, 1) <= level), exactly; or its integral over levels up to this."""
    y = (size - min(level, Fraction(size))) / 2
    power, factor = (items + 1, Fraction(2, items + 1)) if integral else (items, Fraction(1))
    terms = (w * (j - y) ** power for j, w in enumerate(_largest_sum_weights(items, size), start=1) if j > y)
    beyond = max(level - size, Fraction(0)) if integral else 0
    return Fraction(1) if level >= size and not integral else factor * sum(terms, Fraction(0)) + beyond


def fixed_size_floor(
    items: int, size: int, eps: float, *, target: float = 1.0, averaged: bool = False, scale: float = 1.0
) -> float:
    """Return a proved lower bound on P(no sum of exactly `size` of n items U(-1, 1) lies within eps of z).

    All sums of k items may stay below z - eps, or all above z + eps. The sum of the k largest has a piecewise
    polynomial distribution, evaluated in exact arithmetic.

    Args:
        items: number of items n.
        size: number k of items chosen.
        eps: tolerance, > 0.
        target: |z|, or the largest |z| when averaged.
        averaged: take z ~ U(-target, target).
        scale: the items are U(-scale, scale).

    >>> [round(fixed_size_floor(10, k, 0.01, averaged=True), 3) for k in (6, 8, 10)] # of all 10, one subset is left
    [0.126, 0.398, 0.996]
    """
    check_setting(items, eps, target, scale, size)
    if size > items:
        return 1.0
    if target == 0.0:
        averaged = False
    width, unit, far = Fraction(eps), Fraction(scale), Fraction(target)
    if size == 0:
        return float(max(far - width, Fraction(0)) / far) if averaged else float(far > width)
    low, high = (-far - width) / unit, (far - width) / unit
    if averaged:  # over z in (-r, r), of both ends alike
        both = _largest_sum_cdf(items, size, high, integral=True) - _largest_sum_cdf(items, size, low, integral=True)
        return float(both * unit / far)
    return float(_largest_sum_cdf(items, size, high) + _largest_sum_cdf(items, size, low))
