"""Optimal brain surgeon over a whole network at once: every weight competes with every other, and all move along."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, final, get_args

import torch
from torch import Tensor

from strongticket.pruning._checks import check_memory, check_whole
from strongticket.pruning._flat import flat_mask, flat_start, flat_weights, split_flat
from strongticket.pruning._greedy_fisher import GreedyFisher
from strongticket.pruning.abstract import AbstractPruner, Pruned, target_counts
from strongticket.pruning.curvature.fisher import LowRankFisher
from strongticket.pruning.curvature.gradients import sample_gradients, sample_index
from strongticket.pruning.gradient import mean_loss
from strongticket.pruning.problem import Problem

__all__ = ["NetworkObs", "Schedule", "stage_counts"]

Schedule = Literal["geometric", "exponential"]
"""How many weights are left after each stage. geometric: the same share of what is left goes each time. exponential: a
tenth of the weights goes first, and each stage then goes half of the way that is left (benbaki2023chita)."""

_FIRST: float = 0.1


def stage_counts(total: int, last: int, stages: int, schedule: Schedule = "geometric") -> list[int]:
    """Return how many of `total` weights are left after each stage; `last` after the last.

    Raises:
        ValueError: counts out of range, or an unknown schedule.

    >>> stage_counts(1000, 10, 2), stage_counts(1000, 100, 3, "exponential")
    ([100, 10], [900, 367, 100])
    """
    check_whole(stages=stages)
    if not 0 <= last <= total:
        raise ValueError(f"expected stages down to 0 to {total} weights, got {last}")
    _check_schedule(schedule)
    if schedule == "geometric":
        ratio = max(last, 1) / max(total, 1)
        found = [round(total * ratio ** ((i + 1) / stages)) for i in range(stages)]
    else:
        first = min(_FIRST, 1 - last / max(total, 1))
        reach = (1 - last / max(total, 1) - first) / (1 - 2.0 ** (1 - stages)) if stages > 1 else 0.0
        found = [round(total * (1 - first - reach * (1 - 2.0**-i))) for i in range(stages)]
    return [*found[:-1], last]


def _check_schedule(schedule: str) -> None:
    if schedule not in get_args(Schedule):
        raise ValueError(f"expected a schedule in {get_args(Schedule)}, got {schedule!r}")


@final
@dataclass(frozen=True)
class NetworkObs(AbstractPruner):
    """Delete single weights one after the other, the least costly of the whole network first, all others moving along.

    This is hassibi1992second's method with the empirical Fisher matrix of singh2020woodfisher in place of the Hessian,
    and without its compromises: no blocks, and scores and inverse are those of the weights that are left. Weights of
    equal cost go in the order of their index. One path serves all densities.

    With several stages the gradients are drawn and computed afresh at the weights reached, as the quadratic model holds
    nearby only, and the model has a first-order term: what is left also moves towards the minimum (benbaki2023chita).
    That step is as long as the damping and the groups let it be. With a damping of 1e-5 and single examples it leads a
    trained network far from where its quadratic model holds, and destroys it at once; so several stages have defaults
    of their own, groups of 16 and a damping of 1e-3, with which the public 784-40-20-10 network gains by every stage.
    Look at `newton` in the stats: where a step changes the loss elsewhere by much more than predicted, raise group or
    damping.

    The same problem gives the same bits again on one machine and number of threads. Between numbers of threads that is
    the BLAS library's affair, which promises nothing; differences by rounding can change the order of near ties.

    Args:
        samples: rows of the Fisher matrix; fewer where there are fewer examples.
        group: examples per row; None: 1 in one stage, 16 in several. A Fisher matrix of means over groups is that many
            times too small, so the first-order term is divided by it, and predicted increases are multiplied by it.
        damping: added to the diagonal of the Fisher matrix, above 0, in units of squared derivatives; None: 1e-5 in
            one stage, 1e-3 in several.
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
    group: int | None = None
    damping: float | None = None
    stages: int = 1
    each: bool = False
    schedule: Schedule = "geometric"
    first_order: bool | None = None
    precise: bool = False

    def __post_init__(self) -> None:
        check_whole(samples=self.samples, group=self.group, stages=self.stages)
        if self.damping is not None and not 0 < self.damping < math.inf:
            raise ValueError(f"damping keeps the Fisher matrix invertible: expected above 0, got {self.damping}")
        _check_schedule(self.schedule)

    def path(self, problem: Problem, densities: Sequence[float]) -> tuple[Pruned, ...]:
        """Return the network pruned to each density; all lie on one path, the masks nested.

        The `stats` of each hold the `stage` that reached it, its `rows`, `group` and `damping`, the `panels` of
        deletions and how many were cut short. Where gradients count, `newton` lists, for each stage so far, by how much
        the step to the model's minimum changes the mean loss before any weight goes: as `predicted`, as `measured` on
        the stage's examples, and `elsewhere`, on as many others (None: there are none, or the loss is not finite).

        Raises:
            ValueError: a density outside [0, 1], what `sample_gradients` refuses, or more gradients than fit in memory.
        """
        counts = target_counts(problem, densities)
        total = problem.start.count
        wanted = sorted({count for count in counts if count < total}, reverse=True)
        found = {total: self._record(problem, problem, 0.0, {})}
        now, increase = problem, 0.0
        steps: list[dict[str, float | None]] = []
        for number, stops in enumerate(self._plan(total, wanted)):
            stage = self._stage(now, number)
            steps = [*steps, *stage.newton]
            for count in stops:
                reached, here = stage.reach(count)
                here += increase
                # the last stage that ends at a count has the best weights there
                stats = {**stage.settings, "panels": stage.greedy.panels, "panels_cut": stage.greedy.cut}
                found[count] = self._record(problem, reached, here, {**stats, "newton": steps} if steps else stats)
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

    def _stage(self, problem: Problem, number: int) -> _Stage:
        """Return the surgeon at the weights as they are."""
        index = flat_start(problem)
        group, damping = self._settings(problem)
        drawn = sample_index(problem, count=self.samples, group=group, draw=number)
        wide = self.precise or flat_weights(problem).dtype == torch.float64
        check_memory(
            len(drawn) * (4 * len(index) * (8 if wide else 4) + 64 * len(drawn)),
            index.device,
            "the Fisher matrix of the whole network",
            "take fewer samples, or WoodFisher with blocks (block=...)",
        )
        gradients = sample_gradients(
            problem,
            count=self.samples,
            group=group,
            draw=number,
            columns=None if len(index) == problem.size else index,
            dtype=torch.float64 if self.precise else None,
        )
        if gradients.dtype not in (torch.float32, torch.float64):
            gradients = gradients.float()
        fisher = LowRankFisher(gradients, damping)
        base, gain = flat_weights(problem)[index].double(), 0.0
        newton: list[dict[str, float | None]] = []
        settings = {"stage": number + 1, "rows": len(drawn), "group": group, "damping": damping}
        if self.stages > 1 if self.first_order is None else self.first_order:
            mean = fisher.mean() / group
            step = fisher.solve(mean)
            base, gain = base - step, group * float(mean @ step) / 2
            order = sample_index(problem, draw=number)[:, 0]
            here, there = order[: drawn.numel()], order[drawn.numel() : 2 * drawn.numel()]
            measured, elsewhere = (_measured(problem, part, index, base) for part in (here, there))
            newton.append({"predicted": -gain, "measured": measured, "elsewhere": elsewhere})
        greedy = GreedyFisher(fisher, base, dtype=gradients.dtype)
        return _Stage(problem, fisher, greedy, index, base, gain, settings, newton)

    def _settings(self, problem: Problem) -> tuple[int, float]:
        """Return (group, damping)."""
        group, damping = (1, 1e-5) if self.stages == 1 else (16, 1e-3)
        if self.stages > 1:
            group = min(group, len(problem.data[1]))
        return self.group or group, self.damping or damping

    def _record(self, problem: Problem, reached: Problem, increase: float, stats: dict[str, Any]) -> Pruned:
        changed = reached is not problem
        return Pruned(reached.start, reached.weights, problem.module, increase, changed, self.key, stats)


