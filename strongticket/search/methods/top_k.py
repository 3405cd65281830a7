"""Methods that keep the largest scores, exactly so many of them: edge-popup and its closest relatives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor

from strongticket.reading import binary, mean_magnitude
from strongticket.search.layers import Layer, ScoreInit
from strongticket.search.methods.abstract import LATER, AbstractMethod, MethodState, check_whole
from strongticket.search.methods.annealing import AbstractAnnealing, Levels
from strongticket.search.methods.frozen import Frozen
from strongticket.selection import ALLOCATIONS, Allocation, allocate, kept_count
from strongticket.selection.allocation import check_bounds
from strongticket.selection.largest import check_density, largest_unchecked

__all__ = ["AbstractTopK", "Biprop", "EdgePopup", "IteRand", "SignedTopK"]


@dataclass(frozen=True, repr=False)
class AbstractTopK(AbstractMethod):
    """Methods that keep the largest scores: exactly round(density * size) of them, ties by index.

    Args:
        density: fraction of the weights that is kept, in [0, 1].
        allocation: how it is shared among layers, see `strongticket.selection.Allocation`.
        levels: with L levels the density falls in L equal stretches of the search as density^(l/L), l = 1..L
            (annealing); 1: the final density from the start.
        annealing: another way down to the density, see `AbstractAnnealing`.
        frozen: what is settled at random before the search; the rest competes for what the density leaves.
        biases: whether random vectors are searched too. Wherever a bias is searched with its layer's weights (`names`
            of a searcher can say so as well), both have scores and share one count (Fischer & Burkholz 2022).
    """

    density: float = 0.5
    allocation: Allocation = "layer"
    levels: int = 1
    annealing: AbstractAnnealing | None = field(default=None, kw_only=True, metadata=LATER)
    frozen: Frozen | None = field(default=None, kw_only=True, metadata=LATER)
    biases: bool = field(default=False, kw_only=True, metadata=LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_density(self.density)
        check_allocation(self.allocation)
        check_whole("levels", self.levels)
        if self.levels > 1 and self.annealing is not None:
            raise ValueError(f"the density falls in {self.levels} levels or as {self.annealing} says: choose one")

    @property
    def absolute(self) -> bool:
        """Whether scores are ranked by magnitude."""
        return True

    @property
    def moves(self) -> bool:
        """Whether the density falls on the way."""
        return self.levels > 1 or self.annealing is not None

    def density_at(self, progress: float) -> float:
        """Return the density at a share of the search."""
        return (self.annealing or Levels(self.levels)).density_at(self.density, progress)

    def counts(self, layers: Sequence[Layer], progress: float) -> list[int]:
        """Return how many scores each layer keeps, or one number for all where they compete.

        Weights that are kept by freezing have no scores, and are not counted here. While the density is on its way
        down it counts as the nearest that freezing allows.

        Raises:
            ValueError: the density cannot be had, because of what is frozen.
        """
        if (self.frozen is None) != all(layer.frozen is None for layer in layers):
            raise ValueError(f"layers and method differ in what is frozen ({self.frozen}): find and Searcher freeze it")
        density = self.density_at(progress)
        if self.allocation == "global":
            total, bounds = sum(layer.total for layer in layers), _sum(layer.bounds for layer in layers)
            return [self._within("the network", kept_count(density, total), bounds, density) - bounds[0]]
        counts = self._allocated(layers, density)
        return [counts[layer.name] - layer.bounds[0] for layer in layers]

    def _allocated(self, layers: Sequence[Layer], density: float) -> dict[str, int]:
        shapes = {layer.name: layer.shape for layer in layers}
        sizes = {layer.name: layer.total for layer in layers}
        bounds = {layer.name: layer.bounds for layer in layers}
        if self.frozen is None:
            return allocate(shapes, density, self.allocation, sizes=sizes)
        if self.allocation in ("layer", "supsup"):
            counts = allocate(shapes, density, self.allocation, sizes=sizes)
            return {name: self._within(name, count, bounds[name], density) for name, count in counts.items()}
        total = sum(sizes.values())
        count = self._within("the network", kept_count(density, total), _sum(bounds.values()), density)
        return allocate(shapes, count / total, self.allocation, sizes=sizes, bounds=bounds)

    def _within(self, name: str, count: int, bounds: tuple[int, int], density: float) -> int:
        """The count, refused if freezing does not allow it; on the way down the nearest one that it allows."""
        if density != self.density:
            return min(max(count, bounds[0]), bounds[1])
        return check_bounds(name, count, bounds)

    def masks(self, layers: Sequence[Layer], scores: Sequence[Tensor], state: MethodState) -> list[Tensor]:
        """Mark the largest scores."""
        ranks = [score.abs() if self.absolute else score for score in scores]
        return largest_of_layers(ranks, self.counts(layers, state.progress))

    def slope(self, score: Tensor, weight: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
        """Return sign(S) W G, or W G where scores themselves are ranked."""
        slope = weight * gradient
        return score.sign() * slope if self.absolute else slope


def check_allocation(allocation: str) -> None:
    """Refuse what is no allocation.

    Raises:
        ValueError: it is not.
    """
    if allocation not in ALLOCATIONS:
        raise ValueError(f"expected an allocation in {ALLOCATIONS}, got {allocation!r}")


def largest_of_layers(ranks: Sequence[Tensor], counts: Sequence[int]) -> list[Tensor]:
    """Mark so many of the largest of each layer [size], or of all together where there is one count for them."""
    if len(counts) == 1 and len(ranks) > 1:
        together = largest_unchecked(torch.cat(list(ranks)), counts[0])
        return list(torch.split(together, [len(rank) for rank in ranks]))
    return [largest_unchecked(rank, count) for rank, count in zip(ranks, counts, strict=True)]


def _sum(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    lows, highs = zip(*pairs, strict=True)
    return sum(lows), sum(highs)


@final
@dataclass(frozen=True, repr=False)
class EdgePopup(AbstractTopK):
    """Edge-popup (Ramanujan et al. 2020): keep the largest |S|; dL/dS = sign(S) W G for kept and dropped alike.

    Args:
        density, allocation, levels, annealing, frozen, biases: see `AbstractTopK`.
        score_transform: "abs" as published, or "identity": rank S itself, dL/dS = W G (the variant of Chijiwa et al.
            2021, published under the same name; another algorithm).
        score_init: see `AbstractMethod`.
    """

    score_transform: Literal["abs", "identity"] = "abs"
    key = "edge-popup"
    score_init: ScoreInit = "kaiming-uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.score_transform not in ("abs", "identity"):
            raise ValueError(f"expected score_transform 'abs' or 'identity', got {self.score_transform!r}")

    @property
    def absolute(self) -> bool:
        """Whether |S| is ranked."""
        return self.score_transform == "abs"


@final
@dataclass(frozen=True, repr=False)
class Biprop(AbstractTopK):
    """Multi-prize tickets (Diffenderfer & Kailkhura 2021): binary weights alpha sign(W), alpha = mean kept |W|.

    The gradient drops alpha: dL/dS = sign(S) |W| sign(W) G = sign(S) W G.

    Args:
        density, allocation, levels, annealing, frozen, biases: see `AbstractTopK`.
        score_init: see `AbstractMethod`.
    """

    key = "biprop"
    score_init: ScoreInit = "kaiming-uniform"
    reading = "binary"

    def weigh(self, weight: Tensor, mask: Tensor) -> Tensor:
        """Return alpha sign(W) M, alpha to the last bit that of the ticket."""
        return binary(weight, mean_magnitude(weight * mask, mask.sum())) * mask


@final
@dataclass(frozen=True, repr=False)
class IteRand(AbstractTopK):
    """Iterative randomisation (Chijiwa et al. 2021): now and then dropped weights are drawn anew; scores stay.

    Args:
        density, allocation, levels, annealing, frozen, biases: see `AbstractTopK`.
        period: steps between redraws (K_per).
        rate: share of the dropped weights that is redrawn (r).
        score_init: see `AbstractMethod`.
    """

    period: int = 300
    rate: float = 0.1
    key = "iterand"
    score_init: ScoreInit = "relu-uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("period", self.period)
        if not 0 <= self.rate <= 1:
            raise ValueError(f"expected rate in [0, 1], got {self.rate}")

    @property
    def absolute(self) -> bool:
        """Scores themselves are ranked."""
        return False


@final
@dataclass(frozen=True, repr=False)
class SignedTopK(AbstractTopK):
    """Signed supermasks with a density: of K that are kept, the larger half has the highest scores and counts as 1.

    The other floor(K / 2), which have the lowest scores, count as -1; all others are dropped. dL/dS = W G, as in Koster
    et al. 2022, who fix thresholds instead (`SignedSupermask`). Weights that are kept by freezing count as 1.

    Args:
        density, allocation, levels, annealing, frozen, biases: see `AbstractTopK`.
        score_init: see `AbstractMethod`.
    """

    key = "signed-top-k"
    score_init: ScoreInit = "xavier-uniform"

    @property
    def absolute(self) -> bool:
        """Scores themselves are ranked."""
        return False

    def masks(self, layers: Sequence[Layer], scores: Sequence[Tensor], state: MethodState) -> list[Tensor]:
        """Return 1 for the highest scores and -1 for the lowest: the two ends of a stable ascending sort."""
        counts = self.counts(layers, state.progress)
        high = largest_of_layers(scores, [count - count // 2 for count in counts])
        # the first ones of an ascending sort are the last ones of the other way round
        flipped = [-score.flip(0) for score in reversed(scores)]
        low = largest_of_layers(flipped, [count // 2 for count in reversed(counts)])
        return [up.float() - down.flip(0).float() for up, down in zip(high, reversed(low), strict=True)]
