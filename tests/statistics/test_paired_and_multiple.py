"""Pairs against all flips of signs, classifiers against scipy, adjusted p-values against definitions and tables."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, false_discovery_control, permutation_test, ttest_rel

from strongticket.statistics import (
    MOST_PAIRS,
    benjamini_hochberg,
    benjamini_yekutieli,
    gain,
    holm,
    mcnemar,
    sign_flip,
)

quick = settings(max_examples=60, deadline=None)
whole = st.integers(-6, 6)
p_lists = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=7)
Alternatives: Any = ("two-sided", "greater", "less")


def slow_flips(differences: list[int], alternative: str) -> float:
    """By the definition: every way to give the differences signs."""
    total = sum(differences)
    sums = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    as_large = {
        "greater": [s >= total for s in sums],
        "less": [s <= total for s in sums],
        "two-sided": [abs(s) >= abs(total) for s in sums],
    }[alternative]
    return sum(as_large) / len(sums)


@quick
@given(st.lists(whole, min_size=1, max_size=9), st.sampled_from(Alternatives))
def test_sign_flips_are_all_counted(differences: list[int], alternative: Any) -> None:
    zeros = [0.0] * len(differences)
    assert sign_flip(differences, zeros, alternative=alternative) == slow_flips(differences, alternative)
    tenths = [d / 10 for d in differences]  # rounding must not break ties: 0.1 + 0.2 is as large as 0.3
    assert sign_flip(tenths, zeros, alternative=alternative) == slow_flips(differences, alternative)
    shifted = [d + 3 for d in differences]
    assert sign_flip(shifted, zeros, margin=3, alternative=alternative) == slow_flips(differences, alternative)


@pytest.mark.parametrize("n", [2, 5, 8])
def test_sign_flips_are_surprising_as_rarely_as_they_say(n: int) -> None:
    """If signs are random, P(p <= level) <= level, over all signs; and it is not far from it."""
    sizes = np.sqrt(np.arange(2.0, 2.0 + n))
    found = [sign_flip((sizes * signs).tolist(), [0.0] * n) for signs in itertools.product((1.0, -1.0), repeat=n)]
    for level in sorted(set(found)):
        assert np.mean(np.array(found) <= level) == pytest.approx(level)
    assert min(found) == 2.0 ** (1 - n)


def test_sign_flips_agree_with_scipy_and_go_up_to_forty_pairs() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(0.3, 1.0, 11), rng.normal(0.0, 1.0, 11)
    exact = permutation_test(
        (ours, theirs), lambda a, b: float(np.mean(a - b)), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(ours.tolist(), theirs.tolist()) == pytest.approx(exact.pvalue)
    assert sign_flip([1.0] * 34, [0.0] * 34, alternative="greater") == 2.0**-34
    with pytest.raises(ValueError, match="use gain"):
        sign_flip([1.0] * (MOST_PAIRS + 1), [0.0] * (MOST_PAIRS + 1))


@quick
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=8))
def test_gains_are_students_interval(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = (list(side) for side in zip(*pairs, strict=True))
    found = gain(ours, theirs)
    differences = np.subtract(ours, theirs)
    assert found.mean == pytest.approx(differences.mean(), abs=1e-12)
    if np.ptp(differences) > 1e-6:
        both = ttest_rel(ours, theirs).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((both.low, both.high), rel=1e-6, abs=1e-9)
    other = gain(theirs, ours)
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low), abs=1e-12)


@quick
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_sign_test_of_the_examples_that_differ(pairs: list[tuple[bool, bool]]) -> None:
    first, second = (list(side) for side in zip(*pairs, strict=True))
    found = mcnemar(first, second)
    only = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    assert (found.only_first, found.only_second, found.examples) == (*only, len(pairs))
    wanted = binomtest(only[0], sum(only), 0.5).pvalue if sum(only) else 1.0
    assert found.p_value == pytest.approx(wanted)
    assert mcnemar(np.array(second), np.array(first)).p_value == found.p_value


def test_mcnemar_by_hand() -> None:
    """One against eight of nine: 2 (1 + 9) / 2^9."""
    first, second = [True] + [False] * 8 + [True] * 20, [False] + [True] * 8 + [True] * 20
    assert mcnemar(first, second).p_value == pytest.approx(20 / 512)


def slow_holm(p_values: list[float]) -> list[float]:
    """The closed test made of Bonferroni's: a claim falls if every set of claims with it is rejected."""
    m = len(p_values)
    sets = [s for size in range(1, m + 1) for s in itertools.combinations(range(m), size)]
    return [max(min(1.0, len(s) * min(p_values[j] for j in s)) for s in sets if i in s) for i in range(m)]


