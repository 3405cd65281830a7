"""Belkin, Hsu & Xu 2020: the exact risk of Gaussian features, which peaks at the threshold."""

from __future__ import annotations

import sympy
from sympy import Rational

from strongticket.bounds import get
from theory._descent_claims import RiskClaim
from theory._theorem import Assumption, ProofStep, Theorem

__all__ = ["THEOREMS"]


def _formula(name: str, **symbols: sympy.Expr) -> sympy.Expr:
    expression = get(f"belkin2020two.{name}").expression
    return expression.xreplace({symbol: symbols[symbol.name] for symbol in expression.free_symbols})


def _check_inverse() -> bool:
    """E[1/chi^2_k] = 1/(k - 2); a diagonal entry of the inverse of a p by p Wishart matrix of n is 1/chi^2_(n-p+1)."""
    x = sympy.Symbol("x", positive=True)
    h = sympy.Symbol("h", positive=True)  # k/2 - 1
    density = x**h * sympy.exp(-x / 2) / (2 ** (h + 1) * sympy.gamma(h + 1))
    mean = sympy.simplify(sympy.gammasimp(sympy.integrate(density / x, (x, 0, sympy.oo), conds="none")))
    n, p = sympy.symbols("n p", positive=True)
    entry = (1 / (2 * h)).subs(h, (n - p + 1) / 2 - 1)
    return bool(sympy.simplify(mean - 1 / (2 * h)) == 0 and sympy.simplify(entry - 1 / (n - p - 1)) == 0)


def _check_below() -> bool:
    n, p, outside, s2 = sympy.symbols("n p outside s2", positive=True)
    variance = outside + s2  # of what the features seen do not explain
    derived = variance + variance * p / (n - p - 1)
    return bool(sympy.simplify(derived - _formula("risk_below", n=n, p=p, outside=outside, s2=s2)) == 0)


def _check_above() -> bool:
    n, p, inside, outside, s2 = sympy.symbols("n p inside outside s2", positive=True)
    variance = outside + s2
    derived = variance + inside * (1 - n / p) + variance * n / (p - n - 1)
    return bool(sympy.simplify(derived - _formula("risk_above", n=n, p=p, inside=inside, outside=outside, s2=s2)) == 0)


def _check_shape() -> bool:
    """Below the threshold the price of variance grows with p, above it falls; with weak features risk can end lower."""
    n, p = sympy.symbols("n p", positive=True)
    rising = sympy.simplify(sympy.diff(1 + p / (n - p - 1), p) - (n - 1) / (n - p - 1) ** 2) == 0
    falling = sympy.simplify(sympy.diff(1 + n / (p - n - 1), p) + n / (p - n - 1) ** 2) == 0
    # D = 400 features of equal weight, n = 40, no noise: the best below, and at p = D
    every, count = 400, 40
    below = min(
        _formula("risk_below", n=sympy.Integer(count), p=sympy.Integer(k), outside=1 - Rational(k, every), s2=0)
        for k in range(1, count - 1)
    )
    whole = _formula(
        "risk_above", n=sympy.Integer(count), p=sympy.Integer(every), inside=1, outside=0, s2=sympy.Integer(0)
    )
    return bool(rising and falling and whole < below)


THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="belkin2020two.gaussian",
        title="the exact double descent of Gaussian features",
        statement="Let y = <x, b> + noise of variance s2, x standard normal, and let p coordinates be seen in n "
        "examples, by least squares for p <= n - 2, by the interpolating fit of minimum norm for p >= n + 2. The "
        "expected squared error on a new example is (outside + s2)(1 + p/(n - p - 1)), or inside (1 - n/p) + (outside "
        "+ s2)(1 + n/(p - n - 1)), with inside and outside the squared norms of b on the coordinates seen and not "
        "seen; it is infinite in between unless outside + s2 = 0.",
        hypotheses=(
            "x is standard normal",
            "noise is normal and independent",
            "the coordinates seen do not depend on the data",
        ),
        bound_keys=("belkin2020two.risk_above", "belkin2020two.risk_below"),
        status="The paper's theorem on the Gaussian model, derived here. The claim fits real samples.",
        steps=(
            ProofStep(
                "inverse Wishart",
                "E[1/chi^2_k] = 1/(k - 2), so that a diagonal entry of (X'X)^-1 has mean 1/(n - p - 1) (sympy)",
                _check_inverse,
            ),
            ProofStep("below", "variance times p/(n - p - 1), beside the variance itself (sympy)", _check_below),
            ProofStep(
                "above",
                "the share 1 - n/p of b that random n dimensions do not see, and variance times n/(p - n - 1) (sympy)",
                _check_above,
            ),
            ProofStep(
                "shape",
                "the factor of the variance rises up to the threshold and falls beyond it (sympy); with 400 equal "
                "features and 40 examples the end lies below every p < n (exact)",
                _check_shape,
                general=False,
            ),
        ),
        assumptions=(
            Assumption(
                "a diagonal entry of the inverse of X'X, X of n by p standard normals, is 1/chi^2 with n - p + 1 "
                "degrees of freedom; the row space of X, n < p, is uniform among n-dimensional spaces",
                "any textbook of multivariate statistics",
            ),
        ),
        claim=RiskClaim(),
    ),
)
