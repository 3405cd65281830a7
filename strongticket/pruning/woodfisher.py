"""WoodFisher (singh2020woodfisher): one-shot optimal brain surgeon with the empirical Fisher matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final, get_args

import torch
from torch import Tensor

from strongticket.pruning._flat import flat_mask, flat_start, flat_weights, split_flat
from strongticket.pruning.abstract import AbstractPruner, Pruned, target_counts
from strongticket.pruning.curvature.fisher import LowRankFisher, block_diagonal_inverses
from strongticket.pruning.curvature.gradients import sample_gradients
from strongticket.pruning.problem import Problem
from strongticket.pruning.shares import ALLOCATIONS, layer_counts
from strongticket.selection import Allocation
from strongticket.selection.largest import largest_unchecked

__all__ = ["Update", "WoodFisher"]

Update = Literal["sum", "joint", "none"]
"""What becomes of the survivors. sum: the published rule, the updates of all single deletions added up, as if each were
the only one. joint: the minimum of the quadratic model with the deleted weights at 0. none: they stay."""


@final
@dataclass(frozen=True)
class WoodFisher(AbstractPruner):
    """Score all weights once by w^2 / (2 [F^-1]_qq), delete the least, and update the others.

    F is damping I + the mean of g g' over gradients g of the loss of single examples, or of means over groups of them.

    Args:
        samples: gradients; fewer where there are fewer examples.
        group: examples per gradient; F is that many times too small, so predicted increases are multiplied by it.
        damping: above 0, in units of squared derivatives.
        block: None: the exact inverse of the whole network's F, in N x N matrices. A number: consecutive weights of a
            layer in blocks of that size, other blocks ignored, as published.
        update: see `Update`.
        allocation: "global": all weights compete; otherwise each layer keeps what `layer_counts` says.

    >>> from torch import nn
    >>> data = torch.eye(3), torch.tensor([0, 1, 1])
    >>> WoodFisher().prune(Problem.of(nn.Linear(3, 2), data), 0.5).mask.count
    3
    """

    key: ClassVar[str] = "woodfisher"

    samples: int = 1000
    group: int = 1
    damping: float = 1e-5
    block: int | None = None
    update: Update = "sum"
    allocation: Allocation = "global"

    def __post_init__(self) -> None:
        if min(self.samples, self.group, 1 if self.block is None else self.block) < 1:
            raise ValueError(
                f"expected samples, group and block of at least 1, got {self.samples}, {self.group}, {self.block}"
            )
        if not 0 < self.damping < math.inf:
            raise ValueError(f"damping keeps the Fisher matrix invertible: expected above 0, got {self.damping}")
        if self.update not in get_args(Update) or self.allocation not in ALLOCATIONS:
            raise ValueError(
                f"expected an update in {get_args(Update)} and an allocation in {ALLOCATIONS}, got {self.update!r}, "
                f"{self.allocation!r}"
            )

    def path(self, problem: Problem, densities: Sequence[float]) -> tuple[Pruned, ...]:
        """Return the network pruned to each density, from the same scores."""
        target_counts(problem, densities)  # checks them
        index = flat_start(problem)
        gradients = sample_gradients(
            problem, count=self.samples, group=self.group, columns=None if len(index) == problem.size else index
        )
        model = _Model(self, problem, index, gradients if gradients.dtype == torch.float64 else gradients.float())
        kept = [self._choose(problem, index, model.scores, density) for density in densities]
        moved = model.updates(kept)
        return tuple(
            self._record(problem, index, flags, steps, model) for flags, steps in zip(kept, moved, strict=True)
        )

    def _choose(self, problem: Problem, index: Tensor, scores: Tensor, density: float) -> Tensor:  # [m] bool
        (count,) = target_counts(problem, (density,))
        if self.allocation == "global":
            return largest_unchecked(scores, count)
        left = problem.start.counts
        counts = layer_counts(problem.shapes, count, self.allocation, left=left)
        parts = torch.split(scores, [left[name] for name in problem.names])
        return torch.cat(
            [largest_unchecked(part, counts[name]) for name, part in zip(problem.names, parts, strict=True)]
        )

    def _record(self, problem: Problem, index: Tensor, kept: Tensor, step: Tensor, model: _Model) -> Pruned:
        values = torch.zeros(problem.size, dtype=torch.float64, device=index.device)
        values[index] = torch.where(kept, model.weights + step, 0.0)
        reached = problem.at(split_flat(problem, values), flat_mask(problem, index[kept]))
        increase = self.group * model.increase(values[index] - model.weights)
        updated = self.update != "none" and not bool(kept.all())
        return Pruned(
            reached.start, reached.weights, problem.module, increase, updated, self.key, {"rows": len(model.gradients)}
        )


class _Model:
    """The quadratic model of the loss around the weights that are not pruned yet [m]."""

    def __init__(self, method: WoodFisher, problem: Problem, index: Tensor, gradients: Tensor) -> None:
        self.method = method
        self.gradients = gradients
        self.weights = flat_weights(problem)[index].double()
        self._counts = [problem.start.counts[name] for name in problem.names]
        self._whole = LowRankFisher(gradients, method.damping) if method.block is None else None
        if self._whole is not None:
            self._diagonal = self._whole.diagonal_of_inverse()
        else:
            self._diagonal = torch.empty_like(self.weights)
            for part, inverse in self._blocks():
                self._diagonal[part] = inverse.diagonal()
        self.scores = method.group * self.weights.square() / (2 * self._diagonal)

    def updates(self, kept: Sequence[Tensor]) -> list[Tensor]:
        """Return what is added to the weights [m] for each choice of what is kept."""
        if self.method.update == "none":
            return [torch.zeros_like(self.weights)] * len(kept)
        if self._whole is not None:
            return [self._whole_update(self._whole, flags) for flags in kept]
        steps = [torch.zeros_like(self.weights) for _ in kept]
        for part, inverse in self._blocks():
            for step, flags in zip(steps, kept, strict=True):
                step[part] = self._block_update(inverse, self.weights[part], flags[part])
        return steps

    def increase(self, step: Tensor) -> float:
        """Return what the model says of a step [m]."""
        if self._whole is not None:
            return self._whole.quadratic(step)
        rows, total = len(self.gradients), self.method.damping * float(step @ step)
        for part in self._parts():
            total += float((self.gradients[:, part].double() @ step[part]).square().sum()) / rows
        return total / 2

    def _whole_update(self, fisher: LowRankFisher, kept: Tensor) -> Tensor:
        gone = torch.where(kept, 0.0, self.weights)
        if self.method.update == "sum":
            return -fisher.solve(gone / self._diagonal)
        step = torch.zeros_like(gone)
        if bool(kept.any()):
            inside = LowRankFisher(self.gradients[:, kept], self.method.damping)
            step[kept] = inside.solve(inside.transposed(fisher.across(gone) / fisher.rows))
        return step

    def _block_update(self, inverse: Tensor, weights: Tensor, kept: Tensor) -> Tensor:
        gone = ~kept
        if self.method.update == "sum":
            return -inverse[:, gone] @ (weights[gone] / inverse.diagonal()[gone])
        factor = torch.linalg.cholesky(inverse[gone][:, gone])
        return -inverse[:, gone] @ torch.cholesky_solve(weights[gone].unsqueeze(1), factor)[:, 0]

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        assert self.method.block is not None
        begin = 0
        for count in self._counts:
            columns = self.gradients[:, begin : begin + count]
            for part, inverse in block_diagonal_inverses(columns, self.method.damping, self.method.block):
                yield slice(begin + part.start, begin + part.stop), inverse
            begin += count

    def _parts(self) -> Iterator[slice]:
        assert self.method.block is not None
        begin = 0
        for count in self._counts:
            for start in range(begin, begin + count, self.method.block):
                yield slice(start, min(start + self.method.block, begin + count))
            begin += count
