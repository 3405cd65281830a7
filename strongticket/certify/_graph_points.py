"""Run a graph target and its ticket's departure at points: gradients to climb along, outputs with known rounding.

The target's value h and the change c = h' - h are carried beside each other, so that a small c does not drown in the
rounding of h. With `lost`, bounds of the Euclidean norms of both errors go along: an affine layer adds what its sums
round, |computed - exact| <= gamma_n |W| |h| coordinate by coordinate (so the norm of the layer of absolute values
bounds it); ReLU and max pools make c of h and c by maps whose slopes are at most 1, or 2 where a pool compares.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from strongticket.certify._difference import length
from strongticket.certify._graph_difference import GraphDifference, GraphGap
from strongticket.certify._graph_operator import Operator
from strongticket.certify._graph_walk import windows
from strongticket.certify._points import norms_above
from strongticket.certify._rounding import UNIT, Floats, gamma, norm_above, raised
from strongticket.models.graph import AbstractStep, Add, Affine, AveragePool, MaxPool, Rectify

__all__ = ["Points", "at_points", "batches", "graph_forward"]

_SLOP = 1.0 + 64.0 * UNIT
_NUMBERS = 1 << 22  # of the largest value of a batch


@final
@dataclass(frozen=True, eq=False)
class Points:
    """What target and ticket make of a batch of inputs.

    Args:
        outputs: the target's, [batch, outputs].
        lost: bounds of the Euclidean norm of their error.
        change: ticket minus target, [batch, outputs].
        change_lost: bounds of the Euclidean norm of its error.
    """

    outputs: Floats
    lost: Floats
    change: Floats
    change_lost: Floats


def batches(difference: GraphDifference, points: Floats) -> Iterator[Floats]:
    """Yield the points in batches whose values take little memory; one empty batch of none."""
    graph = difference.architecture
    widest = max(math.prod(graph.shape_of(k)) for k in range(len(graph.steps) + 1))
    size = max(1, _NUMBERS // (2 * widest))
    for start in range(0, max(len(points), 1), size):
        yield points[start : start + size]


def graph_forward(
    difference: GraphDifference,
    points: Floats,  # [batch, inputs]
    weights: Floats | None = None,  # [batch, outputs]
    dtype: torch.dtype = torch.float64,
) -> tuple[Floats, Floats]:
    """Return ticket - target at points, and the gradient of its product with weights [batch, inputs]; no proof."""
    changes, gradients = [], []
    start = 0
    for part in batches(difference, points):
        x = torch.from_numpy(part.reshape(-1, *difference.architecture.inputs)).to(dtype)
        with torch.set_grad_enabled(weights is not None):
            x.requires_grad_(weights is not None)
            change = _carried(difference, x)[1].flatten(1)
            if weights is not None:
                goal = torch.from_numpy(weights[start : start + len(part)]).to(dtype)
                (gradient,) = torch.autograd.grad((change * goal).sum(), x)
                gradients.append(gradient.flatten(1).double().numpy())
        changes.append(change.detach().double().numpy())
        start += len(part)
    return np.concatenate(changes), np.concatenate(gradients) if gradients else np.zeros((0, 0))


def at_points(difference: GraphDifference, points: Floats) -> Points:  # [batch, inputs]
    """Return the target's outputs and the ticket's change at a batch of points, with bounds of their errors."""
    x = torch.from_numpy(points.reshape(-1, *difference.architecture.inputs))
    lost = _Losses(len(points))
    with torch.no_grad():
        plain, change = _carried(difference, x, lost)
    of_plain, of_change = lost.values[-1]
    return Points(plain.flatten(1).numpy(), of_plain, change.flatten(1).numpy(), of_change)


Pair = tuple[Tensor, Tensor]  # the target's value and the change


def _carried(difference: GraphDifference, x: Tensor, lost: _Losses | None = None) -> Pair:
    values: list[Pair] = [(x, torch.zeros_like(x))]
    for k, step in enumerate(difference.architecture.steps):
        read = [values[source] for source in step.sources]
        if isinstance(step, Affine):
            values.append(_affine(difference.gaps[k], *read[0], first=step.reads == 0))
        elif isinstance(step, Rectify):
            values.append(_rectified(*read[0]))
        elif isinstance(step, MaxPool):
            values.append(_max_pooled(step, *read[0]))
        else:
            values.append((step.run(*(h for h, _ in read)), step.run(*(c for _, c in read))))
        if lost is not None:
            lost.follow(difference.gaps.get(k), step, read, values[-1])
    return values[-1]


def _affine(gap: GraphGap, h: Tensor, c: Tensor, *, first: bool) -> Pair:
    def apply(operator: Operator, x: Tensor) -> Tensor:
        numbers = torch.from_numpy(operator.coefficients.value).to(x.dtype)
        return operator.basis.apply(numbers, x, operator.groups)

    seen = h + c
    if gap.split:
        runs = seen.reshape(len(seen), gap.error.groups, -1, *seen.shape[2:])
        seen = torch.cat([runs.clamp(min=0.0), runs.clamp(max=0.0)], dim=2).flatten(1, 2)
    low, high = gap.offset_map
    moved = apply(gap.error, seen) + torch.from_numpy(0.5 * low + 0.5 * high).to(h.dtype)
    if not first:  # nothing has changed yet
        moved = moved + apply(gap.weight, c)
    return apply(gap.weight, h) + torch.from_numpy(gap.column).to(h.dtype), moved


def _rectified(h: Tensor, c: Tensor) -> Pair:
    other, hidden = h + c, torch.relu(h)
    return hidden, torch.where((h > 0) & (other > 0), c, torch.relu(other) - hidden)


def _max_pooled(step: MaxPool, h: Tensor, c: Tensor) -> Pair:
    call = (
        functional.max_pool1d_with_indices,
        functional.max_pool2d_with_indices,
        functional.max_pool3d_with_indices,
    )[len(step.kernel) - 1]
    hidden, at = call(h, step.kernel, step.stride, step.padding)
    other, place = call(h + c, step.kernel, step.stride, step.padding)
    same = c.flatten(2).gather(2, at.flatten(2)).reshape(hidden.shape)
    return hidden, torch.where(at == place, same, other - hidden)


@final
class _Losses:
    """Bounds of the errors' norms of every value and every change, for each point of the batch."""

    def __init__(self, count: int) -> None:
        self.values: list[tuple[Floats, Floats]] = [(np.zeros(count), np.zeros(count))]

    def follow(self, gap: GraphGap | None, step: AbstractStep, read: Sequence[Pair], made: Pair) -> None:
        """Add those of the value that a step made."""
        before = [self.values[source] for source in step.sources]
        h, c = (sum((_sizes(pair[i]) for pair in read), np.zeros(len(made[0]))) for i in (0, 1))
        of_h, of_c = (sum((loss[i] for loss in before), np.zeros(len(made[0]))) for i in (0, 1))
        if gap is not None:
            found = _affine_losses(gap, h, c, of_h, of_c)
        elif isinstance(step, Rectify):
            found = of_h, of_h + of_c + 8.0 * UNIT * (h + c)
        elif isinstance(step, MaxPool):
            factor = math.sqrt(windows(step))
            found = factor * of_h, factor * (2.0 * of_h + of_c + 8.0 * UNIT * (h + c))
        elif isinstance(step, AveragePool):
            factor, rough = math.sqrt(windows(step) / math.prod(step.kernel)), gamma(math.prod(step.kernel) + 8)
            found = factor * (of_h + rough * h), factor * (of_c + rough * c)
        elif isinstance(step, Add):
            rough = gamma(len(read) + 8)
            found = of_h + rough * h, of_c + rough * c
        else:
            found = of_h, of_c
        self.values.append((raised(found[0] * _SLOP), raised(found[1] * _SLOP)))


def _affine_losses(gap: GraphGap, h: Floats, c: Floats, of_h: Floats, of_c: Floats) -> tuple[Floats, Floats]:
    positions = math.prod(gap.weight.basis.outputs)
    bias = norm_above(gap.bias) * math.sqrt(positions) * _SLOP
    low, high = gap.offset_map
    offset, width = length((low, high)), length((high - low, high - low))
    rough, error_rough = gamma(gap.weight.terms + 8), gamma(gap.error.terms + 8)
    plain = gap.weight.norm * of_h + rough * (gap.weight.holder * h + bias)
    ticket = h + c
    moved = gap.weight.norm * of_c + gap.error.norm * (of_h + of_c + 2.0 * UNIT * ticket)
    moved = moved + (rough * gap.weight.holder) * c + (error_rough * gap.error.holder + gap.error.drift_norm) * ticket
    return plain, moved + width + 8.0 * UNIT * (offset + gap.weight.holder * c + gap.error.holder * ticket)


def _sizes(value: Tensor) -> Floats:
    flat = value.flatten(1)
    return raised(norms_above(flat.numpy()))
