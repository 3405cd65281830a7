"""The steps of a graph: linear layers in a basis, ReLU, and what has no parameters (pools, flattening, sums, padding).

A step reads values that came before: value 0 is the network's input, and step k, counted from 0, makes value k + 1.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self, final

import torch
from torch import Tensor
from torch.nn import functional

from strongticket.models.bases import AbstractBasis
from strongticket.models.bases import basis as read_basis
from strongticket.models.bases.abstract import sides

__all__ = ["AbstractStep", "Add", "Affine", "AveragePool", "Flatten", "MaxPool", "Pad", "Rectify", "read_step"]

Shape = tuple[int, ...]
MAX_CHANNELS: Final = 10**12
MAX_WEIGHTS: Final = 1 << 62


@dataclass(frozen=True)
class AbstractStep:
    """Make one value of a network from earlier ones."""

    @property
    def sources(self) -> tuple[int, ...]:
        """The values that it reads."""
        reads: int | tuple[int, ...] = self.reads  # type: ignore[attr-defined]
        return reads if isinstance(reads, tuple) else (reads,)

    def reading(self, *sources: int) -> Self:
        """Return this step, reading other values."""
        changed: dict[str, Any] = {"reads": sources if isinstance(self, Add) else sources[0]}
        return replace(self, **changed)

    @property
    @abstractmethod
    def text(self) -> str:
        """How it is written in the id of a graph, but for what it reads."""

    @abstractmethod
    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape (channels, *positions) of what it makes of values of these shapes.

        Raises:
            ValueError: it does not take them.
        """

    @abstractmethod
    def run(self, *inputs: Tensor) -> Tensor:
        """Return what it makes of these values [batch, channels, *positions]."""

    def nonnegative(self, *inputs: bool) -> bool:
        """Whether its value cannot be negative, given which of those it reads cannot."""
        return all(inputs)


@final
@dataclass(frozen=True)
class Affine(AbstractStep):
    """Take a linear layer in a basis, with a bias for each output channel or without.

    Args:
        basis: the maps of positions.
        channels_in: channels that it reads.
        channels_out: channels that it makes.
        groups: runs of channels that see only their own; divides both numbers of channels.
        bias: whether each output channel has a number that is added at all its positions.
        reads: the value it reads; -1 is the one before.
    """

    basis: AbstractBasis
    channels_in: int
    channels_out: int
    groups: int = 1
    bias: bool = False
    reads: int = -1

    def __post_init__(self) -> None:
        if not isinstance(self.basis, AbstractBasis):
            raise TypeError(f"a basis is one of strongticket.models.bases, got {self.basis!r}")
        sides("channels and groups", (self.channels_in, self.channels_out, self.groups), most=MAX_CHANNELS)
        if not isinstance(self.bias, bool):
            raise TypeError(f"bias is True or False, got {self.bias!r}")
        if self.channels_in % self.groups or self.channels_out % self.groups:
            raise ValueError(
                f"{self.groups} groups must divide the {self.channels_in} channels read and the "
                f"{self.channels_out} made"
            )
        if math.prod(self.weight_shape) >= MAX_WEIGHTS:
            raise ValueError(f"a step has fewer than 2^62 weights, got {self.weight_shape}")

    @property
    def weight_shape(self) -> tuple[int, int, int]:
        """[channels_out, channels_in / groups, K]."""
        return self.channels_out, self.channels_in // self.groups, self.basis.size

    @property
    def text(self) -> str:
        """``conv5x5-p2-on28x28:1:6:b``: basis, channels read and made, groups, bias."""
        groups = f":g{self.groups}" if self.groups > 1 else ""
        return f"{self.basis.id}:{self.channels_in}:{self.channels_out}{groups}{':b' if self.bias else ''}"

    def shape(self, *inputs: Shape) -> Shape:
        """The outputs of the basis."""
        wanted = (self.channels_in, *self.basis.inputs)
        if inputs[0] != wanted:
            raise ValueError(f"it reads values of shape {wanted}, got {inputs[0]}")
        return (self.channels_out, *self.basis.outputs)

    def run(self, *inputs: Tensor) -> Tensor:
        """Take the value, the weight and, where there is one, the bias."""
        outputs = self.basis.apply(inputs[1], inputs[0], self.groups)
        return outputs if len(inputs) < 3 else outputs + inputs[2].reshape(-1, *(1,) * len(self.basis.outputs))

    def nonnegative(self, *inputs: bool) -> bool:
        """Nothing is known of it."""
        return False


