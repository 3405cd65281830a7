"""What a search is on a device: flat buffers, and the engine that works on them; here the one of torch operations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

__all__ = ["AbstractEngine", "Flat", "TorchEngine", "keep_largest"]


@dataclass(frozen=True, eq=False)
class Flat:
    """The buffers of a search, all on one device; what is written to is written in place.

    Attributes:
        weights, scores, momenta, kept, gradients: [size] float32.
        hyper: [3] float32: learning rate, momentum, weight decay.
        sizes: of the segments, one behind the other.
        counts: [segments] int32: how many scores each keeps.
        wrong: [1] int32: 1 once a score was NaN or infinite.
    """

    weights: Tensor
    scores: Tensor
    momenta: Tensor
    kept: Tensor
    gradients: Tensor
    hyper: Tensor
    sizes: tuple[int, ...]
    counts: Tensor
    wrong: Tensor

    @property
    def device(self) -> torch.device:
        """Where everything lies."""
        return self.scores.device

    @cached_property
    def stops(self) -> Tensor:  # [segments] int64
        """One past the last index of each segment."""
        return torch.tensor(self.sizes, device=self.device).cumsum(0)

    @cached_property
    def starts(self) -> Tensor:  # [segments] int64
        """The first index of each segment."""
        return self.stops - torch.tensor(self.sizes, device=self.device)


class AbstractEngine(ABC):
    """What does the work of a `SegmentedTopK` on a device, without ever waiting for it."""

    @abstractmethod
    def step(self) -> None:
        """Move the scores along the gradients, which may be overwritten, and choose."""

    @abstractmethod
    def choose(self) -> None:
        """Choose from the scores as they are."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """What makes the next steps faster, by name; it changes no result."""

    @abstractmethod
    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up `state`, if it is there and fits."""

    @property
    @abstractmethod
    def misses(self) -> list[int]:
        """How often a segment was not settled by its prediction; waits for the device."""


def keep_largest(
    scores: Tensor,  # [size] float32
    weights: Tensor,  # [size] float32
    segment: Tensor,  # [size] int64, rising
    cuts: Tensor,  # [segments] int64: the end of each segment less its count
    absolute: bool,
) -> Tensor:  # [size]
    """Return the weights of the largest scores of each segment, and 0 elsewhere; exact, ties by the highest index.

    One stable sort of (segment, rank) for everything. Ranks are the scores' bits, so that NaN lies beyond infinity and
    -0.0 equals 0.0.

    >>> scores, segment = torch.tensor([1.0, -3.0, 2.0, 2.0]), torch.tensor([0, 0, 1, 1])
    >>> keep_largest(scores, torch.ones(4), segment, torch.tensor([1, 3]), absolute=True)
    tensor([0., 1., 0., 1.])
    """
    bits = scores.view(torch.int32).long()
    rank = bits & 0x7FFFFFFF if absolute else torch.where(bits >= 0, bits, -0x80000000 - bits) + 0x80000000
    order = torch.sort((segment << 32) | rank, stable=True).indices
    place = torch.arange(len(scores), device=scores.device)  # segments are as long after the sort as before
    keep = torch.zeros_like(scores, dtype=torch.bool).scatter_(0, order, place >= cuts[segment])
    return torch.where(keep, weights, torch.zeros_like(weights))


@final
class TorchEngine(AbstractEngine):
    """Plain torch operations, a fixed number of them: any device."""

    def __init__(self, flat: Flat, *, absolute: bool, nesterov: bool) -> None:
        self._flat, self._absolute, self._nesterov = flat, absolute, nesterov
        sizes = torch.tensor(flat.sizes, device=flat.device)
        segments = torch.arange(len(flat.sizes), device=flat.device)
        self._segment = torch.repeat_interleave(segments, sizes, output_size=len(flat.scores))

    def step(self) -> None:
        """Move and choose."""
        flat = self._flat
        lr, mu, decay = flat.hyper.unbind()
        slope = flat.gradients.mul_(flat.weights)
        if self._absolute:
            slope.mul_(flat.scores.sign())
        slope.add_(flat.scores * decay)
        flat.momenta.mul_(mu).add_(slope)
        speed = slope.add_(flat.momenta * mu) if self._nesterov else flat.momenta
        flat.scores.sub_(speed * lr)
        flat.wrong.logical_or_(~flat.scores.isfinite().all())
        self.choose()

    def choose(self) -> None:
        """Sort."""
        flat = self._flat
        cuts = flat.stops - flat.counts
        flat.kept.copy_(keep_largest(flat.scores, flat.weights, self._segment, cuts, self._absolute))

    def state(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Nothing to do."""

    @property
    def misses(self) -> list[int]:
        """Nothing is predicted."""
        return [0] * len(self._flat.sizes)
