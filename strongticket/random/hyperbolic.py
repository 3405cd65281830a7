"""Hyperbolic weights: density proportional to 1/|x|, so that every geometric bin of one ratio is equally likely.

The laws of Orseau, Hutter and Rivasplata 2020 (orseau2020logarithmic), on a dyadic grid. A value has a sign, one of E
octaves and one of 256 cells of its octave, chosen by its share of the logarithm; the shares are a frozen integer table,
so that the bits are the same everywhere.

>>> HYPERBOLIC8.values(42, "layer.0.weight", 0, 3).tolist()
[0.0225830078125, -0.1884765625, -0.1669921875]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

import numpy as np
from numpy.typing import NDArray

from strongticket.random.abstract import AbstractLaw

if TYPE_CHECKING:
    import torch

__all__ = ["CELLS", "HYPERBOLIC8", "HYPERBOLIC16", "AbstractHyperbolic", "Hyperbolic8", "Hyperbolic16", "thresholds"]

CELLS: Final = 256
"""Cells of an octave: a value has 9 significant bits."""
_SLOTS: Final = 512  # stretches of an octave's logarithm, each shorter than a cell, so that one compare finds the cell
_PRECISION: Final = 192  # bits of the logarithms' working numbers, of which about `bits` are lost


@cache
def thresholds(bits: int) -> tuple[int, ...]:
    """Return t with t[m] = the least integer >= 2^bits log2(1 + m/256), m = 0..256, by integer arithmetic alone.

    A cell m is drawn when t[m] <= f < t[m + 1] for a random f of that many bits: with probability
    log2(1 + 1/(256 + m)), to within 2^-bits.

    >>> thresholds(4)[::64]
    (0, 6, 10, 13, 16)
    """
    return (0, *(_log2(m, bits) + 1 for m in range(1, CELLS)), 1 << bits)


def _log2(m: int, bits: int) -> int:
    """floor(2^bits log2(1 + m/256)), 0 < m < 256, which is never an integer: squaring yields the logarithm's bits."""
    low = high = (CELLS + m) << (_PRECISION - 8)  # the number lies in [low, high] / 2^_PRECISION
    found = 0
    for _ in range(bits):
        low, high = low * low >> _PRECISION, (high * high >> _PRECISION) + 1
        bit = low >> (_PRECISION + 1)
        if bit != high >> (_PRECISION + 1):  # pragma: no cover - the widths above leave no doubt
            raise ArithmeticError(f"log2(1 + {m}/256) is not decided by {_PRECISION} bits")
        found = 2 * found + bit
        low, high = low >> bit, (high >> bit) + bit
    return found


