"""The experiments with pruning, small: the same network for every arm, three columns, overlaps against chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments import _pruning
from experiments._pruning import PLANS, dense_of, popup, source_of
from experiments._search import parts_of
from experiments.pruning_compare import ARMS, PruningCompare, pruner_named
from experiments.pruning_overlap import ACCURACIES, PAIRS, PruningOverlap, chance
from paper_figs import fig09_pruning
from strongticket import Mask
from strongticket.runs import Store
from strongticket.search import find, search_recipe


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pytest.importorskip("sklearn")
    plan = dataclasses.replace(PLANS["digits"], model="mlp-64-24-10", epochs=6, retrain_epochs=2)
    monkeypatch.setattr(_pruning, "PLANS", {"digits": plan})
    caches = (dense_of, popup)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


ON_THE_WAY = ["random", "obd", "exact-obs", "exact-obs, global", "edge-popup", "random, untrained"]


@pytest.mark.parametrize("arm", [*ON_THE_WAY, "constructed", "dense, retrained"])
def test_an_arm_counts_what_it_keeps_and_fills_its_columns(arm: str) -> None:
    run = PruningCompare("digits", arm, (0.5, 0.1), 200, 0)  # type: ignore[arg-type]
    result = run.run()
    rows = result["rows"]
    assert result["dense"] > 0.7
    if arm == "constructed":
        (row,) = rows
        assert row["mask_only"] > result["dense"] - 0.03
        assert row["kept_per_weight"] > 1
        assert row["density"] == row["kept"] / 1776 > 1 > row["source_density"]
        return
    if arm == "dense, retrained":
        (row,) = rows
        assert (row["density"], row["kept"], row["mask_only"]) == (1.0, 1776, result["dense"])
        assert row["retrained"] > result["dense"] - 0.03
        return
    assert [row["kept"] for row in rows] == [888, 178]
    assert all((row["updated"] is None) == (not arm.startswith("exact-obs")) for row in rows)
    assert rows[0]["retrained"] > rows[1]["mask_only"]
    if arm == "random, untrained":
        assert rows[0]["mask_only"] < 0.3
    else:
        assert rows[0]["retrained"] > 0.5
    second = PruningCompare("digits", arm, (0.5, 0.1), 200, 0)  # type: ignore[arg-type]
    again = second.run()["rows"]
    assert [row["mask_only"] for row in again] == [row["mask_only"] for row in rows]


def test_all_arms_start_from_the_same_random_weights_and_pruners_are_named() -> None:
    source = source_of("digits", 0)
    assert popup("digits", 0, 0.3).ticket.source.digest == source.digest
    for arm in ARMS:
        if arm in ("edge-popup", "random, untrained", "constructed", "dense, retrained"):
            with pytest.raises(ValueError, match="prunes nothing"):
                pruner_named(arm)
        else:
            assert pruner_named(arm).key


def test_overlaps_are_held_against_chance() -> None:
    result = PruningOverlap("digits", 0.3, 200, 0).run()
    assert set(result["iou"]) == set(result["chance"]) == set(PAIRS)
    assert set(result["accuracy"]) == set(ACCURACIES)
    assert abs(result["iou"]["popup/random"] - result["chance"]["popup/random"]) < 0.05
    assert result["iou"]["magnitude/magnitude"] > result["chance"]["magnitude/magnitude"] + 0.1
    assert result["accuracy"]["magnitude on trained"] > result["accuracy"]["chance on trained"]
    assert 0.5 < result["signs_kept_of_all"] < result["signs_kept"] <= 1
    assert len(set(result["kept"].values())) == 1


def test_chance_is_the_mean_overlap_of_shuffled_masks() -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(kept: dict[str, int]) -> Mask:
        return Mask({name: torch.randperm(400, generator=generator) < count for name, count in kept.items()})

    one, other = {"a": 40, "b": 300}, {"a": 200, "b": 20}
    found = [drawn(one).iou(drawn(other)) for _ in range(400)]
    assert abs(sum(found) / len(found) - chance(drawn(one), drawn(other))) < 0.002
    assert chance(drawn({"a": 0}), drawn({"a": 0})) == 1.0


def test_presets_have_five_seeds_and_tables_a_row_per_density() -> None:
    runs = PruningOverlap.preset("quick")
    assert {run.seed for run in runs} == set(range(5))
    assert {run.seed for run in PruningCompare.preset("mnist")} == set(range(5))
    one = PruningOverlap("digits", 0.3, 200, 0)
    (row,) = PruningOverlap.table([(one, one.run())])
    assert (row["density"], row["seeds"]) == (0.3, 1)
    other = PruningCompare("digits", "random", (0.5, 0.1), 200, 0)
    dense, *rows = PruningCompare.table([(other, other.run())])
    assert (dense["arm"], [row["density"] for row in rows]) == ("dense", ["0.5", "0.1"])
    assert [row["kept"] for row in (dense, *rows)] == ["1,776", "888", "178"]
    assert rows[0]["updated %"] == ""


def test_a_search_chooses_its_learning_rate_on_validation_data() -> None:
    plan = _pruning.PLANS["digits"]
    assert plan.search_lrs == (0.4, 1.6)
    parts = parts_of("digits", 0)
    both = []
    for lr in plan.search_lrs:
        recipe = search_recipe(plan.recipe).with_density(0.3).changed(epochs=plan.epochs, lr=lr)
        both.append(find(source_of("digits", 0), *parts.train, recipe, seed=0, validation=parts.validation))
    best = max(both, key=lambda one: one.history[one.best_epoch - 1].validation_accuracy or 0.0)
    found = popup("digits", 0, 0.3)
    assert found.ticket == best.ticket
    assert found.recipe.lr == best.recipe.lr


def test_the_figure_draws_every_column_from_results_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = ("random", "exact-obs", "dense, retrained", "edge-popup", "random, untrained", "constructed")
    compared = [PruningCompare("digits", arm, (0.5, 0.1), 200, 0) for arm in arms]  # type: ignore[arg-type]
    overlaps = [PruningOverlap("digits", density, 200, 0) for density in (0.5, 0.1)]
    made: dict[Any, Any] = {
        PruningCompare: [(run, run.run()) for run in compared],
        PruningOverlap: [(run, run.run()) for run in overlaps],
    }
    monkeypatch.setattr(fig09_pruning, "latest", lambda experiment, store: ("quick", made[experiment]))
    first = fig09_pruning.draw(Store(tmp_path), tmp_path / "a")
    second = fig09_pruning.draw(Store(tmp_path), tmp_path / "b")
    assert [path.name for path in first] == ["fig09_pruning.pdf", "fig09_pruning.png", "fig09_pruning.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
