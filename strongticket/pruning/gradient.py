"""First-order scores: what the gradient of the mean loss says about single weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from strongticket.pruning.abstract import AbstractScore
from strongticket.pruning.problem import Problem, loss_function

__all__ = ["GradientMagnitude", "Taylor", "mean_gradient", "mean_loss"]


def mean_gradient(problem: Problem, *, batch: int = 256) -> dict[str, Tensor]:
    """Return the gradient of the mean loss over all examples, 0 where nothing is left to prune.

    Args:
        problem: a network and its data.
        batch: examples at a time, at least 1; the result does not depend on it but in the last bits.

    Raises:
        ValueError: there are no data, or the loss or a gradient is NaN or infinite.
    """
    module, loss = problem.live(), loss_function(problem.loss)
    parameters = {name: module.get_parameter(name) for name in problem.names}
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    count = len(problem.data[1])
    for inputs, labels in problem.batches(batch):
        value = loss(module(inputs), labels)
        _check_finite(value)
        if not value.requires_grad:
            break  # the loss depends on none of the parameters
        parts = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
        for total, part in zip(sums.values(), parts, strict=True):
            if part is not None:
                total += part * (len(labels) / count)
    for name, total in sums.items():
        if not bool(torch.isfinite(total).all()):
            raise ValueError(f"the gradient of the loss is NaN or infinite at {name}: no saliency follows from it")
        total *= problem.start[name].to(total.device)
    return sums


def mean_loss(problem: Problem, weights: dict[str, Tensor] | None = None, *, batch: int = 1024) -> float:
    """Return the mean loss over all examples, added up in float64.

    Args:
        problem: a network and its data.
        weights: other values for some of the problem's parameters; None: as they are.
        batch: examples at a time.

    Raises:
        ValueError: there are no data, or the loss is NaN or infinite.
    """
    module, loss = (problem if weights is None else problem.at(weights)).module, loss_function(problem.loss)
    total, count = 0.0, len(problem.data[1])
    with torch.no_grad():
        for inputs, labels in problem.batches(batch):
            value = loss(module(inputs), labels)
            _check_finite(value)
            total += float(value) * len(labels)
    return total / count


def _check_finite(loss: Tensor) -> None:
    if loss.ndim or not math.isfinite(float(loss.detach())):
        told = f"shape {tuple(loss.shape)}" if loss.ndim else f"{float(loss.detach())}"
        raise ValueError(f"expected a loss that is one finite number, got {told}: look at inputs, labels and weights")


@final
@dataclass(frozen=True)
class GradientMagnitude(AbstractScore):
    """Rank weights by |g|, the slope of the mean loss.

    At a minimum g is 0 and the ranking is noise; the score is there to compare with, and for networks that were not
    trained to the end.
    """

    key: ClassVar[str] = "gradient-magnitude"

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return |g|."""
        return {name: gradient.abs() for name, gradient in mean_gradient(problem).items()}


@final
@dataclass(frozen=True)
class Taylor(AbstractScore):
    """Rank weights by |w g|: by how much the loss changes, to first order, when a weight goes.

    Not by the change itself, -w g, of which half are decreases that nobody believes in. The same number at an
    untrained network is the sensitivity that prunes before training.
    """

    key: ClassVar[str] = "taylor"

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return |w g|."""
        weights = problem.weights
        return {name: (weights[name] * gradient).abs() for name, gradient in mean_gradient(problem).items()}
