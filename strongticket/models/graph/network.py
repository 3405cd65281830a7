"""A network as steps: the shapes of its weights, its id, its module, and the wide network that its tickets live in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Final, final

from torch import Tensor, nn

from strongticket.models.bases import Pointwise
from strongticket.models.bases.abstract import sides
from strongticket.models.grammar import Family
from strongticket.models.graph.steps import MAX_CHANNELS, AbstractStep, Affine, Rectify, read_step
from strongticket.models.modules import check_values
from strongticket.ticket import AbstractArchitecture

__all__ = ["GRAPHS", "Graph", "GraphLayer", "GraphModule"]

MAX_STEPS: Final = 4096


@final
@dataclass(frozen=True)
class Graph(AbstractArchitecture):
    """Describe a network as steps, each of which makes a value of earlier ones; the last value is the output.

    Args:
        inputs: shape of one input: (channels, *positions), such as (3, 32, 32), or (channels,).
        steps: what is done; `reads` of -1 become the number of the value before.

    Raises:
        ValueError: a step that does not take what it reads, or whose value is never read.

    >>> from strongticket.models.bases import Convolution
    >>> from strongticket.models.graph import AveragePool, Flatten
    >>> steps = [Affine(Convolution(3, 1, 1, (8, 8)), 1, 4), Rectify(), AveragePool((8, 8)), Flatten()]
    >>> net = Graph((1, 8, 8), (*steps, Affine(Pointwise(), 4, 10, bias=True)))
    >>> net.id
    'graph-1x8x8_conv3x3-p1-on8x8:1:4_relu_average8x8_flatten_dense:4:10:b'
    >>> dict(net.shapes)
    {'steps.0.weight': (4, 1, 9), 'steps.4.weight': (10, 4, 1), 'steps.4.bias': (10,)}
    """

    inputs: tuple[int, ...]
    steps: tuple[AbstractStep, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", sides("the shape of an input", self.inputs))
        if not self.inputs:
            raise ValueError("an input has at least its channels, such as (784,) or (3, 32, 32)")
        if not 1 <= len(self.steps) <= MAX_STEPS:
            raise ValueError(f"a graph has 1 to {MAX_STEPS} steps, got {len(self.steps)}")
        resolved, shapes = [], [self.inputs]
        for k, step in enumerate(self.steps):
            resolved.append(_resolved(k, step))
            try:
                shapes.append(step.shape(*(shapes[source] for source in resolved[-1].sources)))
            except ValueError as error:
                raise ValueError(f"step {k} ({step.text[:60]}): {error}") from error
        object.__setattr__(self, "steps", tuple(resolved))
        object.__setattr__(self, "_shapes", tuple(shapes))
        read = {source for step in resolved for source in step.sources}
        unread = next((value for value in range(len(resolved)) if value not in read), None)
        if unread is not None:
            what = f"what step {unread - 1} ({resolved[unread - 1].text[:60]}) makes" if unread else "the input"
            raise ValueError(f"{what} is never read: leave the step out, or read value {unread}")

    @cached_property
    def id(self) -> str:
        """``graph-<inputs>_<step>_<step>...``; a step that does not read the value before says ``@<value>``."""
        parts = [f"graph-{'x'.join(map(str, self.inputs))}"]
        for k, step in enumerate(self.steps):
            parts.append(step.text if step.sources == (k,) else f"{step.text}@{','.join(map(str, step.sources))}")
        return "_".join(parts)

    @cached_property
    def affine(self) -> tuple[int, ...]:
        """The steps that have weights, in order."""
        return tuple(k for k, step in enumerate(self.steps) if isinstance(step, Affine))

    def layer(self, step: int) -> Affine:
        """Return a step that has weights.

        Raises:
            ValueError: it has none.
        """
        found = self.steps[step] if 0 <= step < len(self.steps) else None
        if not isinstance(found, Affine):
            raise ValueError(f"step {step} has no weights; those that have are {self.affine}")
        return found

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """``steps.k.weight`` [O, I / groups, K] and, where step k has a bias, ``steps.k.bias`` [O]."""
        shapes: dict[str, tuple[int, ...]] = {}
        for k in self.affine:
            layer = self.layer(k)
            shapes[self.weight_name(k)] = layer.weight_shape
            if layer.bias:
                shapes[self.bias_name(k)] = (layer.channels_out,)
        return shapes

    @staticmethod
    def weight_name(step: int) -> str:
        """Name of the weight of a step, counted from 0."""
        return f"steps.{step}.weight"

    @staticmethod
    def bias_name(step: int) -> str:
        """Name of the bias of a step, counted from 0."""
        return f"steps.{step}.bias"

    def shape_of(self, value: int) -> tuple[int, ...]:
        """Return the shape (channels, *positions) of a value; 0 is the input, -1 the output."""
        shapes: tuple[tuple[int, ...], ...] = self._shapes  # type: ignore[attr-defined]
        return shapes[value]

    def nonnegative(self, value: int, input_nonnegative: bool = False) -> bool:
        """Whether a value cannot be negative: after ReLU, and what pools, sums and padding make of such values."""
        known = [bool(input_nonnegative)]
        for step in self.steps:
            known.append(step.nonnegative(*(known[source] for source in step.sources)))
        return known[value]

    def module(self, weights: Mapping[str, Tensor]) -> GraphModule:
        """Build the network; it takes inputs [batch, ...] of the right number of entries, whatever their shape."""
        check_values(self, weights)
        layers = {
            k: GraphLayer(self.layer(k), weights[self.weight_name(k)], weights.get(self.bias_name(k)))
            for k in self.affine
        }
        return GraphModule(self, layers)

    def widened(self, hidden: Mapping[int, int]) -> tuple[Graph, dict[int, tuple[int, int]]]:
        """Return a network of twice the depth, in which a random ticket can compute this one.

        In place of each layer stand a pointwise layer, ReLU, and a layer of the same basis; groups and biases as
        before. The hidden channels of a group are served by its own inputs alone.

        Args:
            hidden: {step with weights: hidden channels for each of its groups}, for all of them.

        Returns:
            The network, and {step here: (its first step there, its second)}.

        Raises:
            ValueError: other steps than those with weights, or numbers below 1.

        >>> small = Graph((4,), (Affine(Pointwise(), 4, 2), Rectify(), Affine(Pointwise(), 2, 1)))
        >>> wide, pairs = small.widened({0: 40, 2: 20})
        >>> wide.id, pairs
        ('graph-4_dense:4:40_relu_dense:40:2_relu_dense:2:20_relu_dense:20:1', {0: (0, 2), 2: (4, 6)})
        """
        if set(hidden) != set(self.affine):
            raise ValueError(f"give hidden channels for each of the steps {self.affine}, got {sorted(hidden)}")
        steps: list[AbstractStep] = []
        pairs: dict[int, tuple[int, int]] = {}
        moved = [0]
        for k, step in enumerate(self.steps):
            sources = [moved[source] for source in step.sources]
            if isinstance(step, Affine):
                channels = sides("hidden channels", (hidden[k],), most=MAX_CHANNELS)[0] * step.groups
                first = Pointwise(step.basis.inputs)
                pairs[k] = (len(steps), len(steps) + 2)
                steps.append(Affine(first, step.channels_in, channels, step.groups, step.bias, sources[0]))
                steps.append(Rectify(len(steps)))
                steps.append(Affine(step.basis, channels, step.channels_out, step.groups, step.bias, len(steps)))
            else:
                steps.append(step.reading(*sources))
            moved.append(len(steps))
        return Graph(self.inputs, tuple(steps)), pairs


def _resolved(k: int, step: AbstractStep) -> AbstractStep:
    if not isinstance(step, AbstractStep):
        raise TypeError(f"step {k} must be a step of strongticket.models.graph, got {type(step).__name__}")
    sources = [k if source == -1 else source for source in step.sources]
    for source in sources:
        if isinstance(source, bool) or not isinstance(source, int) or not 0 <= source <= k:
            raise ValueError(f"step {k} ({step.text[:60]}) reads one of the values 0..{k}, or -1, got {source!r}")
    return step.reading(*sources)


class GraphLayer(nn.Module):
    """Run one step that has weights."""

    bias: Tensor | None

    def __init__(self, step: Affine, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.step = step
        self.weight = nn.Parameter(weight, requires_grad=False)  # [O, I / groups, K]
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias, requires_grad=False))  # [O]

    def forward(self, inputs: Tensor) -> Tensor:  # [batch, I, *positions] -> [batch, O, *positions]
        """Return the step's value."""
        return self.step.run(inputs, self.weight, *(() if self.bias is None else (self.bias,)))


