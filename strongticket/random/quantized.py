"""Random weights of a few bits: uniform on the nonzero multiples of 2^-k in [-1, 1].

The sources of the theorems on quantised networks (Kumar and Natale 2025, kumar2025quantized). There are 2^(k+1) such
numbers, so one word makes a value by a shift, without rejection and without bias.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from numpy.typing import NDArray

from strongticket.random.abstract import AbstractLaw

if TYPE_CHECKING:
    import torch

__all__ = ["MOST_BITS", "Quantized", "family"]

MOST_BITS: Final = 23
"""Largest k: 2^23 and all integers below it are float32 numbers."""

_NAME = re.compile(r"quantized([1-9][0-9]?)")


@final
@dataclass(frozen=True)
class Quantized(AbstractLaw):
    """Draw j * 2^-k, j uniform on the 2^(k+1) integers -2^k..-1, 1..2^k: symmetric, never zero, exact in float32.

    The word w gives b = w >> (31 - k), and j = b - 2^k, or one more where b >= 2^k, to pass over zero. The law's name
    is "quantized<k>".

    Args:
        k: bits behind the binary point, 1..23.

    Raises:
        TypeError: k is not an int.
        ValueError: k outside 1..23.

    >>> law = Quantized(4)
    >>> law.name, law.grid_exponent, law.variance
    ('quantized4', -4, Fraction(187, 512))
    >>> law.integers(42, "layer.0.weight", 0, 6).tolist()
    [-5, 6, 5, 4, 5, 9]
    """

    k: int

    words_per_value = 1

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, int):
            raise TypeError(f"k: expected an int in 1..{MOST_BITS}, got {self.k!r} of type {type(self.k).__name__}")
        if not 1 <= self.k <= MOST_BITS:
            raise ValueError(f"k: expected 1..{MOST_BITS} bits behind the binary point, got {self.k}")
        most = 1 << self.k
        # a law says these of its class; a family, of each of its members
        promises: dict[str, Any] = {
            "name": f"quantized{self.k}",
            "bits": self.k,  # 2^k itself is a power of two
            "grid_exponent": -self.k,
            "variance": Fraction((most + 1) * (2 * most + 1), 6 * most * most),
            "support": (-1.0, 1.0),
        }
        for name, value in promises.items():
            object.__setattr__(self, name, value)

    def _writer(self, capacity: int) -> Callable[[NDArray[np.uint32], NDArray[Any]], None]:
        shift, most = np.uint32(31 - self.k), 1 << self.k

        def write(words: NDArray[np.uint32], out: NDArray[Any]) -> None:
            j = (words >> shift).view(np.int32)
            j += (words >> np.uint32(31)).view(np.int32)
            j -= np.int32(most)
            np.copyto(out, j, casting="same_kind")
            if out.dtype.kind == "f":
                np.multiply(out, out.dtype.type(1.0 / most), out=out)

        return write

    def _from_tensor(self, words: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        j: torch.Tensor = (words >> (31 - self.k)) + (words >> 31) - (1 << self.k)
        return j.to(dtype) * 2.0**-self.k


@cache
def _member(k: int) -> Quantized:
    return Quantized(k)


def family(name: str) -> Quantized | None:
    """Return the law of this name, "quantized1" to "quantized23", or None.

    >>> family("quantized8").support, family("quantized24")
    ((-1.0, 1.0), None)
    """
    match = _NAME.fullmatch(name)
    return _member(int(match[1])) if match is not None and int(match[1]) <= MOST_BITS else None
