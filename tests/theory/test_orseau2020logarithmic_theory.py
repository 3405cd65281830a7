"""The theorems of Orseau et al. 2020 by experiment, and mutants that the claims must catch."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import theory
from strongticket.constructions import orseau2020logarithmic as construction
from theory import Verdict
from theory import orseau2020logarithmic as module
from theory._orseau_claims import PLACES, greedy
from theory._targets import KINDS

GREEDY, HYPERBOLIC, UNIFORM = (theory.get(f"orseau2020logarithmic.{x}") for x in ("greedy", "hyperbolic", "uniform"))


@pytest.mark.parametrize("theorem", [GREEDY, HYPERBOLIC, UNIFORM], ids=lambda theorem: theorem.key)
def test_every_step_holds(theorem: theory.Theorem) -> None:
    for result in theorem.check_steps():
        assert result.passed, (result.step.name, result.error)
    assert theorem.bounds


@given(
    base=st.fractions(1, 2, max_denominator=50).filter(lambda b: b > 1),
    shares=st.lists(st.fractions(0, 1, max_denominator=50), min_size=1, max_size=8),
    weight=st.fractions(0, 1, max_denominator=1000),
)
def test_the_lemma_in_fractions(base: Fraction, shares: list[Fraction], weight: Fraction) -> None:
    numbers = [((base - 1) + s * (2 - base)) * base**-i for i, s in enumerate(shares, 1)]
    assert 0 <= greedy(weight, numbers) <= base ** -len(numbers)


@pytest.mark.parametrize("place", PLACES)
def test_the_lemma_never_fails_and_cannot_be_improved(place: str) -> None:
    assert GREEDY.falsify(trials=200, place=place).failures == 0
    assert GREEDY.falsify(trials=200, place=place, factor=1.5).verdict is Verdict.FALSIFIED


def test_one_number_below_its_bin_breaks_the_lemma() -> None:
    base = Fraction(3, 2)
    numbers = [(base - 1) * base**-i for i in range(1, 6)]
    assert greedy(Fraction(1), numbers) == base**-5
    assert greedy(Fraction(1), [numbers[0] * Fraction(9, 10), *numbers[1:]]) > base**-5


@pytest.mark.parametrize("kind", KINDS)
def test_the_theorem_holds_for_each_kind(kind: str) -> None:
    report = HYPERBOLIC.falsify(trials=12, kind=kind)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.checked == 12


@pytest.mark.parametrize(
    "params",
    [
        {"norm": 20.0, "eps": 0.9},
        {"assignment": "fixed"},
        {"sizes": "2-2-2-1", "eps": 0.9},
        {"sizes": (3, 2), "eps": 0.05},
    ],
)
def test_the_theorem_holds_in_other_settings(params: dict[str, Any]) -> None:
    assert HYPERBOLIC.falsify(trials=8, **params).checked == 8


def test_the_corollary_holds() -> None:
    assert UNIFORM.falsify(trials=15).checked == 15
    assert UNIFORM.falsify(trials=60, factor=32.0).verdict is Verdict.FALSIFIED


def test_half_the_items_are_too_few() -> None:
    table = HYPERBOLIC.looseness(trials=200)
    assert table.largest_not_falsified >= 1
    assert table.falsified_at is not None
    assert table.falsified_at <= 4


def test_a_construction_that_takes_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = construction.prune_greedily

    def lazy(pair: Any, pool: Any, targets: Any, bins: Any, tolerance: int, progress: Any) -> Any:
        return real(pair, pool, np.zeros_like(targets), bins, tolerance, progress)

    monkeypatch.setattr(construction, "prune_greedily", lazy)
    report = HYPERBOLIC.falsify(trials=14)
    assert report.verdict is Verdict.FALSIFIED
    # all bins are filled and weights are not met: certain failures
    assert report.failures > 0


def _step(name: str) -> theory.ProofStep:
    return next(step for step in (*HYPERBOLIC.steps, *UNIFORM.steps, *GREEDY.steps) if step.name == name)


@pytest.mark.parametrize(
    ("name", "where", "mutant"),
    [
        ("share of a bin", "SHARE", lambda real: 0.3445),
        ("bins of the laws on the grid", "SHARE", lambda real: 0.3451),
        ("uniform bins", "uniform_mass", lambda real: lambda width, scale: real(1.01 * width, scale) + 1e-6),
        ("union bound", "items_for_bins", lambda real: lambda *a: max(1, real(*a) - 1)),
        ("batch assignment", "neurons_for_batch", lambda real: lambda *a: int(0.6 * real(*a))),
    ],
)
def test_steps_catch_wrong_constants(
    name: str, where: str, mutant: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _step(name).run().passed
    monkeypatch.setattr(module.bounds, where, mutant(getattr(module.bounds, where)))
    result = _step(name).run()
    assert not result.passed
    assert not result.error


def test_claims_refuse_nonsense() -> None:
    for bad in ({"norm": 0.0}, {"kind": "huge"}, {"factor": 0.5}, {"sizes": "3"}, {"eps": 0.0}):
        with pytest.raises(ValueError):
            HYPERBOLIC.falsify(trials=5, **bad)
    for bad in ({"bins": 0}, {"place": "nowhere"}, {"factor": 0.5}):
        with pytest.raises(ValueError):
            GREEDY.falsify(trials=5, **bad)
