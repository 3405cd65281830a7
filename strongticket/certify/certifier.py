"""Certifiers: upper bounds on how far a ticket's function can be from its target's, over every input of a domain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from strongticket.certify._chains import SPAN, Chains, Push
from strongticket.certify._difference import (
    Difference,
    Gap,
    Inputs,
    first_interval,
    length,
    meet,
    offset_interval,
    plus,
    shifted,
)
from strongticket.certify._rounding import UNIT, Floats, above, lifted, norm_above, raised

__all__ = ["AbstractCertifier", "Bounds", "DifferenceIntervals", "Hybrid", "LayerBound", "OperatorNorms"]

_SLOP = 1.0 + 64.0 * UNIT
_PRODUCT = 0.02  # what a small product costs beside one of matrices of 1000 by 1000, its norm included
Interval = tuple[Floats, Floats]


@final
@dataclass(frozen=True)
class LayerBound:
    """What is known of one layer of target and ticket over the domain, for reading where the error comes from.

    Args:
        largest_error: largest |effective weight - target weight|, biases included.
        error_norm: bound of the spectral norm of the error matrix.
        weight_norm: bound of the spectral norm of the target's matrix.
        hidden: bound of the Euclidean norm of the target's output of this layer (after ReLU, but for the last).
        difference: bound of the Euclidean norm of the difference of the two outputs of this layer.
        difference_max: bound of its largest coordinate.
    """

    largest_error: float
    error_norm: float
    weight_norm: float
    hidden: float
    difference: float
    difference_max: float


@final
@dataclass(frozen=True, eq=False)
class Bounds:
    """Upper bounds on |target - ticket| over a domain: of each output, of the Euclidean norm, and layer by layer."""

    per_output: Floats  # [outputs]
    l2: float
    layers: tuple[LayerBound, ...]


class AbstractCertifier(ABC):
    """Bound the difference of two networks over a domain, rounding outward; each certifier is one way to do it."""

    name: ClassVar[str]

    @abstractmethod
    def bound(self, difference: Difference, inputs: Inputs) -> Bounds:
        """Return upper bounds on |target - ticket| over the inputs."""


@final
@dataclass(frozen=True)
class DifferenceIntervals(AbstractCertifier):
    """Carry an interval for every neuron of the target and for its difference to the ticket's, layer by layer.

    Best for small networks and small boxes; grows with the row sums of the weights at each layer.
    """

    name: ClassVar[str] = "difference intervals"

    def bound(self, difference: Difference, inputs: Inputs) -> Bounds:
        """Return upper bounds on |target - ticket| over the inputs."""
        return _Walk(difference, inputs, None).run()


@final
@dataclass(frozen=True)
class OperatorNorms(AbstractCertifier):
    """Add up how far each layer's error can travel through the layers after it, by norms of chains of matrices.

    With T(i) the map of the target's layers above i between two points, linear with slopes in [0, 1],
    target - ticket = -sum over i of T(i) (E_i h'_(i-1) + offset_i), h' the ticket's hidden values. About a point c,
    h' = h(c) + (h - h(c)) + (h' - h), where h - h(c) is again a chain of matrices from the input. The few entries of
    E_i that stand out are taken apart, each with the bound of the one h'_k that it sees. Best where layers are wide.

    Args:
        reach: how many matrices in a row are multiplied out; 1 uses the norms of single layers only, 0 lets the widths
            decide.
    """

    reach: int = 0
    name: ClassVar[str] = "operator norms"

    def bound(self, difference: Difference, inputs: Inputs) -> Bounds:
        """Return upper bounds on |target - ticket| over the inputs."""
        chains = Chains(difference, self.reach or affordable_reach(difference))
        walk = _Walk(difference, inputs, chains, intervals=False)
        return walk.run()


@final
@dataclass(frozen=True)
class Hybrid(AbstractCertifier):
    """Carry intervals and norms together and keep the smaller bound at every step: never worse than either alone.

    Args:
        reach: as for `OperatorNorms`.
    """

    reach: int = 0
    name: ClassVar[str] = "difference intervals and operator norms"

    def bound(self, difference: Difference, inputs: Inputs) -> Bounds:
        """Return upper bounds on |target - ticket| over the inputs."""
        return _Walk(difference, inputs, Chains(difference, self.reach or affordable_reach(difference))).run()


def affordable_reach(difference: Difference) -> int:
    """Return how many matrices in a row may be multiplied out in about a second."""
    widest = max(max(layer.weight.value.shape) for layer in difference.layers)
    depth = len(difference.layers)
    each = _PRODUCT + (widest / 1000.0) ** 3
    chains, reach = 0, 1
    for k in range(1, min(depth, SPAN)):  # k + 1 matrices in a row, one of which may be the error's
        chains += (depth - k) * (k + 2)
        if chains * each <= 30.0:
            reach = k + 1
    return reach


def affine(layer: Gap, hidden: Interval, ticket: Interval, change: Interval) -> tuple[Interval, Interval]:
    """Carry enclosures of h, h' and h' - h through one layer: those of W h + b and of the ticket's difference to it.

    (W + E) h' + b' - (W h + b) = W (h' - h) + E h' + (b' - b).
    """
    plain = shifted(layer.weight.enclose(*hidden), layer.bias)
    moved = plus(layer.weight.enclose(*change), layer.error.enclose(*ticket))
    return plain, plus(moved, offset_interval(layer))


def relu(plain: Interval, change: Interval) -> tuple[Interval, Interval, Interval]:
    """Carry enclosures of z and z' - z through ReLU: those of h, h' and h' - h.

    h' - h = s (z' - z) with a slope s in [0, 1], so it lies between 0 and z' - z; it equals it where both are positive,
    and it lies in [-h, h'].
    """
    low, high = change
    other = plus(plain, change)
    active = (plain[0] >= 0) & (other[0] >= 0)
    hidden = (np.maximum(plain[0], 0.0), np.maximum(plain[1], 0.0))
    ticket = (np.maximum(other[0], 0.0), np.maximum(other[1], 0.0))
    least = np.nextafter(ticket[0] - hidden[1], -np.inf)
    most = np.nextafter(ticket[1] - hidden[0], np.inf)
    lower = np.where(active, low, np.maximum(np.maximum(np.minimum(low, 0.0), -hidden[1]), least))
    upper = np.where(active, high, np.minimum(np.minimum(np.maximum(high, 0.0), ticket[1]), most))
    return hidden, ticket, (lower, upper)


@final
class _Walk:
    """One pass through the layers, with intervals, with norms, or with both."""

    def __init__(self, difference: Difference, inputs: Inputs, chains: Chains | None, intervals: bool = True) -> None:
        self.gaps = difference.layers
        self.depth = len(self.gaps)
        self.inputs = inputs
        self.chains = chains
        self.intervals = intervals
        self.departures: list[list[Interval]] = []  # [center][layer]: E_i h_(i-1)(c) + offset_i
        self.pushes: list[Push] = []  # of those, a column for each center, carried to the layer at hand
        self.spikes: list[Push] = []  # of what the spikes of a layer can add, if it has any
        self.radii = raised(np.array(inputs.radii))
        self.at_center: list[list[Interval]] = []  # [center][layer]: W_i h_(i-1)(c) + b_i
        if chains is not None:
            for center in inputs.centers:
                plain, moved = _at_point(difference, center)
                self.at_center.append(plain)
                self.departures.append(moved)
        self.drift = [0.0]  # bounds of |h'_i - h_i| in l2, from layer 0
        box = np.full(inputs.dimension, max(abs(inputs.low), abs(inputs.high)))
        self.seen = [np.concatenate([box, box]) if self.gaps[0].split else box]  # bounds of each |h'_i|, from layer 0

    def run(self) -> Bounds:
        rows: list[LayerBound] = []
        hidden = ticket = change = (np.zeros(0), np.zeros(0))
        plain = moved = change
        for i in range(1, self.depth + 1):
            gap = self.gaps[i - 1]
            if i == 1:
                plain, moved = first_interval(gap, self.inputs)
            else:
                plain, moved = affine(gap, hidden, ticket, change)
            if not self.intervals:
                infinite = np.full_like(plain[0], np.inf)
                plain, moved = (-infinite, infinite), (-infinite, infinite)
            drift, height = np.inf, np.inf
            if self.chains is not None:
                plain = meet(plain, self._plain_by_norms(i))
                coordinates, drift = self._moved_by_norms(i)
                moved = meet(moved, (-coordinates, coordinates))
                height = self._height(i)
            last = i == self.depth
            if not last:
                hidden, ticket, change = relu(plain, moved)
                self.seen.append(np.maximum(np.abs(ticket[0]), np.abs(ticket[1])))
            shown, gone = (plain, moved) if last else (hidden, change)
            self.drift.append(lifted(min(drift, length(gone))))
            rows.append(self._row(gap, min(height, length(shown)), gone))
        per_output = np.maximum(np.abs(moved[0]), np.abs(moved[1]))
        return Bounds(per_output, min(self.drift[-1], norm_above(per_output)), tuple(rows))

    def _row(self, gap: Gap, hidden: float, gone: Interval) -> LayerBound:
        offset = gap.offset.size
        largest = max(float(gap.error.size.max(initial=0.0)), float(offset.max(initial=0.0)))
        largest_change = float(np.maximum(np.abs(gone[0]), np.abs(gone[1])).max(initial=0.0))
        return LayerBound(largest, gap.error.norm, gap.weight.norm, hidden, self.drift[-1], largest_change)

    def _plain_by_norms(self, i: int) -> Interval:
        """Enclose W_i h + b_i about the centers: each coordinate by the row of its chain from the input."""
        assert self.chains is not None
        rows = self.chains.theta_rows(1, i)
        bounds = (np.full_like(rows, -np.inf), np.full_like(rows, np.inf))
        for middle, radius in zip(self.at_center, self.radii.tolist(), strict=True):
            reach = rows * radius * _SLOP
            bounds = meet(bounds, plus(middle[i - 1], (-reach, reach)))
        return bounds

    def _height(self, i: int) -> float:
        """Bound |W_i h + b_i| about the centers; ReLU does not make it longer."""
        assert self.chains is not None
        theta = self.chains.theta(1, i)
        pairs = zip(self.at_center, self.radii, strict=True)
        return min((length(middle[i - 1]) + theta * float(radius)) * _SLOP for middle, radius in pairs)

    def _moved_by_norms(self, i: int) -> tuple[Floats, float]:
        """Bound the difference after layer i, before its ReLU: each coordinate, and the Euclidean norm.

        To be called for i = 1, 2 and so on, in turn.
        """
        chains = self.chains
        assert chains is not None
        for push in (*self.pushes, *self.spikes):
            push.step()
        low, high = (np.stack([layers[i - 1][end] for layers in self.departures], axis=1) for end in (0, 1))
        self.pushes.append(Push(chains, low, high, i + 1))
        spikes = self._spikes(i)
        if spikes.shape[1]:
            self.spikes.append(Push(chains, spikes, spikes, i + 1))
        rows = np.zeros((len(low), len(self.radii)))  # a column for each center
        total = np.zeros(len(self.radii))
        for k, push in enumerate(self.pushes, 1):
            away = self.drift[k - 1]
            rows = rows + push.rows + chains.theta_rows(1, i, k)[:, None] * self.radii
            rows = rows + (chains.theta_rows(k, i, k) * away)[:, None]
            total = total + push.lengths + chains.theta(1, i, k) * self.radii + chains.theta(k, i, k) * away
        terms = 5 * i + 8
        for push in self.spikes:
            rows = rows + push.rows.sum(axis=1)[:, None]
            total = total + push.lengths.sum()
            terms += push.rows.shape[1] + 1
        return above(rows.min(axis=1), terms), float(above(total, terms).min())

    def _spikes(self, k: int) -> Floats:  # [outputs of layer k, spiky rows]
        """Return what the spikes of layer k can add at most, one column for each output that has some.

        A column is a multiple, at most 1 in magnitude, of what is added to that output, so norms of it are bounds.
        """
        error = self.gaps[k - 1].error
        rows, columns = self.gaps[k - 1].spikes
        weights = error.size[rows, columns] * raised(self.seen[k - 1])[columns]
        amount: Floats = np.bincount(rows, weights=weights, minlength=len(error.size)).astype(np.float64)
        places = np.unique(rows)
        result = np.zeros((len(error.size), len(places)))
        result[places, np.arange(len(places))] = above(amount[places], max(len(rows), 1))
        return result


def _at_point(difference: Difference, t: float) -> tuple[list[Interval], list[Interval]]:
    """Enclose, layer by layer, W_i h_(i-1) + b_i and E_i h_(i-1) + offset_i at x = (t, ..., t), E_i without spikes."""
    point = np.full(difference.inputs, t)
    plain: list[Interval] = []
    moved: list[Interval] = []
    hidden = (point, point)
    for i, gap in enumerate(difference.layers):
        seen = hidden
        if i == 0 and gap.split:
            halves = np.concatenate([np.maximum(point, 0.0), np.minimum(point, 0.0)])
            seen = (halves, halves)
        moved.append(plus(gap.rest.enclose(*seen), offset_interval(gap)))
        plain.append(shifted(gap.weight.enclose(*hidden), gap.bias))
        hidden = (np.maximum(plain[-1][0], 0.0), np.maximum(plain[-1][1], 0.0))
    return plain, moved
