"""The contract of a distribution of random weights, and what all of them do alike: slices, any positions, devices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

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

__all__ = ["AbstractLaw"]

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
