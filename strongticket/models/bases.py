"""Bases of linear layers: dense, convolutional, circulant, group-equivariant, of sets, and matrices of one's own.

A layer is coefficients times a basis. All that a construction or a certificate needs of a kind of layer is said here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Final, final

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.nn import functional

from strongticket.models._basis import AbstractBasis, mix, sides
from strongticket.models.bases_group import GroupConvolution
from strongticket.models.bases_matrix import MatrixBasis

__all__ = [
    "AbstractBasis",
    "Circulant",
    "Convolution",
    "GroupConvolution",
    "MatrixBasis",
    "Pointwise",
    "Sets",
    "basis",
    "mix",
]


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
        return f"point{_by(self.positions)}" if self.positions else "dense"

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
                f"a kernel of {_by(self._of('kernel'))} does not fit positions {_by(positions)} with padding "
                f"{_by(self._of('padding'))}: pad more, or use a smaller one"
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
                options += f"-{letter}{numbers[0] if len(set(numbers)) == 1 else _by(numbers)}"
        return f"conv{_by(self._of('kernel'))}{options}-on{_by(self.positions)}"

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


def basis(text: str) -> AbstractBasis:
    """Read a basis from its id.

    Raises:
        ValueError: no basis is written so.

    >>> basis("conv5x5-p2-on28x28").outputs
    (28, 28)
    """
    kind = next((kind for kind in _READERS if text.startswith(kind)), None)
    if kind is None:
        raise ValueError(f"no basis is written {text[:60]!r}; it begins with {', '.join(_READERS)}")
    made = _READERS[kind](text)
    if made.id != text:
        raise ValueError(f"the basis {text[:60]!r} is written {made.id[:60]!r}")
    return made


_NUMBER = r"(?:0|[1-9]\d{0,6})"
_LIST = rf"{_NUMBER}(?:x{_NUMBER}){{0,2}}"
_CONV = re.compile(rf"conv({_LIST})(?:-s({_LIST}))?(?:-p({_LIST}))?(?:-d({_LIST}))?-on({_LIST})", re.ASCII)
_ONE = re.compile(rf"(circulant|sets)({_NUMBER})", re.ASCII)
_POINT = re.compile(rf"point({_NUMBER}(?:x{_NUMBER}){{0,7}})", re.ASCII)


def _read_conv(text: str) -> AbstractBasis:
    match = _CONV.fullmatch(text)
    if match is None:
        raise ValueError(f"a convolution is written like conv3x3-s2-p1-on32x32, got {text[:60]!r}")
    kernel, stride, padding, dilation, positions = (None if part is None else _numbers(part) for part in match.groups())
    assert kernel is not None
    assert positions is not None
    return Convolution(kernel, _all(stride, 1), _all(padding, 0), positions, _all(dilation, 1))


def _read_point(text: str) -> AbstractBasis:
    match = _POINT.fullmatch(text)
    if match is None:
        raise ValueError(f"a pointwise basis is written like point28x28, got {text[:60]!r}")
    return Pointwise(_numbers(match[1]))


def _read_one(text: str) -> AbstractBasis:
    match = _ONE.fullmatch(text)
    if match is None:
        raise ValueError(f"a basis of one number is written like circulant8 or sets10, got {text[:60]!r}")
    return Circulant(int(match[2])) if match[1] == "circulant" else Sets(int(match[2]))


def _all(numbers: tuple[int, ...] | None, usual: int) -> tuple[int, ...] | int:
    return usual if numbers is None else numbers[0] if len(numbers) == 1 else numbers


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x"))


def _by(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))


_READERS: Final[dict[str, Callable[[str], AbstractBasis]]] = {
    "dense": lambda _: Pointwise(),
    "point": _read_point,
    "conv": _read_conv,
    "circulant": _read_one,
    "sets": _read_one,
    "group": GroupConvolution.read,
    "matrices": MatrixBasis.read,
}