class GraphModule(nn.Module):
    """Run a graph; its steps with weights are given as layers."""

    def __init__(self, architecture: Graph, layers: Mapping[int, nn.Module]) -> None:
        super().__init__()
        self.architecture = architecture
        self.steps = nn.ModuleDict({str(k): layers[k] for k in architecture.affine})
        self._last = {source: k for k, step in enumerate(architecture.steps) for source in step.sources}

    def forward(self, inputs: Tensor) -> Tensor:  # inputs: [batch, ...] -> [batch, channels, *positions]
        """Return the outputs; inputs are brought to the type of the weights."""
        made: dict[int, Tensor] = {0: self._input(inputs)}
        for k, step in enumerate(self.architecture.steps):
            made[k + 1] = self._run(k, [made[source] for source in step.sources])
            for source in set(step.sources):
                if self._last[source] == k:
                    del made[source]
        return made[len(self.architecture.steps)]

    def values(self, inputs: Tensor) -> list[Tensor]:  # each [batch, channels, *positions]
        """Return every value, from the input to the output."""
        made = [self._input(inputs)]
        for k, step in enumerate(self.architecture.steps):
            made.append(self._run(k, [made[source] for source in step.sources]))
        return made

    def _input(self, inputs: Tensor) -> Tensor:
        first = next(chain(self.parameters(), self.buffers()), None)
        wanted = self.architecture.inputs
        if inputs.shape[1:] != wanted:
            inputs = inputs.reshape(len(inputs), *wanted)
        return inputs if first is None else inputs.to(first.dtype)

    def _run(self, k: int, inputs: Sequence[Tensor]) -> Tensor:
        step = self.architecture.steps[k]
        outputs: Tensor = self.steps[str(k)](*inputs) if isinstance(step, Affine) else step.run(*inputs)
        return outputs


def _read(name: str) -> Graph:
    head, *parts = name.split("_")
    match = re.fullmatch(r"graph-((?:[1-9]\d{0,6})(?:x[1-9]\d{0,6}){0,7})", head, re.ASCII)
    if match is None or not 1 <= len(parts) <= MAX_STEPS:
        raise ValueError("a graph is written like graph-784_dense:784:300_relu_dense:300:10")
    steps = []
    for k, part in enumerate(parts):
        text, at, reads = part.partition("@")
        if at and not re.fullmatch(r"(?:0|[1-9]\d{0,3})(?:,(?:0|[1-9]\d{0,3}))*", reads, re.ASCII):
            raise ValueError(f"step {k} reads {reads[:40]!r}, which is no list of values like 3,1")
        try:
            steps.append(read_step(text, [int(value) for value in reads.split(",")] if at else [k]))
        except ValueError as error:
            raise ValueError(f"step {k}: {error}") from error
    made = Graph(tuple(int(side) for side in match[1].split("x")), tuple(steps))
    if made.id != name:
        raise ValueError("it is not written in the one canonical way: leave out what has its usual value")
    return made


GRAPHS = Family(re.compile(r"graph-\d"), _read, ())
