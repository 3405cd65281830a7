"""Theorems on attention: every step holds, claims hold, and twins and constructions that cheat are caught."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import theory
from strongticket.constructions import Otsuka2025Attention
from theory import Outcome, Verdict
from theory._otsuka_claims import _target
from theory._targets import KINDS

THEOREM3, THEOREM11, SOFTMAX = (
    theory.get(f"otsuka2025attention.{name}") for name in ("theorem3", "theorem11", "softmax")
)  # fmt: skip


@pytest.mark.parametrize("theorem", [THEOREM3, THEOREM11, SOFTMAX], ids=lambda theorem: theorem.key)
def test_every_step_holds(theorem: theory.Theorem) -> None:
    for result in theorem.check_steps():
        assert result.passed, f"{result.step.name}: {result.error}"


@pytest.mark.parametrize("kind", KINDS)
def test_targets_lie_inside_the_hypotheses(kind: str) -> None:
    assert THEOREM11.claim is not None
    for seed in range(3):
        target = _target(kind, THEOREM11.claim.resolve(dim=3, heads=2, layers=2), seed)
        own = target.architecture
        for name, matrix in target.exact.items():
            if ".feed." in name or name.startswith("head."):
                assert np.linalg.norm(matrix, 2) <= 1.0
        for b in range(own.layers):
            for part in ("query", "key", "value", "out"):
                matrix = target.exact[own.name(b, part)]
                for each in np.split(matrix, own.heads, axis=1 if part == "out" else 0):
                    assert np.linalg.norm(each, 2) <= 1.0
            for head in target.heads[b]:
                assert np.abs(head.logits).max() <= 1.0 / np.sqrt(own.key) + 1e-12


@pytest.mark.parametrize(
    ("theorem", "params"),
    [
        (THEOREM3, {}),
        (THEOREM3, {"dim": 3, "heads": 2, "alpha": 0.7, "eps": 0.2}),
        (THEOREM11, {}),
        (THEOREM11, {"layers": 2, "eps": 0.9}),
    ],
    ids=["theorem3", "two heads", "theorem11", "two blocks"],
)
def test_the_construction_delivers(theorem: theory.Theorem, params: dict[str, Any]) -> None:
    report = theorem.falsify(trials=len(KINDS), **params)
    assert report.checked == report.trials
    assert report.failures == report.missed == report.undecided == 0


def test_a_twin_that_asks_for_too_little_is_caught() -> None:
    report = THEOREM3.falsify(trials=60, factor=300.0)
    assert report.verdict is Verdict.FALSIFIED
    assert report.failures > 0
    assert report.params["items"] < 10 < THEOREM3.claim.resolve()["items"]  # type: ignore[union-attr]


def test_a_construction_that_gives_up_is_not_taken_for_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from strongticket.constructions import otsuka2025attention

    honest = otsuka2025attention.chooser

    def blind(*given: Any) -> Any:
        solve = honest(*given)

        def choose(items: Any, targets: Any) -> Any:
            bits, errors = solve(items, targets)
            return np.zeros_like(bits), np.where(targets != 0, targets, errors)  # always the empty subset

        return choose

    monkeypatch.setattr(otsuka2025attention, "chooser", blind)
    assert THEOREM3.claim is not None
    trial = THEOREM3.claim.trial(3)
    assert trial.outcome is Outcome.MISSED


def test_a_ticket_that_is_off_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from strongticket.constructions import Construction
    from strongticket.ticket import Mask, Ticket

    def lost(built: Construction) -> Ticket:
        best = built.best
        return Ticket(best.source, Mask.full(best.mask.shapes, kept=False), best.dense)

    monkeypatch.setattr(Construction, "ticket", property(lost))
    honest = Otsuka2025Attention.construct

    def construct(self: Otsuka2025Attention, target: Any, **options: Any) -> Construction:
        from dataclasses import replace

        built = honest(self, target, **options)
        return replace(built, best=lost(built))

    monkeypatch.setattr(Otsuka2025Attention, "construct", construct)
    assert THEOREM3.claim is not None
    assert THEOREM3.claim.trial(1).outcome is Outcome.FAILURE  # the extreme kind: outputs as large as they can be


def test_the_softmax_claim_holds_and_is_tight() -> None:
    assert SOFTMAX.falsify(trials=200).verdict is Verdict.HOLDS_SO_FAR
    assert SOFTMAX.falsify(trials=200, eta=3.0, tokens=2).failures == 0
    assert SOFTMAX.falsify(trials=50, factor=1.001).verdict is Verdict.FALSIFIED


@pytest.mark.parametrize("params", [{"dim": 0}, {"alpha": -1.0}, {"kind": "odd"}, {"factor": 0.5}, {"eps": 1.0}])
def test_claims_refuse_what_is_out_of_range(params: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        THEOREM3.falsify(trials=1, **params)
