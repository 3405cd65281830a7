"""All subsets in plain numpy: the slow solver that the fast ones are compared with."""

from __future__ import annotations

from typing import final

import numpy as np

from strongticket.subsetsum._exact import LOOSEST
from strongticket.subsetsum.abstract import AbstractSubsetSumSolver, Choice
from strongticket.subsetsum.batch import Batch
from strongticket.subsetsum.goal import Goal, Objective

__all__ = ["BruteForceSolver"]

_LARGEST = 16
_SCRATCH = 1 << 22  # subset sums held at a time: 32 MB


@final
class BruteForceSolver(AbstractSubsetSumSolver):
    """Compare all 2^n subsets, n <= 16, keeping the tie rule always.

    >>> BruteForceSolver().solve([[5, -2, 8]], [4]).chosen(3).tolist()
    [[True, False, False]]
    """

    name = "brute"
    reads_only = True

    def most_items(self, objective: Objective) -> int:
        """More cannot be enumerated in reasonable time."""
        return _LARGEST

    def chunk_size(self, n: int, goal: Goal, sharing: float = 1.0) -> int:
        """Bound the table of subset sums."""
        return max(1, _SCRATCH >> n)

    def choose(self, batch: Batch, goal: Goal) -> Choice:
        """Look at every subset, in order of size and mask, so that the first best one wins its ties."""
        items, n = batch.rows(), batch.n
        sums = np.zeros((len(batch), 1), np.int64)
        idle = np.zeros((len(batch), 1), bool)  # subsets with a zero item: never chosen
        for i in range(n):
            sums = np.concatenate([sums, sums + items[:, i : i + 1]], axis=1)
            idle = np.concatenate([idle, idle | (items[:, i : i + 1] == 0)], axis=1)
        masks = np.arange(1 << n, dtype=np.int64)
        size = ((masks[:, None] >> np.arange(n, dtype=np.int64)) & 1).sum(1)
        order = np.argsort(size, kind="stable")
        error = np.where(idle, LOOSEST, np.abs(batch.targets[:, None] - sums))[:, order]
        if goal.objective == "fixed_size":
            error = np.where(size[order] == goal.size, error, LOOSEST)
        elif goal.objective == "sparsest":
            hit = error <= goal.limit
            smallest = size[order][hit.argmax(axis=1)]
            wrong = np.any(hit, axis=1, keepdims=True) & (size[order] != smallest[:, None])
            error = np.where(wrong, LOOSEST, error)
        sure = np.ones(len(batch), bool)
        return Choice(masks[order[error.argmin(axis=1)]], sure, sure)
