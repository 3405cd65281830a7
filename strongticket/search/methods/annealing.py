"""How a density falls on the way of a search, before it is the one that was asked for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from strongticket.search.methods.abstract import check_whole
from strongticket.selection.largest import check_density

__all__ = ["AbstractAnnealing", "CubicRamp", "Levels"]

_SLACK = 1e-9  # shares of a search are quotients of whole numbers, and rounded


class AbstractAnnealing(ABC):
    """A path of densities; instances are frozen dataclasses."""

    @abstractmethod
    def density_at(self, density: float, progress: float) -> float:
        """Return the density at a share of the search, in [0, 1], on the way to the final one."""


@final
@dataclass(frozen=True)
class Levels(AbstractAnnealing):
    """Fall by the same factor at every level, in equal stretches of the search.

    Args:
        count: number of levels, at least 1.
        dense_first: False: density^(l / count) in the l-th stretch, l = 1..count (Fischer & Burkholz 2022). True: one
            stretch more, in which everything is kept, comes before these (the edge-popup with iterations that
            Sreenivasan et al. 2022 compare Gem-Miner with).

    >>> [round(Levels(2).density_at(0.25, at), 3) for at in (0, 0.49, 0.5, 1)]
    [0.5, 0.5, 0.25, 0.25]
    >>> [round(Levels(2, dense_first=True).density_at(0.25, at), 3) for at in (0, 0.34, 0.67, 1)]
    [1.0, 0.5, 0.25, 0.25]
    """

    count: int
    dense_first: bool = False

    def __post_init__(self) -> None:
        check_whole("levels", self.count)

    def density_at(self, density: float, progress: float) -> float:
        """Return density^(level / count)."""
        if self.dense_first:
            level = min(self.count, math.floor(progress * (self.count + 1) + _SLACK))
        else:
            level = min(self.count, math.floor(progress * self.count + _SLACK) + 1)
        return float(density ** (level / self.count))


@final
@dataclass(frozen=True)
class CubicRamp(AbstractAnnealing):
    """Fall fast, then slowly: density + (start - density) (1 - e / steps)^3 in the e-th step, e = 0, 1, ...

    The ramp of the released code of Diffenderfer & Kailkhura 2021 for its global threshold, there over the first 10
    epochs. A density of `start` or more is kept from the beginning.

    Args:
        share: of the search that the ramp takes, in (0, 1]: 10 epochs of 100 are 0.1.
        steps: equal stretches that it has; with one per epoch the density changes between epochs.
        start: density of the first stretch.

    >>> ramp = CubicRamp(0.5, 2)
    >>> [round(ramp.density_at(0.1, at), 3) for at in (0, 0.25, 0.5, 1)], ramp.density_at(0.7, 0)
    ([0.5, 0.15, 0.1, 0.1], 0.7)
    """

    share: float = 0.1
    steps: int = 10
    start: float = 0.5

    def __post_init__(self) -> None:
        check_density(self.start, "start")
        check_whole("steps", self.steps)
        if not 0 < self.share <= 1:
            raise ValueError(f"expected share in (0, 1], got {self.share}")

    def density_at(self, density: float, progress: float) -> float:
        """Return the density of the stretch that the share of the search lies in."""
        step = math.floor(progress / self.share * self.steps + _SLACK)
        if density >= self.start or step >= self.steps:
            return density
        return density + (self.start - density) * (1 - step / self.steps) ** 3
