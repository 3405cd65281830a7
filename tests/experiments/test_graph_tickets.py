"""The experiment on graph tickets, on networks with drawn coefficients; targets are trained once and then read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments import _graph_targets
from experiments._graph_targets import RECIPES, trained_network
from experiments.graph_tickets import EQUIVARIANT, GraphTickets
from strongticket.training import Recipe


@pytest.mark.parametrize("model", EQUIVARIANT)
def test_a_drawn_network_becomes_an_equivariant_ticket(model: str) -> None:
    result = GraphTickets("drawn", model, tests=40).run()
    assert result["strict_check"]
    assert result["tests"] == 40
    assert result["broken_symmetry"] <= 1e-9
    assert result["largest_change"] <= result["proved_error"]
    assert 0 < result["attacked_error"] <= result["proved_error"]
    assert result["proved_equal_predictions"] <= result["equal_predictions"] == 1.0
    assert result["masked_network"]["largest_gap"] <= 1e-2
    assert "unreached_weights" not in result["construction"]
    row = GraphTickets.table([(GraphTickets("drawn", model), result)])[0]
    assert row["target %"] is None
    assert row["equal %"] == 100.0


def test_presets_name_networks_that_there_are() -> None:
    for runs in GraphTickets.presets().values():
        assert all(run.model in (EQUIVARIANT if run.data == "drawn" else RECIPES) for run in runs)
    with pytest.raises(ValueError, match="circulant12"):
        GraphTickets("drawn", "lenet5").run()


def test_a_target_is_trained_once(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import strongticket.training

    assert real_data.is_dir()
    monkeypatch.setattr(_graph_targets, "FOLDER", tmp_path)
    monkeypatch.setitem(RECIPES, "lenet5x0.25+bias", Recipe(1, 2048, lr=1e-3, max_weight=1.0))
    first = trained_network("mnist", "lenet5x0.25+bias", seed=1)
    monkeypatch.setattr(strongticket.training, "train", None)
    again = trained_network("mnist", "lenet5x0.25+bias", seed=1)
    states = first.module.state_dict(), again.module.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not again.module.training
    with pytest.raises(ValueError, match="no recipe"):
        trained_network("mnist", "conv6", seed=0)
