"""Whether two trained networks lie in one valley: loss and accuracy on the straight line between them.

Frankle, Dziugaite, Roy & Carbin (2020), "Linear Mode Connectivity and the Lottery Ticket Hypothesis".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from strongticket.source import AbstractArchitecture
from strongticket.training.evaluate import judged

__all__ = ["Connection", "PathPoint", "connection"]

_BATCH = 1024


@dataclass(frozen=True)
class PathPoint:
    """A network on the line.

    Attributes:
        at: 0 at the one end, 1 at the other.
        loss: mean cross-entropy.
        accuracy: share of examples classified correctly.
    """

    at: float
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Connection:
    """What the line between two networks showed.

    Attributes:
        points: from the one to the other, both included.
    """

    points: tuple[PathPoint, ...]

    @property
    def barrier(self) -> float:
        """By how much, at most, the error on the line exceeds the mean of the errors at both ends, in [0, 1].

        Frankle et al.'s instability; 0 where no point of the line is worse than that.
        """
        mean = (self.points[0].accuracy + self.points[-1].accuracy) / 2
        return max(0.0, *(mean - point.accuracy for point in self.points))

    @property
    def drop(self) -> float:
        """By how much the worst point of the line is less accurate than the worse end, in [0, 1]."""
        return min(self.points[0].accuracy, self.points[-1].accuracy) - min(point.accuracy for point in self.points)


def connection(
    network: AbstractArchitecture,
    one: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    data: tuple[Tensor, Tensor],
    *,
    points: int = 11,
    statistics: Tensor | None = None,
) -> Connection:
    """Return loss and accuracy on the straight line between two networks.

    Two tickets of different masks meet on the way in a network that keeps what either keeps.

    Args:
        network: what both are.
        one: its state dict at the one end.
        other: at the other end.
        data: (inputs, labels) that networks on the line are judged by.
        points: how many, both ends included; at least 2.
        statistics: training inputs that running statistics are measured anew on, at every point, the ends included;
            None: they are mixed as weights are, which can look like a barrier where there is none.

    Raises:
        ValueError: fewer than two points, or statistics of no inputs.

    >>> from strongticket.models import architecture
    >>> net = architecture("mlp-2-2")
    >>> ends = [{"layers.0.weight": sign * torch.eye(2)} for sign in (1.0, -1.0)]
    >>> line = connection(net, *ends, (torch.eye(2), torch.arange(2)), points=3)
    >>> [point.accuracy for point in line.points], line.barrier
    ([1.0, 0.5, 0.0], 0.5)
    """
    if points < 2:
        raise ValueError(f"a line has at least its two ends, got {points} points")
    if statistics is not None and not len(statistics):
        raise ValueError("running statistics are measured on one input at least: give some, or None to mix them")
    inputs, labels = data
    found = []
    for step in range(points):
        at = step / (points - 1)
        module = network.module(_between(one, other, at)).to(inputs.device)
        if statistics is not None:
            _measure_statistics(module, statistics)
        loss, hits = judged(module, inputs, labels)
        found.append(PathPoint(at, float(loss), int(hits) / len(labels)))
    return Connection(tuple(found))


def _between(one: Mapping[str, Tensor], other: Mapping[str, Tensor], at: float) -> dict[str, Tensor]:
    """The state dict at a place of the line; exactly that of an end at the end; counts are those of the one."""
    if at in (0.0, 1.0):
        return {name: value.detach().cpu().clone() for name, value in (other if at else one).items()}
    return {
        name: torch.lerp(value.cpu(), other[name].cpu(), at) if value.is_floating_point() else value.cpu().clone()
        for name, value in one.items()
    }


def _measure_statistics(module: nn.Module, inputs: Tensor) -> None:
    """Set running statistics to the mean over batches of those of each batch."""
    layers = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        return
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over batches, not a moving one
        layer.train()
    with torch.no_grad():
        # parts of nearly equal size: each counts as much as the others, and the moments of a small rest are noise
        for batch in torch.tensor_split(inputs, math.ceil(len(inputs) / _BATCH)):
            module(batch)
