"""Chijiwa et al. 2021, "Pruning randomly initialized neural networks with iterative randomization": drawing again.

Every weight of the source may be drawn anew up to R - 1 times. The paper: the width that single-neuron approximations
(Malach et al. 2020) need falls, as k neurons with R draws each give k R chances. In exact form, **by strongticket**:

- `single_hit`: the probability that none of k R draws is near a weight; `draws_needed` solves it;
- `mask_bits`: the bits that say which weights are kept and which draw they come from, log2(1 + R) each at most;
- `items_for_network`: candidates for subset sums that may be tried R times, each time with fresh draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation
from strongticket.bounds.gadhikar2023random import item_plan

if TYPE_CHECKING:
    import sympy

__all__ = ["BOUNDS", "items_for_network"]


def _symbols(names: str) -> tuple[sympy.Symbol, ...]:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _count(symbol: Any, text: str) -> Hypothesis:
    import sympy

    relation = sympy.And(symbol >= 1, sympy.Eq(sympy.floor(symbol), symbol))
    return Hypothesis(f"{symbol} integer >= 1", relation, text)


def _hit(p: Any) -> Hypothesis:
    import sympy

    return Hypothesis("0 < p < 1", sympy.And(p > 0, p < 1), "probability that one draw is near enough")


def _delta(delta: Any) -> Hypothesis:
    import sympy

    return Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "failure probability")


def _single_hit() -> Formula:
    p, k, R = _symbols("p k R")
    return Formula((1 - p) ** (k * R), (_hit(p), _count(k, "neurons"), _count(R, "draws of each weight")))


def _neurons_needed() -> Formula:
    import sympy

    p, R, delta = _symbols("p R delta")
    return Formula(
        sympy.ceiling(sympy.log(delta) / (R * sympy.log(1 - p))),
        (_hit(p), _count(R, "draws of each weight"), _delta(delta)),
    )


def _mask_bits() -> Formula:
    import sympy

    m, R = _symbols("m R")
    return Formula(
        m * sympy.log(1 + R) / sympy.log(2), (_count(m, "weights of the source"), _count(R, "draws of each weight"))
    )


def _try_again() -> Formula:
    import sympy

    delta, N, R = _symbols("delta N R")
    return Formula(
        (delta / N) ** (1 / R),
        (
            _delta(delta),
            _count(N, "subset-sum problems"),
            Hypothesis("R integer >= 1", sympy.And(R >= 1, sympy.Eq(sympy.floor(R), R)), "tries, all independent"),
        ),
    )


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "chijiwa2021pruning.single_hit",
        "probability that none of k weights with R draws each is near a given number",
        Relation.TIGHT,
        _single_hit,
        "strongticket: k R independent draws",
    ),
    Bound(
        "chijiwa2021pruning.neurons_needed",
        "least number of weights, with R draws each, of which one comes near a given number with probability 1 - delta",
        Relation.TIGHT,
        _neurons_needed,
        "strongticket: single_hit, solved for k; log(1/delta) / (R p) for small p",
    ),
    Bound(
        "chijiwa2021pruning.mask_bits",
        "bits that a ticket takes: which of m weights are kept, and which of its R draws each is",
        Relation.UPPER,
        _mask_bits,
        "strongticket: counting; m bits for R = 1",
    ),
    Bound(
        "chijiwa2021pruning.try_delta",
        "failure probability that one try of one subset sum may have, if each of N has R tries and all are to be met "
        "with probability 1 - delta",
        Relation.BUDGET,
        _try_again,
        "strongticket: independent tries, union bound",
    ),
)


def items_for_network(
    num_problems: int,
    weight_eps: float,
    delta: float,
    *,
    draws: int,
    max_target: float = 1.0,
    u_min: float = 0.9,
) -> int:
    """Return candidates per weight such that each of N given weights is met in one of its tries: proved.

    A try takes other draws of all candidates' second weights; first weights stay. The assignment is column-aware, so
    that a try fails with at most the probability allowed whatever the first weights are, and tries are independent
    given these. (For one target: other draws would serve other targets.)

    Args:
        num_problems: number N of subset-sum problems.
        weight_eps: error allowed per weight, in (0, 1).
        delta: failure probability of the whole network, in (0, 1).
        draws: R >= 1.
        max_target: largest |w|.
        u_min: least first weight of an item, in (0, 1].

    Raises:
        ValueError: an argument outside its range.

    >>> [items_for_network(1000, 0.05, 0.01, draws=R, max_target=0.25, u_min=0.5) for R in (1, 4, 16)]
    [254, 111, 72]
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise ValueError(f"draws must be a whole number >= 1, got {draws!r}")
    if num_problems < 1 or not 0.0 < delta < 1.0:
        raise ValueError(f"expected problems >= 1 and delta in (0, 1), got {num_problems} and {delta}")
    allowed = (delta / num_problems) ** (1.0 / draws) * (1.0 - 1e-12)
    return item_plan(
        1, weight_eps, allowed, edges=1.0, max_target=max_target, assignment="column-aware", u_min=u_min
    ).items
