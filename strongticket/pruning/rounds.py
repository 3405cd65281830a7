"""Pruning in rounds: every method again at what the last round left, with training in between if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

from torch import nn

from strongticket import random
from strongticket.pruning.abstract import AbstractPruner, Pruned
from strongticket.pruning.problem import Problem
from strongticket.pruning.retrain import Retraining, train_held
from strongticket.pruning.schedules import AbstractSchedule, Iterative
from strongticket.pruning.structures import NofM
from strongticket.selection.largest import check_density

__all__ = ["Rounds"]


@final
@dataclass(frozen=True)
class Rounds(AbstractPruner):
    """Prune by a schedule: saliencies and curvature are computed anew at what each round left.

    A density means the same network whatever other densities the path has: each has a schedule of its own, and only
    what the first rounds share is computed once.

    With training in between, all of the network is trained after every round but the last. What the last round starts
    from is then the `original` of the result, and the predicted increase is that of the last round: models of the loss
    at networks that were trained in between do not add up.

    Args:
        pruner: what is done in each round.
        schedule: the densities of the rounds.
        retraining: how to train between rounds; None: not at all.
    """

    pruner: AbstractPruner
    schedule: AbstractSchedule = field(default_factory=Iterative)
    retraining: Retraining | None = None
    key: ClassVar[str] = "rounds"

    def __post_init__(self) -> None:
        structure, pair = getattr(self.pruner, "structure", None), getattr(self.pruner, "n_of_m", None)
        n, m = (structure.n, structure.m) if isinstance(structure, NofM) else pair or (1, 1)
        if len(self.schedule.densities(1.0, n / m)) > 1:
            raise ValueError(
                f"NofM({n}, {m}) has the one density {n / m:g} and nothing on the way to it: leave the schedule "
                f"{self.schedule.key!r} out, or give it one round"
            )

    def path(self, problem: Problem, densities: Sequence[float]) -> tuple[Pruned, ...]:
        """Return the network pruned to each density, by rounds.

        Raises:
            ValueError: a density outside [0, 1], or training with another loss than the cross-entropy.
        """
        for density in densities:
            check_density(density)
        if self.retraining is not None and problem.loss != "cross-entropy":
            raise ValueError("training between rounds has the cross-entropy as loss: give the problem that loss")
        start = self.pruner.start_density(problem)
        plans = [self.schedule.densities(start, density) for density in densities]
        firsts = self.pruner.path(problem, [plan[0] for plan in plans])
        return tuple(self._go_on(problem, plan, first) for plan, first in zip(plans, firsts, strict=True))

    def start_density(self, problem: Problem) -> float:
        """Return the density of what is left to prune, as the pruner of the rounds counts it."""
        return self.pruner.start_density(problem)

    def _go_on(self, problem: Problem, plan: tuple[float, ...], pruned: Pruned) -> Pruned:
        rounds, updated, original = [_record(pruned)], pruned.updated, pruned.original
        for number, density in enumerate(plan[1:], 1):
            problem = self._between(problem, pruned, number)
            pruned = self.pruner.prune(problem, density)
            rounds.append(_record(pruned))
            updated = updated or pruned.updated
        stats = {**pruned.stats, "schedule": self.schedule.key, "rounds": rounds}
        if self.retraining is not None or len(plan) == 1:
            return replace(pruned, stats=stats)
        parts = [entry["predicted_increase"] for entry in rounds]
        total = None if None in parts else sum(parts)
        return replace(pruned, original=original, predicted_increase=total, updated=updated, stats=stats)

    def _between(self, problem: Problem, pruned: Pruned, number: int) -> Problem:
        """The problem of the next round."""
        if self.retraining is None:
            return replace(problem, module=pruned.module(), start=pruned.mask)
        high, low = random.words(problem.seed, f"retraining/{number}", 0, 2, purpose=random.ORDER).tolist()
        network: nn.Module = train_held(
            pruned.module(),
            pruned.mask,
            *problem.data,
            self.retraining.recipe,
            seed=(high << 32) | low,
            threads=self.retraining.threads,
        ).module
        return replace(problem, module=network, start=pruned.mask)


def _record(pruned: Pruned) -> dict[str, Any]:
    return {"kept": pruned.mask.count, "predicted_increase": pruned.predicted_increase}