@final
@dataclass(frozen=True)
class Rectify(AbstractStep):
    """Take ReLU of every number."""

    reads: int = -1

    @property
    def text(self) -> str:
        """``relu``."""
        return "relu"

    def shape(self, *inputs: Shape) -> Shape:
        """The same."""
        return inputs[0]

    def run(self, *inputs: Tensor) -> Tensor:
        """Return max(x, 0)."""
        return torch.relu(inputs[0])

    def nonnegative(self, *inputs: bool) -> bool:
        """It never is negative."""
        return True


@dataclass(frozen=True)
class _AbstractPool(AbstractStep):
    """What both pools share: a window that moves over the positions."""

    KIND: ClassVar[str]

    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    reads: int = -1

    def __post_init__(self) -> None:
        kernel = sides("kernel", self.kernel)
        if not 1 <= len(kernel) <= 3:
            raise ValueError(f"a pool has one to three dimensions, got kernel {kernel}; give one size for each")
        object.__setattr__(self, "kernel", kernel)
        object.__setattr__(self, "stride", sides("stride", self.stride or kernel, len(kernel)))
        object.__setattr__(self, "padding", sides("padding", self.padding or 0, len(kernel), 0))
        if any(2 * pad > size for pad, size in zip(self.padding, kernel, strict=True)):
            raise ValueError(f"a pool is padded by at most half its kernel {kernel}, got {self.padding}")

    @property
    def text(self) -> str:
        """``max2x2``, ``average3x3-s2-p1``: a stride like the kernel and padding 0 are left out."""
        stride = "" if self.stride == self.kernel else f"-s{_short(self.stride)}"
        padding = f"-p{_short(self.padding)}" if any(self.padding) else ""
        return f"{self.KIND}{'x'.join(map(str, self.kernel))}{stride}{padding}"

    def shape(self, *inputs: Shape) -> Shape:
        """Fewer positions, the same channels."""
        channels, *positions = inputs[0]
        if len(positions) != len(self.kernel):
            raise ValueError(f"its kernel {self.kernel} does not fit positions {tuple(positions)}")
        sizes = zip(positions, self.kernel, self.stride, self.padding, strict=True)
        made = tuple((n + 2 * pad - kernel) // stride + 1 for n, kernel, stride, pad in sizes)
        if min(made) < 1:
            raise ValueError(f"its kernel {self.kernel} is larger than the positions {tuple(positions)}")
        return (channels, *made)

    def _padded(self, inputs: Tensor, border: float) -> Tensor:
        # torch's own padding refuses some kernels that only the padding makes room for
        if not any(self.padding):
            return inputs
        return functional.pad(inputs, [pad for pad in reversed(self.padding) for _ in (0, 1)], value=border)


@final
@dataclass(frozen=True)
class MaxPool(_AbstractPool):
    """Take the largest number of each window.

    Args:
        kernel: size of the window, one number for each dimension.
        stride: steps between windows; the kernel's if not given.
        padding: places added at both ends, never the largest.
        reads: the value it reads; -1 is the one before.
    """

    KIND: ClassVar[str] = "max"

    def run(self, *inputs: Tensor) -> Tensor:
        """Return the maxima."""
        call = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(self.kernel) - 1]
        outputs: Tensor = call(self._padded(inputs[0], -math.inf), self.kernel, self.stride)
        return outputs


@final
@dataclass(frozen=True)
class AveragePool(_AbstractPool):
    """Take the mean of each window; places beyond the border count as zeros.

    Args:
        kernel: size of the window, one number for each dimension.
        stride: steps between windows; the kernel's if not given.
        padding: zeros added at both ends.
        reads: the value it reads; -1 is the one before.
    """

    KIND: ClassVar[str] = "average"

    def run(self, *inputs: Tensor) -> Tensor:
        """Return the means."""
        call = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[len(self.kernel) - 1]
        outputs: Tensor = call(self._padded(inputs[0], 0.0), self.kernel, self.stride)
        return outputs


@final
@dataclass(frozen=True)
class Flatten(AbstractStep):
    """Make every position of every channel a channel of its own, in C order."""

    reads: int = -1

    @property
    def text(self) -> str:
        """``flatten``."""
        return "flatten"

    def shape(self, *inputs: Shape) -> Shape:
        """(channels * positions,)."""
        return (math.prod(inputs[0]),)

    def run(self, *inputs: Tensor) -> Tensor:
        """Return the same numbers, [batch, channels]."""
        return inputs[0].flatten(1)


