"""How many items a subset sum really needs: predictions that say what to expect, with the floor below them.

None of these is a bound. `annealed`: the number of hits is Poisson with its mean over the items. `quenched`: Poisson
given the items, their sums being Gaussian given the items. `combined`: quenched plus the proved coverage floor.
`saddlepoint`: Poisson given the items, which are drawn; see `_saddlepoint`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from strongticket.bounds._fixed_size import fixed_size_failure, normal_window
from strongticket.bounds._floor import check_setting, coverage_floor, fixed_size_floor, log_binomial, most_units
from strongticket.bounds._laws import ItemLaw, Law, get_law
from strongticket.bounds._saddlepoint import DRAWS, saddlepoint_failure

__all__ = [
    "Combine",
    "Method",
    "annealed_failure",
    "failure_predicted",
    "first_moment_items",
    "floor_items",
    "items_predicted",
    "quenched_failure",
    "smallest_items",
]

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

Combine = Literal["sum", "max"]
Method = Literal["combined", "annealed", "quenched", "saddlepoint"]

# G beyond 14 standard deviations carries 1e-44; the integrand is smooth, so the trapezoid rule is exact to rounding.
_GAUSS = np.linspace(-14.0, 14.0, 5601)
_MOST_ITEMS = 4096
_MOST_SIZE = 64
_FINEST = 1e-30


def _over_targets_and_items(
    items: int, target: float, averaged: bool, eps: float, law: ItemLaw, failure: Callable[[Counts, float], Array]
) -> float:
    """Mean of a failure probability (by number of live items >= 1, and target) over the targets and the live items.

    Target and eps are in the unit of the items. Targets within eps are hit by the empty subset and never fail.
    """
    if target <= eps:
        return 0.0
    if averaged:
        nodes, weights = np.polynomial.legendre.leggauss(32)
        share = (target - eps) / target
        points, weights = eps + (nodes + 1.0) * (target - eps) / 2.0, weights / 2.0 * share
    else:
        points, weights = np.array([target]), np.array([1.0])
    counts = np.arange(1, items + 1) if law.alive < 1.0 else np.array([items] if items else [], dtype=np.int64)
    total = 0.0
    for z, weight in zip(points, weights, strict=True):
        by_count = failure(counts, float(z)) if counts.size else np.zeros(0)
        if law.alive < 1.0:
            alive = np.exp(log_binomial(items, law.alive))
            total += weight * (alive[0] + float(alive[1:] @ by_count))
        else:
            total += weight * (float(by_count[0]) if by_count.size else 1.0)
    return float(min(1.0, total))


def annealed_failure(
    items: int,
    eps: float,
    *,
    law: Law = "uniform",
    target: float = 1.0,
    averaged: bool = False,
    scale: float = 1.0,
) -> float:
    """Predict P(no subset sum within eps of z) from the first moment alone: exp(-mean number of hits); no proof.

    The mean over items and subsets, 2^n P(|N(0, n E[X^2] / 2) - z| <= eps), is dominated by rare items that reach
    far; failures are those of items that do not, so this is far too small where failures are rare.

    Args:
        items: number of items, dead ones included.
        eps: tolerance, > 0.
        law: law of one item before scaling.
        target: |z|, or the largest |z| when averaged.
        averaged: take z ~ U(-target, target).
        scale: the items are `scale` times the law.

    >>> f"{annealed_failure(8, 0.01, target=0.1):.2f}, {annealed_failure(14, 0.01, target=0.1):.0e}"
    '0.17, 8e-38'
    """
    check_setting(items, eps, target, scale)
    chosen, unit = get_law(law, eps / scale), eps / scale

    def failure(counts: Counts, z: float) -> Array:
        spread = np.sqrt(counts * chosen.variance / 2.0)
        with np.errstate(divide="ignore"):
            log_hits = counts * math.log(2.0) + np.log(normal_window(z, unit, spread))
        return np.asarray(np.exp(-np.exp(np.minimum(log_hits, 700.0))))

    return _over_targets_and_items(items, target / scale, averaged, unit, chosen, failure)


def first_moment_items(eps: float, delta: float, *, law: Law = "uniform", scale: float = 1.0) -> float:
    """Return the rule of thumb n = log2(sqrt(2 pi n v) ln(1/delta) / (2 eps)) >= 1, v = E[X^2]/4: a real number.

    As if every target lay where the subset sums of the given items are densest, and hits were Poisson. It asks for
    too few items at every small delta: compare `items_predicted`. Dead items are counted on top: n is that of live
    items, divided by the share of live ones.

    Args:
        eps: tolerance, in (0, 1).
        delta: failure probability, in (0, 1).
        law: law of one item before scaling.
        scale: the items are `scale` times the law.

    >>> [round(first_moment_items(0.01, delta), 1) for delta in (0.5, 1e-2, 1e-4)]
    [5.9, 9.0, 10.0]
    """
    _check_eps_delta(eps, delta)
    check_setting(0, eps, 0.0, scale)
    chosen = get_law(law, eps / scale)
    variance = chosen.variance * scale**2 / 4.0

    def lacking(n: float) -> float:
        return math.log2(math.sqrt(2.0 * math.pi * n * variance) * -math.log(delta) / (2.0 * eps)) - n

    low = 1.0  # from n = 1 / (2 ln 2) = 0.72 on, n - log2(n) / 2 increases
    if lacking(low) <= 0.0:
        return low / chosen.alive
    high = 2.0 * low
    while lacking(high) > 0.0:
        high *= 2.0
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if lacking(middle) > 0.0 else (low, middle)
    return high / chosen.alive


def _quenched(items: Counts, eps: float, z: float, variance: float) -> Array:
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
    law: Law = "uniform",
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

    >>> round(quenched_failure(20, 0.01, target=0.1), 7)
    3.02e-05
    """
    check_setting(items, eps, target, scale)
    chosen, unit = get_law(law, eps / scale), eps / scale

    def failure(counts: Counts, z: float) -> Array:
        return _quenched(counts, unit, z, chosen.variance)

    return _over_targets_and_items(items, target / scale, averaged, unit, chosen, failure)


