"""The members of a set, each alone and all together: the basis of layers that no order can change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import scipy.sparse
from torch import Tensor

from strongticket.models.bases.abstract import AbstractBasis, mix, sides

__all__ = ["Sets"]


@final
@dataclass(frozen=True)
class Sets(AbstractBasis):
    """Treat the members of a set alike: w[0] times each member, plus w[1] times the sum of all (Zaheer et al. 2017).

    >>> [m.toarray().astype(int).tolist() for m in Sets(2).matrices()]
    [[[1, 0], [0, 1]], [[1, 1], [1, 1]]]
    """

    n: int

    def __post_init__(self) -> None:
        sides("the number of members", self.n)

    @property
    def id(self) -> str:
        """``sets10``."""
        return f"sets{self.n}"

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
        """2: the identity, and the sum."""
        return 2

    def apply(self, weight: Tensor, x: Tensor, groups: int = 1) -> Tensor:
        """Return each member's own part plus the common one."""
        own = mix(weight[:, :, :1], x[:, :, None], groups)
        return own + mix(weight[:, :, 1:], x.sum(-1)[:, :, None, None], groups)

    def matrices(self) -> list[scipy.sparse.csr_array]:
        """Return the identity and the matrix of ones."""
        return [
            scipy.sparse.csr_array(scipy.sparse.eye_array(self.n)),
            scipy.sparse.csr_array(np.ones((self.n, self.n))),
        ]
