"""Verdicts against scipy, proof steps that fail, optimistic twins, seeds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

import theory
from strongticket.statistics import interval, p_value
from theory import AbstractClaim, Outcome, ProofStep, Theorem, Trial, Verdict
from theory._draws import Draws
from theory._report import verdict
from theory._trials import trial_seeds


class CoinClaim(AbstractClaim):
    """A claim whose true failure probability is known: `truth`; the bound says delta / factor."""

    text = "a coin falls on its face"
    defaults: Mapping[str, Any] = MappingProxyType(
        {"delta": 0.1, "truth": 0.1, "undecided": 0.0, "missed": 0.0, "factor": 1.0}
    )

    def failure_probability(self, **params: Any) -> float:
        p = self.resolve(**params)
        return p["delta"] / p["factor"]

    def trial(self, seed: int, **params: Any) -> Trial:
        p = self.resolve(**params)
        draw = float(Draws(seed).uniform("coin", 1, low=0.0)[0])
        if draw < p["truth"]:
            return Trial(Outcome.FAILURE, "tails")
        if 1.0 - draw < p["missed"]:
            return Trial(Outcome.MISSED, "rolled away")
        return Trial(Outcome.UNDECIDED if draw < p["truth"] + p["undecided"] else Outcome.SUCCESS, "heads")

    def optimistic(self, factor: float, **params: Any) -> dict[str, Any]:
        return {**params, "factor": self.resolve(**params)["factor"] * factor}


def coin(**changes: Any) -> Theorem:
    fields: dict[str, Any] = {
        "key": "nobody2000coins.theorem",
        "title": "coins",
        "statement": "coins fall",
        "hypotheses": (),
        "bound_keys": (),
        "status": "a test",
        "claim": CoinClaim(),
    }
    return Theorem(**{**fields, **changes})


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([1e-9, 1e-3, 0.01, 0.3, 0.5, 0.99]))
def test_arithmetic_equals_scipy_binomtest(trials: int, share: float, delta: float) -> None:
    failures = round(share * trials)
    test = binomtest(failures, trials, delta, alternative="greater")
    assert p_value(trials, failures, delta) == pytest.approx(test.pvalue, rel=1e-9, abs=1e-300)
    both = binomtest(failures, trials).proportion_ci(0.99, "exact")
    assert interval(trials, failures) == pytest.approx((both.low, both.high), rel=1e-6, abs=1e-12)


def test_verdicts() -> None:
    assert verdict(2000, 20, 0, 0.01, 1e-6) is Verdict.HOLDS_SO_FAR
    assert verdict(2000, 60, 0, 0.01, 1e-6) is Verdict.FALSIFIED
    assert verdict(3, 3, 0, 0.01, 2e-6) is Verdict.FALSIFIED  # p = 1e-6
    assert verdict(2, 2, 0, 0.01, 1e-6) is Verdict.INCONCLUSIVE  # no power
    assert verdict(2000, 20, 60, 0.01, 1e-6) is Verdict.INCONCLUSIVE  # undecided trials could tip it
    with pytest.raises(ValueError, match="failures"):
        p_value(3, 4, 0.1)


def test_true_claims_hold_and_false_ones_are_falsified() -> None:
    true, false = coin().falsify(trials=400), coin().falsify(trials=400, truth=0.3)
    assert true.verdict is Verdict.HOLDS_SO_FAR
    assert true.low <= 0.1 <= true.high
    assert false.verdict is Verdict.FALSIFIED
    assert false.examples
    assert "falsified" in false.text()
    assert false.to_json()["verdict"] == "FALSIFIED"
    assert coin().falsify(trials=400, undecided=0.5).verdict is Verdict.INCONCLUSIVE
    missed = coin().falsify(trials=400, missed=0.3)
    assert missed.verdict is Verdict.FALSIFIED
    assert missed.failures == true.failures < missed.counted == missed.failures + missed.missed
    assert missed.checked + missed.counted == 400


def test_what_depends_on_the_machine_stands_apart() -> None:
    first, second = (coin().falsify(trials=100).to_json() for _ in range(2))
    assert set(first["measured"]) == {"seconds"}
    assert "seconds" not in first
    first.pop("measured"), second.pop("measured")
    assert first == second
    rows = coin().looseness(factors=(1, 2), trials=50).to_json()["rows"]
    assert all("measured" in row and "seconds" not in row for row in rows)


def test_draws_are_frozen() -> None:
    """The streams of trials do not depend on numpy's generators: these numbers must never change."""
    assert trial_seeds(0, 2) == [4207658341032637880, 471859999536532610]
    assert Draws(3).below("k", 100, 4).tolist() == [24, 76, 8, 98]
    assert Draws(3).inside("layer 0").normal("entries", 2).tolist() == pytest.approx(
        [0.8447432705757235, -1.6381516102501683], rel=1e-15
    )
    many = Draws(3).uniform("u", 100_000)
    assert abs(many.mean()) < 0.01
    assert many.min() >= -1.0
    assert many.max() < 1.0
    assert abs(many.var() - 1 / 3) < 0.005


