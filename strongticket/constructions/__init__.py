"""Proofs that run: each file turns one paper's existence proof into a 0/1 mask on one frozen random network."""

from strongticket.constructions._construction import AbstractConstruction, Construction, LayerReport, Plan, Progress
from strongticket.constructions.pensia2020optimal import Pensia2020Optimal

__all__ = ["AbstractConstruction", "Construction", "LayerReport", "Pensia2020Optimal", "Plan", "Progress"]
