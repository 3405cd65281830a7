"""Theorem 2.1, one product per weight, and pruned neurons by experiment; claims that catch constructions that cheat."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import theory
from strongticket.constructions import Malach2020Proving
from strongticket.constructions._malach2020proving_neurons import RandomFeatures
from strongticket.constructions._malach2020proving_search import Search
from theory import Outcome, Verdict
from theory import malach2020proving as module
from theory._malach_claims import PREDICTORS, inside_paper
from theory._targets import KINDS, draw_layers

PAPER, PRODUCT, NEURONS = (
    theory.get(f"malach2020proving.{name}") for name in ("theorem2_1", "one_product", "neurons")
)  # fmt: skip


@pytest.mark.parametrize("theorem", [PAPER, PRODUCT, NEURONS], ids=lambda theorem: theorem.key)
def test_every_step_holds(theorem: theory.Theorem) -> None:
    for result in theorem.check_steps():
        assert result.passed, f"{result.step.name}: {result.error}"


@pytest.mark.parametrize("kind", KINDS)
def test_targets_lie_inside_the_papers_hypotheses(kind: str) -> None:
    for seed in range(5):
        for layer in inside_paper(draw_layers(kind, (4, 1, 3, 2), seed)):
            assert np.linalg.norm(layer, 2) <= 1.0
            assert np.abs(layer).max() <= 1.0 / math.sqrt(layer.shape[1])


@pytest.mark.parametrize("kind", KINDS)
def test_one_product_holds_for_each_kind(kind: str) -> None:
    report = PRODUCT.falsify(trials=20, kind=kind, eps=0.2)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.checked >= 19
    assert report.missed == report.undecided == 0


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"blocks": "own", "eps": 0.9, "sizes": "2-2-1"},
        {"sizes": "4-2", "eps": 0.6, "choose": "nearest"},
        {"sizes": (2, 2, 1, 2), "bound": "pair", "eps": 0.9, "choose": "first"},
        {"sizes": "1-1", "eps": 0.4},
    ],
)
def test_theorem2_1_holds(params: dict[str, Any]) -> None:
    if params.get("bound") == "pair":  # a layer of fan-in 1 may hold a weight of 1, outside of that count
        with pytest.raises(ValueError, match="fan-in >= 2"):
            PAPER.falsify(trials=8, **params)
        params = {**params, "sizes": (2, 2, 2)}
    report = PAPER.falsify(trials=10, **params)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.checked == 10


def test_too_few_neurons_are_falsified() -> None:
    few = PRODUCT.falsify(trials=60, factor=8.0)
    assert few.verdict is Verdict.FALSIFIED
    assert few.failures > 0
    assert few.missed == few.undecided == 0
    # the nearest pair may miss what a product meets; the trial says which
    pairs = PAPER.falsify(trials=40, items=600)
    assert pairs.verdict is Verdict.FALSIFIED
    assert pairs.missed > 0
    products = PAPER.falsify(trials=40, items=600, choose="nearest")
    assert products.counted < pairs.counted
    assert products.missed == 0


def test_the_looseness_of_our_count_is_small() -> None:
    """One factor of 4 is too much: the union bound with exact probabilities loses little."""
    table = PRODUCT.looseness(trials=80, kind="extreme", eps=0.2, factors=(1.0, 4.0))
    assert table.largest_not_falsified == 1.0
    assert table.falsified_at == 4.0


def test_a_construction_that_finds_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(self: Search) -> tuple[np.ndarray, np.ndarray]:
        return np.full(self.targets.shape, -1), self.targets.copy()

    monkeypatch.setattr(Search, "result", blind)
    report = PRODUCT.falsify(trials=14, eps=0.2)
    assert report.verdict is Verdict.FALSIFIED
    assert report.missed >= 10
    assert report.failures == report.undecided == 0


def test_a_construction_that_lies_about_its_errors_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def lying(self: Search) -> tuple[np.ndarray, np.ndarray]:
        return np.full(self.targets.shape, -1), np.zeros_like(self.targets)

    monkeypatch.setattr(Search, "result", lying)
    report = PRODUCT.falsify(trials=14, eps=0.2)
    assert report.verdict is Verdict.FALSIFIED
    assert report.missed >= 10


@pytest.mark.parametrize("kind", PREDICTORS)
def test_pruned_neurons_hold_for_each_kind(kind: str) -> None:
    report = NEURONS.falsify(trials=60, kind=kind)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.checked == 60


def test_a_rule_that_ignores_the_size_of_coefficients_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant that keeps every neuron of the right sign copies |a_j| = C well, and no smaller coefficients."""
    real: Callable[..., Any] = RandomFeatures.prune
    monkeypatch.setattr(RandomFeatures, "prune", lambda self, a: real(self, self.bound * np.sign(a)))
    options = {"trials": 40, "points": 1, "eps": 0.05}
    assert NEURONS.falsify(kind="signs", **options).verdict is Verdict.HOLDS_SO_FAR
    monkeypatch.setattr("theory._malach_claims._PREDICTORS", {"small": lambda width, draws: np.full(width, 0.4)})
    monkeypatch.setattr("theory._malach_claims.PREDICTORS", ("small",))
    assert NEURONS.falsify(kind="small", **options).verdict is Verdict.FALSIFIED


def test_too_few_pruned_neurons_are_falsified() -> None:
    twin = NEURONS.looseness(trials=60, kind="constant", points=1, factors=(1.0, 256.0))
    assert twin.falsified_at == 256.0


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("hit_probability", lambda a, e: e / 2),
        ("items_for_target", lambda weights, eps, delta: 40),
        ("GRID_SLACK", 2.0**-23),
    ],
)
def test_steps_catch_formulas_that_are_wrong(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, name, wrong)
    results = PRODUCT.check_steps()
    assert sum(not result.passed for result in results) == 1
    assert not any(result.error for result in results)


@pytest.mark.parametrize(
    ("theorem", "bad"),
    [
        (PAPER, {"eps": 0.0}),
        (PAPER, {"sizes": "3"}),
        (PAPER, {"kind": "huge"}),
        (PAPER, {"bound": "luck"}),
        (PAPER, {"factor": 0.5}),
        (PRODUCT, {"blocks": "some"}),
        (NEURONS, {"points": 0}),
        (NEURONS, {"kind": "huge"}),
        (NEURONS, {"bound": -1.0}),
        (NEURONS, {"delta": 1.0}),
    ],
    ids=lambda value: value.key if isinstance(value, theory.Theorem) else str(value),
)
def test_claims_refuse_nonsense(theorem: theory.Theorem, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        theorem.falsify(trials=5, **bad)


def test_the_trials_see_both_outcomes_and_describe_them() -> None:
    assert PRODUCT.claim is not None
    trials = [PRODUCT.claim.trial(seed, items=300, eps=0.2) for seed in range(40)]
    assert {trial.outcome for trial in trials} == {Outcome.SUCCESS, Outcome.FAILURE}
    assert "outputs proved within" in next(t.detail for t in trials if t.success)
    assert "shared blocks, product bound, nearest" in PRODUCT.claim.describe()
    assert Malach2020Proving.key == PRODUCT.paper
