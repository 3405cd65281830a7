"""Magnitude pruning: small weights go first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from strongticket.pruning.abstract import AbstractScore
from strongticket.pruning.problem import Problem

__all__ = ["Magnitude"]


@final
@dataclass(frozen=True)
class Magnitude(AbstractScore):
    """Rank weights by |w|: the baseline that every other score has to beat, and that needs no data.

    >>> import torch
    >>> layer = torch.nn.Linear(3, 1, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[0.5, -2.0, 1.0]]))
    >>> Magnitude().score(Problem.of(layer))
    {'weight': tensor([[0.5000, 2.0000, 1.0000]])}
    """

    key: ClassVar[str] = "magnitude"

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return |w|."""
        return {name: weight.abs() for name, weight in problem.weights.items()}
