"""Burkholz 2022: proof steps that could fail, a claim that holds, and twins and mutants that do not."""

from __future__ import annotations

from typing import Any

import pytest

import theory
from theory import Outcome, Verdict
from theory import burkholz2022most as module
from theory._targets import KINDS

DEPTH, CURVATURE = (theory.get(f"burkholz2022most.{name}") for name in ("depth", "curvature"))
EASY: dict[str, Any] = {"eps": 0.5, "delta": 0.1, "sizes": "2-2-1"}


@pytest.mark.parametrize("theorem", [DEPTH, CURVATURE], ids=lambda theorem: theorem.key)
def test_every_step_holds(theorem: theory.Theorem) -> None:
    for result in theorem.check_steps():
        assert result.passed, (result.step.name, result.error)
    assert theorem.bounds
    assert theorem.status


@pytest.mark.parametrize(
    ("name", "false", "step"),
    [
        ("amplification", lambda d, rho, s: d * s, "_check_amplification"),
        ("layer_tolerance", lambda *a: 1.01 * 0.25 / 128, "_check_budget"),
        ("items_for_layer", lambda *a: 10**6, "_check_counts"),
    ],
)
def test_a_false_step_is_caught(monkeypatch: pytest.MonkeyPatch, name: str, false: object, step: str) -> None:
    check = getattr(module, step)
    assert check()
    monkeypatch.setattr(module, name, false)
    assert not check()


def test_the_theorem_holds_for_each_kind_and_activation() -> None:
    report = DEPTH.falsify(trials=2 * len(KINDS), **EASY)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.checked == 2 * len(KINDS)
    assert "|x_i| <= 1" in DEPTH.claim.describe(**EASY)  # type: ignore[union-attr]


def test_an_optimistic_twin_is_falsified() -> None:
    assert DEPTH.claim is not None
    twin = DEPTH.claim.optimistic(40.0, **EASY, kind="gaussian")
    assert DEPTH.falsify(trials=25, **twin).verdict is Verdict.FALSIFIED


def test_a_ticket_that_is_off_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from strongticket.constructions import _burkholz2022most_layers as construction

    assert DEPTH.claim is not None
    assert DEPTH.claim.trial(3, **EASY).outcome is Outcome.SUCCESS
    plain = construction.Work._targets

    def wrong(self, index, grid, fold):  # type: ignore[no-untyped-def]
        return plain(self, index, grid, fold) * 7 // 4

    monkeypatch.setattr(construction.Work, "_targets", wrong)
    assert DEPTH.claim.trial(3, **EASY).outcome is not Outcome.SUCCESS


def test_parameters_outside_their_range_are_refused() -> None:
    assert DEPTH.claim is not None
    for params, message in (
        ({"activation": "tanh"}, "activation is"),
        ({"kind": "none"}, "kind is"),
        ({"sizes": "3"}, "at least two"),
        ({"factor": 0.5}, "factor must be"),
        ({"eps": 1.0}, "eps must lie"),
    ):
        with pytest.raises(ValueError, match=message):
            DEPTH.claim.resolve(**params)
