"""WoodFisher (singh2020woodfisher): one-shot optimal brain surgeon with the empirical Fisher matrix."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final, get_args

import torch
from torch import Tensor

from strongticket.pruning._checks import check_memory, check_whole
from strongticket.pruning._flat import flat_mask, flat_start, flat_weights, split_flat
from strongticket.pruning.abstract import AbstractPruner, Pruned, target_counts
from strongticket.pruning.curvature.fisher import LowRankFisher, block_diagonal_inverses
from strongticket.pruning.curvature.gradients import sample_gradients
from strongticket.pruning.problem import Problem
from strongticket.pruning.shares import ALLOCATIONS, layer_counts
from strongticket.selection import Allocation
from strongticket.selection.largest import largest_unchecked

__all__ = ["Update", "WoodFisher"]

_HELD: Final = 1 << 30

Update = Literal["sum", "joint", "none"]
"""What becomes of the survivors. sum: the published rule, the updates of all single deletions added up, as if each were
the only one. joint: the minimum of the quadratic model with the deleted weights at 0. none: they stay."""


@final
@dataclass(frozen=True)
class WoodFisher(AbstractPruner):
    """Score all weights once by w^2 / (2 [F^-1]_qq), delete the least, and update the others.

    F is damping I + the mean of g g' over gradients g of the loss of single examples, or of means over groups of them.
    The same problem gives the same bits again on one machine and number of threads; between numbers of threads the last
    bits of predictions differ.

    Args:
        samples: gradients; fewer where there are fewer examples.
        group: examples per gradient; F is that many times too small, so predicted increases are multiplied by it.
        damping: above 0, in units of squared derivatives.
        block: None: the exact inverse of the whole network's F, in N x N matrices. A number: consecutive weights of a
            layer in blocks of that size, other blocks ignored, as published; gradients are then held for as many
            blocks at a time as fit in 1 GiB, and made anew for others.
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
        check_whole(samples=self.samples, group=self.group, block=self.block)
        if not 0 < self.damping < math.inf:
            raise ValueError(f"damping keeps the Fisher matrix invertible: expected above 0, got {self.damping}")
        if self.update not in get_args(Update) or self.allocation not in ALLOCATIONS:
            raise ValueError(
                f"expected an update in {get_args(Update)} and an allocation in {ALLOCATIONS}, got {self.update!r}, "
                f"{self.allocation!r}"
            )

    def path(self, problem: Problem, densities: Sequence[float]) -> tuple[Pruned, ...]:
        """Return the network pruned to each density, from the same scores.

        Raises:
            ValueError: a density outside [0, 1], what `sample_gradients` refuses, or more gradients than fit in memory.
        """
        target_counts(problem, densities)  # checks them
        index = flat_start(problem)
        model = _Whole(self, problem, index) if self.block is None else _Blocks(self, problem, index)
        kept = [self._choose(problem, index, model.scores, density) for density in densities]
        found = model.moved(kept)
        return tuple(self._record(problem, index, flags, *one) for flags, one in zip(kept, found, strict=True))

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

    def _record(self, problem: Problem, index: Tensor, kept: Tensor, weights: Tensor, increase: float) -> Pruned:
        values = torch.zeros(problem.size, dtype=torch.float64, device=index.device)
        values[index] = weights
        reached = problem.at(split_flat(problem, values), flat_mask(problem, index[kept]))
        updated = self.update != "none" and not bool(kept.all())
        stats = {"rows": _rows(self, problem)}
        return Pruned(reached.start, reached.weights, problem.module, increase, updated, self.key, stats)


