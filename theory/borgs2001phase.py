"""Borgs, Chayes & Pittel 2001: perfect partitions of random integers exist below a critical size, and not above."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any, final

import numpy as np
import numpy.typing as npt
import sympy

from strongticket.bounds import borgs2001phase as bounds
from strongticket.subsetsum import solve
from theory._claim import AbstractClaim, Outcome, Tally, Trial
from theory._draws import Draws
from theory._theorem import Assumption, ProofStep, Theorem

__all__ = ["THEOREMS", "AbovePhaseClaim", "BelowPhaseClaim", "least_discrepancies", "signed_sum_counts"]

_MOST_BITS = 50  # of one number; doubled, and 32 of them added, they stay below 2^60


def least_discrepancies(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:  # [batch, n] -> [batch]
    """Return the least |sum of +-x_i| of each row, exactly: a minimum-error subset sum of the doubled numbers.

    >>> least_discrepancies(np.array([[8, 7, 6, 5, 4], [9, 1, 1, 1, 1]])).tolist()
    [0, 5]
    """
    return np.abs(solve(2 * numbers, numbers.sum(axis=1), objective="min_error", threads=1).error)


class _PhaseClaim(AbstractClaim):
    """n integers uniform on 1..A, A being `offset` bits above the predicted transition; is there a perfect partition?

    Every answer is certain, as the subset sums are solved exactly.
    """

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with `largest`, the number A."""
        p = super().resolve(**params)
        n, offset = p["n"], float(p["offset"])
        if isinstance(n, bool) or not isinstance(n, int) or not 2 <= n <= 32:
            raise ValueError(f"n must be an integer in 2..32, got {n!r}")
        if p["factor"] < 1.0:
            raise ValueError(f"factor must be >= 1, got {p['factor']}")
        bits = bounds.critical_ratio(n) * n + offset
        if not 0.0 <= bits <= _MOST_BITS:
            raise ValueError(f"offset {offset:g} makes numbers of {bits:.1f} bits; 0..{_MOST_BITS} are possible")
        allowed = self.allowed(n, round(2.0**bits), p) / p["factor"]
        if not 0.0 < allowed < 1.0:
            raise ValueError(f"at n = {n}, offset = {offset:g} the claim allows any outcome: move offset away from 0")
        return {**p, "largest": round(2.0**bits), "allowed": allowed}

    @abstractmethod
    def allowed(self, n: int, largest: int, params: Mapping[str, Any]) -> float:
        """Probability with which a trial may fail."""

    @abstractmethod
    def fails(self, perfect: bool) -> bool:
        """Whether a trial contradicts the conclusion."""

    def failure_probability(self, **params: Any) -> float:
        """What the moment or the prediction gives, divided by the factor."""
        return float(self.resolve(**params)["allowed"])

    def describe(self, **params: Any) -> str:
        """Return the parameters in words."""
        p = self.resolve(**params)
        ratio = math.log2(p["largest"]) / p["n"]
        return (
            f"n = {p['n']} integers uniform on 1..{p['largest']}, kappa = {ratio:.4g} where the transition is at "
            f"{bounds.critical_ratio(p['n']):.4g}; failures allowed: {p['allowed']:.4g}"
        )

    def _outcomes(self, seeds: Sequence[int], params: Mapping[str, Any]) -> npt.NDArray[np.int64]:
        numbers = [1 + Draws(seed).below("numbers", params["largest"], params["n"]) for seed in seeds]
        return least_discrepancies(np.array(numbers))

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw the numbers and find the least discrepancy."""
        (least,) = self._outcomes([seed], self.resolve(**params)).tolist()
        outcome = Outcome.FAILURE if self.fails(least <= 1) else Outcome.SUCCESS
        return Trial(outcome, f"least discrepancy {least}")

    def run(self, seeds: Sequence[int], **params: Any) -> Tally:
        """Solve all trials in one batch."""
        least = self._outcomes(seeds, self.resolve(**params)).tolist()
        failed = [(seed, each) for seed, each in zip(seeds, least, strict=True) if self.fails(each <= 1)]
        examples = tuple(f"seed {seed}: failure: least discrepancy {each}" for seed, each in failed[:5])
        return Tally(len(seeds), len(failed), 0, 0, examples)

    def optimistic(self, factor: float, **params: Any) -> dict[str, Any]:
        """Divide the allowed failure probability by the factor."""
        return {**params, "factor": self.resolve(**params)["factor"] * factor}


@final
class AbovePhaseClaim(_PhaseClaim):
    """Markov's inequality: a perfect partition exists at most with the expected number of them.

    Parameters: n, offset (bits above the transition, about 0.6 at least), factor.
    """

    text = "draw n integers uniform on 1..A, A above the transition; they have no perfect partition"
    defaults: Mapping[str, Any] = MappingProxyType({"n": 16, "offset": 3.0, "factor": 1.0})

    def allowed(self, n: int, largest: int, params: Mapping[str, Any]) -> float:
        """The expected number of perfect partitions."""
        return bounds.perfect_partitions_expected(n, largest)

    def fails(self, perfect: bool) -> bool:
        """A perfect partition was found."""
        return perfect


@final
class BelowPhaseClaim(_PhaseClaim):
    """Below the transition a perfect partition is missing as rarely as Poisson numbers of the expected mean vanish.

    A prediction; `slack` is what it may be off by, relatively (finite n: 0.16 at n = 12 and 0.07 at n = 20, two bits
    below the transition). Parameters: n, offset (bits, negative for below), slack, factor.
    """

    text = "draw n integers uniform on 1..A, A below the transition; they have a perfect partition"
    defaults: Mapping[str, Any] = MappingProxyType({"n": 20, "offset": -2.0, "slack": 0.25, "factor": 1.0})

    def allowed(self, n: int, largest: int, params: Mapping[str, Any]) -> float:
        """The predicted probability that there is none, and the slack."""
        if not params["slack"] >= 0.0:
            raise ValueError(f"slack must be >= 0, got {params['slack']}")
        return (1.0 - bounds.perfect_probability(n, largest)) * (1.0 + float(params["slack"]))

    def fails(self, perfect: bool) -> bool:
        """There is no perfect partition."""
        return not perfect


# ---------------------------------------------------------------- proof steps


def signed_sum_counts(n: int, largest: int) -> tuple[int, int]:
    """Return in how many of the (2A)^n ways signed numbers +-1..+-A add up to -1, 0 or 1; and (2A)^n. Exact.

    All sums at once: the n-th power of a polynomial whose coefficients are written side by side in one integer.
    """
    width = n * (2 * largest).bit_length() + 1
    step = sum(1 << width * (largest + x) for x in range(-largest, largest + 1) if x)
    power, middle = step**n, n * largest
    mask = (1 << width) - 1
    return sum(power >> width * (middle + s) & mask for s in (-1, 0, 1)), (2 * largest) ** n


def _check_first_moment() -> bool:
    for n, largest in itertools.product((2, 3, 4), (1, 2, 3, 4)):
        perfect = 0
        for numbers in itertools.product(range(1, largest + 1), repeat=n):
            signs = itertools.product((1, -1), repeat=n - 1)  # the first number's sign is fixed: one side of two
            sums = (numbers[0] + sum(s * x for s, x in zip(t, numbers[1:], strict=True)) for t in signs)
            perfect += sum(abs(value) <= 1 for value in sums)
        hits, ways = signed_sum_counts(n, largest)
        if Fraction(perfect, largest**n) != Fraction(2 ** (n - 1) * hits, ways):
            return False
    return True


def _check_mean_square() -> bool:
    x, A = sympy.symbols("x A", integer=True, positive=True)
    mean = sympy.summation(x**2, (x, 1, A)) / A
    return bool(sympy.simplify(mean - (A + 1) * (2 * A + 1) / 6) == 0)


def _check_gaussian() -> bool:
    """The Gaussian value against the exact one: never below, and above by less than 0.25/n."""
    for n, largest in itertools.product((4, 6, 8, 12, 16), (4, 16, 64)):
        hits, ways = signed_sum_counts(n, largest)
        exact = Fraction(2 ** (n - 1) * hits, ways)
        excess = bounds.perfect_partitions_expected(n, largest) / float(exact) - 1.0
        if not 0.0 <= excess <= 0.25 / n:
            return False
    return True


def _check_transition() -> bool:
    n, kappa = sympy.symbols("n kappa", positive=True)
    critical = 1 - sympy.log(sympy.pi * n / 6, 2) / (2 * n)
    # twice lambda, with E[x^2] = A^2/3 and A = 2^(kappa n), in logarithms to base 2
    log_rate = 1 + n - kappa * n - sympy.log(2 * sympy.pi * n / 3, 2) / 2
    return bool(sympy.simplify(sympy.expand_log(log_rate.subs(kappa, critical), force=True)) == 0)


def _check_parity() -> bool:
    for numbers in itertools.product(range(1, 5), repeat=4):
        signs = itertools.product((1, -1), repeat=4)
        sums = [sum(s * x for s, x in zip(each, numbers, strict=True)) for each in signs]
        if any((value - sum(numbers)) % 2 for value in sums) or sorted(sums) != sorted(-value for value in sums):
            return False
    return True


_COUNT = ProofStep(
    "expected number",
    "the mean number of perfect partitions is 2^(n-1) P(|S| <= 1), S the sum of n numbers uniform on +-1..+-A "
    "(all inputs and signs, n <= 4, A <= 4)",
    _check_first_moment,
    general=False,
)
_SQUARE = ProofStep("mean square", "E[x^2] = (A + 1)(2A + 1)/6 on 1..A (sympy)", _check_mean_square)
_GAUSSIAN = ProofStep(
    "Gaussian density",
    "P(|S| <= 1) is at most 3 / sqrt(2 pi n E[x^2]), and by less than a share 0.25/n smaller "
    "(exact counts, n = 4..16, A = 4, 16, 64)",
    _check_gaussian,
    general=False,
)
_PARITY = ProofStep(
    "parity",
    "all signed sums have the parity of the sum, and come in pairs +-s: with an odd sum, two sign vectors make one "
    "perfect partition out of both +1 and -1 (all inputs of four numbers up to 4)",
    _check_parity,
    general=False,
)
_CRITICAL = ProofStep(
    "transition",
    "2 lambda = 1 for A = 2^(kappa n) and E[x^2] = A^2/3 where kappa = 1 - log2(pi n/6)/(2n) (sympy)",
    _check_transition,
)

THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="borgs2001phase.transition",
        title="perfect partitions of n random integers exist up to kappa = 1 bit per number and item",
        statement="Let x_1, ..., x_n be independent, uniform on 1..A, kappa_n = log2(A)/n = 1 - log2(n)/(2n) + "
        "lambda_n/n. As n grows, the probability of a perfect partition (discrepancy at most 1) tends to 1 if lambda_n "
        "tends to minus infinity, and to 0 if it tends to infinity. At finite n (strongticket, a prediction): it is "
        "1 - exp(-lambda)/2 - exp(-2 lambda)/2 with lambda = 2^n / sqrt(2 pi n E[x^2]), and 2 lambda = 1 at "
        "kappa_c = 1 - log2(pi n/6)/(2n); the least discrepancy of continuous numbers is about exponential with mean "
        "2^-n sqrt(2 pi n E[x^2]).",
        hypotheses=("x_1, ..., x_n independent and uniform on 1..A", "the limit is n to infinity"),
        bound_keys=(
            "borgs2001phase.transition",
            "borgs2001phase.perfect_probability",
            "borgs2001phase.least_discrepancy",
        ),
        status="Cited for the limit and its window. The finite-size formulas are ours, from the first moment and a "
        "Poisson approximation (the critical size also by Mertens 1998): predictions. The claim solves every instance "
        "exactly and holds the prediction to a slack of 25 %; the tests compare it with frequencies on both sides.",
        steps=(_SQUARE, _PARITY, _CRITICAL),
        assumptions=(
            Assumption("the limit, and the width O(1/n) of the window", "Borgs, Chayes & Pittel 2001"),
            Assumption(
                "the number of perfect partitions is about Poisson, the signed sums about Gaussian at single points",
                "not proved here; compared with exact solutions for n = 8..24",
            ),
        ),
        claim=BelowPhaseClaim(),
    ),
    Theorem(
        key="borgs2001phase.first_moment",
        title="above the transition perfect partitions are at most as likely as they are many (strongticket)",
        statement="For x_1, ..., x_n independent and uniform on 1..A, the probability of a perfect partition is at "
        "most the expected number of perfect partitions, 2^(n-1) P(|S| <= 1), S the sum of n numbers uniform on "
        "+-1..+-A; that is about (3/2) 2^n / sqrt(2 pi n E[x^2]), E[x^2] = (A + 1)(2A + 1)/6.",
        hypotheses=("x_1, ..., x_n independent and uniform on 1..A",),
        bound_keys=("borgs2001phase.expected_perfect",),
        status="Derived by strongticket: Markov's inequality. The expected number is computed exactly on cases, where "
        "the Gaussian value lies just above it; the claim tries the Gaussian value, and solves every instance exactly.",
        steps=(_COUNT, _SQUARE, _GAUSSIAN),
        assumptions=(
            Assumption("Markov's inequality", "any textbook of probability"),
            Assumption(
                "the Gaussian value is not below the exact one for other n and A",
                "local limit theorem; the excess kurtosis of the numbers is negative. Computed on 15 cases only",
            ),
        ),
        claim=AbovePhaseClaim(),
    ),
)
