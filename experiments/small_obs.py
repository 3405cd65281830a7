"""The first test of brain surgery, again: XOR networks that lose one weight, and MONK's problems in fewest weights.

hassibi1992second claims that of magnitude, OBD and OBS "only OBS deletes the correct weights from a trained XOR network
in every case", and that OBS solves the three MONK's problems with 76 %, 62 % and 90 % fewer weights than weight decay
left (58, 39 and 39, so with 14, 15 and 4).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, final, get_args

import numpy as np

from experiments._experiment import AbstractExperiment, by_setting
from experiments._small_nets import Array, Kept, Shape, Task, descend, fit, right

if TYPE_CHECKING:
    from strongticket.data.monks import MonksProblem

__all__ = [
    "GATES",
    "METHODS",
    "PUBLISHED",
    "XOR_GATES",
    "SmallOBS",
    "by_setting",
    "least_saliencies",
    "removed",
    "share",
]

Problem = Literal["xor", "monks-1", "monks-2", "monks-3"]
Method = Literal["magnitude", "obd", "obs"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)

PUBLISHED: Final[Mapping[Problem, tuple[int, int]]] = {"monks-1": (58, 14), "monks-2": (39, 15), "monks-3": (39, 4)}
"""Weights before and after OBS: of a 17-3-1 or 17-2-1 network, and the share that the paper's abstract leaves of it."""

GATES: Final[Mapping[Problem, tuple[int, int, int]]] = {
    "monks-1": (14, 124, 432),
    "monks-2": (15, 169, 432),
    "monks-3": (4, 114, 420),
}
"""Most weights, and patterns that must come out right at least: of the training part (93.4 % of the third), of all
432 (97.2 % of the third, whose training part is noisy)."""

XOR_GATES: Final[Mapping[Method, tuple[float, float]]] = {"obd": (0.0, 0.2), "obs": (0.9, 1.0)}
"""Shares of XOR networks that shall still be right after a deletion, without any training."""

_HIDDEN: Final[Mapping[Problem, int]] = {"xor": 2, "monks-1": 3, "monks-2": 2, "monks-3": 2}
_GOAL: Final = 5e-4  # error of a trained XOR network
_RELEARNT: Final = 5e-3  # error of one that has learnt XOR again without a weight
_FIT: Final = 300  # steps of the first training, and of learning XOR again


