"""Multicoated supermasks: several masks on top of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from strongticket.reading import LARGEST_FACTOR
from strongticket.search.layers import Layer, ScoreInit
from strongticket.search.methods.abstract import LATER, AbstractMethod, MethodState
from strongticket.search.methods.top_k import check_allocation, largest_of_layers
from strongticket.selection import Allocation, allocate, kept_count
from strongticket.selection.largest import check_density

__all__ = ["Multicoated"]


@final
@dataclass(frozen=True, repr=False)
class Multicoated(AbstractMethod):
    """Multicoated supermasks (Okoshi et al. 2022): nested masks added up, so that weights count 0 to C times.

    dL/dS = C sign(S) W G.

    Args:
        densities: of the coats, falling, at most 127; the first is the density of the ticket.
        allocation: how each of them is shared among layers, see `strongticket.selection.Allocation`.
        score_init: see `AbstractMethod`.
    """

    densities: tuple[float, ...] = (0.3, 0.0788, 0.0315)
    allocation: Allocation = field(default="layer", kw_only=True, metadata=LATER)
    key = "multicoated"
    score_init: ScoreInit = "normal-fan-out"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.densities) > LARGEST_FACTOR:
            raise ValueError(
                f"a ticket counts up to {LARGEST_FACTOR} coats, got {len(self.densities)} densities: take fewer"
            )
        for density in self.densities:
            check_density(density)
        if not self.densities or list(self.densities) != sorted(self.densities, reverse=True):
            raise ValueError(f"expected densities that fall from coat to coat, got {self.densities}")
        check_allocation(self.allocation)

    def counts(self, layers: Sequence[Layer], density: float) -> list[int]:
        """Return how many weights of each layer wear a coat of that density, or one number where layers compete."""
        if self.allocation == "global":
            return [kept_count(density, sum(layer.size for layer in layers))]
        counts = allocate({layer.name: layer.shape for layer in layers}, density, self.allocation)
        return [counts[layer.name] for layer in layers]

    def masks(self, layers: Sequence[Layer], scores: Sequence[Tensor], state: MethodState) -> list[Tensor]:
        """Return how many coats each weight wears."""
        ranks = [score.abs() for score in scores]
        coats = [torch.zeros_like(rank) for rank in ranks]
        for density in self.densities:
            for coat, worn in zip(coats, largest_of_layers(ranks, self.counts(layers, density)), strict=True):
                coat += worn
        return coats

    def slope(self, score: Tensor, weight: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
        """Return C sign(S) W G."""
        return len(self.densities) * score.sign() * weight * gradient
