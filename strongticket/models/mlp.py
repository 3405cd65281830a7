"""Multilayer perceptrons: the networks of the first strong-ticket theorems, by layer sizes; with ReLU if not said
otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import torch
from torch import Tensor, nn

from strongticket.models.activations import LEAKY_SLOPE, PERCEPTRON_ACTIVATIONS, PerceptronActivation
from strongticket.models.grammar import Family
from strongticket.models.modules import check_values
from strongticket.ticket import AbstractArchitecture

__all__ = ["MLP", "PERCEPTRONS", "MLPModule", "check_rectified", "linear"]

_NAMED = {"lenet-300-100": (784, 300, 100, 10), "lenet-500": (784, 500, 10)}


@final
@dataclass(frozen=True)
class MLP(AbstractArchitecture):
    """Describe a fully connected network: x -> W_L s(... s(W_1 x + b_1) ...) + b_L, with ReLU as s if none is named.

    Args:
        sizes: input dimension, hidden widths, output dimension; at least two numbers >= 1.
        bias: whether each layer has biases.
        activation: s, between the layers; a network of one layer has none, and is the same with "relu" alone.

    Raises:
        ValueError: fewer than two sizes, or one below 1; an unknown activation, or one other than "relu" where there is
            no hidden layer.

    >>> MLP((784, 500, 10)).id, MLP((784, 500, 10)).size
    ('mlp-784-500-10', 397000)
    >>> MLP((784, 500, 10), bias=True, activation="tanh").id
    'mlp-784-500-10+bias+tanh'
    """

    sizes: tuple[int, ...]
    bias: bool = False
    activation: PerceptronActivation = "relu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(int(size) for size in self.sizes))
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise ValueError(f"an MLP needs at least two sizes, each >= 1, got {self.sizes}")
        if self.activation not in PERCEPTRON_ACTIVATIONS:
            known = ", ".join(PERCEPTRON_ACTIVATIONS)
            raise ValueError(f"an activation of an MLP is one of {known}, got {self.activation!r}")
        if self.depth == 1 and self.activation != "relu":
            raise ValueError(f"an MLP of sizes {self.sizes} has no hidden layer, so no activation {self.activation!r}")

    @property
    def id(self) -> str:
        """The canonical name: ``mlp-784-500-10``, with ``+bias`` behind it where the layers have biases, and then the
        activation if it is not ReLU."""
        options = ("+bias" if self.bias else "") + ("" if self.rectified else f"+{self.activation}")
        return "mlp-" + "-".join(map(str, self.sizes)) + options

    @property
    def rectified(self) -> bool:
        """Whether the activation is ReLU, which most theorems speak of."""
        return self.activation == "relu"

    @property
    def depth(self) -> int:
        """Number of weight layers."""
        return len(self.sizes) - 1

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """``layers.i.weight`` [d_{i+1}, d_i] and, with biases, ``layers.i.bias`` [d_{i+1}]."""
        shapes: dict[str, tuple[int, ...]] = {}
        for i in range(self.depth):
            shapes[self.weight_name(i)] = (self.sizes[i + 1], self.sizes[i])
            if self.bias:
                shapes[self.bias_name(i)] = (self.sizes[i + 1],)
        return shapes

    @staticmethod
    def weight_name(layer: int) -> str:
        """Name of the weight matrix of a layer, counted from 0."""
        return f"layers.{layer}.weight"

    @staticmethod
    def bias_name(layer: int) -> str:
        """Name of the bias vector of a layer, counted from 0."""
        return f"layers.{layer}.bias"

    def module(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Build the network; inputs of any shape [batch, ...] are flattened to [batch, sizes[0]]."""
        check_values(self, weights)
        layers: list[nn.Module] = [
            linear(weights[self.weight_name(i)], weights.get(self.bias_name(i))) for i in range(self.depth)
        ]
        return MLPModule(layers, self.activation)


class MLPModule(nn.Module):
    """Run an MLP whose layers are given; an activation (ReLU if none is named) between them, none at the end."""

    activation: PerceptronActivation = "relu"  # of modules that were pickled before there were others, too

    def __init__(self, layers: list[nn.Module], activation: PerceptronActivation = "relu") -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.activation = activation

    def forward(self, inputs: Tensor) -> Tensor:  # inputs: [batch, ...] -> [batch, outputs]
        """Return the outputs (logits)."""
        hidden = inputs.flatten(1)
        for i, layer in enumerate(self.layers):
            hidden = layer(_FUNCTIONS[self.activation](hidden) if i else hidden)
        return hidden


def _leaky(inputs: Tensor) -> Tensor:
    return nn.functional.leaky_relu(inputs, LEAKY_SLOPE)


_FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"relu": torch.relu, "leaky": _leaky, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
)


def check_rectified(mlp: MLP, what: str) -> None:
    """Refuse an MLP whose activation is not ReLU, for what assumes it.

    Raises:
        ValueError: another activation.
    """
    if not mlp.rectified:
        raise ValueError(f"{what} takes ReLU networks, got {mlp.id}: its activation is {mlp.activation}")


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:  # weight: [d_out, d_in], bias: [d_out]
    """Return the Linear layer with these frozen weights, without drawing others first."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


_OPTIONS = frozenset({"bias", *PERCEPTRON_ACTIVATIONS[1:]})


def _read(name: str) -> MLP:
    plain, *options = name.split("+")
    chosen = set(options)
    activations = [kind for kind in PERCEPTRON_ACTIVATIONS if kind in chosen]
    match = re.fullmatch(r"mlp((?:-[1-9][0-9]{0,17}){2,64})", plain)
    if (match is None and plain not in _NAMED) or not chosen <= _OPTIONS or len(chosen) < len(options):
        raise ValueError(
            f"use mlp-784-500-10 or one of {', '.join(sorted(_NAMED))}, with +bias and one of "
            f"{', '.join(f'+{kind}' for kind in PERCEPTRON_ACTIVATIONS[1:])} behind it if wanted"
        )
    if len(activations) > 1:
        raise ValueError(f"+{' and +'.join(activations)} are two activations; choose one")
    sizes = _NAMED[plain] if match is None else tuple(int(size) for size in match[1][1:].split("-"))
    return MLP(sizes, "bias" in chosen, activations[0] if activations else "relu")


PERCEPTRONS = Family(re.compile(r"mlp|lenet-\d{2}"), _read, ("mlp-784-500-10", "lenet-300-100", "lenet-500"))
