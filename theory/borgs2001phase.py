"""Borgs, Chayes & Pittel 2001: perfect partitions of random integers exist below a critical size, and not above."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any, final

import numpy as np
import numpy.typing as npt
import sympy
from scipy import stats

from strongticket.bounds import borgs2001phase as bounds
from strongticket.bounds import get
from strongticket.subsetsum import solve
from theory._agreement import CHANCE, AbstractAgreementClaim, chance_range
from theory._claim import AbstractClaim, Outcome, Tally, Trial, check_factor, check_whole
from theory._draws import Draws
from theory._theorem import Assumption, ProofStep, Theorem

__all__ = [
    "THEOREMS",
    "AbovePhaseClaim",
    "LeastDiscrepancyClaim",
    "PerfectProbabilityClaim",
    "TransitionClaim",
    "least_discrepancies",
    "signed_sum_counts",
]

_NONE_OFF = 1.05  # ratio of the frequency without a perfect partition to the predicted one, either way
_UNIT_BITS = 45  # of a number U(0, 1)
_MOST_NUMBERS = 32
_MOST_BITS = 50  # of one number; doubled, and 32 of them added, they stay below 2^60


def least_discrepancies(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:  # [batch, n] -> [batch]
    """Return the least |sum of +-x_i| of each row, exactly: a minimum-error subset sum of the doubled numbers.

    >>> least_discrepancies(np.array([[8, 7, 6, 5, 4], [9, 1, 1, 1, 1]])).tolist()
    [0, 5]
    """
    return np.abs(solve(2 * numbers, numbers.sum(axis=1), objective="min_error", threads=1).error)


def _largest(n: int, offset: float) -> int:
    """A, so many bits above the predicted transition."""
    bits = bounds.critical_ratio(n) * n + offset
    if not 1.0 <= bits <= _MOST_BITS:
        raise ValueError(f"offset {offset:g} makes numbers of {bits:.1f} bits; 1..{_MOST_BITS} are possible")
    return round(float(2.0**bits))


@final
class AbovePhaseClaim(AbstractClaim):
    """Markov's inequality: a perfect partition exists at most with the expected number of them.

    n integers uniform on 1..A, A being `offset` bits above the predicted transition; every answer is certain, as the
    subset sums are solved exactly. The expected number is the Gaussian value, computed to lie above the exact one for
    n >= 4 and A >= 2 only (below it for n = 2, and for odd n with A = 1), so other cases are refused.

    Parameters: n, offset (about 0.6 at least), factor (the expected number is divided by it).
    """

    text = "draw n integers uniform on 1..A, A above the transition; they have no perfect partition"
    defaults: Mapping[str, Any] = MappingProxyType({"n": 16, "offset": 3.0, "factor": 1.0})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with `largest`, the number A."""
        p = super().resolve(**params)
        n, offset = check_whole(p, "n", 4, _MOST_NUMBERS), float(p["offset"])
        check_factor(p)
        largest = _largest(n, offset)
        allowed = bounds.perfect_partitions_expected(n, largest) / p["factor"]
        if not 0.0 < allowed < 1.0:
            raise ValueError(f"at n = {n}, offset = {offset:g} the claim allows any outcome: move offset away from 0")
        return {**p, "largest": largest, "allowed": allowed}

    def failure_probability(self, **params: Any) -> float:
        """The expected number of perfect partitions, divided by the factor."""
        return float(self.resolve(**params)["allowed"])

    def describe(self, **params: Any) -> str:
        """Return the parameters in words."""
        p = self.resolve(**params)
        ratio = math.log2(p["largest"]) / p["n"]
        return (
            f"n = {p['n']} integers uniform on 1..{p['largest']}, kappa = {ratio:.4g} where the transition is at "
            f"{bounds.critical_ratio(p['n']):.4g}; failures allowed: {p['allowed']:.4g}"
        )

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw the numbers and find the least discrepancy."""
        p = self.resolve(**params)
        return _partitioned([seed], p["n"], p["largest"])[0]

    def run(self, seeds: Sequence[int], **params: Any) -> Tally:
        """Solve all trials in one batch."""
        p = self.resolve(**params)
        return Tally.of(zip(seeds, _partitioned(seeds, p["n"], p["largest"]), strict=True))


def _partitioned(seeds: Sequence[int], n: int, largest: int) -> list[Trial]:
    """One instance for each seed: it must have no perfect partition."""
    found = least_discrepancies(np.array([1 + Draws(seed).below("numbers", largest, n) for seed in seeds])).tolist()
    return [Trial(Outcome.FAILURE if least <= 1 else Outcome.SUCCESS, f"least discrepancy {least}") for least in found]


def _perfect(seed: int, n: int, largest: int, batch: int) -> int:
    """How many of a batch of instances have a perfect partition."""
    numbers = 1 + Draws(seed).below("numbers", largest, batch * n).reshape(batch, n)
    return int(np.count_nonzero(least_discrepancies(numbers) <= 1))


@final
class PerfectProbabilityClaim(AbstractAgreementClaim):
    """The predicted probability that there is a perfect partition is right within 2 %, for n >= 8.

    Two-sided: a trial is a batch of instances, solved exactly. The probability that there is none is, from one bit
    below the transition upward, right within 5 % (two bits below it is off by up to 20 %, for n >= 8).

    Parameters: n, offset (bits above the transition, at least -1), batch, tolerance (of the probability), factor (of
    the expected number).
    """

    text = "draw integers uniform on 1..A many times; as often as predicted, within 2 %, they have a perfect partition"
    defaults: Mapping[str, Any] = MappingProxyType(
        {"n": 16, "offset": -1.0, "batch": 1000, "tolerance": 0.02, "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with A."""
        p = super().resolve(**params)
        if not p["offset"] >= -1.0:
            raise ValueError(f"offset must be at least -1: further below, none is as accurate, got {p['offset']}")
        return {**p, "largest": _largest(check_whole(p, "n", 8, _MOST_NUMBERS), float(p["offset"]))}

    def allowed(self, params: Mapping[str, Any]) -> tuple[float, float]:
        """Numbers of instances with a perfect partition."""
        n, factor, off = params["n"], float(params["factor"]), params["tolerance"]
        rate = bounds.perfect_partitions_expected(n, params["largest"])
        perfect = bounds.perfect_probability(n, params["largest"])
        if factor != 1.0:  # the twin: another mean number of partitions, by the formula of the bound
            perfect = bounds.perfect_probability_at(rate * factor)
        # just as much of the probability that there is none: below the transition that is the stricter one
        none = 1.0 - perfect
        return chance_range(
            params["batch"],
            max(perfect * (1.0 - off), 1.0 - none * _NONE_OFF),
            min(perfect * (1.0 + off), 1.0 - none / _NONE_OFF),
        )

    def measure(self, seed: int, params: Mapping[str, Any]) -> float:
        """Count the instances with a perfect partition."""
        return float(_perfect(seed, params["n"], params["largest"], params["batch"]))


