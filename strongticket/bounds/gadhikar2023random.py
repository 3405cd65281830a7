"""Gadhikar, Mukherjee & Burkholz 2023, "Why random pruning is all we need to start sparse": random sparse sources.

Each edge of the source is there with probability p, independently. The paper: such a network can represent any target
if it is wider by a factor of the order 1/log(1/(1 - p)), which three-layer networks need. In exact form, **derived by
strongticket**:

- `link_copies`: how many copies of each neuron make all links of a target available, necessary and sufficient;
- `dead_floor`: how often all candidates of a weight are absent, whatever solver is used: hence the same factor for
  strong tickets;
- `explicit_items`, `items_for_network`: a rigorous number of candidates for product gadgets of sparse weights;
- `failure_thinned`: the predicted failures, a binomial mixture of those with fewer candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.stats import binom

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation
from strongticket.bounds._laws import get_law
from strongticket.bounds._split import ways_to_split
from strongticket.bounds.lueker1998exponentially import explicit_items as subset_sum_items
from strongticket.bounds.lueker1998exponentially import phase_one, phase_two

if TYPE_CHECKING:
    import sympy

__all__ = ["BOUNDS", "SparsePlan", "failure_thinned", "item_plan", "items_for_network", "live_share"]

Assignment = Literal["fixed", "column-aware"]


def _symbols(names: str) -> tuple[sympy.Symbol, ...]:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _probability(p: Any, text: str = "an edge is there, independently of all others") -> Hypothesis:
    import sympy

    return Hypothesis("0 < p < 1", sympy.And(p > 0, p < 1), text)


def _count(symbol: Any, text: str) -> Hypothesis:
    import sympy

    return Hypothesis(
        f"{symbol} integer >= 1", sympy.And(symbol >= 1, sympy.Eq(sympy.floor(symbol), symbol)), text
    )  # fmt: skip


def _delta(symbol: Any) -> Hypothesis:
    import sympy

    return Hypothesis(f"0 < {symbol} < 1", sympy.And(symbol > 0, symbol < 1), "failure probability")


def _width_factor() -> Formula:
    import sympy

    p, delta, N = _symbols("p delta N")
    return Formula(
        sympy.log(N / delta) / sympy.log(1 / (1 - p)),
        (_probability(p), _delta(delta), _count(N, "links of the target")),
    )


def _link_copies() -> Formula:
    import sympy

    p, delta, N = _symbols("p delta N")
    missing = 1 - (1 - delta) ** (1 / N)
    return Formula(
        sympy.ceiling(sympy.log(missing) / sympy.log(1 - p)),
        (_probability(p), _delta(delta), _count(N, "links, each with copies of its own")),
    )


def _dead_floor() -> Formula:
    p, n = _symbols("p n")
    return Formula(
        (1 - p) ** n,
        (_probability(p, "a candidate is not 0"), _count(n, "candidates of the weight")),
    )


def _floor_items() -> Formula:
    import sympy

    p, delta = _symbols("p delta")
    return Formula(
        sympy.log(1 / delta) / sympy.log(1 / (1 - p)),
        (_probability(p, "a candidate is not 0"), _delta(delta)),
    )


def _explicit_items() -> Formula:
    import sympy

    eps, delta, delta_1, c, q, theta, s, p = _symbols("eps delta delta_1 c q theta s p")
    first = sympy.ceiling(sympy.Max(0, phase_one(sympy.log, eps, delta_1, c, p * q, theta, s)))
    second = sympy.ceiling(sympy.Max(0, phase_two(sympy.log, eps, delta - delta_1, c, p * q, theta)))
    return Formula(
        sympy.Piecewise((0, 2 * c * theta <= eps), (first, True)) + second,
        (
            Hypothesis("0 < p <= 1", sympy.And(p > 0, p <= 1), "an item is not 0"),
            Hypothesis("0 < eps <= 2c", sympy.And(eps > 0, eps <= 2 * c), "tolerance, at most the whole range"),
            _delta(delta),
            Hypothesis("0 < delta_1 < delta", sympy.And(delta_1 > 0, delta_1 < delta), "share of the first phase"),
            Hypothesis("0 < q <= 1/2", sympy.And(q > 0, 2 * q <= 1), "q = 2 c f0, f0 = least density if there"),
            Hypothesis("c > 0", c > 0, "targets are all |z| <= c"),
            Hypothesis("0 < theta < 1", sympy.And(theta > 0, theta < 1), "free: where the phases meet"),
            Hypothesis("s > 0", s > 0, "free: exponent of the supermartingale"),
        ),
    )


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "gadhikar2023random.width_factor",
        "copies of each neuron such that each of N links of a target is there in one of the copies, with probability "
        "1 - delta: the union bound, the paper's factor 1/log(1/(1 - p))",
        Relation.UPPER,
        _width_factor,
        "strongticket: N (1 - p)^n <= delta; the paper states the order",
    ),
    Bound(
        "gadhikar2023random.link_copies",
        "least number of copies such that each of N links, with copies of its own, is there in one of them with "
        "probability 1 - delta",
        Relation.TIGHT,
        _link_copies,
        "strongticket: (1 - (1 - p)^n)^N >= 1 - delta, solved",
    ),
    Bound(
        "gadhikar2023random.dead_floor",
        "probability that no subset sum of n sparse items comes within eps of a target beyond eps",
        Relation.LOWER,
        _dead_floor,
        "strongticket: all items are 0",
    ),
    Bound(
        "gadhikar2023random.floor_items",
        "number of sparse items at which a target beyond eps is met with probability 1 - delta",
        Relation.LOWER,
        _floor_items,
        "strongticket: dead_floor, solved for n",
    ),
    Bound(
        "gadhikar2023random.explicit_items",
        "number of items, each 0 with probability 1 - p, such that with probability 1 - delta every |z| <= c is within "
        "eps of a subset sum; any admissible theta, s and delta_1 give a valid number, item_plan() minimises",
        Relation.UPPER,
        _explicit_items,
        "strongticket: lueker1998exponentially.explicit_items for the mixture with weight p, q -> p q",
    ),
)


@dataclass(frozen=True)
class SparsePlan:
    """How many sparse items each weight gets, and why that is enough.

    Attributes:
        items: items per weight: `groups` times those of one group.
        groups: number g of disjoint groups; each meets w/g within weight_eps/g.
        first: items of a group that its growth phase takes; the others complete it.
        values: arguments for the bound `gadhikar2023random.explicit_items` of one group; empty if no item is needed.
    """

    items: int
    groups: int
    first: int
    values: dict[str, float]


def live_share(edges: float, assignment: Assignment) -> float:
    """Return the probability that a candidate's weights are there, given how neurons are assigned.

    With "column-aware" a neuron is assigned for its first weight, which is there; with "fixed" both must be. (Half of
    the fixed ones have the wrong sign besides, which the law "half_product" counts.)

    >>> live_share(0.5, "column-aware"), live_share(0.5, "fixed")
    (0.5, 0.25)
    """
    if not 0.0 < edges <= 1.0:
        raise ValueError(f"edges must lie in (0, 1], got {edges}")
    if assignment not in ("fixed", "column-aware"):
        raise ValueError(f"assignment is 'fixed' or 'column-aware', got {assignment!r}")
    return edges if assignment == "column-aware" else edges * edges


def item_plan(
    num_problems: int,
    weight_eps: float,
    delta: float,
    *,
    edges: float,
    max_target: float = 1.0,
    assignment: Assignment = "fixed",
    u_min: float = 0.9,
    free: float = 1.0,
    max_groups: int = 16,
) -> SparsePlan:
    """Find the cheapest rigorous number of items per weight for a network whose edges are there with probability p.

    Args:
        num_problems: number N of subset-sum problems.
        weight_eps: error allowed per weight, in (0, 1).
        delta: failure probability of the whole network, in (0, 1).
        edges: p, in (0, 1].
        max_target: largest |w|, >= 0.
        assignment: see `live_share`.
        u_min: least first weight of a column-aware item, in (0, 1].
        free: further probability that an item may be chosen, independently, in (0, 1].
        max_groups: numbers of groups tried beyond the least possible.

    Raises:
        ValueError: an argument outside its range.

    >>> [item_plan(1000, 0.01, 0.01, edges=p, max_target=0.5).items for p in (1.0, 0.5)]
    [2004, 8128]
    """
    if isinstance(num_problems, bool) or num_problems < 1 or not 0.0 < weight_eps < 1.0 or not 0.0 < delta < 1.0:
        raise ValueError(
            f"expected problems >= 1, weight_eps and delta in (0, 1), got {num_problems}, {weight_eps}, {delta}"
        )
    if not (0.0 <= max_target < math.inf and 0.0 < u_min <= 1.0 and 0.0 < free <= 1.0):
        raise ValueError(
            f"expected max_target >= 0, u_min and free in (0, 1], got {max_target}, {u_min}, {free}"
        )  # fmt: skip
    share, law = live_share(edges, assignment) * free, get_law("half_product")
    best: SparsePlan | None = None
    for groups, c, q in ways_to_split(max_target, law, u_min if assignment == "column-aware" else None, max_groups):
        found = subset_sum_items(weight_eps / groups, delta / (groups * num_problems), c=c, q=share * q)
        if best is None or groups * found.items < best.items:
            values = {**found.values, "q": q, "p": share} if found.items else {}
            best = SparsePlan(groups * found.items, groups, found.first, values)
    assert best is not None
    return best


def items_for_network(
    num_problems: int,
    weight_eps: float,
    delta: float,
    *,
    edges: float,
    max_target: float = 1.0,
    assignment: Assignment = "fixed",
    u_min: float = 0.9,
) -> int:
    """Return the items to reserve per weight so that all are met with probability 1 - delta, proved; see `item_plan`.

    >>> items_for_network(100, 0.05, 0.01, edges=0.5, assignment="column-aware", u_min=0.5)
    2316
    """
    return item_plan(
        num_problems, weight_eps, delta, edges=edges, max_target=max_target, assignment=assignment, u_min=u_min
    ).items


def failure_thinned(items: int, share: float, failure: Callable[[int], float]) -> float:
    """Return the failure probability of n items of which each is there with this probability.

    The number that is there is binomial, so that failures are a mixture: sum_k Bin(k; n, share) failure(k). Exact if
    `failure` is; with a predicted one, a prediction.

    Args:
        items: n >= 0.
        share: in (0, 1].
        failure: of k items that are all there, k >= 1; with none a target beyond eps fails.

    >>> round(failure_thinned(3, 0.5, lambda k: 0.0), 6)
    0.125
    """
    if items < 0 or not 0.0 < share <= 1.0:
        raise ValueError(f"expected items >= 0 and a share in (0, 1], got {items} and {share}")
    if share == 1.0:
        return failure(items) if items else 1.0
    weights = binom.pmf(np.arange(items + 1), items, share)
    total = float(weights[0])
    for k in range(1, items + 1):
        if weights[k] > 1e-12:  # at most 1e-12 for each is left out
            total += float(weights[k]) * failure(k)
    return min(1.0, total)
