"""Prune layer by layer in one sweep over the columns: the cheap relative of ExactOBS (SparseGPT, Frantar 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from strongticket.pruning.abstract import AbstractPruner, Pruned, target_counts
from strongticket.pruning.curvature.gram import LinearMap
from strongticket.pruning.problem import Problem
from strongticket.pruning.rows.layerwise import Block, assemble, blocks_of, check_damping
from strongticket.pruning.rows.refit import row_losses
from strongticket.pruning.shares import check_allocation, layer_counts
from strongticket.selection import Allocation, largest
from strongticket.training.loop import thread_count

__all__ = ["SparseGPT"]


@final
@dataclass(frozen=True)
class SparseGPT(AbstractPruner):
    """Decide the columns in their order, a block at a time over all rows; only weights further right make up for it.

    One Cholesky factor of H^-1 serves all rows, so that a layer costs d^3 + rows d^2; the masks are worse than those of
    `ExactOBS`. Where columns are pruned before, H is not restricted to the rest of a row: such weights take part until
    their column's turn.

    Args:
        block: columns that are chosen among together; at least 1.
        damping: added to the diagonal of H, as a multiple of its mean.
        refit: whether survivors move to where the loss is least, which they are not after the sweep.
        allocation: how layers share the count: "layer", "erdos-renyi" or "erdos-renyi-kernel".

    >>> inputs = torch.eye(3).repeat(2, 1)
    >>> layer = torch.nn.Linear(3, 1, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.5, -2.0, 1.0]]))
    >>> SparseGPT().prune(Problem.of(layer, (inputs, None)), 1 / 3).weights["weight"].tolist()
    [[0.0, -2.0, 0.0]]
    """

    block: int = 128
    damping: float = 0.01
    refit: bool = False
    allocation: Allocation = "layer"
    key: ClassVar[str] = "sparsegpt"

    def __post_init__(self) -> None:
        check_damping(self.damping)
        if self.block < 1:
            raise ValueError(f"expected blocks of at least one column, got {self.block}")
        check_allocation(self.allocation, competing=False)  # the sweep needs the counts of layers beforehand

    def path(self, problem: Problem, densities: Sequence[float]) -> tuple[Pruned, ...]:
        """Return the network pruned to each density.

        Raises:
            ValueError: see `ExactOBS.path`.
        """
        counts = target_counts(problem, densities)
        plans = [layer_counts(problem.shapes, n, self.allocation, left=problem.start.counts) for n in counts]
        kept: list[dict[LinearMap, list[Tensor]]] = [{} for _ in plans]
        values: list[dict[LinearMap, list[Tensor]]] = [{} for _ in plans]
        losses: list[dict[LinearMap, float]] = [{} for _ in plans]
        with thread_count(1):  # sums of several threads round in an order of their own
            for own, blocks in blocks_of(problem, self.damping):
                factors = [_factor(block) for block in blocks]
                for i, plan in enumerate(plans):
                    swept = self._swept(blocks, factors, plan[own.name])
                    kept[i][own], values[i][own] = [mask for mask, _ in swept], [rows for _, rows in swept]
                    losses[i][own] = sum(
                        float(row_losses(rows, block.original, block.gram).sum())
                        for (_, rows), block in zip(swept, blocks, strict=True)
                    )
                del blocks, factors  # before the next layer is made
        made = zip(kept, values, losses, strict=True)
        return tuple(assemble(problem, self.key, *one, updated=True) for one in made)

    def _swept(self, blocks: Sequence[Block], factors: Sequence[Tensor], count: int) -> list[tuple[Tensor, Tensor]]:
        """What is kept of each block of a layer, and its rows."""
        shares = layer_counts(
            {str(i): tuple(block.start.shape) for i, block in enumerate(blocks)},
            count,
            left={str(i): int(block.start.sum()) for i, block in enumerate(blocks)},
        )
        swept = []
        for i, (block, factor) in enumerate(zip(blocks, factors, strict=True)):
            mask, rows = _sweep(block, factor, shares[str(i)], self.block)
            swept.append((mask, block.best(mask) if self.refit else rows))
        return swept


def _factor(block: Block) -> Tensor:
    """The upper triangular U with H^-1 = U^T U: its row i, from i on, is that of the inverse without columns before."""
    factor: Tensor = torch.linalg.cholesky(block.inverse, upper=True)
    return factor


def _sweep(block: Block, factor: Tensor, count: int, width: int) -> tuple[Tensor, Tensor]:
    """Return what is kept of a block and the weights after the sweep."""
    rows = block.target.clone()
    start = block.start
    kept = torch.zeros_like(start)
    left = start.sum(0).cumsum(0).tolist()  # of the start, up to and with each column
    total = left[-1] if left else 0
    done = 0
    for first in range(0, rows.shape[1], width):
        stop = min(rows.shape[1], first + width)
        goal = -(-2 * count * left[stop - 1] // total) // 2 if total else 0  # the block's share of the count
        span = slice(first, stop)
        diagonal = factor.diagonal()[span]
        score = torch.where(start[:, span], (rows[:, span] / diagonal).square(), -1.0)
        score = torch.where(block.dead[span] & start[:, span], 0.0, score)
        chosen = largest(score, goal - done)
        done = goal
        kept[:, span] = chosen
        errors = torch.zeros_like(score)
        for i in range(stop - first):
            column = first + i
            gone = torch.where(chosen[:, i], 0.0, rows[:, column] / diagonal[i])
            rows[:, column:stop] -= gone[:, None] * factor[column, column:stop]
            errors[:, i] = gone
        rows[:, stop:] -= errors @ factor[span, stop:]
    return kept, torch.where(block.dead & kept, block.original, rows * kept)
