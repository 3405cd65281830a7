"""Read what a graph ticket computes: the network of half the depth, by its coefficients in each layer's basis.

A pair of source layers is a pointwise layer whose channels keep one incoming weight each, ReLU, and a layer in the
target's basis. ReLU of u x, at every position, is u times one half of x, and the basis maps act on that half alike, so
the coefficient that acts on it is the sum over the hidden channels of the products u v: what `collapse` does with
matrices is the case of one position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np

from strongticket.certify.collapse import (
    CollapsedLayer,
    Pair,
    StructureError,
    read_pair,
    refuse_unless_gadgets,
)
from strongticket.models.bases import AbstractBasis, Pointwise
from strongticket.models.graph import AbstractStep, Graph, Rectify
from strongticket.ticket import Ticket

__all__ = ["CollapsedGraph", "collapse_graph"]


@final
@dataclass(frozen=True, eq=False)
class CollapsedGraph:
    """The network that a graph ticket computes, of the target's size, exact where the source lies on a grid.

    Args:
        architecture: its steps: those of the source, each pair of layers made one.
        layers: {step with weights: its coefficients}.
        ticket_digest: which ticket.
    """

    architecture: Graph
    layers: Mapping[int, CollapsedLayer]
    ticket_digest: str

    @cached_property
    def exact(self) -> bool:
        """Whether every number is known exactly."""
        return all(
            sums is None or sums.slack is None
            for layer in self.layers.values()
            for sums in (layer.positive, layer.negative, layer.bias, layer.constants)
        )


def collapse_graph(ticket: Ticket, *, nonnegative: bool = False) -> CollapsedGraph:
    """Return the network of half the depth that a graph ticket computes, checking that it is made of gadgets.

    Args:
        ticket: a ticket in a `Graph` made of pairs (pointwise layer, ReLU, layer), as `Graph.widened` makes them, whose
            every parameter is random and masked.
        nonnegative: the network's inputs cannot be negative.

    Raises:
        StructureError: the ticket is not made of product gadgets; the message names the step and the channel.

    >>> from strongticket.models.bases import Convolution
    >>> from strongticket.models.graph import Affine
    >>> from strongticket.ticket import Mask, Source
    >>> net = Graph((1, 4), (Affine(Convolution(3, 1, 1, (4,)), 1, 1),))
    >>> source = Source(net.widened({0: 2})[0], seed=0)
    >>> u, v = (source.integers(f"steps.{k}.weight").astype(int) for k in (0, 2))
    >>> layer = collapse_graph(Ticket(source, Mask.full(source.shapes))).layers[0]
    >>> layer.positive.integers[0, 0].tolist() == (u[:, 0, 0] * (u[:, 0, 0] > 0) @ v[0]).tolist()
    True
    """
    source = ticket.source.architecture
    if not isinstance(source, Graph):
        raise StructureError(f"graph tickets live in a Graph, got {source.id}; see collapse for an MLP")
    refuse_unless_gadgets(ticket)
    narrow, pairs = _narrowed(source)
    layers = {}
    for step, (first, second) in pairs.items():
        layer = narrow.layer(step)
        known = narrow.nonnegative(layer.reads, nonnegative)
        layers[step] = read_pair(ticket, _pair(source, first, second, known))
    return CollapsedGraph(narrow, layers, ticket.digest)


def _narrowed(source: Graph) -> tuple[Graph, dict[int, tuple[int, int]]]:
    """Return the graph with each pair of layers made one, and {its step: (first, second) step of the source}."""
    if len(source.affine) % 2:
        raise StructureError(f"gadgets use pairs of layers, but the graph has {len(source.affine)} layers")
    heads = dict(zip(source.affine[::2], source.affine[1::2], strict=True))
    between = {_checked_pair(source, first, second): first for first, second in heads.items()}
    tails = {second: first for first, second in heads.items()}
    moved = {0: 0}  # value of the source -> value of the narrow graph
    steps: list[AbstractStep] = []
    pairs = {}
    for k, step in enumerate(source.steps):
        if k in heads or k in between:
            continue
        if k in tails:
            first, second = source.layer(tails[k]), source.layer(k)
            pairs[len(steps)] = (tails[k], k)
            bias = first.bias or second.bias
            reads = moved[first.reads]
            steps.append(replace(second, channels_in=first.channels_in, bias=bias, reads=reads))
        else:
            steps.append(step.reading(*(moved[value] for value in step.sources)))
        moved[k + 1] = len(steps)
    return Graph(source.inputs, tuple(steps)), pairs


def _checked_pair(source: Graph, first: int, second: int) -> int:
    """Return the ReLU between two layers, after checking that they are a pair."""
    head, tail = source.layer(first), source.layer(second)
    said = f"steps {first} ({head.text[:40]}) and {second} ({tail.text[:40]})"
    relu = tail.reads - 1
    if relu < 0 or not isinstance(source.steps[relu], Rectify) or source.steps[relu].sources != (first + 1,):
        raise StructureError(f"{said} are no pair: the second must read ReLU of the first")
    for value in (first + 1, relu + 1):
        readers = [k for k, step in enumerate(source.steps) if value in step.sources]
        if len(readers) != 1:
            raise StructureError(f"{said} are no pair: steps {readers} all read value {value} between them")
    if head.basis != Pointwise(tail.basis.inputs):
        raise StructureError(f"{said} are no pair: the first must be pointwise on positions {tail.basis.inputs}")
    if head.groups != tail.groups:
        raise StructureError(f"{said} are no pair: they have {head.groups} and {tail.groups} groups")
    return relu


def _pair(source: Graph, first: int, second: int, nonnegative: bool) -> Pair:
    head, tail = source.layer(first), source.layer(second)
    return Pair(
        first=Graph.weight_name(first),
        first_bias=Graph.bias_name(first),
        second=Graph.weight_name(second),
        second_bias=Graph.bias_name(second),
        biased=(head.bias, tail.bias),
        inputs=head.channels_in // head.groups,
        hidden=head.channels_out // head.groups,
        outputs=tail.channels_out,
        nonnegative=nonnegative,
        groups=head.groups,
        terms=tail.basis.size,
        keeps_ones=_keeps_ones(tail.basis) if head.bias else (False,) * tail.basis.size,
    )


def _keeps_ones(basis: AbstractBasis) -> tuple[bool, ...]:
    """Say which maps make a map of ones of a map of ones, where floating-point row sums are sure to be exact."""
    entries = getattr(basis, "arrays", np.ones(1))
    scaled = np.asarray(entries) * 2.0**26
    if np.abs(entries).max() > 2.0**5 or not np.array_equal(scaled, np.round(scaled)):
        return (False,) * basis.size
    return tuple(bool((row == 1.0).all()) for row in basis.row_sums)
