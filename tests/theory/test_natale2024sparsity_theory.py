"""Theorems of Natale et al. 2024: steps that could fail, claims that hold, twins that do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

import theory
from strongticket.bounds import natale2024sparsity as bounds
from theory import Outcome, Verdict, _natale_steps
from theory._draws import Draws
from theory._natale_claims import FixedSizeClaim, FixedSizePackingClaim, FixedSizeTicketClaim, separated

PAPER = "natale2024sparsity"
SECOND, THEOREM2, THEOREM3, THEOREM5 = (
    theory.get(f"{PAPER}.{name}") for name in ("second_moment", "theorem2", "theorem3", "theorem5")
)


@pytest.mark.parametrize("theorem", theory.find(PAPER), ids=lambda theorem: theorem.key)
def test_every_step_holds(theorem: theory.Theorem) -> None:
    results = theorem.check_steps()
    assert results
    assert [result.step.name for result in results if not result.passed] == []
    assert theorem.bounds


@pytest.mark.parametrize(
    ("name", "false", "step"),
    [
        ("sum_density", lambda k, x: bounds.sum_density(k, x) * Fraction(14, 15), "_check_small_sums"),
        ("sum_density", lambda k, x: bounds.sum_density(k, x) * Fraction(101, 100), "_check_small_sums"),
        ("sum_cdf", lambda k, x: bounds.sum_cdf(k, x) ** 2, "_check_irwin_hall"),
        ("_CURVE", Fraction(162, 25000), "_check_characteristic"),
        ("_EXACT", 20, "_check_fourier"),
        ("hit_probability", lambda *a: bounds.hit_probability(*a) * Fraction(9, 10), "_check_plans"),
        ("separated", lambda k, eps: separated(k, eps) + 2, "_check_separated"),
        ("theorem5_kept", lambda *a, **k: (bounds.theorem5_kept(*a, **k) or 0) + 1, "_check_counting"),
        ("needed_bits", lambda *a: bounds.needed_bits(*a) + 1.0, "_check_counting"),
    ],
)
def test_a_false_step_is_caught(
    monkeypatch: pytest.MonkeyPatch, name: str, false: object, step: str
) -> None:  # fmt: skip
    check: Callable[[], bool] = getattr(_natale_steps, step)
    assert check()
    monkeypatch.setattr(_natale_steps, name, false)
    assert not check()


@pytest.mark.parametrize("theorem", [SECOND, THEOREM2], ids=lambda theorem: theorem.key)
@pytest.mark.parametrize("params", [{}, {"size": 2, "eps": 0.01, "at": "zero"}, {"size": 6, "eps": 0.003}])
def test_fixed_targets_are_met_as_often_as_claimed(theorem: theory.Theorem, params: dict[str, object]) -> None:
    report = theorem.falsify(trials=600, **params)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.undecided == report.missed == 0


def test_looseness_of_theorem2_lies_in_the_probability_not_in_the_number_of_items() -> None:
    probability = THEOREM2.looseness(trials=800)
    items = THEOREM2.looseness(trials=800, twin="items")
    assert probability.falsified_at in (8.0, 16.0)
    assert items.falsified_at == 2.0
    assert SECOND.looseness(trials=800).falsified_at == 2.0


def test_a_trial_is_what_enumeration_says() -> None:
    claim = FixedSizeClaim("theorem2")
    for seed in range(12):
        trial = claim.trial(seed, size=2, items=9, eps=0.02, at="middle")
        items = Draws(seed).uniform("items", 9)
        z = math.sqrt(2) / 2
        best = min(abs(items[i] + items[j] - z) for i in range(9) for j in range(i))
        assert trial.success == (best <= 0.02)


def test_items_follow_from_the_theorem_and_the_probability_from_the_bound() -> None:
    p = FixedSizeClaim("second_moment").resolve(size=3, eps=0.01)
    assert p["items"] == bounds.theorem2_items(3, 0.01)
    assert p["success"] == bounds.group_success(p["items"], 3, 0.01, math.sqrt(3))
    twin = FixedSizeClaim("theorem2").optimistic(4, twin="items")
    assert FixedSizeClaim("theorem2").resolve(**twin)["items"] == bounds.theorem2_items(3, 0.001, 0.25)
    assert FixedSizeClaim("theorem2").resolve(factor=1e9)["success"] < 1.0


def test_theorem3_builds_certified_tickets_and_too_few_items_are_caught() -> None:
    report = THEOREM3.falsify(trials=21)  # every kind of target three times
    assert report.failures == report.missed == report.undecided == 0
    few = THEOREM3.falsify(trials=60, items=10)
    assert few.verdict is Verdict.FALSIFIED
    assert few.failures > 0
    searched = FixedSizeTicketClaim()
    outcomes = {searched.trial(seed, items=44, eps=0.01).outcome for seed in range(25)}
    assert Outcome.FAILURE not in outcomes  # beyond 40 items a miss proves nothing


def test_packing_is_tight_for_members_and_a_better_count_is_false() -> None:
    report = THEOREM5.falsify(trials=1500)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.low <= report.delta <= report.high
    assert THEOREM5.looseness(trials=300).falsified_at == 2.0
    uniform = THEOREM5.falsify(trials=600, size=3, law="uniform", eps=0.01)
    assert uniform.verdict is Verdict.HOLDS_SO_FAR


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_separated_set(size: int) -> None:
    members = (np.arange(separated(size, 0.03)) - separated(size, 0.03) // 2) * 0.06 * (1 + 1e-9)
    assert np.abs(members).max() <= math.sqrt(size)
    assert np.diff(members).min() > 0.06


@pytest.mark.parametrize(
    ("claim", "params", "message"),
    [
        (FixedSizeClaim("theorem2"), {"size": 0}, "size must be an integer"),
        (FixedSizeClaim("theorem2"), {"size": 1}, "another size"),
        (FixedSizeClaim("theorem2"), {"at": "corner"}, "'corner'"),
        (FixedSizeClaim("theorem2"), {"twin": "both"}, "'both'"),
        (FixedSizeClaim("theorem2"), {"factor": 0.5}, "factor must be"),
        (FixedSizeClaim("theorem2"), {"eps": 1.0}, "eps must lie"),
        (FixedSizeTicketClaim(), {"kind": "round"}, "'round'"),
        (FixedSizeTicketClaim(), {"sizes": "3"}, "layer sizes"),
        (FixedSizePackingClaim(), {"law": "normal"}, "'normal'"),
        (FixedSizePackingClaim(), {"eps": 0.9}, "too small"),
        (FixedSizePackingClaim(), {"items": 1000}, "items must lie"),
    ],
)
def test_bad_parameters_are_refused(claim: theory.AbstractClaim, params: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        claim.resolve(**params)
