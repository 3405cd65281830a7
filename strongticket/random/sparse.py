"""Random weights of which some are absent: `uniform23` with probability k/512, and 0 otherwise.

The sources of the theorems on random sparse networks (Gadhikar, Mukherjee and Burkholz 2023, gadhikar2023random). Of a
word `uniform23` reads the upper 23 bits; the lower 9 decide whether the weight is there. So the sparse network is the
dense one of the same seed times a frozen 0/1 mask, and two sparse networks of one seed are nested.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from numpy.typing import NDArray

from strongticket.random.abstract import AbstractLaw
from strongticket.random.standard import UNIFORM23

if TYPE_CHECKING:
    import torch

__all__ = ["SHARES", "Sparse", "family", "sparse_law"]

SHARES: Final = 512
"""Probabilities are multiples of 1/512."""

_NAME = re.compile(r"sparse([1-9][0-9]{0,2})")


@final
@dataclass(frozen=True)
class Sparse(AbstractLaw):
    """Draw a value of `uniform23` with probability k/512, and 0 otherwise: exact in float32, on the grid 2^-23.

    The word w gives the value that `uniform23` makes of it if w mod 512 < k. The law's name is "sparse<k>".

    Args:
        k: 512 times the probability that a weight is not 0, 1..511.

    Raises:
        TypeError: k is not an int.
        ValueError: k outside 1..511.

    >>> law = Sparse(400)
    >>> law.name, law.probability, law.grid_exponent
    ('sparse400', Fraction(25, 32), -23)
    >>> law.integers(42, "layer.0.weight", 0, 3).tolist()
    [0, 2720339, 2537007]
    >>> UNIFORM23.integers(42, "layer.0.weight", 0, 3).tolist()
    [-2586803, 2720339, 2537007]
    """

    k: int

    words_per_value = 1
    bits = UNIFORM23.bits
    grid_exponent = UNIFORM23.grid_exponent
    support = UNIFORM23.support

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, int):
            raise TypeError(f"k: expected an int in 1..{SHARES - 1}, got {self.k!r} of type {type(self.k).__name__}")
        if not 1 <= self.k < SHARES:
            raise ValueError(f"k: expected 1..{SHARES - 1}, {SHARES} times a probability, got {self.k}")
        # a law says these of its class; a family, of each of its members
        object.__setattr__(self, "name", f"sparse{self.k}")
        object.__setattr__(self, "variance", self.probability * UNIFORM23.variance)

    @property
    def probability(self) -> Fraction:
        """Probability that a weight is not 0."""
        return Fraction(self.k, SHARES)

    def _writer(self, capacity: int) -> Callable[[NDArray[np.uint32], NDArray[Any]], None]:
        dense = UNIFORM23._writer(capacity)

        def write(words: NDArray[np.uint32], out: NDArray[Any]) -> None:
            absent = words & np.uint32(SHARES - 1) >= np.uint32(self.k)
            dense(words, out)
            out[absent] = 0

        return write

    def _from_tensor(self, words: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        present = (words & (SHARES - 1)) < self.k
        values: torch.Tensor = UNIFORM23._from_tensor(words, dtype) * present.to(dtype)
        return values + 0.0  # a negative number times 0 is -0


@cache
def _member(k: int) -> Sparse:
    return Sparse(k)


def family(name: str) -> Sparse | None:
    """Return the law of this name, "sparse1" to "sparse511", or None.

    >>> family("sparse64").probability, family("sparse512")
    (Fraction(1, 8), None)
    """
    match = _NAME.fullmatch(name)
    return _member(int(match[1])) if match is not None and int(match[1]) < SHARES else None


def sparse_law(probability: float) -> str:
    """Return the name of the law whose weights are there with this probability; "uniform23" for 1.

    Raises:
        ValueError: not in (0, 1], or no multiple of 1/512; the message names the nearest that is.

    >>> sparse_law(0.25), sparse_law(1)
    ('sparse128', 'uniform23')
    """
    real = isinstance(probability, int | float) and not isinstance(probability, bool)
    if not real or not (math.isfinite(probability) and 0 < probability <= 1):
        raise ValueError(f"a probability that an edge is there lies in (0, 1], got {probability!r}")
    share = Fraction(probability) * SHARES
    if share.denominator != 1:
        nearest = max(1, round(share))
        raise ValueError(
            f"a probability that an edge is there is a multiple of 1/{SHARES}, so that one random word decides it; "
            f"got {probability!r}: take {nearest}/{SHARES} = {nearest / SHARES!r}"
        )
    return UNIFORM23.name if share == SHARES else f"sparse{int(share)}"
