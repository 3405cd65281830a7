"""The portable compiled solver: plain loops, no vector types, for processors whose vectors are narrow."""

from __future__ import annotations

from typing import final

import numpy as np

from strongticket.subsetsum._exact import Ints
from strongticket.subsetsum.abstract import AbstractSubsetSumSolver, Choice
from strongticket.subsetsum.batch import Batch
from strongticket.subsetsum.compiled import (
    FEW,
    LARGEST_EXACT,
    aligned,
    choose_few,
    fixed_size_by_classes,
    fronts_by_classes,
    load_kernels,
    sparsest_by_classes,
)
from strongticket.subsetsum.goal import Goal, Objective

__all__ = ["PlainSolver"]

_LARGEST_HASHED = 34  # beyond, the chains of the hash join would need more memory than sorted halves
_LARGEST_BY_SIZE = 40


@final
class PlainSolver(AbstractSubsetSumSolver):
    """Exact minimum by a hash join (n <= 34) or two pointers (n <= 48); everything else by the halves' size classes.

    An algorithm of its own, so also an independent check of the vector kernels.
    """

    name = "numba-plain"
    parallel = True
    reads_only = True

    def __init__(self) -> None:
        load_kernels()

    def most_items(self, objective: Objective) -> int:
        """Memory sets the limits."""
        return LARGEST_EXACT if objective == "min_error" else _LARGEST_BY_SIZE

    def chunk_size(self, n: int, goal: Goal, sharing: float = 1.0) -> int:
        """About 10 ms of work."""
        return int(min(1 << 12, max(4, 2.0 ** (21 - n / 2))))

    def choose(self, batch: Batch, goal: Goal) -> Choice:
        """Run the kernel that suits n and the objective."""
        if batch.n <= FEW or not len(batch):
            return choose_few(batch, goal)
        masks, proved, ties = np.zeros(len(batch), np.int64), np.ones(len(batch), bool), np.zeros(len(batch), bool)
        if goal.objective == "fixed_size":
            assert goal.size is not None
            fixed_size_by_classes(batch, goal.size, masks)
            return Choice(masks, proved, ties)
        self._minimum(batch, masks)
        if goal.objective == "sparsest":
            rows = np.flatnonzero(np.abs(batch.errors(masks)) <= goal.limit)
            if rows.size:
                found = np.zeros(rows.size, np.int64)
                sparsest_by_classes(batch.take(rows), goal, 0, found)
                masks[rows] = found
        return Choice(masks, proved, ties)

    def choose_sizes(self, batch: Batch) -> Ints:
        """All sizes at once."""
        return fronts_by_classes(batch)

    @staticmethod
    def _minimum(batch: Batch, masks: Ints) -> None:
        plain, n = load_kernels().plain, batch.n
        if n > _LARGEST_HASHED:
            plain.two_pointers(batch.rows(), batch.targets, masks, aligned(plain.pointer_elements(n)))
        else:
            chains = aligned(plain.head_elements(n), np.int32)
            plain.hash_join(batch.rows(), batch.targets, masks, aligned(plain.hash_elements(n)), chains)
