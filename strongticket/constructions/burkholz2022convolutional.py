"""Burkholz 2022, "Convolutional and residual networks provably contain lottery tickets", for residual networks.

The paper proves tickets in residual networks of depth L + 1, by building each neuron many times. The construction here
is another one and ours: it doubles the depth, as da Cunha et al. 2022 do for convolutions without shortcuts, and keeps
the shortcuts. Every layer of the target, a projection in a shortcut too, becomes a pair of source layers; identity
shortcuts and sums have no weights, and source and target share them. So it needs a logarithmically wider source and no
copies of neurons; what it does not show is the paper's depth L + 1, nor its activations beyond ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from torch import nn

from strongticket.constructions._construction import Construction
from strongticket.constructions._graph import AbstractGraphConstruction, graph_target
from strongticket.models import Target
from strongticket.models.graph import Graph
from strongticket.models.targets import GraphTarget

__all__ = ["Burkholz2022Convolutional", "construct"]

KEY = "burkholz2022convolutional"


@final
@dataclass(frozen=True)
class Burkholz2022Convolutional(AbstractGraphConstruction):
    """Prune one random residual network, each layer doubled and its shortcuts kept, to a given residual network.

    See `AbstractGraphConstruction` for the parameters.
    """

    key: ClassVar[str] = KEY

    def check(self, graph: Graph) -> None:
        """Accept every graph: chains are the case without shortcuts.

        Raises:
            HypothesisError: never.
        """
        del graph


def construct(
    target: GraphTarget | Target | nn.Module, inputs: Sequence[int] | None = None, **options: object
) -> Construction:
    """Turn a trained residual network into a strict strong lottery ticket.

    Args:
        target: the network to find inside a random one; a module is traced and its normalisation folded.
        inputs: shape of one input, for a module, such as (1, 28, 28).
        options: parameters of `Burkholz2022Convolutional`.

    >>> import torch
    >>> from strongticket.models.bases import Convolution
    >>> from strongticket.models.graph import Add, Affine, Rectify
    >>> conv = Convolution(3, 1, 1, (4, 4))
    >>> graph = Graph((1, 4, 4), (Affine(conv, 1, 1), Rectify(), Affine(conv, 1, 1), Add((0, 3)), Rectify()))
    >>> weights = {name: torch.linspace(-0.5, 0.5, 9).reshape(1, 1, 9) for name in graph.shapes}
    >>> result = construct(GraphTarget(graph, weights), weight_eps=0.01, seed=1)
    >>> result.ticket is not None and result.largest_error <= 0.01
    True
    """
    return Burkholz2022Convolutional(**options).construct(graph_target(target, inputs))  # type: ignore[arg-type]
