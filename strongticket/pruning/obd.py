"""Optimal brain damage: rank weights by what the diagonal of the Hessian says that their loss costs (LeCun 1990)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final, get_args

from torch import Tensor

from strongticket.pruning._checks import check_whole
from strongticket.pruning.abstract import AbstractScore
from strongticket.pruning.curvature.diagonal import (
    fisher_diagonal,
    ggn_diagonal,
    hutchinson_diagonal,
    monte_carlo_diagonal,
)
from strongticket.pruning.curvature.hessian import hessian_diagonal
from strongticket.pruning.curvature.recursion import recursion_diagonal
from strongticket.pruning.problem import Problem

__all__ = ["CURVATURES", "OBD", "Curvature"]

Curvature = Literal["ggn", "recursion", "levenberg-marquardt", "fisher", "monte-carlo", "hessian", "hutchinson"]
CURVATURES: Final[tuple[str, ...]] = get_args(Curvature)
"""What may stand for the diagonal of the Hessian, see `OBD`."""


@final
@dataclass(frozen=True)
class OBD(AbstractScore):
    """Score weights by h w^2 / 2, h the second derivative of the mean loss in that weight alone (lecun1989optimal).

    This is how much the loss grows by its second-order expansion when one weight goes, at a minimum (where the gradient
    is 0). At a minimum no h is negative. Where one is, which exact Hessians of smooth networks have elsewhere and
    estimates of them by their noise, its size counts: the loss bends there, so the weight is not free, and noise is
    largest where curvature is. `diagonal` returns h with its sign, and predictions are added up with it.

    Args:
        curvature: where h comes from. "ggn": the exact diagonal of the Gauss-Newton matrix, that of the Hessian too for
            ReLU networks; "recursion": the 1990 paper's back-propagation of second derivatives, "levenberg-marquardt"
            the same without the term of the activation's second derivative, both approximate before the last layer;
            "fisher": mean squared gradients; "monte-carlo": an estimate of "ggn" with labels drawn from the model;
            "hessian": exact, for at most 5,000 weights; "hutchinson": an estimate of it for any number.
        draws: for "monte-carlo" and "hutchinson": random vectors, per example or in all; more cost more and err less.
        chunk: examples at a time; None: what keeps within memory.

    >>> import torch
    >>> from torch import nn
    >>> module = nn.Linear(2, 1, bias=False)
    >>> _ = module.weight.data.copy_(torch.tensor([[3.0, 1.0]]))
    >>> data = torch.tensor([[1.0, 2.0], [1.0, 2.0]]), torch.zeros(2, 1)
    >>> OBD().score(Problem.of(module, data, loss="squared-error"))["weight"].tolist()
    [[4.5, 2.0]]

    Raises:
        ValueError: an unknown curvature, or draws or chunks below 1.
    """

    key: ClassVar[str] = "obd"
    is_increase: ClassVar[bool] = True

    curvature: Curvature = "ggn"
    draws: int = 32
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.curvature not in CURVATURES:
            raise ValueError(f"expected a curvature among {', '.join(CURVATURES)}, got {self.curvature!r}")
        check_whole(draws=self.draws, chunk=self.chunk)

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the saliencies |h| w^2 / 2, float64, 0 for what is pruned already.

        Raises:
            ValueError: what the chosen curvature cannot take: no data, a loss that is not finite, and so on.
        """
        return self.score_and_increase(problem)[0]

    def score_and_increase(self, problem: Problem) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the saliencies, and h w^2 / 2 with the sign of h: what the model says that the loss grows by.

        Raises:
            ValueError: see `score`.
        """
        increase = {
            name: diagonal * problem.weights[name].double().square() / 2
            for name, diagonal in self.diagonal(problem).items()
        }
        return {name: value.abs() for name, value in increase.items()}, increase

    def diagonal(self, problem: Problem) -> dict[str, Tensor]:
        """Return the second derivatives h as they are, float64 of each parameter's shape.

        Raises:
            ValueError: see `score`.
        """
        chunk = self.chunk
        match self.curvature:
            case "ggn":
                return ggn_diagonal(problem, chunk=chunk)
            case "recursion":
                return recursion_diagonal(problem, chunk=chunk)
            case "levenberg-marquardt":
                return recursion_diagonal(problem, second=False, chunk=chunk)
            case "fisher":
                return fisher_diagonal(problem, chunk=chunk)
            case "monte-carlo":
                return monte_carlo_diagonal(problem, draws=self.draws, chunk=chunk)
            case "hessian":
                return hessian_diagonal(problem, chunk=chunk)
            case "hutchinson":
                return hutchinson_diagonal(problem, draws=self.draws, chunk=chunk)
