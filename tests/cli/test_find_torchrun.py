"""`torchrun --nproc-per-node 2 -m strongticket find`: one ticket file, one report, the same mask in both processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from strongticket.ticketfile import load

WATCHED = """
import os, sys
from pathlib import Path
from strongticket.cli import _find, _searching, main
from strongticket.training.checkpoint import digest

find, save = _find.find, _searching.save

def watching(*arguments, **options):
    found = find(*arguments, **options)
    told = [found.ticket.digest, digest(dict(found.masks)), str(torch.distributed.get_world_size())]
    Path(f"rank{os.environ['RANK']}").write_text(" ".join(told))
    return found

def saving(path, *arguments, **options):
    with open("saved", "a") as file:
        file.write(os.environ["RANK"])
    if "--fail" in sys.argv:
        raise OSError("the disk is full")
    save(path, *arguments, **options)

import torch
_find.find, _searching.save = watching, saving
sys.exit(main([word for word in sys.argv[1:] if word != "--fail"]))
"""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
FIND = ["find", "--data", "digits", "--model", "mlp-64-32-10", "--epochs", "2", "--json"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    module, words = (["-m"], arguments[1:]) if arguments[0] == "-m" else ([], arguments)
    command = [
        *TORCHRUN,
        *module,
        "--",
        *words,
    ]  # without the dashes torchrun takes --log for a start of its own options
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_one_ticket_one_report_and_equal_masks(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    (tmp_path / "watched.py").write_text(WATCHED)
    done = run(tmp_path, "watched.py", *FIND, "--log", "log.jsonl", "--checkpoint", "state")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)  # once, or it would be no JSON
    first, second = ((tmp_path / f"rank{rank}").read_text().split() for rank in (0, 1))
    assert first == second
    assert first[2] == "2"
    assert load(tmp_path / "ticket.slt").digest == value["ticket_digest"] == first[0]
    assert (tmp_path / "saved").read_text() == "0"
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
    assert {path.name for path in tmp_path.glob("*.slt")} == {"ticket.slt"}


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_a_report_that_fails_lets_nobody_wait(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    (tmp_path / "watched.py").write_text(WATCHED)
    done = run(tmp_path, "watched.py", *FIND, "--fail")
    assert done.returncode != 0
    assert done.stderr.count("strongticket: the disk is full") == 1
    assert done.stdout == ""
