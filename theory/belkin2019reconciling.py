"""Belkin, Hsu, Ma & Mandal 2019: what is certain about the double-descent picture, and what is said of it."""

from __future__ import annotations

import sympy

from strongticket.bounds import get
from theory._descent_claims import NestedClaim
from theory._theorem import Assumption, ProofStep, Theorem

__all__ = ["THEOREMS"]


def _check_least() -> bool:
    """Generic features of 2 examples, 3 of them: a = P'(PP')^-1 y fits, and is orthogonal to what P does not see."""
    phi = sympy.Matrix(2, 3, sympy.symbols("p:6", real=True))
    y = sympy.Matrix(sympy.symbols("y:2", real=True))
    a = phi.T * (phi * phi.T).inv() * y
    fits = sympy.simplify(phi * a - y) == sympy.zeros(2, 1)
    unseen = phi.row(0).cross(phi.row(1)).T  # orthogonal to both rows
    return bool(fits and sympy.simplify((a.T * unseen)[0]) == 0)


def _check_pythagoras() -> bool:
    a, z = sympy.Matrix(sympy.symbols("a:3", real=True)), sympy.Matrix(sympy.symbols("z:3", real=True))
    gap = ((a + z).T * (a + z))[0] - (a.T * a)[0] - 2 * (a.T * z)[0]
    return bool(sympy.expand(gap).is_nonnegative)


def _check_padding() -> bool:
    """Coefficients of fewer features, with zeros for the others, predict the same and have the same norm."""
    phi = sympy.Matrix(2, 3, sympy.symbols("p:6", real=True))
    a = sympy.Matrix(sympy.symbols("a:2", real=True))
    padded = a.col_join(sympy.zeros(1, 1))
    same = sympy.expand(phi * padded - phi[:, :2] * a) == sympy.zeros(2, 1)
    return bool(same and sympy.expand((padded.T * padded)[0] - (a.T * a)[0]) == 0)


def _check_width() -> bool:
    n, d, K = sympy.symbols("n d K", positive=True)

    def formula(name: str, **symbols: sympy.Expr) -> sympy.Expr:
        expression = get(f"belkin2019reconciling.{name}").expression
        return expression.xreplace({symbol: symbols[symbol.name] for symbol in expression.free_symbols})

    width = formula("threshold_width", n=n, d=d, K=K)
    return bool(sympy.simplify(formula("parameters", d=d, H=width, K=K) - n * K) == 0)


THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="belkin2019reconciling.nested",
        title="more of the same features: the training loss never grows, and beyond interpolation the norm never does",
        statement="Let P_N be the first N columns of any matrix of features of n examples, and a_N the least-squares "
        "coefficients of minimum norm. |P_N a_N - y| does not grow with N; it is 0 for every y exactly if P_N has rank "
        "n; and from there on |a_N| does not grow.",
        hypotheses=("features are nested and not rescaled with N",),
        bound_keys=("belkin2019reconciling.threshold_width", "belkin2019reconciling.parameters"),
        status="Ours, and elementary: it is what the paper's picture of the norm rests on. That the test error falls "
        "with the norm is an experiment (experiments/double_descent.py) and, for functions of the kernel's space, the "
        "paper's theorem, whose constants are open (bounds: interpolant_error). That it peaks at N = n is proved for "
        "Gaussian features (belkin2020two), and at n K parameters of a network it is not: see "
        "experiments/double_descent_nets.py and curth2023uturn. Features with dead units, such as ReLUs of "
        "nonnegative inputs, reach rank n later than at N = n, and the peak moves with the rank.",
        steps=(
            ProofStep(
                "least norm",
                "a = P'(PP')^-1 y fits, and is orthogonal to every z with P z = 0 (sympy: generic 2 by 3 features)",
                _check_least,
                general=False,
            ),
            ProofStep("Pythagoras", "|a + z|^2 >= |a|^2 if <a, z> = 0 (sympy)", _check_pythagoras),
            ProofStep(
                "padding",
                "coefficients padded with zeros predict the same, and have the same norm (sympy: 2 and 3 features)",
                _check_padding,
                general=False,
            ),
            ProofStep("width", "the threshold width has n K parameters exactly (sympy)", _check_width),
        ),
        assumptions=(
            Assumption("a system is solvable for every right-hand side exactly if its rank is n", "linear algebra"),
        ),
        claim=NestedClaim(),
    ),
)
