"""Subset sums by the million: which of n given numbers add up to a target, exactly and with proof when none do.

Every constructive theorem on strong lottery tickets turns each target weight into one small real-valued subset-sum
instance. `solve` takes a batch of them.
"""

from strongticket.subsetsum.abstract import AbstractSubsetSumSolver, Choice
from strongticket.subsetsum.brute import BruteForceSolver
from strongticket.subsetsum.compiled import NumbaSolver
from strongticket.subsetsum.portable import TorchSolver
from strongticket.subsetsum.problem import MAX_ITEMS, Objective
from strongticket.subsetsum.result import OUTCOMES, Outcome, SubsetSums
from strongticket.subsetsum.solve import BACKENDS, Backend, solve, solver

__all__ = [
    "BACKENDS",
    "MAX_ITEMS",
    "OUTCOMES",
    "AbstractSubsetSumSolver",
    "Backend",
    "BruteForceSolver",
    "Choice",
    "NumbaSolver",
    "Objective",
    "Outcome",
    "SubsetSums",
    "TorchSolver",
    "solve",
    "solver",
]
