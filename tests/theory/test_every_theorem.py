"""Every theorem of every paper: refused outside the hypotheses, not contradicted inside, and its twins are better."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import theory
from strongticket import bounds
from strongticket.testing import check_frequency, check_monotone, check_refused, not_probabilities, seeds, tolerances
from theory import AbstractClaim, Theorem, Verdict

THEOREMS = {theorem.key: theorem for theorem in theory.all()}
CLAIMED = sorted(key for key, theorem in THEOREMS.items() if theorem.claim is not None)
SIZED = sorted(key for key in CLAIMED if THEOREMS[key].claim.by_bound)  # type: ignore[union-attr]
quick = settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])


def claim_of(key: str) -> AbstractClaim:
    claim = THEOREMS[key].claim
    assert claim is not None
    return claim


@pytest.mark.parametrize("key", THEOREMS)
def test_it_says_all_that_a_reader_needs(key: str) -> None:
    theorem = THEOREMS[key]
    assert theorem.title
    assert theorem.statement
    assert theorem.status
    assert theorem.hypotheses
    assert theorem.steps or theorem.lemmas or theorem.assumptions
    assert theorem.bounds or theorem.claim is not None or theorem.steps
    assert all(bound.reference in bounds.papers() for bound in theorem.bounds)


@pytest.mark.parametrize("key", CLAIMED)
@quick
@given(wrong=not_probabilities())
def test_what_is_no_probability_is_refused(key: str, wrong: float) -> None:
    claim = claim_of(key)
    for name in {"eps", "delta"} & set(claim.defaults):
        check_refused(partial(claim.resolve, **{name: wrong}), name, error=ValueError)


@pytest.mark.parametrize("key", CLAIMED)
def test_unknown_parameters_and_numbers_that_are_none_are_refused(key: str) -> None:
    claim = claim_of(key)
    check_refused(partial(claim.resolve, colour="red"), "colour", error=TypeError)
    for name in {"factor", "constant"} & set(claim.defaults):
        check_refused(partial(claim.resolve, **{name: math.nan}), name, error=ValueError)
    assert not set(claim.by_bound) - set(claim.defaults)


@pytest.mark.parametrize("key", CLAIMED)
def test_the_first_trials_do_not_contradict_it(key: str) -> None:
    """A few trials at the default parameters, with the claim's own probability of failure, by the exact tail."""
    theorem = THEOREMS[key]
    report = theorem.falsify(trials=4, seed=11)
    assert report.verdict is not Verdict.FALSIFIED
    assert report.failures + report.missed + report.undecided <= report.trials
    check_frequency(report.counted, report.trials, report.delta)


@pytest.mark.parametrize("key", CLAIMED)
def test_trials_are_functions_of_their_seed(key: str) -> None:
    claim = claim_of(key)
    first, second = ([claim.trial(seed) for seed in (5, 6)] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("key", CLAIMED)
@quick
@given(factor=st.floats(1.0, 4.0))
def test_the_twin_multiplies_the_factor(key: str, factor: float) -> None:
    claim = claim_of(key)
    if "factor" not in claim.defaults:  # its constant is divided instead
        assert claim.optimistic(factor)["constant"] == pytest.approx(claim.defaults["constant"] / factor)
        return
    assert claim.optimistic(factor)["factor"] == pytest.approx(claim.defaults["factor"] * factor)
    twice = claim.optimistic(factor, **claim.optimistic(2.0))
    assert twice["factor"] == pytest.approx(2.0 * claim.optimistic(factor)["factor"])


def sizes(claim: AbstractClaim, **params: Any) -> tuple[float, ...]:
    """What the bound gives at these parameters; nothing where it refuses them or leaves it to each target."""
    try:
        resolved = claim.resolve(**params)
    except ValueError:
        return ()
    return tuple(resolved[name] for name in claim.by_bound if resolved[name] is not None)


@pytest.mark.parametrize("key", SIZED)
@quick
@given(delta=tolerances(least=1e-9, most=0.3), eps=tolerances(least=1e-3, most=0.4), seed=seeds())
def test_sizes_fall_as_the_theorem_asks_for_less(key: str, delta: float, eps: float, seed: int) -> None:
    """Monotone in eps, in delta and in the twin's factor, over decades."""
    claim = claim_of(key)
    for name, places in (
        ("delta", [delta / 100, delta / 3, delta, min(0.9, 3 * delta)]),
        ("eps", [eps / 3, eps, min(0.9, 2 * eps)]),
        ("factor", [1.0, 1.5, 4.0, 30.0]),
    ):
        if name not in claim.defaults:
            continue
        found = [one for one in (sizes(claim, **{name: place}) for place in places) if one]
        for numbers in zip(*found, strict=True):
            check_monotone(numbers.__getitem__, range(len(numbers)), rising=False)


@pytest.mark.parametrize("key", CLAIMED)
@quick
@given(seed=seeds(), place=st.integers(0, 3))
def test_any_seed_is_a_trial(key: str, seed: int, place: int) -> None:
    assume(seed < 1 << 63)
    trial = claim_of(key).trial(seed)
    assert trial.detail
    assert trial.success == (trial.outcome.name == "SUCCESS")


def test_a_theorem_of_ones_own_needs_no_file() -> None:
    """What the template shows: formulas may come with the theorem."""
    (own,) = __import__("theory._template", fromlist=["THEOREMS"]).THEOREMS
    assert isinstance(own, Theorem)
    assert own.falsify(trials=50).verdict is Verdict.HOLDS_SO_FAR
