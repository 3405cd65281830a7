"""Named networks, and the targets that tickets shall compute."""

from strongticket.models.mlp import MLP, architecture
from strongticket.models.sparse import sparse_module
from strongticket.models.target import Layer, Target

__all__ = ["MLP", "Layer", "Target", "architecture", "sparse_module"]
