"""Ferbach et al. 2023, "A general framework for proving the equivariant strong lottery ticket hypothesis".

A random equivariant network of depth 2L contains a subnetwork that is within eps of a given one, when both have their
layers in the same bases. Here the proof runs, for any basis of `strongticket.models.bases`: the coefficients of the
basis elements are subset sums. The source's layers are equivariant whatever is pruned, so the ticket is equivariant
exactly, and not only up to its error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from torch import nn

from strongticket.constructions._construction import Construction
from strongticket.constructions._graph import AbstractGraphConstruction, graph_target, plain_chain
from strongticket.models import Target
from strongticket.models.graph import Graph
from strongticket.models.targets import GraphTarget

__all__ = ["Ferbach2023General", "construct"]

KEY = "ferbach2023general"


@final
@dataclass(frozen=True)
class Ferbach2023General(AbstractGraphConstruction):
    """Prune one random network of depth 2L to a given one of depth L whose layers are linear combinations in a basis.

    See `AbstractGraphConstruction` for the parameters.
    """

    key: ClassVar[str] = KEY

    def check(self, graph: Graph) -> None:
        """Refuse sums of values.

        Raises:
            HypothesisError: the target adds values.
        """
        plain_chain(graph, KEY)


def construct(
    target: GraphTarget | Target | nn.Module, inputs: Sequence[int] | None = None, **options: object
) -> Construction:
    """Turn a trained equivariant network into a strict strong lottery ticket.

    Args:
        target: the network to find inside a random one; a module is traced and its normalisation folded.
        inputs: shape of one input, for a module, such as (1, 28, 28).
        options: parameters of `Ferbach2023General`.

    >>> import torch
    >>> from strongticket.models.bases import Sets
    >>> from strongticket.models.graph import Affine, Rectify
    >>> graph = Graph((2, 5), (Affine(Sets(5), 2, 3), Rectify(), Affine(Sets(5), 3, 1)))
    >>> weights = {name: torch.linspace(-0.5, 0.5, 6 * shape[0] * shape[1] // 3).reshape(shape)
    ...            for name, shape in graph.shapes.items()}
    >>> result = construct(GraphTarget(graph, weights), weight_eps=0.01, seed=1)
    >>> result.ticket is not None and result.largest_error <= 0.01
    True
    """
    return Ferbach2023General(**options).construct(graph_target(target, inputs))  # type: ignore[arg-type]
