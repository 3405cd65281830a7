"""Targets: trained networks held as exact numbers, which a ticket shall compute; one file per kind of network."""

from strongticket.models.targets.abstract import AbstractTarget
from strongticket.models.targets.attention import AttentionTarget, MergedHead
from strongticket.models.targets.files import load_target
from strongticket.models.targets.graph import GraphTarget
from strongticket.models.targets.mlp import Layer, Target

__all__ = ["AbstractTarget", "AttentionTarget", "GraphTarget", "Layer", "MergedHead", "Target", "load_target"]
