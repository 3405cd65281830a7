"""The phase transition of number partitioning: our finite-size formulas against exact solutions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from strongticket import bounds
from strongticket.bounds import borgs2001phase as phase
from theory.borgs2001phase import least_discrepancies, signed_sum_counts


def test_bounds_equal_their_functions() -> None:
    transition = bounds.get("borgs2001phase.transition")
    expected = bounds.get("borgs2001phase.expected_perfect")
    probability = bounds.get("borgs2001phase.perfect_probability")
    for n, largest in [(2, 1), (8, 125), (16, 22642), (24, 10**7)]:
        assert phase.critical_ratio(n) == pytest.approx(transition(n=n), rel=1e-12)
        assert phase.perfect_partitions_expected(n, largest) == pytest.approx(expected(n=n, A=largest), rel=1e-12)
        assert phase.perfect_probability(n, largest) == pytest.approx(probability(n=n, A=largest), rel=1e-12)
    assert all(bound.relation is bounds.Relation.PREDICTION for bound in phase.BOUNDS)


def test_the_transition_tends_to_one_bit_per_number() -> None:
    ratios = [phase.critical_ratio(n) for n in range(6, 2000)]  # it falls up to n = 5
    assert ratios == sorted(ratios)
    assert 0.99 < ratios[-1] < 1
    # the published order
    assert abs(phase.critical_ratio(10**6) - (1 - math.log2(10**6) / (2 * 10**6))) < 1e-6
    assert phase.perfect_probability(16, 1) == pytest.approx(1)
    assert phase.perfect_probability(10**4, 2) == 1.0


def test_least_discrepancies_by_all_signs() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(1, 1000, (60, 9))
    signs = np.array([[1 if k >> i & 1 else -1 for i in range(9)] for k in range(512)])
    assert least_discrepancies(numbers).tolist() == np.abs(numbers @ signs.T).min(axis=1).tolist()


def test_signed_sum_counts_by_enumeration() -> None:
    from itertools import product

    for n, largest in [(1, 3), (3, 2), (4, 3)]:
        steps = [x for x in range(-largest, largest + 1) if x]
        hits = sum(abs(sum(chosen)) <= 1 for chosen in product(steps, repeat=n))
        assert signed_sum_counts(n, largest) == (hits, (2 * largest) ** n)
    exact = Fraction(*signed_sum_counts(16, 500)) * 2**15
    assert phase.perfect_partitions_expected(16, 500) == pytest.approx(float(exact), rel=0.02)


@pytest.mark.parametrize(("n", "trials"), [(8, 20_000), (12, 20_000), (16, 20_000), (20, 6_000), (24, 1_500)])
def test_probability_of_a_perfect_partition(n: int, trials: int) -> None:
    """Across the transition, in steps of bits; from one bit below on, the failures are within 8 %."""
    rng = np.random.default_rng(n)
    for offset in (-1, 0, 1, 3):
        largest = round(2 ** (phase.critical_ratio(n) * n + offset))
        found = float((least_discrepancies(rng.integers(1, largest + 1, (trials, n))) <= 1).mean())
        predicted = phase.perfect_probability(n, largest)
        noise = 4 * math.sqrt(predicted * (1 - predicted) / trials)
        assert abs(found - predicted) <= noise + 0.08 * (1 - predicted)
        assert found <= phase.perfect_partitions_expected(n, largest) + noise
    # so the transition is a transition: from one to the other within six bits
    sharp = [phase.perfect_probability(n, round(2 ** (phase.critical_ratio(n) * n + o))) for o in (-3, 3)]
    assert sharp[0] > 0.98
    assert sharp[1] < 0.1


@pytest.mark.parametrize(("n", "off"), [(16, 0.06), (20, 0.03), (24, 0.03)])
def test_mean_least_discrepancy(n: int, off: float) -> None:
    """2^-n sqrt(2 pi n / 3) for numbers U(0, 1); about exponential, so the median is ln 2 times that."""
    trials = 4_000 if n < 24 else 1_500
    rng = np.random.default_rng(n)
    least = least_discrepancies(rng.integers(1, 1 << 45, (trials, n))) / 2.0**45
    mean = bounds.get("borgs2001phase.least_discrepancy")(n=n, v=1 / 3)
    assert least.mean() / mean == pytest.approx(1.0, abs=off + 4 / math.sqrt(trials))
    assert np.median(least) / mean == pytest.approx(math.log(2), abs=off + 4 / math.sqrt(trials))


def test_refusals() -> None:
    for n in (1, 0, 2.0, True):
        with pytest.raises(ValueError, match="n must be"):
            phase.critical_ratio(n)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="n must be"):
            phase.perfect_probability(n, 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="largest"):
        phase.perfect_partitions_expected(5, 0)
    with pytest.raises(bounds.HypothesisError, match="n integer"):
        bounds.get("borgs2001phase.transition")(n=2.5)
    with pytest.raises(ValueError, match="finite"):
        bounds.get("borgs2001phase.expected_perfect")(n=math.nan, A=3)
