"""Evidence against integrals, error probabilities over all paths, in exact fractions where it matters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from strongticket.statistics import (
    Decision,
    SequentialTest,
    anytime_interval,
    interval,
    log_against,
    log_in_favour,
)

quick = settings(max_examples=40, deadline=None)
deltas = st.sampled_from([1e-6, 1e-3, 0.01, 0.1, 0.3, 0.5, 0.9, 0.99])


def slow_average(n: int, k: int, delta: float, low: float, high: float) -> float:
    """Mean of L(q) / L(delta) over Jeffreys' law cut to (low, high), by integration in q = sin(t)^2."""
    ends = [mpmath.asin(mpmath.sqrt(end)) for end in (low, high)]
    peak = mpmath.asin(mpmath.sqrt(mpmath.mpf(k) / n if n else 0))
    places = sorted({*ends, *([peak] if ends[0] < peak < ends[1] else [])})
    likelihood = mpmath.quad(lambda t: mpmath.sin(t) ** (2 * k) * mpmath.cos(t) ** (2 * (n - k)), places)
    return float(likelihood / (ends[1] - ends[0]) / (mpmath.mpf(delta) ** k * (1 - mpmath.mpf(delta)) ** (n - k)))


@pytest.mark.parametrize(
    ("n", "k", "delta"),
    [(0, 0, 0.1), (5, 2, 0.1), (40, 9, 0.1), (40, 1, 0.3), (200, 0, 0.01), (30, 30, 0.9), (9, 4, 0.5)],
)
def test_evidence_is_the_integral_that_it_is_said_to_be(n: int, k: int, delta: float) -> None:
    against = slow_average(n, k, delta, delta, 1.0)
    assert float(log_against(n, k, delta)) == pytest.approx(math.log(against), rel=1e-8, abs=1e-8)
    never = (1.0 - delta) ** -n if k == 0 else 0.0
    favour = 0.5 * never + 0.5 * slow_average(n, k, delta, 0.0, delta)
    assert float(log_in_favour(n, k, delta)) == pytest.approx(math.log(favour), rel=1e-8, abs=1e-8)


@quick
@given(st.integers(0, 200), st.integers(0, 40), st.sampled_from([1e-3, 0.01, 0.1, 0.3, 0.5, 0.9]), st.floats(0.0, 1.0))
def test_evidence_is_a_fair_game_at_delta_and_a_losing_one_where_it_should_be(
    successes: int, k: int, delta: float, truth: float
) -> None:
    """The heart of the guarantee: the mean after one more trial, exactly."""
    n = successes + k
    for evidence, fair in ((log_against, truth <= delta), (log_in_favour, truth >= delta)):
        now, success, failure = (
            math.exp(float(evidence(n + a, k + b, delta)) - float(evidence(n, k, delta)))
            for a, b in ((0, 0), (1, 0), (1, 1))
        )
        assert delta * failure + (1 - delta) * success == pytest.approx(now, rel=1e-7)
        if fair:
            assert truth * failure + (1 - truth) * success <= now * (1 + 1e-7)


def slow_run(test: SequentialTest, path: Sequence[int], looks: Sequence[int]) -> tuple[Decision, int]:
    """By the definition: look, stop when sure."""
    evidence = test.start
    for now in looks:
        evidence = test.observe(evidence, trials=now, failures=sum(path[:now]))
        if evidence.decision is not Decision.GO_ON:
            return evidence.decision, now
    return Decision.GO_ON, looks[-1]


@pytest.mark.parametrize("looks", [tuple(range(1, 10)), (3, 4, 8, 9)])
@pytest.mark.parametrize(("delta", "alpha"), [(0.1, 0.1), (0.5, 0.05), (0.3, 0.2)])
def test_characteristics_are_those_of_all_paths(delta: float, alpha: float, looks: tuple[int, ...]) -> None:
    test = SequentialTest(delta, alpha, cap=9)
    runs = [(path, *slow_run(test, path, looks)) for path in itertools.product((0, 1), repeat=9)]
    for p in (0.0, 0.07, delta, 0.6, 1.0):
        weight = {path: p ** sum(path) * (1 - p) ** (9 - sum(path)) for path, _, _ in runs}
        found = test.characteristics(p, looks=looks)
        for decision, share in (
            (Decision.FALSIFIED, found.falsified),
            (Decision.HOLDS, found.holds),
            (Decision.GO_ON, found.open),
        ):
            assert share == pytest.approx(sum(weight[path] for path, end, _ in runs if end is decision), abs=1e-12)
        assert found.trials == pytest.approx(sum(weight[path] * now for path, _, now in runs))
    assert len({end for _, end, _ in runs}) >= 2


