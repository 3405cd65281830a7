"""Runs that several processes share, for the tests of `Torchrun`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def exact_search(params: dict[str, Any]) -> dict[str, Any]:
    """A search whose sums are exact, with a checkpoint after every step; rank 1 may be killed on the way, once.

    Scores move by signs of gradients of small integers, so that no sum is rounded, however the batch is split.
    """
    from strongticket.runs import checkpoint_folder
    from strongticket.training.checkpoint import digest
    from strongticket.training.parallel import Group

    group, folder = Group.of("auto"), checkpoint_folder()
    generator = torch.Generator().manual_seed(params["seed"])
    inputs = torch.randint(-2, 3, (16, 12), generator=generator).double()
    scores = torch.randint(-8, 9, (12,), generator=generator).double()
    begin = 0
    if folder is not None and (folder / "scores.pt").exists():
        begin, scores = torch.load(folder / "scores.pt", weights_only=True)
    for step in range(begin, 12):
        mine = inputs.tensor_split(group.size)[group.rank]
        mask = (scores >= scores.sort().values[6]).double()
        scores = scores - group.total((mine * (mine @ mask).unsqueeze(1)).sum(0)).sign()
        if group.first and folder is not None:
            torch.save((step + 1, scores), folder / "new.pt")
            (folder / "new.pt").replace(folder / "scores.pt")
        if group.size > 1:
            dist.barrier()
        marker = Path(params["kill"]) if params["kill"] else None
        if step == 5 and marker is not None and group.rank == 1 and not marker.exists():
            marker.write_text(str(begin))
            os.kill(os.getpid(), signal.SIGKILL)
    mask = scores >= scores.sort().values[6]
    return {"mask": digest(mask), "kept": mask.nonzero().flatten().tolist(), "measured": {"began": begin}}


def unequal(params: dict[str, Any]) -> dict[str, Any]:
    """A run that does not end in the same state everywhere."""
    return {"rank": dist.get_rank()}


def hopeless(params: dict[str, Any]) -> dict[str, Any]:
    """A run that fails as a function may."""
    raise ValueError("no such luck")


def stuck(params: dict[str, Any]) -> dict[str, Any]:
    """A run that never ends, and leaves the numbers of its processes."""
    import time

    (Path(params["folder"]) / f"{os.getpid()}.pid").touch()
    while True:
        time.sleep(1)
