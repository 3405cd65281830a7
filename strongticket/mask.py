"""Which connections are kept: masks as values, packed, exact in their counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strongticket._files import canonical_json, sha256

__all__ = ["Mask"]


def is_thin(count: int, size: int) -> bool:
    """Whether a list of indices takes less memory than packed bits; frozen, because digests depend on it."""
    return 64 * count < size


@final
@dataclass(frozen=True)
class _Kept:
    """One parameter's kept entries: packed bits (little-endian, C order), or sorted flat indices where smaller."""

    shape: tuple[int, ...]
    bits: NDArray[np.uint8] | None  # [ceil(size / 8)]
    index: NDArray[np.int64] | None  # [count], sorted
    count: int

    @classmethod
    def from_bool(cls, kept: NDArray[np.bool_]) -> _Kept:
        flat = np.ascontiguousarray(kept).reshape(-1)
        count = int(np.count_nonzero(flat))
        if is_thin(count, flat.size):
            return cls(kept.shape, None, np.flatnonzero(flat), count)
        return cls(kept.shape, np.packbits(flat, bitorder="little"), None, count)

    @classmethod
    def from_index(cls, index: NDArray[np.int64], shape: tuple[int, ...]) -> _Kept:
        size = math.prod(shape)
        if index.size > 1 and not bool((np.diff(index) > 0).all()):
            index = np.sort(index)
            if bool((np.diff(index) == 0).any()):
                raise ValueError("an index is given twice in the kept entries of a mask")
        if index.size and (int(index[0]) < 0 or int(index[-1]) >= size):
            raise IndexError(f"kept entries must lie in 0..{size - 1}, got {index[0]}..{index[-1]}")
        if is_thin(index.size, size):
            return cls(shape, None, index, index.size)
        flat = np.zeros(size, dtype=bool)
        flat[index] = True
        return cls(shape, np.packbits(flat, bitorder="little"), None, index.size)

    @classmethod
    def from_bits(cls, bits: NDArray[np.uint8], shape: tuple[int, ...]) -> _Kept:
        size = math.prod(shape)
        spare = 8 * bits.size - size
        if bits.dtype != np.uint8 or bits.ndim != 1 or not 0 <= spare < 8:
            raise ValueError(f"{size} entries are {-(-size // 8)} packed bytes, got {bits.dtype} of shape {bits.shape}")
        if spare and int(bits[-1]) >> (8 - spare):
            raise ValueError("the spare bits behind the last packed entry must be zero")
        count = int(np.bitwise_count(bits).sum(dtype=np.int64))
        kept = cls(shape, bits.copy(), None, count)
        return cls(shape, None, kept.to_index(), count) if is_thin(count, size) else kept

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def to_bool(self) -> NDArray[np.bool_]:
        if self.bits is not None:
            flat = np.unpackbits(self.bits, count=self.size, bitorder="little").view(np.bool_)
        else:
            flat = np.zeros(self.size, dtype=bool)
            flat[self.index] = True
        return flat.reshape(self.shape)

    def to_index(self) -> NDArray[np.int64]:
        if self.index is not None:
            return self.index
        assert self.bits is not None
        parts = []  # in chunks, so that no byte per entry is ever held for the whole parameter
        for start in range(0, self.bits.size, 1 << 20):
            bits = np.unpackbits(self.bits[start : start + (1 << 20)], bitorder="little")
            parts.append(np.flatnonzero(bits) + 8 * start)
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def invert(self) -> _Kept:
        return _Kept.from_bool(~self.to_bool())

    def digest(self) -> str:
        """One value per content: which of the two forms is hashed is part of the rule `slt-mask/1`, as in `is_thin`."""
        if self.bits is not None:
            return sha256(b"slt-mask/1 bits ", canonical_json(list(self.shape)).encode(), self.bits.tobytes())
        assert self.index is not None
        index = np.ascontiguousarray(self.index, dtype="<i8")
        return sha256(b"slt-mask/1 index ", canonical_json(list(self.shape)).encode(), index.tobytes())