@final
class TransitionClaim(AbstractAgreementClaim):
    """At kappa_c a perfect partition exists with probability 1 - exp(-1/2)/2 - exp(-1)/2 = 0.513, within 2 %.

    There the mean number of sign vectors with sum 0, given an even sum, is 1. Parameters: n, batch, tolerance (of that
    probability), factor (A is divided by it).
    """

    text = "draw integers uniform on 1..2^(kappa_c n) many times; with probability 0.513 they have a perfect partition"
    defaults: Mapping[str, Any] = MappingProxyType({"n": 16, "batch": 1000, "tolerance": 0.02, "factor": 1.0})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with A."""
        p = super().resolve(**params)
        n = check_whole(p, "n", 8, _MOST_NUMBERS)
        return {**p, "largest": max(1, round(2.0 ** (bounds.critical_ratio(n) * n) / p["factor"]))}

    def allowed(self, params: Mapping[str, Any]) -> tuple[float, float]:
        """Numbers of instances with a perfect partition."""
        perfect, off = 1.0 - math.exp(-0.5) / 2.0 - math.exp(-1.0) / 2.0, params["tolerance"]
        return chance_range(params["batch"], perfect * (1.0 - off), perfect * (1.0 + off))

    def measure(self, seed: int, params: Mapping[str, Any]) -> float:
        """Count the instances with a perfect partition."""
        return float(_perfect(seed, params["n"], params["largest"], params["batch"]))


@final
class LeastDiscrepancyClaim(AbstractAgreementClaim):
    """The mean least discrepancy of n numbers U(0, 1) is the predicted one within 5 %, for n >= 16.

    Parameters: n, batch, tolerance, factor.
    """

    text = "draw n numbers U(0, 1) many times; the mean of the least |sum of +-x_i| is the predicted one, within 5 %"
    defaults: Mapping[str, Any] = MappingProxyType({"n": 16, "batch": 1000, "tolerance": 0.05, "factor": 1.0})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the predicted mean."""
        p = super().resolve(**params)
        n = check_whole(p, "n", 16, _MOST_NUMBERS)
        mean = get("borgs2001phase.least_discrepancy")(n=n, v=1.0 / 3.0)
        return {**p, "mean": mean * p["factor"]}

    def allowed(self, params: Mapping[str, Any]) -> tuple[float, float]:
        """Means of a batch: those of exponential numbers, and the tolerance."""
        batch, mean, off = params["batch"], params["mean"], params["tolerance"]
        low, high = (float(end(CHANCE / 2.0, batch)) / batch for end in (stats.gamma.ppf, stats.gamma.isf))
        return mean * (1.0 - off) * low, mean * (1.0 + off) * high

    def measure(self, seed: int, params: Mapping[str, Any]) -> float:
        """Return the mean of the least discrepancies."""
        numbers = Draws(seed).below("numbers", 1 << _UNIT_BITS, params["batch"] * params["n"])
        return float(least_discrepancies(numbers.reshape(params["batch"], -1)).mean()) / 2.0**_UNIT_BITS


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


