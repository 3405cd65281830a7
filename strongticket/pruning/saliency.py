"""From saliencies to a pruned network: the least important go, exactly as many as a density says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from torch import Tensor

from strongticket.mask import Mask
from strongticket.pruning.abstract import AbstractPruner, AbstractScore, Pruned
from strongticket.pruning.problem import Problem
from strongticket.pruning.shares import check_allocation
from strongticket.pruning.structures import AbstractStructure, Unstructured
from strongticket.selection import Allocation
from strongticket.selection.largest import check_density

__all__ = ["ScorePruner", "scores_of"]


@final
@dataclass(frozen=True)
class ScorePruner(AbstractPruner):
    """Remove the weights of the least saliency and leave the others as they are.

    Scores are computed once, at the network that the problem holds; `Rounds` computes them anew after each removal.
    Masks of falling densities are nested, except for N of M, which has one density.

    Args:
        score: saliencies of single weights.
        allocation: "global" lets all layers compete; "layer" keeps every layer at the same density, up to the rounding
            that makes the counts add up; the Erdos-Renyi rules keep small layers dense.
        structure: what goes together.

    >>> from strongticket.pruning.magnitude import Magnitude
    >>> problem = Problem.of(torch.nn.Linear(8, 5, bias=False))
    >>> half, tenth = ScorePruner(Magnitude()).path(problem, (0.5, 0.1))
    >>> half.mask.count, tenth.mask.count, (half.mask & tenth.mask) == tenth.mask
    (20, 4, True)
    """

    score: AbstractScore
    allocation: Allocation = "global"
    structure: AbstractStructure = field(default_factory=Unstructured)
    key: ClassVar[str] = "scores"

    def __post_init__(self) -> None:
        check_allocation(self.allocation)

    def path(self, problem: Problem, densities: Sequence[float]) -> tuple[Pruned, ...]:
        """Return the network pruned to each density, from the same saliencies.

        Raises:
            ValueError: a density outside [0, 1], a structure that the parameters or densities do not have, or
                saliencies that are not finite.
        """
        for density in densities:
            check_density(density)
        scores, increases = self.score.score_and_increase(problem)
        _check(self.score, problem, scores)
        return tuple(self._pruned(problem, scores, increases, density) for density in densities)

    def start_density(self, problem: Problem) -> float:
        """Return the density of what is left to prune, of the entries of the structure."""
        return self.structure.density(problem.start)

    def _pruned(
        self, problem: Problem, scores: dict[str, Tensor], increases: dict[str, Tensor] | None, density: float
    ) -> Pruned:
        mask = self.structure.select(scores, problem.start, density, self.allocation)
        weights = {name: weight * mask[name].to(weight.device) for name, weight in problem.weights.items()}
        increase = None if increases is None else _removed(increases, problem.start, mask)
        stats = {"allocation": self.allocation, "structure": self.structure.key}
        return Pruned(mask, weights, problem.module, increase, False, self.score.key, stats)


def scores_of(score: AbstractScore, problem: Problem) -> dict[str, Tensor]:
    """Return the saliencies of a problem, having made sure that they can be ranked.

    Raises:
        ValueError: saliencies of other shapes than the weights, or NaN or infinite ones.
    """
    scores = score.score(problem)
    _check(score, problem, scores)
    return scores


def _check(score: AbstractScore, problem: Problem, scores: dict[str, Tensor]) -> None:
    shapes = {name: tuple(value.shape) for name, value in scores.items()}
    if shapes != problem.shapes:
        raise ValueError(f"{score.key} gave saliencies {shapes}, expected one per weight: {problem.shapes}")
    for name, value in scores.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{score.key} gave NaN or infinite saliencies for {name}: look at the loss of the network")


def _removed(scores: dict[str, Tensor], start: Mask, mask: Mask) -> float:
    """Sum of the increases of what goes, exact but for one rounding."""
    gone = [value[(start[name] & ~mask[name]).to(value.device)].double().cpu() for name, value in scores.items()]
    return math.fsum(math.fsum(part.tolist()) for part in gone)
