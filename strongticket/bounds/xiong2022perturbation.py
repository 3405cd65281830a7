"""Xiong, Liao & Kyrillidis 2022, "Strong lottery ticket hypothesis with eps-perturbation": candidates that may move.

If each candidate may be changed by at most eta, a subset of k of them meets everything within eps + k eta of its sum.
The paper: the over-parameterisation that strong tickets need falls by a factor O(1/(1 + eps)). Exact statements **by
strongticket**:

- `interval`: what one subset of k candidates meets;
- `hit_chance`: how often n candidates can meet a random target, by counting; `items_counted` solves it for n;
- `failure_predicted`: how often they miss, by the prediction for subset sums with the tolerance of a typical subset.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from strongticket.bounds import lueker1998exponentially
from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation
from strongticket.bounds.lueker1998exponentially import LawName

if TYPE_CHECKING:
    import sympy

__all__ = ["BOUNDS", "failure_predicted", "items_counted"]


def _symbols(names: str) -> tuple[sympy.Symbol, ...]:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _common(eps: Any, eta: Any) -> tuple[Hypothesis, ...]:
    return (
        Hypothesis("eps > 0", eps > 0, "tolerance"),
        Hypothesis("eta >= 0", eta >= 0, "how far a candidate may be moved"),
    )


def _interval() -> Formula:
    import sympy

    eps, eta, k = _symbols("eps eta k")
    count = Hypothesis("k integer >= 0", sympy.And(k >= 0, sympy.Eq(sympy.floor(k), k)), "candidates of the subset")
    return Formula(eps + k * eta, (*_common(eps, eta), count))


def _hit_chance() -> Formula:
    import sympy

    eps, eta, n, c = _symbols("eps eta n c")
    return Formula(
        sympy.Min(1, 2**n * (eps + n * eta / 2) / c),
        (
            *_common(eps, eta),
            Hypothesis("n integer >= 0", sympy.And(n >= 0, sympy.Eq(sympy.floor(n), n)), "candidates"),
            Hypothesis("c > 0", c > 0, "the target is uniform on [-c, c], independent of the candidates"),
        ),
    )


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "xiong2022perturbation.interval",
        "half width of the interval of targets that a subset of k candidates meets",
        Relation.TIGHT,
        _interval,
        "strongticket: each of them is moved by as much as it may",
    ),
    Bound(
        "xiong2022perturbation.hit_chance",
        "probability that some subset of n candidates, whatever their law, each moved by eta at most, comes within eps "
        "of a random target",
        Relation.UPPER,
        _hit_chance,
        "strongticket: counting, sum_k C(n, k) 2 (eps + k eta) over 2c",
    ),
)


def items_counted(eps: float, eta: float, reach: float) -> int:
    """Return the least n with 2^n (eps + n eta/2) >= reach: fewer candidates cannot meet all |z| <= reach, proved.

    >>> items_counted(0.01, 0.0, 1.0), items_counted(0.01, 0.01, 1.0), items_counted(0.01, 0.1, 1.0)
    (7, 5, 3)
    """
    if not (0 < eps < math.inf and 0 <= eta < math.inf and 0 < reach < math.inf):
        raise ValueError(f"expected finite eps > 0, eta >= 0 and reach > 0, got {eps}, {eta}, {reach}")
    tolerance, move, far = Fraction(eps), Fraction(eta) / 2, Fraction(reach)  # exact, and they do not overflow
    n = 0
    while 2**n * (tolerance + n * move) < far:
        n += 1
    return n


def failure_predicted(items: int, eps: float, eta: float, *, target: float = 1.0, law: LawName = "uniform") -> float:
    """Predict how often n candidates that may move by eta miss a target: that of subset sums with eps + eta n/2.

    About half of the candidates are in the subsets that meet a small target. No proof.

    >>> failure_predicted(10, 0.01, 0.0, target=0.5) > 2 * failure_predicted(10, 0.01, 0.01, target=0.5)
    True
    """
    return lueker1998exponentially.failure_predicted(items, eps + eta * items / 2.0, target=target, law=law)
