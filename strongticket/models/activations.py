"""Activations beside ReLU: those of the mask-search papers (ELU, and the sign for networks of binary activations), and
those of perceptrons in the theorems that go beyond ReLU (leaky ReLU, tanh and the logistic sigmoid)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn

__all__ = [
    "ACTIVATIONS",
    "LEAKY_SLOPE",
    "PERCEPTRON_ACTIVATIONS",
    "Activation",
    "PerceptronActivation",
    "Sign",
    "activation",
    "sign",
]

Activation = Literal["relu", "elu", "sign"]
"""relu; elu (alpha = 1, as in Koster et al. 2022); sign: -1, 0 or 1, see `sign`."""

ACTIVATIONS: Final[tuple[Activation, ...]] = get_args(Activation)
"""Activations of networks of images."""

PerceptronActivation = Literal["relu", "leaky", "tanh", "sigmoid"]
"""relu; leaky (max(x, 0.01 x), torch's default slope); tanh; sigmoid (1 / (1 + exp(-x)))."""

PERCEPTRON_ACTIVATIONS: Final[tuple[PerceptronActivation, ...]] = get_args(PerceptronActivation)
"""Activations of perceptrons."""

LEAKY_SLOPE: Final = 0.01
"""Slope of the leaky ReLU below 0."""


def sign(inputs: Tensor) -> Tensor:
    """Return the sign of each input (0 of 0), with the slope 2 (1 - |x|) on [-1, 1] and 0 outside.

    The binary activation of Diffenderfer & Kailkhura 2021. Its slope is that of 2x - x|x|, brought to a halt at -1 and
    1, which the sign stands for: what autograd, vmap and compilers make of that polynomial they make of this. NaN stays
    NaN where gradients are recorded; elsewhere it is what torch.sign makes of it, 0 on a CPU.

    >>> x = torch.tensor([-3.0, -0.25, 0.0, 0.5], requires_grad=True)
    >>> sign(x).sum().backward()
    >>> sign(x).tolist(), x.grad.tolist()
    ([-1.0, -1.0, 0.0, 1.0], [0.0, 1.5, 2.0, 1.0])
    """
    value = torch.sign(inputs.detach())
    if not torch.is_grad_enabled():
        return value
    near = inputs.clamp(-1.0, 1.0)
    smooth = 2.0 * near - near * near.abs()
    return value + (smooth - smooth.detach())  # adds 0, and its slope


class Sign(nn.Module):
    """Apply `sign`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return -1, 0 or 1 for every input."""
        return sign(inputs)


_MODULES: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "relu": nn.ReLU,
        "elu": nn.ELU,
        "sign": Sign,
        "leaky": partial(nn.LeakyReLU, LEAKY_SLOPE),
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
    }
)


def activation(name: str) -> nn.Module:
    """Return a new activation module.

    Raises:
        ValueError: no such activation.

    >>> activation("elu")
    ELU(alpha=1.0)
    """
    if name not in _MODULES:
        raise ValueError(f"an activation is one of {', '.join(_MODULES)}, got {name!r}")
    return _MODULES[name]()
