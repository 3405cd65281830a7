"""Checkpoints: interrupted runs end with the bits of runs that were not; other arguments and damage are refused."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strongticket.training import Checkpoint, CheckpointError, Recipe, initialise, train
from strongticket.training.checkpoint import digest


class Interrupted(Exception):
    pass


class Stops(nn.Identity):
    """Raises once, after as many training steps as `left` says."""

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and left:
            left[0] -= 1
            if left[0] < 0:
                left.clear()
                raise Interrupted
        return inputs


left: list[int] = []


def network() -> nn.Module:
    layers = [Stops(), nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(64, 3))


def start() -> nn.Module:
    net = network()
    for part in (net[1], net[-1]):
        part.load_state_dict(initialise(part, 7).state_dict())
    return net


IMAGES = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(30) % 3
RECIPE = Recipe(4, 8, 0.01, schedule="cosine", warmup=1, label_smoothing=0.1, augmentation="crop-flip", held_out=0.2)


def run(**options: Any) -> Any:
    return train(start(), IMAGES, LABELS, options.pop("recipe", RECIPE), seed=options.pop("seed", 5), **options)


@pytest.mark.parametrize("stop", [0, 2, 3, 4, 7, 11])  # 3 steps an epoch: at its start, in its middle, at its end
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, stop: int, optimiser: str) -> None:
    recipe = RECIPE.changed(optimiser=optimiser)
    whole = run(recipe=recipe)
    settings = Checkpoint(tmp_path, every_seconds=0.0)
    left[:] = [stop]
    with pytest.raises(Interrupted):
        run(recipe=recipe, checkpoint=settings, log=tmp_path / "log.jsonl")
    assert (tmp_path / "checkpoint.pt").exists() == (stop > 0)
    again = run(recipe=recipe, checkpoint=settings, log=tmp_path / "log.jsonl")
    assert digest(again.module.state_dict()) == digest(whole.module.state_dict())
    assert again.history == whole.history
    assert again.best_epoch == whole.best_epoch
    numbers = [json.loads(line)["number"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert numbers == [1, 2, 3, 4]


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    first = run(checkpoint=tmp_path)
    left[:] = [0]
    again = run(checkpoint=tmp_path)  # takes no training step, or it would stop
    left.clear()
    assert digest(again.module.state_dict()) == digest(first.module.state_dict())
    assert again.history == first.history


def test_epochs_between_checkpoints(tmp_path: Path) -> None:
    left[:] = [9]
    with pytest.raises(Interrupted):
        run(checkpoint=Checkpoint(tmp_path, every_epochs=2))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    assert len(state["history"]) == 2
    assert state["batch"] == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"seed": 6}, "seed 5 there, 6 now"),
        ({"recipe": RECIPE.changed(lr=0.02)}, "recipe"),
        ({"validation": (IMAGES[:5], LABELS[:5])}, "data differs"),
        ({"threads": 2}, "threads 1 there, 2 now"),
    ],
)
def test_other_arguments_are_refused(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    run(checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match=f"another run: .*{named}"):
        run(checkpoint=tmp_path, **options)
    other = start()
    with torch.no_grad():
        other[1].weight[0, 0, 0, 0] += 1
    with pytest.raises(CheckpointError, match="network differs"):
        train(other, IMAGES, LABELS, RECIPE, seed=5, checkpoint=tmp_path)


@pytest.mark.parametrize("damage", ["cut", "text", "pickle", "format"])
def test_a_damaged_file_is_reported_and_kept(tmp_path: Path, damage: str) -> None:
    run(checkpoint=tmp_path)
    path = tmp_path / "checkpoint.pt"
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "text":
        path.write_bytes(b"not a checkpoint")
    elif damage == "pickle":
        torch.save({"format": Path("evil")}, path)
    else:
        torch.save({**torch.load(path, weights_only=True), "format": "slt-checkpoint/0"}, path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="delete it"):
        run(checkpoint=tmp_path)
    assert path.read_bytes() == before


def test_a_log_does_not_replace_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("chapter 1\n")
    with pytest.raises(ValueError, match="no log of epochs"):
        run(log=tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "chapter 1\n"
    (tmp_path / "log.jsonl").write_text('{"number": 1}\n{"numb')  # a run that was killed while writing
    run(log=tmp_path / "log.jsonl")
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 4


PROGRAM = """
import sys, time
import torch
from strongticket.search.find import find
from strongticket.training import Checkpoint
torch.manual_seed(int(sys.argv[2]))
x = torch.randn(600, 20, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
checkpoint = None if sys.argv[1] == "none" else Checkpoint(sys.argv[1], every_seconds=0.01)
slow = (lambda epoch: time.sleep(0.03)) if sys.argv[2] == "1" else None
found = find("mlp-20-60-4", x, y, "digits", epochs=40, seed=3, validation=(x[:90], y[:90]), checkpoint=checkpoint,
             progress=slow)
print(found.ticket.digest, found.best_epoch, [e.loss for e in found.history][-1])
"""


def test_killed_in_the_middle_the_ticket_is_the_same(tmp_path: Path) -> None:
    """kill -9 cannot be caught, delayed or tidied up after."""
    folder = tmp_path / "run"

    def command(slow: str) -> list[str]:
        return [sys.executable, "-c", PROGRAM, str(folder), slow]

    killed = subprocess.Popen(command("1"), stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while not (folder / "checkpoint.pt").exists():
        assert time.monotonic() < deadline, "no checkpoint was written"
        assert killed.poll() is None, "the run ended before it was killed"
        time.sleep(0.01)
    time.sleep(0.15)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not killed.communicate()[0]
    at = torch.load(folder / "checkpoint.pt", weights_only=True)["state"]
    assert len(at["history"]) < 40  # perhaps in the middle of the first epoch
    both = subprocess.run(command("0"), capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    from strongticket.search.find import find

    x = torch.randn(600, 20, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    whole = find("mlp-20-60-4", x, y, "digits", epochs=40, seed=3, validation=(x[:90], y[:90]))
    assert both.stdout.split() == [whole.ticket.digest, str(whole.best_epoch), str(whole.history[-1].loss)]
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.pt"]


def test_tensorboard_is_asked_for_by_name_and_optional(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(ImportError, match="pip install tensorboard"):
            run(tensorboard=tmp_path)
    else:
        run(tensorboard=tmp_path)
        assert any(path.name.startswith("events") for path in tmp_path.iterdir())
