"""A basis of one's own: any matrices of positions, told apart and stored by their exact entries."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

import numpy as np
import scipy.sparse
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from strongticket.models.bases.abstract import AbstractBasis, mix, sides

__all__ = ["MAX_ENTRIES", "MatrixBasis"]

MAX_ENTRIES: Final = 1 << 20

_NUMBER = r"[1-9]\d{0,6}"
_POSITIONS = rf"({_NUMBER}(?:x{_NUMBER}){{0,7}}|1x)"
_VALUE = r"-?0x[01](?:\.[0-9a-f]{1,13})?p[+-]\d{1,4}"
_TEXT = re.compile(rf"matrices({_NUMBER})-{_POSITIONS}-{_POSITIONS}~((?:{_VALUE}~)+)([A-Za-z0-9+/=]*)", re.ASCII)


@final
@dataclass(frozen=True, eq=False)
class MatrixBasis(AbstractBasis):
    """Make a basis of given matrices, for layers that no other basis describes.

    Entries are float64 numbers that are exact in float32 too, so that a network in float32 has the same basis.

    Args:
        arrays: [K, P_out, P_in].
        inputs: positions of an input channel, if not (P_in,).
        outputs: positions of an output channel, if not (P_out,); () where P_out is 1.

    Raises:
        ValueError: another shape, more than 2^20 entries, or one that float32 does not hold exactly.

    >>> basis = MatrixBasis([[[0.5, 0.5]], [[1.0, -1.0]]], outputs=())
    >>> basis.size, basis.inputs, basis.outputs, basis.nonnegative
    (2, (2,), (), False)
    >>> MatrixBasis.read(basis.id) == basis
    True
    """

    arrays: NDArray[np.float64]
    _inputs: tuple[int, ...]
    _outputs: tuple[int, ...]

    def __init__(
        self, arrays: ArrayLike, inputs: Sequence[int] | None = None, outputs: Sequence[int] | None = None
    ) -> None:
        given = np.array(arrays, dtype=np.float64)
        if given.ndim != 3 or not 1 <= given.size <= MAX_ENTRIES:
            raise ValueError(f"a basis is given as [K, P_out, P_in] with 1 to 2^20 entries, got shape {given.shape}")
        with np.errstate(over="ignore"):
            bad = np.argwhere(~np.isfinite(given) | (given.astype(np.float32).astype(np.float64) != given))
        if len(bad):
            place = tuple(bad[0].tolist())
            raise ValueError(
                f"entry {list(place)} of the basis is {given[place]!r}, which float32 does not hold exactly: "
                "round the entries first, as in arrays.astype(numpy.float32)"
            )
        given += 0.0  # -0.0 becomes 0.0
        given.setflags(write=False)
        object.__setattr__(self, "arrays", given)
        for name, positions, count in (("_inputs", inputs, given.shape[2]), ("_outputs", outputs, given.shape[1])):
            chosen = (count,) if positions is None else sides("positions", positions)
            if math.prod(chosen) != count:
                raise ValueError(f"positions {chosen} are not the {count} of the matrices")
            object.__setattr__(self, name, chosen)

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, MatrixBasis) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"MatrixBasis(<{self.size} matrices>, inputs={self.inputs}, outputs={self.outputs})"

    @classmethod
    def read(cls, text: str) -> MatrixBasis:
        """Read the basis from its id.

        Raises:
            ValueError: it is not written so.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:60]!r} is not the text of a basis of matrices")
        inputs, outputs = (() if part == "1x" else tuple(map(int, part.split("x"))) for part in match.group(2, 3))
        shape = (int(match[1]), math.prod(outputs), math.prod(inputs))
        values = np.array([float.fromhex(value) for value in match[4].split("~")[:-1]])
        width = _width(len(values))
        packed = base64.b64decode(match[5], validate=True)
        if math.prod(shape) > MAX_ENTRIES or len(packed) != -(-math.prod(shape) * width // 8):
            raise ValueError(f"{text[:60]!r} does not hold the {math.prod(shape)} entries that it speaks of")
        bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=math.prod(shape) * width)
        codes = bits.reshape(-1, width).astype(np.int64) @ (1 << np.arange(width)[::-1])
        if codes.max(initial=0) >= len(values):
            raise ValueError(f"{text[:60]!r} has an entry without a value")
        return cls(values[codes].reshape(shape), inputs, outputs)

    @cached_property
    def id(self) -> str:
        """``matrices<K>-<inputs>-<outputs>~<distinct values in hexadecimal>~<number of each entry's, packed>``."""
        values, codes = np.unique(self.arrays, return_inverse=True)
        width = _width(len(values))
        bits = (codes.reshape(-1, 1) >> np.arange(width)[::-1]) & 1
        packed = base64.b64encode(np.packbits(bits.astype(np.uint8)).tobytes()).decode()
        written = "".join(f"{_hex(value)}~" for value in values.tolist())
        inputs, outputs = ("x".join(map(str, part)) or "1x" for part in (self._inputs, self._outputs))
        return f"matrices{self.size}-{inputs}-{outputs}~{written}{packed}"

    @property
    def inputs(self) -> tuple[int, ...]:
        """Positions of an input channel."""
        return self._inputs

    @property
    def outputs(self) -> tuple[int, ...]:
        """Positions of an output channel."""
        return self._outputs

    @property
    def size(self) -> int:
        """Number of matrices."""
        return len(self.arrays)

    @property
    def nonnegative(self) -> bool:
        """Whether no entry is negative."""
        return bool((self.arrays >= 0).all())

    def apply(self, weight: Tensor, x: Tensor, groups: int = 1) -> Tensor:
        """Return the sum over the matrices, each times its coefficients."""
        maps = torch.from_numpy(self.arrays.copy()).to(dtype=x.dtype, device=x.device)
        parts = torch.einsum("biq,kpq->bikp", x.flatten(2) if self._inputs else x[:, :, None], maps)
        return mix(weight, parts, groups).reshape(len(x), weight.shape[0], *self._outputs)

    def matrices(self) -> list[scipy.sparse.csr_array]:
        """Return the matrices."""
        return [scipy.sparse.csr_array(matrix) for matrix in self.arrays]

    def absolute(self) -> MatrixBasis:
        """Return the basis of the absolute values."""
        return MatrixBasis(np.abs(self.arrays), self._inputs, self._outputs)


def _width(values: int) -> int:
    """Bits of a code for one of so many values."""
    return max(1, (values - 1).bit_length())


def _hex(value: float) -> str:
    """The exact value in hexadecimal, without zeros at the end."""
    mantissa, power = value.hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{power}"
