"""Exact tails and intervals against fractions, scipy's tests, and coverage by enumeration."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from strongticket.statistics import interval, p_value


def slow_tail(trials: int, failures: int, delta: Fraction) -> Fraction:
    return sum(
        (math.comb(trials, k) * delta**k * (1 - delta) ** (trials - k) for k in range(failures, trials + 1)),
        Fraction(0),
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.data(), st.fractions(0, 1, max_denominator=40))
def test_tails_are_those_of_fractions(trials: int, data: st.DataObject, delta: Fraction) -> None:
    failures = data.draw(st.integers(0, trials))
    assert p_value(trials, failures, float(delta)) == pytest.approx(float(slow_tail(trials, failures, delta)), rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.9, 0.99, 0.999]))
def test_intervals_are_scipys_and_grow_with_the_failures(trials: int, share: float, confidence: float) -> None:
    failures = round(share * trials)
    both = binomtest(failures, trials).proportion_ci(confidence, "exact")
    ends = interval(trials, failures, confidence)
    assert ends == pytest.approx((both.low, both.high), rel=1e-6, abs=1e-12)
    if failures < trials:
        more = interval(trials, failures + 1, confidence)
        assert ends[0] < more[0]
        assert ends[1] <= more[1]
    assert interval(trials, failures, 0.5)[1] <= ends[1]


@pytest.mark.parametrize("trials", [1, 7, 25])
def test_intervals_cover_whatever_the_truth_is(trials: int) -> None:
    """The probability of covering p, summed over all outcomes, at many p and next to every end of an interval."""
    ends = [interval(trials, k, 0.9) for k in range(trials + 1)]
    least = 1.0
    for p in [i / 97 for i in range(98)] + [end * (1 + 1e-9) for pair in ends for end in pair if end < 1]:
        covered = sum(
            math.comb(trials, k) * p**k * (1 - p) ** (trials - k)
            for k, (low, high) in enumerate(ends)
            if low <= p <= high
        )
        least = min(least, covered)
    assert least >= 0.9 - 1e-9
    assert least < 0.999  # or nothing was tested


@pytest.mark.parametrize(
    "call",
    [
        lambda: p_value(3, 4, 0.1),
        lambda: p_value(3, -1, 0.1),
        lambda: p_value(3, 1, 1.1),
        lambda: p_value(3, 1, float("nan")),
        lambda: interval(0, 0),
        lambda: interval(3, 4),
        lambda: interval(3, 1, 1.0),
    ],
)
def test_numbers_that_make_no_sense_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match="got"):
        call()  # type: ignore[operator]


def test_importing_the_room_loads_no_scipy() -> None:
    code = "import sys, strongticket.statistics; sys.exit('scipy' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
