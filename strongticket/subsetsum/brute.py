"""All subsets in plain numpy: the slow solver that the fast ones are compared with."""

from __future__ import annotations

from typing import final

import numpy as np

from strongticket.subsetsum._exact import LOOSEST, Ints
from strongticket.subsetsum.abstract import AbstractSubsetSumSolver, Choice
from strongticket.subsetsum.problem import Objective

__all__ = ["BruteForceSolver"]

_LARGEST = 16
_SCRATCH = 1 << 22  # subset sums held at a time: 32 MB


@final
class BruteForceSolver(AbstractSubsetSumSolver):
    """Compare all 2^n subsets, n <= 16. Ties: smallest error, then fewest items, then smallest mask.

    >>> BruteForceSolver().solve([[5, -2, 8]], [4]).chosen(3).tolist()
    [[True, False, False]]
    """

    name = "brute"

    def refuse(self, n: int, objective: Objective) -> None:
        """Refuse more items than can be enumerated in reasonable time."""
        if n > _LARGEST:
            raise ValueError(f"expected at most {_LARGEST} items for backend 'brute', got {n}: use 'numba' or 'torch'")

    def chunk_size(self, n: int, objective: Objective) -> int:
        """Bound the table of subset sums."""
        return max(1, _SCRATCH >> n)

    def choose(self, items: Ints, targets: Ints, objective: Objective, eps: int | None) -> Choice:
        """Look at every subset, in order of size and mask, so that the first best one wins its ties."""
        batch, n = items.shape
        sums = np.zeros((batch, 1), np.int64)
        for i in range(n):
            sums = np.concatenate([sums, sums + items[:, i : i + 1]], axis=1)
        masks = np.arange(1 << n, dtype=np.int64)
        size = ((masks[:, None] >> np.arange(n, dtype=np.int64)) & 1).sum(1)
        order = np.argsort(size, kind="stable")
        error = np.abs(targets[:, None] - sums[:, order])
        if objective == "sparsest" and eps is not None:
            hit = error <= eps
            smallest = size[order][hit.argmax(axis=1)]
            wrong = hit.any(axis=1)[:, None] & (size[order] != smallest[:, None])
            error = np.where(wrong, LOOSEST, error)
        return Choice(masks[order[error.argmin(axis=1)]], np.ones(batch, bool))
