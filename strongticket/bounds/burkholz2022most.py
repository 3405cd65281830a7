"""Burkholz 2022, "Most activation functions can win the lottery without excessive depth": tickets of depth L + 1.

The paper's statement: a random network of depth L + 1 that is wider than the target by a logarithmic factor contains,
with high probability, a subnetwork close to the target, for a large class of activation functions. Its constants are
not given here. What is here has explicit constants, **derived by strongticket**:

- `layer_tolerance`, `amplification`: how exact each weight must be, when the copies of a neuron differ from each other.
- `explicit_copies`, `items_for_layer`: copies that provably suffice, from the last layer to the first.
- `curvature`: how far tanh and the sigmoid are from their tangent at 0.
"""

from __future__ import annotations

import math
from typing import Any

from strongticket.bounds import lueker1998exponentially
from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation
from strongticket.bounds.pensia2020optimal import item_plan

__all__ = ["BOUNDS", "amplification", "items_for_layer", "layer_tolerance"]


def amplification(inputs: int, copies: int, scale: float) -> float:
    """Return what a layer makes of the largest error of its inputs, at most: inputs * copies * scale.

    A weight is a sum of at most `copies` numbers of magnitude `scale` or less, each of which meets a copy of its own,
    with an error of its own. (Their sum is the weight; the sum of their magnitudes can be larger.)

    >>> amplification(10, 20, 1.0)
    200.0
    """
    if inputs < 1 or copies < 1 or not 0.0 < scale < math.inf:
        raise ValueError(f"inputs and copies >= 1 and a positive scale are needed, got {inputs}, {copies}, {scale}")
    return float(inputs) * copies * scale


def layer_tolerance(network_eps: float, layers: int, inputs: int, size: float, gain: float) -> float:
    """Return the error per weight of one layer that adds at most network_eps/layers to any output: eps/(L d B G).

    Args:
        network_eps: of the whole network, in (0, 1).
        layers: depth L of the target.
        inputs: of the layer, d.
        size: largest magnitude B of an input of the layer, in the target.
        gain: product G of the `amplification` of all layers after this one; 1 for the last.

    >>> layer_tolerance(0.1, 2, 10, 1.0, 1.0)
    0.005
    """
    if not 0.0 < network_eps < 1.0 or min(layers, inputs) < 1 or size < 0.0 or not gain > 0.0:
        raise ValueError(
            f"network_eps in (0, 1), counts >= 1, size >= 0 and gain > 0 are needed, got {network_eps}, {layers}, "
            f"{inputs}, {size}, {gain}"
        )
    return min(network_eps / (layers * inputs * max(size, 1e-12) * gain), 0.5)


def items_for_layer(problems: int, eps: float, delta: float, largest: float, u_min: float = 1.0) -> int:
    """Return candidates per weight with which all weights of a layer are met with probability >= 1 - delta, proved.

    Args:
        problems: subset sums in the layer: weights times copies of each row.
        eps: tolerance per weight, in (0, 1), in units of the candidates' law.
        delta: failure probability of the layer.
        largest: largest |weight| in the same units.
        u_min: 1 for plain weights, uniform on [-1, 1]; for products u v the least u.

    >>> items_for_layer(1000, 0.01, 0.01, 0.5)
    151
    """
    if u_min < 1.0:
        return max(
            1, item_plan(problems, eps, delta, max_target=largest, assignment="column-aware", u_min=u_min).items
        )  # fmt: skip
    if largest <= eps:
        return 1
    return max(1, lueker1998exponentially.items_for_range(eps, delta / problems, largest))


# ------------------------------------------------------------------ the formulas


def _symbols(names: str) -> Any:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _count(symbol: Any) -> Hypothesis:
    import sympy

    whole = sympy.And(symbol >= 1, sympy.Eq(sympy.floor(symbol), symbol))
    return Hypothesis(f"{symbol.name} integer >= 1", whole, "a count")


