"""Fischer, Gadhikar & Burkholz 2021, "Lottery tickets with nonzero biases": what biases of the source are for.

- `zero_bias_floor`: a source without biases contains no ticket near a target with f(0) != 0, whatever the mask.
- `bias_scale`, `output_scale`: if layer l of a source is multiplied by sigma_l, its biases must be multiplied by
  sigma_1 ... sigma_l; then every ticket becomes sigma_1 ... sigma_L times itself. This carries tickets in U(-1, 1)
  over to sources with the scales that networks are trained from, and is how the paper scales its biases.
- `looks_linear_usable`: with first-layer weights in pairs u, -u ("looks-linear") half of a fixed block serves each half
  of an input for certain, where independent signs leave that to chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation

if TYPE_CHECKING:
    import sympy

__all__ = ["BOUNDS"]


def _symbols(names: str) -> tuple[sympy.Symbol, ...]:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _count(symbol: Any, text: str) -> Hypothesis:
    import sympy

    relation = sympy.And(symbol >= 1, sympy.Eq(sympy.floor(symbol), symbol))
    return Hypothesis(f"{symbol} integer >= 1", relation, text)


def _zero_bias_floor() -> Formula:
    (offset,) = _symbols("offset")
    return Formula(offset, (Hypothesis("offset >= 0", offset >= 0, "largest |f(0)| of the target's outputs"),))


def _scale(name: str, text: str) -> Any:
    def build() -> Formula:
        sigma, layer = _symbols(f"sigma {name}")
        return Formula(
            sigma**layer,
            (
                Hypothesis("sigma > 0", sigma > 0, "what the weights of every layer are multiplied by"),
                _count(layer, text),
            ),
        )

    return build


def _looks_linear() -> Formula:
    (n,) = _symbols("n")
    return Formula(n, (_count(n, "pairs u, -u of neurons that are reserved for an input"),))


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "fischer2021nonzero.zero_bias_floor",
        "largest output error, at x = 0, of any ticket in a source without biases",
        Relation.LOWER,
        _zero_bias_floor,
        "strongticket: networks without biases map 0 to 0",
    ),
    Bound(
        "fischer2021nonzero.bias_scale",
        "what the biases of layer l are multiplied by",
        Relation.TIGHT,
        _scale("l", "the layer"),
        "initialisation of the paper; homogeneity of ReLU",
    ),
    Bound(
        "fischer2021nonzero.output_scale",
        "what the outputs of every ticket are multiplied by",
        Relation.TIGHT,
        _scale("L", "layers of the source"),
        "homogeneity of ReLU",
    ),
    Bound(
        "fischer2021nonzero.looks_linear_usable",
        "candidates that serve one half of an input",
        Relation.TIGHT,
        _looks_linear,
        "relu(u x) serves the half of u's sign, relu(-u x) the other one",
    ),
)
