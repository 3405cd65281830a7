"""Data parallelism with two processes over gloo: equal masks everywhere, and the run of one process up to rounding."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from strongticket.training import process_group
from strongticket.training.parallel import ALONE, Group

PROGRAM = """
import json, sys
import torch
from torch import nn
from strongticket.search import Searcher
from strongticket.search.find import find
from strongticket.training import Checkpoint, Recipe, initialise, process_group, train
from strongticket.training.checkpoint import digest

torch.set_num_threads(1)
folder, out = sys.argv[1], {}
g = torch.Generator().manual_seed(0)
images, labels = torch.randn(65, 1, 8, 8, generator=g), torch.arange(65) % 3  # the last batch has one example
images[:, 0, 0, 0] += 3 * labels
flat = images.flatten(1)

def search(network, x, **options):
    options = {"epochs": 4, "batch_size": 16, "seed": 1, "validation": (x[:9], labels[:9]), **options}
    found = find(network, x, labels, "digits", **options)
    masks = {name: mask.flatten().int().tolist() for name, mask in found.masks.items()}
    return [found.ticket.digest, found.history[0].loss, found.history[-1].validation_accuracy, masks]

def resnet(**options):
    return search("resnet8x0.25-3+1x8x8", images, **options)

def refusals():
    try:
        search("mlp-64-20-3", flat, seed=group.rank)
    except RuntimeError as error:
        out["mismatch"] = str(error)
    whole, left = Searcher.step, [8]
    def stopping(self, *arguments, **options):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        whole(self, *arguments, **options)
    Searcher.step = stopping
    settings = Checkpoint(folder, every_seconds=0.0)
    try:
        resnet(checkpoint=settings)
    except KeyboardInterrupt:
        out["interrupted at"] = torch.load(folder + "/checkpoint.pt", weights_only=True)["state"]["batch"]
    Searcher.step = whole
    out["resumed"] = resnet(checkpoint=settings)

with process_group() as group:
    out["rank"] = [group.rank, group.size]
    out["mlp"] = search("mlp-64-20-3", flat)
    out["resnet"] = resnet()
    net = initialise(nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)), 0)
    dense = train(net[:2].append(net[3]), flat, labels, Recipe(2, 16, 0.01, keep_best=False), seed=2)
    out["dense"] = [p.flatten().tolist() for p in dense.module.parameters()]
    out["dropout"] = digest(train(net, flat, labels, epochs=1, batch_size=16, lr=0.1).module.state_dict())
    if group.size > 1:
        refusals()
print(json.dumps(out))
"""


def start(folder: Path, size: int) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(size):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
        environment = {**os.environ, **own, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "-c", PROGRAM, str(folder)]
        processes.append(subprocess.Popen(command, cwd=Path(__file__).parents[2], env=environment, **pipes))
    return processes


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes together and one alone made of the same program."""
    folder = tmp_path_factory.mktemp("parallel")
    processes = [*start(folder / "two", 2), *start(folder / "one", 1)]
    try:
        said = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(error for _, error in said)
    return [json.loads(out) for out, _ in said]


def test_two_processes_hold_the_same_bits(runs: list[dict[str, Any]]) -> None:
    first, second, _ = runs
    assert [first.pop("rank"), second.pop("rank")] == [[0, 2], [1, 2]]
    assert first == second


def test_they_do_what_one_does(runs: list[dict[str, Any]]) -> None:
    both, _, alone = runs
    assert both["mlp"][1] == pytest.approx(alone["mlp"][1], rel=1e-5)
    for name, mask in alone["mlp"][3].items():
        differ = sum(a != b for a, b in zip(mask, both["mlp"][3][name], strict=True))
        assert differ <= 0.02 * len(mask)
    for mine, theirs in zip(both["dense"], alone["dense"], strict=True):
        torch.testing.assert_close(torch.tensor(mine), torch.tensor(theirs), rtol=0, atol=2e-3)
    # batch normalisation sees halves of the batches, so networks with it go their own way, but as well
    assert both["resnet"][1] == pytest.approx(alone["resnet"][1], rel=0.2)


def test_dropout_draws_differ_between_processes_but_not_their_networks(runs: list[dict[str, Any]]) -> None:
    assert runs[0]["dropout"] == runs[1]["dropout"] != runs[2]["dropout"]


def test_interrupted_together_they_end_with_the_same_ticket(runs: list[dict[str, Any]]) -> None:
    assert runs[0]["interrupted at"] == 3  # of the second epoch: in its middle
    assert runs[0]["resumed"] == runs[0]["resnet"]


def test_different_arguments_are_noticed(runs: list[dict[str, Any]]) -> None:
    assert "arguments differ between process 0 and processes [1]" in runs[0]["mismatch"]
    assert runs[0]["mismatch"] == runs[1]["mismatch"]


def test_a_process_alone() -> None:
    with process_group() as group:
        assert (group.rank, group.size) == (0, 1)
    assert Group.of("auto") is ALONE
    assert Group.of(False) is ALONE
    with pytest.raises(RuntimeError, match="process group"):
        Group.of(True)
    assert str(ALONE.device("cuda")) == "cuda"


@pytest.mark.parametrize(("count", "size"), [(10, 3), (3, 3), (7, 2)])
def test_shares_of_a_batch_are_disjoint_and_weigh_one(count: int, size: int) -> None:
    rows = torch.randperm(count)
    parts = [Group(rank, size).share(rows) for rank in range(size)]
    assert torch.equal(torch.cat([part for part, _ in parts]), rows)
    assert sum(weight for _, weight in parts) == pytest.approx(1)
    assert all(weight == pytest.approx(len(part) / count) for part, weight in parts)
    few = [Group(rank, size).share(rows[:1]) for rank in range(size)]
    assert all(torch.equal(part, rows[:1]) and weight == 1 / size for part, weight in few)
