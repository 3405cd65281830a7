"""Frozen subsets: part of a random network is settled at random before the search, so that less has to be searched.

What is frozen is a function of a seed, so a ticket that was found among the rest is known by two seeds and one bit per
searched weight; a `Ticket` of this package holds the whole mask nevertheless, as an ordinary one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from strongticket import random
from strongticket.selection.largest import check_density

__all__ = ["Frozen"]

_SLACK = 1e-12  # shares are rounded numbers: 0.57 of 100 is 57, and 0.3 and 0.7 are all


@final
@dataclass(frozen=True)
class Frozen:
    """Settle a random part of every parameter before the search (Otsuka et al. 2025): some dropped, some kept for good.

    The density of the method goes on meaning the whole: of K weights that are kept, K - (those kept by freezing) are
    chosen by their scores among the weights that are left.

    Args:
        dropped: share of each parameter that is dropped, in [0, 1].
        kept: share of each parameter that is kept, in [0, 1]; the two add up to at most 1.

    >>> Frozen(dropped=0.5, kept=0.2).counts(1000), Frozen(dropped=0.5, kept=0.2).bits({"w": (100, 10)})
    ((500, 200), 300)
    """

    dropped: float = 0.0
    kept: float = 0.0

    def __post_init__(self) -> None:
        check_density(self.dropped, "dropped")
        check_density(self.kept, "kept")
        if self.dropped + self.kept > 1 + _SLACK:
            raise ValueError(
                f"expected shares that add up to at most 1, got {self.dropped} dropped and {self.kept} kept"
            )

    def counts(self, size: int) -> tuple[int, int]:
        """Return how many of a parameter's weights are dropped and kept, each rounded down.

        So a density that the shares allow is allowed by the numbers too, which it would not be if both sides of a half
        were rounded up: of 5 weights at density 1/2 and 1/2 dropped, 3 are kept and 2 dropped.

        >>> Frozen(dropped=0.5).counts(5), Frozen(kept=0.57).counts(100)
        ((2, 0), (0, 57))
        """
        dropped, kept = (min(size, math.floor(share * size * (1 + _SLACK))) for share in (self.dropped, self.kept))
        return dropped, min(size - dropped, kept)

    def split(self, name: str, size: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the flat indices that are dropped, kept and searched, each rising: a function of (seed, name, size).

        The stream of the draw is "frozen/NAME" of trials, see `strongticket.random`.
        """
        order = np.asarray(random.permutation(seed, f"frozen/{name}", size, purpose=random.TRIAL), dtype=np.int64)
        dropped, kept = self.counts(size)
        first, second, rest = np.split(order, [dropped, dropped + kept])
        return np.sort(first), np.sort(second), np.sort(rest)

    def bits(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """Return how many bits say what was searched: one per weight that is not frozen; the rest is the two seeds.

        Args:
            shapes: of the searched parameters.
        """
        sizes = [math.prod(shape) for shape in shapes.values()]
        return sum(size - sum(self.counts(size)) for size in sizes)
