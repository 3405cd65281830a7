"""The family of mask searches, each exactly as published: how scores choose a subnetwork, and how gradients reach them.

Weights W never change. A method turns scores S into effective weights We, which the network runs with, and the
gradient G = dL/dWe back into a slope of the scores. All are straight-through estimators: the choice itself has no
derivative, so it is given one.
"""

from strongticket.search.methods.abstract import AbstractMethod, MethodState
from strongticket.search.methods.annealing import AbstractAnnealing, CubicRamp, Levels
from strongticket.search.methods.coats import Multicoated
from strongticket.search.methods.frozen import Frozen
from strongticket.search.methods.thresholds import Bernoulli, GemMiner, SignedSupermask, Threshold
from strongticket.search.methods.top_k import AbstractTopK, Biprop, EdgePopup, IteRand, SignedTopK

__all__ = [
    "AbstractAnnealing",
    "AbstractMethod",
    "AbstractTopK",
    "Bernoulli",
    "Biprop",
    "CubicRamp",
    "EdgePopup",
    "Frozen",
    "GemMiner",
    "IteRand",
    "Levels",
    "MethodState",
    "Multicoated",
    "SignedSupermask",
    "SignedTopK",
    "Threshold",
]
