"""The family of mask searches, each exactly as published: how scores choose a subnetwork, and how gradients reach them.

Weights W never change. A method turns scores S into effective weights We, which the network runs with, and the
gradient G = dL/dWe back into a slope of the scores. All are straight-through estimators: the choice itself has no
derivative, so it is given one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from strongticket import random
from strongticket.reading import Kind, binary, mean_magnitude, rescaled
from strongticket.search.layers import Layer, ScoreInit
from strongticket.selection import ALLOCATIONS, Allocation, allocate, kept_count
from strongticket.selection.largest import check_density, largest_unchecked

__all__ = [
    "AbstractMethod",
    "AbstractTopK",
    "Bernoulli",
    "Biprop",
    "EdgePopup",
    "GemMiner",
    "IteRand",
    "Multicoated",
    "SignedSupermask",
]


class AbstractMethod(ABC):
    """What distinguishes one mask search from another; instances are frozen dataclasses."""

    key: str
    score_init: ScoreInit
    reading: Kind = "plain"
    """How a ticket reads the kept weights, before factors."""
    clamp: tuple[float, float] | None = None
    """Range that scores are brought back into before each step."""
    samples: bool = False
    """Whether the mask is drawn anew at every step."""

    @property
    def moves(self) -> bool:
        """Whether the choice depends on how much of the search is over."""
        return False

    @abstractmethod
    def masks(self, layers: Sequence[Layer], scores: Sequence[Tensor], state: MethodState) -> list[Tensor]:
        """Return what each weight is multiplied by, per layer [size]: bool, or small integers as float."""

    @abstractmethod
    def slope(self, score: Tensor, weight: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
        """Return dL/dS of a layer [size] from G = dL/dWe."""

    def weigh(self, weight: Tensor, mask: Tensor) -> Tensor:
        """Return the effective weights of a layer."""
        return weight * mask


@dataclass
class MethodState:
    """What a search remembers besides the scores: where it is, and what was settled for good.

    Attributes:
        progress: share of the search that is over, in [0, 1].
        step: number of steps taken.
        seed: of the draws that a method makes.
        alive: Gem-Miner's survivors, per layer; None for others. Made by the first choice.
        thresholds: fixed thresholds, per layer; None for others. Made by the first choice.
    """

    progress: float = 0.0
    step: int = 0
    seed: int = 0
    alive: list[Tensor] | None = None
    thresholds: list[Tensor] | None = None


def _check_allocation(allocation: str) -> None:
    if allocation not in ALLOCATIONS:
        raise ValueError(f"expected an allocation in {ALLOCATIONS}, got {allocation!r}")


@dataclass(frozen=True)
class AbstractTopK(AbstractMethod):
    """Methods that keep the largest scores: exactly round(density * size) of them, ties by index.

    Args:
        density: fraction of the weights that is kept, in [0, 1].
        allocation: how it is shared among layers, see `strongticket.selection.Allocation`.
        levels: with L levels the density falls in L equal stretches of the search as density^(l/L), l = 1..L
            (annealing); 1: the final density from the start.
    """

    density: float = 0.5
    allocation: Allocation = "layer"
    levels: int = 1

    def __post_init__(self) -> None:
        check_density(self.density)
        _check_allocation(self.allocation)
        if self.levels < 1:
            raise ValueError(f"expected levels >= 1, got {self.levels}")

    @property
    def absolute(self) -> bool:
        """Whether scores are ranked by magnitude."""
        return True

    @property
    def moves(self) -> bool:
        """Whether the density falls on the way."""
        return self.levels > 1

    def density_at(self, progress: float) -> float:
        """Return the density at a share of the search."""
        level = min(self.levels, math.floor(progress * self.levels + 1e-9) + 1)
        return float(self.density ** (level / self.levels))

    def counts(self, layers: Sequence[Layer], progress: float) -> list[int]:
        """Return how many scores each layer keeps, or one number for all where they compete."""
        density = self.density_at(progress)
        if self.allocation == "global":
            return [kept_count(density, sum(layer.size for layer in layers))]
        counts = allocate({layer.name: layer.shape for layer in layers}, density, self.allocation)
        return [counts[layer.name] for layer in layers]

    def masks(self, layers: Sequence[Layer], scores: Sequence[Tensor], state: MethodState) -> list[Tensor]:
        """Mark the largest scores."""
        ranks = [score.abs() if self.absolute else score for score in scores]
        counts = self.counts(layers, state.progress)
        if self.allocation == "global":
            together = largest_unchecked(torch.cat(ranks), counts[0])
            return list(torch.split(together, [layer.size for layer in layers]))
        return [largest_unchecked(rank, count) for rank, count in zip(ranks, counts, strict=True)]

    def slope(self, score: Tensor, weight: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
        """Return sign(S) W G, or W G where scores themselves are ranked."""
        slope = weight * gradient
        return score.sign() * slope if self.absolute else slope


@final
@dataclass(frozen=True)
class EdgePopup(AbstractTopK):
    """Edge-popup (Ramanujan et al. 2020): keep the largest |S|; dL/dS = sign(S) W G for kept and dropped alike.

    Args:
        density, allocation, levels: see `AbstractTopK`.
        score_transform: "abs" as published, or "identity": rank S itself, dL/dS = W G (the variant of Chijiwa et al.
            2021, published under the same name; another algorithm).
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
@dataclass(frozen=True)
class Biprop(AbstractTopK):
    """Multi-prize tickets (Diffenderfer & Kailkhura 2021): binary weights alpha sign(W), alpha = mean kept |W|.

    The gradient drops alpha: dL/dS = sign(S) |W| sign(W) G = sign(S) W G.
    """

    key = "biprop"
    score_init: ScoreInit = "kaiming-uniform"
    reading = "binary"

    def weigh(self, weight: Tensor, mask: Tensor) -> Tensor:
        """Return alpha sign(W) M, alpha to the last bit that of the ticket."""
        return binary(weight, mean_magnitude(weight * mask, mask.sum())) * mask


