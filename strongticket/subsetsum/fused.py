"""The solver for GPUs: the exact minimum in one fused Triton kernel, everything else on the same device by torch."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module
from typing import Any, final

import numpy as np
import torch

from strongticket.subsetsum._exact import Ints
from strongticket.subsetsum.abstract import AbstractSubsetSumSolver, Choice
from strongticket.subsetsum.batch import Batch
from strongticket.subsetsum.goal import Goal, Objective
from strongticket.subsetsum.portable import Keys, TorchSolver, beyond_the_ends, key_bits

__all__ = ["TritonSolver", "launch_shape"]

_FEWEST, _MOST = 8, 26  # items of the kernel: fewer are padded, more are left to torch
_WORDS = 512  # 32-bit words of a quarter of the merged list that a warp holds, of about five times as many altogether
_RUN = 32  # targets of one pool that a program does one after the other
_CHUNK = 1 << 19


def launch_shape(n: int, bits: int) -> tuple[int, int]:
    """Instances side by side in one program, and its warps, so that the lists fit the registers.

    >>> launch_shape(12, 32), launch_shape(20, 32), launch_shape(26, 64)
    ((16, 1), (1, 1), (1, 16))
    """
    words = (1 << (n // 2 - 1)) * (bits // 32)
    return max(1, min(32, _WORDS // words)), max(1, words // _WORDS)


@final
class TritonSolver(AbstractSubsetSumSolver):
    """Exact minimum of up to 26 items by a kernel that keeps an instance in registers from the items to the mask.

    Other objectives, and more items, are left to `TorchSolver` on the same device. On a machine without a GPU the
    kernel runs, slowly, in Triton's interpreter, if TRITON_INTERPRET=1 is in the environment before triton is
    imported for the first time.

    Triton compiles one kernel for each number of items and width of keys, which takes from a second (n = 8) to a
    minute (n = 26), and keeps it on disk.

    Args:
        device: a CUDA (or ROCm) device as torch names it.
        keys: width of the sums: "auto" takes int32 where a chunk's numbers allow.

    Raises:
        ImportError: triton is not installed.
        RuntimeError: there is no GPU and the interpreter is not switched on.
    """

    name = "triton"
    reads_only = True

    def __init__(self, device: str | torch.device = "cuda", keys: Keys = "auto") -> None:
        try:
            kernels: Any = import_module("strongticket.subsetsum._triton_kernels")
        except ImportError as error:
            raise ImportError("the triton backend needs triton: pip install 'strongticket[triton]'") from error
        self._kernel = kernels.minimum
        self._widths = {32: kernels.tl.int32, 64: kernels.tl.int64}
        self.interpreted = type(self._kernel).__name__ == "InterpretedFunction"
        if not torch.cuda.is_available():
            if not self.interpreted:
                raise RuntimeError(
                    "expected a CUDA device for backend 'triton', got none: use 'numba' or 'torch', "
                    "or set TRITON_INTERPRET=1 before triton is imported to run its interpreter on the CPU"
                )
            device = "cpu"
        self.device = torch.device(device)
        self._rest = TorchSolver(self.device, keys)
        self.keys: Keys = keys

    def most_items(self, objective: Objective) -> int:
        """As many as torch takes."""
        return self._rest.most_items(objective)

    def chunk_size(self, n: int, goal: Goal, sharing: float = 1.0) -> int:
        """The kernel needs no scratch memory: only the items and targets lie on the device."""
        if self._fused(n, goal):
            return _CHUNK
        return self._rest.chunk_size(n, goal, sharing)

    def choose(self, batch: Batch, goal: Goal) -> Choice:
        """Launch the kernel, or delegate."""
        if not self._fused(batch.n, goal) or len(batch) == 0:
            return self._rest.choose(batch, goal)
        return beyond_the_ends(
            batch, lambda inside: self._launch(inside, key_bits(inside.items, self.keys)).cpu().numpy()
        )

    def choose_sizes(self, batch: Batch) -> Ints:  # [batch, n + 1]
        """By torch."""
        return self._rest.choose_sizes(batch)

    def _fused(self, n: int, goal: Goal) -> bool:
        return goal.objective == "min_error" and 0 < n <= _MOST

    def _launch(self, batch: Batch, bits: int) -> torch.Tensor:  # [batch]
        items = batch.items
        if batch.n < _FEWEST:
            items = np.pad(items, ((0, 0), (0, _FEWEST - batch.n)))
        n = items.shape[1]
        group, warps = launch_shape(n, bits)
        x, z = self._tensor(items), self._tensor(batch.targets)
        masks = torch.empty_like(z)
        runs, tables = len(batch), (z, z, z)
        if batch.pool is not None:
            arrays = _runs(batch.pool, _RUN)
            runs, tables = len(arrays[0]), (self._tensor(arrays[0]), self._tensor(arrays[1]), self._tensor(arrays[2]))
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            self._kernel[(-(-runs // group),)](
                x, z, *tables, masks, runs, n=n, GROUP=group, SHARED=batch.pool is not None, KEY=self._widths[bits],
                PEAK=1 << (bits - 2), num_warps=warps, num_stages=1, enable_fp_fusion=False,
            )  # fmt: skip
        return masks

    def _tensor(self, values: Ints) -> torch.Tensor:
        return torch.from_numpy(values if values.flags.writeable else values.copy()).to(self.device)


def _runs(pool: Ints, longest: int) -> tuple[Ints, Ints, Ints]:
    """Rows, starts and lengths of the stretches of equal entries of an ascending array, cut to `longest`."""
    starts = np.flatnonzero(np.diff(pool, prepend=pool[0] - 1))
    lengths = np.diff(starts, append=len(pool))
    pieces = -(-lengths // longest)
    which = np.repeat(np.arange(len(starts)), pieces)
    piece = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    start = starts[which] + piece * longest
    count = np.minimum(lengths[which] - piece * longest, longest)
    return pool[start], start.astype(np.int64), count.astype(np.int64)
