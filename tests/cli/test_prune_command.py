"""`strongticket prune` as users type it: what is written, what is said, what is refused."""

from __future__ import annotations

import json
import typing
from pathlib import Path

import pytest
import torch

from strongticket import Target
from strongticket.cli import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def target(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["train", "--model", "mlp-64-24-10", "--epochs", "25", "--out", "t.safetensors"]) == 0
    capsys.readouterr()
    return "t.safetensors"


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, typing.Any]:
    assert main(["prune", *arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    value = json.loads(captured.out)
    assert isinstance(value, dict)
    return value


def test_it_prunes_a_trained_file_retrains_it_and_writes_a_target(
    target: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import strongticket.data
    from strongticket.training import accuracy

    found = as_json(
        capsys, target, "--method", "obd", "--density", "0.5", "0.15", "--retrain", "12", "--examples", "300"
    )
    assert found["examples"] == 300
    half, low = found["results"]
    assert sum(half["kept"].values()) == 888
    assert sum(low["kept"].values()) == 266
    assert half["mask_only_accuracy"] > low["mask_only_accuracy"]
    assert low["retrained_accuracy"] > low["mask_only_accuracy"] + 0.05
    assert 0 < half["predicted_increase"] < low["predicted_increase"]
    assert half["updated_accuracy"] is None  # OBD changes no survivor
    data = strongticket.data.load("digits", seed=0)
    written = Target.load(folder / low["file"])
    assert accuracy(written.module(), data.test.inputs, data.test.labels) == low["retrained_accuracy"]
    kept = {name: int(value.count_nonzero()) for name, value in written.weights.items() if value.ndim == 2}
    assert kept == low["kept"]
    assert found["dense_accuracy"] == accuracy(Target.load(target).module(), data.test.inputs, data.test.labels)
    assert low["file"] == "pruned-0.15.safetensors"


def test_without_a_file_a_network_is_trained_first_and_a_table_is_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prune", "--model", "mlp-64-12-10", "--method", "magnitude", "--allocation", "layer"]) == 0
    out = capsys.readouterr().out
    assert "mlp-64-12-10" in out
    assert "89 of 888 weights kept" in out
    assert "not predicted" in out
    weights = Target.load(folder / "pruned.safetensors").weights
    assert sum(int(value.count_nonzero()) for value in weights.values() if value.ndim == 2) == 89


def test_structures_and_rounds_reach_the_library(target: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, target, "--method", "taylor", "--structure", "2:4", "--density", "0.5")
    first = Target.load(folder / "pruned.safetensors").weights["layers.0.weight"]
    assert bool(((first != 0).view(24, -1, 4).sum(2) <= 2).all())
    assert found["results"][0]["kept"] == {"layers.0.weight": 768, "layers.1.weight": 120}
    found = as_json(capsys, target, "--method", "magnitude", "--structure", "neurons", "--density", "0.5")
    assert found["results"][0]["kept"] == {"layers.0.weight": 768}
    one = as_json(capsys, target, "--method", "obd", "--density", "0.2", "--rounds", "1")
    many = as_json(capsys, target, "--method", "obd", "--density", "0.2", "--rounds", "4")
    assert one["results"][0]["kept"] != many["results"][0]["kept"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--density", "1.5"], "in [0, 1]"),
        (["--density", "0.1", "0.1"], "a number twice"),
        (["--rounds", "0"], "--rounds"),
        (["--lr", "0.1"], "--retrain"),
        (["--examples", "0"], "--examples"),
        (["missing.safetensors"], "no target file"),
        (["--method", "obs", "--allocation", "layer"], "has no allocation"),
        (["--out", "t.safetensors/x.safetensors"], "t.safetensors"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    if "missing.safetensors" not in arguments:
        torch.manual_seed(0)
        Target.from_module(torch.nn.Sequential(torch.nn.Linear(64, 10))).save(folder / "t.safetensors")
        arguments = ["t.safetensors", *arguments]
    assert main(["prune", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not list(folder.glob("pruned*"))


def test_the_target_is_not_overwritten(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", target, "--out", target]) == 2
    assert "the target itself" in capsys.readouterr().err


def test_methods_of_the_command_are_those_of_the_library() -> None:
    from strongticket.cli._options import PruneMethod
    from strongticket.pruning import METHODS

    assert typing.get_args(PruneMethod) == tuple(METHODS)


def test_a_network_for_other_data_is_refused_by_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    small = torch.nn.Sequential(torch.nn.Linear(16, 8, bias=False), torch.nn.ReLU(), torch.nn.Linear(8, 10, bias=False))
    Target.from_module(small).save("small.safetensors")
    assert (
        main(["prune", "small.safetensors", "--method", "magnitude", "--density", "0.5", "--out", "p.safetensors"]) == 2
    )
    said = capsys.readouterr().err
    assert "mlp-16-8-10, takes 16 inputs, an example of digits has 64" in said


def test_densities_that_are_close_have_files_of_their_own(target: str, folder: Path) -> None:
    options = ["--method", "magnitude", "--density", "0.1234567", "0.1234568", "--out", "p.safetensors"]
    assert main(["prune", target, *options]) == 0
    assert (folder / "p-0.1234567.safetensors").exists()
    assert (folder / "p-0.1234568.safetensors").exists()
