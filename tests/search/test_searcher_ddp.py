"""A user's own loop with DistributedDataParallel: two gloo processes search as one, bit for bit where sums are exact.

Floating-point sums depend on how they are split, unless nothing is rounded. Here nothing is: inputs are small integers,
weights are powers of two (fans of 8 and 32), the loss is half a squared error and batches have 2^k examples, so that
every gradient is a short dyadic fraction, whoever adds it up.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, os, sys
import torch
import torch.distributed as dist
from torch import nn
from strongticket.models import MLP
from strongticket.search import EdgePopup, GemMiner, IteRand, Searcher, SignedSupermask, random_source
from strongticket.training import process_group
from strongticket.training.checkpoint import digest

torch.set_num_threads(1)
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
g = torch.Generator().manual_seed(0)
x = torch.randint(-2, 3, (12, 16, 8), generator=g).float()  # 12 batches of 16
y = torch.randint(-3, 4, (12, 16, 2), generator=g).float()

def search(method, fused, exact=True):
    searcher = Searcher(random_source(MLP((8, 32, 2)), seed=3), method, seed=4, fused=fused)
    net = nn.parallel.DistributedDataParallel(searcher.module) if size > 1 else searcher.module
    seen = []
    for step in range(24):
        inputs, wanted = (part[step % 12].tensor_split(size)[rank] for part in (x, y))
        if not exact:
            inputs = inputs / 3
        loss = (net(inputs) - wanted).square().sum(1).mean() / 2
        searcher.zero_grad()
        loss.backward()
        gradients = [p.grad.clone() for p in searcher.module.parameters()]
        searcher.step(lr=0.01, progress=(step + 1) / 24)
        masks = {name: mask.int() for name, mask in searcher.masks().items()}
        seen.append([digest(gradients), digest(masks)])
    kept = {name: mask.flatten().int().tolist() for name, mask in searcher.masks().items()}
    matches = searcher.ticket().matches(searcher.module)
    return {"steps": seen, "ticket": searcher.ticket().digest, "scores": digest(searcher.scores), "kept": kept,
            "matches": matches, "changed": len({mask for _, mask in seen})}

out = {"rank": rank}
with process_group():
    out["fused"] = search(EdgePopup(0.5), True)
    out["plain"] = search(EdgePopup(0.5), False)
    for method in (IteRand(0.5, period=5), SignedSupermask(), GemMiner(0.3, stages=3)):
        out[method.key] = search(method, False)
    out["rounded"] = search(EdgePopup(0.5), True, exact=False)
print(json.dumps(out))
"""
EXACT = ("fused", "plain", "iterand", "signed-supermask", "gem-miner")


def start(size: int) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(size):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **own, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "-c", PROGRAM]
        processes.append(subprocess.Popen(command, cwd=Path(__file__).parents[2], env=environment, **pipes))
    return processes


@pytest.fixture(scope="module")
def runs() -> list[dict[str, Any]]:
    """What two processes together and one alone made of the same program."""
    processes = [*start(2), *start(1)]
    try:
        said = [process.communicate(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(error for _, error in said)
    return [json.loads(out) for out, _ in said]


def test_masks_and_scores_are_the_same_bits_in_both_processes(runs: list[dict[str, Any]]) -> None:
    first, second, _ = runs
    assert (first["rank"], second["rank"]) == (0, 1)
    for kind in (*EXACT, "rounded"):
        assert first[kind] == second[kind], kind
        assert first[kind]["matches"]


def test_they_are_those_of_one_process_with_the_whole_batches(runs: list[dict[str, Any]]) -> None:
    both, _, alone = runs
    for kind in EXACT:
        assert both[kind]["steps"] == alone[kind]["steps"], kind  # every gradient and every mask of every step
        assert both[kind]["scores"] == alone[kind]["scores"], kind
        assert both[kind]["ticket"] == alone[kind]["ticket"], kind
        assert alone[kind]["changed"] > 2, f"{kind} hardly searched"


def test_where_sums_are_rounded_they_differ_little(runs: list[dict[str, Any]]) -> None:
    both, _, alone = (run["rounded"] for run in runs)
    assert both["steps"] != alone["steps"]  # otherwise the test above would show nothing
    for name, mask in alone["kept"].items():
        assert sum(a != b for a, b in zip(mask, both["kept"][name], strict=True)) <= 0.05 * len(mask)