@final
@dataclass(frozen=True)
class SmallOBS(AbstractExperiment):
    """Prune small trained networks by magnitude, OBD and OBS, which all start from the same weights.

    XOR: networks 2-2-1 trained by gradient descent lose one weight; nobody retrains, but OBS moves the survivors.
    MONK's problems: one network 17-3-1 or 17-2-1, trained by Levenberg and Marquardt's method with weight decay, loses
    weight after weight, retrained shortly after each, as long as the training patterns stay right.

    Args:
        problem: "xor", "monks-1", "monks-2" or "monks-3".
        nets: how many networks start from random weights; 1 for MONK's.
        low: target of the negative patterns.
        high: target of the positive ones.
        decay: of the weights.
        damping: of the Hessian: J'J/p + max(damping, decay) I.
        tries: deletions tried at each step, least saliency first, before giving up.
        refit: steps of training after a deletion on MONK's problems; 0: only OBS moves survivors.
        seed: of the starting weights, 0 to 2^64 - 1.
    """

    name: ClassVar[str] = "small_obs"
    version: ClassVar[int] = 1

    problem: Problem
    nets: int
    low: float
    high: float
    decay: float
    damping: float
    tries: int
    refit: int
    seed: int

    def __post_init__(self) -> None:
        if self.problem not in _HIDDEN or self.nets < 1 or (self.problem != "xor" and self.nets != 1):
            raise ValueError(f"expected a problem among {', '.join(_HIDDEN)}, one net for MONK's, got {self}")
        if (
            not 0 <= self.low < 0.5 < self.high <= 1
            or self.decay < 0
            or self.damping <= 0
            or self.tries < 1
            or self.refit < 0
        ):
            raise ValueError(f"expected targets on both sides of 1/2, damping above 0 and a try at least, got {self}")

    def run(self) -> dict[str, Any]:
        """Return what each method did to each network that was trained well enough."""
        return self._xor() if self.problem == "xor" else self._monks(self.problem)

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: 2 x 40 XOR networks and 2 seeds of MONK's; full: 2 x 5 x 100 and 20 seeds."""
        return {"quick": cls._grid(1, 40, 2), "full": cls._grid(5, 100, 20)}

    @classmethod
    def _grid(cls, batches: int, nets: int, seeds: int) -> list[Self]:
        runs: list[Self] = [
            cls("xor", nets, low, 1 - low, 0.0, 1e-5, 1, 0, seed) for low in (0.1, 0.0) for seed in range(batches)
        ]
        decays: tuple[tuple[Problem, float], ...] = (("monks-1", 1e-4), ("monks-2", 1e-4), ("monks-3", 1e-3))
        for (problem, decay), refit in itertools.product(decays, (40, 0)):
            runs += [cls(problem, 1, 0.1, 0.9, decay, 1e-6, 5, refit, seed) for seed in range(seeds)]
        return runs

    def _start(self, shape: Shape, scale: float) -> Array:  # [nets, size]
        from strongticket.random import INIT, NORMAL_TAB1

        name = f"small_obs {self.problem}"
        drawn = NORMAL_TAB1.values(self.seed, name, 0, self.nets * shape.size, dtype="float64", purpose=INIT)
        return np.asarray(scale * drawn, dtype=np.float64).reshape(self.nets, shape.size)

    def _xor(self) -> dict[str, Any]:
        inputs = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        task = Task(Shape(2, 2), inputs, np.where([False, True, True, False], self.high, self.low), self.decay)
        weights, errors = descend(task, self._start(task.shape, 1.0), rate=2.0, steps=20_000, goal=_GOAL)
        trained = weights[errors < _GOAL]
        every = np.ones(task.shape.size, dtype=bool)
        methods: dict[str, Any] = {}
        for method in METHODS:
            rows = []
            for net in trained:
                (pick,) = least_saliencies(method, task, net, every, self.damping, 1)
                pruned = removed(method, task, net, every, pick, self.damping)
                kept = every.copy()
                kept[pick] = False
                again = fit(task, pruned, kept, _FIT, goal=_RELEARNT)
                relearnt = bool(task.error(again) < _RELEARNT) and int(right(task, again)) == 4
                rows.append((pick, int(right(task, pruned)) == 4, relearnt, float(task.error(pruned))))
            names = ("picks", "correct", "trainable", "errors")
            methods[method] = dict(zip(names, (list(column) for column in zip(*rows, strict=True)), strict=True))
        return {"trained": len(trained), "drawn": self.nets, "methods": methods}

    def _monks(self, problem: MonksProblem) -> dict[str, Any]:
        from strongticket.data.monks import MONKS_INPUTS, monks

        train, test = monks(problem)
        shape = Shape(MONKS_INPUTS, _HIDDEN[problem])

        def task(part: Any) -> Task:
            return Task(shape, part.inputs(), np.where(part.labels == 1, self.high, self.low), self.decay)

        learn, judge, need = task(train), task(test), GATES[problem][1]
        every = np.ones(shape.size, dtype=bool)
        weights = fit(learn, self._start(shape, 0.5)[0], every, _FIT)
        before = int(right(learn, weights))
        methods: dict[str, Any] = {}
        for method in METHODS if before >= need else ():
            pruned, kept = self._prune(method, learn, weights, need)
            methods[method] = {
                "weights": shape.live(kept),
                "kept": int(kept.sum()),
                "train": int(right(learn, pruned)),
                "test": int(right(judge, pruned)),
            }
        return {
            "size": shape.size,
            "patterns": [len(train.labels), len(test.labels)],
            "train": before,
            "test": int(right(judge, weights)),
            "trained": before >= need,
            "methods": methods,
        }

    def _prune(self, method: Method, task: Task, weights: Array, need: int) -> tuple[Array, Kept]:
        """Delete, retrain, look at the training patterns; stop when none of the least saliencies may go."""
        kept = np.ones(task.shape.size, dtype=bool)
        while kept.any():
            for pick in least_saliencies(method, task, weights, kept, self.damping, self.tries):
                fewer = kept.copy()
                fewer[pick] = False
                trial = fit(task, removed(method, task, weights, kept, pick, self.damping), fewer, self.refit)
                if right(task, trial) >= need:
                    weights, kept = trial, fewer
                    break
            else:
                break
        return weights, kept

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row for each problem, setting and method: shares of XOR networks; weights left on MONK's problems."""
        rows: list[dict[str, Any]] = []
        for setting, results in by_setting(finished).items():
            for method in METHODS:
                row: dict[str, Any] = {"problem": setting.problem, "targets": f"{setting.low:g}/{setting.high:g}"}
                row |= {"decay": setting.decay, "retrained": setting.refit, "method": method}
                done = [result["methods"][method] for result in results if result["trained"]]
                row |= _xor_row(method, done) if setting.problem == "xor" else _monks_row(setting, done, len(results))
                rows.append(row)
        return rows


