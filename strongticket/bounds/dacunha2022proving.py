"""da Cunha et al. 2022, "Proving the lottery ticket hypothesis for convolutional neural networks".

Every entry of a kernel becomes a subset sum: a 1x1 convolution whose channels each see one input channel, ReLU, and a
convolution of the target's kernel size. It is the case of `ferbach2023general` whose basis are the d x d shifts.

- `theorem_parameters`: the published size, C k log(k L / min(eps, delta)) for k parameters; C is left open.
- `coefficient_eps`: how small the error of every kernel entry must be. **Derived by strongticket.**
- `source_parameters`: weights of one pair of source layers.
"""

from __future__ import annotations

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation
from strongticket.bounds.ferbach2023general import coefficient_formula, sizes, source_formula, symbols

__all__ = ["BOUNDS"]

_CHANNELS = (("c_in", "input channels"), ("d", "side of the kernel"))


def _theorem_parameters() -> Formula:
    import sympy

    C, L, k, eps, delta = symbols("C L k eps delta")
    return Formula(
        C * k * sympy.log(k * L / sympy.Min(eps, delta)),
        (
            *sizes(("L", "layers"), ("k", "parameters of the target")),
            Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "failure probability"),
            Hypothesis("C > 0", C > 0, "universal constant, not given by the paper"),
        ),
        frozenset({"C"}),
    )


def _coefficient_eps() -> Formula:
    c_in, d = symbols("c_in d")
    return coefficient_formula(c_in, d**2, _CHANNELS)


def _source_parameters() -> Formula:
    c_in, c_out, d = symbols("c_in c_out d")
    return source_formula(c_in, c_out, d**2, (*_CHANNELS, ("c_out", "output channels")))


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "dacunha2022proving.theorem_parameters",
        "parameters of a random convolutional network of 2L layers that contains all those of L layers, k parameters "
        "and kernels of l1 norm <= 1, within eps",
        Relation.UPPER,
        _theorem_parameters,
        "main theorem as the abstract states it; the constant C is universal and not given",
    ),
    Bound(
        "dacunha2022proving.coefficient_eps",
        "tolerance of each kernel entry: if none is off by more, the network of L layers without biases is within "
        "eps in maximum norm, for inputs in [-1, 1]",
        Relation.BUDGET,
        _coefficient_eps,
        "strongticket: a position reads at most d^2 entries of each input channel",
    ),
    Bound(
        "dacunha2022proving.source_parameters",
        "weights of the random source for one d x d convolution of c_in to c_out channels, with m hidden channels per "
        "input channel",
        Relation.TIGHT,
        _source_parameters,
        "shapes of the pair: 1 x 1 convolution, then d x d",
    ),
)
