"""The fast solver on a CPU: kernels compiled by numba, several threads, a few MB of scratch each."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import final

import numpy as np

from strongticket.subsetsum._exact import Ints
from strongticket.subsetsum.abstract import AbstractSubsetSumSolver, Choice
from strongticket.subsetsum.problem import Objective

__all__ = ["NumbaSolver"]

_ENUMERATED = 7  # the bitonic kernel needs four items in each half
_SIDE_BY_SIDE = 34  # beyond, eight instances side by side would need more than 64 MB
_LARGEST_EXACT = 48  # sorted halves of 2^24 sums: 512 MB


@cache
def _kernels() -> tuple[ModuleType, ModuleType]:
    try:
        from strongticket.subsetsum import _minimum_kernels, _search_kernels
    except ImportError as error:
        raise ImportError(
            "backend 'numba' needs numba: pip install 'strongticket[fast]', or use backend 'torch'"
        ) from error
    return _minimum_kernels, _search_kernels


def _aligned(elements: int) -> Ints:
    raw = np.empty(elements + 8, np.int64)
    start = (-raw.ctypes.data // 8) % 8  # to a 64-byte line, so that no vector load straddles two
    return raw[start : start + elements]


@final
class NumbaSolver(AbstractSubsetSumSolver):
    """Exact minimum up to 48 items, sparsest within eps up to 62 (above 48 complete to subsets of four only).

    min_error: enumeration (n < 8), bitonic meet in the middle (n <= 34), two pointers. sparsest: tables of sums of one
    to four items, then the exact minimum to exclude what cannot be reached, then the halves' sums by subset size.
    """

    name = "numba"
    parallel = True

    def __init__(self) -> None:
        _kernels()

    def refuse(self, n: int, objective: Objective) -> None:
        """Refuse an exact minimum that would need gigabytes."""
        if objective == "min_error" and n > _LARGEST_EXACT:
            raise ValueError(
                f"expected at most {_LARGEST_EXACT} items for the exact minimum, got {n}: "
                "use fewer items, or objective 'sparsest'"
            )

    def chunk_size(self, n: int, objective: Objective) -> int:
        """About 10 ms of work, in whole blocks of eight instances."""
        return int(min(1 << 13, max(8, 2.0 ** (22.5 - n / 2)))) // 8 * 8

    def choose(self, items: Ints, targets: Ints, objective: Objective, eps: int | None) -> Choice:
        """Run the kernel that suits n and the objective."""
        _, search_kernels = _kernels()
        batch, n = items.shape
        masks, proved = np.zeros(batch, np.int64), np.ones(batch, bool)
        if batch == 0 or n == 0:
            return Choice(masks, proved)
        limit = -1 if eps is None else eps
        if n <= _ENUMERATED:
            search_kernels.enumerate_all(items, targets, limit, objective == "sparsest", masks, _aligned(1 << n))
        elif objective == "min_error":
            self._minimum(items, targets, masks)
        else:
            search_kernels.short_sums(items, targets, limit, masks, proved)
            rows = np.flatnonzero(~proved)
            if rows.size and n <= _LARGEST_EXACT:
                masks[rows] = self._large_subsets(items[rows], targets[rows], limit)
                proved[rows] = True
        return Choice(masks, proved)

    @staticmethod
    def _minimum(items: Ints, targets: Ints, masks: Ints) -> None:
        minimum_kernels, search_kernels = _kernels()
        n = items.shape[1]
        if n <= _SIDE_BY_SIDE:
            minimum_kernels.minimum(items, targets, masks, _aligned(minimum_kernels.scratch_elements(n)))
        else:
            search_kernels.two_pointers(items, targets, masks, _aligned(4 << ((n + 1) // 2)))

    def _large_subsets(self, items: Ints, targets: Ints, eps: int) -> Ints:
        """Sparsest subsets where none of up to four items is within eps: rows that nothing reaches drop out first."""
        masks = np.zeros(len(items), np.int64)
        self._minimum(items, targets, masks)
        n = items.shape[1]
        bits = (masks[:, None] >> np.arange(n, dtype=np.int64)) & 1
        rows = np.flatnonzero(np.abs(targets - (bits * items).sum(1)) <= eps)
        if rows.size:
            found = np.zeros(rows.size, np.int64)
            scratch = _aligned((4 << ((n + 1) // 2)) + 4 * (n + 3))
            _kernels()[1].size_classes(items[rows], targets[rows], eps, found, scratch)
            masks[rows] = found
        return masks
