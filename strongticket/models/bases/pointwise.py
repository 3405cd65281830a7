"""Every position alike and alone: the basis of dense layers, and of 1x1 convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.nn import functional

from strongticket.models.bases.abstract import AbstractBasis, by, mix, sides

__all__ = ["Pointwise"]


@final
@dataclass(frozen=True)
class Pointwise(AbstractBasis):
    """Treat every position alike and alone: dense layers (no positions), and 1x1 convolutions.

    >>> Pointwise().id, Pointwise((28, 28)).id, Pointwise((28, 28)).size
    ('dense', 'point28x28', 1)
    """

    positions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", sides("positions", self.positions))

    @property
    def id(self) -> str:
        """``dense``, or ``point28x28``."""
        return f"point{by(self.positions)}" if self.positions else "dense"

    @property
    def inputs(self) -> tuple[int, ...]:
        """The positions."""
        return self.positions

    @property
    def outputs(self) -> tuple[int, ...]:
        """The positions."""
        return self.positions

    @property
    def size(self) -> int:
        """1: the identity."""
        return 1

    def apply(self, weight: Tensor, x: Tensor, groups: int = 1) -> Tensor:
        """Return w x at every position."""
        if not self.positions and groups == 1:
            return functional.linear(x, weight[:, :, 0])
        if not self.positions:
            rows = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1])
            own = x.reshape(len(x), groups, weight.shape[1])
            return torch.einsum("goi,bgi->bgo", rows, own).flatten(1)
        return mix(weight, x.flatten(2)[:, :, None], groups).reshape(len(x), weight.shape[0], *self.positions)

    def matrices(self) -> list[scipy.sparse.csr_array]:
        """Return the identity."""
        return [scipy.sparse.csr_array(scipy.sparse.eye_array(int(np.prod(self.positions))))]
