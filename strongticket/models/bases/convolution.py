"""Shifts of positions within a border: the basis of convolutional layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from typing import final

import numpy as np
import scipy.sparse
from torch import Tensor
from torch.nn import functional

from strongticket.models.bases.abstract import AbstractBasis, by, sides

__all__ = ["Convolution"]


@final
@dataclass(frozen=True)
class Convolution(AbstractBasis):
    """Shift positions, one shift for each place of a kernel, as convolutional layers do; zeros beyond the border.

    Args:
        kernel: its size, in one to three dimensions; here and below one number stands for all dimensions.
        stride: steps between outputs.
        padding: zeros added at both ends.
        positions: of an input channel, such as (height, width).
        dilation: steps between places of the kernel.

    Raises:
        ValueError: sizes out of range, or a kernel larger than the padded input.

    >>> c = Convolution(3, 2, 1, (32, 32))
    >>> c.id, c.outputs, c.size, c.terms
    ('conv3x3-s2-p1-on32x32', (16, 16), 9, 9)
    """

    kernel: tuple[int, ...] | int
    stride: tuple[int, ...] | int
    padding: tuple[int, ...] | int
    positions: tuple[int, ...]
    dilation: tuple[int, ...] | int = 1

    def __post_init__(self) -> None:
        positions = sides("positions", self.positions)
        if not 1 <= len(positions) <= 3:
            raise ValueError(f"a convolution has one to three dimensions of positions, got {positions}")
        object.__setattr__(self, "positions", positions)
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, sides(name, getattr(self, name), len(positions), least))
        if min(self._places(d)[1] for d in range(len(positions))) < 1:
            raise ValueError(
                f"a kernel of {by(self._of('kernel'))} does not fit positions {by(positions)} with padding "
                f"{by(self._of('padding'))}: pad more, or use a smaller one"
            )

    def _of(self, name: str) -> tuple[int, ...]:
        numbers: tuple[int, ...] = getattr(self, name)
        return numbers

    def _places(self, d: int) -> tuple[int, int]:
        """Sizes of the kernel and of the output in one dimension."""
        kernel, reach = self._of("kernel")[d], self._of("dilation")[d] * (self._of("kernel")[d] - 1)
        return kernel, (self.positions[d] + 2 * self._of("padding")[d] - reach - 1) // self._of("stride")[d] + 1

    @property
    def id(self) -> str:
        """``conv3x3-s2-p1-d1-on32x32``; stride 1, padding 0 and dilation 1 are left out."""
        options = ""
        for letter, name, usual in (("s", "stride", 1), ("p", "padding", 0), ("d", "dilation", 1)):
            numbers = self._of(name)
            if set(numbers) != {usual}:
                options += f"-{letter}{numbers[0] if len(set(numbers)) == 1 else by(numbers)}"
        return f"conv{by(self._of('kernel'))}{options}-on{by(self.positions)}"

    @property
    def inputs(self) -> tuple[int, ...]:
        """The positions."""
        return self.positions

    @property
    def outputs(self) -> tuple[int, ...]:
        """One for each place where the kernel is put."""
        return tuple(self._places(d)[1] for d in range(len(self.positions)))

    @property
    def size(self) -> int:
        """Number of places of the kernel, in C order."""
        return int(np.prod(self._of("kernel")))

    def apply(self, weight: Tensor, x: Tensor, groups: int = 1) -> Tensor:
        """Return the convolution, as torch's layers define it (a correlation)."""
        call = (functional.conv1d, functional.conv2d, functional.conv3d)[len(self.positions) - 1]
        kernel = weight.reshape(*weight.shape[:2], *self._of("kernel"))
        outputs: Tensor = call(x, kernel, None, self.stride, self.padding, self.dilation, groups)
        return outputs

    def matrices(self) -> list[scipy.sparse.csr_array]:
        """Return the shifts: a product over the dimensions."""
        axes = [self._axis(d) for d in range(len(self.positions))]
        found = []
        for places in np.ndindex(*self._of("kernel")):
            parts = [axes[d][place] for d, place in enumerate(places)]
            found.append(scipy.sparse.csr_array(reduce(lambda a, b: scipy.sparse.kron(a, b, format="csr"), parts)))
        return found

    def _axis(self, d: int) -> list[scipy.sparse.csr_array]:
        """The shifts in one dimension."""
        kernel, outputs = self._places(d)
        found = []
        for place in range(kernel):
            read = np.arange(outputs) * self._of("stride")[d] - self._of("padding")[d] + place * self._of("dilation")[d]
            at = np.flatnonzero((read >= 0) & (read < self.positions[d]))
            shape = (outputs, self.positions[d])
            found.append(scipy.sparse.csr_array((np.ones(at.size), (at, read[at])), shape=shape))
        return found

    @cached_property
    def terms(self) -> int:
        """The most places of the kernel that lie inside the input at once."""
        counts = [int(sum(np.diff(m.indptr) for m in self._axis(d)).max()) for d in range(len(self.positions))]
        return int(np.prod(counts))
