"""What no method can beat: the items may not reach the target. Proved lower bounds on the failure probability."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from strongticket.bounds._counting import log_choose
from strongticket.bounds._laws import ItemLaw, Law, get_law

__all__ = ["check_setting", "coverage_floor", "fixed_size_floor", "log_binomial", "most_units", "positive_sum_cdf"]

Array = npt.NDArray[np.float64]

# Lattices on which sums of positive parts are convolved (cells per item unit, units, items followed): all of them only
# weaken the lower bound that is made from them.
_FINE = (4000, 1, 64)
_COARSE = (1000, 8, 256)
_MOST_UNITS = {"uniform": 64, None: 8}
# Relative rounding of the convolutions is below 256 * 8001 * 2^-52 < 1e-9, and of the binomial weights below 1e-10;
# this much is taken off for each.
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
    if probability == 1.0:
        return np.where(k == items, 0.0, -np.inf)
    return np.asarray(log_choose(items, k) + k * math.log(probability) + (items - k) * math.log1p(-probability))


@lru_cache(maxsize=32)
def _lattice_tables(law: ItemLaw, lattice: tuple[int, int, int], rows: int) -> Array:  # [k, cell]
    """Distribution functions of sums of k = 0..rows positive items on a lattice of so many units, from below.

    Each item is rounded *up* to the lattice, so every entry is at most the true probability; items beyond the lattice
    are left out, as they exceed every level looked up.
    """
    fine, units, _ = lattice
    cells = np.concatenate([[0.0], np.diff(law.magnitude_cdf(np.arange(fine * units + 1) / fine))])
    cells = np.trim_zeros(cells, "b")
    mass = np.zeros(fine * units + 1)
    mass[0] = 1.0
    tables = [np.cumsum(mass)]
    for _ in range(rows):
        # direct convolution, not FFT: entries far below 1e-16 of the largest still count
        mass = np.convolve(mass, cells)[: len(mass)]
        tables.append(np.cumsum(mass) * (1.0 - _ROUNDING))
    return np.array(tables)


def _on_lattice(law: ItemLaw, counts: int, levels: Array, lattice: tuple[int, int, int]) -> Array:
    """Look up P(sum of k positive items <= t), from below, for levels within the lattice."""
    fine, _, most = lattice
    known = min(counts, most)
    tables = _lattice_tables(law, lattice, min(-(-known // 32) * 32, most))
    # a level that is a lattice point but for its rounding counts as one: see _ROUNDING
    column = np.floor(np.asarray(levels) * fine * (1.0 + 1e-15)).astype(int)
    rows = np.zeros((counts + 1, len(levels)))
    rows[: known + 1] = tables[: known + 1][:, column]
    return rows


def _uniform_sum_cdf(counts: int, levels: Array) -> Array:  # [k, t]
    """P(sum of k numbers U(0, 1) <= t), by F_k(t) = (t F_(k-1)(t) + (k - t) F_(k-1)(t - 1)) / k: no term cancels."""
    shifts = np.arange(int(np.max(levels, initial=0.0)) + 1)[:, None]
    below = np.asarray(levels)[None, :] - shifts  # [shift, t]
    now = (below >= 0.0).astype(float)
    found = [now[0]]
    for k in range(1, counts + 1):
        lower = np.vstack([now[1:], np.zeros((1, now.shape[1]))])
        now = np.where(below >= k, 1.0, np.where(below > 0.0, (below * now + (k - below) * lower) / k, 0.0))
        found.append(now[0])
    return np.array(found)


def most_units(law: ItemLaw) -> int:
    """Return how many item units beyond the tolerance a target may lie for `coverage_floor` to follow it."""
    return _MOST_UNITS.get(law.name, _MOST_UNITS[None])


def positive_sum_cdf(law: ItemLaw, counts: int, levels: Array) -> Array:
    """Return P(sum of k positive items <= t) for k = 0..counts, exactly (uniform) or from below (others).

    Args:
        law: the law of the items.
        counts: largest number of positive items.
        levels: thresholds t >= 0 in item units; shape [t]. Those beyond what is followed get the value at its end.

    Returns:
        Probabilities of shape [k, t]; rows beyond what is followed are zero, which is a valid lower bound.
    """
    levels = np.minimum(levels, most_units(law))
    if law.name == "uniform":
        return _uniform_sum_cdf(counts, levels)
    rows = _on_lattice(law, counts, np.minimum(levels, 1.0), _FINE)
    far = levels > 1.0
    if far.any():  # at one unit the finer lattice is the better one
        rows[:, far] = np.maximum(rows[:, far], _on_lattice(law, counts, levels[far], _COARSE))
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
    |z| - eps is exact but for 1e-9 of itself, which is taken off for rounding: up to one unit it is
    2^-n L_n(-(|z| - eps)) with the Laguerre polynomial, beyond a sum of Irwin-Hall distributions. For the other laws
    each item is rounded up on a lattice of step 1/4000 (1/1000 beyond one unit), which only lowers the probability.

    Args:
        items: number of items, dead ones included.
        eps: tolerance, > 0, in the unit of the targets.
        law: law of one item before scaling; "hyperbolic" items are as small as eps.
        target: |z|, or the largest |z| when averaged.
        averaged: take z ~ U(-target, target) instead of |z| = target.
        scale: the items are `scale` times the law.

    Returns:
        The floor, 0 where it says nothing: |z| <= eps. Beyond |z| - eps = 64 item units (8 for laws other than
        uniform), its value there.

    >>> round(coverage_floor(8, 1e-9), 3)
    0.14
    >>> [f"{coverage_floor(21, 0.01, law=law, averaged=True):.2g}" for law in ("uniform", "product", "normal")]
    ['8.9e-05', '0.0048', '3.9e-05']
    >>> f"{coverage_floor(30, 0.01, law='product', target=2.0):.3f}" # targets of two item units
    '0.042'
    """
    check_setting(items, eps, target, scale)
    chosen = get_law(law, eps / scale)
    # the sum over k of Binomial(n, alive/2) times P(k positive items stay below t)
    weights = np.exp(log_binomial(items, chosen.alive / 2.0))
    furthest = (target - eps) / scale
    if furthest <= 0.0:
        return 0.0
    shrink = 1.0 - _ROUNDING if items else 1.0
    if averaged and chosen.name == "uniform":
        # the integral of F_k from 0 to T is the sum of F_(k+1)(T - j) over j >= 0; then flat
        reach = min(furthest, float(most_units(chosen)))
        steps = reach - np.arange(math.floor(reach) + 1, dtype=np.float64)
        area = weights @ _uniform_sum_cdf(items + 1, steps)[1:].sum(axis=1)
        area += (furthest - reach) * (weights @ positive_sum_cdf(chosen, items, np.array([reach]))[:, 0])
        return float(min(1.0, area * scale / target)) * shrink
    # averaged over z: a sum over left ends, below the integral as the function rises with z
    levels = (np.linspace(0.0, target, _LEVELS + 1)[:-1] - eps) / scale if averaged else np.array([furthest])
    reached = levels[levels > 0.0]
    probabilities = weights @ positive_sum_cdf(chosen, items, reached)
    return float(min(1.0, probabilities.sum() / len(levels))) * shrink


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