def exact_errors(test: SequentialTest, cap: int) -> tuple[Fraction, Fraction]:
    """P(ever FALSIFIED), P(ever HOLDS) at p = delta over all paths of `cap` trials, in fractions; looks at every one.

    Each of the two is followed alone: the other end would only stop paths before they err.
    """
    delta = Fraction(test.delta)
    holds, falsified = (ends.tolist() for ends in test.boundaries(range(1, cap + 1)))
    errors = []
    for wrong in (lambda n, k: k >= falsified[n - 1], lambda n, k: k <= holds[n - 1]):
        alive, error = {0: Fraction(1)}, Fraction(0)
        for n in range(1, cap + 1):
            new: dict[int, Fraction] = {}
            for k, weight in alive.items():
                for step, chance in ((0, 1 - delta), (1, delta)):
                    if wrong(n, k + step):
                        error += weight * chance
                    else:
                        new[k + step] = new.get(k + step, Fraction(0)) + weight * chance
            alive = new
        errors.append(error)
    return errors[0], errors[1]


@pytest.mark.parametrize("capped", [True, False])
@pytest.mark.parametrize(("delta", "alpha", "cap"), [(0.25, 0.1, 60), (0.5, 1e-3, 60), (0.03125, 0.05, 140)])
def test_wrong_verdicts_are_rarer_than_alpha_in_exact_fractions(
    delta: float, alpha: float, cap: int, capped: bool
) -> None:
    test = SequentialTest(delta, alpha, cap=cap if capped else None)
    errors = exact_errors(test, cap)
    assert max(errors) <= Fraction(alpha)
    assert min(errors) > Fraction(alpha) / 40  # it is not kept by never saying anything


