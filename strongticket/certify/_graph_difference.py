"""A graph target and what its ticket computes, side by side: the counterpart of `_difference` for layers in a basis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np

from strongticket.certify._difference import column_interval, cut, errors, plus
from strongticket.certify._graph_operator import Operator
from strongticket.certify._matrix import Matrix
from strongticket.certify._rounding import Floats
from strongticket.certify.graph_collapse import CollapsedGraph
from strongticket.models.graph import Graph
from strongticket.models.targets import GraphTarget

__all__ = ["GraphDifference", "GraphGap", "graph_difference", "halves"]

Interval = tuple[Floats, Floats]


@final
@dataclass(frozen=True, eq=False)
class GraphGap:
    """One layer of the target and the ticket's error in it: ticket = target + (error x + offset).

    Where its inputs can be negative, `error` has twice the channels: in each group max(x, 0), then min(x, 0).

    Args:
        weight: the target's layer.
        bias: the target's bias, [O].
        error: ticket minus target.
        offset: ticket's bias minus target's, a column [O, 1].
        constants: what further acts on a map of ones, one input channel; None for nothing.
    """

    weight: Operator
    bias: Floats
    error: Operator
    offset: Matrix
    constants: Operator | None

    @property
    def split(self) -> bool:
        """Whether the error acts on the two halves of the input apart."""
        return bool(self.error.coefficients.value.shape[1] != self.weight.coefficients.value.shape[1])

    @cached_property
    def larger_half(self) -> Operator:
        """Where `split`: of each input one half is 0, so the rows of these larger ones bound the error by its norm."""
        runs = np.split(self.error.coefficients.size, 2, axis=1)
        return Operator(self.error.basis, Matrix(np.maximum(*runs)), self.error.groups)

    @property
    def column(self) -> Floats:
        """The target's bias in the shape [O, 1, ...] that adds to outputs."""
        return self.bias.reshape(-1, *(1,) * len(self.weight.basis.outputs))

    @cached_property
    def _cut(self) -> tuple[Operator, Operator | None]:
        places, rest = cut(self.error.coefficients)
        if not places.size:
            return self.error, None
        held = self.error.coefficients
        kept = np.zeros(held.value.shape, dtype=bool)
        kept.reshape(-1)[places] = True
        slack = None if held.slack is None else np.where(kept, held.slack, 0.0)
        spikes = replace(self.error, coefficients=Matrix(np.where(kept, held.value, 0.0), slack))
        return replace(self.error, coefficients=rest), spikes

    @property
    def rest(self) -> Operator:
        """The error without the few coefficients that stand out."""
        return self._cut[0]

    @property
    def spikes(self) -> Operator | None:
        """The coefficients of the error that stand out, if any; best bounded by the inputs that they see."""
        return self._cut[1]

    @cached_property
    def offset_map(self) -> Interval:  # each [O, *outputs]
        """Enclosure of what the ticket adds to each output beyond its error in the weights."""
        shape = (len(self.bias), *self.weight.basis.outputs)
        column = tuple(end.reshape(self.column.shape) for end in column_interval(self.offset))
        low, high = (np.broadcast_to(end, shape).copy() for end in column)
        if self.constants is None:
            return low, high
        ones = np.ones((1, *self.weight.basis.inputs))
        return plus((low, high), self.constants.enclose(ones, ones))


@final
@dataclass(frozen=True, eq=False)
class GraphDifference:
    """Target and ticket side by side.

    Args:
        architecture: the target's.
        gaps: {step with weights: target and error there}.
        ticket_digest: which ticket.
        target_digest: which target.
    """

    architecture: Graph
    gaps: Mapping[int, GraphGap]
    ticket_digest: str
    target_digest: str

    @property
    def inputs(self) -> int:
        """Input dimension, all channels and positions."""
        return math.prod(self.architecture.inputs)

    @property
    def outputs(self) -> int:
        """Output dimension, all channels and positions."""
        return math.prod(self.architecture.shape_of(-1))

    @property
    def signed_ready(self) -> bool:
        """Whether it speaks of negative inputs too."""
        graph = self.architecture
        return all(gap.split or graph.nonnegative(graph.layer(k).reads) for k, gap in self.gaps.items())


def graph_difference(collapsed: CollapsedGraph, target: GraphTarget) -> GraphDifference:
    """Return target and ticket side by side.

    Raises:
        ValueError: they do not have the same steps.
    """
    mine, theirs = _unbiased(collapsed.architecture), _unbiased(target.architecture)
    if mine != theirs:
        k = next(
            (k for k, pair in enumerate(zip(mine.steps, theirs.steps, strict=False)) if pair[0] != pair[1]),
            min(len(mine.steps), len(theirs.steps)),
        )
        raise ValueError(
            f"the ticket computes another network than the target, from step {k} on: {_named(mine, k)} instead of "
            f"{_named(theirs, k)}, inputs {mine.inputs} and {theirs.inputs}"
        )
    gaps = {}
    for k, layer in collapsed.layers.items():
        step = target.architecture.layer(k)
        weight = target.weights[Graph.weight_name(k)].numpy().astype(np.float64)
        own = target.weights.get(Graph.bias_name(k))
        bias = np.zeros(step.channels_out) if own is None else own.numpy().astype(np.float64)
        error, offset = errors(layer, weight, bias)
        constants = None
        if layer.constants is not None:
            held = layer.constants
            slack = None if held.slack is None else held.slack[:, None, :]
            constants = Operator(step.basis, Matrix(held.value[:, None, :], slack))
        gaps[k] = GraphGap(
            Operator(step.basis, Matrix(weight), step.groups),
            bias,
            Operator(step.basis, error, step.groups),
            offset,
            constants,
        )
    return GraphDifference(target.architecture, gaps, collapsed.ticket_digest, target.digest)


def _unbiased(graph: Graph) -> Graph:
    steps = list(graph.steps)
    for k in graph.affine:
        steps[k] = replace(graph.layer(k), bias=False)
    return Graph(graph.inputs, tuple(steps))


def _named(graph: Graph, k: int) -> str:
    if k >= len(graph.steps):
        return "its end"
    return f"{graph.steps[k].text[:60]} of values {graph.steps[k].sources}"


def halves(x: Floats, groups: int, positions: int) -> Floats:  # [..., I, *positions] -> [..., 2 I, *positions]
    """Return max(x, 0) and min(x, 0) side by side in each group, for an error that acts on the two apart."""
    axis = x.ndim - positions - 1
    runs = x.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])
    both = np.concatenate([np.maximum(runs, 0.0), np.minimum(runs, 0.0)], axis=axis + 1)
    return both.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
