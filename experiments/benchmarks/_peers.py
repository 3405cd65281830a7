"""Other ways to answer the same questions: plain arrays, a textbook merge, and two general-purpose solvers.

The plain ones (numpy, torch, merge and two pointers) give errors only, no subsets, which favours them. The general ones
are asked one instance at a time, as published work asked them, on one thread; building the model is timed too, and
what they answer is recomputed in integers.
"""

from __future__ import annotations

import importlib
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final, Literal, final

import numpy as np
import numpy.typing as npt
import torch

from experiments.benchmarks._cases import EXPONENT, Instances, Kind, Method

__all__ = ["GENERAL", "AbstractGeneralSolver", "CpSat", "HiGHS", "Task", "compare", "plain_methods"]

Ints = npt.NDArray[np.int64]
Task = Literal["minimum", "within eps", "sparsest within eps"]
LONGEST: Final = 30.0
"""Seconds after which a general solver is told to stop on an instance."""


def numpy_brute(items: Ints, targets: Ints) -> Ints:
    """Least errors by all 2^n sums."""
    best = []
    step = max(1, (1 << 21) >> items.shape[1])
    for start in range(0, len(items), step):
        sums = np.zeros((len(items[start : start + step]), 1), np.int64)
        for i in range(items.shape[1]):
            sums = np.concatenate([sums, sums + items[start : start + step, i : i + 1]], axis=1)
        best.append(np.abs(targets[start : start + step, None] - sums).min(axis=1))
    return np.concatenate(best)


def torch_sort_search(items: Ints, targets: Ints) -> Ints:
    """Least errors by sorting the sums of one half and binary searches from the other."""
    best = []
    h = items.shape[1] // 2
    step = max(1, (1 << 17) >> h)
    for start in range(0, len(items), step):
        x, z = torch.from_numpy(items[start : start + step]), torch.from_numpy(targets[start : start + step])
        sides = []
        for part in (x[:, :h], x[:, h:]):
            sums = torch.zeros_like(part[:, :1])
            for i in range(part.shape[1]):
                sums = torch.cat([sums, sums + part[:, i : i + 1]], 1)
            sides.append(sums)
        a, rest = sides[0].sort(1).values, z[:, None] - sides[1]
        above = torch.searchsorted(a, rest).clamp(max=a.shape[1] - 1)
        near = torch.minimum((a.gather(1, above) - rest).abs(), (a.gather(1, (above - 1).clamp(min=0)) - rest).abs())
        best.append(near.min(1).values.numpy())
    return np.concatenate(best)


def two_pointers(items: Ints, targets: Ints) -> Ints:
    """Least errors by merged half lists and two pointers, compiled.

    Raises:
        ImportError: numba is not installed.
    """
    from experiments.benchmarks import _peer_kernels

    errors = np.empty(len(targets), np.int64)
    _peer_kernels.two_pointers(items, targets, errors)
    return errors


def plain_methods() -> list[Method]:
    """The peers that take batches, for the exact minimum."""
    calls = (
        ("merge + two pointers", two_pointers, 62),
        ("torch sort + search", torch_sort_search, 62),
        ("numpy brute force", numpy_brute, 21),
    )
    return [Method(name, call, lambda errors: np.asarray(errors)[:, None], most) for name, call, most in calls]


@dataclass(frozen=True)
class Answer:
    """What a general solver says of one instance.

    Attributes:
        mask: the items chosen; None where it gives no subset.
        sure: it claims to have finished: an optimum, a subset within eps, or that there is none.
    """

    mask: int | None
    sure: bool


class AbstractGeneralSolver(ABC):
    """A general-purpose solver behind one call; one instance at a time, one thread."""

    name: str
    package: str
    module: str
    install: str
    tasks: tuple[Task, ...]
    tolerances: str

    @abstractmethod
    def ask(self, task: Task, items: list[int], target: int, eps: int, unit: float) -> Answer:
        """Build the model of one instance and solve it.

        Args:
            items, target, eps: in units of the grid.
            unit: of the grid.
        """


@final
class HiGHS(AbstractGeneralSolver):
    """scipy.optimize.milp: the mixed-integer programme of the published ticket code, without its gap of 1 %."""

    name = "HiGHS"
    package = "scipy"
    module = "scipy.optimize"
    install = "pip install scipy"
    tasks = ("minimum", "within eps")
    tolerances = (
        "mip_rel_gap 0; the absolute gap (1e-6) and the feasibility tolerance (1e-6) cannot be set through scipy"
    )

    def ask(self, task: Task, items: list[int], target: int, eps: int, unit: float) -> Answer:
        """minimum: min t with -t <= target - sum <= t. within eps: any subset with |target - sum| <= eps."""
        from scipy.optimize import Bounds, LinearConstraint, milp

        n, z, x = len(items), target * unit, np.array(items) * unit
        options = {"mip_rel_gap": 0.0, "time_limit": LONGEST}
        if task == "minimum":
            rows = np.stack([np.append(x, 1.0), np.append(x, -1.0)])
            found = milp(
                np.append(np.zeros(n), 1.0),
                integrality=np.append(np.ones(n), 0.0),
                bounds=Bounds(np.zeros(n + 1), np.append(np.ones(n), np.inf)),
                constraints=LinearConstraint(rows, [z, -np.inf], [np.inf, z]),
                options=options,
            )
        else:
            found = milp(
                np.zeros(n),
                integrality=np.ones(n),
                bounds=Bounds(np.zeros(n), np.ones(n)),
                constraints=LinearConstraint(x[None], z - eps * unit, z + eps * unit),
                options=options,
            )
        if found.x is None:
            return Answer(None, found.status == 2)
        return Answer(sum(1 << i for i in range(n) if found.x[i] > 0.5), found.status == 0)


