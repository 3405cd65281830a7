"""Random pruning: the control that shows how much a score is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from strongticket import random
from strongticket.pruning.abstract import AbstractScore
from strongticket.pruning.problem import Problem

__all__ = ["Random"]


@final
@dataclass(frozen=True)
class Random(AbstractScore):
    """Rank weights by random numbers that are a function of (problem.seed, parameter name, place).

    They are uniform on the multiples of 2^-53 in [0, 1), and drawn apart from the scores that a mask search starts
    from, whatever the seeds of the two.

    >>> problem = Problem.of(torch.nn.Linear(2, 2), seed=5)
    >>> torch.equal(Random().score(problem)["weight"], Random().score(problem)["weight"])
    True
    """

    key: ClassVar[str] = "random"

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return a number in [0, 1) per weight."""
        return {name: _uniform(problem.seed, name, weight) for name, weight in problem.weights.items()}


def _uniform(seed: int, name: str, weight: Tensor) -> Tensor:
    pairs = random.words(seed, f"random pruning/{name}", 0, 2 * weight.numel(), purpose=random.SCORES).reshape(-1, 2)
    whole = (pairs[:, 0].astype(np.uint64) << np.uint64(21)) | (pairs[:, 1].astype(np.uint64) >> np.uint64(11))
    values = torch.from_numpy(whole.astype(np.float64) * 2.0**-53)
    return values.view(weight.shape).to(weight.device)
