"""The interface of subset-sum solvers, and the part that all of them share: checks, chunks, exact errors, outcomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

import numpy as np
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
from strongticket.subsetsum.problem import Chunk, Problem, pose
from strongticket.subsetsum.result import OUTCOMES, Fronts, Outcome, SubsetSums

__all__ = ["AbstractSubsetSumSolver", "Choice"]

_FOUND, _NOT_FOUND, _NONE_EXISTS = (OUTCOMES.index(o) for o in (Outcome.FOUND, Outcome.NOT_FOUND, Outcome.NONE_EXISTS))
_SATURATED = 2**63 - 1
_PREFIXES = (8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48)  # each costs about four times the one before


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
    reads_only: bool = False
    """Whether `choose` is known to leave its batch as it is: then it gets the user's own arrays, otherwise copies."""

    @abstractmethod
    def choose(self, batch: Batch, goal: Goal) -> Choice:
        """Choose a subset for each instance of one chunk.

        Args:
            batch: integer instances of at most `most_items` items; not to be written to.
            goal: objective "min_error", "sparsest" or "fixed_size" ("first_hit" is made of "min_error" here). Where
                nothing is within eps the answer is a subset of least error; for "fixed_size" always the one of least
                error among `goal.size` nonzero items, and anything where a row has fewer.

        Returns:
            The choice. A "sparsest" row without proof and without a subset within eps is asked again as "min_error",
            if n allows.
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
        result = _blank_sums(len(problem))

        def work(chunk: Chunk) -> None:
            _write(result, _solve_chunk(self, chunk), chunk)

        self._run(work, problem, threads, progress)
        return result

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
        result = _blank_fronts(len(problem), problem.n + 1)

        def work(chunk: Chunk) -> None:
            _write(result, _front_chunk(self, chunk), chunk)

        self._run(work, problem, threads, progress)
        return result

    def choose_sizes(self, batch: Batch) -> Ints:  # [batch, n + 1]
        """Masks of least error of every size, for one chunk; anything where a row has too few nonzero items."""
        choices = [_choose(self, batch, Goal("fixed_size", None, k)).mask for k in range(batch.n + 1)]
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
        work: Callable[[Chunk], None],
        problem: Problem,
        threads: int | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        workers = _count_threads(threads)
        chunks = [chunk for group in problem.groups() for chunk in group.split(self._step(group, problem.n))]

        def one(chunk: Chunk) -> int:
            work(chunk)
            return len(chunk)

        for done in _concurrently(one, chunks, workers if self.parallel else 1):
            if progress is not None:
                progress(done)

    def _step(self, group: Chunk, n: int) -> int:
        return max(1, self.chunk_size(n, group.goal, group.sharing))


def _count_threads(threads: int | None) -> int:
    if threads is None:
        return torch.get_num_threads()
    if isinstance(threads, bool | np.bool_) or not isinstance(threads, int | np.integer):
        raise TypeError(f"expected threads to be an integer >= 1, got {threads!r}")
    if threads < 1:
        raise ValueError(f"expected threads >= 1, got {threads}")
    return int(threads)


def _concurrently(work: Callable[[Chunk], int], chunks: list[Chunk], workers: int) -> Iterator[int]:
    if workers == 1 or len(chunks) <= 1:
        yield from map(work, chunks)
        return
    with ThreadPoolExecutor(min(workers, len(chunks))) as pool:
        futures = [pool.submit(work, chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:  # an error or an interrupt must not wait for the rest of the batch
            pool.shutdown(wait=True, cancel_futures=True)


def _blank_sums(batch: int) -> SubsetSums:
    mask, error, size, exponent = (np.empty(batch, np.int64) for _ in range(4))
    canonical, certified = np.empty(batch, bool), np.empty(batch, bool)
    absolute, bound = np.empty(batch), np.empty(batch)
    outcome = np.empty(batch, np.uint8)
    return SubsetSums(mask, error, size, outcome, canonical, absolute, exponent, certified, bound)


def _blank_fronts(batch: int, sizes: int) -> Fronts:
    mask, error = np.empty((batch, sizes), np.int64), np.empty((batch, sizes), np.int64)
    absolute, exponent = np.empty((batch, sizes)), np.empty(batch, np.int64)
    return Fronts(mask, error, absolute, exponent, np.empty(batch, bool), np.empty(batch))


def _write(whole: SubsetSums | Fronts, part: SubsetSums | Fronts, chunk: Chunk) -> None:
    place = chunk.place
    for field in fields(whole):
        getattr(whole, field.name)[place] = getattr(part, field.name)


def _bound(chunk: Chunk, absolute: Floats) -> Floats:  # [batch] -> [batch]
    """What rounding to the grid can cost, and a few units in the last place of the errors reported."""
    if chunk.certified:
        return np.zeros(len(chunk))
    slack = 4 * np.spacing(absolute)
    return np.nextafter(in_units(chunk.roundings, chunk.exponent) + slack, np.inf)


def _choose(solver: AbstractSubsetSumSolver, batch: Batch, goal: Goal) -> Choice:
    choice = solver.choose(batch if solver.reads_only else batch.copy(), goal)
    if not choice.mask.shape == choice.proved.shape == choice.canonical.shape == (len(batch),):
        raise AssertionError(f"backend {solver.name!r}: expected {len(batch)} masks, got shape {choice.mask.shape}")
    return choice


def _solve_chunk(solver: AbstractSubsetSumSolver, chunk: Chunk) -> SubsetSums:
    """The answers to the targets of a chunk."""
    problem, batch, goal = chunk.problem, chunk.batch(), chunk.goal
    choice = _first_hit(solver, batch, goal) if goal.objective == "first_hit" else _choose(solver, batch, goal)
    if goal.objective == "sparsest":
        choice = _nearest_where_open(solver, batch, goal, choice)
    mask, items = choice.mask.astype(np.int64), batch.rows()
    far = {} if problem.integral else _solve_far(chunk)
    for row, (far_mask, _) in far.items():
        mask[row] = far_mask
    few = np.zeros(len(mask), bool)
    if goal.size is not None:
        few = np.count_nonzero(items, axis=1) < goal.size
        mask[few] = (1 << problem.n) - 1
    bits, mask = _without_zeros(chunk, mask, items)
    error = batch.targets - np.einsum("ij,ij->i", bits, items)  # several times as fast as multiplying and summing
    size = np.einsum("ij->i", bits)
    if chunk.certified:
        absolute = round_up(np.abs(error), chunk.exponent)
        hit = np.ones(len(error), bool) if goal.eps is None else np.abs(error) <= goal.eps
        excluded = choice.proved
    else:
        absolute = error_bound(chunk.given().astype(np.float64), chunk.targets, bits != 0)
        hit = np.ones(len(error), bool) if problem.eps is None else absolute <= float_below(problem.eps)
        excluded = choice.proved if problem.eps is None else choice.proved & (np.abs(error) > chunk.beyond)
    if goal.eps is None or goal.objective == "sparsest":
        hit &= choice.proved
    outcome = np.where(hit, _FOUND, np.where(excluded, _NONE_EXISTS, _NOT_FOUND)).astype(np.uint8)
    if goal.size is not None:
        outcome[few] = _NONE_EXISTS
        outcome[~few & (size != goal.size)] = _NOT_FOUND
    canonical = choice.canonical & ~few & chunk.certified
    for row, (_, far_error) in far.items():
        error[row] = _SATURATED if batch.targets[row] > 0 else -_SATURATED
        absolute[row] = float_above(far_error)
        canonical[row] = False
        if goal.size is None or size[row] == goal.size:
            outcome[row] = _FOUND if problem.eps is None or far_error <= problem.eps else _NONE_EXISTS
    assert (absolute >= 0).all()
    unit, certified = np.full(len(chunk), chunk.exponent), np.full(len(chunk), chunk.certified)
    bound = _bound(chunk, absolute)
    return SubsetSums(mask, error, size, outcome, canonical, absolute, unit, certified, bound)


def _nearest_where_open(solver: AbstractSubsetSumSolver, batch: Batch, goal: Goal, choice: Choice) -> Choice:
    """Where the search for the sparsest gave up with nothing within eps: the nearest subset, and what it proves."""
    rows = np.flatnonzero(~choice.proved & (np.abs(batch.errors(choice.mask)) > goal.limit))
    if not rows.size or batch.n > solver.most_items("min_error"):
        return choice
    nearest = Goal("min_error", goal.eps)
    mask, proved, canonical = choice.mask.copy(), choice.proved.copy(), choice.canonical.copy()
    step = max(1, solver.chunk_size(batch.n, nearest))
    for place in (rows[start : start + step] for start in range(0, len(rows), step)):
        part = batch.take(place)
        best = _choose(solver, part, nearest)
        error = np.abs(part.errors(best.mask))
        better = error < np.abs(part.errors(mask[place]))
        none = best.proved & (error > goal.limit)
        mask[place] = np.where(better | none, best.mask, mask[place])
        proved[place], canonical[place] = none, none & best.canonical
    return Choice(mask, proved, canonical)


def _front_chunk(solver: AbstractSubsetSumSolver, chunk: Chunk) -> Fronts:
    """The best subsets of each size for the targets of a chunk."""
    problem, batch = chunk.problem, chunk.batch()
    masks, items = solver.choose_sizes(batch if solver.reads_only else batch.copy()), batch.rows()
    errors, absolutes = np.empty_like(masks), np.empty(masks.shape, np.float64)
    given = chunk.given().astype(np.float64), chunk.targets
    count = np.count_nonzero(items, axis=1)
    far = np.flatnonzero(chunk.far()).tolist()
    for k in range(problem.n + 1):
        for row in far:
            masks[row, k] = far_subset(given[0][row], float(given[1][row]), None, k)[0]
        bits, _ = _without_zeros(chunk, masks[:, k], items)
        errors[:, k] = batch.targets - np.einsum("ij,ij->i", bits, items)
        if chunk.certified:
            absolutes[:, k] = round_up(np.abs(errors[:, k]), chunk.exponent)
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
    assert (absolutes >= 0).all()
    unit, certified = np.full(len(chunk), chunk.exponent), np.full(len(chunk), chunk.certified)
    bound = _bound(chunk, np.where(masks >= 0, absolutes, 0.0).max(1))
    return Fronts(masks, errors, absolutes, unit, certified, bound)


def _without_zeros(chunk: Chunk, mask: Ints, items: Ints) -> tuple[Ints, Ints]:
    """The chosen items as bits, [batch, n], and the masks, after dropping items that are zero."""
    place = np.arange(chunk.problem.n, dtype=np.int64)
    bits = (mask[:, None] >> place) & 1
    unused = (bits != 0) & (items == 0)
    if unused.any():
        if not chunk.certified:  # a value too small for the grid is not a zero
            unused &= chunk.given() == 0
        bits = np.where(unused, 0, bits)
        mask = mask & ~(unused.astype(np.int64) << place).sum(1)
    return bits, mask


def _solve_far(chunk: Chunk) -> dict[int, tuple[int, Fraction]]:
    rows = np.flatnonzero(chunk.far()).tolist()
    if not rows:
        return {}
    problem, items, targets = chunk.problem, chunk.given(), chunk.targets
    eps = problem.eps if problem.objective == "sparsest" else None
    return {r: far_subset(items[r].astype(np.float64), float(targets[r]), eps, problem.size) for r in rows}


def _first_hit(solver: AbstractSubsetSumSolver, batch: Batch, goal: Goal) -> Choice:
    """Any subset within eps: the exact minimum over growing prefixes of the items, and proof by the last of them.

    A subset of the first m items is hit about as often as one of all, as soon as 2^m eps is a few; so most instances
    end at a small m whatever n is.
    """
    mask, proved = batch.ends()
    rows = np.flatnonzero(~proved)
    best = np.full(len(batch), _SATURATED)
    most = min(batch.n, solver.most_items("min_error"))
    for m in [*(p for p in _PREFIXES if p < most), most]:
        if not rows.size:
            break
        part = batch.take(rows)
        choice = _choose(solver, part.prefix(m), Goal("min_error", goal.eps))
        error = np.abs(part.errors(choice.mask))
        better = error < best[rows]
        mask[rows[better]], best[rows[better]] = choice.mask[better], error[better]
        missed = error > goal.limit
        proved[rows] = ~missed | (choice.proved & (m == batch.n))
        rows = rows[missed]
    return Choice(mask, proved, np.zeros(len(batch), bool))
