"""Malach et al. 2020, "Proving the lottery ticket hypothesis: pruning is all you need": one random pair per weight.

- `theorem2_1_width`, `paper_items`, `paper_weight_eps`: the counts of the paper's proof, with its constants as we
  recall them; that they suffice is derived again by us (`theory show malach2020proving`), so they are valid whatever
  the text of the paper says.
- `pair_items`: the same event, a pair near (|w|, 1), with our constant.
- `product_items`, `least_items`: the product itself near w, which is the event that matters: exact probability, so
  sufficient and necessary counts that nearly meet. **Derived by strongticket.**
- `random_features_width`, `random_features_error`: neurons pruned from a depth-2 network against a random-features
  predictor, with explicit constants. **Derived by strongticket** (the paper's Section 3 states a polynomial).

Both factors of a product are U(-1, 1) here. Sources draw them on the grid of `uniform23`; `GRID_SLACK` says what that
can cost.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation

__all__ = [
    "BOUNDS",
    "GRID_SLACK",
    "Event",
    "hit_probability",
    "items_for_network",
    "items_for_target",
    "paper_weight_eps",
]

Event = Literal["paper", "pair", "product"]
"""Which event a count waits for: the paper's, with its constant; the same with ours; the product near the weight."""

GRID_SLACK = 2.0**-22
"""Counts for U(-1, 1) at a tolerance hold for `uniform23` at the tolerance plus this.

Each grid value stands for an interval of half-width 2^-23 that does not straddle 0, so both laws can be drawn together
with |u - u'|, |v - v'| <= 2^-23, of equal signs, and then |u v - u' v'| <= 2^-22.
"""


def _symbols(names: str) -> Any:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _counts(*symbols: Any) -> tuple[Hypothesis, ...]:
    import sympy

    return tuple(
        Hypothesis(f"{x.name} integer >= 1", sympy.And(x >= 1, sympy.Eq(sympy.floor(x), x)), "a count") for x in symbols
    )


def _open_unit(symbol: Any, text: str) -> Hypothesis:
    import sympy

    return Hypothesis(f"0 < {symbol.name} < 1", sympy.And(symbol > 0, symbol < 1), text)


def _network_hypotheses(s: Any) -> tuple[Hypothesis, ...]:
    norm, largest = _symbols("norm largest")
    return (
        Hypothesis("norm <= 1", norm <= 1, "largest spectral norm of the target's layers"),
        Hypothesis("largest^2 s <= 1", largest**2 * s <= 1, "largest |weight|, at most 1/sqrt(fan-in)"),
    )


def _theorem2_1_width() -> Formula:
    import sympy

    s, w, L, eps, delta = _symbols("s w L eps delta")
    inner = 64 * s**2 * L**2 * w / eps**2 * sympy.log(2 * w * s * L / delta)
    return Formula(
        w * s * sympy.ceiling(inner),
        (
            _open_unit(eps, "error of the network on the unit ball"),
            _open_unit(delta, "failure probability"),
            *_counts(s, w, L),
            *_network_hypotheses(s),
        ),
    )


def _paper_weight_eps() -> Formula:
    import sympy

    s, w, L, eps = _symbols("s w L eps")
    return Formula(
        eps / (2 * L * s * sympy.sqrt(w)),
        (_open_unit(eps, "error of the network on the unit ball"), *_counts(s, w, L), *_network_hypotheses(s)),
    )


def _paper_items() -> Formula:
    import sympy

    e, N, delta, a = _symbols("weight_eps N delta max_target")
    return Formula(
        sympy.ceiling(16 / e**2 * sympy.log(2 * N / delta)),
        (
            _open_unit(e, "tolerance of each weight"),
            _open_unit(delta, "failure probability of the network"),
            *_counts(N),
            Hypothesis("0 <= max_target <= 1", sympy.And(a >= 0, a <= 1), "largest |weight|"),
        ),
    )


def _pair_items() -> Formula:
    import sympy

    e, N, delta, a = _symbols("weight_eps N delta max_target")
    return Formula(
        sympy.ceiling(2 * (1 + a) ** 2 / e**2 * sympy.log(N / delta)),
        (
            _open_unit(e, "tolerance of each weight"),
            _open_unit(delta, "failure probability of the network"),
            *_counts(N),
            Hypothesis(
                "weight_eps <= max_target <= 1 - weight_eps",
                sympy.And(e <= a, a <= 1 - e),
                "largest |weight|; smaller ones than weight_eps need no pair, larger ones meet the edge of the law",
            ),
        ),
    )