@final
class CpSat(AbstractGeneralSolver):
    """OR-tools CP-SAT on the integers of the grid: no rounding."""

    name = "CP-SAT"
    package = "ortools"
    module = "ortools.sat.python.cp_model"
    install = "pip install 'strongticket[peers]'"
    tasks = ("minimum", "within eps", "sparsest within eps")
    tolerances = "none: integers of the grid, optimality gap 0, num_workers 1"

    def ask(self, task: Task, items: list[int], target: int, eps: int, unit: float) -> Answer:
        """minimum: min t >= |target - sum|. Else a bound eps on it; for the sparsest, min of the number of items.

        Raises:
            ImportError: OR-tools is not installed.
        """
        cp = importlib.import_module(self.module)
        model, solver = cp.CpModel(), cp.CpSolver()
        chosen = [model.new_bool_var("") for _ in items]
        total = cp.LinearExpr.weighted_sum(chosen, items)
        if task == "minimum":
            error = model.new_int_var(0, abs(target) + sum(map(abs, items)), "")
            model.add(total + error >= target)
            model.add(total - error <= target)
            model.minimize(error)
        else:
            model.add_linear_constraint(total, target - eps, target + eps)
            if task == "sparsest within eps":
                model.minimize(sum(chosen))
        solver.parameters.num_workers = 1
        solver.parameters.max_time_in_seconds = LONGEST
        status = solver.solve(model)
        if status == cp.INFEASIBLE:
            return Answer(None, True)
        if status not in (cp.OPTIMAL, cp.FEASIBLE):
            return Answer(None, False)
        mask = sum(1 << i for i, bit in enumerate(chosen) if solver.boolean_value(bit))
        return Answer(mask, status == cp.OPTIMAL or task == "within eps")


GENERAL: Final[tuple[AbstractGeneralSolver, ...]] = (HiGHS(), CpSat())


def installed(peer: AbstractGeneralSolver) -> bool:
    """Whether the peer can be asked; imports it, so that the import is not timed."""
    try:
        importlib.import_module(peer.module)
    except ImportError:
        return False
    return True


def compare(
    peer: AbstractGeneralSolver,
    task: Task,
    instances: Instances,
    eps: float,
    exact: Ints,  # [count, 2]: least error, and least size within eps or -1
    seconds: float,
) -> dict[str, Any]:
    """Ask a general solver about the first instances, until `seconds` are spent (and at least three are done).

    Returns:
        Its times in CPU seconds per instance, and how far its answers are from the exact ones: excess error in units of
        the values, excess size, subsets that are not within eps, and instances where it found none though one exists.
    """
    kind: Kind = instances.kind
    unit, n = 2.0 ** EXPONENT[kind], instances.n
    items, targets = instances.first(len(exact))
    limit = int(eps / unit)
    peer.ask(task, items[0].tolist(), int(targets[0]), limit, unit)  # its first model loads libraries
    times: list[float] = []
    answers: list[Answer] = []
    for row, target in zip(items.tolist(), targets.tolist(), strict=True):
        start = time.process_time()
        answers.append(peer.ask(task, row, target, limit, unit))
        times.append(time.process_time() - start)
        if len(times) >= 3 and sum(times) > seconds:
            break
    return {
        "peer": peer.name,
        "task": task,
        "kind": kind,
        "n": n,
        "eps": None if task == "minimum" else eps,
        "instances": len(times),
        "median_s": float(np.median(times)),
        "mean_s": float(np.mean(times)),
        "max_s": max(times),
        "unproved": sum(not answer.sure for answer in answers),
        **_quality(task, items, targets, limit, unit, exact, answers),
        "tolerances": peer.tolerances,
        "version": version(peer.package),
    }


def _quality(
    task: Task, items: Ints, targets: Ints, limit: int, unit: float, exact: Ints, answers: list[Answer]
) -> dict[str, Any]:
    excess, sizes, beyond, missed = [], [], 0, 0
    for row, target, (least, size), answer in zip(
        items.tolist(), targets.tolist(), exact.tolist(), answers, strict=False
    ):
        if answer.mask is None:
            missed += task == "minimum" or size >= 0
            continue
        chosen = [x for i, x in enumerate(row) if answer.mask >> i & 1]
        error = abs(target - sum(chosen))
        if task == "minimum":
            excess.append((error - least) * unit)
        else:
            beyond += error > limit
            if size >= 0:
                sizes.append(len(chosen) - size)
    quality: dict[str, Any] = {"missed": missed}
    if task == "minimum":
        quality |= {
            "excess_median": float(np.median(excess)) if excess else None,
            "excess_max": max(excess, default=None),
        }
    else:
        quality |= {"beyond_eps": beyond}
    if task == "sparsest within eps":
        quality |= {"excess_size_max": max(sizes, default=None)}
    return quality
