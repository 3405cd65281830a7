"""Walk through a graph with enclosures of the target's values and of the ticket's departure from them.

For every value three enclosures are carried, of each channel at each position: of the target's v, of the ticket's v',
and of the change v' - v. Beside them go bounds of Euclidean norms: of v, of the change, and, for a few centers c of the
domain, of v - v(c), where v(c) is enclosed itself. With E and W the error and the target's map of a layer,

    |W (h' - h) + E h' + offset| <= |W| |h' - h| + |E h(c) + offset| + |E| (|h - h(c)| + |h' - h|),

and the same with the norms of single rows for single coordinates; the few coefficients of E that stand out are taken
apart, each with the enclosure of what it sees. ReLU adds to no norm, a pool by what the windows overlap. At every step
the better of the two bounds is kept, for each coordinate and for the norm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import final

import numpy as np
import torch

from strongticket.certify._difference import Inputs, length, meet, plus
from strongticket.certify._graph_difference import GraphDifference, GraphGap, Interval, halves
from strongticket.certify._graph_operator import Operator
from strongticket.certify._rounding import UNIT, Floats, above, lifted, norm_above, outward, raised
from strongticket.certify.certifier import Bounds, LayerBound, relu
from strongticket.models.graph import AbstractStep, Add, Affine, AveragePool, Flatten, MaxPool, Pad, Rectify

__all__ = ["bound_graph", "difference_along", "windows"]

_SLOP = 1.0 + 64.0 * UNIT


@final
@dataclass(frozen=True, eq=False)
class State:
    """What is known of one value; enclosures are of the shape [C, *positions].

    Args:
        plain: of the target's value.
        ticket: of the ticket's.
        change: of ticket minus target.
        size: bound of the target's Euclidean norm.
        drift: bound of the change's Euclidean norm.
        centers: for each center of the domain, the target's value there and a bound of the distance from it.
    """

    plain: Interval
    ticket: Interval
    change: Interval
    size: float
    drift: float
    centers: tuple[tuple[Interval, float], ...] = ()

    def tightened(self) -> State:
        """Return it with each norm no larger than the enclosure allows."""
        size, drift = min(self.size, length(self.plain)), min(self.drift, length(self.change))
        low, high = self.plain
        centers = tuple(
            (at, lifted(min(reach, length((at[0] - high, at[1] - low)) * _SLOP))) for at, reach in self.centers
        )
        return State(self.plain, self.ticket, self.change, lifted(size), lifted(drift), centers)


def bound_graph(difference: GraphDifference, inputs: Inputs, *, intervals: bool = True, norms: bool = True) -> Bounds:
    """Return upper bounds on |target - ticket| over the inputs, by enclosures of coordinates, by norms, or by both."""
    graph = difference.architecture
    box = tuple(np.full(graph.inputs, end) for end in (inputs.low, inputs.high))
    centers = []
    for center, radius in zip(inputs.centers, inputs.radii, strict=True):
        point = np.full(graph.inputs, center)
        centers.append(((point, point), float(raised(np.array(radius)))))
    none = np.zeros(graph.inputs)
    first = State((box[0], box[1]), (box[0], box[1]), (none, none), inputs.norm, 0.0, tuple(centers) if norms else ())
    walk = _Walk(difference, intervals, norms)
    values = walk.run(first)
    rows = [_row(difference, values, k) for k in graph.affine]
    last = values[-1]
    per_output = np.maximum(np.abs(last.change[0]), np.abs(last.change[1])).reshape(-1)
    return Bounds(per_output, min(last.drift, norm_above(per_output)), tuple(rows))


def difference_along(difference: GraphDifference, point: Floats) -> Interval:
    """Enclose ticket(x) - target(x) at one point: (low, high), each [outputs]."""
    x = point.reshape(difference.architecture.inputs)
    none = np.zeros_like(x)
    first = State((x, x), (x, x), (none, none), math.inf, math.inf)
    last = _Walk(difference, intervals=True, norms=False).run(first)[-1]
    return last.change[0].reshape(-1), last.change[1].reshape(-1)


def _row(difference: GraphDifference, values: Sequence[State], k: int) -> LayerBound:
    """Say what is known of a layer: after its ReLU, if it has one of its own."""
    steps, gap = difference.architecture.steps, difference.gaps[k]
    readers = [j for j, step in enumerate(steps) if k + 1 in step.sources]
    after = len(readers) == 1 and isinstance(steps[readers[0]], Rectify)
    state = values[readers[0] + 1 if after else k + 1]
    offset = max(float(np.abs(end).max(initial=0.0)) for end in gap.offset_map)
    largest = float(np.maximum(np.abs(state.change[0]), np.abs(state.change[1])).max(initial=0.0))
    return LayerBound(max(gap.error.largest, offset), gap.error.norm, gap.weight.norm, state.size, state.drift, largest)


@final
class _Walk:
    """One pass through the steps."""

    def __init__(self, difference: GraphDifference, intervals: bool, norms: bool) -> None:
        self.difference = difference
        self.intervals = intervals
        self.norms = norms

    def run(self, first: State) -> list[State]:
        values = [first]
        for k, step in enumerate(self.difference.architecture.steps):
            values.append(self._step(k, step, [values[source] for source in step.sources]))
        return values

    def _step(self, k: int, step: AbstractStep, read: Sequence[State]) -> State:
        if isinstance(step, Affine):
            return self._affine(self.difference.gaps[k], read[0]).tightened()
        if isinstance(step, Rectify):
            return _rectified(read[0]).tightened()
        if isinstance(step, MaxPool):
            return _max_pooled(step, read[0]).tightened()
        if isinstance(step, AveragePool):
            factor = math.sqrt(windows(step) / math.prod(step.kernel)) * _SLOP
            return _mapped(lambda interval: _averaged(step, interval), read[0], factor).tightened()
        if isinstance(step, Flatten | Pad):
            return _mapped(lambda interval: (_run(step, interval[0]), _run(step, interval[1])), read[0], 1.0)
        if isinstance(step, Add):
            return reduce(_added, read).tightened()
        raise TypeError(f"step {k} is {type(step).__name__}, of which nothing can be certified")

    def _affine(self, gap: GraphGap, read: State) -> State:
        shape = (len(gap.bias), *gap.weight.basis.outputs)
        everything = (np.full(shape, -np.inf), np.full(shape, np.inf))
        plain = moved = everything
        size = drift = math.inf
        centers: list[tuple[Interval, float]] = []
        column = (gap.column, gap.column)
        if self.intervals:
            plain = plus(gap.weight.enclose(*read.plain), column)
            apart = _seen(gap, gap.error, read.ticket)
            if gap.split and math.isfinite(read.size + read.drift):
                most = gap.larger_half.rows * ((read.size + read.drift) * _SLOP) * _SLOP
                apart = meet(apart, (-most, most))
            moved = plus(plus(gap.weight.enclose(*read.change), apart), gap.offset_map)
        if self.norms:
            spikes = (np.zeros(shape), np.zeros(shape))
            if gap.spikes is not None:
                spikes = _seen(gap, gap.spikes, read.ticket)
            for at, reach in read.centers:
                there = plus(gap.weight.enclose(*at), column)
                centers.append((there, lifted(gap.weight.norm * reach * _SLOP)))
                plain = meet(plain, _about(there, gap.weight.rows * (reach * _SLOP)))
                size = min(size, (length(there) + centers[-1][1]) * _SLOP)
                left = plus(plus(_seen(gap, gap.rest, at), gap.offset_map), spikes)
                away = (reach + read.drift) * _SLOP
                rows = gap.rest.rows * away + gap.weight.rows * read.drift
                moved = meet(moved, _about(left, rows * _SLOP))
                drift = min(drift, length(left) + (gap.rest.norm * away + gap.weight.norm * read.drift) * _SLOP)
        ticket = plus(plain, moved)
        return State(plain, ticket, moved, size, lifted(drift * _SLOP), tuple(centers))


def _about(middle: Interval, radius: Floats) -> Interval:
    return plus(middle, (-radius, radius))


def _seen(gap: GraphGap, error: Operator, ticket: Interval) -> Interval:
    """Enclose what an error makes of the ticket's values."""
    if not gap.split:
        return error.enclose(*ticket)
    dimensions = len(error.basis.inputs)
    low, high = (halves(end, error.groups, dimensions) for end in ticket)
    apart = error.enclose(low, high)
    return meet(apart, _split(error, ticket)) if error.basis.nonnegative else apart