@final
class Mask(Mapping[str, Tensor]):
    """Hold which connections are kept: a value, never mutated, one boolean tensor per parameter.

    `mask[name]` is a fresh boolean tensor. Inside, a parameter costs one bit per weight, or eight bytes per kept weight
    where that is less, so that the mask of a huge lazy source costs memory for what it keeps.

    Args:
        kept: {parameter name: boolean tensor or array}.

    Raises:
        TypeError: an entry that is not boolean.

    >>> import torch
    >>> mask = Mask({"w": torch.tensor([[True, False], [True, True]])})
    >>> mask.density, mask.count, (~mask).count
    (0.75, 3, 1)
    """

    def __init__(self, kept: Mapping[str, Tensor | NDArray[np.bool_]]) -> None:
        self._kept: dict[str, _Kept] = {}
        for name, value in kept.items():
            array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
            if array.dtype != np.bool_:
                raise TypeError(
                    f"a mask is boolean; {name} has dtype {array.dtype}: compare with 0 or a threshold first"
                )
            self._kept[name] = _Kept.from_bool(array)

    @classmethod
    def _of(cls, kept: dict[str, _Kept]) -> Mask:
        mask = cls({})
        mask._kept = kept
        return mask

    @classmethod
    def from_indices(
        cls, shapes: Mapping[str, tuple[int, ...]], indices: Mapping[str, NDArray[np.int64] | Tensor]
    ) -> Mask:
        """Return the mask that keeps these flat (C-order) indices of each parameter, without making dense tensors.

        Args:
            shapes: {name: shape}, one entry per parameter of the mask.
            indices: {name: flat indices}, in any order, none twice; a parameter left out keeps nothing.
        """
        unknown = set(indices) - set(shapes)
        if unknown:
            raise KeyError(f"indices for {sorted(unknown)}, which are not among the shapes {list(shapes)}")
        empty = np.zeros(0, dtype=np.int64)
        return cls._of(
            {
                name: _Kept.from_index(np.asarray(indices.get(name, empty)).astype(np.int64).reshape(-1), tuple(shape))
                for name, shape in shapes.items()
            }
        )

    @classmethod
    def from_packed(cls, shapes: Mapping[str, tuple[int, ...]], packed: Mapping[str, NDArray[np.uint8]]) -> Mask:
        """Return the mask whose entries are these packed bits (as `packed` gives them), without making dense tensors.

        Raises:
            ValueError: a parameter whose bytes are too few, too many, or have spare bits set.
        """
        if set(packed) != set(shapes):
            raise KeyError(f"packed bits for {sorted(packed)}, shapes for {sorted(shapes)}")
        return cls._of({name: _Kept.from_bits(packed[name], tuple(shape)) for name, shape in shapes.items()})

    @classmethod
    def merge(cls, *masks: Mask) -> Mask:
        """Return one mask with the parameters of all, which must have different names."""
        kept: dict[str, _Kept] = {}
        for mask in masks:
            if set(mask) & set(kept):
                raise ValueError(
                    f"two masks have the parameters {sorted(set(mask) & set(kept))}; use & or | to combine them"
                )
            kept |= mask._kept
        return cls._of(kept)

    @classmethod
    def full(cls, shapes: Mapping[str, tuple[int, ...]], kept: bool = True) -> Mask:
        """Return the mask that keeps everything, or nothing."""
        return cls({name: np.full(shape, kept) for name, shape in shapes.items()})

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self._kept[name].to_bool())

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter."""
        return {name: kept.shape for name, kept in self._kept.items()}

    def indices(self, name: str) -> NDArray[np.int64]:
        """Return the sorted flat indices of the kept entries of one parameter."""
        return self._kept[name].to_index().copy()

    def packed(self, name: str) -> NDArray[np.uint8]:
        """Return one parameter's entries as packed bits: C order, little-endian within a byte, spare bits zero."""
        kept = self._kept[name]
        return np.packbits(kept.to_bool().reshape(-1), bitorder="little") if kept.bits is None else kept.bits.copy()

    def index_blocks(self, name: str, size: int = 1 << 22) -> Iterator[NDArray[np.int64]]:
        """Yield the kept flat indices of one parameter in rising order, about `size` at a time, never none.

        Memory for one block, not for the parameter: what to use for masks of huge or thick parameters.
        """
        kept = self._kept[name]
        if kept.index is not None:
            for start in range(0, kept.count, size):
                yield kept.index[start : start + size].copy()
            return
        assert kept.bits is not None
        stretch = max(1, int(size * kept.size / max(kept.count, 1)) // 8)
        for start in range(0, kept.bits.size, stretch):
            index = np.flatnonzero(np.unpackbits(kept.bits[start : start + stretch], bitorder="little"))
            if index.size:
                yield index + 8 * start

    @property
    def counts(self) -> dict[str, int]:
        """Kept entries of each parameter, exact."""
        return {name: kept.count for name, kept in self._kept.items()}

    @property
    def count(self) -> int:
        """Kept entries, exact."""
        return sum(self.counts.values())

    @property
    def size(self) -> int:
        """All entries, kept or not."""
        return sum(kept.size for kept in self._kept.values())

    @property
    def density(self) -> float:
        """Fraction of entries kept, in [0, 1]; 0 for a mask without entries."""
        return self.count / self.size if self.size else 0.0

    @property
    def sparsity(self) -> float:
        """One minus the density."""
        return 1.0 - self.density

    @cached_property
    def digest(self) -> str:
        """sha256 of the names, shapes and kept entries."""
        return sha256(canonical_json({name: kept.digest() for name, kept in self._kept.items()}).encode())

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Mask) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __and__(self, other: Mask) -> Mask:
        return self._combine(other, np.logical_and)

    def __or__(self, other: Mask) -> Mask:
        return self._combine(other, np.logical_or)

    def __invert__(self) -> Mask:
        return self._of({name: kept.invert() for name, kept in self._kept.items()})

    def iou(self, other: Mask) -> float:
        """Return the overlap with another mask: kept by both over kept by either; 1 where both are empty."""
        union = (self | other).count
        return (self & other).count / union if union else 1.0

    def _combine(self, other: Mask, operation: Callable[..., NDArray[np.bool_]]) -> Mask:
        if self.shapes != other.shapes:
            raise ValueError(f"masks of different networks cannot be combined: {self.shapes} and {other.shapes}")
        pairs = ((name, kept, other._kept[name]) for name, kept in self._kept.items())
        return self._of({name: _Kept.from_bool(operation(a.to_bool(), b.to_bool())) for name, a, b in pairs})

    def __repr__(self) -> str:
        return f"Mask({self.count:,} of {self.size:,} kept, density {self.density:.4g}, {len(self)} parameters)"
