"""The target network beyond MLPs: convolutional, residual and equivariant networks, held as exact numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor, nn

from strongticket.models.bases import Pointwise
from strongticket.models.grammar import AbstractImageArchitecture
from strongticket.models.graph import Affine, Graph, GraphModule, Rectify
from strongticket.models.graph.trace import read_module
from strongticket.models.mlp import MLP
from strongticket.models.names import architecture as read_architecture
from strongticket.models.targets._numbers import exact, fitting
from strongticket.models.targets.abstract import AbstractTarget
from strongticket.models.targets.mlp import Layer, Target
from strongticket.ticket import AbstractArchitecture

__all__ = ["GraphTarget"]


@final
@dataclass(frozen=True, eq=False)
class GraphTarget(AbstractTarget):
    """Hold a trained network of steps as numbers: a graph and a finite float32 or float64 value per weight.

    Args:
        architecture: a `Graph`.
        weights: {parameter name: tensor} with the graph's shapes; float16 and bfloat16 become float32, exactly.

    Raises:
        ValueError: shapes that do not fit, or a NaN or infinite weight, named with its place.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10))
    >>> target = GraphTarget.from_module(net, inputs=(1, 8, 8))
    >>> target.architecture.id
    'graph-1x8x8_conv3x3-p1-on8x8:1:4:b_relu_max2x2_flatten_dense:64:10:b'
    >>> target.layers[0].weight.shape
    (4, 1, 9)
    """

    architecture: Graph
    weights: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if not isinstance(self.architecture, Graph):
            raise TypeError(f"a GraphTarget has a Graph, got {self.architecture!r}; an MLP has a Target")
        object.__setattr__(self, "weights", fitting(self.architecture, self.weights))

    @classmethod
    def from_module(cls, module: nn.Module, inputs: Sequence[int] | None = None) -> GraphTarget:
        """Read a network as it is used, in evaluation mode.

        Read are Linear and Conv layers (stride, padding, dilation, groups), ReLU, max, average and adaptive pools,
        flattening, residual sums, shortcuts that take every other position and pad channels by zeros, as layers or as
        functions. Batch normalisation is folded in float64; the network that comes out is the target. Dropout and
        Identity are passed through.

        Args:
            module: the network; its forward pass is followed by torch.fx.
            inputs: shape of one input, such as (3, 32, 32); may be left out where the first layer is Linear.

        Raises:
            TypeError: an operation that a graph does not have, named with its place.
            ValueError: inputs that do not fit, or are not given.
        """
        return cls(*read_module(module, inputs))

    @classmethod
    def from_target(cls, target: Target) -> GraphTarget:
        """Read an MLP as a graph of dense layers, with the same numbers.

        Raises:
            ValueError: its activation is not ReLU.
        """
        mlp = target.architecture
        if getattr(mlp, "activation", "relu") != "relu":
            raise ValueError(f"a graph has ReLU between its layers, but the target is {mlp.id}")
        steps: list[Affine | Rectify] = []
        weights: dict[str, Tensor] = {}
        for i in range(mlp.depth):
            steps += [Rectify()] if i else []
            weights[Graph.weight_name(len(steps))] = target.weights[MLP.weight_name(i)][:, :, None]
            if mlp.bias:
                weights[Graph.bias_name(len(steps))] = target.weights[MLP.bias_name(i)]
            steps.append(Affine(Pointwise(), mlp.sizes[i], mlp.sizes[i + 1], bias=mlp.bias))
        return cls(Graph((mlp.sizes[0],), tuple(steps)), weights)

    @classmethod
    def from_state(
        cls,
        architecture: AbstractArchitecture | str,
        state: Mapping[str, Tensor],
        inputs: Sequence[int] | None = None,
    ) -> GraphTarget:
        """Read a state dict, given the network that it is of: one of `strongticket.models.architecture`, or your own.

        Args:
            architecture: the network, or its name, such as "lenet5+bias" or "resnet8+affine+pad".
            state: all that its state dict has.
            inputs: shape of one input; known for networks of images.
        """
        net = read_architecture(architecture) if isinstance(architecture, str) else architecture
        if inputs is None and isinstance(net, AbstractImageArchitecture):
            inputs = net.inputs
        if isinstance(net, Graph):
            return cls(net, state)
        return cls.from_module(net.module(state), inputs)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> GraphTarget:
        """Read a target file that `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a readable target file, or one of an MLP.
        """
        instead = "GraphTarget.from_state with the architecture, or GraphTarget.from_module"
        return cls._saved(path, "a graph", "graph-", instead)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Weights [O, I / groups, K] and biases [O] in float64, exact, in the order of `architecture.affine`."""
        graph, given = self.architecture, self.weights
        return tuple(
            Layer(exact(given[Graph.weight_name(k)]), exact(given[Graph.bias_name(k)]) if graph.layer(k).bias else None)
            for k in graph.affine
        )

    def module(self) -> GraphModule:
        """Return the target as a network; where its numbers differ in type, it computes in float64."""
        types = {value.dtype for value in self.weights.values()}
        one = self.weights if len(types) == 1 else {n: v.to(torch.float64) for n, v in self.weights.items()}
        return self.architecture.module(one)
