"""Optimal brain surgeon over a whole network at once: every weight competes with every other, and all move along."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final, get_args

import torch
from torch import Tensor

from strongticket.pruning._flat import flat_mask, flat_start, flat_weights, split_flat
from strongticket.pruning._greedy_fisher import GreedyFisher
from strongticket.pruning.abstract import AbstractPruner, Pruned, target_counts
from strongticket.pruning.curvature.fisher import LowRankFisher
from strongticket.pruning.curvature.gradients import sample_gradients
from strongticket.pruning.problem import Problem

__all__ = ["NetworkObs", "Schedule", "stage_counts"]

Schedule = Literal["geometric", "exponential"]
"""How many weights are left after each stage. geometric: the same share of what is left goes each time. exponential: a
tenth of the weights goes first, and each stage then goes half of the way that is left (benbaki2023chita)."""

_FIRST: float = 0.1


def stage_counts(total: int, last: int, stages: int, schedule: Schedule = "geometric") -> list[int]:
    """Return how many of `total` weights are left after each stage; `last` after the last.

    >>> stage_counts(1000, 10, 2), stage_counts(1000, 100, 3, "exponential")
    ([100, 10], [900, 367, 100])
    """
    if stages < 1 or not 0 <= last <= total:
        raise ValueError(f"expected at least one stage, down to 0 to {total} weights, got {stages} stages to {last}")
    if schedule == "geometric":
        ratio = max(last, 1) / max(total, 1)
        found = [round(total * ratio ** ((i + 1) / stages)) for i in range(stages)]
    else:
        first = min(_FIRST, 1 - last / max(total, 1))
        reach = (1 - last / max(total, 1) - first) / (1 - 2.0 ** (1 - stages)) if stages > 1 else 0.0
        found = [round(total * (1 - first - reach * (1 - 2.0**-i))) for i in range(stages)]
    return [*found[:-1], last]


@final
@dataclass(frozen=True)
class NetworkObs(AbstractPruner):
    """Delete single weights one after the other, the least costly of the whole network first, all others moving along.

    This is hassibi1992second's method with the empirical Fisher matrix of singh2020woodfisher in place of the Hessian,
    and without its compromises: no blocks, and scores and inverse are those of the weights that are left. Weights of
    equal cost go in the order of their index. One path serves all densities.

    With several stages the gradients are drawn and computed afresh at the weights reached, as the quadratic model holds
    nearby only, and the model has a first-order term: what is left also moves towards the minimum (benbaki2023chita).

    The same problem gives the same bits again on one machine and number of threads. Between numbers of threads that is
    the BLAS library's affair, which promises nothing; differences by rounding can change the order of near ties.

    Args:
        samples: rows of the Fisher matrix; fewer where there are fewer examples.
        group: examples per row. A Fisher matrix of means over groups is that many times too small, so the first-order
            term is divided by it, and predicted increases are multiplied by it.
        damping: added to the diagonal of the Fisher matrix, above 0, in units of squared derivatives.
        stages: how often gradients are computed on the way to the least density, at least 1.
        each: go that many stages to each density that is asked for, from where the one before was reached.
        schedule: see `Schedule`.
        first_order: whether gradients count, not just curvature; None: in several stages only, for a trained network
            is near a minimum.
        precise: float64 also where networks in float32 would have the largest matrix in float32; weights and losses
            are corrected in float64 either way.

    >>> from torch import nn
    >>> data = torch.eye(3), torch.tensor([0, 1, 1])
    >>> NetworkObs().prune(Problem.of(nn.Linear(3, 2), data), 0.5).mask.count
    3
    """

    key: ClassVar[str] = "network-obs"

    samples: int = 1000
    group: int = 1
    damping: float = 1e-5
    stages: int = 1
    each: bool = False
    schedule: Schedule = "geometric"
    first_order: bool | None = None
    precise: bool = False

    def __post_init__(self) -> None:
        if min(self.samples, self.group, self.stages) < 1:
            raise ValueError(
                f"expected samples, group and stages of at least 1, got {self.samples}, {self.group}, {self.stages}"
            )
        if not 0 < self.damping < math.inf:
            raise ValueError(f"damping keeps the Fisher matrix invertible: expected above 0, got {self.damping}")
        if self.schedule not in get_args(Schedule):
            raise ValueError(f"expected a schedule in {get_args(Schedule)}, got {self.schedule!r}")

    def path(self, problem: Problem, densities: Sequence[float]) -> tuple[Pruned, ...]:
        """Return the network pruned to each density; all lie on one path, the masks nested."""
        counts = target_counts(problem, densities)
        total = problem.start.count
        wanted = sorted({count for count in counts if count < total}, reverse=True)
        found = {total: self._record(problem, problem, 0.0, {})}
        now, increase = problem, 0.0
        for stage, stops in enumerate(self._plan(total, wanted)):
            greedy, index, offset = self._stage(now, stage)
            for count in stops:
                greedy.run(count)
                reached = _at(now, index, greedy)
                here = increase + self.group * (greedy.loss - offset)
                stats = {"stage": stage + 1, "rows": greedy.rows, "panels": greedy.panels, "panels_cut": greedy.cut}
                # the last stage that ends at a count has the best weights there
                found[count] = self._record(problem, reached, here, stats)
            now, increase = reached, here
        return tuple(found[count] for count in counts)

    def _plan(self, total: int, wanted: list[int]) -> list[list[int]]:
        """Return, per stage, the counts of `wanted` that it passes, and where it ends."""
        starts = [total, *wanted[:-1]] if self.each else [total]
        lasts = wanted if self.each else wanted[-1:]
        plan: list[list[int]] = []
        for start, last in zip(starts, lasts, strict=False):
            now = start
            for end in stage_counts(start, last, self.stages, self.schedule):
                plan.append([*(count for count in wanted if end < count < now), end])
                now = end
        return plan

    def _stage(self, problem: Problem, stage: int) -> tuple[GreedyFisher, Tensor, float]:
        """Return the surgeon at the weights as they are, which weights it holds, and what their gradients gain."""
        index = flat_start(problem)
        everything = len(index) == problem.size
        dtype = torch.float64 if self.precise else None
        gradients = sample_gradients(
            problem,
            count=self.samples,
            group=self.group,
            draw=stage,
            columns=None if everything else index,
            dtype=dtype,
        )
        if gradients.dtype not in (torch.float32, torch.float64):
            gradients = gradients.float()
        fisher = LowRankFisher(gradients, self.damping)
        weights, offset = flat_weights(problem)[index].double(), 0.0
        if self.stages > 1 if self.first_order is None else self.first_order:
            mean = fisher.mean() / self.group
            step = fisher.solve(mean)
            weights, offset = weights - step, float(mean @ step) / 2
        return GreedyFisher(fisher, weights, dtype=gradients.dtype), index, offset

    def _record(self, problem: Problem, reached: Problem, increase: float, stats: dict[str, int]) -> Pruned:
        changed = reached is not problem
        return Pruned(reached.start, reached.weights, problem.module, increase, changed, self.key, stats)


def _at(problem: Problem, index: Tensor, greedy: GreedyFisher) -> Problem:
    """Return the problem at the weights that the surgeon has left."""
    kept, weights = greedy.settle()
    values = torch.zeros(problem.size, dtype=torch.float64, device=index.device)
    values[index[kept]] = weights
    return problem.at(split_flat(problem, values), flat_mask(problem, index[kept]))