@pytest.mark.parametrize(("delta", "alpha", "cap"), [(0.01, 1e-6, 2000), (0.1, 1e-6, 1000), (0.05, 1e-2, 700)])
def test_wrong_verdicts_are_rare_at_the_sizes_that_are_used(delta: float, alpha: float, cap: int) -> None:
    test = SequentialTest(delta, alpha, cap=cap)
    at = test.characteristics(delta)
    assert 0.2 * alpha < at.falsified <= alpha
    assert 0.2 * alpha < at.holds <= alpha
    shares = [test.characteristics(share * delta, looks=range(10, cap, 10)) for share in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert [one.falsified for one in shares] == sorted(one.falsified for one in shares)  # worst at delta, if it is true
    assert [one.holds for one in shares] == sorted((one.holds for one in shares), reverse=True)
    # nearly as powerful as the test of fixed size, and far shorter where the claim is far from true
    assert shares[3].falsified > 0.75 * shares[3].fixed_falsified
    assert shares[4].falsified > 0.99 * shares[4].fixed_falsified
    assert shares[4].saved > 0.5


def test_looks_without_a_plan_are_safe_for_ten_thousand_trials() -> None:
    """Without a cap, followed for longer than anyone planned, by boundaries and all paths in floating point."""
    test = SequentialTest(0.02, 1e-3)
    times = np.arange(1, 10_001)
    _, falsified = test.boundaries(times)
    paths, error = np.ones(1), 0.0
    for least in falsified.tolist():
        paths = np.convolve(paths, [0.98, 0.02])
        error += paths[least:].sum()
        paths = paths[:least]
    assert 1e-4 < error <= 1e-3


@pytest.mark.parametrize("cap", [60, None])
@pytest.mark.parametrize("level", [0.3, 0.05, 0.004])
def test_p_values_are_valid_at_every_level_and_time(cap: int | None, level: float) -> None:
    """P(the p-value is ever <= level) <= level if the claim is true, whatever alpha the test was made for."""
    test = SequentialTest(0.25, 1e-6, cap=cap)
    for values, delta in ((test.p_values, 0.25), (test.p_values_holds, 0.25)):
        alive, error = np.ones(1), 0.0
        for n in range(1, 61):
            alive = np.convolve(alive, [1 - delta, delta])
            wrong = values(np.full(n + 1, n), np.arange(n + 1)) <= level
            error += alive[wrong].sum()
            alive = np.where(wrong, 0.0, alive)
        assert error <= level


@quick
@given(deltas, st.sampled_from([1e-6, 1e-2]), st.one_of(st.none(), st.integers(1, 400)), st.data())
def test_boundaries_are_where_p_values_cross_the_level(
    delta: float, alpha: float, cap: int | None, data: st.DataObject
) -> None:
    test = SequentialTest(delta, alpha, cap=cap)
    n = data.draw(st.integers(1, cap or 400))
    holds, falsified = (int(end) for end in test.boundaries(n))
    ks = np.arange(n + 1)
    assert [k for k in range(n + 1) if k >= falsified] == ks[test.p_values(n, ks) <= alpha].tolist()
    assert [k for k in range(n + 1) if k <= holds] == ks[test.p_values_holds(n, ks) <= alpha].tolist()
    assert holds < falsified


@quick
@given(deltas, st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=1, max_size=120), st.integers(0, 2**32))
def test_undecided_trials_never_tip_a_verdict(delta: float, path: list[int], chance: int) -> None:
    """What is sure with undecided trials (2) is as sure if they are made to fail or succeed, in any way."""
    test = SequentialTest(delta, 0.02, cap=120)
    evidence, filled = test.start, test.start
    rng = np.random.default_rng(chance)
    made = [int(rng.integers(2)) if outcome == 2 else outcome for outcome in path]
    for n in range(1, len(path) + 1):
        evidence = test.observe(evidence, trials=n, failures=path[:n].count(1), undecided=path[:n].count(2))
        filled = test.observe(filled, trials=n, failures=sum(made[:n]))
        if evidence.decision is not Decision.GO_ON:
            assert filled.decision is evidence.decision
    assert evidence.p_value >= filled.p_value >= evidence.p_value_at_worst
    assert evidence.p_value_holds >= filled.p_value_holds


def test_evidence_too_small_for_floats_is_none() -> None:
    for evidence, n, k in ((log_against, 10**6, 0), (log_in_favour, 10**6, 10**6), (log_in_favour, 5000, 4000)):
        assert float(evidence(n, k, 0.5)) <= 0.0


def test_a_decision_stays() -> None:
    test = SequentialTest(0.01, cap=100)
    sure = test.observe(test.start, trials=10, failures=8)
    assert sure.decision is Decision.FALSIFIED
    assert test.observe(sure, trials=100, failures=8).decision is Decision.FALSIFIED
    assert test.observe(sure, trials=100, failures=8).p_value == sure.p_value


def test_where_nothing_or_everything_may_fail() -> None:
    nothing, everything = SequentialTest(0.0, cap=50), SequentialTest(1.0, cap=50)
    assert nothing.observe(nothing.start, trials=50, failures=1).decision is Decision.FALSIFIED
    assert nothing.observe(nothing.start, trials=50, failures=0).decision is Decision.GO_ON
    for failures in (0, 50):
        assert everything.observe(everything.start, trials=50, failures=failures).decision is Decision.GO_ON
    assert nothing.least_trials_to_hold is everything.least_trials_to_hold is None


@quick
@given(deltas, st.sampled_from([1e-6, 0.05]), st.one_of(st.none(), st.integers(1, 3000)))
def test_least_trials_to_hold(delta: float, alpha: float, cap: int | None) -> None:
    test = SequentialTest(delta, alpha, cap=cap)
    least = test.least_trials_to_hold
    assert least is not None
    assert (1 - delta) ** least <= alpha  # what any test needs
    if cap is None or least <= cap:
        assert float(test.p_values_holds(least, 0)) <= alpha
        assert least == 1 or float(test.p_values_holds(least - 1, 0)) > alpha
    else:
        assert float(test.p_values_holds(cap, 0)) > alpha
        assert least <= math.log(8 / alpha) / -math.log1p(-delta) + 1


