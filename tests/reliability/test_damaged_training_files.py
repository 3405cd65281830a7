"""A damaged checkpoint is refused whatever was damaged, and a log that a kill cut short is made whole."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch

from experiments.reliability._fuzz import chunk
from strongticket.models import MLP
from strongticket.runs import Spec
from strongticket.training import CheckpointError, Recipe, train
from strongticket.training.checkpoint import Checkpoint, Keeper
from strongticket.weak.stages import Stage, Stages

FOUND = (31, 143, 243, 258, 373, 463, 475, 1956, 5021, 13686)  # seeds of files accepted, or not refused by our error


@pytest.mark.parametrize("seed", FOUND)
def test_files_that_once_passed(seed: int) -> None:
    assert chunk("checkpoints", seed, 1)["wrong"] == []


def test_damaged_checkpoints() -> None:
    found = chunk("checkpoints", 10_000, 500)
    assert found["wrong"] == []
    assert found["counts"]["refused"] > 300


def test_a_flipped_bit_of_a_checkpoint_never_changes_a_run(tmp_path: Path) -> None:
    keeper = Keeper(Checkpoint(tmp_path), {"seed": 0}, torch.device("cpu"))
    keeper.save({"w": torch.arange(8.0)})
    whole = keeper.path.read_bytes()
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 1 << place % 8
        keeper.path.write_bytes(broken)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = keeper.load()
            except CheckpointError:
                continue
        assert found is not None
        assert list(found) == ["w"]
        assert torch.equal(found["w"], torch.arange(8.0))


def run(folder: Path) -> None:
    x = torch.rand(30, 4, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(3, 10, 0.1)
    where = Checkpoint(folder / "run")
    train(MLP((4, 3)), x, torch.arange(30) % 3, recipe, seed=1, checkpoint=where, log=folder / "log.jsonl")


def test_a_record_that_a_kill_kept_from_the_log_is_written_by_the_next_start(tmp_path: Path) -> None:
    run(tmp_path)
    whole = (tmp_path / "log.jsonl").read_text()
    assert [json.loads(line)["number"] for line in whole.splitlines()] == [1, 2, 3]
    for kept in (whole[: whole.index("\n") + 1], whole[: whole.index("\n") + 30], whole[:20], ""):
        (tmp_path / "log.jsonl").write_text(kept)  # killed between a checkpoint and its line, or in the line
        run(tmp_path)
        assert (tmp_path / "log.jsonl").read_text() == whole


def test_what_a_kill_left_beside_a_stage_goes_with_the_next_start(tmp_path: Path) -> None:
    spec, stage = Spec("demo", 1, {"seed": 0}), Stage({"x": 1}, {"w": torch.ones(2)})
    stages = Stages(tmp_path)
    stages.made(spec, lambda: stage)
    stages.path(spec).with_suffix(".lock").touch()  # killed between writing the stage and tidying up
    stages.unfinished(spec).mkdir()
    (stages.unfinished(spec) / "checkpoint.pt").write_bytes(b"half")
    assert Stages(tmp_path).made(spec, lambda: stage).record["x"] == 1
    assert list(stages.path(spec).parent.iterdir()) == [stages.path(spec)]
