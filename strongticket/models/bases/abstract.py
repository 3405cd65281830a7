"""What a basis of linear maps of positions is: the common half of dense, convolutional and equivariant layers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["MAX_DIMENSIONS", "MAX_SIDE", "AbstractBasis", "by", "mix", "sides"]

MAX_SIDE = 1 << 20
"""The largest number that a size of a basis may be."""
MAX_DIMENSIONS = 8
"""The most sizes that one shape may have; ids are read up to here."""


class AbstractBasis(ABC):
    """Say which maps of positions a linear layer is made of: y[o] = sum over i, k of w[o, i, k] B_k x[i].

    The B_k are fixed matrices from the positions of an input channel to those of an output channel; only the
    coefficients w are weights (Ferbach et al. 2023). A dense layer has one position and B_0 = 1; a convolution has one
    shift for each place of its kernel.
    """

    @property
    @abstractmethod
    def id(self) -> str:
        """The canonical text that `strongticket.models.bases.basis` reads back; letters, digits and ``-+/=~``."""

    @property
    @abstractmethod
    def inputs(self) -> tuple[int, ...]:
        """Positions of an input channel; () where it is one number."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[int, ...]:
        """Positions of an output channel."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number K of maps."""

    @abstractmethod
    def apply(
        self,
        weight: Tensor,  # [O, I / groups, K]
        x: Tensor,  # [batch, I, *inputs]
        groups: int = 1,
    ) -> Tensor:  # [batch, O, *outputs]
        """Return the layer's outputs, in the type of its arguments and on their device.

        Output channels come in as many equal runs as there are groups; each run sees its own run of input channels.
        """

    @abstractmethod
    def matrices(self) -> list[scipy.sparse.csr_array]:  # K of [P_out, P_in]
        """Return the maps as sparse float64 matrices over flat positions: slow, literal, for checks and proofs."""

    def absolute(self) -> AbstractBasis:
        """Return the basis of the entrywise absolute values |B_k|."""
        return self

    @property
    def nonnegative(self) -> bool:
        """Whether no entry of any map is negative."""
        return True

    @cached_property
    def terms(self) -> int:
        """The most non-zero entries, over all maps together, that one output position takes of one input channel."""
        counts = sum(np.diff(matrix.indptr) for matrix in self.matrices())
        return int(np.max(counts, initial=0))

    @cached_property
    def row_sums(self) -> NDArray[np.float64]:  # [K, P_out]
        """What each map makes of a channel that is 1 everywhere; where it is the same everywhere a constant passes."""
        sums = np.stack([np.asarray(matrix.sum(axis=1)).reshape(-1) for matrix in self.matrices()])
        sums.setflags(write=False)
        return sums


def sides(
    what: str, given: int | Sequence[int], dimensions: int | None = None, least: int = 1, most: int = MAX_SIDE
) -> tuple[int, ...]:
    """Return one whole number for each dimension; a single one stands for all.

    Raises:
        ValueError: another count, more than eight, no whole numbers, or one out of range.
    """
    numbers = (given,) * (1 if dimensions is None else dimensions) if isinstance(given, int) else tuple(given)
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    if not whole or any(not least <= number <= most for number in numbers):
        raise ValueError(f"{what} must be whole numbers in {least}..{most}, got {given!r}")
    if len(numbers) > MAX_DIMENSIONS:
        raise ValueError(f"{what} must be at most {MAX_DIMENSIONS} numbers, got {len(numbers)}")
    if dimensions is not None and len(numbers) != dimensions:
        raise ValueError(f"{what} has {len(numbers)} numbers for {dimensions} dimensions of positions: {given!r}")
    return numbers


def mix(
    weight: Tensor,  # [O, I / groups, K]
    parts: Tensor,  # [batch, I, K, P]: B_k x of each input channel
    groups: int,
) -> Tensor:  # [batch, O, P]
    """Add up what the maps made of the inputs, each part times its coefficient."""
    batch, outputs = parts.shape[0], weight.shape[0]
    rows = weight.reshape(groups, outputs // groups, math.prod(weight.shape[1:]))
    columns = parts.reshape(batch, groups, rows.shape[2], parts.shape[3])
    return torch.matmul(rows, columns).reshape(batch, outputs, parts.shape[3])


def by(numbers: Sequence[int]) -> str:
    """Write sizes as ids do: 28x28."""
    return "x".join(map(str, numbers))