def _layer_tolerance() -> Formula:
    import sympy

    eps, L, d, B, G = _symbols("eps L d B G")
    known = (
        Hypothesis("0 < eps < 1", sympy.And(eps > 0, eps < 1), "tolerance of the network"),
        _count(L),
        _count(d),
        Hypothesis("B > 0", B > 0, "largest input of the layer"),
        Hypothesis("G > 0", G > 0, "product of the amplifications of all layers after it"),
    )
    return Formula(eps / (L * d * B * G), known)


def _amplification() -> Formula:
    d, copies, s = _symbols("d copies s")
    return Formula(d * copies * s, (_count(d), _count(copies), Hypothesis("s > 0", s > 0, "scale of the weights")))


def _explicit_copies() -> Formula:
    import sympy

    weight_eps, delta, delta_1, N, theta, t = _symbols("weight_eps delta delta_1 N theta t")
    log, half = sympy.log, sympy.Rational(1, 2)
    first = lueker1998exponentially.phase_one(log, weight_eps, delta_1 / N, half, half, theta, t)
    second = lueker1998exponentially.phase_two(log, weight_eps, (delta - delta_1) / N, half, half, theta)
    started = sympy.Piecewise((0, theta <= weight_eps), (sympy.ceiling(sympy.Max(0, first)), True))
    return Formula(
        started + sympy.ceiling(sympy.Max(0, second)),
        (
            Hypothesis("0 < weight_eps <= 1", sympy.And(weight_eps > 0, weight_eps <= 1), "tolerance, scale 1"),
            Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "failure probability of the layer"),
            Hypothesis("0 < delta_1 < delta", sympy.And(delta_1 > 0, delta_1 < delta), "share of the first phase"),
            _count(N),
            Hypothesis("0 < theta < 1", sympy.And(theta > 0, theta < 1), "share covered between the phases"),
            Hypothesis("t > 0", t > 0, "exponent of the first phase"),
        ),
    )


def _source_parameters() -> Formula:
    d_in, d, d_out, items, copies = _symbols("d_in d d_out items copies")
    total = d_in * items * (d_in + d * copies) + d * copies * d_out
    return Formula(total, tuple(_count(symbol) for symbol in (d_in, d, d_out, items, copies)))


def _curvature(factor: int) -> Formula:
    import sympy

    (t,) = _symbols("t")
    return Formula(sympy.Abs(t) ** 3 / factor, (Hypothesis("-oo < t < oo", sympy.Ge(t**2, 0, evaluate=False), "any"),))


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "burkholz2022most.explicit_copies",
        "copies of each neuron such that N weights |w| <= 1/2 over plain U(-1, 1) numbers are all met within "
        "weight_eps, with probability >= 1 - delta",
        Relation.UPPER,
        _explicit_copies,
        "strongticket",
    ),
    Bound(
        "burkholz2022most.layer_tolerance",
        "error per weight of one layer that adds at most eps/L to the error of any output",
        Relation.BUDGET,
        _layer_tolerance,
        "strongticket",
    ),
    Bound(
        "burkholz2022most.amplification",
        "factor by which one layer can increase the largest error of its inputs' copies",
        Relation.UPPER,
        _amplification,
        "strongticket",
    ),
    Bound(
        "burkholz2022most.source_parameters",
        "weights of the source for a target with one hidden layer, on nonnegative inputs without biases",
        Relation.TIGHT,
        _source_parameters,
        "strongticket",
    ),
    Bound(
        "burkholz2022most.tanh_curvature",
        "|tanh(t) - t|",
        Relation.UPPER,
        lambda: _curvature(3),
        "strongticket",
    ),
    Bound(
        "burkholz2022most.sigmoid_curvature",
        "|sigmoid(t) - 1/2 - t/4|",
        Relation.UPPER,
        lambda: _curvature(48),
        "strongticket",
    ),
)
