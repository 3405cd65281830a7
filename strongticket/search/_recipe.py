"""What a recipe of a mask search says: network, method, how scores move, and how the data are gone through."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import final

from strongticket.search.layers import WEIGHT_INITS, WeightInit, random_source
from strongticket.search.methods import (
    AbstractMethod,
    AbstractTopK,
    EdgePopup,
    GemMiner,
    Multicoated,
)
from strongticket.search.optimiser import ScoreOptimiser
from strongticket.ticket import AbstractArchitecture, Source
from strongticket.training.recipe import AbstractRecipe

__all__ = ["SearchRecipe"]


@final
@dataclass(frozen=True)
class SearchRecipe(AbstractRecipe):
    """Say how to search for a ticket: the random network, the method, how scores move, how the data are gone through.

    Attributes:
        method: how scores choose; see `strongticket.search.methods`.
        optimiser: how scores move.
        init: law of the frozen weights.
        scaled: scale them by 1 / sqrt(density), see `random_source`.
        compat_scale_bug: scale them as the released code of some papers does, see `random_source`.
        gain: factor of the weights, see `random_source`.
        architecture: name of the network that the recipe was published for; None for any.
        data: name of the data set that it was published for; empty for any.
        paper: key in the bibliography; empty for recipes of our own.
        deviations: what of the publication could not be followed, or is not known.
    """

    _: KW_ONLY
    method: AbstractMethod = field(default_factory=EdgePopup)
    optimiser: ScoreOptimiser = field(default_factory=ScoreOptimiser)
    init: WeightInit = "signed-constant"
    scaled: bool = False
    compat_scale_bug: bool = False
    gain: float = 1.0
    architecture: str | None = None
    data: str = ""
    paper: str = ""
    deviations: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init not in WEIGHT_INITS:
            raise ValueError(f"expected an init in {WEIGHT_INITS}, got {self.init!r}")
        if not 0 < self.gain < math.inf:
            raise ValueError(f"expected a gain above 0, got {self.gain}")
        if self.compat_scale_bug and not self.scaled:
            raise ValueError("compat_scale_bug says how weights are scaled wrongly, so scaled must be True")
        if self.scaled and self.density is None:
            raise ValueError(f"weights cannot be scaled by the density: {self.method.key} has none that is given")

    @property
    def density(self) -> float | None:
        """The density that the method aims at; None where it comes out of the search."""
        if isinstance(self.method, AbstractTopK | GemMiner):
            return self.method.density
        return self.method.densities[0] if isinstance(self.method, Multicoated) else None

    def with_density(self, density: float) -> SearchRecipe:
        """Return the recipe with another density.

        Raises:
            ValueError: the method has no single density that is given.

        >>> SearchRecipe(10, 64, lr=0.1).with_density(0.1).density
        0.1
        """
        if not isinstance(self.method, AbstractTopK | GemMiner):
            raise ValueError(f"{self.method.key} has no single density to set: change its method instead")
        return replace(self, method=replace(self.method, density=density))

    def source(self, architecture: AbstractArchitecture, seed: int) -> Source:
        """Return the random network to search in."""
        return random_source(
            architecture,
            seed,
            self.init,
            density=self.density if self.scaled else None,
            allocation=self.method.allocation if isinstance(self.method, AbstractTopK | Multicoated) else "layer",
            compat_scale_bug=self.compat_scale_bug,
            gain=self.gain,
            biases=isinstance(self.method, AbstractTopK) and self.method.biases,
        )