def _rows(method: WoodFisher, problem: Problem) -> int:
    return min(method.samples, len(problem.data[1]) // method.group)


class _Model(ABC):
    """The quadratic model of the loss around the weights that are not pruned yet [m]."""

    def __init__(self, method: WoodFisher, problem: Problem, index: Tensor) -> None:
        self.method, self.problem, self.index = method, problem, index
        self.weights = flat_weights(problem)[index].double()
        self.diagonal = self._diagonal()
        self.scores = method.group * self.weights.square() / (2 * self.diagonal)

    @abstractmethod
    def _diagonal(self) -> Tensor:
        """Return the diagonal of the inverse [m]."""

    @abstractmethod
    def moved(self, kept: Sequence[Tensor]) -> list[tuple[Tensor, float]]:
        """Return the weights [m], 0 where they go, and the predicted increase for each choice of what is kept."""

    def gradients(self, part: slice) -> Tensor:
        """Return the rows of gradients by some of the weights, float32 or float64."""
        everything = len(self.index[part]) == self.problem.size
        made = sample_gradients(
            self.problem,
            count=self.method.samples,
            group=self.method.group,
            columns=None if everything else self.index[part],
        )
        return made if made.dtype == torch.float64 else made.float()

    def _bytes_per_weight(self) -> int:
        """Return the bytes of a column of gradients."""
        return _rows(self.method, self.problem) * (8 if flat_weights(self.problem).dtype == torch.float64 else 4)


@final
class _Whole(_Model):
    """The whole matrix, by its low rank."""

    def _diagonal(self) -> Tensor:
        copies = 2 if self.method.update == "joint" else 1
        needed = copies * len(self.index) * self._bytes_per_weight() + 32 * _rows(self.method, self.problem) ** 2
        advice = "take fewer samples, or blocks (block=...), of which a few are held at a time"
        check_memory(needed, self.index.device, "the Fisher matrix of the whole network", advice)
        self._fisher = LowRankFisher(self.gradients(slice(None)), self.method.damping)
        return self._fisher.diagonal_of_inverse()

    def moved(self, kept: Sequence[Tensor]) -> list[tuple[Tensor, float]]:
        found = []
        for flags in kept:
            values = torch.where(flags, self.weights + self._step(flags), 0.0)
            found.append((values, self.method.group * self._fisher.quadratic(values - self.weights)))
        return found

    def _step(self, kept: Tensor) -> Tensor:
        step = torch.zeros_like(self.weights)
        if self.method.update == "none":
            return step
        gone = torch.where(kept, 0.0, self.weights)
        if self.method.update == "sum":
            return -self._fisher.solve(gone / self.diagonal)
        if bool(kept.any()):
            inside = LowRankFisher(self._fisher.gradients[:, kept], self.method.damping)
            step[kept] = inside.solve(inside.transposed(self._fisher.across(gone) / self._fisher.rows))
        return step


@final
class _Blocks(_Model):
    """Blocks of consecutive weights of a layer; no more columns of gradients are held than fit in `_HELD`."""

    def _diagonal(self) -> Tensor:
        assert self.method.block is not None
        self._held: Tensor | None = None
        self._passes = self._plan(self.method.block)
        diagonal = torch.empty_like(self.weights)
        for part, _, inverse in self._blocks():
            diagonal[part] = inverse.diagonal()
        return diagonal

    def moved(self, kept: Sequence[Tensor]) -> list[tuple[Tensor, float]]:
        values = [torch.zeros_like(self.weights) for _ in kept]
        increases = [0.0] * len(kept)
        for part, gradients, inverse in self._blocks():
            before = self.weights[part]
            for i, flags in enumerate(kept):
                after = torch.where(flags[part], before + self._step(inverse, before, flags[part]), 0.0)
                values[i][part] = after
                step = after - before
                pushed = float((gradients.double() @ step).square().sum()) / len(gradients)
                increases[i] += (self.method.damping * float(step @ step) + pushed) / 2
        return [(one, self.method.group * increase) for one, increase in zip(values, increases, strict=True)]

    def _step(self, inverse: Tensor, weights: Tensor, kept: Tensor) -> Tensor:
        if self.method.update == "none":
            return torch.zeros_like(weights)
        gone = ~kept
        if self.method.update == "sum":
            return -inverse[:, gone] @ (weights[gone] / inverse.diagonal()[gone])
        factor = torch.linalg.cholesky(inverse[gone][:, gone])
        return -inverse[:, gone] @ torch.cholesky_solve(weights[gone].unsqueeze(1), factor)[:, 0]

    def _plan(self, block: int) -> list[list[slice]]:
        """Return the parts of layers, whole blocks each, whose gradients are made together."""
        most = max(1, _HELD // self._bytes_per_weight() // block) * block
        passes: list[list[slice]] = [[]]
        begin = held = 0
        for name in self.problem.names:
            end = begin + self.problem.start.counts[name]
            while begin < end:
                stop = min(begin + most, end)
                if held and held + stop - begin > most:
                    passes.append([])
                    held = 0
                passes[-1].append(slice(begin, stop))
                held += stop - begin
                begin = stop
        return passes

    def _blocks(self) -> Iterator[tuple[slice, Tensor, Tensor]]:  # (which, [N, b], [b, b])
        assert self.method.block is not None
        for parts in self._passes:
            if not parts:
                continue
            first = parts[0].start
            made = self.gradients(slice(first, parts[-1].stop)) if self._held is None else self._held
            self._held = made if len(self._passes) == 1 else None
            for part in parts:
                columns = made[:, part.start - first : part.stop - first]
                for block, inverse in block_diagonal_inverses(columns, self.method.damping, self.method.block):
                    yield slice(part.start + block.start, part.start + block.stop), columns[:, block], inverse