@pytest.mark.parametrize("p", [0.0, 0.004, 0.1, 0.5, 0.93, 1.0])
def test_anytime_intervals_cover_at_all_times_at_once(p: float) -> None:
    """P(p is outside of any of the intervals after 1..120 trials), over all paths."""
    alive, error = np.ones(1), 0.0
    for n in range(1, 121):
        alive = np.convolve(alive, [1 - p, p])
        for k in np.flatnonzero(alive > 1e-7).tolist():
            low, high = anytime_interval(n, k, 0.9)
            if not low <= p <= high:
                error += alive[k]
                alive[k] = 0.0
    assert error <= 0.1
    if 0 < p < 1:
        assert error > 0.001


@quick
@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from([0.5, 0.99, 1 - 1e-9]))
def test_anytime_intervals_are_wider_than_those_of_a_fixed_number(trials: int, share: float, confidence: float) -> None:
    failures = round(share * trials)
    low, high = anytime_interval(trials, failures, confidence)
    assert 0.0 <= low <= failures / trials <= high <= 1.0
    mirrored = anytime_interval(trials, trials - failures, confidence)
    assert (low, high) == pytest.approx((1 - mirrored[1], 1 - mirrored[0]), abs=1e-8)
    if confidence == 0.99:
        fixed = interval(trials, failures, confidence)
        assert low <= fixed[0]
        assert high >= fixed[1]


@quick
@given(st.integers(1, 400), st.data())
def test_anytime_intervals_end_where_the_martingale_reaches_its_level(trials: int, data: st.DataObject) -> None:
    failures = data.draw(st.integers(0, trials))
    low, high = anytime_interval(trials, failures)
    average = 0.5 * float(mpmath.beta(failures + 0.5, trials - failures + 0.5)) / math.pi
    average += 0.25 * ((failures == 0) + (failures == trials))
    for p, step in ((low, 1e-6), (high, -1e-6)):
        if 0.0 < p < 1.0:
            inside, outside = (q**failures * (1 - q) ** (trials - failures) for q in (p * (1 + step), p * (1 - step)))
            if p * (1 - step) < 1.0:
                assert average / outside > 100.0
            assert average / inside < 100.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: SequentialTest(1.5),
        lambda: SequentialTest(0.1, 0.0),
        lambda: SequentialTest(0.1, cap=0),
        lambda: SequentialTest(0.1, cap=True),
        lambda: SequentialTest(0.1).characteristics(0.1),
        lambda: SequentialTest(0.1, cap=5).characteristics(1.1),
        lambda: SequentialTest(0.1, cap=5).characteristics(0.1, looks=(0, 5)),
        lambda: SequentialTest(0.1, cap=5).characteristics(0.1, looks=(3, 6)),
        lambda: SequentialTest(0.1, cap=5).observe(SequentialTest(0.1).start, trials=6, failures=0),
        lambda: SequentialTest(0.1).observe(SequentialTest(0.1).start, trials=6, failures=5, undecided=2),
        lambda: log_against(3, 4, 0.1),
        lambda: anytime_interval(3, 4),
        lambda: anytime_interval(3, 1, 0.0),
    ],
)
def test_what_makes_no_sense_is_refused(call: object) -> None:
    with pytest.raises(ValueError):
        call()  # type: ignore[operator]


def test_counts_may_not_shrink() -> None:
    test = SequentialTest(0.1)
    evidence = test.observe(test.start, trials=20, failures=1)
    with pytest.raises(ValueError, match="only grow"):
        test.observe(evidence, trials=10, failures=1)
    with pytest.raises(ValueError, match="only grow"):
        test.observe(evidence, trials=30, failures=0)


def test_fixed_power_is_that_of_the_fixed_test() -> None:
    test = SequentialTest(0.1, 0.01, cap=50)
    least = next(k for k in range(51) if binom.sf(k - 1, 50, 0.1) <= 0.01)
    assert test.characteristics(0.2).fixed_falsified == pytest.approx(float(binom.sf(least - 1, 50, 0.2)))
    assert SequentialTest(0.9, 1e-6, cap=3).characteristics(1.0).fixed_falsified == 0.0  # no outcome could
