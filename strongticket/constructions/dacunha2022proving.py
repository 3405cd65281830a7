"""da Cunha et al. 2022, "Proving the lottery ticket hypothesis for convolutional neural networks".

A random convolutional network of depth 2L, wider by a logarithmic factor, contains a subnetwork that is within eps of a
given one of depth L, in maximum norm. Here the proof runs: in place of each convolution stand a 1x1 convolution whose
channels keep one input channel each, ReLU, and a convolution of the same kernel size, stride, padding and groups; every
entry of the target's kernels is a subset sum. Dense layers are the case of one position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from torch import nn

from strongticket.constructions._construction import Construction
from strongticket.constructions._graph import AbstractGraphConstruction, graph_target, only_convolutions, plain_chain
from strongticket.models import Target
from strongticket.models.graph import Graph
from strongticket.models.targets import GraphTarget

__all__ = ["DaCunha2022Proving", "construct"]

KEY = "dacunha2022proving"


@final
@dataclass(frozen=True)
class DaCunha2022Proving(AbstractGraphConstruction):
    """Prune one random convolutional network of depth 2L to a given one of depth L.

    See `AbstractGraphConstruction` for the parameters.
    """

    key: ClassVar[str] = KEY

    def check(self, graph: Graph) -> None:
        """Refuse what is no chain of convolutions, dense layers, ReLU and pools.

        Raises:
            HypothesisError: a sum of values, or a layer in another basis.
        """
        plain_chain(graph, KEY)
        only_convolutions(graph, KEY)


def construct(
    target: GraphTarget | Target | nn.Module, inputs: Sequence[int] | None = None, **options: object
) -> Construction:
    """Turn a trained convolutional network into a strict strong lottery ticket.

    Args:
        target: the network to find inside a random one; a module is traced and its normalisation folded.
        inputs: shape of one input, for a module, such as (1, 28, 28).
        options: parameters of `DaCunha2022Proving`.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 3))
    >>> result = construct(net, (1, 8, 8), weight_eps=0.01, seed=1)
    >>> result.ticket is not None and result.largest_error <= 0.01
    True
    """
    return DaCunha2022Proving(**options).construct(graph_target(target, inputs))  # type: ignore[arg-type]
