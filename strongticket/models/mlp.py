"""ReLU multilayer perceptrons: the networks of the first strong-ticket theorems, by layer sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from strongticket.models.grammar import Family
from strongticket.models.modules import check_values
from strongticket.ticket import AbstractArchitecture

__all__ = ["MLP", "PERCEPTRONS", "MLPModule", "linear"]

_NAMED = {"lenet-300-100": (784, 300, 100, 10), "lenet-500": (784, 500, 10)}


@final
@dataclass(frozen=True)
class MLP(AbstractArchitecture):
    """Describe a fully connected ReLU network: x -> W_L relu(... relu(W_1 x + b_1) ...) + b_L.

    Args:
        sizes: input dimension, hidden widths, output dimension; at least two numbers >= 1.
        bias: whether each layer has biases.

    Raises:
        ValueError: fewer than two sizes, or one below 1.

    >>> MLP((784, 500, 10)).id, MLP((784, 500, 10)).size
    ('mlp-784-500-10', 397000)
    """

    sizes: tuple[int, ...]
    bias: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(int(size) for size in self.sizes))
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise ValueError(f"an MLP needs at least two sizes, each >= 1, got {self.sizes}")

    @property
    def id(self) -> str:
        """The canonical name: ``mlp-784-500-10``, with ``+bias`` behind it where the layers have biases."""
        return "mlp-" + "-".join(map(str, self.sizes)) + ("+bias" if self.bias else "")

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
        return MLPModule(
            [linear(weights[self.weight_name(i)], weights.get(self.bias_name(i))) for i in range(self.depth)]
        )


class MLPModule(nn.Module):
    """Run an MLP whose layers are given; ReLU between them, none at the end."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, inputs: Tensor) -> Tensor:  # inputs: [batch, ...] -> [batch, outputs]
        """Return the outputs (logits)."""
        hidden = inputs.flatten(1)
        for i, layer in enumerate(self.layers):
            hidden = layer(torch.relu(hidden) if i else hidden)
        return hidden


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:  # weight: [d_out, d_in], bias: [d_out]
    """Return the Linear layer with these frozen weights, without drawing others first."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def _read(name: str) -> MLP:
    plain, plus, option = name.partition("+")
    if plain in _NAMED and (plus, option) in (("", ""), ("+", "bias")):
        return MLP(_NAMED[plain], bias=bool(option))
    match = re.fullmatch(r"mlp((?:-[1-9][0-9]{0,17}){2,64})(\+bias)?", name)
    if match is None:
        raise ValueError(f"use mlp-784-500-10, mlp-784-500-10+bias, or one of {', '.join(sorted(_NAMED))}")
    return MLP(tuple(int(size) for size in match[1][1:].split("-")), bias=match[2] is not None)


PERCEPTRONS = Family(re.compile(r"mlp|lenet-\d{2}"), _read, ("mlp-784-500-10", "lenet-300-100", "lenet-500"))
