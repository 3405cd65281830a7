"""Otsuka et al. 2025, "Partially frozen random networks contain compact strong lottery tickets": frozen edges.

A random share of the source is out of reach of the search: some edges are pruned for good, others are locked and stay
in every ticket. The paper extends the subset-sum argument to such sources, with an unspecified constant. Here,
**derived by strongticket**: pruned candidates are those of a sparse source (gadhikar2023random); locked ones add up to
a number Z that shifts the target, so that the free ones must reach w - Z.

- `locked_shift`: how far that is, by Bernstein's inequality;
- `opposing_sum`: how far free candidates of one sign reach back, by Hoeffding's inequality;
- `items_for_network`: a rigorous number of candidates;
- `failure_predicted`: the expected failures, without proof;
- `searched_share`: what is left to search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation
from strongticket.bounds.gadhikar2023random import Assignment, item_plan, live_share

if TYPE_CHECKING:
    import sympy

__all__ = ["BOUNDS", "failure_predicted", "items_for_network", "locked_shift", "opposing_sum"]

_MOST_ITEMS = 1 << 20


def _symbols(names: str) -> tuple[sympy.Symbol, ...]:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _locked_shift() -> Formula:
    import sympy

    n, r, delta = _symbols("n r delta")
    tail = sympy.log(2 / delta)
    return Formula(
        tail / 3 + sympy.sqrt(tail**2 / 9 + 2 * n * r * tail / 3),
        (
            Hypothesis("n integer >= 1", sympy.And(n >= 1, sympy.Eq(sympy.floor(n), n)), "candidates of the weight"),
            Hypothesis("0 <= r <= 1", sympy.And(r >= 0, r <= 1), "a candidate is locked, independently"),
            Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "failure probability"),
        ),
    )


def _searched_share() -> Formula:
    import sympy

    pruned, locked = _symbols("pruned locked")
    return Formula(
        1 - pruned - locked,
        (
            Hypothesis("pruned >= 0", pruned >= 0, "share of the edges that is pruned for good"),
            Hypothesis("locked >= 0", locked >= 0, "share of the edges that is locked"),
            Hypothesis("pruned + locked < 1", sympy.And(pruned + locked < 1), "something is left to choose"),
        ),
    )


def _opposing_sum() -> Formula:
    import sympy

    n, mean, delta = _symbols("n mean delta")
    return Formula(
        n * mean - sympy.sqrt(n * sympy.log(1 / delta) / 2),
        (
            Hypothesis("n integer >= 1", sympy.And(n >= 1, sympy.Eq(sympy.floor(n), n)), "candidates"),
            Hypothesis("0 < mean <= 1", sympy.And(mean > 0, mean <= 1), "least mean of max(X, 0), 0 if X is not free"),
            Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "failure probability"),
        ),
    )


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "otsuka2025partially.locked_shift",
        "magnitude that the sum of the locked ones among n candidates u v exceeds with probability delta at most",
        Relation.UPPER,
        _locked_shift,
        "strongticket: Bernstein's inequality; candidates lie in [-1, 1] and have mean square <= 1/3",
    ),
    Bound(
        "otsuka2025partially.opposing_sum",
        "sum of the free candidates of one sign that is undercut with probability delta at most",
        Relation.LOWER,
        _opposing_sum,
        "strongticket: Hoeffding's inequality; candidates lie in [-1, 1]",
    ),
    Bound(
        "otsuka2025partially.searched_share",
        "bits of the mask that are searched for each edge of the source",
        Relation.TIGHT,
        _searched_share,
        "by definition: frozen edges come from the seed",
    ),
)


def locked_shift(items: int, locked: float, delta: float) -> float:
    """Return the bound `otsuka2025partially.locked_shift`, in floats; 0 where nothing is locked.

    >>> round(locked_shift(30, 0.5, 0.01), 3)
    9.256
    """
    if items < 0 or not 0.0 <= locked < 1.0 or not 0.0 < delta < 1.0:
        raise ValueError(f"expected items >= 0, locked in [0, 1), delta in (0, 1), got {items}, {locked}, {delta}")
    if not locked or not items:
        return 0.0
    tail = math.log(2.0 / delta)
    return tail / 3.0 + math.sqrt(tail * tail / 9.0 + 2.0 * items * locked * tail / 3.0)


@lru_cache(maxsize=256)
def items_for_network(
    num_problems: int,
    weight_eps: float,
    delta: float,
    *,
    locked: float,
    edges: float = 1.0,
    max_target: float = 1.0,
    assignment: Assignment = "fixed",
    u_min: float = 0.9,
) -> int:
    """Return candidates per weight such that the free ones meet all weights, with probability 1 - delta: proved.

    Candidates come in two parts. Free ones of the first part that have the sign of w - Z are taken one by one until
    what is left lies in [-1/2, 1/2]: none is larger than 1, so it is not missed. The second part meets what is left.
    Half of delta pays for the second part, a quarter for locked sums beyond `locked_shift`, a quarter for first parts
    that do not reach far enough (of either sign).

    Args:
        num_problems: number of subset-sum problems.
        weight_eps: error allowed per weight, in (0, 1).
        delta: failure probability of the whole network, in (0, 1).
        locked: share of the second layer's edges that is locked, in [0, 1).
        edges: share of the edges that is there at all, in (0, 1].
        max_target: largest |w|.
        assignment: see `gadhikar2023random.live_share`.
        u_min: least first weight of a column-aware item.

    Raises:
        ValueError: an argument outside its range, or more than 2^20 candidates.

    >>> [items_for_network(10, 0.05, 0.01, locked=r, assignment="column-aware", u_min=0.5) for r in (0.0, 0.25)]
    [968, 2124]
    """
    if not 0.0 <= locked < 1.0:
        raise ValueError(f"locked must lie in [0, 1), got {locked}")
    if not 0.0 <= max_target < math.inf:
        raise ValueError(f"max_target must be finite and at least 0, got {max_target}")
    plan = partial(
        item_plan, num_problems, weight_eps, edges=edges, assignment=assignment, u_min=u_min, free=1.0 - locked
    )
    if not locked:
        return plan(delta, max_target=max_target).items
    main = plan(delta / 2.0, max_target=0.5).items
    # E max(X, 0) of u v: u >= u_min, or u ~ U(0, 1) with probability 1/2; E max(v, 0) = 1/4
    mean = (
        (1.0 - locked) * live_share(edges, assignment) * (u_min / 4.0 if assignment == "column-aware" else 1.0 / 16.0)
    )
    each = delta / (4.0 * num_problems)

    def enough(first: int) -> bool:
        reach = opposing_sum(first, mean, each / 2.0)
        return reach >= max_target + locked_shift(first + main, locked, each) - 0.5

    low, high = -1, 16
    while not enough(high):
        low, high = high, 2 * high
        if high > _MOST_ITEMS:
            raise ValueError(f"more than {_MOST_ITEMS} candidates per weight: lock less, or loosen weight_eps")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high + main


def opposing_sum(items: int, mean: float, delta: float) -> float:
    """Return the bound `otsuka2025partially.opposing_sum`, in floats; it may be negative, and then says nothing.

    >>> round(opposing_sum(200, 0.1, 0.01), 3)
    -1.46
    """
    if items < 0 or not 0.0 <= mean <= 1.0 or not 0.0 < delta < 1.0:
        raise ValueError(f"expected items >= 0, mean in [0, 1], delta in (0, 1), got {items}, {mean}, {delta}")
    return items * mean - math.sqrt(items * math.log(1.0 / delta) / 2.0)


def failure_predicted(
    items: int,
    locked: float,
    target: float,
    variance: float,
    failure: Callable[[int, float], float],
    *,
    share: float = 1.0,
    nodes: int = 9,
) -> float:
    """Predict how often n candidates miss a target when some are locked; no proof.

    Each candidate is there with probability `share`; of those that are there, each is locked with probability `locked`.
    The locked sum is taken for Gaussian, and for independent of how many are free.

    Args:
        items: n >= 1.
        locked: in [0, 1).
        target: w.
        variance: mean square of a candidate that is there.
        failure: predicted, of k free candidates and a target of this magnitude.
        share: in (0, 1].
        nodes: of the Gauss-Hermite rule.

    >>> round(failure_predicted(20, 0.0, 0.5, 1 / 3, lambda k, z: 0.5**k), 8)
    9.5e-07
    """
    x, weights = np.polynomial.hermite_e.hermegauss(nodes if locked else 1)
    spread = math.sqrt(items * share * locked * variance)
    free = binom.pmf(np.arange(items + 1), items, share * (1.0 - locked))
    total = 0.0
    for k in range(items + 1):
        if free[k] > 1e-12:
            misses = [failure(k, abs(target - spread * float(z))) if k else 1.0 for z in x]
            total += float(free[k]) * float(np.dot(weights, misses)) / float(weights.sum())
    return min(1.0, total)
