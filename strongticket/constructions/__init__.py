"""Proofs that run: each file turns one paper's existence proof into a 0/1 mask on one frozen random network."""

from strongticket.constructions._construction import AbstractConstruction, Construction, LayerReport, Plan, Progress
from strongticket.constructions._door import construct
from strongticket.constructions.burkholz2022convolutional import Burkholz2022Convolutional
from strongticket.constructions.burkholz2022most import Burkholz2022Most
from strongticket.constructions.dacunha2022proving import DaCunha2022Proving
from strongticket.constructions.diffenderfer2021multiprize import Diffenderfer2021Multiprize
from strongticket.constructions.ferbach2023general import Ferbach2023General
from strongticket.constructions.kumar2025quantized import Kumar2025Quantized
from strongticket.constructions.malach2020proving import Malach2020Proving
from strongticket.constructions.natale2024sparsity import Natale2024Sparsity
from strongticket.constructions.orseau2020logarithmic import Orseau2020Logarithmic
from strongticket.constructions.otsuka2025attention import Otsuka2025Attention
from strongticket.constructions.pensia2020optimal import Pensia2020Optimal
from strongticket.constructions.sreenivasan2022finding import Sreenivasan2022Finding

__all__ = [
    "AbstractConstruction",
    "Burkholz2022Convolutional",
    "Burkholz2022Most",
    "Construction",
    "DaCunha2022Proving",
    "Diffenderfer2021Multiprize",
    "Ferbach2023General",
    "Kumar2025Quantized",
    "LayerReport",
    "Malach2020Proving",
    "Natale2024Sparsity",
    "Orseau2020Logarithmic",
    "Otsuka2025Attention",
    "Pensia2020Optimal",
    "Plan",
    "Progress",
    "Sreenivasan2022Finding",
    "construct",
]
