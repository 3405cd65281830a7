"""The layers that are searched: names, sizes and fans, and the laws of weights and scores that depend on those."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from strongticket import random
from strongticket.selection import Allocation, allocate
from strongticket.ticket import AbstractArchitecture, Init, Source

__all__ = [
    "WEIGHT_INITS",
    "Layer",
    "ScoreInit",
    "WeightInit",
    "initial_scores",
    "layers_of",
    "random_source",
    "weight_of",
]

WeightInit = Literal[
    "signed-constant", "kaiming-normal", "kaiming-uniform", "xavier-constant", "xavier-normal", "uniform"
]
"""Laws of the frozen weights, by fan-in and with the ReLU gain: signed-constant +-sqrt(2 / fan_in); kaiming-normal
N(0, 2 / fan_in); kaiming-uniform U(-b, b), b = sqrt(6 / fan_in); xavier-constant +-sqrt(2 / (fan_in + fan_out));
xavier-normal N(0, 2 / (fan_in + fan_out)); uniform U(-1, 1) whatever the layer."""

WEIGHT_INITS: tuple[WeightInit, ...] = get_args(WeightInit)

ScoreInit = Literal["kaiming-uniform", "relu-uniform", "xavier-uniform", "unit", "zero", "normal-fan-out"]
"""Laws of the scores before the search: kaiming-uniform U(+-1 / sqrt(fan_in)) (edge-popup); relu-uniform
U(+-sqrt(6 / fan_in)) (IteRand); xavier-uniform U(+-sqrt(6 / (fan_in + fan_out))) (signed supermasks); unit U(0, 1)
(Gem-Miner); zero (Zhou's Bernoulli masks); normal-fan-out N(0, 2 / fan_out) (multicoated supermasks)."""


@dataclass(frozen=True)
class Layer:
    """One searched parameter; or what of it and of its bias competes for one count, as methods see it.

    Attributes:
        name: of the parameter.
        shape: outputs first, then inputs (per group), then the kernel; of a bias its one side.
        biases: number of biases that are chosen from together with the weights.
        frozen: how many of all these are settled beforehand, (dropped, kept); None where nothing was to be frozen.
    """

    name: str
    shape: tuple[int, ...]
    biases: int = 0
    frozen: tuple[int, int] | None = None

    @property
    def total(self) -> int:
        """Number of weights and biases, frozen or not."""
        return math.prod(self.shape) + self.biases

    @property
    def size(self) -> int:
        """Number of weights (and biases) that are searched, each with a score."""
        return self.total - sum(self.frozen or (0,))

    @property
    def bounds(self) -> tuple[int, int]:
        """How many can be kept in all: at least those that freezing keeps, at most all that it does not drop."""
        dropped, kept = self.frozen or (0, 0)
        return kept, self.total - dropped

    @property
    def fan_in(self) -> int:
        """Inputs of one output: (inputs per group) * kernel."""
        return math.prod(self.shape[1:])

    @property
    def fan_out(self) -> int:
        """Outputs * kernel; for grouped convolutions of all groups together."""
        return self.shape[0] * math.prod(self.shape[2:])


_LAWS: Mapping[str, tuple[str, Callable[[Layer], float]]] = MappingProxyType(
    {
        "signed-constant": ("sign", lambda layer: math.sqrt(2 / layer.fan_in)),
        "kaiming-normal": ("normal-tab1", lambda layer: math.sqrt(2 / layer.fan_in)),
        "kaiming-uniform": ("uniform23", lambda layer: math.sqrt(6 / layer.fan_in)),
        "xavier-constant": ("sign", lambda layer: math.sqrt(2 / (layer.fan_in + layer.fan_out))),
        "xavier-normal": ("normal-tab1", lambda layer: math.sqrt(2 / (layer.fan_in + layer.fan_out))),
        "uniform": ("uniform23", lambda layer: 1.0),
    }
)


def layers_of(
    architecture: AbstractArchitecture, names: tuple[str, ...] | None = None, *, biases: bool = False
) -> tuple[Layer, ...]:
    """Return the parameters to search: those named, or all matrices and kernels.

    Args:
        architecture: the network.
        names: random parameters, biases among them or not; None for all matrices and kernels.
        biases: without names, all random vectors as well.

    Raises:
        ValueError: an unknown name, one that is given twice, or nothing to search.

    >>> from strongticket.models import MLP
    >>> [layer.name for layer in layers_of(MLP((4, 3, 2), bias=True), biases=True)]
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """
    shapes, least = architecture.shapes, 1 if biases else 2
    chosen = tuple(name for name in shapes if len(shapes[name]) >= least) if names is None else names
    unknown = [name for name in chosen if len(shapes.get(name, ())) < 1]
    if unknown or not chosen or len(set(chosen)) != len(chosen):
        raise ValueError(
            f"expected different random parameters of {architecture.id} to search, got {list(chosen)}; "
            f"it has {[name for name in shapes if len(shapes[name]) >= 1]}"
        )
    return tuple(Layer(name, tuple(shapes[name])) for name in chosen)


def weight_of(bias: str) -> str | None:
    """Return the name of the weights that a bias belongs to, by torch's convention; None if it is no bias's name.

    >>> weight_of("layers.0.bias"), weight_of("attention.in_proj_bias"), weight_of("layers.0.weight")
    ('layers.0.weight', 'attention.in_proj_weight', None)
    """
    return bias.removesuffix("bias") + "weight" if bias.endswith("bias") else None


def random_source(
    architecture: AbstractArchitecture,
    seed: int,
    init: WeightInit = "signed-constant",
    *,
    density: float | None = None,
    allocation: Allocation = "layer",
    compat_scale_bug: bool = False,
    gain: float = 1.0,
    biases: bool = False,
) -> Source:
    """Return the random network to search in.

    Args:
        architecture: what it looks like.
        seed: its weights.
        init: law of its weights, see `WeightInit`.
        density: scale each layer's weights by 1 / sqrt(its density), so that the kept ones have the variance of a
            dense layer (the "scaled" inits of the literature); None: not scaled.
        allocation: how the density is shared among layers; each is scaled by its own share, "global" by the whole.
        compat_scale_bug: scale by 1 / sqrt(1 - density), as the released code of Ramanujan et al. 2020 and its copies
            do; only to repeat published runs, and the same only at density 0.5.
        gain: factor of all weights beside the ReLU gain that the inits have: sqrt(1.5) for ELU in Koster et al. 2022.
        biases: draw each bias by the law and at the scale of its layer's weights, for searches that have biases; else
            biases have the law at scale 1.

    Raises:
        ValueError: an unknown init, or a density or gain for which there is no scale.

    >>> from strongticket.models import MLP
    >>> source = random_source(MLP((8, 4, 2)), seed=0)
    >>> source.weight("layers.0.weight").abs().unique()
    tensor([0.5000])
    """
    if init not in WEIGHT_INITS:
        raise ValueError(f"expected an init in {WEIGHT_INITS}, got {init!r}")
    if not 0 < gain < math.inf:
        raise ValueError(f"expected a gain above 0, got {gain}")
    if compat_scale_bug and density is None:
        raise ValueError("compat_scale_bug needs the density whose scale is to be wrong")
    law, scale = _LAWS[init]
    overrides = []
    layers = layers_of(architecture)
    shares = _shares(layers, density, allocation)
    for layer in layers:
        share = 1 - shares[layer.name] if compat_scale_bug else shares[layer.name]
        if not share > 0:
            raise ValueError(f"layer {layer.name} would be scaled by 1 / sqrt({share}): choose a larger density")
        overrides.append((layer.name, law, float(np.float32(gain * scale(layer) / math.sqrt(share)))))
    if biases:
        scales = {name: scale for name, _, scale in overrides}
        owners = {name: weight_of(name) for name, shape in architecture.shapes.items() if len(shape) == 1}
        overrides += [(name, law, scales[owner]) for name, owner in owners.items() if owner in scales]
    return Source(architecture, seed, Init(law, 1.0, tuple(overrides)))


def _shares(layers: tuple[Layer, ...], density: float | None, allocation: Allocation) -> dict[str, float]:
    if density is None:
        return {layer.name: 1.0 for layer in layers}
    if allocation in ("layer", "global"):
        return {layer.name: density for layer in layers}
    counts = allocate({layer.name: layer.shape for layer in layers}, density, allocation)
    return {layer.name: counts[layer.name] / layer.size for layer in layers}


def initial_scores(layer: Layer, init: ScoreInit, seed: int, like: Layer | None = None) -> Tensor:  # [size]
    """Return the scores of a parameter before the search: a function of (seed, name) alone.

    Args:
        layer: the parameter.
        init: law of its scores.
        seed: of the draw.
        like: whose fans the law takes, where they are not its own: those of the weights that a bias belongs to.
    """
    fan = layer if like is None else like
    if init == "zero":
        return torch.zeros(layer.size)
    if init == "normal-fan-out":
        normal = random.NORMAL_TAB1.tensor(seed, layer.name, 0, layer.size, purpose=random.SCORES)
        return normal * math.sqrt(2 / fan.fan_out)
    values = random.UNIFORM23.tensor(seed, layer.name, 0, layer.size, purpose=random.SCORES)
    if init == "unit":
        return values.add_(1).mul_(0.5)
    bounds = {
        "kaiming-uniform": 1 / math.sqrt(fan.fan_in),
        "relu-uniform": math.sqrt(6 / fan.fan_in),
        "xavier-uniform": math.sqrt(6 / (fan.fan_in + fan.fan_out)),
    }
    if init not in bounds:
        raise ValueError(f"expected a score init in {get_args(ScoreInit)}, got {init!r}")
    return values.mul_(bounds[init])
