"""The phase transition by experiment: the claims hold, better ones are falsified, and bad settings are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sympy

import theory
from theory import Outcome, Verdict
from theory._trials import trial_seeds

ABOVE = theory.get("borgs2001phase.first_moment")
TRANSITION = theory.get("borgs2001phase.transition")
PROBABILITY = theory.get("borgs2001phase.perfect_probability")
LEAST = theory.get("borgs2001phase.least_discrepancy")


@pytest.mark.parametrize("n", [8, 12, 16, 20])
@pytest.mark.parametrize("offset", [1.5, 3.0])
def test_above_the_transition_markov_holds(n: int, offset: float) -> None:
    report = ABOVE.falsify(trials=2000, n=n, offset=offset)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.undecided == 0


@pytest.mark.parametrize("n", [8, 16, 20])
@pytest.mark.parametrize("offset", [-1.0, 0.0, 2.0])
def test_the_probability_is_as_accurate_as_said_on_both_sides(n: int, offset: float) -> None:
    batches = 60 if n < 20 else 12
    assert PROBABILITY.falsify(trials=batches, n=n, offset=offset).verdict is Verdict.HOLDS_SO_FAR
    for factor in (1.4, 1 / 1.4):
        twin = PROBABILITY.falsify(trials=12, n=n, offset=offset, factor=factor, batch=2000)
        assert twin.verdict is Verdict.FALSIFIED


@pytest.mark.parametrize(("theorem", "n"), [(TRANSITION, 8), (TRANSITION, 20), (LEAST, 16), (LEAST, 20)])
def test_the_place_and_the_size_are_as_accurate_as_said(theorem: theory.Theorem, n: int) -> None:
    assert theorem.falsify(trials=20, n=n).verdict is Verdict.HOLDS_SO_FAR
    for factor in (1.4, 1 / 1.4):
        assert theorem.falsify(trials=8, n=n, factor=factor).verdict is Verdict.FALSIFIED


def test_a_wrong_formula_is_falsified(monkeypatch: pytest.MonkeyPatch) -> None:
    """The claims use the bounds: half a bit more or less in the bounds is seen."""
    from strongticket.bounds import borgs2001phase as bounds

    right = bounds.critical_ratio
    for bits in (-0.5, 0.5):
        monkeypatch.setattr(bounds, "critical_ratio", lambda n, bits=bits: right(n) + bits / n)
        assert TRANSITION.falsify(trials=10).verdict is Verdict.FALSIFIED
    monkeypatch.setattr(bounds, "critical_ratio", right)
    expected = bounds.perfect_partitions_expected
    for factor in (0.7, 1.4):
        monkeypatch.setattr(bounds, "perfect_partitions_expected", lambda n, A, f=factor: f * expected(n, A))
        assert PROBABILITY.falsify(trials=10).verdict is Verdict.FALSIFIED


def test_proof_steps_check_the_formulas_of_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    import theory.borgs2001phase as module

    right = module.get
    assert all(step.run().passed for step in (*TRANSITION.steps, *ABOVE.steps))
    for key, step in (("transition", "transition"), ("expected_perfect", "mean square")):
        bound = right(f"borgs2001phase.{key}")
        formula = replace(bound.formula, expression=bound.expression * sympy.Rational(101, 100))
        wrong = replace(bound, build=lambda formula=formula: formula)
        monkeypatch.setattr(module, "get", lambda name, wrong=wrong: wrong if name == wrong.key else right(name))
        (checked,) = [each for each in (*TRANSITION.steps, *ABOVE.steps) if each.name == step][:1]
        assert not checked.run().passed
        monkeypatch.setattr(module, "get", right)


def test_better_claims_are_falsified() -> None:
    found = ABOVE.looseness(factors=(1.0, 2.0), trials=3000)
    assert found.largest_not_falsified == 1.0
    assert found.falsified_at == 2.0


def test_trials_and_batches_agree() -> None:
    seeds = trial_seeds(5, 40)
    settings: list[tuple[theory.Theorem, dict[str, Any]]] = [
        (ABOVE, {"n": 10, "offset": 1.0}),
        (PROBABILITY, {"n": 10, "offset": -0.5, "batch": 30, "tolerance": 0.0, "factor": 0.6}),
    ]
    for theorem, params in settings:
        assert theorem.claim is not None
        single = [theorem.claim.trial(seed, **params) for seed in seeds]
        tally = theorem.claim.run(seeds, **params)
        assert 0 < tally.failures < 40
        assert tally.failures == sum(trial.outcome is Outcome.FAILURE for trial in single)
        assert tally.examples[0].endswith(next(t.detail for t in single if t.outcome is Outcome.FAILURE))


@pytest.mark.parametrize(
    ("theorem", "params", "message"),
    [
        (ABOVE, {"n": 3}, "n must be"),
        (ABOVE, {"n": 33}, "n must be"),
        (ABOVE, {"n": 2.0}, "n must be"),
        (ABOVE, {"offset": -3.0}, "move offset away"),
        (ABOVE, {"offset": 60.0}, "possible"),
        (ABOVE, {"offset": float("nan")}, "finite"),
        (ABOVE, {"factor": 0.5}, "factor"),
        (PROBABILITY, {"tolerance": -0.1}, "tolerance"),
        (PROBABILITY, {"offset": -2.0}, "at least -1"),
        (PROBABILITY, {"n": 7}, "n must be"),
        (TRANSITION, {"batch": 0}, "batch"),
        (TRANSITION, {"factor": 0.0}, "factor"),
        (LEAST, {"n": 12}, "n must be"),
    ],
)
def test_bad_settings_are_refused(theorem: theory.Theorem, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        theorem.falsify(trials=10, **params)
