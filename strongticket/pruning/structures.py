"""What goes together: single weights, N of M neighbours, whole neurons, whole channels; exact counts in each case."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from strongticket.mask import Mask
from strongticket.pruning.shares import layer_counts
from strongticket.selection import Allocation, kept_count, largest, largest_global

__all__ = ["AbstractStructure", "Channels", "Neurons", "NofM", "Unstructured"]


class AbstractStructure(ABC):
    """How saliencies become a mask."""

    key: ClassVar[str]

    @abstractmethod
    def select(self, scores: Mapping[str, Tensor], left: Mask, density: float, allocation: Allocation) -> Mask:
        """Return what is kept of `left`.

        Args:
            scores: saliencies, finite, one per weight.
            left: what may be kept.
            density: fraction kept of all entries (weights or groups, see the structure), pruned before or not.
            allocation: how layers share it.

        Raises:
            ValueError: parameters that do not have this structure, or a density that it cannot give.
        """

    def density(self, left: Mask) -> float:
        """Return which fraction of all entries (weights or groups) is left, what `select` would call its density."""
        return left.density


@final
@dataclass(frozen=True)
class Unstructured(AbstractStructure):
    """Remove single weights: exactly kept_count(density, all weights) stay, or all that are left if those are fewer.

    >>> scores = {"w": torch.tensor([[3.0, 1.0, 2.0]])}
    >>> Unstructured().select(scores, Mask.full({"w": (1, 3)}), 0.7, "global")["w"]
    tensor([[ True, False,  True]])
    """

    key: ClassVar[str] = "unstructured"

    def select(self, scores: Mapping[str, Tensor], left: Mask, density: float, allocation: Allocation) -> Mask:
        """Return the mask of the largest saliencies."""
        return Mask(_keep(scores, {name: left[name] for name in scores}, left.shapes, density, allocation))


@final
@dataclass(frozen=True)
class NofM(AbstractStructure):
    """Keep n of each m consecutive inputs of an output: 2 of 4 is what sparse tensor cores compute with.

    Consecutive means in the memory order of a weight: inputs of a matrix; channels, rows and columns of a kernel, the
    last one fastest. The density is n / m and nothing else, whatever the allocation; groups of which an earlier pruning
    left fewer than n keep all of these. Outputs whose number of inputs m does not divide are refused: pad the layer, or
    leave it out with `names`.

    Args:
        n: kept of each group, 0 to m.
        m: size of a group, at least 1.

    >>> scores = {"w": torch.tensor([[3.0, 1.0, 2.0, 4.0]])}
    >>> NofM(2, 4).select(scores, Mask.full({"w": (1, 4)}), 0.5, "global")["w"]
    tensor([[ True, False, False,  True]])
    """

    n: int = 2
    m: int = 4
    key: ClassVar[str] = "n-of-m"

    def __post_init__(self) -> None:
        if not (self.m >= 1 and 0 <= self.n <= self.m):
            raise ValueError(f"expected 0 <= n <= m and m >= 1, got n={self.n} and m={self.m}")

    def select(self, scores: Mapping[str, Tensor], left: Mask, density: float, allocation: Allocation) -> Mask:
        """Return the mask of the n largest saliencies of each group; of equal ones the last."""
        self.check({name: tuple(score.shape) for name, score in scores.items()}, density)
        kept = {}
        for name, score in scores.items():
            alive = left[name].to(score.device).reshape(-1, self.m)
            ranks = torch.where(alive, score.reshape(-1, self.m), -math.inf)
            # a stable ascending sort of which the end is taken: of equal values the one of the highest index
            chosen = ranks.argsort(dim=1, stable=True)[:, self.m - self.n :]
            marks = torch.zeros_like(alive).scatter_(1, chosen, True) & alive
            kept[name] = marks.view(score.shape)
        return Mask(kept)

    def check(self, shapes: Mapping[str, tuple[int, ...]], density: float) -> None:
        """Refuse another density than n / m, and parameters that groups do not divide.

        Raises:
            ValueError: see above.
        """
        if abs(density * self.m - self.n) > 1e-9 * self.m:
            raise ValueError(f"{self.n} of {self.m} has the density {self.n / self.m:.6g} only, got {density}")
        for name, shape in shapes.items():
            inputs = math.prod(shape[1:])
            if inputs % self.m:
                raise ValueError(
                    f"{name} has {inputs} inputs per output, which groups of {self.m} do not divide: pad the layer, or "
                    "give the names of the others"
                )


@final
@dataclass(frozen=True)
class Neurons(AbstractStructure):
    """Remove neurons: whole rows of matrices, exactly kept_count(density, rows) of the rows of all of them.

    The layer that follows still has inputs for the neurons that went, and biases stay: a dead neuron is the constant
    that its bias makes. Leave the output layer out with `names`, or classes go.

    Args:
        rank_by: a neuron is as important as the sum of its weights' saliencies, or as their mean, which lets rows of
            different lengths compete on equal terms.
    """

    rank_by: Literal["sum", "mean"] = "sum"
    key: ClassVar[str] = "neurons"

    def select(self, scores: Mapping[str, Tensor], left: Mask, density: float, allocation: Allocation) -> Mask:
        """Return the mask of the most important rows."""
        _require(scores, matrix=True)
        return _select_rows(scores, left, density, allocation, self.rank_by)

    def density(self, left: Mask) -> float:
        """Return the fraction of the neurons that have a weight left."""
        return _density_of_rows(left)


@final
@dataclass(frozen=True)
class Channels(AbstractStructure):
    """Remove output channels of convolutions, exactly kept_count(density, channels) of the channels of all of them.

    The layer that follows still has inputs for the channels that went: taking these out is left to whoever rebuilds the
    network.

    Args:
        rank_by: see `Neurons`.
    """

    rank_by: Literal["sum", "mean"] = "sum"
    key: ClassVar[str] = "channels"

    def select(self, scores: Mapping[str, Tensor], left: Mask, density: float, allocation: Allocation) -> Mask:
        """Return the mask of the most important channels."""
        _require(scores, matrix=False)
        return _select_rows(scores, left, density, allocation, self.rank_by)

    def density(self, left: Mask) -> float:
        """Return the fraction of the channels that have a weight left."""
        return _density_of_rows(left)


def _require(scores: Mapping[str, Tensor], *, matrix: bool) -> None:
    for name, score in scores.items():
        if (score.ndim == 2) is not matrix or score.ndim < 2:
            what, other = ("matrices", "Channels for kernels") if matrix else ("kernels", "Neurons for matrices")
            raise ValueError(
                f"{name} has shape {tuple(score.shape)}, and only {what} have this structure: give the names of the "
                f"others, or use {other}"
            )


def _select_rows(
    scores: Mapping[str, Tensor], left: Mask, density: float, allocation: Allocation, rank_by: str
) -> Mask:
    flat = {name: left[name].to(score.device).flatten(1) for name, score in scores.items()}
    ranks = {}
    for name, score in scores.items():
        total = torch.where(flat[name], score.flatten(1).double(), 0.0).sum(1)
        ranks[name] = total / score[0].numel() if rank_by == "mean" and len(score) else total
    rows = _keep(ranks, {name: alive.any(1) for name, alive in flat.items()}, left.shapes, density, allocation)
    return Mask({name: (rows[name][:, None] & flat[name]).view(scores[name].shape) for name in scores})


def _density_of_rows(left: Mask) -> float:
    alive = [left[name].flatten(1).any(1) for name in left]
    return sum(int(rows.sum()) for rows in alive) / max(1, sum(rows.numel() for rows in alive))


def _keep(
    ranks: Mapping[str, Tensor],
    alive: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    density: float,
    allocation: Allocation,
) -> dict[str, Tensor]:
    """Mark the largest ranks among what is alive; counts are of all entries, and never more than there are."""
    alive = {name: alive[name].to(rank.device) for name, rank in ranks.items()}
    only = {name: torch.where(alive[name], rank, -math.inf) for name, rank in ranks.items()}
    left = {name: int(value.sum()) for name, value in alive.items()}
    sizes = {name: rank.numel() for name, rank in ranks.items()}
    count = min(sum(left.values()), kept_count(density, sum(sizes.values())))
    if allocation == "global":
        return largest_global(only, count)
    counts = layer_counts({name: shapes[name] for name in ranks}, count, allocation, sizes=sizes, left=left)
    return {name: largest(value, counts[name]) for name, value in only.items()}
