"""What every pruning method is: saliencies that rank weights, or a pruner that removes them its own way."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from strongticket.mask import Mask
from strongticket.pruning.problem import Problem
from strongticket.selection import kept_count

__all__ = ["AbstractPruner", "AbstractScore", "Pruned", "target_counts"]


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned network.

    Attributes:
        mask: what is kept of the parameters that were to be pruned.
        weights: their values, exactly 0 outside the mask; those of the trained network where the method changes none.
            Parameters that are not in the mask (biases) are here too if the method moved them.
        original: the trained network, in evaluation mode.
        predicted_increase: by how much the method's own model of the loss says that the mean loss grows; None for
            methods without such a model.
        updated: whether survivors have other values than in the trained network.
        method: key of the method.
        stats: what else is worth knowing: JSON values.
    """

    mask: Mask
    weights: Mapping[str, Tensor]
    original: nn.Module
    predicted_increase: float | None
    updated: bool
    method: str
    stats: Mapping[str, Any] = field(default_factory=dict)

    def module(self, *, updated: bool = True) -> nn.Module:
        """Return the pruned network in evaluation mode, without gradients.

        Args:
            updated: False: the trained weights times the mask, whatever the method did to the survivors ("mask only",
                the column that compares with strong tickets, whose weights nobody changes).
        """
        module = copy.deepcopy(self.original)
        for name in self.mask:
            parameter = module.get_parameter(name)
            kept = self.mask[name].to(parameter.device)
            value = self.weights[name].to(parameter) if updated else parameter.data
            parameter.data.copy_(value * kept)
        for name in set(self.weights) - set(self.mask) if updated else ():
            module.get_parameter(name).data.copy_(self.weights[name])
        return module


class AbstractScore(ABC):
    """Saliencies of single weights: those with the least go first. Instances are frozen dataclasses."""

    key: ClassVar[str]
    is_increase: ClassVar[bool] = False
    """Whether saliencies come with the increase of the mean loss that they predict when that weight alone goes."""

    @abstractmethod
    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return a saliency per weight, finite, for each of `problem.names` in its shape."""

    def score_and_increase(self, problem: Problem) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """Return the saliencies, and the increases that they predict: the same numbers unless a score says otherwise.

        The second is None for scores that are no model of the loss.
        """
        scores = self.score(problem)
        return scores, scores if self.is_increase else None


class AbstractPruner(ABC):
    """Methods that choose which weights go and what becomes of the others. Instances are frozen dataclasses."""

    key: ClassVar[str]

    @abstractmethod
    def path(self, problem: Problem, densities: Sequence[float]) -> tuple[Pruned, ...]:
        """Return the network pruned to each density, in the order given; what can be shared is computed once.

        Exactly `kept_count(density, problem.size)` weights are kept, or all of `problem.start` if those are fewer. With
        a structure of whole groups (neurons, channels) the same holds of groups: a density is the fraction of all
        groups, and what `problem.start` has in a group that stays is kept.

        Raises:
            ValueError: a density outside [0, 1], or a problem that the method cannot take.
        """

    def start_density(self, problem: Problem) -> float:
        """Return the density of what is left to prune, in this pruner's terms: of weights, or of groups."""
        return problem.start.density

    def prune(self, problem: Problem, density: float) -> Pruned:
        """Return the network pruned to one density."""
        return self.path(problem, (density,))[0]


def target_counts(problem: Problem, densities: Sequence[float]) -> list[int]:
    """Return how many weights each density keeps of all: exact, and never more than there are left.

    Raises:
        ValueError: a density outside [0, 1].
    """
    return [min(problem.start.count, kept_count(density, problem.size)) for density in densities]
