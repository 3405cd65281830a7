"""The phase transition by experiment: the claims hold, better ones are falsified, and bad settings are refused."""

from __future__ import annotations

from typing import Any

import pytest

import theory
from theory import Outcome, Verdict
from theory._falsify import trial_seeds

ABOVE = theory.get("borgs2001phase.first_moment")
BELOW = theory.get("borgs2001phase.transition")


@pytest.mark.parametrize("n", [8, 12, 16, 20])
@pytest.mark.parametrize("offset", [1.5, 3.0])
def test_above_the_transition_markov_holds(n: int, offset: float) -> None:
    report = ABOVE.falsify(trials=2000, n=n, offset=offset)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.undecided == 0


@pytest.mark.parametrize("n", [12, 16, 20])
@pytest.mark.parametrize("offset", [-2.0, -1.0])
def test_below_the_transition_the_prediction_holds(n: int, offset: float) -> None:
    assert BELOW.falsify(trials=2000, n=n, offset=offset).verdict is Verdict.HOLDS_SO_FAR


def test_better_claims_are_falsified() -> None:
    for theorem in (ABOVE, BELOW):
        found = theorem.looseness(factors=(1.0, 2.0), trials=3000)
        assert found.largest_not_falsified == 1.0
        assert found.falsified_at == 2.0


def test_a_transition_at_another_place_is_falsified() -> None:
    """The prediction at one bit less: what it would allow there is exceeded."""
    claim = BELOW.claim
    assert claim is not None
    allowed = claim.failure_probability(n=16, offset=-2.0)
    report = BELOW.falsify(
        trials=3000, n=16, offset=-1.0, factor=claim.failure_probability(n=16, offset=-1.0) / allowed
    )
    assert report.delta == pytest.approx(allowed)
    assert report.verdict is Verdict.FALSIFIED


def test_trials_and_batches_agree() -> None:
    seeds = trial_seeds(5, 40)
    for theorem in (ABOVE, BELOW):
        assert theorem.claim is not None
        params: dict[str, Any] = {"n": 10, "offset": 1.0 if theorem is ABOVE else -0.5}
        single = [theorem.claim.trial(seed, **params) for seed in seeds]
        tally = theorem.claim.run(seeds, **params)
        assert 0 < tally.failures < 40
        assert tally.failures == sum(trial.outcome is Outcome.FAILURE for trial in single)
        assert tally.examples[0].endswith(next(t.detail for t in single if t.outcome is Outcome.FAILURE))


@pytest.mark.parametrize(
    ("theorem", "params", "message"),
    [
        (ABOVE, {"n": 1}, "n must be"),
        (ABOVE, {"n": 33}, "n must be"),
        (ABOVE, {"n": 2.0}, "n must be"),
        (ABOVE, {"offset": -3.0}, "move offset away"),
        (ABOVE, {"offset": 60.0}, "possible"),
        (ABOVE, {"offset": float("nan")}, "finite"),
        (ABOVE, {"factor": 0.5}, "factor"),
        (BELOW, {"slack": -0.1}, "slack"),
        (BELOW, {"n": 4, "offset": -9.0}, "possible"),
    ],
)
def test_bad_settings_are_refused(theorem: theory.Theorem, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        theorem.falsify(trials=10, **params)
