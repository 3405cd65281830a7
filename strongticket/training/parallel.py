"""Data parallelism: several processes share each batch, and hold the same network, bit for bit, after every step.

Start them with ``torchrun --nproc_per_node 2 script.py``, make a process group (`process_group` does it from what
torchrun says), and train or search as ever: the group is noticed. Each process takes its part of every batch; gradients
are averaged over all examples of the batch before the step. So the run is that of one process with the whole batch, up
to the rounding of sums, with one exception: batch normalisation normalises each part by the part's own mean and
variance, as is usual, and its running statistics are the mean over the processes, made equal after every step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["ALONE", "Group", "Parallel", "process_group"]

Parallel = Literal["auto"] | bool
""""auto": take part in the default process group if there is one; True: there must be one; False: run alone."""


class Group:
    """The processes that work on one run.

    Args:
        rank: number of this one, from 0; process 0 alone writes files.
        size: how many there are; 1 means that nothing is communicated.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @classmethod
    def of(cls, parallel: Parallel) -> Group:
        """Return the group that an argument `parallel` means.

        Raises:
            RuntimeError: a group must be there, and is not.
        """
        ready = dist.is_available() and dist.is_initialized()
        if parallel is True and not ready:
            raise RuntimeError(
                "parallel=True needs a process group: start with torchrun and enter strongticket.training.process_group"
            )
        return cls(dist.get_rank(), dist.get_world_size()) if parallel and ready else ALONE

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def share(self, rows: Tensor) -> tuple[Tensor, float]:
        """Return this process's part of a batch, and the weight of its mean in the mean over the batch.

        A batch with fewer examples than processes is worked on by all of them whole.
        """
        if self.size == 1:
            return rows, 1.0
        if len(rows) < self.size:
            return rows, 1.0 / self.size
        mine = rows.tensor_split(self.size)[self.rank]
        return mine, len(mine) / len(rows)

    def average(self, module: nn.Module, weight: float, signal: bool = False) -> bool:
        """Replace gradients and floating-point buffers by their weighted mean over the processes.

        Args:
            module: its parameters that require gradients all get one.
            weight: of this process's values; the weights add up to 1.
            signal: what process 0 wants all to know.

        Returns:
            The signal of process 0.
        """
        if self.size == 1:
            return signal
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        moving = [parameter.grad for parameter in parameters if parameter.grad is not None]
        moving += [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        flat = torch.cat([value.detach().reshape(-1).float() for value in moving])
        flat = torch.cat([flat * weight, flat.new_tensor([float(signal and self.first)])])
        dist.all_reduce(flat)
        at = 0
        with torch.no_grad():
            for value in moving:
                value.copy_(flat[at : at + value.numel()].view(value.shape))
                at += value.numel()
        return bool(flat[-1] > 0.5)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over the processes."""
        if self.size == 1:
            return value
        out = value.clone()
        dist.all_reduce(out)
        return out

    def require_equal(self, what: str, text: str) -> None:
        """Refuse to go on where processes disagree.

        Raises:
            RuntimeError: the text is not the same in all processes; raised in all of them.
        """
        if self.size == 1:
            return
        texts: list[Any] = [None] * self.size
        dist.all_gather_object(texts, text)
        others = [rank for rank, other in enumerate(texts) if other != texts[0]]
        if others:
            raise RuntimeError(f"{what} differ between process 0 and processes {others}: give all the same arguments")

    def device(self, device: str | torch.device | None) -> torch.device | None:
        """Return the device meant; a bare "cuda" is this process's own."""
        if device is None:
            return None
        chosen = torch.device(device)
        if str(chosen) == "cuda" and self.size > 1:
            own = int(os.environ.get("LOCAL_RANK", self.rank % max(1, torch.cuda.device_count())))
            torch.cuda.set_device(own)
            return torch.device("cuda", own)
        return chosen


ALONE = Group()
"""A process by itself."""


@contextmanager
def process_group(device: str = "cpu") -> Iterator[Group]:
    """Join the processes that torchrun started, over nccl on GPUs and gloo elsewhere; outside torchrun, do nothing.

    >>> with process_group() as group:
    ...     print(group.size)
    1
    """
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield Group.of("auto")
        return
    if torch.device(device).type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.device(device).type == "cuda" else "gloo")
    try:
        yield Group.of(True)
    finally:
        dist.destroy_process_group()