def least_saliencies(method: Method, task: Task, weights: Array, kept: Kept, damping: float, count: int) -> list[int]:
    """Return which weights a method would delete, least saliency first."""
    import torch

    from strongticket.pruning.quadratic import inverse_by_cholesky, obd_saliencies, obs_saliencies

    where = np.flatnonzero(kept)
    hessian = torch.from_numpy(task.hessian(weights, damping)[np.ix_(where, where)])
    values = torch.from_numpy(weights[where])
    if method == "magnitude":
        saliencies = values.abs()
    elif method == "obd":
        saliencies = obd_saliencies(values, hessian.diagonal())
    else:
        saliencies = obs_saliencies(values, inverse_by_cholesky(hessian))
    order = np.argsort(saliencies.numpy(), kind="stable")
    return [int(index) for index in where[order[:count]]]


def removed(method: Method, task: Task, weights: Array, kept: Kept, pick: int, damping: float) -> Array:  # [size]
    """Return the weights without one of them: the others as they were, or where OBS moves them."""
    import torch

    from strongticket.pruning.quadratic import inverse_by_cholesky, joint_update

    pruned = weights.copy()
    if method == "obs":
        where = np.flatnonzero(kept)
        inverse = inverse_by_cholesky(torch.from_numpy(task.hessian(weights, damping)[np.ix_(where, where)]))
        place = int(np.searchsorted(where, pick))
        pruned[where] = joint_update(torch.from_numpy(weights[where]), inverse, [place]).numpy()
    pruned[pick] = 0.0
    return pruned


def share(flags: Sequence[bool]) -> tuple[float, float, float]:
    """Return how often something is true, with its 95 % interval (Clopper and Pearson's).

    >>> [round(value, 3) for value in share([True] * 9 + [False])]
    [0.9, 0.555, 0.997]
    """
    from strongticket.statistics import interval

    n, k = len(flags), sum(flags)
    return (k / n, *interval(n, k, 0.95)) if n else (math.nan, 0.0, 1.0)


def _xor_row(method: Method, done: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"nets": sum(len(one["picks"]) for one in done)}
    for name in ("correct", "trainable"):
        mean, low, high = share([flag for one in done for flag in one[name]])
        row[f"{name} %"] = f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    correct, low, high = share([flag for one in done for flag in one["correct"]])
    if method in XOR_GATES:
        least, most = XOR_GATES[method]
        row["asked for"] = f"{100 * least:g}-{100 * most:g} % correct: {'yes' if least <= correct <= most else 'no'}"
    return row


def _monks_row(setting: SmallOBS, done: Sequence[Mapping[str, Any]], seeds: int) -> dict[str, Any]:
    row: dict[str, Any] = {"nets": f"{len(done)} of {seeds}"}
    if not done:
        return row
    weights = [one["weights"] for one in done]
    row["weights"] = f"{np.median(weights):g} ({min(weights)}-{max(weights)})"
    for part in ("train", "test"):
        row[f"{part} right"] = f"{min(one[part] for one in done)}-{max(one[part] for one in done)}"
    most, train, test = GATES[setting.problem]
    if setting.refit:
        good = sum(one["weights"] <= most and one["train"] >= train and one["test"] >= test for one in done)
        row["asked for"] = f"<= {most} weights, {train} and {test} right: {good} of {len(done)}"
    return row