@final
@dataclass(frozen=True)
class IteRand(AbstractTopK):
    """Iterative randomisation (Chijiwa et al. 2021): now and then dropped weights are drawn anew; scores stay.

    Args:
        density, allocation, levels: see `AbstractTopK`.
        period: steps between redraws (K_per).
        rate: share of the dropped weights that is redrawn (r).
    """

    period: int = 300
    rate: float = 0.1
    key = "iterand"
    score_init: ScoreInit = "relu-uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.period < 1 or not 0 <= self.rate <= 1:
            raise ValueError(f"expected period >= 1 and rate in [0, 1], got {self.period} and {self.rate}")

    @property
    def absolute(self) -> bool:
        """Scores themselves are ranked."""
        return False


@final
@dataclass(frozen=True)
class Bernoulli(AbstractMethod):
    """Zhou et al. 2019: each weight is kept with probability sigmoid(S), drawn at every step.

    dL/dS = W G p (1 - p). The density is not chosen; it is mean(p).

    Args:
        rescale: dynamic weight rescaling: We = (size / kept) W M, differentiated through the count as the released
            code does.
    """

    rescale: bool = False
    key = "bernoulli"
    score_init: ScoreInit = "zero"
    samples = True

    @property
    def reading(self) -> Kind:  # type: ignore[override]
        """How a ticket reads the kept weights."""
        return "rescaled" if self.rescale else "plain"

    def masks(self, layers: Sequence[Layer], scores: Sequence[Tensor], state: MethodState) -> list[Tensor]:
        """Draw every weight."""
        masks = []
        for layer, score in zip(layers, scores, strict=True):
            name = f"bernoulli/{state.step}/{layer.name}"
            draw = random.UNIFORM23.tensor(state.seed, name, 0, layer.size, device=score.device, purpose=random.TRIAL)
            masks.append(draw < 2 * torch.sigmoid(score) - 1)  # draws are uniform on (-1, 1)
        return masks

    def slope(self, score: Tensor, weight: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
        """Return W G p (1 - p), with rescaling through the count as well."""
        p = torch.sigmoid(score)
        reach = weight * gradient
        if self.rescale:  # d/dM_i of (n / sum M) sum_j W_j M_j G_j
            kept = mask.sum().clamp(min=1)
            reach = score.numel() / kept * (reach - (reach * mask).sum() / kept)
        return reach * p * (1 - p)

    def weigh(self, weight: Tensor, mask: Tensor) -> Tensor:
        """Return W M, rescaled if asked for."""
        effective = weight * mask
        return rescaled(effective, weight.numel(), mask.sum()) if self.rescale else effective


@final
@dataclass(frozen=True)
class SignedSupermask(AbstractMethod):
    """Signed supermasks (Koster et al. 2022): mask values -1, 0 and 1; |S| above a threshold fixed at the start keeps.

    dL/dS = W G.

    Args:
        threshold: as a share of the layer's largest initial |S|.
    """

    threshold: float = 0.4
    key = "signed-supermask"
    score_init: ScoreInit = "xavier-uniform"

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < math.inf:
            raise ValueError(f"expected threshold >= 0, got {self.threshold}")

    def masks(self, layers: Sequence[Layer], scores: Sequence[Tensor], state: MethodState) -> list[Tensor]:
        """Return -1, 0 or 1: the sign of each score beyond the threshold."""
        if state.thresholds is None:
            state.thresholds = [self.threshold * score.abs().max() for score in scores]
        return [s.sign() * (s.abs() > t) for s, t in zip(scores, state.thresholds, strict=True)]

    def slope(self, score: Tensor, weight: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
        """Return W G."""
        return weight * gradient


@final
@dataclass(frozen=True)
class GemMiner(AbstractMethod):
    """Gem-Miner (Sreenivasan et al. 2022): scores in [0, 1], regularised, rounded, and pruned for good by stages.

    M = alive 1[S > 1/2]; dL/dS = W alive G + 2 penalty S. At each of the stages the lowest ceil(p * alive) scores of
    the whole network die, p chosen so that `density` of the weights survive the last one.

    Args:
        density: fraction of the weights that survives, in (0, 1].
        stages: number of prunings, spread evenly over the search.
        penalty: lambda of the penalty lambda |S|^2.
    """

    density: float = 0.01
    stages: int = 29
    penalty: float = 1e-4
    key = "gem-miner"
    score_init: ScoreInit = "unit"
    clamp = (0.0, 1.0)

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1 or self.stages < 1 or not self.penalty >= 0:
            raise ValueError(
                f"expected density in (0, 1], stages >= 1 and penalty >= 0, got {self.density}, {self.stages} and "
                f"{self.penalty}"
            )

    def masks(self, layers: Sequence[Layer], scores: Sequence[Tensor], state: MethodState) -> list[Tensor]:
        """Mark the survivors whose score rounds to 1."""
        if state.alive is None:
            state.alive = [torch.ones_like(score, dtype=torch.bool) for score in scores]
        return [(s > 0.5) & a for s, a in zip(scores, state.alive, strict=True)]

    def slope(self, score: Tensor, weight: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
        """Return W G and the slope of the penalty; dead scores never count again, so theirs does not matter."""
        return weight * gradient + 2 * self.penalty * score

    @property
    def moves(self) -> bool:
        """Prunings come at shares of the search."""
        return True

    def prunings(self, before: float, after: float) -> int:
        """Number of prunings that fall between two shares of the search: the j-th comes at j / (stages + 1)."""
        due = [min(self.stages, math.floor(share * (self.stages + 1) + 1e-9)) for share in (before, after)]
        return max(0, due[1] - due[0])

    def survivors(self, scores: Sequence[Tensor], alive: Sequence[Tensor]) -> list[Tensor]:
        """One pruning: the lowest ceil(p * alive) scores of the network die, exactly so many, ties by index."""
        flags, values = torch.cat(list(alive)), torch.cat(list(scores))
        count = int(flags.sum())
        share = 1 - self.density ** (1 / self.stages)
        keep = count - math.ceil(share * count)
        left = flags & largest_unchecked(torch.where(flags, values, -math.inf), keep)
        return list(torch.split(left, [len(score) for score in scores]))


@final
@dataclass(frozen=True)
class Multicoated(AbstractMethod):
    """Multicoated supermasks (Okoshi et al. 2022): nested masks added up, so that weights count 0 to C times.

    dL/dS = C sign(S) W G.

    Args:
        densities: of the coats, falling; the first is the density of the ticket.
    """

    densities: tuple[float, ...] = (0.3, 0.0788, 0.0315)
    key = "multicoated"
    score_init: ScoreInit = "normal-fan-out"

    def __post_init__(self) -> None:
        for density in self.densities:
            check_density(density)
        if not self.densities or list(self.densities) != sorted(self.densities, reverse=True):
            raise ValueError(f"expected densities that fall from coat to coat, got {self.densities}")

    def masks(self, layers: Sequence[Layer], scores: Sequence[Tensor], state: MethodState) -> list[Tensor]:
        """Return how many coats each weight wears."""
        coats = []
        for layer, score in zip(layers, scores, strict=True):
            rank = score.abs()
            coats.append(sum(largest_unchecked(rank, kept_count(d, layer.size)).float() for d in self.densities))
        return [torch.as_tensor(coat) for coat in coats]

    def slope(self, score: Tensor, weight: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
        """Return C sign(S) W G."""
        return len(self.densities) * score.sign() * weight * gradient
