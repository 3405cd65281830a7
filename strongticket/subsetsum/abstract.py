"""The interface of subset-sum solvers, and the part that all of them share: checks, chunks, exact errors, outcomes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from strongticket.subsetsum._exact import (
    Bools,
    Floats,
    Ints,
    error_bound,
    far_subset,
    float_above,
    float_below,
    in_units,
    round_up,
)
from strongticket.subsetsum.batch import Batch
from strongticket.subsetsum.goal import Goal, Objective
from strongticket.subsetsum.problem import Problem, pose
from strongticket.subsetsum.result import OUTCOMES, Fronts, Outcome, SubsetSums

__all__ = ["AbstractSubsetSumSolver", "Choice"]

_FOUND, _NOT_FOUND, _NONE_EXISTS = (OUTCOMES.index(o) for o in (Outcome.FOUND, Outcome.NOT_FOUND, Outcome.NONE_EXISTS))
_SATURATED = 2**63 - 1
_PREFIXES = (8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48)  # each costs about four times the one before
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Choice:
    """The masks a solver chose for a chunk, and where it vouches for them.

    Attributes:
        mask: chosen items as bits; a new array, which the caller may overwrite.
        proved: where no subset is better for the objective; where nothing is within eps, that nothing can be.
        canonical: where the mask is sure to be the one that the tie rule names.
    """

    mask: Ints  # [batch]
    proved: Bools  # [batch]
    canonical: Bools  # [batch]


class AbstractSubsetSumSolver(ABC):
    """Solve many small subset-sum instances; subclasses choose masks for integer instances, this class does the rest.

    What a subclass returns is not trusted for the error: it is recomputed here, exactly, from the mask.
    """

    name: str
    parallel: bool = False
    """Whether `choose` releases the interpreter lock, so that threads may run chunks side by side."""

    @abstractmethod
    def choose(self, batch: Batch, goal: Goal) -> Choice:
        """Choose a subset for each instance of one chunk.

        Args:
            batch: integer instances of at most `most_items` items.
            goal: objective "min_error", "sparsest" or "fixed_size" ("first_hit" is made of "min_error" here). Where
                nothing is within eps the answer is a subset of least error; for "fixed_size" always the one of least
                error among `goal.size` nonzero items, and anything where a row has fewer.
        """

    @abstractmethod
    def chunk_size(self, n: int, goal: Goal, sharing: float = 1.0) -> int:
        """Number of instances to hand to `choose` at a time, so that its scratch memory stays small.

        Args:
            n: number of items.
            goal: the objective.
            sharing: average number of targets per pool.
        """

    def most_items(self, objective: Objective) -> int:
        """Largest number of items that this solver takes for an objective; more are refused before any work."""
        return 62

    def solve(
        self,
        items: Any,  # [batch, n], [pools, n] or [n]
        targets: Any,  # [batch]
        *,
        objective: Objective = "min_error",
        eps: float | Fraction | None = None,
        size: int | None = None,
        pool: Any = None,  # [batch]
        exponent: int | None = None,
        threads: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> SubsetSums:
        """Solve a batch; see `strongticket.subsetsum.solve`, which adds the choice of a backend."""
        problem = pose(items, targets, objective, eps=eps, size=size, pool=pool, exponent=exponent)
        if objective != "first_hit":
            self._refuse(problem.n, objective)
        batch = len(problem.targets)
        mask, error, count = (np.empty(batch, np.int64) for _ in range(3))
        outcome, canonical, absolute = np.empty(batch, np.uint8), np.empty(batch, bool), np.empty(batch, np.float64)

        def work(start: int, stop: int) -> None:
            place: slice | Ints = slice(start, stop) if problem.order is None else problem.order[start:stop]
            mask[place], error[place], count[place], outcome[place], canonical[place], absolute[place] = _solve_chunk(
                self, problem, start, stop
            )

        self._run(work, problem, threads, progress)
        bound = _bound(problem, absolute)
        return SubsetSums(
            mask, error, count, outcome, canonical, absolute, problem.grid.exponent, problem.grid.certified, bound
        )

    def fronts(
        self,
        items: Any,  # [batch, n], [pools, n] or [n]
        targets: Any,  # [batch]
        *,
        pool: Any = None,  # [batch]
        exponent: int | None = None,
        threads: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Fronts:
        """The best subset of every size; see `strongticket.subsetsum.pareto`."""
        problem = pose(items, targets, "fixed_size", eps=None, size=0, pool=pool, exponent=exponent)
        self._refuse(problem.n, "fixed_size")
        shape = (len(problem.targets), problem.n + 1)
        mask, error, absolute = np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape, np.float64)

        def work(start: int, stop: int) -> None:
            place: slice | Ints = slice(start, stop) if problem.order is None else problem.order[start:stop]
            mask[place], error[place], absolute[place] = _front_chunk(self, problem, start, stop)

        self._run(work, problem, threads, progress)
        bound = _bound(problem, np.where(mask >= 0, absolute, 0.0))
        return Fronts(mask, error, absolute, problem.grid.exponent, problem.grid.certified, bound)

    def choose_sizes(self, batch: Batch) -> Ints:  # [batch, n + 1]
        """Masks of least error of every size, for one chunk; anything where a row has too few nonzero items."""
        choices = [self.choose(batch, Goal("fixed_size", None, k)).mask for k in range(batch.n + 1)]
        return np.stack(choices, 1)

    def _refuse(self, n: int, objective: Objective) -> None:
        most = self.most_items(objective)
        if n > most:
            raise ValueError(
                f"expected at most {most} items for objective {objective!r} with backend {self.name!r}, got {n}: "
                "use fewer items, another objective or another backend"
            )

    def _run(
        self,
        work: Callable[[int, int], None],
        problem: Problem,
        threads: int | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        workers = _count_threads(threads) if self.parallel else 1
        batch = len(problem.targets)
        step = max(1, self.chunk_size(problem.n, problem.goal, batch / max(1, len(problem.items))))
        spans = [(start, min(start + step, batch)) for start in range(0, batch, step)]

        def one(span: tuple[int, int]) -> int:
            work(*span)
            return span[1] - span[0]

        for done in _concurrently(one, spans, workers):
            if progress is not None:
                progress(done)


def _count_threads(threads: int | None) -> int:
    if threads is None:
        return torch.get_num_threads()
    if isinstance(threads, bool) or threads < 1:
        raise ValueError(f"expected threads >= 1, got {threads}")
    return threads


def _concurrently(work: Callable[[tuple[int, int]], int], spans: list[tuple[int, int]], workers: int) -> Iterator[int]:
    if workers == 1 or len(spans) <= 1:
        yield from map(work, spans)
        return
    with ThreadPoolExecutor(min(workers, len(spans))) as pool:
        futures = [pool.submit(work, span) for span in spans]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:  # an error or an interrupt must not wait for the rest of the batch
            pool.shutdown(wait=True, cancel_futures=True)


def _bound(problem: Problem, absolute: Floats) -> float:
    """What rounding to the grid can cost, and a few units in the last place of the errors reported."""
    if problem.grid.certified:
        return 0.0
    slack = 4 * float(np.spacing(absolute.max(initial=0.0)))
    return math.nextafter(in_units(problem.roundings, problem.grid.exponent) + slack, math.inf)


def _solve_chunk(
    solver: AbstractSubsetSumSolver, problem: Problem, start: int, stop: int
) -> tuple[Ints, Ints, Ints, Codes, Bools, Floats]:
    """Masks, integer errors, sizes, outcomes, canonical flags and absolute errors of targets start:stop."""
    batch = problem.batch(start, stop)
    goal = problem.goal
    choice = _first_hit(solver, batch, goal) if goal.objective == "first_hit" else solver.choose(batch, goal)
    mask, items = choice.mask, batch.rows()
    far = {} if problem.integral else _solve_far(problem, start, stop)
    for row, (far_mask, _) in far.items():
        mask[row] = far_mask
    few = np.zeros(len(mask), bool)
    if goal.size is not None:
        few = np.count_nonzero(items, axis=1) < goal.size
        mask[few] = (1 << problem.n) - 1
    bits, mask = _without_zeros(problem, mask, items, start, stop)
    error = batch.targets - np.einsum("ij,ij->i", bits, items)  # several times as fast as multiplying and summing
    size = np.einsum("ij->i", bits)
    if problem.grid.certified:
        absolute = round_up(np.abs(error), problem.grid.exponent)
        hit = np.ones(len(error), bool) if goal.eps is None else np.abs(error) <= goal.eps
        excluded = choice.proved
    else:
        given = problem.given(start, stop).astype(np.float64), problem.targets[start:stop].astype(np.float64)
        absolute = error_bound(*given, bits != 0)
        hit = np.ones(len(error), bool) if problem.eps is None else absolute <= float_below(problem.eps)
        excluded = choice.proved if problem.eps is None else choice.proved & (np.abs(error) > problem.beyond)
    if goal.eps is None:
        hit &= choice.proved
    outcome = np.where(hit, _FOUND, np.where(excluded, _NONE_EXISTS, _NOT_FOUND)).astype(np.uint8)
    if goal.size is not None:
        outcome[few] = _NONE_EXISTS
        outcome[~few & (size != goal.size)] = _NOT_FOUND
    canonical = choice.canonical & ~few & problem.grid.certified
    for row, (_, far_error) in far.items():
        error[row] = _SATURATED if batch.targets[row] > 0 else -_SATURATED
        absolute[row] = float_above(far_error)
        canonical[row] = False
        if goal.size is None or size[row] == goal.size:
            outcome[row] = _FOUND if problem.eps is None or far_error <= problem.eps else _NONE_EXISTS
    return mask, error, size, outcome, canonical, absolute


def _front_chunk(solver: AbstractSubsetSumSolver, problem: Problem, start: int, stop: int) -> tuple[Ints, Ints, Floats]:
    """Masks, integer errors and absolute errors of the best subsets of each size, for targets start:stop."""
    batch = problem.batch(start, stop)
    masks, items = solver.choose_sizes(batch), batch.rows()
    errors, absolutes = np.empty_like(masks), np.empty(masks.shape, np.float64)
    given = problem.given(start, stop).astype(np.float64), problem.targets[start:stop].astype(np.float64)
    count = np.count_nonzero(items, axis=1)
    far = [] if problem.integral else np.flatnonzero(problem.far(start, stop)).tolist()
    for k in range(problem.n + 1):
        for row in far:
            masks[row, k] = far_subset(given[0][row], float(given[1][row]), None, k)[0]
        bits, _ = _without_zeros(problem, masks[:, k], items, start, stop)
        errors[:, k] = batch.targets - np.einsum("ij,ij->i", bits, items)
        if problem.grid.certified:
            absolutes[:, k] = round_up(np.abs(errors[:, k]), problem.grid.exponent)
        else:
            absolutes[:, k] = error_bound(*given, bits != 0)
        if (wrong := (bits.sum(1) != k) & (count >= k)).any():
            raise AssertionError(f"backend {solver.name!r} gave a subset of another size in row {wrong.argmax()}")
        none = count < k
        masks[none, k], errors[none, k], absolutes[none, k] = -1, _SATURATED, np.inf
        for row in far:
            if not none[row]:
                errors[row, k] = _SATURATED if batch.targets[row] > 0 else -_SATURATED
                absolutes[row, k] = float_above(far_subset(given[0][row], float(given[1][row]), None, k)[1])
    return masks, errors, absolutes


def _without_zeros(problem: Problem, mask: Ints, items: Ints, start: int, stop: int) -> tuple[Ints, Ints]:
    """The chosen items as bits, [batch, n], and the masks, after dropping items that are zero."""
    place = np.arange(problem.n, dtype=np.int64)
    bits = (mask[:, None] >> place) & 1
    unused = (bits != 0) & (items == 0)
    if unused.any():
        if not problem.integral:  # a value too small for the grid is not a zero
            unused &= problem.given(start, stop) == 0
        bits = np.where(unused, 0, bits)
        mask = mask & ~(unused.astype(np.int64) << place).sum(1)
    return bits, mask


def _solve_far(problem: Problem, start: int, stop: int) -> dict[int, tuple[int, Fraction]]:
    rows = np.flatnonzero(problem.far(start, stop)).tolist()
    if not rows:
        return {}
    items = problem.given(start, stop)
    eps = problem.eps if problem.objective == "sparsest" else None
    return {
        r: far_subset(items[r].astype(np.float64), float(problem.targets[start + r]), eps, problem.size) for r in rows
    }


def _first_hit(solver: AbstractSubsetSumSolver, batch: Batch, goal: Goal) -> Choice:
    """Any subset within eps: the exact minimum over growing prefixes of the items, and proof by the last of them.

    A subset of the first m items is hit about as often as one of all, as soon as 2^m eps is a few; so most instances
    end at a small m whatever n is.
    """
    items, targets = batch.rows(), batch.targets
    place = np.arange(batch.n, dtype=np.int64)
    up, down = np.maximum(items, 0).sum(1), np.minimum(items, 0).sum(1)
    side = np.where(targets - up > goal.limit, 1, np.where(down - targets > goal.limit, -1, 0))
    # out of reach: all items that lead there, and nothing is nearer
    mask = ((np.sign(items) == side[:, None]) & (side != 0)[:, None]).astype(np.int64) << place
    mask = np.asarray(mask.sum(1), dtype=np.int64)
    proved = side != 0
    rows = np.flatnonzero(side == 0)
    best = np.full(len(batch), _SATURATED)
    most = min(batch.n, solver.most_items("min_error"))
    for m in [*(p for p in _PREFIXES if p < most), most]:
        if not rows.size:
            break
        part = batch.take(rows)
        choice = solver.choose(part.prefix(m), Goal("min_error", goal.eps))
        error = np.abs(part.errors(choice.mask))
        better = error < best[rows]
        mask[rows[better]], best[rows[better]] = choice.mask[better], error[better]
        missed = error > goal.limit
        proved[rows] = ~missed | (choice.proved & (m == batch.n))
        rows = rows[missed]
    return Choice(mask, proved, np.zeros(len(batch), bool))