def test_runs_are_reproducible_and_seeded() -> None:
    assert trial_seeds(1, 5) == trial_seeds(1, 9)[:5]
    assert len(set(trial_seeds(0, 500)) | set(trial_seeds(1, 500))) == 1000
    counts = [coin().falsify(trials=300, seed=seed).failures for seed in (0, 0, 1)]
    assert counts[0] == counts[1]


def test_looseness_stops_at_the_first_broken_factor() -> None:
    found = coin().looseness(factors=(1, 2, 4, 8, 16), trials=1000, truth=0.03)
    assert found.falsified_at is not None
    assert found.largest_not_falsified < found.falsified_at <= 16
    assert [factor for factor, _ in found.rows][-1] == found.falsified_at
    assert f"not falsified up to {found.largest_not_falsified:g}, falsified at {found.falsified_at:g}" in found.text()
    assert all(f"[{report.low:.3g}, {report.high:.3g}]" in found.text() for _, report in found.rows)
    assert all(report.verdict is not Verdict.FALSIFIED for _, report in found.rows[:-1])
    unbroken = coin().looseness(factors=(1, 2), trials=100, truth=0.0)
    assert unbroken.falsified_at is None
    assert "the list of factors ended at 2" in unbroken.text()
    with pytest.raises(ValueError, match="increasing"):
        coin().looseness(factors=(2, 1))


def test_planted_false_step_is_caught_and_a_broken_check_is_no_proof() -> None:
    def broken() -> bool:
        raise ZeroDivisionError("oops")

    steps = (
        ProofStep("false", "1 = 2", lambda: 1 == 2),
        ProofStep("broken", "1/0", broken),
        ProofStep("true", "1 = 1", lambda: True),
    )
    results = coin(steps=steps).check_steps()
    assert [result.passed for result in results] == [False, False, True]
    assert "oops" in results[1].error


@pytest.mark.parametrize(
    "bad",
    [
        {"trials": 0},
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"seed": -1},
        {"trials": 1.5},
        {"delta": 1.0},
        {"truth": float("nan")},
    ],
)
def test_bad_arguments_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        coin().falsify(**bad)


def test_a_lemma_that_fails_fails_the_proof() -> None:
    lemma = coin(key="nobody2000coins.lemma", steps=(ProofStep("false", "1 = 2", lambda: 1 == 2),))
    results = coin(steps=(ProofStep("true", "1 = 1", lambda: True),), lemmas=(lemma,)).check_steps()
    assert [(result.theorem, result.passed) for result in results] == [
        ("nobody2000coins.theorem", True),
        ("nobody2000coins.lemma", False),
    ]


def test_unknown_parameters_and_missing_claims_are_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        coin().falsify(trials=10, colour="red")
    with pytest.raises(ValueError, match="no claim"):
        coin(claim=None).falsify(trials=10)


def test_registry() -> None:
    assert {"lueker1998exponentially", "pensia2020optimal"} <= set(theory.papers())
    keys = [theorem.key for theorem in theory.all()]
    assert len(keys) == len(set(keys))
    assert {theorem.paper for theorem in theory.all()} == set(theory.papers())
    assert len(theory.find("pensia2020optimal")) == 2
    with pytest.raises(KeyError, match="several"):
        theory.get("pensia2020optimal")
    with pytest.raises(KeyError, match="no theorem"):
        theory.get("nobody2000coins")


@pytest.mark.parametrize("theorem", theory.all(), ids=lambda theorem: theorem.key)
def test_every_theorem_is_whole(theorem: Theorem) -> None:
    assert theorem.statement
    assert theorem.hypotheses
    assert theorem.status
    assert theorem.bounds
    assert theorem.steps or theorem.assumptions
    for result in theorem.check_steps():
        assert result.passed, f"{result.step.name}: {result.error}"
    if theorem.claim is not None:
        assert theorem.claim.describe()
        assert theorem.claim.optimistic(2.0)