def slow_step_up(p_values: list[float], penalty: float) -> list[float]:
    """The least level at which the procedure rejects: all up to the last rank k with p_(k) <= k level / (m penalty)."""
    m = len(p_values)

    def rejects(level: float, p: float) -> bool:
        ranked = sorted(p_values)
        ranks = [k for k in range(1, m + 1) if ranked[k - 1] * m * penalty / k <= level]
        return bool(ranks) and p <= ranked[max(ranks) - 1]

    levels = sorted({min(1.0, p * m * penalty / k) for p in p_values for k in range(1, m + 1)} | {1.0})
    return [next(level for level in levels if level == 1.0 or rejects(level, p)) for p in p_values]


@quick
@given(p_lists)
def test_adjusted_p_values_are_those_of_the_definitions(p_values: list[float]) -> None:
    harmonic = sum(1 / k for k in range(1, len(p_values) + 1))
    assert holm(p_values) == pytest.approx(slow_holm(p_values))
    assert benjamini_hochberg(p_values) == pytest.approx(slow_step_up(p_values, 1.0))
    assert benjamini_hochberg(p_values) == pytest.approx(false_discovery_control(p_values, method="bh"))
    assert benjamini_yekutieli(p_values) == pytest.approx(slow_step_up(p_values, harmonic))
    assert benjamini_yekutieli(p_values) == pytest.approx(false_discovery_control(p_values, method="by"))


@quick
@given(p_lists, st.randoms(use_true_random=False))
def test_adjusting_keeps_the_order_and_never_helps(p_values: list[float], random: Any) -> None:
    order = list(range(len(p_values)))
    random.shuffle(order)
    for method in (holm, benjamini_hochberg, benjamini_yekutieli):
        found = method(p_values)
        assert all(p <= q <= 1.0 for p, q in zip(p_values, found, strict=True))
        assert [found[i] for i in order] == list(method([p_values[i] for i in order]))
        ranked = [q for _, q in sorted(zip(p_values, found, strict=True))]
        assert ranked == sorted(ranked)
    assert all(a <= b + 1e-15 for a, b in zip(benjamini_hochberg(p_values), holm(p_values), strict=True))


def test_the_table_of_benjamini_and_hochberg() -> None:
    """The fifteen p-values of the paper's example: at 0.05 its method rejects four, Bonferroni's and Holm's three."""
    small = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p_values = [*small, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert sum(p <= 0.05 for p in benjamini_hochberg(p_values)) == 4
    assert sum(p <= 0.05 for p in holm(p_values)) == 3


def test_the_table_of_another_library() -> None:
    """Five p-values adjusted by stdlib's padjust, by its documentation."""
    p_values = [0.319, 0.201, 0.4, 0.374, 0.113]
    assert holm(p_values) == pytest.approx([0.957, 0.804, 0.957, 0.957, 0.565])
    assert benjamini_hochberg(p_values) == pytest.approx([0.4] * 5)


def test_holm_keeps_the_error_of_a_family_over_all_outcomes() -> None:
    """Three true claims tested by coins of their own: P(any rejected) <= level, exactly, and above most of it."""
    level, trials = 0.2, 6
    tails = [sum(math.comb(trials, j) for j in range(k, trials + 1)) / 2**trials for k in range(trials + 1)]
    error = sum(
        math.prod(math.comb(trials, k) / 2**trials for k in ks)
        for ks in itertools.product(range(trials + 1), repeat=3)
        if min(holm([tails[k] for k in ks])) <= level
    )
    assert 0.01 < error <= level
    naive = 1 - (1 - max(t for t in tails if t <= level)) ** 3
    assert naive > error


@pytest.mark.parametrize(
    "call",
    [
        lambda: holm([0.1, 1.1]),
        lambda: benjamini_hochberg([-0.1]),
        lambda: benjamini_yekutieli([float("nan")]),
        lambda: gain([1.0], [1.0, 2.0]),
        lambda: sign_flip([], []),
        lambda: sign_flip([1.0, float("nan")], [0.0, 0.0]),
        lambda: sign_flip([1.0], [0.0], alternative="larger"),  # type: ignore[arg-type]
        lambda: mcnemar([1, 0], [1, 0]),
        lambda: mcnemar([True], [True, False]),
        lambda: mcnemar([], []),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any) -> None:
    with pytest.raises(ValueError):
        call()


def test_no_claims_are_no_trouble() -> None:
    assert holm([]) == benjamini_hochberg([]) == benjamini_yekutieli([]) == ()
