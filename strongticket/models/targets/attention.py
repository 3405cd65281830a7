"""The target of attention tickets: a trained network of attention, held as exact numbers, and its merged matrices."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from strongticket.models.attention import EMBEDDING, POSITIONS, Attention, AttentionModule
from strongticket.models.targets._numbers import checked, exact
from strongticket.models.targets.abstract import AbstractTarget

__all__ = ["AttentionTarget", "MergedHead"]


@final
@dataclass(frozen=True)
class MergedHead:
    """One head of a target as the two matrices that matter, in float64, not exact: each entry is rounded.

    Args:
        logits: [key side, query side]: token j gets from token i the logit x_j' logits x_i.
        values: [dim, dim]: what token j hands over is values x_j.
    """

    logits: NDArray[np.float64]
    values: NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class AttentionTarget(AbstractTarget):
    """Hold a trained network of attention as numbers.

    Args:
        architecture: an `Attention`.
        weights: {name: tensor} for every name of its `shapes` and `state`; float32 or float64, finite. Embedding and
            positions are given to target and ticket alike, so they must be exact in float32.

    Raises:
        ValueError: shapes that do not fit, a NaN or infinite number, or a state that float32 does not hold.

    >>> net = Attention(1, 4, 1, 4, 4, patch=4, classes=2)
    >>> zeros = {name: torch.zeros(shape) for name, shape in net.shapes.items()}
    >>> AttentionTarget(net, zeros | net.initial_state()).heads[0][0].logits.shape
    (4, 4)
    """

    architecture: Attention
    weights: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if not isinstance(self.architecture, Attention):
            raise TypeError(f"the architecture is an Attention, got {type(self.architecture).__name__}")
        own = self.architecture
        wanted = {**own.shapes, **{name: shape for name, (shape, _) in own.state.items()}}
        given = {name: tuple(value.shape) for name, value in self.weights.items()}
        if given != wanted:
            odd = sorted(name for name in {*given, *wanted} if given.get(name) != wanted.get(name))
            raise ValueError(f"the weights do not fit {own.id}: look at {', '.join(odd[:6])}")
        values = {name: checked(name, self.weights[name]) for name in wanted}
        for name in own.state:
            if not torch.equal(values[name].float().to(values[name].dtype), values[name]):
                raise ValueError(f"{name} is given to the ticket in float32, but holds more digits: round it first")
            values[name] = values[name].float()
        object.__setattr__(self, "weights", values)

    @classmethod
    def from_module(cls, module: nn.Module) -> AttentionTarget:
        """Read a network that `Attention.module` made.

        Raises:
            TypeError: another kind of network: normalisation, biases and other activations have no ticket here.
        """
        if type(module) is not AttentionModule:
            raise TypeError(
                f"an attention target is a network made by Attention.module(...), got {type(module).__name__}: copy "
                "the weights of yours into one; it has no normalisation and no biases"
            )
        return cls(module.architecture, module.state_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AttentionTarget:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not such a file, or a damaged one.
        """
        return cls._saved(path, "a network of attention", "attention-", "AttentionTarget.from_module")

    def module(self) -> AttentionModule:
        """Return the target as a network, in the type of its random weights."""
        kinds = {value.dtype for name, value in self.weights.items() if name in self.architecture.shapes}
        kind = torch.float64 if torch.float64 in kinds else torch.float32
        return self.architecture.module({name: value.to(kind) for name, value in self.weights.items()})

    def scaled(self, power: int) -> AttentionTarget:
        """Return the same function with tokens 2^power times as large: an exact change of units.

        The logits' matrices become 4^power times smaller, the head's first one 2^power times; what is added to tokens
        keeps its matrices. For targets whose logits' matrices are too large to be reached.

        Raises:
            ValueError: a weight would leave the range of its floating-point type.
        """
        if isinstance(power, bool) or not isinstance(power, int) or abs(power) > 1000:
            raise ValueError(f"the power is a whole number in -1000..1000, got {power!r}")
        grow, shrink = 2.0**power, 2.0**-power
        factors = {EMBEDDING: grow, POSITIONS: grow, "head.0.weight": shrink}
        for block in range(self.architecture.layers):
            factors |= {self.architecture.name(block, part): shrink for part in ("query", "key")}
        weights = {name: value * factors.get(name, 1.0) for name, value in self.weights.items()}
        for name, value in self.weights.items():
            factor = factors.get(name, 1.0)
            if not torch.equal(weights[name] / factor, value):
                raise ValueError(f"2^{power} is too far: {name} times {factor:g} leaves the range of its numbers")
        return replace(self, weights=weights)

    @cached_property
    def exact(self) -> Mapping[str, NDArray[np.float64]]:
        """Every matrix in float64, exact."""
        return {name: exact(value) for name, value in self.weights.items()}

    @cached_property
    def heads(self) -> tuple[tuple[MergedHead, ...], ...]:
        """The merged heads, [blocks][heads]."""
        own = self.architecture
        found = []
        for block in range(own.layers):
            query, key, value, out = (self.exact[own.name(block, part)] for part in ("query", "key", "value", "out"))
            heads = []
            for h in range(own.heads):
                keys, values = slice(h * own.key, (h + 1) * own.key), slice(h * own.value, (h + 1) * own.value)
                heads.append(MergedHead(key[keys].T @ query[keys] / np.sqrt(own.key), out[:, values] @ value[values]))
            found.append(tuple(heads))
        return tuple(found)