@final
@dataclass(frozen=True)
class Add(AbstractStep):
    """Add values of one shape, as residual networks do; from left to right."""

    reads: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "reads", tuple(self.reads))
        if len(self.reads) < 2:
            raise ValueError(f"a sum reads at least two values, got {self.reads}")

    @property
    def text(self) -> str:
        """``add``."""
        return "add"

    def shape(self, *inputs: Shape) -> Shape:
        """The same."""
        if len(set(inputs)) > 1:
            raise ValueError(f"it adds values of one shape, got {' and '.join(map(str, inputs))}")
        return inputs[0]

    def run(self, *inputs: Tensor) -> Tensor:
        """Return the sum."""
        total = inputs[0]
        for other in inputs[1:]:
            total = total + other
        return total


@final
@dataclass(frozen=True)
class Pad(AbstractStep):
    """Keep every stride-th position and add channels of zeros: a shortcut without parameters (He et al. 2016).

    Args:
        before: channels of zeros before those that are read.
        after: channels of zeros after them.
        stride: steps between the positions that are kept, in every dimension.
        reads: the value it reads; -1 is the one before.
    """

    before: int
    after: int
    stride: int = 1
    reads: int = -1

    def __post_init__(self) -> None:
        sides("channels of zeros", (self.before, self.after), 2, 0, MAX_CHANNELS)
        sides("stride", (self.stride,))

    @property
    def text(self) -> str:
        """``pad8+8-s2``; a stride of 1 is left out."""
        return f"pad{self.before}+{self.after}{f'-s{self.stride}' if self.stride > 1 else ''}"

    def shape(self, *inputs: Shape) -> Shape:
        """More channels, fewer positions."""
        channels, *positions = inputs[0]
        return (self.before + channels + self.after, *(-(-n // self.stride) for n in positions))

    def run(self, *inputs: Tensor) -> Tensor:
        """Return the kept positions between the zeros."""
        kept = inputs[0][(slice(None), slice(None), *[slice(None, None, self.stride)] * (inputs[0].ndim - 2))]
        return functional.pad(kept, (*(0, 0) * (kept.ndim - 2), self.before, self.after))


_N = r"(?:0|[1-9]\d{0,12})"
_LIST = rf"{_N}(?:x{_N}){{0,2}}"
_POOL = re.compile(rf"(max|average)({_LIST})(?:-s({_LIST}))?(?:-p({_LIST}))?", re.ASCII)
_PAD = re.compile(rf"pad({_N})\+({_N})(?:-s({_N}))?", re.ASCII)
_AFFINE = re.compile(rf"([^:]+):({_N}):({_N})(?::g({_N}))?(:b)?", re.ASCII)


def read_step(text: str, reads: Sequence[int]) -> AbstractStep:
    """Read a step from its text, given the values that it reads.

    Raises:
        ValueError: no step is written so.

    >>> read_step("max2x2", [3])
    MaxPool(kernel=(2, 2), stride=(2, 2), padding=(0, 0), reads=3)
    """
    if text == "add":
        return Add(tuple(reads))
    if len(reads) != 1:
        raise ValueError(f"the step {text[:60]!r} reads one value, got {list(reads)[:8]}")
    made = _read_unary(text, reads[0])
    if made.text != text:
        raise ValueError(f"the step {text[:60]!r} is written {made.text[:60]!r}")
    return made


def _read_unary(text: str, reads: int) -> AbstractStep:
    if text in ("relu", "flatten"):
        return Rectify(reads) if text == "relu" else Flatten(reads)
    if match := _POOL.fullmatch(text):
        kernel = _numbers(match[2])
        stride, padding = (() if part is None else _broad(_numbers(part), len(kernel)) for part in match.group(3, 4))
        return (MaxPool if match[1] == "max" else AveragePool)(kernel, stride, padding, reads)
    if match := _PAD.fullmatch(text):
        return Pad(int(match[1]), int(match[2]), int(match[3] or 1), reads)
    if match := _AFFINE.fullmatch(text):
        channels_in, channels_out, groups = int(match[2]), int(match[3]), int(match[4] or 1)
        return Affine(read_basis(match[1]), channels_in, channels_out, groups, match[5] is not None, reads)
    raise ValueError(f"no step is written {text[:60]!r}; examples are relu, max2x2, flatten, dense:84:10 and add@3,1")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x"))


def _broad(numbers: tuple[int, ...], dimensions: int) -> tuple[int, ...]:
    return numbers * dimensions if len(numbers) == 1 else numbers


def _short(numbers: tuple[int, ...]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else "x".join(map(str, numbers))