def _combine(prediction: float, floor: float, combine: Combine) -> float:
    if combine not in get_args(Combine):
        raise ValueError(f"combine is 'sum' or 'max', got {combine!r}")
    return min(1.0, prediction + floor) if combine == "sum" else max(prediction, floor)


def _of_size(
    items: int,
    size: int,
    eps: float,
    law: ItemLaw,
    target: float,
    averaged: bool,
    scale: float,
    method: Method,
    draws: int,
    seed: int,
) -> float:
    if method == "quenched":
        raise ValueError(
            "method 'quenched' knows no subsets of a fixed size: use 'combined', 'annealed' or 'saddlepoint'"
        )
    counted = fixed_size_failure(items, size, eps, law=law, target=target, averaged=averaged, scale=scale)
    if method == "annealed":
        return counted
    if items < size:
        return 1.0
    found = saddlepoint_failure(
        items, eps, law=law, target=target, averaged=averaged, scale=scale, size=size, draws=draws, seed=seed
    )
    return found.value if method == "saddlepoint" else max(counted, found.value)


def failure_predicted(
    items: int,
    eps: float,
    *,
    law: Law = "uniform",
    target: float = 1.0,
    averaged: bool = False,
    scale: float = 1.0,
    combine: Combine = "sum",
    method: Method = "combined",
    size: int | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> float:
    """Predict the failure probability of one subset sum; a prediction, not a bound.

    Args:
        items: number of items, dead ones included.
        eps: tolerance, > 0.
        law: law of one item before scaling; "hyperbolic" items are as small as eps.
        target: |z|, or the largest |z| when averaged.
        averaged: take z ~ U(-target, target).
        scale: the items are `scale` times the law.
        combine: "sum" or "max" of the quenched prediction and the floor, for method "combined". In the tail,
            simulations lie between the two for uniform items (for products somewhat above); where failures are
            likely, the sum is too large.
        method: "combined": quenched and coverage floor; for a fixed size the larger of the annealed and the saddlepoint
            prediction. "annealed", "quenched": without the floor. "saddlepoint": `saddlepoint_failure(...).value`,
            which is the floor where the draws cannot tell.
        size: only subsets of exactly this many items count; None for all subsets.
        draws, seed: of the saddlepoint prediction.

    >>> round(failure_predicted(12, 0.01, averaged=True), 3)
    0.028
    >>> [round(failure_predicted(15, 0.01, averaged=True, size=k), 3) for k in (1, 2, 3)] # simulated .862 .471 .083
    [0.861, 0.461, 0.079]
    """
    check_setting(items, eps, target, scale, size)
    if method not in get_args(Method):
        raise ValueError(f"method is one of {', '.join(get_args(Method))}, got {method!r}")
    chosen = get_law(law, eps / scale)
    if size is not None:
        return _of_size(items, size, eps, chosen, target, averaged, scale, method, draws, seed)
    if method == "annealed":
        return annealed_failure(items, eps, law=chosen, target=target, averaged=averaged, scale=scale)
    if method == "saddlepoint":
        found = saddlepoint_failure(
            items, eps, law=chosen, target=target, averaged=averaged, scale=scale, draws=draws, seed=seed
        )
        return found.value
    quenched = quenched_failure(items, eps, law=chosen, target=target, averaged=averaged, scale=scale)
    if method == "quenched":
        return quenched
    if (target - eps) / scale > most_units(chosen):
        raise ValueError(
            f"the floor of {chosen.name} items is followed up to {most_units(chosen)} item units, got a target of "
            f"{target:g} with scale {scale:g}: scale the targets down, or use method 'saddlepoint'"
        )
    floor = coverage_floor(items, eps, law=chosen, target=target, averaged=averaged, scale=scale)
    share = max(0.0, (target - eps) / target) if averaged and target > 0.0 else 1.0  # of the targets beyond eps
    return min(share, _combine(quenched, floor, combine))


def _check_eps_delta(eps: float, delta: float) -> None:
    if not 0.0 < eps < 1.0 or not 0.0 < delta < 1.0:
        raise ValueError(f"eps and delta must lie in (0, 1), got eps = {eps}, delta = {delta}")


def _check_feasible(eps: float, scale: float, size: int | None) -> None:
    """Refuse a search that would take minutes."""
    if not eps / scale >= _FINEST:
        raise ValueError(f"numbers of items are found for eps >= {_FINEST:g} item units, got {eps / scale:g}")
    if size is not None and size > _MOST_SIZE:
        raise ValueError(f"numbers of items are found for subsets of at most {_MOST_SIZE} items, got size {size}")


def smallest_items(
    failure: Callable[[int], float], delta: float, setting: str, *, start: int = 0, guess: int | None = None
) -> int:
    """Return the smallest number of items, from `start` on, where a falling failure probability is at most delta.

    Args:
        failure: of a number of items.
        delta: where it is to come down to.
        setting: in words, for the message.
        start: least answer.
        guess: where to begin, if calls are dear: by single steps, then by doubled ones.

    Raises:
        ValueError: more than 4096 would be needed.
    """
    low, high, step = start - 1, 8 if guess is None else max(start, guess), 1
    if guess is None:
        if failure(start) <= delta:
            return start
        low = start
    else:
        while high > start and failure(max(high - step, start)) <= delta:
            high, step = max(high - step, start), 2 * step
        low = max(high - step, start - 1)
    # either the walk down ended, or it never began: below `low` the answer does not lie
    step = 1
    while failure(high) > delta:
        low, high, step = high, 2 * high if guess is None else high + step, 2 * step
        if high > _MOST_ITEMS:
            raise ValueError(
                f"more than {_MOST_ITEMS} items would be needed for {setting}, delta = {delta}: "
                "scale the targets down, or loosen eps"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if failure(middle) > delta else (low, middle)
    return high


@lru_cache(maxsize=4096)
def items_predicted(
    eps: float,
    delta: float,
    law: Law = "uniform",
    *,
    target: float = 1.0,
    averaged: bool = False,
    scale: float = 1.0,
    combine: Combine = "sum",
    method: Method = "combined",
    size: int | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> int:
    """Return how many items are expected to suffice for one target with failure probability delta; no proof.

    For N targets give delta / N: then delta is the expected number of failures. The default method is made for the
    tail: at delta = 0.5 it asks for 2 to 4 items too many (the sum of two terms that exclude each other); there use
    "saddlepoint".

    Args:
        eps: tolerance, in (0, 1).
        delta: failure probability of this one target, in (0, 1); 1e-12 is fine but for method "saddlepoint", which
            knows only the floor there.
        law: law of one item before scaling.
        target: |z|, or the largest |z| when averaged.
        averaged: take z ~ U(-target, target).
        scale: the items are `scale` times the law.
        combine: "sum" (cautious) or "max" of prediction and floor.
        method, size, draws, seed: see `failure_predicted`.

    Returns:
        The smallest number of items whose predicted failure is at most delta (0 when |z| <= eps).

    Raises:
        ValueError: eps or delta outside (0, 1), or more than 4096 items would be needed.

    >>> [items_predicted(0.01, 0.1 / 397_000, target=r, averaged=True) for r in (1.0, 0.5)]
    [33, 29]
    >>> [items_predicted(0.01, 1e-3, averaged=True, method=m) for m in ("annealed", "quenched", "saddlepoint")]
    [11, 17, 18]
    """
    _check_eps_delta(eps, delta)
    _check_feasible(eps, scale, size)

    def failure(items: int) -> float:
        return failure_predicted(
            items,
            eps,
            law=law,
            target=target,
            averaged=averaged,
            scale=scale,
            combine=combine,
            method=method,
            size=size,
            draws=draws,
            seed=seed,
        )

    setting = f"eps = {eps}, target = {target}, scale = {scale}"
    if not (method == "saddlepoint" or (method == "combined" and size is not None)):
        return smallest_items(failure, delta, setting)
    # draws are dear: begin near the answer, and not before the floor, which they are held to, comes down to delta
    start = floor_items(eps, delta, law, target=target, averaged=averaged, scale=scale, size=size)
    quick: Method = "quenched" if size is None else "annealed"
    guess = items_predicted(eps, delta, law, target=target, averaged=averaged, scale=scale, method=quick, size=size)
    return smallest_items(failure, delta, setting, start=start, guess=guess)


@lru_cache(maxsize=4096)
def floor_items(
    eps: float,
    delta: float,
    law: Law = "uniform",
    *,
    target: float = 1.0,
    averaged: bool = False,
    scale: float = 1.0,
    size: int | None = None,
) -> int:
    """Return the number of items below which failures are more frequent than delta, whatever the method: proved.

    Args:
        eps: tolerance, in (0, 1).
        delta: failure probability of one target, in (0, 1).
        law: law of one item before scaling.
        target: |z|, or the largest |z| when averaged.
        averaged: take z ~ U(-target, target).
        scale: the items are `scale` times the law.
        size: only subsets of exactly this many items count.

    >>> [floor_items(0.01, 1e-6, law, averaged=True) for law in ("uniform", "product", "normal")]
    [30, 44, 28]
    """
    _check_eps_delta(eps, delta)
    _check_feasible(eps, scale, size)

    def failure(items: int) -> float:
        known = coverage_floor(items, eps, law=law, target=target, averaged=averaged, scale=scale)
        if size is None:
            return known
        if items < size:
            return 1.0
        exact = get_law(law, eps / scale).name == "uniform"
        sized = fixed_size_floor(items, size, eps, target=target, averaged=averaged, scale=scale) if exact else 0.0
        return max(known, sized)

    return smallest_items(failure, delta, f"eps = {eps}, target = {target}, scale = {scale}")
