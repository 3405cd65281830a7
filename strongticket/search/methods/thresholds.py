"""Methods that draw their masks, or compare scores with a threshold: how much is kept comes out of the search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from strongticket import random
from strongticket.reading import Kind, rescaled
from strongticket.search.layers import Layer, ScoreInit
from strongticket.search.methods.abstract import LATER, AbstractMethod, MethodState, check_whole
from strongticket.selection.largest import largest_unchecked

__all__ = ["Bernoulli", "GemMiner", "SignedSupermask", "Threshold"]


@final
@dataclass(frozen=True, repr=False)
class Bernoulli(AbstractMethod):
    """Zhou et al. 2019: each weight is kept with probability sigmoid(S), drawn at every step.

    dL/dS = W G p (1 - p). The density is not chosen; it is mean(p).

    Args:
        rescale: dynamic weight rescaling: We = (size / kept) W M, differentiated through the count as the released
            code does.
        score_init: see `AbstractMethod`.
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
@dataclass(frozen=True, repr=False)
class Threshold(AbstractMethod):
    """Supermasks by a fixed threshold (Mallya et al. 2018; SupSup, Wortsman et al. 2020): keep S >= threshold.

    dL/dS = W G. Nothing is selected or counted, so the density is not chosen; it comes out of the search.

    Args:
        threshold: 0 in SupSup, where half of the scores begin above it.
        score_init: see `AbstractMethod`.
    """

    threshold: float = 0.0
    key = "threshold"
    score_init: ScoreInit = "kaiming-uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.threshold):
            raise ValueError(f"expected a finite threshold, got {self.threshold}")

    def masks(self, layers: Sequence[Layer], scores: Sequence[Tensor], state: MethodState) -> list[Tensor]:
        """Mark the scores at or above the threshold."""
        return [score >= self.threshold for score in scores]

    def slope(self, score: Tensor, weight: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
        """Return W G."""
        return weight * gradient


@final
@dataclass(frozen=True, repr=False)
class SignedSupermask(AbstractMethod):
    """Signed supermasks (Koster et al. 2022): mask values -1, 0 and 1; |S| above a threshold fixed at the start keeps.

    dL/dS = W G.

    Args:
        threshold: as a share of the layer's largest initial |S|.
        score_init: see `AbstractMethod`.
    """

    threshold: float = 0.4
    key = "signed-supermask"
    score_init: ScoreInit = "xavier-uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
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
@dataclass(frozen=True, repr=False)
class GemMiner(AbstractMethod):
    """Gem-Miner (Sreenivasan et al. 2022): scores in [0, 1], regularised, rounded, and pruned for good by stages.

    M = alive 1[S > 1/2]; dL/dS = W alive G + 2 penalty S. At each of the stages the lowest ceil(p * alive) scores of
    the whole network die, p chosen so that at most `density` of the weights survive the last one.

    Args:
        density: fraction of the weights that survives at most, in (0, 1]. Each pruning rounds up what dies, so that
            fewer survive where they are few: of 1,000 weights 7, not 10, at density 0.01 in 29 stages.
        stages: number of prunings, spread evenly over the search.
        penalty: lambda of the penalty lambda |S|^2.
        unflag: keep every survivor at the end of the search, whatever its score: the released code sets their scores to
            1 before it fine-tunes weights. Without it the survivors whose score rounds to 0 are dropped too.
        score_init: see `AbstractMethod`.
    """

    density: float = 0.01
    stages: int = 29
    penalty: float = 1e-4
    unflag: bool = field(default=False, kw_only=True, metadata=LATER)
    key = "gem-miner"
    score_init: ScoreInit = "unit"
    clamp = (0.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("stages", self.stages)
        if not 0 < self.density <= 1 or not self.penalty >= 0:
            raise ValueError(f"expected density in (0, 1] and penalty >= 0, got {self.density} and {self.penalty}")

    def masks(self, layers: Sequence[Layer], scores: Sequence[Tensor], state: MethodState) -> list[Tensor]:
        """Mark the survivors whose score rounds to 1; with `unflag` at the end of the search all survivors."""
        if state.alive is None:
            state.alive = [torch.ones_like(score, dtype=torch.bool) for score in scores]
        if self.unflag and state.progress >= 1:
            return [alive.clone() for alive in state.alive]
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
