"""Random numbers of trials: the project's own streams, so that a seed means the same trial with every numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from strongticket import random

__all__ = ["Draws"]

Array = npt.NDArray[np.float64]


@final
@dataclass(frozen=True)
class Draws:
    """Everything random about one trial, as named streams: no draw depends on which others were made.

    Args:
        seed: of the trial, 0..2^64-1.
        prefix: put before each stream's name.

    >>> Draws(7).uniform("items", 3).tolist() == Draws(7).uniform("items", 5)[:3].tolist()
    True
    """

    seed: int
    prefix: str = ""

    def inside(self, name: str) -> Draws:
        """Return the draws of a part of the trial, such as one layer."""
        return Draws(self.seed, f"{self.prefix}{name} ")

    def bits(self, name: str, count: int) -> npt.NDArray[np.uint64]:
        """Return 64-bit words."""
        words = random.words(self.seed, self.prefix + name, 0, 2 * count, purpose=random.TRIAL).astype(np.uint64)
        return np.asarray(words[0::2] << np.uint64(32) | words[1::2])

    def uniform(self, name: str, shape: int | tuple[int, ...], low: float = -1.0) -> Array:
        """Return numbers U(low, 1), of 53 bits: finer than `uniform23`, as the theorems speak of densities."""
        share = (self.bits(name, math.prod(np.atleast_1d(shape))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return np.asarray(low + (1.0 - low) * share).reshape(shape)

    def normal(self, name: str, shape: int | tuple[int, ...]) -> Array:
        """Return numbers N(0, 1), of the tabulated law."""
        count = math.prod(np.atleast_1d(shape))
        drawn = random.NORMAL_TAB1.values(
            self.seed, self.prefix + name, 0, count, dtype="float64", purpose=random.TRIAL
        )
        return np.asarray(drawn, dtype=np.float64).reshape(shape)

    def below(self, name: str, limit: int, count: int = 1) -> npt.NDArray[np.int64]:
        """Return integers 0 <= k < limit; taking the remainder favours none by more than limit / 2^64."""
        return (self.bits(name, count) % np.uint64(limit)).astype(np.int64)

    def order(self, name: str, count: int) -> npt.NDArray[np.int64]:
        """Return the numbers 0..count-1 in random order."""
        return random.permutation(self.seed, self.prefix + name, count, purpose=random.TRIAL)