def _hit(a: Any, e: Any) -> Any:
    """P(u > 0 and |u v - a| <= e) for 0 < e < a <= 1, u and v ~ U(-1, 1): the density of u v is ln(1/|z|)/4 there."""
    import sympy

    def primitive(z: Any) -> Any:
        return z - z * sympy.log(z)

    return (primitive(sympy.Min(a + e, 1)) - primitive(a - e)) / 4


def _product_hypotheses(e: Any, a: Any, delta: Any) -> tuple[Hypothesis, ...]:
    import sympy

    return (
        Hypothesis(
            "0 < weight_eps < max_target <= 1",
            sympy.And(e > 0, e < a, a <= 1),
            "tolerance and largest |weight|; weights within the tolerance need no item",
        ),
        _open_unit(delta, "failure probability"),
    )


def _product_items() -> Formula:
    import sympy

    e, N, delta, a = _symbols("weight_eps N delta max_target")
    return Formula(
        sympy.ceiling(sympy.log(delta / N) / sympy.log(1 - _hit(a, e))),
        (*_product_hypotheses(e, a, delta), *_counts(N)),
    )


def _least_items() -> Formula:
    import sympy

    e, delta, a = _symbols("weight_eps delta target")
    return Formula(sympy.log(delta) / sympy.log(1 - _hit(a, e)), _product_hypotheses(e, a, delta))


def _feature_hypotheses(C: Any, B: Any) -> tuple[Hypothesis, ...]:
    return (
        Hypothesis("C > 0", C > 0, "largest |coefficient| of the predictor"),
        Hypothesis("B > 0", B > 0, "largest root mean square of one feature relu(<w, x>) over the inputs"),
    )


def _random_features_width() -> Formula:
    import sympy

    C, B, eps, delta = _symbols("C B eps delta")
    root = sympy.sqrt(sympy.Rational(1, 3)) + sympy.sqrt(sympy.log(1 / delta))
    return Formula(
        sympy.ceiling(8 * (C * B / eps) ** 2 * root**2),
        (
            Hypothesis("eps > 0", eps > 0, "root mean square error over the inputs"),
            _open_unit(delta, "failure probability"),
            *_feature_hypotheses(C, B),
        ),
    )


def _random_features_error() -> Formula:
    import sympy

    C, B, k = _symbols("C B k")
    return Formula(C * B * sympy.sqrt(8 / (3 * k)), (*_feature_hypotheses(C, B), *_counts(k)))


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "malach2020proving.theorem2_1_width",
        "neurons of each odd source layer, for a target of L layers, width w and fan-in s",
        Relation.UPPER,
        _theorem2_1_width,
        "Theorem 2.1 with the constant of its proof as we recall it (64 = 16 * 4); that it suffices is derived here",
    ),
    Bound(
        "malach2020proving.paper_weight_eps",
        "tolerance of each weight of a layer with fan-in s and w outputs: the network of L layers is then within eps",
        Relation.BUDGET,
        _paper_weight_eps,
        "the chain of the paper's lemmas: eps/(2L) per layer, 1/sqrt(w) per neuron, 1/s per weight",
    ),
    Bound(
        "malach2020proving.paper_items",
        "neurons per input such that each of N weights finds, for each sign of its input, a pair near (|w|, 1)",
        Relation.UPPER,
        _paper_items,
        "the lemma for one coordinate, (4/e^2) ln(2/delta) for an error 2e, as we recall it; derived again here",
    ),
    Bound(
        "malach2020proving.pair_items",
        "neurons per half-input such that each of N problems finds a pair near (|w|, 1)",
        Relation.UPPER,
        _pair_items,
        "strongticket: probability e^2/2 of a pair within e in both coordinates, product off by at most (1 + |w|) e",
    ),
    Bound(
        "malach2020proving.product_items",
        "neurons per half-input such that each of N problems finds one product within weight_eps of its weight",
        Relation.UPPER,
        _product_items,
        "strongticket: exact probability of one product, union bound over the problems",
    ),
    Bound(
        "malach2020proving.least_items",
        "neurons without which one weight of this magnitude has no product within weight_eps with probability > delta",
        Relation.LOWER,
        _least_items,
        "strongticket: exact failure probability (1 - p)^n of one weight",
    ),
    Bound(
        "malach2020proving.random_features_width",
        "neurons of a depth-2 source, some of which are within eps of a random-features predictor on its own features",
        Relation.UPPER,
        _random_features_width,
        "strongticket: second moment and bounded differences; the paper's Section 3 has a polynomial",
    ),
    Bound(
        "malach2020proving.random_features_error",
        "expected root mean square error over the inputs of k neurons pruned to a random-features predictor",
        Relation.UPPER,
        _random_features_error,
        "strongticket: second moment of the kept outgoing weights",
    ),
)


