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
    LOOSEST,
    Bools,
    Floats,
    Ints,
    error_bound,
    far_subset,
    float_above,
    float_below,
    floor_units,
    round_up,
    unit_bound,
)
from strongticket.subsetsum.problem import Objective, Problem, pose
from strongticket.subsetsum.result import OUTCOMES, Outcome, SubsetSums

__all__ = ["AbstractSubsetSumSolver", "Choice"]

_FOUND, _NOT_FOUND, _NONE_EXISTS = (OUTCOMES.index(o) for o in (Outcome.FOUND, Outcome.NOT_FOUND, Outcome.NONE_EXISTS))
_SATURATED = 2**63 - 1
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Choice:
    """The masks a solver chose for a chunk, and where it vouches for them.

    Attributes:
        mask: chosen items as bits; a new array, which the caller may overwrite.
        proved: where no subset is better for the objective; where nothing is within eps, that nothing can be.
    """

    mask: Ints  # [batch]
    proved: Bools  # [batch]


class AbstractSubsetSumSolver(ABC):
    """Solve many small subset-sum instances; subclasses choose masks for integer instances, this class does the rest.

    What a subclass returns is not trusted for the error: it is recomputed here, exactly, from the mask.
    """

    name: str
    parallel: bool = False
    """Whether `choose` releases the interpreter lock, so that threads may run chunks side by side."""

    @abstractmethod
    def choose(
        self,
        items: Ints,  # [batch, n]
        targets: Ints,  # [batch]
        objective: Objective,
        eps: int | None,
    ) -> Choice:
        """Choose a subset for each instance of one chunk.

        Args:
            items: integers with sum |items| < 2^60 in each row, n <= 62; not to be written to.
            targets: integers within +-2^61; not to be written to.
            objective: see `Objective`.
            eps: largest |target - sum| that counts as found, at most 2^62; negative: nothing does. None: not asked
                for (min_error only). Where nothing is within eps the answer is a subset of least error.
        """

    @abstractmethod
    def chunk_size(self, n: int, objective: Objective) -> int:
        """Number of instances to hand to `choose` at a time, so that its scratch memory stays small."""

    def refuse(self, n: int, objective: Objective) -> None:
        """Raise ValueError if this solver cannot do instances of `n` items; called before any work."""
        return None

    def solve(
        self,
        items: Any,  # [batch, n]
        targets: Any,  # [batch]
        *,
        objective: Objective = "min_error",
        eps: float | Fraction | None = None,
        exponent: int | None = None,
        threads: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> SubsetSums:
        """Solve a batch; see `strongticket.subsetsum.solve`, which adds the choice of a backend."""
        problem = pose(items, targets, objective, eps, exponent)
        self.refuse(problem.n, objective)
        workers = _count_threads(threads) if self.parallel else 1
        batch, step = len(problem.targets), max(1, self.chunk_size(problem.n, objective))
        spans = [(start, min(start + step, batch)) for start in range(0, batch, step)]
        mask, error, size = (np.empty(batch, np.int64) for _ in range(3))
        outcome, absolute = np.empty(batch, np.uint8), np.empty(batch, np.float64)

        def work(span: tuple[int, int]) -> int:
            rows = slice(*span)
            mask[rows], error[rows], size[rows], outcome[rows], absolute[rows] = _solve_chunk(self, problem, *span)
            return span[1] - span[0]

        for done in _run(work, spans, workers):
            if progress is not None:
                progress(done)
        bound = 0.0
        if not problem.grid.certified:  # rounding to the grid, and a few units in the last place of the errors reported
            slack = 4 * float(np.spacing(absolute.max(initial=0.0)))
            bound = math.nextafter(unit_bound(problem.n, problem.grid.exponent) + slack, math.inf)
        return SubsetSums(mask, error, size, outcome, absolute, problem.grid.exponent, problem.grid.certified, bound)


def _count_threads(threads: int | None) -> int:
    if threads is None:
        return torch.get_num_threads()
    if isinstance(threads, bool) or threads < 1:
        raise ValueError(f"expected threads >= 1, got {threads}")
    return threads


def _run(work: Callable[[tuple[int, int]], int], spans: list[tuple[int, int]], workers: int) -> Iterator[int]:
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


def _solve_chunk(
    solver: AbstractSubsetSumSolver, problem: Problem, start: int, stop: int
) -> tuple[Ints, Ints, Ints, Codes, Floats]:
    """Masks, integer errors, sizes, outcomes and absolute errors of rows start:stop."""
    items, targets = problem.integers(start, stop)
    choice = solver.choose(items, targets, problem.objective, problem.limit)
    mask = choice.mask
    far = {} if problem.integral else _solve_far(problem, start, stop)
    for row, (far_mask, _) in far.items():
        mask[row] = far_mask
    place = np.arange(problem.n, dtype=np.int64)
    bits = (mask[:, None] >> place) & 1
    unused = (bits != 0) & (items == 0)
    if unused.any():
        if not problem.integral:  # a value too small for the grid is not a zero
            unused &= problem.items[start:stop] == 0
        bits = np.where(unused, 0, bits)
        mask = mask & ~(unused.astype(np.int64) << place).sum(1)
    error = targets - np.einsum("ij,ij->i", bits, items)  # several times as fast as multiplying and summing
    if problem.grid.certified:
        absolute = round_up(np.abs(error), problem.grid.exponent)
        outcome = _exact_outcomes(problem, error, choice.proved)
    else:
        given = problem.items[start:stop].astype(np.float64), problem.targets[start:stop].astype(np.float64)
        absolute = error_bound(*given, bits != 0)
        outcome = _bracketed_outcomes(problem, error, choice.proved, absolute)
    for row, (_, far_error) in far.items():
        error[row] = _SATURATED if targets[row] > 0 else -_SATURATED
        absolute[row] = float_above(far_error)
        outcome[row] = _FOUND if problem.eps is None or far_error <= problem.eps else _NONE_EXISTS
    return mask, error, np.einsum("ij->i", bits), outcome, absolute


def _solve_far(problem: Problem, start: int, stop: int) -> dict[int, tuple[int, Fraction]]:
    rows = np.flatnonzero(problem.far(start, stop)).tolist()
    sparsest = problem.objective == "sparsest"
    return {
        r: far_subset(
            problem.items[start + r].astype(np.float64), float(problem.targets[start + r]), problem.eps, sparsest
        )
        for r in rows
    }


def _exact_outcomes(problem: Problem, error: Ints, proved: Bools) -> Codes:
    if problem.limit is None:
        return np.where(proved, _FOUND, _NOT_FOUND).astype(np.uint8)
    missed = np.where(proved, _NONE_EXISTS, _NOT_FOUND)
    return np.where(np.abs(error) <= problem.limit, _FOUND, missed).astype(np.uint8)


def _bracketed_outcomes(problem: Problem, error: Ints, proved: Bools, absolute: Floats) -> Codes:
    """Off the grid: found by the true error, excluded only beyond the rounding of n + 1 values."""
    if problem.eps is None:
        return np.where(proved, _FOUND, _NOT_FOUND).astype(np.uint8)
    beyond = min(floor_units(problem.eps, problem.grid.exponent) + 1 + (problem.n + 2) // 2, LOOSEST)
    missed = np.where(proved & (np.abs(error) > beyond), _NONE_EXISTS, _NOT_FOUND)
    return np.where(absolute <= float_below(problem.eps), _FOUND, missed).astype(np.uint8)
