"""Run the compiled kernels on rows: threads of Python, each with scratch of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["aligned", "eliminate", "load_kernels", "shares"]


@cache
def load_kernels() -> Any:
    """Import the kernels of the elimination, which need numba."""
    try:
        from strongticket.pruning.rows import _row_kernels
    except ImportError as error:
        raise ImportError(
            "this backend needs numba: pip install 'strongticket[fast]', or use backend 'torch'"
        ) from error
    return _row_kernels


def aligned(elements: int, dtype: Any) -> Any:
    """Zeros that start on a line of the cache."""
    size = np.dtype(dtype).itemsize
    raw = np.zeros(elements + 64 // size, dtype)
    start = (-raw.ctypes.data // size) % (64 // size)
    return raw[start : start + elements]


def shares(rows: int, threads: int) -> list[slice]:
    """Cut the rows into at most `threads` spans of nearly equal length, none of them empty."""
    threads = max(1, min(rows, threads))
    ends = [rows * k // threads for k in range(threads + 1)]
    return [slice(a, b) for a, b in pairwise(ends) if b > a]


def eliminate(
    weight: Tensor,  # [rows, d]
    inverse: Tensor,  # [d, d] or [rows, d, d]
    start: Tensor,  # [rows, d] bool
    steps: int,
    n_of_m: tuple[int, int] | None,
    threads: int,
) -> tuple[Tensor, Tensor]:  # [rows, steps] int64, [rows, steps] float64
    """Return order and losses; see `remove_in_order`, which checks the arguments."""
    kernels = load_kernels()
    rows, d = weight.shape
    given = [np.ascontiguousarray(tensor.cpu().numpy()) for tensor in (weight, inverse.reshape(-1, d, d), start)]
    order, losses = np.empty((rows, steps), np.int64), np.empty((rows, steps))
    pitch, deep = kernels.pitch_of(d, given[0].itemsize), kernels.panel_of(d)
    keep, group = n_of_m or (0, max(1, d))

    def work(span: slice) -> None:
        scratch = aligned(kernels.scratch_elements(d, given[0].itemsize), given[0].dtype)
        inverses = given[1] if len(given[1]) == 1 else given[1][span]
        kernels.eliminate(
            given[0][span], inverses, given[2][span], keep, group, order[span], losses[span], scratch, pitch, deep
        )

    spans = shares(rows, threads)
    if len(spans) == 1:
        work(spans[0])
    else:
        with ThreadPoolExecutor(len(spans)) as pool:
            list(pool.map(work, spans))
    return torch.from_numpy(order).to(weight.device), torch.from_numpy(losses).to(weight.device)