def _symbols_of(key: str) -> tuple[Any, dict[str, Any]]:
    """The formula of the bound itself, with positive symbols, so that sympy can simplify it."""
    expression = get(key).expression
    symbols = {symbol.name: sympy.Symbol(symbol.name, positive=True) for symbol in expression.free_symbols}
    return expression.xreplace({symbol: symbols[symbol.name] for symbol in expression.free_symbols}), symbols


def _check_mean_square() -> bool:
    expected, symbols = _symbols_of("borgs2001phase.expected_perfect")
    n, A, x = symbols["n"], symbols["A"], sympy.Symbol("x", integer=True, positive=True)
    mean = sympy.summation(x**2, (x, 1, A)) / A
    # of the bound, solved for E[x^2]
    within = (sympy.Rational(3, 2) * 2**n / expected) ** 2 / (2 * sympy.pi * n)
    return bool(sympy.simplify(mean - within) == 0)


def _check_gaussian() -> bool:
    """The Gaussian value against the exact one: never below, and above by less than 0.5/n."""
    for n, largest in itertools.product(range(4, 17), (2, 3, 4, 8, 16, 32)):
        hits, ways = signed_sum_counts(n, largest)
        exact = Fraction(2 ** (n - 1) * hits, ways)
        excess = bounds.perfect_partitions_expected(n, largest) / float(exact) - 1.0
        if not 0.0 <= excess <= 0.5 / n:
            return False
    return True


def _check_transition() -> bool:
    critical, symbols = _symbols_of("borgs2001phase.transition")
    n, kappa = symbols["n"], sympy.Symbol("kappa", positive=True)
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
    "P(|S| <= 1) is at most 3 / sqrt(2 pi n E[x^2]), and by less than a share 0.5/n smaller "
    "(exact counts, n = 4..16, A = 2, 3, 4, 8, 16, 32)",
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

