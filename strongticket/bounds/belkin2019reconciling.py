"""Belkin, Hsu, Ma & Mandal 2019: where the test error peaks, and what a small norm is good for.

The paper's claim is a picture, not a formula: the error peaks where the model just fits the training data, and falls
again. Its one theorem says what a small norm buys an interpolating function. Exact risks of a linear model with the
same picture are those of belkin2020two.
"""

from __future__ import annotations

from typing import Any

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation

__all__ = ["BOUNDS", "parameters", "threshold_width"]


def _sizes(*symbols: Any) -> tuple[Hypothesis, ...]:
    import sympy

    return tuple(
        Hypothesis(f"{s.name} >= 1", sympy.And(s >= 1, sympy.Eq(sympy.floor(s), s)), "a whole number") for s in symbols
    )


def _parameters() -> Formula:
    import sympy

    d, H, K = sympy.symbols("d H K", real=True)
    return Formula((d + 1) * H + (H + 1) * K, _sizes(d, H, K))


def _threshold_width() -> Formula:
    import sympy

    n, d, K = sympy.symbols("n d K", real=True)
    return Formula(K * (n - 1) / (d + 1 + K), _sizes(n, d, K))


def _interpolant_error() -> Formula:
    import sympy

    A, B, n, d, target, norm = sympy.symbols("A B n d target norm", real=True)
    positive = (
        Hypothesis("A > 0", A > 0, "constant of the paper"),
        Hypothesis("B > 0", B > 0, "constant of the paper"),
        Hypothesis("target >= 0", target >= 0, "norm of the true function"),
        Hypothesis("norm >= 0", norm >= 0, "norm of the interpolating one"),
        Hypothesis("n >= 2", n >= 2, "training examples"),
    )
    rate = sympy.exp(-B * (n / sympy.log(n)) ** (1 / d))
    return Formula(A * rate * (target + norm), (*positive, *_sizes(d)), frozenset({"A", "B"}))


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "belkin2019reconciling.parameters",
        "parameters of a network with d inputs, one layer of H hidden units and K outputs, biases included",
        Relation.TIGHT,
        _parameters,
        "(d + 1) H + (H + 1) K",
    ),
    Bound(
        "belkin2019reconciling.threshold_width",
        "hidden units at which such a network has n K parameters, one for each equation of n examples: where the error "
        "is said to peak",
        Relation.PREDICTION,
        _threshold_width,
        "the paper's threshold n K, solved for H",
    ),
    Bound(
        "belkin2019reconciling.interpolant_error",
        "largest difference, with high probability, between a function of the Gaussian kernel's space and one that "
        "agrees with it at n points drawn from a cube in d dimensions; norms in that space",
        Relation.UPPER,
        _interpolant_error,
        "the paper's theorem, as we recall it; its constants depend on the cube and the kernel",
    ),
)


def _bound(name: str) -> Bound:
    return next(bound for bound in BOUNDS if bound.key == f"belkin2019reconciling.{name}")


def parameters(d: int, H: int, K: int) -> int:
    """Return the number of parameters of a network with one hidden layer.

    >>> parameters(784, 50, 10)
    39760
    """
    return int(_bound("parameters")(d=d, H=H, K=K))


def threshold_width(n: int, d: int, K: int) -> float:
    """Return the number of hidden units at which parameters and equations are as many.

    >>> round(threshold_width(4000, 784, 10), 1)
    50.3
    """
    return _bound("threshold_width")(n=n, d=d, K=K)
