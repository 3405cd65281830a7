"""The random weights of ordinary networks: uniform on a dyadic grid, signs alone, and normal by a frozen table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from numpy.typing import NDArray

from strongticket.random.abstract import AbstractLaw
from strongticket.random.normal_table import HalfQuantile

if TYPE_CHECKING:
    import torch

__all__ = ["NORMAL_TAB1", "SIGN", "UNIFORM23", "NormalTab1", "Sign", "Uniform23"]


@final
@dataclass(frozen=True)
class Uniform23(AbstractLaw):
    """Draw k * 2^-23 with k odd and |k| < 2^23: uniform on (-1, 1), symmetric, never zero, exact in float32.

    The word w gives k = 2 * (w >> 9) + 1 - 2^23, so a value has at most 23 significant bits and uses the upper 23 of
    its word. In float64, sums of up to 2^30 values are exact in any order; a product of two values has at most 46
    significant bits, and sums of up to 2^7 such products are exact.

    >>> UNIFORM23.integers(42, "layer.0.weight", 0, 3).tolist()
    [-2586803, 2720339, 2537007]
    >>> (UNIFORM23.values(42, "layer.0.weight", 0, 3) * 2**23).tolist()
    [-2586803.0, 2720339.0, 2537007.0]
    """

    name = "uniform23"
    words_per_value = 1
    bits = 23
    grid_exponent = -23
    variance = Fraction(2**46 - 1, 3 * 2**46)
    support = (-(1 - 2.0**-23), 1 - 2.0**-23)

    def _writer(self, capacity: int) -> Callable[[NDArray[np.uint32], NDArray[Any]], None]:
        def write(words: NDArray[np.uint32], out: NDArray[Any]) -> None:
            np.right_shift(words, 8, out=words)
            np.bitwise_or(words, 1, out=words)  # 2 * (w >> 9) + 1
            k = words.view(np.int32)
            if out.dtype.kind == "i":
                np.subtract(k, 1 << 23, out=out)
                return
            np.subtract(k, 1 << 23, out=k)
            np.copyto(out, k, casting="same_kind")
            np.multiply(out, out.dtype.type(2.0**-23), out=out)

        return write

    def _from_tensor(self, words: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        k: torch.Tensor = ((words >> 8) | 1) - (1 << 23)
        return k.to(dtype) * 2.0**-23


@final
@dataclass(frozen=True)
class Sign(AbstractLaw):
    """Draw +1 or -1 with equal chances: 1 - 2 * (w >> 31), one bit of the word w; the signed-constant networks.

    A sum of up to 2^53 values is exact in float64.

    >>> SIGN.integers(42, "layer.0.weight", 0, 4).tolist()
    [1, -1, -1, -1]
    """

    name = "sign"
    words_per_value = 1
    bits = 1
    grid_exponent = 0
    variance = Fraction(1)
    support = (-1.0, 1.0)

    def _writer(self, capacity: int) -> Callable[[NDArray[np.uint32], NDArray[Any]], None]:
        def write(words: NDArray[np.uint32], out: NDArray[Any]) -> None:
            np.right_shift(words, 30, out=words)
            np.bitwise_and(words, 2, out=words)
            np.subtract(np.int32(1), words.view(np.int32), out=out, casting="same_kind")

        return write

    def _from_tensor(self, words: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        signs: torch.Tensor = 1 - ((words >> 30) & 2)
        return signs.to(dtype)


@final
@dataclass(frozen=True)
class NormalTab1(AbstractLaw):
    """Draw from the standard normal distribution by a frozen table of its inverse: float64 products and sums only.

    Two words (high, low) make one value: 52 bits choose p = (2v + 1) * 2^-54 in (0, 1/2), the table gives the quantile
    of p to within 4e-15, and the top bit of the high word flips its sign (see `strongticket.random.normal_table`). The
    law is symmetric. `dtype=float32` rounds the float64 value once. The variance is that of the normal distribution;
    the tabulated law's own differs from it by less than 1e-14. The float64 values are on no usable grid: exact subset
    sums need another law.

    >>> [x.hex() for x in NORMAL_TAB1.values(42, "layer.0.weight", 0, 2, dtype="float64").tolist()]
    ['-0x1.962a27ec20748p-2', '0x1.07fe6d3296953p+0']
    """

    name = "normal-tab1"
    words_per_value = 2
    bits = 53
    grid_exponent = None
    variance = Fraction(1)
    support = (-8.292361075813595, 8.292361075813595)

    def _writer(self, capacity: int) -> Callable[[NDArray[np.uint32], NDArray[Any]], None]:
        quantile = HalfQuantile(capacity)

        def write(words: NDArray[np.uint32], out: NDArray[Any]) -> None:
            high, low = words[0::2].astype(np.uint64), words[1::2]
            v = ((high & np.uint64(0x7FFFFFFF)) << np.uint64(21)) | (low >> np.uint32(11))
            sign = np.float64(1.0) - (high >> np.uint64(30) & np.uint64(2)).astype(np.float64)
            np.multiply(quantile(v), sign, out=out, casting="same_kind")

        return write

    def _from_tensor(self, words: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        from strongticket.random.philox_torch import normal_tab1

        made: torch.Tensor = normal_tab1(words)
        return made.to(dtype)


UNIFORM23: Final = Uniform23()
SIGN: Final = Sign()
NORMAL_TAB1: Final = NormalTab1()
