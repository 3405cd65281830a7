"""Name the distributions that random weights are drawn from, so that a file can say which one and mean every bit.

A law turns the words of a stream into numbers by exact integer steps (and, for `NORMAL_TAB1`, float64 products and
sums), hence seed + stream name + law + position fix a weight on every device, library version and thread count. Two
of the laws live on a dyadic grid: all their values are integers times 2^grid_exponent, so that sums of weights and of
products of weights are exact in float64 and errors of subset sums are known exactly, not estimated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, SupportsIndex, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from strongticket.random.normal_table import HalfQuantile
from strongticket.random.philox import BLOCKS_AT_ONCE, LANES, word_chunks
from strongticket.random.streams import (
    MAX_VALUES,
    WEIGHTS,
    check_index,
    check_range,
    check_seed,
    gather_words,
    stream_id,
)

if TYPE_CHECKING:
    import torch

__all__ = ["LAWS", "NORMAL_TAB1", "SIGN", "UNIFORM23", "AbstractLaw", "NormalTab1", "Sign", "Uniform23", "law"]

_CHUNK: Final = BLOCKS_AT_ONCE * LANES
"""Words handled at a time: what one pass of the generator makes."""


@dataclass(frozen=True)
class AbstractLaw(ABC):
    """The contract of a distribution of random weights: which words make a value, and what the values promise.

    Laws have no state: two objects of one class are equal, and a law pickles by its class.

    Attributes:
        name: the name under which files and `law` know it; frozen together with every bit it produces.
        words_per_value: 32-bit words that one value uses, 1 or 2.
        bits: significant bits that a value may have in its widest dtype.
        grid_exponent: e such that every value is an integer times 2^e, or None if the law has no coarse grid.
        variance: of one value; exact for the laws on a grid, see the class for the others.
        support: the least and the greatest value that can occur.
    """

    name: ClassVar[str]
    words_per_value: ClassVar[Literal[1, 2]]
    bits: ClassVar[int]
    grid_exponent: ClassVar[int | None]
    variance: ClassVar[Fraction]
    support: ClassVar[tuple[float, float]]

    @abstractmethod
    def _writer(self, capacity: int) -> Callable[[NDArray[np.uint32], NDArray[Any]], None]:
        """Return a function that turns the words of at most `capacity` values into values, in the array given.

        The array is float32, float64 or (on a grid) int32; the words may be overwritten.
        """

    @abstractmethod
    def _from_tensor(self, words: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return the values of words that travel as int64 on any device."""

    def values(
        self,
        seed: int,
        name: str,
        start: SupportsIndex,
        stop: SupportsIndex,
        *,
        dtype: DTypeLike = np.float32,
        purpose: str = WEIGHTS,
    ) -> NDArray[np.floating]:  # [stop - start]
        """Return values start..stop-1 of a stream, any slice alone being equal to that slice of the whole.

        Args:
            seed: 0..2^64-1.
            name: the stream's name, for weights the parameter's name.
            start: first value, from 0.
            stop: one past the last value, at most 2^62.
            dtype: float32 or float64.
            purpose: one of `strongticket.random.PURPOSES`.

        Raises:
            TypeError: a seed, name, bound or dtype of the wrong type.
            ValueError: a value out of range.
        """
        return self._contiguous(seed, name, start, stop, purpose, _float_dtype(dtype))

    def values_at(
        self,
        seed: int,
        name: str,
        index: ArrayLike,
        *,
        dtype: DTypeLike = np.float32,
        purpose: str = WEIGHTS,
    ) -> NDArray[np.floating]:  # shape of index
        """Return the values at any positions 0..2^62-1, with work and memory proportional to their number.

        Args:
            seed: 0..2^64-1.
            name: the stream's name.
            index: positions, integers of any shape, in any order, repeated or not.
            dtype: float32 or float64.
            purpose: one of `strongticket.random.PURPOSES`.

        Raises:
            TypeError: a seed, name, index or dtype of the wrong type.
            ValueError: a value out of range.
        """
        return self._gathered(seed, name, index, purpose, _float_dtype(dtype))

    def integers(
        self, seed: int, name: str, start: SupportsIndex, stop: SupportsIndex, *, purpose: str = WEIGHTS
    ) -> NDArray[np.int32]:  # [stop - start]
        """Return the integers k with value = k * 2^grid_exponent: what exact sums are made of.

        Raises:
            TypeError: the law has no grid, or an argument is of the wrong type.
            ValueError: a value out of range.
        """
        return self._contiguous(seed, name, start, stop, purpose, self._grid_dtype())

    def integers_at(
        self, seed: int, name: str, index: ArrayLike, *, purpose: str = WEIGHTS
    ) -> NDArray[np.int32]:  # shape of index
        """Return the integers k with value = k * 2^grid_exponent at any positions.

        Raises:
            TypeError: the law has no grid, or an argument is of the wrong type.
            ValueError: a value out of range.
        """
        return self._gathered(seed, name, index, purpose, self._grid_dtype())

    def tensor(
        self,
        seed: int,
        name: str,
        start: SupportsIndex,
        stop: SupportsIndex,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        purpose: str = WEIGHTS,
    ) -> torch.Tensor:  # [stop - start]
        """Return values start..stop-1 as a tensor, made on its device and with the same bits on every device.

        Args:
            seed: 0..2^64-1.
            name: the stream's name.
            start: first value, from 0.
            stop: one past the last value, at most 2^62.
            device: where the numbers are made and stay; it needs int64, and float64 for `NORMAL_TAB1`.
            dtype: torch.float32 (the default) or torch.float64.
            purpose: one of `strongticket.random.PURPOSES`.

        Raises:
            TypeError: a seed, name, bound or dtype of the wrong type.
            ValueError: a value out of range.
        """
        import torch

        kind, place = _torch_dtype(dtype), torch.device(device)
        if place.type == "cpu":  # numpy makes the same bits several times faster
            made = self.values(seed, name, start, stop, dtype=str(kind).removeprefix("torch."), purpose=purpose)
            return torch.from_numpy(made)
        return self._torch_contiguous(seed, name, start, stop, purpose, place, kind)

    def tensor_at(
        self,
        seed: int,
        name: str,
        index: torch.Tensor,
        *,
        dtype: torch.dtype | None = None,
        purpose: str = WEIGHTS,
    ) -> torch.Tensor:  # shape of index
        """Return the values at any positions 0..2^62-1 as a tensor, made on the device of `index`.

        Raises:
            TypeError: a seed, name, index or dtype of the wrong type.
            ValueError: a value out of range.
        """
        import torch

        kind = _torch_dtype(dtype)
        if index.device.type == "cpu":
            made = self.values_at(seed, name, index.numpy(), dtype=str(kind).removeprefix("torch."), purpose=purpose)
            return torch.from_numpy(made)
        return self._torch_gathered(seed, name, index, purpose, kind)

    def _grid_dtype(self) -> np.dtype[Any]:
        if self.grid_exponent is None:
            raise TypeError(
                f"law {self.name!r} has no integers: its values are on no coarse grid; "
                "take a law with a grid_exponent, such as 'uniform23' or 'sign'"
            )
        return np.dtype(np.int32)

    def _contiguous(
        self, seed: int, name: str, start: SupportsIndex, stop: SupportsIndex, purpose: str, dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        key, stream = check_seed(seed), stream_id(name, purpose)
        first, last = check_range(start, stop)
        per = self.words_per_value
        out = np.empty(last - first, dtype)
        write = self._writer(min(_CHUNK // per, last - first))
        for offset, words in word_chunks(key, stream, per * first, per * last):
            write(words, out[offset // per : (offset + words.size) // per])
        return out

    def _gathered(self, seed: int, name: str, index: ArrayLike, purpose: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        key, stream = check_seed(seed), stream_id(name, purpose)
        positions = check_index(index)
        flat = positions.reshape(-1)
        out = np.empty(flat.size, dtype)
        step = min(BLOCKS_AT_ONCE, flat.size)
        write = self._writer(step)
        for begin in range(0, flat.size, step or 1):
            part = flat[begin : begin + step]
            write(gather_words(key, stream, part, self.words_per_value), out[begin : begin + part.size])
        return out.reshape(positions.shape)

    def _torch_contiguous(
        self,
        seed: int,
        name: str,
        start: SupportsIndex,
        stop: SupportsIndex,
        purpose: str,
        device: torch.device,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        import torch

        from strongticket.random import philox_torch

        key, stream = check_seed(seed), stream_id(name, purpose)
        first, last = check_range(start, stop)
        per = self.words_per_value
        out = torch.empty(last - first, dtype=dtype, device=device)
        for offset, words in philox_torch.word_chunks(key, stream, per * first, per * last, device):
            out[offset // per : (offset + words.numel()) // per] = self._from_tensor(words, dtype)
        return out

    def _torch_gathered(
        self, seed: int, name: str, index: torch.Tensor, purpose: str, dtype: torch.dtype
    ) -> torch.Tensor:
        import torch

        from strongticket.random import philox_torch

        key, stream = check_seed(seed), stream_id(name, purpose)
        philox_torch.check_index(index, MAX_VALUES)
        flat = index.reshape(-1).to(torch.int64)
        out = torch.empty(flat.numel(), dtype=dtype, device=index.device)
        for begin in range(0, flat.numel(), philox_torch.BLOCKS_AT_ONCE):
            part = flat[begin : begin + philox_torch.BLOCKS_AT_ONCE]
            words = philox_torch.gather_words(key, stream, part, self.words_per_value)
            out[begin : begin + part.numel()] = self._from_tensor(words, dtype)
        return out.reshape(index.shape)


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

# here, since these laws are made of `AbstractLaw`
from strongticket.random.hyperbolic import HYPERBOLIC8, HYPERBOLIC16  # noqa: E402

LAWS: Final[Mapping[str, AbstractLaw]] = MappingProxyType(
    {each.name: each for each in (UNIFORM23, SIGN, NORMAL_TAB1, HYPERBOLIC16, HYPERBOLIC8)}
)
"""Every law without a parameter, by name; `law` knows the families in `quantized` and `sparse` too."""


def law(name: str) -> AbstractLaw:
    """Return the law that a file or an option names.

    >>> law("uniform23").grid_exponent
    -23

    Raises:
        ValueError: no such law.
    """
    from strongticket.random import quantized, sparse  # families, which are made of the contract above

    if name not in LAWS and (member := quantized.family(name) or sparse.family(name)) is not None:
        return member
    if name not in LAWS:
        raise ValueError(f"law: expected one of {', '.join(LAWS)}, quantized<bits>, sparse<k of 512>, got {name!r}")
    return LAWS[name]


def _float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise TypeError(f"dtype: expected float32 or float64, got {kind}; for exact integers call integers()")
    return kind


def _torch_dtype(dtype: torch.dtype | None) -> torch.dtype:
    import torch

    kind = torch.float32 if dtype is None else dtype
    if kind not in (torch.float32, torch.float64):
        raise TypeError(f"dtype: expected torch.float32 or torch.float64, got {kind}; convert the result with .to()")
    return kind
