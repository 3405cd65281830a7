"""Theorems on sparse, frozen, redrawn, binary, biased and perturbed sources: steps hold, false claims are caught."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import theory
from theory import Outcome, Theorem, Verdict
from theory import _binary_claims as binary
from theory import _option_claims as options
from theory._targets import INTEGER_KINDS

PAPERS = (
    "chijiwa2021pruning",
    "diffenderfer2021multiprize",
    "fischer2021nonzero",
    "gadhikar2023random",
    "otsuka2025partially",
    "sreenivasan2022finding",
    "xiong2022perturbation",
)
THEOREMS: dict[str, Theorem] = {theorem.key: theorem for paper in PAPERS for theorem in theory.find(paper)}


@pytest.mark.parametrize("key", sorted(THEOREMS))
def test_the_proof_steps_hold(key: str) -> None:
    theorem = THEOREMS[key]
    own = [step.run(key) for step in theorem.steps]  # those of the lemmas are tested with their own papers
    assert not {f"{r.step.name} {r.error}" for r in own if not r.passed}
    assert {bound.key for bound in theorem.bounds} == set(theorem.bound_keys)


@pytest.mark.parametrize("key", sorted(THEOREMS))
def test_the_status_says_what_is_ours(key: str) -> None:
    assert "urs" in THEOREMS[key].status or "identity" in THEOREMS[key].status


@pytest.mark.parametrize(
    ("key", "trials", "params"),
    [
        ("gadhikar2023random.links", 400, {}),
        ("gadhikar2023random.links", 400, {"p": 0.9, "links": 10, "delta": 0.2}),
        ("gadhikar2023random.tickets", 25, {}),
        ("gadhikar2023random.tickets", 10, {"assignment": "fixed", "sizes": "2-1", "eps": 0.5}),
        ("gadhikar2023random.floor", 1200, {}),
        ("otsuka2025partially.locked", 60, {}),
        ("otsuka2025partially.locked", 30, {"locked": 0.5, "eps": 0.2}),
        ("chijiwa2021pruning.single_hit", 400, {}),
        ("chijiwa2021pruning.retries", 200, {}),
        ("fischer2021nonzero.gains", 40, {}),
        ("fischer2021nonzero.zero_biases", 40, {}),
        ("xiong2022perturbation.counting", 200, {}),
        ("xiong2022perturbation.counting", 200, {"law": "uniform"}),
        ("xiong2022perturbation.counting", 200, {"eta": 0.0, "items": 7}),
        ("sreenivasan2022finding.tickets", 40, {}),
        ("sreenivasan2022finding.tickets", 20, {"bits": 0, "sizes": "3-2"}),
        ("diffenderfer2021multiprize.tickets", 60, {}),
    ],
)
def test_the_claims_hold(key: str, trials: int, params: dict[str, Any]) -> None:
    assert THEOREMS[key].falsify(trials=trials, **params).verdict is Verdict.HOLDS_SO_FAR


@pytest.mark.parametrize(
    ("key", "trials", "params"),
    [
        ("gadhikar2023random.links", 60, {"factor": 1.5}),
        ("gadhikar2023random.tickets", 10, {"items": 6}),
        ("gadhikar2023random.floor", 200, {"factor": 64.0}),
        ("gadhikar2023random.floor", 400, {"factor": 2.8, "items": 8, "eps": 0.1}),
        ("otsuka2025partially.locked", 30, {"items": 12}),
        ("chijiwa2021pruning.single_hit", 200, {"factor": 2.0}),
        ("chijiwa2021pruning.retries", 60, {"items": 2}),
        ("fischer2021nonzero.gains", 5, {"factor": 2.0}),
        ("fischer2021nonzero.zero_biases", 5, {"factor": 1.01}),
        ("xiong2022perturbation.counting", 400, {"factor": 2.0}),
        ("sreenivasan2022finding.tickets", 30, {"items": 4}),
        ("diffenderfer2021multiprize.tickets", 30, {"items": 14}),
    ],
)
def test_false_claims_are_caught(key: str, trials: int, params: dict[str, Any]) -> None:
    assert THEOREMS[key].falsify(trials=trials, **params).verdict is Verdict.FALSIFIED


@pytest.mark.parametrize("claim", [binary.DoublingClaim(), binary.CountingSignsClaim()])
def test_a_binary_ticket_that_differs_is_a_failure(claim: binary.AbstractBinaryClaim, monkeypatch: Any) -> None:
    assert claim.trial(1, kind="one").outcome is Outcome.SUCCESS
    assert claim.trial(1, kind="extreme", items=3).outcome is Outcome.MISSED
    right = type(claim).construct
    monkeypatch.setattr(type(claim), "construct", lambda self, target, p, seed: right(self, _negated(target), p, seed))
    assert claim.trial(1, kind="one").outcome is Outcome.FAILURE


def _negated(target: Any) -> Any:
    from strongticket.models import Target

    return Target(target.architecture, {name: -value for name, value in target.weights.items()})


@pytest.mark.parametrize("kind", INTEGER_KINDS)
def test_binary_targets_lie_inside_the_hypotheses(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[np.ndarray] = []
    right = binary.to_target
    monkeypatch.setattr(binary, "to_target", lambda layers: (drawn.extend(layers), right(layers))[1])
    binary.CountingSignsClaim().trial(7, kind=kind, sizes=(3, 4, 2), bits=3, items=2)
    assert [layer.shape for layer in drawn] == [(4, 3), (2, 4)]
    for layer in drawn:
        layer = np.ldexp(layer, 3)
        assert np.array_equal(layer, np.rint(layer))
        assert np.abs(layer).max(initial=0) <= 8


def test_the_floor_is_met_where_everything_is_absent() -> None:
    claim = options.DeadItemsClaim()
    outcomes = [claim.trial(seed) for seed in range(200)]
    for trial in outcomes:
        if trial.detail.startswith("0 of"):
            assert trial.outcome is Outcome.SUCCESS
    assert {trial.outcome for trial in outcomes} >= {Outcome.SUCCESS, Outcome.FAILURE}


@pytest.mark.parametrize(
    ("key", "params", "message"),
    [
        ("gadhikar2023random.links", {"p": 1.0}, r"p must lie in \(0, 1\)"),
        ("gadhikar2023random.tickets", {"edges": 0.3}, "multiple of 1/512"),
        ("gadhikar2023random.floor", {"target": 0.02}, "target must lie beyond eps"),
        ("gadhikar2023random.floor", {"factor": 100.0}, "nothing to falsify"),
        ("otsuka2025partially.locked", {"locked": 0.0}, "locked must lie in"),
        ("chijiwa2021pruning.retries", {"draws": 0}, "draws must be an integer"),
        ("fischer2021nonzero.gains", {"factor": 3.0}, "power of two"),
        ("xiong2022perturbation.counting", {"items": 12}, "nothing to falsify"),
        ("xiong2022perturbation.counting", {"law": "normal"}, "law is"),
        ("sreenivasan2022finding.tickets", {"bits": 9}, "bits must be"),
        ("diffenderfer2021multiprize.tickets", {"kind": "odd one"}, "kind is"),
    ],
)
def test_refusals(key: str, params: dict[str, Any], message: str) -> None:
    claim = THEOREMS[key].claim
    assert claim is not None
    with pytest.raises(ValueError, match=message):
        claim.resolve(**params)
