"""Collect the steps of a graph and their numbers, one operation of torch after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from strongticket.models.bases import AbstractBasis, Convolution, Pointwise
from strongticket.models.graph.network import Graph
from strongticket.models.graph.steps import AbstractStep, Add, Affine, AveragePool, Flatten, MaxPool, Pad, Rectify

__all__ = ["Builder", "Value", "broad"]

Shape = tuple[int, ...]
KNOWN = (
    "a graph is made of Linear, Conv, BatchNorm, ReLU, max and average pools, flattening, residual sums, and shortcuts "
    "that pad channels"
)


@dataclass(frozen=True)
class Value:
    """A value of the graph, by its number."""

    number: int


class Builder:
    """Make steps of what torch's layers and functions do to values.

    Attributes:
        place: where in the network the operation is that is being read; for messages.
        steps: so far.
        numbers: {step: (weight, bias)}.
        shapes: of each value, (channels, *positions).
        memory: values with the same number here may share their memory in torch.
    """

    def __init__(self, inputs: Shape, alone: Callable[[Value], bool]) -> None:
        self.place = ""
        self.steps: list[AbstractStep] = []
        self.numbers: dict[int, tuple[Tensor, Tensor | None]] = {}
        self.shapes: list[Shape] = [inputs]
        self.memory: list[int] = [0]
        self._alone = alone  # whether one operation alone uses a value

    def refuse(self, why: str = "") -> NoReturn:
        """Refuse the operation at this place."""
        raise TypeError(f"{self.place} {why or f'is not known: {KNOWN}'}")

    def result(self, output: Value) -> tuple[Graph, dict[str, Tensor]]:
        """Return the graph of the steps that the output needs, and their numbers."""
        needed = {output.number}
        for value in range(output.number, 0, -1):
            if value in needed:
                needed |= set(self.steps[value - 1].sources)
        if 0 not in needed:
            raise ValueError("the output does not depend on the input")
        moved: dict[int, int] = {0: 0}
        steps: list[AbstractStep] = []
        weights: dict[str, Tensor] = {}
        for value in sorted(needed - {0}):
            step = self.steps[value - 1]
            if value - 1 in self.numbers:
                weight, bias = self.numbers[value - 1]
                weights[Graph.weight_name(len(steps))] = weight
                if bias is not None:
                    weights[Graph.bias_name(len(steps))] = bias
            steps.append(step.reading(*(moved[source] for source in step.sources)))
            moved[value] = len(steps)
        if not weights:
            raise ValueError("the network has no weights")
        if any(value.dtype == torch.float64 for value in weights.values()):
            weights = {name: value.double() for name, value in weights.items()}
        return Graph(self.shapes[0], tuple(steps)), weights

    def add(
        self, step: AbstractStep, weight: Tensor | None = None, bias: Tensor | None = None, *, shared: bool = False
    ) -> Value:
        """Append a step; `shared` says that torch's value may share the memory of what it reads."""
        try:
            self.shapes.append(step.shape(*(self.shapes[source] for source in step.sources)))
        except ValueError as error:
            raise ValueError(f"{self.place} does not fit: {error}") from error
        if weight is not None:
            self.numbers[len(self.steps)] = (weight.detach(), None if bias is None else bias.detach())
        self.steps.append(step)
        self.memory.append(self.memory[step.sources[0]] if shared else len(self.steps))
        return Value(len(self.steps))

    def positions(self, x: Value) -> Shape:
        """The positions of a value."""
        return self.shapes[x.number][1:]

    def relu(self, x: Value) -> Value:
        """ReLU."""
        return self.add(Rectify(x.number))

    def linear(self, x: Value, weight: Tensor, bias: Tensor | None = None) -> Value:
        """A dense layer."""
        self._tensors(weight, bias)
        if self.positions(x):
            self.refuse(f"reads values of shape {self.shapes[x.number]}: flatten them first")
        return self._affine(x, Pointwise(), weight[:, :, None], bias)

    def conv(
        self,
        x: Value,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Value:
        """A convolution."""
        self._tensors(weight, bias)
        kernel, positions = tuple(weight.shape[2:]), self.positions(x)
        if len(kernel) != len(positions):
            self.refuse(f"has a kernel of {kernel} for values of shape {self.shapes[x.number]}")
        widths = broad(dilation, len(kernel))
        if isinstance(padding, str):
            reach = [d * (k - 1) for d, k in zip(widths, kernel, strict=True)]
            if padding == "same" and any(r % 2 for r in reach):
                self.refuse("pads one end more than the other; a graph pads both alike: use odd kernels")
            padding = tuple(r // 2 for r in reach) if padding == "same" else 0
        n = len(kernel)
        try:
            basis = Convolution(kernel, broad(stride, n), broad(padding, n), positions, widths)
        except ValueError as error:
            raise ValueError(f"{self.place} does not fit: {error}") from error
        flat = weight.reshape(*weight.shape[:2], basis.size)
        plain = set(basis.kernel) == set(basis.stride) == {1} and set(basis.padding) == {0}  # type: ignore[arg-type]
        return self._affine(x, Pointwise(positions) if plain else basis, flat, bias, groups)

    def _affine(self, x: Value, basis: AbstractBasis, weight: Tensor, bias: Tensor | None, groups: int = 1) -> Value:
        step = Affine(basis, weight.shape[1] * groups, weight.shape[0], groups, bias is not None, x.number)
        return self.add(step, weight, bias)

    def _tensors(self, *given: Any) -> None:
        if any(value is not None and not isinstance(value, Tensor) for value in given):
            self.refuse("has weights that depend on the input")

    def norm(
        self, x: Value, mean: Any, variance: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
    ) -> Value:
        """Batch normalisation: folded into the layer before it, or a layer of its own that scales each channel."""
        self._tensors(mean, variance, weight, bias)
        if mean is None or variance is None:
            self.refuse("has no running statistics: what it computes depends on the rest of the batch")
        scale = (variance.double() + eps).rsqrt()
        scale = scale if weight is None else scale * weight.double()
        shift = -mean.double() * scale
        shift = shift if bias is None else shift + bias.double()
        before = self.steps[x.number - 1] if x.number else None
        if isinstance(before, Affine) and self._alone(x):
            own, own_bias = self.numbers[x.number - 1]
            folded = own.double() * scale[:, None, None]
            shift = shift if own_bias is None else shift + own_bias.double() * scale
            return self._affine(Value(before.reads), before.basis, folded, shift, before.groups)
        channels = self.shapes[x.number][0]
        if channels != scale.numel():
            self.refuse(f"normalises {scale.numel()} channels, got values of shape {self.shapes[x.number]}")
        return self._affine(x, Pointwise(self.positions(x)), scale.reshape(-1, 1, 1), shift, channels)

    def max_pool(
        self,
        x: Value,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Value:
        """A max pool."""
        n = len(self.positions(x))
        if return_indices or set(broad(dilation, n)) != {1}:
            self.refuse("returns indices or is dilated, which a graph's pools are not")
        return self._pool(MaxPool, x, kernel_size, stride, padding, ceil_mode)

    def average_pool(
        self,
        x: Value,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Value:
        """An average pool."""
        if divisor_override is not None or (not count_include_pad and any(broad(padding, 1))):
            self.refuse("does not divide by the size of its kernel everywhere, as a graph's average pools do")
        return self._pool(AveragePool, x, kernel_size, stride, padding, ceil_mode)

    def _pool(
        self, kind: type[MaxPool | AveragePool], x: Value, kernel: Any, stride: Any, padding: Any, ceil_mode: bool
    ) -> Value:
        n = len(self.positions(x))
        sizes = broad(kernel, n)
        strides, pads = broad(stride, n) if stride else sizes, broad(padding, n)
        if ceil_mode:
            rest = zip(self.positions(x), sizes, strides, pads, strict=True)
            if any((side + 2 * pad - size) % step for side, size, step, pad in rest):
                self.refuse("rounds its number of outputs up (ceil_mode), which a graph's pools do not")
        try:
            return self.add(kind(sizes, strides, pads, x.number))
        except ValueError as error:
            raise ValueError(f"{self.place} does not fit: {error}") from error

    def adaptive(
        self, kind: type[MaxPool | AveragePool], x: Value, output_size: Any, return_indices: bool = False
    ) -> Value:
        """A pool whose windows are equal parts of the positions."""
        positions = self.positions(x)
        wanted = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * len(positions)
        sizes = tuple(side if size is None else int(size) for side, size in zip(positions, wanted, strict=True))
        if return_indices or any(side % size for side, size in zip(positions, sizes, strict=True)):
            self.refuse(f"cannot cut positions {positions} into {sizes} equal parts")
        if sizes == positions:
            return x
        kernel = tuple(side // size for side, size in zip(positions, sizes, strict=True))
        return self.add(kind(kernel, kernel, (), x.number))

    def mean(self, x: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
        """The mean over all positions."""
        n = len(self.positions(x))
        dims = {int(d) % (n + 2) for d in ((dim,) if isinstance(dim, int) else dim or ())}
        if not n or dims != set(range(2, n + 2)) or dtype is not None:
            self.refuse("does not take the mean over all positions")
        made = self.adaptive(AveragePool, x, 1)
        return made if keepdim else self.flatten(made, 1)

    def flatten(self, x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
        """Positions become channels."""
        dimensions = len(self.shapes[x.number]) + 1
        if start_dim % dimensions != 1 or end_dim % dimensions != dimensions - 1:
            self.refuse(f"flattens dimensions {start_dim} to {end_dim}; a graph flattens all but the batch")
        return x if dimensions == 2 else self.add(Flatten(x.number), shared=True)

    def plus(self, x: Any, y: Any, alpha: Any = 1) -> Value:
        """A residual sum."""
        if not (isinstance(x, Value) and isinstance(y, Value)) or alpha != 1:
            self.refuse("adds something that is no value of the network, or scales it")
        if self.shapes[x.number] != self.shapes[y.number]:
            self.refuse(f"adds values of shapes {self.shapes[x.number]} and {self.shapes[y.number]}, which differ")
        return self.add(Add((x.number, y.number)))

    def every(self, x: Value, stride: int) -> Value:
        """Every stride-th position."""
        return x if stride == 1 else self.add(Pad(0, 0, stride, x.number), shared=True)

    def pad(self, x: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Value:
        """Channels of zeros."""
        n = len(self.positions(x))
        sides = list(pad) + [0] * (2 * n + 2 - len(pad))
        if mode != "constant" or value not in (None, 0) or any(sides[: 2 * n]) or len(sides) != 2 * n + 2:
            self.refuse("pads positions; a graph pads channels here, and positions in its convolutions")
        before, after = sides[2 * n :]
        if min(before, after) < 0:
            self.refuse("cuts channels off (a negative pad), which a graph does not")
        last = self.steps[x.number - 1] if x.number else None
        if isinstance(last, Pad) and last.stride > 1 and not last.before + last.after:
            return self.add(Pad(before, after, last.stride, last.reads))  # a slice and a pad are one step
        return self.add(Pad(before, after, 1, x.number))


def broad(given: Any, dimensions: int) -> tuple[int, ...]:
    """Return one number for each dimension."""
    numbers = (given,) if isinstance(given, int) else tuple(given)
    return numbers * dimensions if len(numbers) == 1 else numbers
