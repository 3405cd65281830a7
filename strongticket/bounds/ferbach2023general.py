"""Ferbach et al. 2023, "A general framework for proving the equivariant strong lottery ticket hypothesis".

A layer is a sum of coefficients times basis elements, W = sum_(o,i,k) w[o,i,k] E_oi (x) B_k: every B_k maps the
positions of an input channel to those of an output channel. |B| is the number of basis elements, and the norm of the
basis is the largest norm of sum_k beta_k B_k over |beta_k| <= 1. Here norms are those of maps between maximum norms,
so the norm of the basis is at most the largest row sum of sum_k |B_k|: 1 for dense layers, the taps of the kernel for
convolutions, n for circulant layers of n positions, the order of the group for group convolutions.

- `theorem1_width`: the published width, C log(n_in n_out max(|B|, norm of B) L / min(eps, delta)); C is left open.
- `layer_error`, `coefficient_eps`: what an error per coefficient does to a layer, and how small it must be.
  **Derived by strongticket.**
- `source_parameters`: weights of one pair of source layers.

The number of items per coefficient is `pensia2020optimal.explicit_items`, with as many problems as coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation
from strongticket.bounds._propagation import weight_budget

__all__ = ["BOUNDS", "coefficient_formula", "is_count", "sizes", "source_formula", "symbols", "weight_budget"]


def symbols(names: str) -> Any:
    """Return real symbols of these names, always as a tuple."""
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def is_count(name: str, text: str) -> Hypothesis:
    """Return the hypothesis that a symbol is a whole number, at least 1."""
    import sympy

    (symbol,) = symbols(name)
    return Hypothesis(
        f"{name} integer >= 1", sympy.And(symbol >= 1, sympy.Eq(sympy.floor(symbol), symbol)), text
    )  # fmt: skip


def sizes(*counts: tuple[str, str]) -> tuple[Hypothesis, ...]:
    """Return the hypotheses 0 < eps < 1, norm <= 1, and that these (name, text) are counts."""
    import sympy

    eps, norm = symbols("eps norm")
    return (
        Hypothesis("0 < eps < 1", sympy.And(eps > 0, eps < 1), "error in maximum norm, inputs in [-1, 1]"),
        Hypothesis("norm <= 1", norm <= 1, "largest norm of the target's layers, as maps between maximum norms"),
        *(is_count(name, text) for name, text in counts),
    )


def coefficient_formula(inputs: Any, basis_norm: Any, counts: Sequence[tuple[str, str]]) -> Formula:
    """Return eps / (2 L inputs basis_norm), the tolerance of a coefficient."""
    eps, layers = symbols("eps L")
    own = () if basis_norm.free_symbols <= {symbols(name)[0] for name, _ in counts} else (_positive_norm(),)
    return Formula(eps / (2 * layers * inputs * basis_norm), (*sizes(("L", "layers"), *counts), *own))


def source_formula(inputs: Any, outputs: Any, elements: Any, counts: Sequence[tuple[str, str]]) -> Formula:
    """Return m inputs (inputs + elements outputs), the weights of a pair of source layers."""
    (m,) = symbols("m")
    hypotheses = (is_count("m", "hidden channels per input channel"), *(is_count(*count) for count in counts))
    return Formula(m * inputs * (inputs + elements * outputs), hypotheses)


def _positive_norm() -> Hypothesis:
    (norm,) = symbols("basis_norm")
    return Hypothesis("basis_norm > 0", norm > 0, "norm of the basis: largest row sum of sum_k |B_k|, or less")


_CHANNELS = (("n_in", "input channels"), ("n_out", "output channels"))


def _theorem1_width() -> Formula:
    import sympy

    C, L, n_in, n_out, elements, norm, eps, delta = symbols("C L n_in n_out elements basis_norm eps delta")
    return Formula(
        C * sympy.log(n_in * n_out * sympy.Max(elements, norm) * L / sympy.Min(eps, delta)),
        (
            *sizes(("L", "layers"), *_CHANNELS, ("elements", "basis elements |B|")),
            _positive_norm(),
            Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "failure probability"),
            Hypothesis("C > 0", C > 0, "universal constant, not given by the paper"),
        ),
        frozenset({"C"}),
    )


def _layer_error() -> Formula:
    n_in, norm, weight_eps = symbols("n_in basis_norm weight_eps")
    return Formula(
        n_in * norm * weight_eps,
        (
            is_count("n_in", "input channels of each group"),
            _positive_norm(),
            Hypothesis("weight_eps >= 0", weight_eps >= 0, "largest error of a coefficient"),
        ),
    )


def _coefficient_eps() -> Formula:
    n_in, norm = symbols("n_in basis_norm")
    return coefficient_formula(n_in, norm, _CHANNELS[:1])


def _source_parameters() -> Formula:
    n_in, n_out, elements = symbols("n_in n_out elements")
    return source_formula(n_in, n_out, elements, (*_CHANNELS, ("elements", "basis elements |B|")))


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "ferbach2023general.theorem1_width",
        "random hidden channels per input channel in the source layer pair for a layer of n_in to n_out channels in a "
        "basis of |B| elements",
        Relation.UPPER,
        _theorem1_width,
        "Theorem 1, its form; the constant C is universal and not given",
    ),
    Bound(
        "ferbach2023general.layer_error",
        "norm, as a map between maximum norms, of a layer whose coefficients are at most weight_eps",
        Relation.UPPER,
        _layer_error,
        "strongticket: row sums",
    ),
    Bound(
        "ferbach2023general.coefficient_eps",
        "tolerance of each coefficient: if none is off by more, the network of L layers of norm <= 1, without biases, "
        "is within eps in maximum norm, for inputs in [-1, 1]",
        Relation.BUDGET,
        _coefficient_eps,
        "strongticket: layer_error within eps/(2L), closed form of the layer recursion",
    ),
    Bound(
        "ferbach2023general.source_parameters",
        "weights of the random source for one layer, with m hidden channels per input channel",
        Relation.TIGHT,
        _source_parameters,
        "shapes of the pair: a pointwise layer, then one in the basis",
    ),
)
