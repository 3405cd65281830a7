"""Burkholz 2022, "Convolutional and residual networks provably contain lottery tickets".

The paper shows that convolutional and residual networks of depth L + 1 and logarithmically larger width contain every
target of depth L, by building each neuron many times. What stands here is for another route, which is ours: each layer
becomes a pair of source layers, as in `dacunha2022proving`, and source and target share the shortcuts.

- `residual_error`: the error of a chain of residual blocks from the error of each layer. **Derived by strongticket.**
- `residual_coefficient_eps`: how small the error of every coefficient must be. **Derived by strongticket.**
"""

from __future__ import annotations

from typing import Any

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation
from strongticket.bounds.ferbach2023general import is_count, sizes, symbols

__all__ = ["BOUNDS"]

_BLOCKS = (("R", "residual blocks"), ("D", "layers in a block's branch"), ("M", "layers outside of the blocks"))


def _residual_error() -> Formula:
    import sympy

    R, D, M, e, alpha, norm = symbols("R D M e alpha norm")
    projected = symbols("projected")[0]
    grown = (1 + e) ** M * ((1 + projected * e) + (1 + e) ** D) ** R
    return Formula(
        alpha * (grown - 2**R),
        (
            *(is_count(name, text) for name, text in _BLOCKS),
            Hypothesis("e >= 0", e >= 0, "norm of each layer's error, as a map between maximum norms"),
            Hypothesis("alpha >= 0", alpha >= 0, "largest magnitude of an input"),
            Hypothesis("norm <= 1", norm <= 1, "largest norm of the target's layers, shortcuts among them"),
            Hypothesis(
                "projected is 0 or 1",
                sympy.Or(sympy.Eq(projected, 0), sympy.Eq(projected, 1)),
                "1 if shortcuts are layers too, 0 if they are identities",
            ),
        ),
    )


def _residual_coefficient_eps() -> Formula:
    eps, n_in, norm = symbols("eps n_in basis_norm")
    counts: Any = symbols("R D M")
    R, D, M = counts
    return Formula(
        eps / (2 ** (R + 1) * (M + R * D) * n_in * norm),
        (
            *sizes(*_BLOCKS, ("n_in", "input channels")),
            Hypothesis("basis_norm > 0", norm > 0, "norm of the basis; the number of taps of a convolution"),
        ),
    )


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "burkholz2022convolutional.residual_error",
        "error in maximum norm of a network of R residual blocks x -> relu(s(x) + f(x)), f of D layers, and M layers "
        "before and behind them, all without biases, when the matrix of each layer is off by e in norm",
        Relation.UPPER,
        _residual_error,
        "strongticket: closed form of the recursion over blocks",
    ),
    Bound(
        "burkholz2022convolutional.residual_coefficient_eps",
        "tolerance of each coefficient: if none is off by more, the residual network, without biases, is within eps in "
        "maximum norm, for inputs in [-1, 1]",
        Relation.BUDGET,
        _residual_coefficient_eps,
        "strongticket: from residual_error",
    ),
)
