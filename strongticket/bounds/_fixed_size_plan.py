"""How many items give every weight a subset of exactly k: disjoint groups, each likely enough to serve it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from scipy.stats import binom

from strongticket.bounds._counting import entropy
from strongticket.bounds._uniform_sums import hit_probability

__all__ = ["ItemPlan", "group_success", "item_plan", "theorem2_items"]

_SLACK = 1e-9  # relative, against rounding


def _check_size(size: int, eps: float) -> None:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(f"size must be an integer >= 1, got {size!r}")
    if not 0.0 < eps < 1.0:
        raise ValueError(f"eps must lie in (0, 1), got {eps}")


def theorem2_items(size: int, eps: float, c_hyp: float = 1.0) -> int:
    """Return the least n >= 2k with n H2(k/n) >= c_hyp log2(k/eps): then a fixed |z| <= sqrt(k) is likely within reach.

    Args:
        size: number k of items chosen.
        eps: tolerance, in (0, 1).
        c_hyp: constant of the paper, >= 1; with 1, `theorem2_probability` is proved.

    >>> [theorem2_items(k, 0.01) for k in (1, 2, 3, 6)]
    [38, 12, 9, 12]
    """
    _check_size(size, eps)
    if not 0.0 < c_hyp < math.inf:
        raise ValueError(f"c_hyp must be positive, got {c_hyp}")
    needed = c_hyp * math.log2(size / eps) * (1.0 + _SLACK)
    return _least(lambda n: n * entropy(size / n) >= needed, 2 * size)


def _least(enough: Callable[[int], bool], low: int) -> int:
    """Least integer >= low with a property that never gets lost."""
    if enough(low):
        return low
    high = 2 * low
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@lru_cache(maxsize=4096)
def group_success(items: int, size: int, eps: float, target: float, u_min: float = 1.0) -> float:
    """Return a proved lower bound on P(some `size` of n items lie within eps of z), for column-aware candidates.

    A candidate u v with u in [u_min, 1] and v ~ U(-1, 1) is, given u, uniform on [-u, u], hence with probability
    u_min / u >= u_min one of U(-u_min, u_min). So at least Binomial(n, u_min) of them are independent U(-u_min, u_min)
    numbers, to which `hit_probability` applies, in units of u_min. Rounded down. Ours.

    Args:
        items: number of candidates n.
        size: number k chosen.
        eps: tolerance, > 0.
        target: largest |z|.
        u_min: least first weight, in (0, 1]; 1 for plain items U(-1, 1).

    >>> round(group_success(24, 3, 0.01, 0.5, 1.0), 2), round(group_success(24, 3, 0.01, 0.5, 0.5), 2)
    (0.82, 0.47)
    """
    if not 0.0 < u_min <= 1.0:
        raise ValueError(f"u_min must lie in (0, 1], got {u_min}")
    width, far = Fraction(eps) / Fraction(u_min), Fraction(target) / Fraction(u_min)
    if u_min == 1.0:
        return _down(float(hit_probability(items, size, width, far)))
    weights = binom.pmf(np.arange(items + 1), items, u_min)
    terms = (weights[good] * float(hit_probability(good, size, width, far)) for good in range(size, items + 1))
    return _down(math.fsum(terms))


def _down(value: float) -> float:
    return min(1.0, max(0.0, value * (1.0 - _SLACK)))


@dataclass(frozen=True)
class ItemPlan:
    """So many disjoint groups of items, each of which serves a weight with some probability, fail for no weight.

    Attributes:
        items: items per weight, `groups * group`.
        groups: number of groups.
        group: items in one group.
        success: proved probability that one group has a sum of k items within the tolerance.
        values: arguments for the bound `natale2024sparsity.explicit_items`.
    """

    items: int
    groups: int
    group: int
    success: float
    values: dict[str, float]


def item_plan(
    size: int,
    weight_eps: float,
    delta: float,
    *,
    problems: int = 1,
    max_target: float = 1.0,
    u_min: float = 1.0,
    groups_of: Sequence[int] | None = None,
) -> ItemPlan:
    """Find a proved number of items per weight such that each of N weights has a subset of exactly k within tolerance.

    The items are cut into groups; one of them fails a weight with probability at most 1 - p (`group_success`), all of
    them with (1 - p)^groups, some weight with N times that. Ours.

    Args:
        size: number k of items per weight.
        weight_eps: tolerance of each weight, in (0, 1).
        delta: failure probability of all weights together, in (0, 1).
        problems: number N of weights (subset-sum problems).
        max_target: largest |weight|.
        u_min: least first weight of a candidate, see `group_success`.
        groups_of: sizes of groups to try; by default the cheapest of a range.

    Raises:
        ValueError: a parameter outside its range, or targets that k items do not reach.

    >>> plan = item_plan(2, 0.01, 0.01, problems=4096, max_target=0.5)
    >>> plan.items, plan.groups, plan.group
    (288, 8, 36)
    """
    _check_size(size, weight_eps)
    if not 0.0 < delta < 1.0 or problems < 1 or not 0.0 <= max_target < math.inf:
        raise ValueError(
            f"delta in (0, 1), problems >= 1 and max_target >= 0 are needed, got {delta}, {problems}, {max_target}"
        )
    tried = tuple(groups_of) if groups_of is not None else _group_sizes(size, weight_eps)
    best: ItemPlan | None = None
    for group in tried:
        success = group_success(group, size, weight_eps, max_target, u_min) if group >= size else 0.0
        if success <= 0.0:
            continue
        exact = math.log(problems / delta) / -math.log1p(-min(success, 1.0 - 1e-16))
        groups = max(1, math.ceil(exact * (1.0 + _SLACK)))
        if best is None or groups * group < best.items:
            values = {"group": group, "p": success, "N": problems, "delta": delta}
            best = ItemPlan(groups * group, groups, group, success, values)
    if best is None:
        raise ValueError(f"{size} items of magnitude <= {u_min:g} do not come within {weight_eps:g} of {max_target:g}")
    return best


def _group_sizes(size: int, eps: float) -> tuple[int, ...]:
    start = theorem2_items(size, eps)
    return tuple(sorted({max(size, round(start * factor)) for factor in (0.5, 0.7, 1, 1.4, 2, 2.5, 3, 3.5, 4, 5, 6)}))
