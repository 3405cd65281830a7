"""Theorems 1 and 2 of Pensia et al. 2020 by experiment, and their targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import theory
from theory import Outcome, Verdict
from theory._pensia_claims import packing_size
from theory._targets import KINDS, draw_layers

FIRST, SECOND = theory.get("pensia2020optimal.theorem1"), theory.get("pensia2020optimal.theorem2")


@pytest.mark.parametrize("kind", KINDS)
def test_targets_lie_inside_the_hypotheses(kind: str) -> None:
    for seed in range(5):
        layers = draw_layers(kind, (5, 1, 4, 3), np.random.default_rng(seed))
        for layer in layers:
            norm = np.linalg.norm(layer, 2)
            assert norm <= 1.0
            assert kind in ("zero", "sparse") or norm > 1 - 1e-9
            assert np.abs(layer).max() <= 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_theorem1_holds_for_each_kind(kind: str) -> None:
    report = FIRST.falsify(trials=12, kind=kind)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.failures == report.undecided == 0


@pytest.mark.parametrize(
    "params",
    [
        {"assignment": "column-aware", "eps": 0.3},
        {"sizes": "4-2", "objective": "min_error"},
        {"sizes": (2, 2, 2, 1), "eps": 0.2},
    ],
)
def test_theorem1_holds_in_other_settings(params: dict[str, Any]) -> None:
    assert FIRST.falsify(trials=8, **params).failures == 0


def test_theorem1_with_too_few_items_is_falsified() -> None:
    report = FIRST.falsify(trials=60, items=20)
    assert report.verdict is Verdict.FALSIFIED
    assert report.undecided == 0
    assert "no" in report.examples[0]
    twin = FIRST.claim.optimistic(128.0) if FIRST.claim is not None else {}
    assert FIRST.falsify(trials=60, **twin).verdict is Verdict.FALSIFIED


def test_a_weight_missed_by_the_construction_is_decided_by_complete_sums() -> None:
    """With 60 items the construction solves group by group and may miss; the theorem's claim is existence."""
    report = FIRST.falsify(trials=60, items=60)
    assert report.undecided == 0
    assert report.failures < FIRST.falsify(trials=60, items=20).failures


def test_claim_refuses_nonsense() -> None:
    for bad in ({"eps": 0.0}, {"delta": 1.0}, {"kind": "huge"}, {"sizes": "3"}, {"sizes": "3-0"}, {"factor": 0.5}):
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
