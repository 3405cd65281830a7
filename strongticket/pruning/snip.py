"""SNIP: prune before training what changes the loss least, to first order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from strongticket.pruning._checks import check_whole
from strongticket.pruning._scoring import scoring_problem
from strongticket.pruning.abstract import AbstractScore
from strongticket.pruning.gradient import mean_gradient
from strongticket.pruning.problem import Problem

__all__ = ["SNIP"]


@final
@dataclass(frozen=True)
class SNIP(AbstractScore):
    """Rank weights by |dL/dc| at c = 1, where c multiplies the weight: Lee, Ajanthan & Torr (2019).

    That is |w g| with the gradient g of the loss over the *whole* scoring set: the sum over examples comes first, the
    absolute value after it. (Codes that add up |w g| of mini-batches compute another score.) The paper divides by the
    sum of all scores, which changes no order and is left out. Formally the score is that of `Taylor`; what differs is
    the network, random and not trained, and a scoring set of a few examples.

    Batch normalisation is in the mode of the problem: for a network that was never trained `Problem.of(...,
    mode="train")` takes the moments of the batch, and then all examples should fit into one.

    Args:
        per_class: so many examples of each class are the scoring set, drawn by a stream of the problem's seed; None:
            all examples. The paper takes one mini-batch of about 100.
        batch: examples at a time; the score depends on it only through batch normalisation and the last bits.

    >>> import torch
    >>> x, y = torch.eye(8), torch.arange(8) % 2
    >>> scores = SNIP().score(Problem.of(torch.nn.Linear(8, 2), (x, y)))
    >>> scores["weight"].shape, bool((scores["weight"] >= 0).all())
    (torch.Size([2, 8]), True)
    """

    per_class: int | None = None
    batch: int = 1024
    key: ClassVar[str] = "snip"

    def __post_init__(self) -> None:
        check_whole(per_class=self.per_class, batch=self.batch)

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return |w g|.

        Raises:
            ValueError: there are no data, a class has too few examples, or the loss is NaN or infinite.
        """
        weights, gradient = problem.weights, mean_gradient(scoring_problem(problem, self.per_class), batch=self.batch)
        return {name: (weights[name] * gradient[name]).abs() for name in problem.names}
