"""Belkin, Hsu & Xu 2020, "Two models of double descent for weak features": the exact risk of Gaussian features.

y = <x, b> + noise of variance s2, x standard normal; p of the coordinates of x are seen by least squares (p < n), or
by the interpolating predictor of minimum norm (p > n). `inside` is the squared norm of b on those seen, `outside` that
on the others. With coordinates chosen at random, they are p/D and 1 - p/D of the whole.
"""

from __future__ import annotations

from typing import Any

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation

__all__ = ["BOUNDS", "risk"]


def _shared(n: Any, p: Any, s2: Any, *norms: Any) -> tuple[Hypothesis, ...]:
    import sympy

    counts = (
        Hypothesis(f"{s.name} >= 1", sympy.And(s >= 1, sympy.Eq(sympy.floor(s), s)), "a whole number") for s in (n, p)
    )
    sizes = (Hypothesis(f"{s.name} >= 0", s >= 0, "a squared norm or a variance") for s in (s2, *norms))
    return (*counts, *sizes)


def _below() -> Formula:
    import sympy

    n, p, outside, s2 = sympy.symbols("n p outside s2", real=True)
    below = Hypothesis("p <= n - 2", p <= n - 2, "with fewer examples the expectation is infinite")
    return Formula((outside + s2) * (1 + p / (n - p - 1)), (*_shared(n, p, s2, outside), below))


def _above() -> Formula:
    import sympy

    n, p, inside, outside, s2 = sympy.symbols("n p inside outside s2", real=True)
    above = Hypothesis("p >= n + 2", p >= n + 2, "with fewer features the expectation is infinite")
    expression = inside * (1 - n / p) + (outside + s2) * (1 + n / (p - n - 1))
    return Formula(expression, (*_shared(n, p, s2, inside, outside), above))


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "belkin2020two.risk_below",
        "expected squared error on a new example, of least squares on p < n Gaussian features",
        Relation.TIGHT,
        _below,
        "the paper's theorem on the Gaussian model; derived here",
    ),
    Bound(
        "belkin2020two.risk_above",
        "expected squared error on a new example, of the minimum-norm fit on p > n Gaussian features",
        Relation.TIGHT,
        _above,
        "the paper's theorem on the Gaussian model; derived here",
    ),
)


def risk(n: int, p: int, inside: float, outside: float, s2: float) -> float:
    """Return the expected squared error on a new example, on either side of the threshold.

    >>> risk(10, 5, 1.0, 1.0, 0.0), risk(10, 11, 1.0, 1.0, 0.0), risk(10, 21, 1.0, 0.0, 1.0)
    (2.25, inf, 2.5238095238095237)
    """
    below, above = BOUNDS
    if n - 1 <= p <= n + 1:
        return float("inf") if outside + s2 > 0 else inside * max(0.0, 1.0 - n / p)
    if p < n:
        return below(n=n, p=p, outside=outside, s2=s2)
    return above(n=n, p=p, inside=inside, outside=outside, s2=s2)
