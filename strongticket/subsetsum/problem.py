"""Check what the user gave and turn it, chunk by chunk, into integer subset-sum instances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from strongticket.subsetsum._exact import (
    BUDGET,
    FAR,
    LOOSEST,
    Bools,
    Grid,
    Ints,
    find_grid,
    floor_units,
    to_grid,
)
from strongticket.subsetsum.batch import Batch
from strongticket.subsetsum.goal import OBJECTIVES, Goal, Objective

__all__ = ["MAX_ITEMS", "Problem", "pose"]

MAX_ITEMS = 62
_ROWS = 1 << 14


@dataclass(frozen=True, eq=False)
class Problem:
    """A checked batch of instances: the arrays as given, and how to read them as integers.

    Attributes:
        items: values of the pools, [pools, n].
        targets: sorted by pool where pools are shared, [batch].
        pool: row of `items` of each target, ascending; None: target b has row b.
        order: place of each target in what the user gave; None where nothing was sorted.
    """

    items: npt.NDArray[Any]
    targets: npt.NDArray[Any]
    pool: Ints | None
    order: Ints | None
    objective: Objective
    eps: Fraction | None
    size: int | None
    grid: Grid
    integral: bool

    @property
    def n(self) -> int:
        """Number of items of each instance."""
        return int(self.items.shape[1])

    @property
    def roundings(self) -> int:
        """Twice the units by which rounding to the grid may shift an error; 0 on the grid.

        Each of n + 1 values moves by at most half a unit; where no item may vanish, by at most one.
        """
        if self.grid.certified:
            return 0
        return 2 * (self.n + 1) if self.objective == "fixed_size" else self.n + 1

    @property
    def goal(self) -> Goal:
        """The objective in integer units: eps itself on the grid, off the grid less what rounding may cost."""
        if self.eps is None:
            return Goal(self.objective, None, self.size)
        units = floor_units(self.eps, self.grid.exponent)
        if not self.grid.certified:
            units = max(units - (self.roundings + 1) // 2, -1)
        return Goal(self.objective, min(units, LOOSEST), self.size)

    @property
    def beyond(self) -> int:
        """Integer errors above this are surely beyond eps."""
        assert self.eps is not None
        return min(floor_units(self.eps, self.grid.exponent) + 1 + (self.roundings + 1) // 2, LOOSEST)

    def batch(self, start: int, stop: int) -> Batch:
        """Instances start:stop on the grid, in arrays that kernels can read."""
        rows, pool = self._rows(start, stop)
        items, targets = self.items[rows], self.targets[start:stop]
        if not self.integral:
            exponent = self.grid.exponent
            whole = to_grid(items.astype(np.float64), exponent)
            if self.objective == "fixed_size" and not self.grid.certified:
                whole = np.where((whole == 0) & (items != 0), np.sign(items).astype(np.int64), whole)
            items, targets = whole, to_grid(targets.astype(np.float64), exponent)
        return Batch(_as_kernel_input(items), _as_kernel_input(targets), pool)

    def given(self, start: int, stop: int) -> npt.NDArray[Any]:  # [stop - start, n]
        """The items of targets start:stop as they were given."""
        rows, pool = self._rows(start, stop)
        return self.items[rows] if pool is None else self.items[rows][pool]

    def _rows(self, start: int, stop: int) -> tuple[slice, Ints | None]:
        if self.pool is None:
            return slice(start, stop), None
        pool = self.pool[start:stop]
        first = int(pool[0]) if len(pool) else 0
        return slice(first, int(pool[-1]) + 1 if len(pool) else first), pool - first

    def far(self, start: int, stop: int) -> Bools:
        """Which of targets start:stop are too far from every subset for the integers."""
        if self.integral:
            return np.zeros(stop - start, bool)
        with np.errstate(over="ignore", under="ignore"):
            scaled = np.ldexp(self.targets[start:stop].astype(np.float64), -self.grid.exponent)
        return np.abs(scaled) >= float(FAR)


def _as_kernel_input(values: npt.NDArray[Any]) -> Ints:
    # one compiled signature serves all: int64, C order, writable
    values = np.ascontiguousarray(values, dtype=np.int64)
    return values if values.flags.writeable else values.copy()


def _as_array(values: Any, name: str, dims: tuple[int, ...], shape: str) -> npt.NDArray[Any]:
    if hasattr(values, "detach"):  # a torch tensor, without importing torch
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.ndim not in dims:
        raise ValueError(f"expected {name} of shape {shape}, got shape {array.shape}")
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise TypeError(f"expected {name} of an integer type or float16/32/64, got {array.dtype}: convert before")
    return array


def _as_eps(eps: Any, objective: Objective) -> Fraction | None:
    if eps is None:
        if objective in ("sparsest", "first_hit"):
            raise ValueError(
                f"expected eps, the tolerance in the units of the values, for objective {objective!r}; got None"
            )
        return None
    if isinstance(eps, bool | np.bool_) or not isinstance(eps, int | float | Fraction | np.integer | np.floating):
        raise TypeError(f"expected eps to be a number, got {eps!r}")
    if not isinstance(eps, Fraction) and not math.isfinite(eps):
        raise ValueError(f"expected a finite eps >= 0, got {eps}")
    if eps < 0:
        raise ValueError(f"expected eps >= 0, got {eps}")
    return eps if isinstance(eps, Fraction) else Fraction(eps.item() if isinstance(eps, np.generic) else eps)


def _as_size(size: Any, objective: Objective, n: int) -> int | None:
    if objective != "fixed_size":
        if size is not None:
            raise ValueError(f"expected size only with objective 'fixed_size', got size = {size!r} for {objective!r}")
        return None
    if isinstance(size, bool | np.bool_) or not isinstance(size, int | np.integer):
        raise TypeError(f"expected size, the number of items to choose, for objective 'fixed_size'; got {size!r}")
    if not 0 <= size <= n:
        raise ValueError(f"expected a size from 0 to the number of items, {n}, got {size}")
    return int(size)


def _as_pool(pool: Any, items: npt.NDArray[Any], batch: int) -> Ints | None:
    """Row of `items` for each target, or None where rows and targets go together."""
    if pool is None:
        if len(items) == batch:
            return None
        raise ValueError(
            f"expected one target per row of items, got {len(items)} rows and {batch} targets: for a pool that all "
            "targets share give items of shape [n], for several pools say which by pool"
        )
    index = np.asarray(pool.detach().cpu().numpy() if hasattr(pool, "detach") else pool)
    if index.shape != (batch,) or index.dtype.kind not in "iu":
        raise ValueError(
            f"expected pool to be one row number per target, {batch} integers, got {index.dtype} of shape {index.shape}"
        )
    wrong = np.flatnonzero((index < 0) | (index >= len(items)))
    if wrong.size:
        at = int(wrong[0])
        raise ValueError(f"expected pool in 0..{len(items) - 1}, the rows of items, got pool[{at}] = {index[at]}")
    return index.astype(np.int64)


def _refuse_nonfinite(items: npt.NDArray[Any], targets: npt.NDArray[Any], pool: Ints | None) -> None:
    if not np.isfinite(targets).all():
        at = int(np.flatnonzero(~np.isfinite(targets))[0])
        raise ValueError(f"expected finite targets, got targets[{at}] = {targets[at]}")
    reach = np.empty(len(items), np.float64)
    for start in range(0, len(items), _ROWS):
        part = items[start : start + _ROWS]
        if not np.isfinite(part).all():
            row, column = (int(v[0]) for v in np.nonzero(~np.isfinite(part)))
            raise ValueError(f"expected finite items, got items[{start + row}, {column}] = {part[row, column]}")
        with np.errstate(over="ignore"):
            reach[start : start + _ROWS] = np.abs(part).sum(1, dtype=np.float64)
    with np.errstate(over="ignore"):
        reach = (reach if pool is None else reach[pool]) + np.abs(targets, dtype=np.float64)
    if not (reach < 2.0**1022).all():
        at = int(np.flatnonzero(~(reach < 2.0**1022))[0])
        raise ValueError(f"expected sum |items| + |target| below 2^1022, got more in row {at}: scale the values down")


def _refuse_large(items: npt.NDArray[Any], targets: npt.NDArray[Any]) -> None:
    if targets.size and max(-int(targets.min()), int(targets.max())) > FAR:
        at = next(r for r, z in enumerate(targets.tolist()) if abs(z) > FAR)
        raise ValueError(f"expected integer targets within +-2^61, got targets[{at}] = {targets[at]}")
    if items.size and items.shape[1] * max(-int(items.min()), int(items.max())) >= BUDGET:
        for row, values in enumerate(items.tolist()):
            if sum(abs(v) for v in values) >= BUDGET:
                raise ValueError(f"expected sum |items| < 2^60 in every row, got more in row {row}: use a coarser grid")


def pose(items: Any, targets: Any, objective: Any, *, eps: Any, size: Any, pool: Any, exponent: int | None) -> Problem:
    """Refuse bad input, naming the first offending index, and find the grid.

    Raises:
        TypeError: not numbers, or integers mixed with floats.
        ValueError: shapes, NaN or infinite values, values beyond the budget, more than 62 items, a bad eps, size or
            pool.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"expected objective in {OBJECTIVES}, got {objective!r}")
    items = _as_array(items, "items", (1, 2), "[batch, n], or [n] shared by all targets")
    targets = _as_array(targets, "targets", (1,), "[batch]")
    if items.ndim == 1:
        if pool is not None:
            raise ValueError(f"expected pool only with several rows of items, got items of shape {items.shape}")
        items, pool = items[None], np.zeros(len(targets), np.int64)
    if items.shape[1] > MAX_ITEMS:
        raise ValueError(f"expected at most {MAX_ITEMS} items (a mask is one int64), got {items.shape[1]}")
    index = _as_pool(pool, items, len(targets))
    tolerance, count = _as_eps(eps, objective), _as_size(size, objective, items.shape[1])
    integral = items.dtype.kind in "iu"
    if integral != (targets.dtype.kind in "iu"):
        raise TypeError(
            f"expected items and targets both integer or both floating point, got {items.dtype} and {targets.dtype}"
        )
    if integral:
        if exponent is not None and not isinstance(exponent, int | np.integer):
            raise TypeError(f"expected exponent to be an integer, got {exponent!r}")
        _refuse_large(items, targets)
        grid = Grid(int(exponent or 0), True)
    else:
        if exponent is not None:
            raise ValueError(f"expected exponent only with integer values, got {exponent} with {items.dtype}")
        _refuse_nonfinite(items, targets, index)
        grid = find_grid(items, targets)
    order = None
    if index is not None and (np.diff(index) < 0).any():
        order = np.argsort(index, kind="stable")
        index, targets = index[order], targets[order]
    return Problem(items, targets, index, order, objective, tolerance, count, grid, integral)
