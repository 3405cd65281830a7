"""Check what the user gave and turn it, chunk by chunk, into integer subset-sum instances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from strongticket.subsetsum._exact import (
    LOOSEST,
    Bools,
    Floats,
    Grids,
    Ints,
    find_grids,
    floor_units,
    is_far,
    to_grid,
)
from strongticket.subsetsum._inputs import (
    MAX_ITEMS,
    as_eps,
    as_exponent,
    as_pool,
    as_size,
    as_values,
    refuse_large,
    refuse_nonfinite,
)
from strongticket.subsetsum.batch import Batch
from strongticket.subsetsum.goal import OBJECTIVES, Goal, Objective

__all__ = ["MAX_ITEMS", "Chunk", "Problem", "pose"]


@dataclass(frozen=True, eq=False)
class Problem:
    """A checked batch of instances: the arrays as given, and how to read them as integers.

    Attributes:
        items: values of the pools that are used, [pools, n].
        targets: sorted by grid, then by pool, [batch].
        pool: row of `items` of each target, [batch]; None: target b has row b.
        shared: several targets may draw from one row.
        order: place of each target in what the user gave; None where nothing was sorted.
        exponent: the unit of each target's integers is 2^exponent, ascending, [batch].
        certified: the target and its items are multiples of the unit, [batch].
    """

    items: npt.NDArray[Any]
    targets: npt.NDArray[Any]
    pool: Ints | None
    shared: bool
    order: Ints | None
    objective: Objective
    eps: Fraction | None
    size: int | None
    exponent: Ints
    certified: Bools
    integral: bool

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def n(self) -> int:
        """Number of items of each instance."""
        return int(self.items.shape[1])

    def groups(self) -> Iterator[Chunk]:
        """The targets, cut where the grid changes."""
        change = (np.diff(self.exponent) != 0) | np.diff(self.certified)
        starts = [0, *(np.flatnonzero(change) + 1).tolist()]
        for start, stop in zip(starts, [*starts[1:], len(self)], strict=True):
            if start < stop:  # not so where there is no target at all
                yield Chunk(self, start, stop)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Targets start:stop of a problem, one at least, all on one grid and so with one goal in integer units."""

    problem: Problem
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def split(self, step: int) -> Iterator[Chunk]:
        """Parts of at most `step` targets."""
        for start in range(self.start, self.stop, step):
            yield Chunk(self.problem, start, min(start + step, self.stop))

    @property
    def place(self) -> slice | Ints:
        """Where the targets stood in what the user gave."""
        order = self.problem.order
        return slice(self.start, self.stop) if order is None else order[self.start : self.stop]

    @property
    def exponent(self) -> int:
        """The unit of the integers is 2^exponent."""
        return int(self.problem.exponent[self.start])

    @property
    def certified(self) -> bool:
        """The values are multiples of the unit."""
        return bool(self.problem.certified[self.start])

    @property
    def roundings(self) -> int:
        """Twice the units by which rounding to the grid may shift an error; 0 on the grid.

        Each of n + 1 values moves by at most half a unit; where no item may vanish, by at most one.
        """
        if self.certified:
            return 0
        return 2 * (self.problem.n + 1) if self.problem.objective == "fixed_size" else self.problem.n + 1

    @property
    def goal(self) -> Goal:
        """The objective in integer units: eps itself on the grid, off the grid less what rounding may cost."""
        problem = self.problem
        if problem.eps is None:
            return Goal(problem.objective, None, problem.size)
        units = floor_units(problem.eps, self.exponent)
        if not self.certified:
            units = max(units - (self.roundings + 1) // 2, -1)
        return Goal(problem.objective, min(units, LOOSEST), problem.size)

    @property
    def beyond(self) -> int:
        """Integer errors above this are surely beyond eps."""
        assert self.problem.eps is not None
        return min(floor_units(self.problem.eps, self.exponent) + 1 + (self.roundings + 1) // 2, LOOSEST)

    @property
    def sharing(self) -> float:
        """Average number of targets per row of items, as the solver gets them."""
        _, pool = self._rows()
        return 1.0 if pool is None else len(self) / (int(pool[-1]) + 1)

    @property
    def targets(self) -> Floats:
        """The targets as they were given, as float64."""
        return np.asarray(self.problem.targets[self.start : self.stop].astype(np.float64))

    def batch(self) -> Batch:
        """The instances on the grid, in arrays that kernels can read."""
        rows, pool = self._rows()
        items = self.problem.items[rows]
        if self.problem.integral:
            targets = self.problem.targets[self.start : self.stop]
        else:
            whole = to_grid(items.astype(np.float64), self.exponent)
            if self.problem.objective == "fixed_size" and not self.certified:
                whole = np.where((whole == 0) & (items != 0), np.sign(items).astype(np.int64), whole)
            items, targets = whole, to_grid(self.targets, self.exponent)
        return Batch(_as_kernel_input(items), _as_kernel_input(targets), pool)

    def given(self) -> npt.NDArray[Any]:  # [targets, n]
        """The items of each target as they were given."""
        rows, pool = self._rows()
        return self.problem.items[rows] if pool is None else self.problem.items[rows][pool]

    def _rows(self) -> tuple[slice | Ints, Ints | None]:
        """Rows of the problem's items that occur here, and which of them each target has; None: one each."""
        if self.problem.pool is None:
            return slice(self.start, self.stop), None
        pool = self.problem.pool[self.start : self.stop]
        # Off the grid several subsets may tie that are not equally good. Which one a solver takes must not depend on
        # how many targets share a pool, so each gets its own row.
        if not (self.problem.shared and self.certified):
            return pool, None
        new = np.diff(pool, prepend=-1) != 0
        rows = pool[new]
        if int(rows[-1]) - int(rows[0]) == len(rows) - 1:  # no copy
            return slice(int(rows[0]), int(rows[-1]) + 1), pool - rows[0]
        return rows, np.cumsum(new) - 1

    def far(self) -> Bools:  # [targets]
        """Which targets are too far from every subset for the integers."""
        if self.problem.integral:
            return np.zeros(len(self), bool)
        return is_far(self.targets, self.exponent)


def _as_kernel_input(values: npt.NDArray[Any]) -> Ints:
    # one compiled signature serves all: int64, C order, writable
    values = np.ascontiguousarray(values, dtype=np.int64)
    return values if values.flags.writeable else values.copy()


def pose(items: Any, targets: Any, objective: Any, *, eps: Any, size: Any, pool: Any, exponent: Any) -> Problem:
    """Refuse bad input, naming the first offending index, and find the grids. Rows that no target uses play no part.

    Raises:
        TypeError: not numbers, or integers mixed with floats.
        ValueError: shapes, NaN or infinite values, values beyond the budget, more than 62 items, a bad eps, size,
            exponent or pool.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"expected objective in {OBJECTIVES}, got {objective!r}")
    items, targets = as_values(items, targets)
    if items.ndim == 1:
        if pool is not None:
            raise ValueError(f"expected pool only with several rows of items, got items of shape {items.shape}")
        items, pool = items[None], np.zeros(len(targets), np.int64)
    index = as_pool(pool, len(items), len(targets))
    tolerance, count = as_eps(eps, objective), as_size(size, objective, items.shape[1])
    unit = as_exponent(exponent, items.dtype)
    items, index, names = _used(items, index)
    integral, row = items.dtype.kind in "iu", slice(None) if index is None else index
    if integral:
        refuse_large(items, targets, names)
        grids = Grids(np.full(len(targets), unit), np.ones(len(targets), bool))
    else:
        reach = refuse_nonfinite(items, targets, row, names)
        grids = find_grids(items, targets.astype(np.float64), row, reach)
    shared, order = index is not None, _order(grids, index)
    sorted_exponent, sorted_certified = grids.exponent, grids.certified
    if order is not None:
        index, targets = order if index is None else index[order], targets[order]
        sorted_exponent, sorted_certified = sorted_exponent[order], sorted_certified[order]
    return Problem(
        items, targets, index, shared, order, objective, tolerance, count, sorted_exponent, sorted_certified, integral
    )


def _used(items: npt.NDArray[Any], pool: Ints | None) -> tuple[npt.NDArray[Any], Ints | None, Ints | range]:
    """The rows that some target uses, the targets' rows among them, and what the user calls them."""
    if pool is None:
        return items, None, range(len(items))
    used = np.zeros(len(items), bool)
    used[pool] = True
    if used.all():
        return items, pool, range(len(items))
    return items[used], (np.cumsum(used) - 1)[pool], np.flatnonzero(used)


def _order(grids: Grids, pool: Ints | None) -> Ints | None:
    """The order by grid and pool, or None where it is as given."""
    exponent, certified = grids.exponent, grids.certified
    if len(exponent) and ((exponent != exponent[0]) | (certified != certified[0])).any():
        # the sort is stable, so that targets without pools keep their order
        return np.lexsort((certified, exponent) if pool is None else (pool, certified, exponent))
    if pool is not None and (np.diff(pool) < 0).any():
        return np.argsort(pool, kind="stable")
    return None
