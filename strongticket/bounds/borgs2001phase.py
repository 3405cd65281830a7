"""Borgs, Chayes & Pittel 2001, "Phase transition and finite-size scaling for the integer partitioning problem".

n integers, uniform on 1..A, are to be split into two groups of equal sum. The *discrepancy* of a partition is the
difference of the two sums; it has the parity of the whole sum, so a partition is *perfect* if it is at most 1. With
kappa = log2(A) / n, perfect partitions exist for kappa < 1 and do not for kappa > 1, as n grows. A partition is a
subset sum in disguise: the least discrepancy is the least |sum x - 2 sum_S x|.

The paper proves the limit and the order of the window; the constants below are **derived by strongticket** from the
first moment (the transition also by Mertens 1998), and are predictions, compared with exact solutions in the tests.
"""

from __future__ import annotations

import math
from typing import Any

from strongticket.bounds._bound import Bound, Formula, Hypothesis, Relation

__all__ = ["BOUNDS", "critical_ratio", "perfect_partitions_expected", "perfect_probability", "perfect_probability_at"]


def _symbols(names: str) -> Any:
    import sympy

    found = sympy.symbols(names, real=True)
    return found if isinstance(found, tuple) else (found,)


def _count(symbol: Any, least: int, text: str) -> Hypothesis:
    import sympy

    name = f"{symbol.name} integer >= {least}"
    return Hypothesis(name, sympy.And(symbol >= least, sympy.Eq(sympy.floor(symbol), symbol)), text)


def _rate(n: Any, A: Any) -> Any:
    """lambda = 2^n / sqrt(2 pi n E[x^2]), E[x^2] = (A + 1)(2A + 1)/6."""
    import sympy

    return 2**n / sympy.sqrt(2 * sympy.pi * n * (A + 1) * (2 * A + 1) / 6)


def _transition() -> Formula:
    import sympy

    (n,) = _symbols("n")
    return Formula(1 - sympy.log(sympy.pi * n / 6, 2) / (2 * n), (_count(n, 2, "how many numbers"),))


def _expected_perfect() -> Formula:
    import sympy

    n, A = _symbols("n A")
    hypotheses = (_count(n, 2, "how many numbers"), _count(A, 1, "the numbers are uniform on 1..A"))
    return Formula(sympy.Rational(3, 2) * _rate(n, A), hypotheses)


def _perfect_probability() -> Formula:
    import sympy

    n, A = _symbols("n A")
    rate = _rate(n, A)
    hypotheses = (_count(n, 2, "how many numbers"), _count(A, 1, "the numbers are uniform on 1..A"))
    return Formula(1 - sympy.exp(-rate) / 2 - sympy.exp(-2 * rate) / 2, hypotheses)


def _least_discrepancy() -> Formula:
    import sympy

    n, v = _symbols("n v")
    return Formula(
        2 ** (-n) * sympy.sqrt(2 * sympy.pi * n * v),
        (
            _count(n, 2, "how many numbers"),
            Hypothesis("v > 0", v > 0, "mean square E[x^2] of a number: 1/3 for U(0, 1)"),
        ),
    )


BOUNDS: tuple[Bound, ...] = (
    Bound(
        "borgs2001phase.transition",
        "kappa_c, bits per number (log2 A / n) at which perfect partitions of n numbers cease to exist: there, one "
        "choice of signs is expected to give 0 if the sum is even",
        Relation.PREDICTION,
        _transition,
        "the paper has 1 - log2(n)/(2n) up to O(1/n); the constant is ours, by 2^n sign vectors of Gaussian sums",
    ),
    Bound(
        "borgs2001phase.expected_perfect",
        "expected number of perfect partitions of n numbers uniform on 1..A",
        Relation.PREDICTION,
        _expected_perfect,
        "strongticket: 2^(n-1) P(|sum of n signed numbers| <= 1), by the Gaussian density of that sum at 0",
    ),
    Bound(
        "borgs2001phase.perfect_probability",
        "probability that n numbers uniform on 1..A have a perfect partition",
        Relation.PREDICTION,
        _perfect_probability,
        "strongticket: perfect partitions as Poisson numbers, of mean lambda (even sum) or 2 lambda (odd sum)",
    ),
    Bound(
        "borgs2001phase.least_discrepancy",
        "mean of the least |sum of +-x_i| over all signs, for n continuous numbers of mean square v; the least is "
        "about exponential",
        Relation.PREDICTION,
        _least_discrepancy,
        "strongticket: 2^(n-1) partitions, each |sum| with density 2 / sqrt(2 pi n v) at 0",
    ),
)


def critical_ratio(n: int) -> float:
    """Return kappa_c = 1 - log2(pi n / 6) / (2n): bits per number where perfect partitions cease to exist.

    >>> [round(critical_ratio(n), 3) for n in (8, 16, 24, 10**6)]
    [0.871, 0.904, 0.924, 1.0]
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 2:
        raise ValueError(f"n must be an integer >= 2, got {n!r}")
    return 1.0 - math.log2(math.pi * n / 6.0) / (2.0 * n)


def perfect_partitions_expected(n: int, largest: int) -> float:
    """Return the expected number of perfect partitions of n integers uniform on 1..largest (Gaussian approximation).

    >>> round(perfect_partitions_expected(16, 22642), 2)
    0.75
    """
    for name, value, least in (("n", n, 2), ("largest", largest, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    log_square = math.log(2.0 * math.pi * n / 6.0) + math.log(largest + 1) + math.log(2 * largest + 1)
    return 1.5 * math.exp(min(n * math.log(2.0) - log_square / 2.0, 700.0))


def perfect_probability(n: int, largest: int) -> float:
    """Predict P(n integers uniform on 1..largest have a perfect partition); no proof.

    For n >= 8, from two bits below the transition to three above, this probability is too large by 0 to 2 % of itself.
    The probability that there is none is too small by at most 5 % of itself from one bit below the transition on, by
    6 to 20 % two bits below.

    >>> [round(perfect_probability(16, largest), 3) for largest in (5661, 22642, 90568)]
    [0.923, 0.513, 0.169]
    """
    return perfect_probability_at(perfect_partitions_expected(n, largest))


def perfect_probability_at(expected: float) -> float:
    """Return the predicted probability of a perfect partition where so many are expected.

    Even sums have Poisson numbers of mean lambda = expected / 1.5, odd ones of mean 2 lambda.
    """
    rate = expected / 1.5
    return -(math.expm1(-rate) + math.expm1(-2.0 * rate)) / 2.0