def _bound(name: str) -> Bound:
    return next(bound for bound in BOUNDS if bound.key == f"malach2020proving.{name}")


def paper_weight_eps(network_eps: float, depth: int, d_in: int, d_out: int) -> float:
    """Return the error per weight of the paper's chain, eps / (2 L d_in sqrt(d_out)).

    >>> paper_weight_eps(0.2, 1, 5, 4)
    0.01
    """
    return _bound("paper_weight_eps")(eps=network_eps, L=depth, s=d_in, w=d_out)


def hit_probability(
    target: npt.ArrayLike,  # any shape
    weight_eps: float,
) -> npt.NDArray[np.float64]:
    """Return the probability that one neuron's product serves a weight: of the right sign, and within weight_eps of it.

    One neuron has u, v ~ U(-1, 1), independent. It serves the half-input of the sign of u; on u > 0, u v has density
    ln(1/|z|)/4. Ours.

    Args:
        target: the weights, in [-1, 1].
        weight_eps: tolerance, > 0.

    >>> hit_probability([0.05, 0.5, 1.0], 0.01).round(6).tolist()
    [0.015012, 0.003466, 1.3e-05]
    """
    a = np.abs(np.asarray(target, dtype=np.float64))
    if not 0.0 < weight_eps < math.inf or not bool((a <= 1.0).all()):
        raise ValueError(f"weight_eps > 0 and weights in [-1, 1] are needed, got {weight_eps} and {target!r}")
    high, low = np.minimum(a + weight_eps, 1.0), np.maximum(a - weight_eps, -1.0)

    def primitive(z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        size = np.maximum(np.abs(z), 1e-300)
        return np.asarray(z - z * np.log(size))

    return np.asarray(np.clip((primitive(high) - primitive(low)) / 4.0, 0.0, 0.5))


def items_for_target(
    magnitudes: npt.ArrayLike,  # any shape: |w| of every problem
    weight_eps: float,
    delta: float,
) -> int:
    """Return the neurons per half-input with which all these weights find their product, with probability 1 - delta.

    The least n with sum (1 - p(w))^n <= delta over the problems that the empty subset does not serve: the union bound
    with each weight's own exact probability. It holds for the weights given, not for all targets at once. Ours.

    Args:
        magnitudes: one entry for each problem; a weight of a signed input is two.
        weight_eps: tolerance of each weight, in (0, 1).
        delta: failure probability of them all together, in (0, 1).

    >>> [items_for_target(magnitudes, 0.01, 0.01) for magnitudes in ([0.5], [0.5] * 100, [0.0])]
    [1327, 2653, 1]
    """
    _check(weight_eps, delta)
    a = np.abs(np.asarray(magnitudes, dtype=np.float64)).reshape(-1)
    values, counts = np.unique(a[a > weight_eps], return_counts=True)
    if not values.size:
        return 1
    misses = np.log1p(-hit_probability(values, weight_eps))

    def failures(items: int) -> float:
        return float((counts * np.exp(items * misses)).sum()) * (1.0 + 1e-9)

    low, high = 0, 16
    while failures(high) > delta:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if failures(middle) > delta else (low, middle)
    return high


def items_for_network(
    num_problems: int, weight_eps: float, delta: float, *, event: Event, max_target: float = 1.0
) -> int:
    """Return the neurons per half-input for all weights of a network, by what each weight waits for.

    Args:
        num_problems: the weights, with event "paper" (which counts both signs of the input by itself); else the
            problems, two for each weight of a signed input.
        weight_eps: tolerance of each weight, in (0, 1).
        delta: failure probability of the network, in (0, 1).
        event: see `Event`.
        max_target: largest |weight|, at most 1.

    >>> [items_for_network(100, 0.01, 0.01, event=event, max_target=0.5) for event in ("paper", "pair", "product")]
    [1584559, 414466, 2653]
    """
    _check(weight_eps, delta)
    values = {"N": num_problems, "weight_eps": weight_eps, "delta": delta, "max_target": max_target}
    if event == "paper":
        return int(_bound("paper_items")(**values))
    if event not in ("pair", "product"):
        raise ValueError(f"event is 'paper', 'pair' or 'product', got {event!r}")
    if max_target <= weight_eps:
        return 1
    return int(_bound(f"{event}_items")(**values))


def _check(weight_eps: float, delta: float) -> None:
    if not 0.0 < weight_eps < 1.0 or not 0.0 < delta < 1.0:
        raise ValueError(f"weight_eps and delta must lie in (0, 1), got {weight_eps} and {delta}")
