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
from experiments.pruning_compare import ARMS, PruningCompare, pruner_named
from experiments.pruning_overlap import ACCURACIES, PAIRS, PruningOverlap, chance
from paper_figs import fig09_pruning
from strongticket import Mask
from strongticket.runs import Store


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


@pytest.mark.parametrize("arm", ["random", "obd", "exact-obs", "edge-popup", "constructed"])
def test_an_arm_counts_what_it_keeps_and_fills_its_columns(arm: str) -> None:
    run = PruningCompare("digits", arm, (0.5, 0.1), 200, 0)  # type: ignore[arg-type]
    result = run.run()
    rows = result["rows"]
    assert result["dense"] > 0.7
    if arm == "constructed":
        (row,) = rows
        assert row["mask_only"] > result["dense"] - 0.03
        assert row["kept_per_weight"] > 1
        return
    assert [row["kept"] for row in rows] == [888, 178]
    assert all((row["updated"] is None) == (arm != "exact-obs") for row in rows)
    assert rows[0]["retrained"] > 0.5
    assert rows[0]["retrained"] > rows[1]["mask_only"]
    second = PruningCompare("digits", arm, (0.5, 0.1), 200, 0)  # type: ignore[arg-type]
    again = second.run()["rows"]
    assert [row["mask_only"] for row in again] == [row["mask_only"] for row in rows]


def test_all_arms_start_from_the_same_random_weights_and_pruners_are_named() -> None:
    source = source_of("digits", 0)
    ticket = popup("digits", 0, 0.3)
    assert ticket.source.digest == source.digest
    for arm in ARMS:
        if arm in ("edge-popup", "constructed"):
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
    assert 0.5 < result["signs_kept"] <= 1
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
    assert rows[0]["updated %"] == ""


def test_the_figure_draws_every_column_from_results_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = ("random", "exact-obs", "edge-popup", "constructed")
    compared = [PruningCompare("digits", arm, (0.5, 0.1), 200, 0) for arm in arms]  # type: ignore[arg-type]
    overlaps = [PruningOverlap("digits", density, 200, 0) for density in (0.5, 0.1)]
    made: dict[Any, Any] = {
        PruningCompare: [(run, run.run()) for run in compared],
        PruningOverlap: [(run, run.run()) for run in overlaps],
    }
    monkeypatch.setattr(fig09_pruning, "latest", lambda experiment, store: ("quick", made[experiment]))
    first = fig09_pruning.draw(Store(tmp_path), tmp_path / "a")
    second = fig09_pruning.draw(Store(tmp_path), tmp_path / "b")
    assert [path.name for path in first] == ["fig09_pruning.pdf", "fig09_pruning.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