@dataclass(frozen=True)
class AbstractHyperbolic(AbstractLaw):
    """What the hyperbolic laws share: all but the number of octaves, E = 2^octave_bits.

    Bit 31 of the word w is the sign (1 is negative), the next octave_bits are the octave j, the other F bits are f. The
    cell m is found from f by `thresholds(F)`, and k = (256 + m) * 2^(E - 1 - j), in units of 2^-(8 + E): the magnitude
    lies in [2^-E, 1), rounded towards zero to 9 significant bits. An octave has probability 1/E exactly, and so has
    every stretch [x, 2x) that begins at a value; P(x <= |X| < y) = log2(y/x)/E to within 2^-F for values x and y.

    Attributes:
        octave_bits: log2 of the number of octaves.
        octaves: E; the law is that of magnitudes between 2^-E and 1.
    """

    octave_bits: ClassVar[int]
    octaves: ClassVar[int]

    def _tables(self) -> tuple[int, NDArray[np.int32], NDArray[np.uint32]]:
        """(bits of f, 256 + cell at the start of each slot, least f beyond that cell)."""
        bits = 31 - self.octave_bits
        return bits, *_slots(bits)

    def _writer(self, capacity: int) -> Callable[[NDArray[np.uint32], NDArray[Any]], None]:
        bits, first, beyond = self._tables()
        last, exponent = self.octaves - 1, self.grid_exponent

        def write(words: NDArray[np.uint32], out: NDArray[Any]) -> None:
            f = words & np.uint32((1 << bits) - 1)
            slot = (f >> np.uint32(bits - 9)).astype(np.intp)
            k = first[slot]
            k += f >= beyond[slot]
            octave = (words >> np.uint32(bits)).view(np.int32) & last
            np.left_shift(k, last - octave, out=k)
            np.negative(k, where=words >> np.uint32(31) != 0, out=k)
            np.copyto(out, k, casting="same_kind")
            if out.dtype.kind == "f":
                assert exponent is not None
                np.multiply(out, out.dtype.type(2.0**exponent), out=out)

        return write

    def _from_tensor(self, words: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        import torch

        bits, first, beyond = self._tables()
        last, exponent = self.octaves - 1, self.grid_exponent
        assert exponent is not None
        f = words & ((1 << bits) - 1)
        slot = f >> (bits - 9)
        starts = torch.from_numpy(first.astype(np.int64)).to(words.device)
        ends = torch.from_numpy(beyond.astype(np.int64)).to(words.device)
        k = starts[slot] + (f >= ends[slot])
        k = k << (last - ((words >> bits) & last))
        signed: torch.Tensor = k * (1 - ((words >> 30) & 2))
        return signed.to(dtype) * 2.0**exponent


@cache
def _slots(bits: int) -> tuple[NDArray[np.int32], NDArray[np.uint32]]:  # [512] each
    starts = np.array(thresholds(bits), dtype=np.int64)
    slot = np.arange(_SLOTS, dtype=np.int64) << (bits - 9)
    cell = np.searchsorted(starts, slot, side="right") - 1
    first, beyond = (CELLS + cell).astype(np.int32), starts[cell + 1].astype(np.uint32)
    first.setflags(write=False)
    beyond.setflags(write=False)
    return first, beyond


def _variance(octave_bits: int) -> Fraction:
    """E[X^2], exactly, of the law with 2^octave_bits octaves."""
    bits, octaves = 31 - octave_bits, 1 << octave_bits
    starts = thresholds(bits)
    in_octave = sum((starts[m + 1] - starts[m]) * (CELLS + m) ** 2 for m in range(CELLS))
    scales = sum(4**j for j in range(octaves))
    return Fraction(in_octave * scales, octaves << (bits + 2 * (8 + octaves)))


@final
@dataclass(frozen=True)
class Hyperbolic16(AbstractHyperbolic):
    """Draw sign * k * 2^-24 with 2^8 <= k < 2^24: density 1/|x| on [2^-16, 1), cut to 9 significant bits.

    All 32 bits of the word are used: 1 sign, 4 octave, 27 cell. In float64, sums of up to 2^29 values are exact in any
    order; a product of two values has at most 18 significant bits on the grid 2^-48, and sums of up to 2^5 products
    are exact, as are all sums of products below 2^5 in magnitude.

    >>> HYPERBOLIC16.integers(42, "layer.0.weight", 0, 3).tolist()
    [4272, -297984, -935936]
    """

    name: ClassVar[str] = "hyperbolic16"
    words_per_value = 1
    bits = 9
    grid_exponent = -24
    octave_bits = 4
    octaves = 16
    variance = _variance(4)
    support = (-511 / 512, 511 / 512)


@final
@dataclass(frozen=True)
class Hyperbolic8(AbstractHyperbolic):
    """Draw sign * k * 2^-16 with 2^8 <= k < 2^16: density 1/|x| on [2^-8, 1), cut to 9 significant bits.

    All 32 bits of the word are used: 1 sign, 3 octave, 28 cell. In float64, sums of up to 2^37 values are exact in any
    order; a product of two values has at most 18 significant bits on the grid 2^-32, and sums of up to 2^21 products
    are exact.

    >>> HYPERBOLIC8.integers(42, "layer.0.weight", 0, 3).tolist()
    [1480, -12352, -10944]
    """

    name: ClassVar[str] = "hyperbolic8"
    words_per_value = 1
    bits = 9
    grid_exponent = -16
    octave_bits = 3
    octaves = 8
    variance = _variance(3)
    support = (-511 / 512, 511 / 512)


HYPERBOLIC16: Final[Hyperbolic16] = Hyperbolic16()
HYPERBOLIC8: Final[Hyperbolic8] = Hyperbolic8()
