"""Proofs that run: each file turns one paper's existence proof into a 0/1 mask on one frozen random network."""

from strongticket.constructions._construction import AbstractConstruction, Construction, LayerReport, Plan, Progress
from strongticket.constructions.kumar2025quantized import Kumar2025Quantized
from strongticket.constructions.malach2020proving import Malach2020Proving
from strongticket.constructions.natale2024sparsity import Natale2024Sparsity
from strongticket.constructions.orseau2020logarithmic import Orseau2020Logarithmic
from strongticket.constructions.pensia2020optimal import Pensia2020Optimal

__all__ = [
    "AbstractConstruction",
    "Construction",
    "Kumar2025Quantized",
    "LayerReport",
    "Malach2020Proving",
    "Natale2024Sparsity",
    "Orseau2020Logarithmic",
    "Pensia2020Optimal",
    "Plan",
    "Progress",
]