_POISSON = Assumption(
    "the number of perfect partitions is about Poisson, the signed sums about Gaussian at single points",
    "not proved here; compared with exact solutions for n = 8..24",
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
        bound_keys=("borgs2001phase.transition",),
        status="Cited for the limit and its window. The finite-size formulas are ours, from the first moment and a "
        "Poisson approximation (the critical size also by Mertens 1998): predictions. The claim solves every instance "
        "exactly: at kappa_c the probability of a perfect partition is the predicted 0.513 within 2 %, for n >= 8.",
        steps=(_SQUARE, _PARITY, _CRITICAL),
        assumptions=(
            Assumption("the limit, and the width O(1/n) of the window", "Borgs, Chayes & Pittel 2001"),
            _POISSON,
        ),
        claim=TransitionClaim(),
    ),
    Theorem(
        key="borgs2001phase.perfect_probability",
        title="how likely a perfect partition is, at finite n (strongticket, a prediction)",
        statement="n integers uniform on 1..A have a perfect partition with probability about "
        "1 - exp(-lambda)/2 - exp(-2 lambda)/2, lambda = 2^n / sqrt(2 pi n E[x^2]), E[x^2] = (A + 1)(2A + 1)/6: within "
        "2 % of that probability, and within 5 % of the probability that there is none, for n >= 8 and from one bit "
        "below kappa_c on.",
        hypotheses=("x_1, ..., x_n independent and uniform on 1..A", "n >= 8, for the accuracy"),
        bound_keys=("borgs2001phase.perfect_probability",),
        status="Derived by strongticket, as a prediction. The claim is two-sided and solves every instance exactly. "
        "With 25,000 to 200,000 instances each (n = 8, 12, 16, 20, 24), the frequency was 0 to 2 % below the "
        "prediction; that of no perfect partition was above it by at most 5 % one bit below kappa_c, by 6 to 20 % two "
        "bits below.",
        steps=(_SQUARE, _PARITY),
        assumptions=(_POISSON,),
        claim=PerfectProbabilityClaim(),
    ),
    Theorem(
        key="borgs2001phase.least_discrepancy",
        title="how small the least discrepancy is (strongticket, a prediction)",
        statement="The least |sum of +-x_i| of n independent continuous numbers is about exponential with mean "
        "2^-n sqrt(2 pi n E[x^2]): for U(0, 1) within 5 % of the mean for n >= 16.",
        hypotheses=("x_1, ..., x_n independent with a continuous law", "n >= 16, for the accuracy"),
        bound_keys=("borgs2001phase.least_discrepancy",),
        status="Derived by strongticket, as a prediction. The claim is two-sided and solves every instance exactly, on "
        "a grid of 2^-45. The mean was above the prediction by 23 % (n = 8), 10 % (12), 3 % (16), 2 % (20).",
        assumptions=(_POISSON,),
        claim=LeastDiscrepancyClaim(),
    ),
    Theorem(
        key="borgs2001phase.first_moment",
        title="above the transition perfect partitions are at most as likely as they are many (strongticket)",
        statement="For x_1, ..., x_n independent and uniform on 1..A, the probability of a perfect partition is at "
        "most the expected number of perfect partitions, 2^(n-1) P(|S| <= 1), S the sum of n numbers uniform on "
        "+-1..+-A; that is about (3/2) 2^n / sqrt(2 pi n E[x^2]), E[x^2] = (A + 1)(2A + 1)/6.",
        hypotheses=("x_1, ..., x_n independent and uniform on 1..A", "n >= 4 and A >= 2, for the Gaussian value"),
        bound_keys=("borgs2001phase.expected_perfect",),
        status="Derived by strongticket: Markov's inequality, with the exact expected number. The Gaussian value lies "
        "just above that in the 78 cases computed (n = 4..16, A = 2..32), but below it for n = 2 (by up to 3 %) and "
        "for A = 1 with odd n (by 8 to 23 %): so the claim, which tries the Gaussian value and solves every instance "
        "exactly, is about n >= 4 and A >= 2.",
        steps=(_COUNT, _SQUARE, _GAUSSIAN),
        assumptions=(
            Assumption("Markov's inequality", "any textbook of probability"),
            Assumption(
                "the Gaussian value is not below the exact one for other n >= 4 and A >= 2",
                "local limit theorem; the excess kurtosis of the numbers is negative. Computed on 78 cases only",
            ),
        ),
        claim=AbovePhaseClaim(),
    ),
)