@dataclass(frozen=True, eq=False)
class _Stage:
    """A stretch of the path under one model, whose minimum is at `base`, `gain` below the loss where it begins."""

    problem: Problem
    fisher: LowRankFisher
    greedy: GreedyFisher
    index: Tensor  # [m]: which weights it holds
    base: Tensor  # [m]
    gain: float
    settings: dict[str, Any]
    newton: list[dict[str, float | None]]

    def reach(self, count: int) -> tuple[Problem, float]:
        """Go on to so many weights; return the problem there, and the predicted increase since the stage began."""
        self.greedy.run(count)
        kept, weights = self.greedy.settle()
        values = torch.zeros_like(self.base)
        values[kept] = weights
        flat = torch.zeros(self.problem.size, dtype=torch.float64, device=self.index.device)
        flat[self.index] = values
        reached = self.problem.at(split_flat(self.problem, flat), flat_mask(self.problem, self.index[kept]))
        # by the whole model in float64: what single deletions cost is known as well as large matrices are
        return reached, self.settings["group"] * self.fisher.quadratic(values - self.base) - self.gain


def _measured(problem: Problem, drawn: Tensor, index: Tensor, weights: Tensor) -> float | None:
    """Return how other values [m] of the weights that are left change the mean loss of some examples."""
    if not len(drawn):
        return None
    inputs, labels = problem.data
    part = replace(problem, inputs=inputs[drawn.to(inputs.device)], labels=labels[drawn.to(labels.device)])
    flat = torch.zeros(problem.size, dtype=torch.float64, device=index.device)
    flat[index] = weights
    try:
        return mean_loss(part, split_flat(problem, flat)) - mean_loss(part)
    except ValueError:  # the step led to where the loss overflows
        return None
