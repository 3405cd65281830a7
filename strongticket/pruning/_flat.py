"""The weights of a problem as one vector, for methods to which layers are all the same."""

from __future__ import annotations

import torch
from torch import Tensor

from strongticket.mask import Mask
from strongticket.pruning.problem import Problem

__all__ = ["flat_mask", "flat_start", "flat_weights", "split_flat"]


def flat_weights(problem: Problem) -> Tensor:  # [n]
    """Return all weights that may go, `problem.names` one after the other."""
    return torch.cat([weight.reshape(-1) for weight in problem.weights.values()])


def flat_start(problem: Problem) -> Tensor:  # [m] int64
    """Return the flat indices of what is not pruned yet, rising, on the device of the weights."""
    device = next(iter(problem.weights.values())).device
    return torch.cat([problem.start[name].reshape(-1) for name in problem.names]).nonzero()[:, 0].to(device)


def split_flat(problem: Problem, values: Tensor) -> dict[str, Tensor]:
    """Return a vector [n] as tensors in the shapes of the weights."""
    parts = torch.split(values, [weight.numel() for weight in problem.weights.values()])
    return {name: part.view(shape) for (name, shape), part in zip(problem.shapes.items(), parts, strict=True)}


def flat_mask(problem: Problem, kept: Tensor) -> Mask:
    """Return the mask that keeps these flat indices [k]."""
    flags = torch.zeros(problem.size, dtype=torch.bool)
    flags[kept.cpu()] = True
    return Mask(split_flat(problem, flags))
