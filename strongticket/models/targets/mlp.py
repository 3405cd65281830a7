"""The target network: what a ticket shall compute. Read from any module or file, held as exact numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from strongticket.models.activations import LEAKY_SLOPE, PERCEPTRON_ACTIVATIONS, PerceptronActivation
from strongticket.models.activations import activation as make_activation
from strongticket.models.mlp import MLP, MLPModule, linear
from strongticket.models.targets._numbers import check_undamaged, exact, fitting, read_numbers
from strongticket.models.targets.abstract import AbstractTarget

__all__ = ["Layer", "Target"]

_KINDS: Mapping[type[nn.Module], PerceptronActivation] = MappingProxyType(
    {nn.ReLU: "relu", nn.LeakyReLU: "leaky", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
)
_TRANSPARENT = (nn.Identity, nn.Dropout, nn.AlphaDropout)


@dataclass(frozen=True)
class Layer:
    """One affine layer of a target in float64, exact: the stored numbers are float32 or float64."""

    weight: NDArray[np.float64]  # [outputs, inputs]
    bias: NDArray[np.float64] | None  # [outputs]


@dataclass(frozen=True, eq=False)
class Target(AbstractTarget):
    """Hold a trained MLP as numbers: an architecture and a finite float32 or float64 value per weight.

    Args:
        architecture: an `MLP`.
        weights: {parameter name: tensor} with the architecture's shapes; float16 and bfloat16 become float32, exactly.

    Raises:
        ValueError: shapes that do not fit, or a NaN or infinite weight, named with its place.

    >>> module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> Target.from_module(module).architecture.id
    'mlp-4-3-2+bias'
    """

    architecture: MLP
    weights: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", fitting(self.architecture, self.weights))

    @classmethod
    def from_module(cls, module: nn.Module) -> Target:
        """Read a network made of Linear and ReLU layers (Flatten, Identity and Dropout are passed through).

        In place of ReLU all hidden layers may have LeakyReLU (slope 0.01), Tanh or Sigmoid.

        Raises:
            TypeError: a layer that an MLP does not have, named with its place and type.
            ValueError: layers that do not alternate Linear, ReLU, ..., Linear, or that have different activations.
        """
        linears, activation = _linears(module)
        if not linears:
            raise ValueError(
                f"{type(module).__name__} has no Linear layer; a target is an MLP: Linear, ReLU, ..., Linear"
            )
        for first, second in pairwise(linears):
            if first.out_features != second.in_features:
                raise ValueError(
                    f"a layer has {first.out_features} outputs and the next one {second.in_features} inputs"
                )
        bias = any(layer.bias is not None for layer in linears)
        weights: dict[str, Tensor] = {}
        for i, layer in enumerate(linears):
            weights[MLP.weight_name(i)] = layer.weight
            if bias:
                zeros = torch.zeros(layer.out_features, dtype=layer.weight.dtype)
                weights[MLP.bias_name(i)] = zeros if layer.bias is None else layer.bias
        sizes = (linears[0].in_features, *(layer.out_features for layer in linears))
        return cls(MLP(sizes, bias, activation), weights)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], activation: PerceptronActivation = "relu") -> Target:
        """Read an MLP from a state dict: its matrices in their order are the layers, each with the bias beside it.

        A state dict does not say which activations are between the layers: they are what is given, or ReLU.
        """
        matrices = [name for name, value in state.items() if name.endswith("weight") and value.dim() == 2]
        biases = {name: name.removesuffix("weight") + "bias" for name in matrices}
        strange = sorted(set(state) - set(matrices) - set(biases.values()))
        if not matrices or strange:
            raise ValueError(
                "a target file holds 2-d weights (and biases) of Linear layers only, in their order; "
                f"got {strange or 'no weights'}: save the state dict of an MLP, or use Target.from_module"
            )
        layers: list[nn.Module] = [linear(state[name], state.get(biases[name])) for name in matrices]
        return cls.from_module(MLPModule(layers, activation))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Target:
        """Read a target file: one that `save` wrote, or a state dict in .safetensors, .pt/.pth or .npz format.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a readable network of Linear layers.
        """
        state, note = read_numbers(path, "an MLP", "mlp-")
        target = cls.from_state(state, _activation(note))
        check_undamaged(path, note, target.architecture.id, target.digest)
        return target

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The affine layers in float64, exact, first to last."""
        mlp, given = self.architecture, self.weights
        return tuple(
            Layer(exact(given[MLP.weight_name(i)]), exact(given[MLP.bias_name(i)]) if mlp.bias else None)
            for i in range(mlp.depth)
        )

    def module(self) -> nn.Module:
        """Return the target as a network."""
        return self.architecture.module(self.weights)


def _walk(module: nn.Module, place: str) -> Iterator[tuple[str, nn.Module]]:
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    if any(hooks):
        raise TypeError(
            f"{place or 'the module'} has forward hooks, which may change what it computes: remove them first"
        )
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for name, child in module._modules.items():  # named_children() would leave out a module used twice
            assert child is not None
            yield from _walk(child, f"{place}.{name}" if place else name)
    elif isinstance(module, MLPModule):
        for i, layer in enumerate(module.layers):
            if i:
                yield place, make_activation(module.activation)
            yield f"{place}layers.{i}", layer
    else:
        yield place or "the module itself", module


def _linears(module: nn.Module) -> tuple[list[nn.Linear], PerceptronActivation]:
    """Return the Linear layers, first to last, and the activation between them."""
    linears: list[nn.Linear] = []
    found: dict[PerceptronActivation, str] = {}  # and where it was first seen
    active, last = True, ""
    for place, layer in _walk(module, ""):
        kind = _KINDS.get(type(layer))
        if type(layer) is nn.Linear:
            if not active:
                raise ValueError(f"the Linear at {place} follows another without a ReLU between them: merge the two")
            linears.append(layer)
            active = False
        elif kind is not None:
            if isinstance(layer, nn.LeakyReLU) and layer.negative_slope != LEAKY_SLOPE:
                raise TypeError(f"the LeakyReLU at {place} has slope {layer.negative_slope}; {LEAKY_SLOPE} is known")
            if active:
                raise ValueError(f"the {type(layer).__name__} at {place} does not follow a Linear layer")
            found.setdefault(kind, place)
            active, last = True, type(layer).__name__
        elif type(layer) not in _TRANSPARENT and not _flattens(layer):
            raise TypeError(
                f"the layer at {place} is {type(layer).__name__}; a target here is an MLP of Linear and ReLU layers "
                "(or LeakyReLU, Tanh, Sigmoid; nn.Sequential, or Target.from_state for a state dict). A network with a "
                "forward pass of its own, convolutions, pools or sums: GraphTarget.from_module(module, inputs=...)"
            )
    if linears and active:
        raise ValueError(f"the network ends with a {last}; a target ends with a Linear layer")
    if len(found) > 1:
        places = " and ".join(f"{kind} at {place}" for kind, place in found.items())
        raise ValueError(
            f"the network has the activations {places}; the hidden layers of a target share one activation"
        )
    return linears, next(iter(found), "relu")


def _flattens(layer: nn.Module) -> bool:
    return type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1)


def _activation(note: dict[str, Any]) -> PerceptronActivation:
    """The activation that one of our own files names in its architecture; ReLU in files of others."""
    options = str(note.get("architecture", "")).split("+")[1:]
    return next((kind for kind in PERCEPTRON_ACTIVATIONS if kind in options), "relu")
