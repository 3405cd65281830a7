"""The experiment on the public network: the published magnitude column, choices on validation data, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from experiments import find, mlpnet
from experiments.mlpnet import COUNTS, METHODS, TARGETS, MlpNet, by_method, shortfalls
from strongticket.data import DataError
from strongticket.models import MLP
from strongticket.selection import kept_count


def test_it_is_found_and_its_presets_are_whole() -> None:
    assert find("mlpnet") is MlpNet
    presets = MlpNet.presets()
    assert list(presets) == ["quick", "default", "paper"]
    for name, seeds in (("default", 3), ("paper", 5)):
        assert [(run.method, run.seed) for run in presets[name]] == [(m, s) for m in METHODS for s in range(seeds)]
    assert len({run.spec.key for run in presets["paper"]}) == 5 * len(METHODS)


def test_counts_are_the_published_ones() -> None:
    assert COUNTS == (16180, 12944, 9708, 6471, 3235, 1618, 647)
    assert [kept_count(count / 32_360, 32_360) for count in COUNTS] == list(COUNTS)
    assert [kept_count(density, 32_360) for density in (0.2, 0.1)] == [6472, 3236]  # not what the tables count


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> MlpNet:
    """The experiment on random data and a random network of the same shape."""
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=generator) / 20 for name, shape in MLP(mlpnet.SIZES).shapes.items()}
    network = MLP(mlpnet.SIZES).module(weights)
    parts = {
        name: (torch.rand(n, 784, generator=generator), torch.randint(10, (n,), generator=generator))
        for name, n in (("train", 40), ("validation", 30), ("test", 30))
    }
    monkeypatch.setattr(mlpnet, "mlpnet", lambda: network)
    monkeypatch.setattr(mlpnet, "_parts", lambda validation, seed: parts)
    return replace(MlpNet.of("woodfisher", 0), samples=16, dampings=(1e-3, 1e-2), counts=(32_360, 30_000, 100))


def test_a_result_is_reproducible_and_says_how_it_was_chosen(small: MlpNet) -> None:
    result = small.run()
    assert {**small.run(), "measured": None} == {**result, "measured": None}
    assert [row["kept"] for row in result["densities"]] == [32_360, 30_000, 100]
    assert result["densities"][0]["accuracy"] == result["dense_accuracy"]
    means = [sum(choice["validation"]) for choice in result["choices"]]
    assert result["damping"] == small.dampings[0 if means[0] >= means[1] else 1]


def test_the_joint_update_has_the_masks_of_the_published_one(small: MlpNet) -> None:
    ours, theirs = small.run(), replace(small, method="woodfisher, joint").run()
    assert theirs["damping"] == ours["damping"]
    for one, other in zip(ours["densities"], theirs["densities"], strict=True):
        assert one["layers"] == other["layers"]
        assert one["mask_accuracy"] == other["mask_accuracy"]
        assert other["predicted_increase"] <= one["predicted_increase"] * (1 + 1e-9)


def test_obd_in_rounds_and_the_control_are_what_they_are_called(small: MlpNet) -> None:
    settings = {"dampings": (), "counts": (30_000,)}
    once, rounds, random = (
        replace(small, method=method, **settings).run()["densities"][0]  # type: ignore[arg-type]
        for method in ("obd", "obd, 16 rounds", "random")
    )
    assert once["kept"] == rounds["kept"] == random["kept"] == 30_000
    assert len(rounds["stats"]["rounds"]) == 16
    assert rounds["stats"]["rounds"][0]["kept"] > 32_000
    share = [one / size for one, size in zip(random["layers"], (31_360, 800, 200), strict=True)]
    assert max(share) - min(share) < 0.1  # of no layer more than of others
    assert random["predicted_increase"] is None


@pytest.mark.parametrize(
    "method", ["random", "magnitude", "obd", "network-obs, 1 stage", "network-obs, 15 stages each"]
)
def test_every_method_runs(small: MlpNet, method: mlpnet.Method) -> None:
    dampings = (0.1,) if METHODS[method] else ()
    run = replace(small, method=method, dampings=dampings, group=2, counts=(32_300, 32_200))
    result = run.run()
    rows = MlpNet.table([(run, result), (replace(run, seed=1), result)])
    assert [row["weights"] for row in rows] == ["mask only", "+ update"][: len(rows)]
    assert len(rows) == (2 if METHODS[method] else 1)
    assert rows[-1]["seeds"] == 2
    assert "32300" in rows[0]


def result_of(values: list[float]) -> dict[str, Any]:
    return {"densities": [{"kept": k, "accuracy": v / 100} for k, v in zip(COUNTS, values, strict=True)]}


def test_targets_are_judged_by_the_mean_over_seeds() -> None:
    published = list(TARGETS["magnitude"].values())
    assert shortfalls("magnitude", [result_of(published)]) == []
    assert shortfalls("magnitude", [result_of([*published[:6], 32.26])]) == [647]
    assert shortfalls("network-obs, 1 stage", [result_of([0.0] * 4 + [v, 89.5, 45.5]) for v in (92.0, 93.1)]) == []
    assert shortfalls("network-obs, 1 stage", [result_of([0.0] * 4 + [92.4, 89.5, 44.0])]) == [3235, 647]
    assert shortfalls("obd", [result_of([0.0] * 7)]) == []
    runs: list[tuple[MlpNet, dict[str, Any]]] = [(MlpNet.of("obd", seed), result_of([0.0] * 7)) for seed in range(2)]
    assert len(by_method(runs)["obd"]) == 2


def test_a_network_that_is_missing_or_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGTICKET_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"mnist_25_epoch_93\.97"):
        mlpnet.mlpnet()
    matrices = {
        f"fc{i}.weight": np.zeros(shape, np.float32) for i, shape in ((1, (40, 784)), (2, (20, 40)), (3, (10, 20)))
    }
    np.savez(tmp_path / mlpnet.FILE, **matrices)
    with pytest.raises(DataError, match="other weights"):
        mlpnet.mlpnet()
    np.savez(tmp_path / mlpnet.FILE, something=np.zeros(3))
    with pytest.raises(DataError, match=r"fc1\.weight"):
        mlpnet.mlpnet()


@pytest.mark.data
def test_the_magnitude_column_is_the_published_one(real_data: Path) -> None:
    if not (real_data / mlpnet.FILE).is_file():
        pytest.skip(f"{mlpnet.FILE} is not in {real_data}")
    assert isinstance(mlpnet.mlpnet(), nn.Module)
    run = MlpNet.of("magnitude", 0)
    result = run.run()
    assert round(100 * result["dense_accuracy"], 2) == 93.97
    assert shortfalls("magnitude", [result]) == []
