"""What a training loop moves: weights by an optimiser of torch, or anything else that looks like one."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn

from strongticket.training.initial import AFFINE
from strongticket.training.recipe import Recipe

__all__ = ["Stepper", "WeightOptimiser", "decay_groups"]

_MOMENTUM = 0.9


class Stepper(Protocol):
    """What the loop asks of whatever learns: `WeightOptimiser`, or the `Searcher` of a mask search."""

    def zero_grad(self) -> None:
        """Forget the gradients of the module's parameters."""

    def step(self, lr: float, *, progress: float = ...) -> None:
        """Move along the gradients that `backward` left; progress: share of the run that is over then, in [0, 1]."""

    def skip(self, *, progress: float) -> None:
        """Move nothing, but be so far: a step that is left out because its gradients overflowed."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs besides the module's own state: tensors, numbers, texts, lists, dicts."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""


class WeightOptimiser:
    """Move the weights of a network as a recipe says.

    Args:
        network: its parameters that require gradients are moved.
        recipe: optimiser, weight decay and bound.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.max_weight = recipe.max_weight
        self._bounded = _affine_parameters(network)
        self._optimiser = _optimiser(network, recipe)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._optimiser.zero_grad(set_to_none=True)

    def step(self, lr: float, *, progress: float = 0.0) -> None:
        """Move the weights and bring them back within the bound."""
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        self._optimiser.step()
        if self.max_weight is None:
            return
        with torch.no_grad():
            for parameter in self._bounded:
                parameter.clamp_(-self.max_weight, self.max_weight)

    def skip(self, *, progress: float) -> None:
        """Leave the weights as they are."""

    def state_dict(self) -> dict[str, Any]:
        """Return the optimiser's state."""
        return self._optimiser.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._optimiser.load_state_dict(state)


def _affine_parameters(network: nn.Module) -> list[nn.Parameter]:
    layers = [layer for layer in network.modules() if isinstance(layer, AFFINE)]
    return [p for layer in layers for p in layer.parameters(recurse=False) if p.requires_grad]


def _optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    groups = decay_groups(network, recipe.weight_decay)
    if recipe.optimiser == "adam":
        return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=_MOMENTUM, nesterov=True, fused=True)


def decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the parameter groups of an optimiser: matrices and kernels decay, biases and normalisation do not.

    Args:
        network: its parameters that require gradients are moved.
        weight_decay: of matrices and kernels.

    >>> [len(group["params"]) for group in decay_groups(nn.Linear(2, 2), 0.1)]
    [1, 1]
    """
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
