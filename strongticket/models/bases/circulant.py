"""Shifts of positions in a circle: the basis of layers on signals without an edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.nn import functional

from strongticket.models.bases.abstract import AbstractBasis, sides

__all__ = ["Circulant"]


@final
@dataclass(frozen=True)
class Circulant(AbstractBasis):
    """Shift n positions in a circle: y[p] = sum over k of w[k] x[(p - k) mod n], for signals without an edge.

    >>> Circulant(5).matrices()[1].toarray().astype(int)[0].tolist()
    [0, 0, 0, 0, 1]
    """

    n: int

    def __post_init__(self) -> None:
        sides("the number of positions", self.n)

    @property
    def id(self) -> str:
        """``circulant8``."""
        return f"circulant{self.n}"

    @property
    def inputs(self) -> tuple[int, ...]:
        """(n,)."""
        return (self.n,)

    @property
    def outputs(self) -> tuple[int, ...]:
        """(n,)."""
        return (self.n,)

    @property
    def size(self) -> int:
        """The n shifts."""
        return self.n

    def apply(self, weight: Tensor, x: Tensor, groups: int = 1) -> Tensor:
        """Return the circular convolution."""
        # twice around the circle, so that one pass of an ordinary convolution meets every shift
        return functional.conv1d(torch.cat([x[..., 1:], x], dim=-1), weight.flip(-1), None, 1, 0, 1, groups)

    def matrices(self) -> list[scipy.sparse.csr_array]:
        """Return the powers of the cyclic shift."""
        at = np.arange(self.n)
        shape = (self.n, self.n)
        return [scipy.sparse.csr_array((np.ones(self.n), (at, (at - k) % self.n)), shape=shape) for k in range(self.n)]
