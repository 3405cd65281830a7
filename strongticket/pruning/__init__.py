"""Prune trained networks: first and second order, exact where exactness is possible, on one interface."""

from strongticket.pruning.abstract import AbstractPruner, AbstractScore, Pruned, target_counts
from strongticket.pruning.problem import Loss, Problem, loss_function, prunable

__all__ = ["AbstractPruner", "AbstractScore", "Loss", "Problem", "Pruned", "loss_function", "prunable", "target_counts"]
