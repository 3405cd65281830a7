"""Subset sums by the million: which of n given numbers add up to a target, exactly and with proof when none do.

Every constructive theorem on strong lottery tickets turns each target weight into one small real-valued subset-sum
instance. `solve` takes a batch of them; `pareto` gives the best subset of every size.
"""

from strongticket.subsetsum.abstract import AbstractSubsetSumSolver, Choice
from strongticket.subsetsum.batch import Batch
from strongticket.subsetsum.brute import BruteForceSolver
from strongticket.subsetsum.compiled import NumbaSolver
from strongticket.subsetsum.goal import OBJECTIVES, Goal, Objective
from strongticket.subsetsum.plain import PlainSolver
from strongticket.subsetsum.portable import TorchSolver
from strongticket.subsetsum.problem import MAX_ITEMS
from strongticket.subsetsum.result import OUTCOMES, Fronts, Outcome, SubsetSums
from strongticket.subsetsum.solve import BACKENDS, Backend, pareto, solve, solver

__all__ = [
    "BACKENDS",
    "MAX_ITEMS",
    "OBJECTIVES",
    "OUTCOMES",
    "AbstractSubsetSumSolver",
    "Backend",
    "Batch",
    "BruteForceSolver",
    "Choice",
    "Fronts",
    "Goal",
    "NumbaSolver",
    "Objective",
    "Outcome",
    "PlainSolver",
    "SubsetSums",
    "TorchSolver",
    "pareto",
    "solve",
    "solver",
]
