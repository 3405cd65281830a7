"""Pensia et al. 2020, "Optimal lottery tickets via subset sum: logarithmic over-parameterization is sufficient".

- `theorem1_width`: the published width C log(2 L d d' / min(eps, delta)); C is left open by the paper.
- `explicit_items`, `item_plan`, `items_for_network`: an explicit and rigorous number of items per weight, from our
  bound for subset sums and a union bound over the weights. **Derived by strongticket.**
- `paper_weight_eps`, `weight_eps`: the error that each weight may have, by the paper and by a tighter closed form.
- `theorem2_parameters`, `theorem2_kept`: the counting lower bound.
- `items_for_network(..., mode="information_limit")`: a prediction, without proof.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import binom

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation
from strongticket.bounds._counting import log_choose
from strongticket.bounds._information import items_predicted
from strongticket.bounds._laws import LawName, get_law
from strongticket.bounds._propagation import closed_form_error, propagate_error, weight_budget
from strongticket.bounds._split import ways_to_split
from strongticket.bounds.lueker1998exponentially import ExplicitItems, phase_one, phase_two
from strongticket.bounds.lueker1998exponentially import explicit_items as subset_sum_items

__all__ = [
    "BOUNDS",
    "Assignment",
    "ItemPlan",
    "cheapest_plan",
    "closed_form_error",
    "item_plan",
    "items_for_network",
    "neurons_for_picks",
    "paper_weight_eps",
    "propagate_error",
    "theorem2_kept",
    "weight_eps",
]

Assignment = Literal["fixed", "column-aware"]
Mode = Literal["theorem", "information_limit"]


def _symbols(names: str) -> Any:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _is_count(symbol: Any) -> Any:
    import sympy

    return sympy.And(symbol >= 1, sympy.Eq(sympy.floor(symbol), symbol))


def _shape_hypotheses(eps: Any, delta: Any, counts: Sequence[Any]) -> tuple[Hypothesis, ...]:
    import sympy

    (norm,) = _symbols("norm")
    return (
        Hypothesis("0 < eps < 1", sympy.And(eps > 0, eps < 1), "error of the network on the unit ball"),
        Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "failure probability"),
        Hypothesis("norm <= 1", norm <= 1, "largest spectral norm of the target's layers"),
        *(Hypothesis(f"{count.name} integer >= 1", _is_count(count), "a count") for count in counts),
    )


def _theorem1_width() -> Formula:
    import sympy

    C, L, d_in, d_out, eps, delta = _symbols("C L d_in d_out eps delta")
    return Formula(
        C * sympy.log(2 * L * d_in * d_out / sympy.Min(eps, delta)),
        (
            *_shape_hypotheses(eps, delta, (L, d_in, d_out)),
            Hypothesis("C > 0", C > 0, "universal constant, not given by the paper"),
        ),
        frozenset({"C"}),
    )


def _paper_weight_eps() -> Formula:
    L, d_in, d_out, eps, delta = _symbols("L d_in d_out eps delta")
    return Formula(eps / (2 * L * d_in * d_out), _shape_hypotheses(eps, delta, (L, d_in, d_out)))


def _source_parameters() -> Formula:
    m, d_in, d_out = _symbols("m d_in d_out")
    counts = tuple(Hypothesis(f"{x.name} integer >= 1", _is_count(x), "a count") for x in (m, d_in, d_out))
    return Formula(m * d_in * (d_in + d_out), counts)


def _explicit_items() -> Formula:
    import sympy

    weight_eps, delta, delta_1, c, q, theta, s, g, N, r = _symbols(
        "weight_eps delta delta_1 c q theta s g N max_target"
    )
    first = phase_one(sympy.log, weight_eps / g, delta_1, c, q, theta, s)
    second = phase_two(sympy.log, weight_eps / g, delta / (g * N) - delta_1, c, q, theta)
    started = sympy.Piecewise(
        (0, 2 * c * theta * g <= weight_eps), (sympy.ceiling(sympy.Max(0, first)), True)
    )  # fmt: skip
    return Formula(
        g * (started + sympy.ceiling(sympy.Max(0, second))),
        (
            Hypothesis("0 < weight_eps <= 2cg", sympy.And(weight_eps > 0, weight_eps <= 2 * c * g), "error per weight"),
            Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "failure probability of the network"),
            Hypothesis("0 <= max_target <= g c", sympy.And(r >= 0, r <= g * c), "one group of items reaches |w| <= c"),
            Hypothesis("g integer >= 1", _is_count(g), "groups of items whose sums add up to the weight"),
            Hypothesis("N integer >= 1", _is_count(N), "subset-sum problems; twice the weights for signed inputs"),
            Hypothesis("0 < q <= 1/2", sympy.And(q > 0, 2 * q <= 1), "q = 2 c f0, f0 = least density on [-2c, 2c]"),
            Hypothesis("c > 0", c > 0, "range of one group"),
            Hypothesis("0 < theta < 1", sympy.And(theta > 0, theta < 1), "free: where the phases meet"),
            Hypothesis("s > 0", s > 0, "free: exponent of the supermartingale"),
            Hypothesis(
                "0 < delta_1 < delta/(g N)", sympy.And(delta_1 > 0, delta_1 * g * N < delta), "share of the first phase"
            ),
        ),
    )


def _network_error() -> Formula:
    L, e, alpha = _symbols("L e alpha")
    (norm,) = _symbols("norm")
    return Formula(
        alpha * ((1 + e) ** L - 1),
        (
            Hypothesis("e >= 0", e >= 0, "spectral norm of each layer's error"),
            Hypothesis("alpha >= 0", alpha >= 0, "largest norm of an input"),
            Hypothesis("L integer >= 1", _is_count(L), "layers"),
            Hypothesis("norm <= 1", norm <= 1, "largest spectral norm of the target's layers"),
        ),
    )


def _theorem2_parameters() -> Formula:
    import sympy

    d, eps = _symbols("d eps")
    return Formula(
        d**2 * sympy.log(1 / (2 * eps)) / sympy.log(2) - 1,
        (
            Hypothesis("0 < eps < 1/2", sympy.And(eps > 0, 2 * eps < 1), "spectral error of the linear target"),
            Hypothesis("d integer >= 1", _is_count(d), "the targets are all d x d matrices of spectral norm <= 1"),
        ),
    )


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "pensia2020optimal.theorem1_width",
        "n_i: random neurons per input and per sign in the source layer pair for a target layer of d_in x d_out",
        Relation.UPPER,
        _theorem1_width,
        "Theorem 1; the constant C is universal and not given",
    ),
    Bound(
        "pensia2020optimal.paper_weight_eps",
        "tolerance of each weight: if no weight is off by more, the network of L layers is within eps on the unit ball",
        Relation.BUDGET,
        _paper_weight_eps,
        "proof of Theorem 1: eps/(2L) per layer, divided by the number of weights; weight_eps() is tighter",
    ),
    Bound(
        "pensia2020optimal.source_parameters",
        "weights of the random source for one target layer of d_in x d_out with m neurons per input",
        Relation.TIGHT,
        _source_parameters,
        "shapes in Theorem 1, m = 2 n_i",
    ),
    Bound(
        "pensia2020optimal.explicit_items",
        "items per weight such that all N weights |w| <= max_target are reached within weight_eps, with probability "
        "1 - delta; any admissible theta, s, delta_1, c and g give a valid number, item_plan() minimises over them",
        Relation.UPPER,
        _explicit_items,
        "strongticket: our subset-sum bound, disjoint groups of items, union bound over the weights",
    ),
    Bound(
        "pensia2020optimal.network_error",
        "error on the ball of radius alpha of L layers of norm <= 1 whose matrices are each wrong by e in norm",
        Relation.UPPER,
        _network_error,
        "strongticket: closed form of the layer recursion",
    ),
    Bound(
        "pensia2020optimal.theorem2_parameters",
        "parameters of any source that contains, with probability >= 1/2, a ticket within eps of each linear target",
        Relation.LOWER,
        _theorem2_parameters,
        "Theorem 2, explicit: 2^parameters >= (1/2) (1/(2 eps))^(d^2)",
    ),
)


def paper_weight_eps(network_eps: float, depth: int, d_in: int, d_out: int) -> float:
    """Return the paper's error per weight, eps / (2 L d_in d_out).

    >>> paper_weight_eps(0.1, 2, 5, 5)
    0.001
    """
    bound = next(bound for bound in BOUNDS if bound.key == "pensia2020optimal.paper_weight_eps")
    return bound(eps=network_eps, L=depth, d_in=d_in, d_out=d_out)


def weight_eps(
    shapes: Sequence[tuple[int, int]],
    network_eps: float,
    *,
    norms: Sequence[float] | None = None,
    radius: float = 1.0,
    bias_norms: Sequence[float] | None = None,
) -> float:
    """Return the largest common error per weight that keeps the network within network_eps: a tighter budget.

    An error of at most e per entry is at most e sqrt(d_out d_in) in spectral norm (and e sqrt(d_out) per bias), and
    the layer recursion turns these into the network's error; e is found by bisection.

    Args:
        shapes: (d_out, d_in) of each layer, first layer first.
        network_eps: allowed error on the ball of this radius, > 0.
        norms: spectral norms of the layers; 1 for each when None, as in the theorem.
        radius: largest Euclidean norm of an input.
        bias_norms: norms of the biases when the layers have biases, which are then made of items too.

    >>> round(weight_eps([(5, 5), (5, 5)], 0.1), 6) # the paper's is 0.001
    0.009762
    """
    if not shapes or any(a < 1 or b < 1 for a, b in shapes):
        raise ValueError(f"shapes must be (d_out, d_in) pairs of positive sizes, got {list(shapes)}")
    a = [1.0] * len(shapes) if norms is None else list(norms)
    roots = [math.sqrt(d_out * d_in) for d_out, d_in in shapes]
    bias_roots = [math.sqrt(d_out) if bias_norms is not None else 0.0 for d_out, _ in shapes]

    def error_at(e: float) -> float:
        return propagate_error(
            a,
            [e * root for root in roots],
            radius=radius,
            bias_norms=bias_norms,
            bias_errors=[e * root for root in bias_roots],
        )

    return weight_budget(error_at, network_eps)


@dataclass(frozen=True)
class ItemPlan:
    """How many items each weight gets, and why that is enough.

    A weight |w| <= max_target is split as w = w_1 + ... + w_g, w_t = w / g; each part is a subset sum of its own
    group of items within weight_eps / g, with failure probability delta / (g N). The union over the groups is one
    subset for w, with error at most weight_eps.

    Attributes:
        items: items per weight, `groups * per_group.items`; for the "fixed" assignment dead items are included.
        groups: number g of disjoint groups.
        per_group: our subset-sum bound for one group.
        values: arguments for the bound `pensia2020optimal.explicit_items`; empty when no item is needed.
    """

    items: int
    groups: int
    per_group: ExplicitItems
    values: dict[str, float]


def _check_network(num_problems: int, weight_eps: float, delta: float, max_target: float, u_min: float) -> None:
    if isinstance(num_problems, bool) or not isinstance(num_problems, int | np.integer) or num_problems < 1:
        raise ValueError(f"num_problems must be an integer >= 1, got {num_problems!r}")
    if not 0.0 < weight_eps < 1.0 or not 0.0 < delta < 1.0:
        raise ValueError(f"weight_eps and delta must lie in (0, 1), got {weight_eps} and {delta}")
    if not 0.0 <= max_target < math.inf:
        raise ValueError(f"max_target must be a magnitude >= 0 and finite, got {max_target}")
    if not 0.0 < u_min <= 1.0:
        raise ValueError(f"u_min must lie in (0, 1], got {u_min}")


def item_plan(
    num_problems: int,
    weight_eps: float,
    delta: float,
    *,
    max_target: float = 1.0,
    assignment: Assignment = "fixed",
    u_min: float = 0.9,
    max_groups: int = 16,
) -> ItemPlan:
    """Find the cheapest rigorous number of items per weight for a whole network.

    Args:
        num_problems: number N of subset-sum problems: the weights, and twice as many for signed inputs.
        weight_eps: error allowed per weight, in (0, 1).
        delta: failure probability of the whole network, in (0, 1).
        max_target: largest |w|; <= 1 for targets of spectral norm <= 1.
        assignment: "fixed" for the paper's blocks (u ~ U(-1, 1), half of the items dead); "column-aware" when each
            item's first weight is known to be u >= u_min (items with a smaller u do not count).
        u_min: least first weight of a column-aware item, in (0, 1].
        max_groups: largest number of groups tried beyond the least possible.

    >>> item_plan(397_000, 0.01, 0.01, max_target=0.5).groups
    2
    """
    _check_network(num_problems, weight_eps, delta, max_target, u_min)
    law = get_law("half_product")
    ways = ways_to_split(max_target, law, u_min if assignment == "column-aware" else None, max_groups)
    return cheapest_plan(ways, num_problems, weight_eps, delta, max_target)


def cheapest_plan(
    ways: Iterable[tuple[int, float, float]], num_problems: int, weight_eps: float, delta: float, max_target: float
) -> ItemPlan:
    """Return the plan of fewest items among ways to split a target: (groups, c, q), see `explicit_items`."""
    best: ItemPlan | None = None
    for groups, c, q in ways:
        found = subset_sum_items(weight_eps / groups, delta / (groups * num_problems), c=c, q=q)
        if best is None or groups * found.items < best.items:
            extra = {"g": groups, "N": num_problems, "max_target": max_target, "delta": delta}
            values = {**found.values, "weight_eps": weight_eps, **extra} if found.items else {}
            values.pop("eps", None)
            best = ItemPlan(groups * found.items, groups, found, values)
    assert best is not None
    return best


def items_for_network(
    num_problems: int,
    weight_eps: float,
    delta: float,
    *,
    mode: Mode,
    max_target: float = 1.0,
    assignment: Assignment = "fixed",
    u_min: float = 0.9,
) -> int:
    """Return the items to reserve per weight (neurons per input): proved, or predicted to be just enough.

    Args:
        num_problems: number of subset-sum problems: the weights, and twice as many for signed inputs.
        weight_eps: error allowed per weight, in (0, 1).
        delta: failure probability of the whole network ("theorem"), or expected number of weights that no subset
            reaches ("information_limit"); in (0, 1).
        mode: "theorem" (our rigorous constants) or "information_limit" (prediction for targets of magnitude
            max_target; for weights that are mostly small it is cautious).
        max_target: largest |w|.
        assignment: "fixed" or "column-aware", see `item_plan`.
        u_min: least first weight of a column-aware item.

    >>> items_for_network(397_000, 0.01, 0.1, mode="information_limit", max_target=0.5, assignment="column-aware")
    31
    """
    _check_network(num_problems, weight_eps, delta, max_target, u_min)
    if assignment not in ("fixed", "column-aware"):
        raise ValueError(f"assignment is 'fixed' or 'column-aware', got {assignment!r}")
    if mode == "theorem":
        plan = item_plan(
            num_problems, weight_eps, delta, max_target=max_target, assignment=assignment, u_min=u_min
        )  # fmt: skip
        return plan.items
    if mode != "information_limit":
        raise ValueError(f"mode is 'theorem' or 'information_limit', got {mode!r}")
    law: LawName = "half_product" if assignment == "fixed" else "uniform"
    scale = 1.0 if assignment == "fixed" else u_min
    return items_predicted(weight_eps, delta / num_problems, law, target=max_target, scale=scale)


def neurons_for_picks(d_in: int, picks: int, u_min: float, delta: float) -> int:
    """Return a number of random neurons from which each input can be given `picks` of its own with weight >= u_min.

    Each neuron has one weight U(-1, 1) per input and serves one input. By Hall's theorem an assignment exists unless
    some set of s inputs has fewer than s * picks neurons with a good weight; the union bound over the sets is
    sum_s C(d, s) P(Bin(M, 1 - (1 - p)^s) < s picks), p = (1 - u_min)/2. Ours. A maximum matching finds the
    assignment; a greedy rule may miss it.

    Args:
        d_in: number of inputs.
        picks: neurons per input.
        u_min: least weight, in (0, 1).
        delta: failure probability, in (0, 1).

    >>> neurons_for_picks(10, 5, 0.5, 0.01)
    58
    """
    if d_in < 1 or picks < 1 or not 0.0 < u_min < 1.0 or not 0.0 < delta < 1.0:
        raise ValueError(
            f"d_in, picks >= 1 and u_min, delta in (0, 1) are needed, got {d_in}, {picks}, {u_min}, {delta}"
        )
    s = np.arange(1, d_in + 1)
    subsets = log_choose(d_in, s)
    good = 1.0 - ((1.0 + u_min) / 2.0) ** s

    def failure(neurons: int) -> float:
        with np.errstate(divide="ignore"):
            terms = subsets + binom.logcdf(s * picks - 1, neurons, good)
        return float(np.exp(np.minimum(terms, 0.0)).sum())

    low, high = d_in * picks - 1, 2 * d_in * picks
    while failure(high) > delta:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if failure(middle) > delta else (low, middle)
    return high


def theorem2_kept(parameters: int, d: int, eps: float) -> int | None:
    """Return the least size k of tickets that can serve all d x d targets: sum_{i<=k} C(m, i) >= (1/(2 eps))^(d^2)/2.

    Args:
        parameters: number m of the source's parameters.
        d: the targets are all d x d matrices of spectral norm <= 1.
        eps: spectral error, in (0, 1/2).

    Returns:
        The least k, or None when even all 2^m subnetworks are too few.

    >>> theorem2_kept(1000, 10, 0.01), theorem2_kept(500, 10, 0.01)
    (134, None)
    """
    if parameters < 0 or d < 1 or not 0.0 < eps < 0.5:
        raise ValueError(f"parameters >= 0, d >= 1 and eps in (0, 1/2) are needed, got {parameters}, {d}, {eps}")
    needed = d * d * math.log(1.0 / (2.0 * eps)) - math.log(2.0)
    k = np.arange(parameters + 1)
    total = np.logaddexp.accumulate(log_choose(parameters, k))
    # a necessary condition: lean to the smaller k where rounding could decide
    enough = total >= needed - 1e-9 * max(1.0, abs(needed))
    return int(np.argmax(enough)) if enough.any() else None
