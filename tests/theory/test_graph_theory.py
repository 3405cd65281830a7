"""Theorems on convolutional, equivariant and residual networks: steps and claims hold, twins and lies are caught."""

from __future__ import annotations

import numpy as np
import pytest

import theory
from strongticket.constructions import Ferbach2023General
from strongticket.constructions._graph_layers import layer_norm
from strongticket.models.graph import Graph
from theory import Outcome, Verdict
from theory._graph_claims import COEFFICIENTS, NETWORKS, GraphTicketClaim, draw_target

KEYS = ("dacunha2022proving.theorem", "ferbach2023general.theorem1", "burkholz2022convolutional.residual")


def claim_of(key: str) -> GraphTicketClaim:
    claim = theory.get(key).claim
    assert isinstance(claim, GraphTicketClaim)
    return claim


@pytest.mark.parametrize("key", KEYS)
def test_steps_hold(key: str) -> None:
    results = theory.get(key).check_steps()
    assert {f"{r.step.name} {r.error}" for r in results if not r.passed} == set()


@pytest.mark.parametrize("key", KEYS)
def test_claims_hold_at_an_eighth_of_the_items(key: str) -> None:
    """The bound itself is cheap to state and slow to run; a better one that holds is more."""
    report = theory.get(key).falsify(trials=24, factor=8.0)
    assert report.verdict is Verdict.HOLDS_SO_FAR
    assert report.checked == 24


@pytest.mark.parametrize("key", KEYS)
def test_a_twin_of_too_few_items_is_caught(key: str) -> None:
    report = theory.get(key).falsify(trials=30, items=6)
    assert report.verdict is Verdict.FALSIFIED
    assert report.failures + report.missed == report.counted >= 10


def test_each_network_is_the_matter_of_one_theorem_at_least() -> None:
    assert {name for key in KEYS for name in claim_of(key).networks} == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", COEFFICIENTS)
def test_targets_are_inside_the_hypotheses(name: str, kind: str) -> None:
    target = draw_target(name, kind, seed=5)
    for step, numbers in zip(target.architecture.affine, target.layers, strict=True):
        norm = layer_norm(target.architecture.layer(step), numbers.weight)
        assert norm <= 1.0
        assert kind == "zero" or norm >= 1 - 1e-9
    if kind != "zero":
        assert not np.array_equal(target.layers[0].weight, draw_target(name, kind, seed=6).layers[0].weight) or (
            kind in ("extreme", "even")
        )


def test_a_ticket_that_lies_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A construction that reports success with a mask of another target makes trials fail."""
    honest = Ferbach2023General.construct

    def lying(self: Ferbach2023General, target: object, **options: object) -> object:
        return honest(self, draw_target("sets", "zero", 1), **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Ferbach2023General, "construct", lying)
    claim = claim_of(KEYS[1])
    trial = claim.trial(2, network="sets", kind="even", items=60)
    assert trial.outcome is Outcome.FAILURE
    assert "off by" in trial.detail


def test_parameters_out_of_range_are_refused() -> None:
    claim = claim_of(KEYS[0])
    for wrong in ({"network": "sets"}, {"kind": "odd"}, {"assignment": "loose"}, {"factor": 0.5}, {"eps": 2.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            claim.resolve(**wrong)
    assert "items per coefficient" in claim.describe(items=9)


def test_the_items_are_the_bounds_over_the_factor() -> None:
    claim = claim_of(KEYS[2])
    full, half = (claim.items("identity", claim.resolve(factor=factor)) for factor in (1.0, 2.0))
    assert full // 2 == half
    twin = claim.optimistic(4.0, factor=2.0)
    assert (twin["factor"], twin["items"]) == (8.0, None)


def test_networks_have_what_their_names_say() -> None:
    texts = {name: NETWORKS[name]().id for name in NETWORKS}
    assert ":g2" in texts["grouped"]
    assert "-s2" in texts["strided"]
    assert "max" in texts["plain"]
    assert all("_add@" in texts[name] for name in ("identity", "projection"))
    assert all(isinstance(NETWORKS[name](), Graph) for name in NETWORKS)
