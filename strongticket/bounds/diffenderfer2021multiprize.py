"""Diffenderfer & Kailkhura 2021, "Multi-prize lottery ticket hypothesis": binary networks inside random binary ones.

- `theorem_width`: the published order, L d^(3/2)/eps + L d log(L d/eps), its constant left open.
- `explicit_items`, `items_exact`: the signs that one weight needs, from Hoeffding's inequality and from the exact
  binomial tail. **Derived by strongticket**: a weight k 2^-b is k equal signs, see
  `strongticket.constructions.diffenderfer2021multiprize`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from scipy.stats import binom

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation

if TYPE_CHECKING:
    import sympy

__all__ = ["BOUNDS", "items_exact"]


def _symbols(names: str) -> tuple[sympy.Symbol, ...]:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _count(symbol: Any, text: str) -> Hypothesis:
    import sympy

    relation = sympy.And(symbol >= 1, sympy.Eq(sympy.floor(symbol), symbol))
    return Hypothesis(f"{symbol} integer >= 1", relation, text)


def _theorem_width() -> Formula:
    import sympy

    C, d, L, eps = _symbols("C d L eps")
    return Formula(
        C * (L * d ** sympy.Rational(3, 2) / eps + L * d * sympy.log(L * d / eps)),
        (
            Hypothesis("0 < eps < 1", sympy.And(eps > 0, eps < 1), "error on the unit ball"),
            _count(d, "width of the target"),
            _count(L, "layers of the target"),
            Hypothesis("C > 0", C > 0, "constant, not given by the paper"),
        ),
        frozenset({"C"}),
    )


def _explicit_items() -> Formula:
    import sympy

    K, delta, N = _symbols("K delta N")
    tail = sympy.log(N / delta)
    return Formula(
        sympy.ceiling(2 * K + tail + sympy.sqrt(tail**2 + 4 * K * tail)),
        (
            _count(K, "largest |weight| of the target in units of the grid"),
            _count(N, "weights, and twice as many for signed inputs"),
            Hypothesis("0 < delta < 1", sympy.And(delta > 0, delta < 1), "failure probability of the network"),
        ),
    )


def _floor() -> Formula:
    (K,) = _symbols("K")
    return Formula(K, (_count(K, "largest |weight| of the target in units of the grid"),))


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "diffenderfer2021multiprize.theorem_width",
        "width of the random binary network",
        Relation.UPPER,
        _theorem_width,
        "main theorem, as an order; the constant is not given",
    ),
    Bound(
        "diffenderfer2021multiprize.explicit_items",
        "random signs per weight such that all N weights |w| <= K are equal to a sum of some of their signs, with "
        "probability 1 - delta",
        Relation.UPPER,
        _explicit_items,
        "strongticket: Hoeffding's inequality for a binomial number of equal signs, union bound; (n - 2K)^2 = 2 n "
        "ln(N/delta), solved",
    ),
    Bound(
        "diffenderfer2021multiprize.floor_items",
        "random signs per weight such that a weight K is a sum of some of them",
        Relation.LOWER,
        _floor,
        "strongticket: each sign adds 1 at most",
    ),
)


def items_exact(largest: int, problems: int, delta: float) -> int:
    """Return the least n with N P(Bin(n, 1/2) < K) <= delta: rigorous, and at most what `explicit_items` says.

    Args:
        largest: K >= 0, the largest |weight| in units of the grid; 0 needs no sign.
        problems: N >= 1.
        delta: in (0, 1).

    Raises:
        ValueError: an argument outside its range.

    >>> items_exact(16, 1000, 0.01), items_exact(0, 1000, 0.01)
    (65, 0)
    """
    if largest < 0 or problems < 1 or not 0.0 < delta < 1.0:
        raise ValueError(f"expected K >= 0, N >= 1 and delta in (0, 1), got {largest}, {problems} and {delta}")
    if largest != int(largest):
        raise ValueError(f"K is a whole number of units of the grid, got {largest}")
    if not largest:
        return 0
    largest = int(largest)
    tail = math.log(problems) - math.log(delta)  # the quotient may overflow
    low, high = largest - 1, math.ceil(2 * largest + tail + math.sqrt(tail * tail + 4 * largest * tail))
    while high - low > 1:
        middle = (low + high) // 2
        # a hair is taken off for the rounding of the tail
        enough = problems * float(binom.cdf(largest - 1, middle, 0.5)) <= delta * (1.0 - 1e-9)
        low, high = (low, middle) if enough else (middle, high)
    return high