def _split(error: Operator, ticket: Interval) -> Interval:
    """Enclose E+ max(x, 0) + E- min(x, 0), channel by channel: each is extreme at an end of its range or at 0."""
    groups, held = error.groups, error.coefficients
    outputs, both = held.value.shape[:2]
    inputs = both // 2
    axes = tuple(range(1, ticket[0].ndim))

    def spread_out(channels: Floats) -> Floats:  # [I] -> [O, I / groups, 1]: what each output's group sees
        runs = np.repeat(channels.reshape(groups, 1, inputs), outputs // groups, axis=1)
        return runs.reshape(outputs, inputs, 1)

    low, high = spread_out(ticket[0].min(axis=axes)), spread_out(ticket[1].max(axis=axes))

    def made(x: Floats) -> Floats:
        return held.value[:, :inputs] * np.maximum(x, 0.0) + held.value[:, inputs:] * np.minimum(x, 0.0)

    ends = [made(low), made(high)]
    across = (low < 0) & (high > 0)
    least, most = np.minimum(*ends), np.maximum(*ends)
    least, most = np.where(across, np.minimum(least, 0.0), least), np.where(across, np.maximum(most, 0.0), most)
    ones = np.ones((inputs * groups, *error.basis.inputs))
    reach = np.maximum(raised(low), raised(high))
    size = held.size[:, :inputs] * reach + held.size[:, inputs:] * reach  # of raised factors: 0 only where terms are
    lost = size * (2.0 * (error.terms + 8) * 2.0 * UNIT) + 2.0**-900 * (size > 0)
    if held.slack is not None:
        slack = raised(held.slack)
        lost = lost + (slack[:, :inputs] * reach + slack[:, inputs:] * reach) * _SLOP
    spread = above(error.size_times(lost, ones), error.terms)
    return outward(error.times(least, ones), spread)[0], outward(error.times(most, ones), spread)[1]


def _rectified(read: State) -> State:
    plain, ticket, change = relu(read.plain, read.change)
    ticket = meet(ticket, (np.maximum(read.ticket[0], 0.0), np.maximum(read.ticket[1], 0.0)))
    centers = tuple(((np.maximum(at[0], 0.0), np.maximum(at[1], 0.0)), reach) for at, reach in read.centers)
    return State(plain, ticket, change, read.size, read.drift, centers)


def _max_pooled(step: MaxPool, read: State) -> State:
    """The largest of a window changes by no more and no less than the members do."""
    overlap = math.sqrt(windows(step)) * _SLOP

    def largest(interval: Interval) -> Interval:
        return _run(step, interval[0]), _run(step, interval[1])

    plain, ticket = largest(read.plain), largest(read.ticket)
    change = (-_run(step, -read.change[0]), _run(step, read.change[1]))
    apart = (np.nextafter(ticket[0] - plain[1], -np.inf), np.nextafter(ticket[1] - plain[0], np.inf))
    centers = tuple((largest(at), lifted(reach * overlap)) for at, reach in read.centers)
    return State(plain, ticket, meet(change, apart), read.size * overlap, lifted(read.drift * overlap), centers)


def _mapped(through: Callable[[Interval], Interval], read: State, factor: float) -> State:
    """Carry everything through a linear map without parameters, of a norm of at most `factor`."""
    centers = tuple((through(at), lifted(reach * factor)) for at, reach in read.centers)
    enclosures = through(read.plain), through(read.ticket), through(read.change)
    return State(*enclosures, lifted(read.size * factor), lifted(read.drift * factor), centers)


def _averaged(step: AveragePool, interval: Interval) -> Interval:
    """Means of a window of n places are off by at most gamma_(n + 1) times the means of the sizes."""
    terms = math.prod(step.kernel) + 8
    spread = above(_run(step, raised(np.maximum(np.abs(interval[0]), np.abs(interval[1])))), terms) * (
        2.0 * terms * UNIT
    )
    return outward(_run(step, interval[0]), spread)[0], outward(_run(step, interval[1]), spread)[1]


def _added(left: State, right: State) -> State:
    pairs = zip(left.centers, right.centers, strict=True)
    centers = tuple((plus(a, b), lifted((r + s) * _SLOP)) for (a, r), (b, s) in pairs)
    return State(
        plus(left.plain, right.plain),
        plus(left.ticket, right.ticket),
        plus(left.change, right.change),
        (left.size + right.size) * _SLOP,
        lifted((left.drift + right.drift) * _SLOP),
        centers,
    )


def windows(step: MaxPool | AveragePool) -> int:
    """Return how many windows a place can be in."""
    return math.prod(math.ceil(size / move) for size, move in zip(step.kernel, step.stride, strict=True))


def _run(step: AbstractStep, x: Floats) -> Floats:  # [C, *positions]
    with torch.no_grad():
        made: Floats = step.run(torch.from_numpy(np.ascontiguousarray(x))[None])[0].numpy()
    return made
