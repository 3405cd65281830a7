"""Theorems 1 and 2 of Pensia et al. 2020 by experiment, and their targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import theory
from theory import Outcome, Verdict
from theory import pensia2020optimal as module
from theory._pensia_claims import packing_size
from theory._targets import KINDS, draw_layers

FIRST, SECOND = theory.get("pensia2020optimal.theorem1"), theory.get("pensia2020optimal.theorem2")


@pytest.mark.parametrize("kind", KINDS)
def test_targets_lie_inside_the_hypotheses(kind: str) -> None:
    for seed in range(5):
        layers = draw_layers(kind, (5, 1, 4, 3), seed)
        for layer in layers:
            norm = np.linalg.norm(layer, 2)
            assert norm <= 1.0
            assert kind in ("zero", "sparse") or norm > 1 - 1e-9
            assert np.abs(layer).max() <= 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_theorem1_holds_for_each_kind(kind: str) -> None:
    report = FIRST.falsify(trials=12, kind=kind)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.failures == report.missed == report.undecided == 0
    assert report.checked == 12


@pytest.mark.parametrize(
    "params",
    [
        {"assignment": "column-aware", "eps": 0.3},
        {"sizes": "4-2", "objective": "min_error"},
        {"sizes": (2, 2, 2, 1), "eps": 0.2},
    ],
)
def test_theorem1_holds_in_other_settings(params: dict[str, Any]) -> None:
    assert FIRST.falsify(trials=8, **params).checked == 8


def test_theorem1_with_too_few_items_is_falsified() -> None:
    report = FIRST.falsify(trials=60, items=20)
    assert report.verdict is Verdict.FALSIFIED
    assert report.undecided == 0
    assert "no" in report.examples[0]
    twin = FIRST.claim.optimistic(128.0) if FIRST.claim is not None else {}
    assert FIRST.falsify(trials=60, **twin).verdict is Verdict.FALSIFIED


def test_missed_trials_count_against_the_construction_and_not_against_existence() -> None:
    """With 48 items the construction solves group by group and misses; complete sums of all of them decide."""
    built, exists = (FIRST.falsify(trials=80, items=48, judge=judge) for judge in ("construction", "existence"))
    assert built.missed == exists.missed > 0
    assert built.failures == exists.failures
    assert built.undecided == exists.undecided == 0
    assert built.counted == built.failures + built.missed
    assert exists.counted == exists.failures
    assert built.p_value < exists.p_value
    assert "counted as failures" in built.text()
    assert "not counted" in exists.text()


def test_exact_failures_are_what_the_solver_says_too() -> None:
    """Up to 40 items the construction is complete, so it misses nothing that the lattice finds."""
    report = FIRST.falsify(trials=60, items=24)
    assert report.failures > 0
    assert report.missed == report.undecided == 0


def test_a_construction_that_finds_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant that always takes the empty subset: what it does not find exists, and that must not count as success."""

    def empty(*given: Any) -> Callable[..., Any]:
        return lambda items, targets: (np.zeros_like(targets), targets)

    monkeypatch.setattr("strongticket.constructions.pensia2020optimal.chooser", empty)
    report = FIRST.falsify(trials=14)
    assert report.verdict is Verdict.FALSIFIED
    assert report.missed >= 10
    assert report.failures == report.undecided == 0
    assert "the construction finds it" in report.text()
    assert "existence" not in report.examples[0]
    existence = FIRST.falsify(trials=14, judge="existence")
    assert existence.verdict is Verdict.HOLDS_SO_FAR
    assert existence.missed == report.missed
    assert existence.checked == report.checked == 14 - report.missed
    assert f"{existence.missed} missed by the construction (not counted" in existence.text()
    for params in ({"items": 24}, {"assignment": "column-aware", "eps": 0.3}):
        assert FIRST.falsify(trials=14, **params).verdict is Verdict.FALSIFIED


def test_a_construction_that_lies_about_its_errors_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant that takes the empty subset and calls it exact: it hands over a ticket, whose weights are looked at."""

    def lying(*given: Any) -> Callable[..., Any]:
        return lambda items, targets: (np.zeros_like(targets), np.zeros_like(targets))

    monkeypatch.setattr("strongticket.constructions.pensia2020optimal.chooser", lying)
    report = FIRST.falsify(trials=14)
    assert report.verdict is Verdict.FALSIFIED
    assert report.missed >= 10


def test_a_success_needs_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is proved below eps, a trial is undecided, however good the samples look."""
    import strongticket.certify

    real = strongticket.certify.examine

    def loose(*args: Any, **options: Any) -> Any:
        report = real(*args, **options)
        return replace(report, euclidean=replace(report.euclidean, error=0.2))

    monkeypatch.setattr(strongticket.certify, "examine", loose)
    report = FIRST.falsify(trials=6)
    assert report.undecided == 6
    assert report.checked == 0
    assert report.verdict is not Verdict.HOLDS_SO_FAR


@pytest.mark.parametrize("what", ["first", "second", "range"])
def test_the_step_about_plans_catches_plans_that_are_too_small(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer items in a phase, or a range that the largest weight exceeds: then the sum of failures is not proved."""
    real = module.item_plan

    def smaller(*args: Any, **options: Any) -> Any:
        plan = real(*args, **options)
        if not plan.values:
            return plan
        if what == "range":
            return replace(plan, values={**plan.values, "c": plan.values["c"] * 0.9})
        part = replace(plan.per_group, **{what: int(getattr(plan.per_group, what) * 0.95) - 1})
        return replace(plan, per_group=part, items=plan.groups * (part.first + part.second))

    step = next(step for step in FIRST.steps if step.name == "plans")
    assert step.run().passed
    monkeypatch.setattr(module, "item_plan", smaller)
    result = step.run()
    assert not result.passed
    assert not result.error


def test_claim_refuses_nonsense() -> None:
    for bad in (
        {"eps": 0.0},
        {"delta": 1.0},
        {"kind": "huge"},
        {"sizes": "3"},
        {"sizes": "3-0"},
        {"factor": 0.5},
        {"judge": "me"},
    ):
        with pytest.raises(ValueError):
            FIRST.falsify(trials=10, **bad)


@pytest.mark.parametrize("law", ["binary", "uniform"])
@pytest.mark.parametrize(("d", "eps"), [(1, 0.01), (2, 0.05)])
def test_theorem2_holds(law: str, d: int, eps: float) -> None:
    assert SECOND.falsify(trials=1000, law=law, d=d, eps=eps).verdict is Verdict.HOLDS_SO_FAR


def test_theorem2_counting_is_attained_and_cannot_be_improved() -> None:
    report = SECOND.falsify(trials=2000)
    assert report.low <= report.delta <= report.high
    assert SECOND.falsify(trials=2000, factor=1.5).verdict is Verdict.FALSIFIED


def test_packing_by_hand() -> None:
    assert packing_size(1, 0.1) == 9  # multiples of .2 (a hair more) in [-1, 1], 1 itself just missed
    assert SECOND.claim is not None
    # a source can serve a member: the trial sees both outcomes
    assert {SECOND.claim.trial(seed).outcome for seed in range(60)} == {Outcome.SUCCESS, Outcome.FAILURE}
