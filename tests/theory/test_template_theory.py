"""The test of `theory/_template.py`, to be copied with it: hypotheses as strategies, conclusions as properties."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import theory
from strongticket.bounds import HypothesisError
from strongticket.testing import (
    check_frequency,
    check_monotone,
    check_refused,
    not_probabilities,
    seeds,
    tolerances,
)
from theory import Outcome, Verdict
from theory import _template as module
from theory._draws import Draws
from theory._template import ITEMS, PLACES

(THEOREM,) = module.THEOREMS
CLAIM = module.NearestItemClaim()
quick = settings(max_examples=40)


def test_the_proof_steps_hold() -> None:
    assert [result.error for result in THEOREM.check_steps() if not result.passed] == []


@quick
@given(eps=tolerances(least=1e-3), delta=tolerances(), place=st.sampled_from(sorted(PLACES)), seed=seeds())
def test_a_trial_says_what_a_literal_count_says(eps: float, delta: float, place: str, seed: int) -> None:
    n = CLAIM.resolve(eps=eps, delta=delta)["items"]
    z = PLACES[place] * (1 - eps)
    hit = any(abs(item - z) <= eps for item in Draws(seed).uniform("items", n).tolist())
    assert (CLAIM.trial(seed, eps=eps, delta=delta, place=place).outcome is Outcome.SUCCESS) == hit


@pytest.mark.parametrize(("eps", "delta"), [(0.4, 0.3), (0.1, 0.1), (0.01, 0.01)])
def test_failures_are_not_more_frequent_than_delta_allows(eps: float, delta: float) -> None:
    tally = CLAIM.run(range(1000), eps=eps, delta=delta)
    check_frequency(tally.failures, tally.trials, delta)


@quick
@given(other=tolerances(least=1e-3))
def test_the_number_of_items_falls_with_eps_and_with_delta(other: float) -> None:
    check_monotone(lambda eps: ITEMS(eps=eps, delta=other), [1e-4, 1e-3, 0.1, 0.5], rising=False, strictly=True)
    check_monotone(lambda delta: ITEMS(eps=other, delta=delta), [1e-9, 1e-3, 0.1, 0.5], rising=False, strictly=True)


def test_failures_get_rarer_with_more_items() -> None:
    check_monotone(lambda n: CLAIM.run(range(400), items=n).failures, [1, 4, 16, 64], rising=False, strictly=True)


@quick
@given(wrong=not_probabilities())
def test_outside_the_hypotheses_it_is_refused(wrong: float) -> None:
    for name in ("eps", "delta"):
        finite = np.isfinite(wrong)
        values = {"eps": 0.1, "delta": 0.1, name: wrong}
        check_refused(partial(ITEMS, **values), name, error=HypothesisError if finite else ValueError)
        check_refused(partial(CLAIM.resolve, **values), name, error=ValueError)


@pytest.mark.parametrize(
    ("params", "message"),
    [({"place": "far"}, "place is"), ({"factor": 0.5}, "factor must"), ({"items": 0}, "items must"), ({"n": 3}, "n")],
)
def test_parameters_that_make_no_sense_are_refused(params: dict[str, Any], message: str) -> None:
    check_refused(
        lambda: THEOREM.falsify(trials=1, **params), message, error=TypeError if "n" in params else ValueError
    )


def test_optimistic_twins_are_caught() -> None:
    """The bound is exact, so that half of its items are too few."""
    assert THEOREM.falsify(trials=300).verdict is Verdict.HOLDS_SO_FAR
    table = THEOREM.looseness(trials=300)
    assert (table.largest_not_falsified, table.falsified_at) == (1.0, 2.0)


@pytest.mark.parametrize("step", [step.name for step in THEOREM.steps[1:]])
def test_a_wrong_formula_is_caught_by_its_step(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(ITEMS, build=lambda: replace(ITEMS.formula, expression=ITEMS.expression * 9 / 10))
    monkeypatch.setattr(module, "ITEMS", wrong)
    assert step in [result.step.name for result in THEOREM.check_steps() if not result.passed]


def test_it_has_its_formula_and_is_not_listed() -> None:
    assert THEOREM.bounds == (ITEMS,)
    assert "template2026one" not in {listed.paper for listed in theory.all()}
