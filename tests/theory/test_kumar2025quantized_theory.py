"""The theorems hold where they should, and their claims catch what is wrong."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import theory
from strongticket.bounds.kumar2025quantized import exact_items
from theory import Outcome, Verdict
from theory import _kumar_claims as claims
from theory import kumar2025quantized as kumar
from theory._targets import INTEGER_KINDS

THEOREMS = {theorem.key.split(".")[1]: theorem for theorem in kumar.THEOREMS}


def test_the_proof_steps_hold() -> None:
    failed = {f"{r.theorem}: {r.step.name} {r.error}" for t in kumar.THEOREMS for r in t.check_steps() if not r.passed}
    assert not failed


def test_the_caveats_are_in_the_status() -> None:
    text = THEOREMS["theorem1"].status
    assert "(a)" in text
    assert "n > (2N)^7" in text
    assert "(b)" in text
    assert "prime" in text


@pytest.mark.parametrize(
    ("name", "trials", "params"),
    [
        ("integers", 400, {}),
        ("integers", 400, {"largest": 3, "delta": 0.2}),
        ("theorem1", 60, {"source_bits": 2, "delta": 0.2}),
        ("lemma4", 60, {"batch": 300}),
        ("lemma4", 60, {"batch": 300, "items": 15, "largest": 2047, "target": 5}),
        ("first_moment", 300, {}),
        ("theorem3", 300, {}),
        ("theorem3", 300, {"bits": 3, "d": 2, "fewer": 0, "law": "quantized"}),
    ],
)
def test_the_claims_hold(name: str, trials: int, params: dict[str, Any]) -> None:
    assert THEOREMS[name].falsify(trials=trials, **params).verdict is Verdict.HOLDS_SO_FAR


@pytest.mark.parametrize(
    ("name", "trials", "params"),
    [
        ("integers", 60, {"items": 10}),
        ("theorem1", 60, {"source_bits": 2, "items": 7}),
        ("lemma4", 30, {"batch": 300, "factor": 1.6}),
        ("first_moment", 300, {"factor": 4.0}),
        ("theorem3", 400, {"factor": 2.0}),
    ],
)
def test_false_claims_are_caught(name: str, trials: int, params: dict[str, Any]) -> None:
    assert THEOREMS[name].falsify(trials=trials, **params).verdict is Verdict.FALSIFIED


def test_optimistic_twins_are_run_until_one_is_caught() -> None:
    found = THEOREMS["integers"].looseness(trials=100, largest=16)
    assert found.falsified_at is not None
    assert 2 <= found.falsified_at <= 16
    assert THEOREMS["theorem1"].claim is not None
    twin = THEOREMS["theorem1"].claim.optimistic(2.0, source_bits=2)
    assert THEOREMS["theorem1"].claim.resolve(**twin)["items"] * 2 <= 2 * exact_items(4, 0.01 / 48).items


@given(st.lists(st.integers(-9, 9).filter(bool), max_size=7))
def test_subset_sums_are_all_sums(items: list[int]) -> None:
    sums, zero = claims.subset_sums(items)
    found = {bit - zero for bit in range(sums.bit_length()) if sums >> bit & 1}
    assert found == {sum(chosen) for size in range(len(items) + 1) for chosen in combinations(items, size)}


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 10**6), st.integers(-60, 60))
def test_solvable_is_decided_exactly(largest: int, n: int, seed: int, target: int) -> None:
    items = claims.draw_integers(largest, (3, n), seed)
    assert items.min() >= -largest
    assert items.max() <= largest
    assert (items != 0).all()
    targets = np.full(3, target, dtype=np.int64)
    for row, hit in zip(items.tolist(), claims.solvable(items, targets).tolist(), strict=True):
        sums, zero = claims.subset_sums(row)
        assert hit == (zero + target >= 0 and bool(sums >> (zero + target) & 1))


def test_integers_claim_counts_the_gaps() -> None:
    claim = claims.IntegersClaim()
    seen = set()
    for seed in range(40):
        trial = claim.trial(seed, largest=6, items=6)
        drawn = claims.draw_integers(6, 6, seed).tolist()
        sums = {sum(chosen) for size in range(7) for chosen in combinations(drawn, size)}
        missing = len(set(range(-3, 4)) - sums)
        assert trial.detail.startswith(f"{missing} of 7 ")
        assert (trial.outcome is Outcome.FAILURE) == bool(missing)
        seen.add(trial.outcome)
    assert len(seen) == 2


@pytest.mark.parametrize("kind", INTEGER_KINDS)
def test_targets_lie_inside_the_hypotheses(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[np.ndarray] = []
    right = claims.to_target
    monkeypatch.setattr(claims, "to_target", lambda layers: (drawn.extend(layers), right(layers))[1])
    claims.ExactTicketClaim().trial(7, kind=kind, sizes=(3, 4, 2), source_bits=3, items=2)
    assert [layer.shape for layer in drawn] == [(4, 3), (2, 4)]
    for layer in drawn:
        layer = np.ldexp(layer, 6)
        assert np.array_equal(layer, np.rint(layer))
        assert np.abs(layer).max(initial=0) <= 32
        assert layer.any() or kind == "zero"


def test_a_ticket_that_differs_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = claims.ExactTicketClaim()
    assert claim.trial(0, source_bits=2, kind="one").outcome is Outcome.SUCCESS
    assert claim.trial(0, source_bits=2, kind="extreme", items=3).outcome is Outcome.MISSED
    right = claims.to_target
    monkeypatch.setattr(claims, "to_target", lambda layers: right([layer - 2.0**-4 for layer in layers]))
    assert claim.trial(0, source_bits=2, kind="one").outcome is Outcome.FAILURE


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("integers", {"largest": 1}, "largest must be an integer"),
        ("integers", {"factor": 0.5}, "factor must be >= 1"),
        ("theorem1", {"source_bits": 9}, "source_bits must be"),
        ("theorem1", {"sizes": "3"}, "sizes needs"),
        ("theorem1", {"kind": "odd one"}, "kind is"),
        ("lemma4", {"items": 30}, "the claim is about"),
        ("lemma4", {"largest": 20}, "largest must be"),
        ("first_moment", {"items": 12}, "allows any outcome"),
        ("theorem3", {"fewer": 8}, "fewer must be"),
        ("theorem3", {"law": "normal"}, "law is"),
    ],
)
def test_refusals(name: str, params: dict[str, Any], message: str) -> None:
    claim = THEOREMS[name].claim
    assert claim is not None
    with pytest.raises(ValueError, match=message):
        claim.resolve(**params)


def test_the_paper_is_found_by_its_key() -> None:
    assert [theorem.key for theorem in theory.find("kumar2025quantized")] == [t.key for t in kumar.THEOREMS]
