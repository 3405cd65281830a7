"""Networks of linear layers in a basis, ReLU, pools and residual sums: what a target or a source can be beyond MLPs.

A `Graph` is a list of `steps`, each of which makes a value of earlier ones; `trace` reads one from a network of torch.
"""

from strongticket.models.graph.network import GRAPHS, Graph, GraphLayer, GraphModule
from strongticket.models.graph.steps import (
    AbstractStep,
    Add,
    Affine,
    AveragePool,
    Flatten,
    MaxPool,
    Pad,
    Rectify,
)

__all__ = [
    "GRAPHS",
    "AbstractStep",
    "Add",
    "Affine",
    "AveragePool",
    "Flatten",
    "Graph",
    "GraphLayer",
    "GraphModule",
    "MaxPool",
    "Pad",
    "Rectify",
]
