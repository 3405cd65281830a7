"""Check what the user gave and turn it, chunk by chunk, into integer subset-sum instances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

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

__all__ = ["MAX_ITEMS", "Objective", "Problem", "pose"]

Objective = Literal["min_error", "sparsest"]
"""min_error: the subset nearest to the target. sparsest: the smallest within eps, of least error at its size."""

MAX_ITEMS = 62
_ROWS = 1 << 14


@dataclass(frozen=True, eq=False)
class Problem:
    """A checked batch of instances: the arrays as given, and how to read them as integers."""

    items: npt.NDArray[Any]  # [batch, n]
    targets: npt.NDArray[Any]  # [batch]
    objective: Objective
    eps: Fraction | None
    grid: Grid
    integral: bool

    @property
    def n(self) -> int:
        """Number of items of each instance."""
        return int(self.items.shape[1])

    @property
    def limit(self) -> int | None:
        """Integer error that is surely within eps: eps itself on the grid, off the grid less n + 1 roundings."""
        if self.eps is None:
            return None
        units = floor_units(self.eps, self.grid.exponent)
        if not self.grid.certified:
            units = max(units - (self.n + 2) // 2, -1)
        return min(units, LOOSEST)

    def integers(self, start: int, stop: int) -> tuple[Ints, Ints]:
        """Rows start:stop on the grid, as writable C-contiguous int64 arrays that are not to be written to."""
        items, targets = self.items[start:stop], self.targets[start:stop]
        if not self.integral:
            exponent = self.grid.exponent
            items, targets = to_grid(items.astype(np.float64), exponent), to_grid(targets.astype(np.float64), exponent)
        return _as_kernel_input(items), _as_kernel_input(targets)

    def far(self, start: int, stop: int) -> Bools:
        """Which of rows start:stop have a target too far from every subset for the integers."""
        if self.integral:
            return np.zeros(stop - start, bool)
        with np.errstate(over="ignore", under="ignore"):
            scaled = np.ldexp(self.targets[start:stop].astype(np.float64), -self.grid.exponent)
        return np.abs(scaled) >= float(FAR)


def _as_kernel_input(values: npt.NDArray[Any]) -> Ints:
    # one compiled signature serves all: int64, C order, writable
    values = np.ascontiguousarray(values, dtype=np.int64)
    return values if values.flags.writeable else values.copy()


def _as_array(values: Any, name: str, dims: int, shape: str) -> npt.NDArray[Any]:
    if hasattr(values, "detach"):  # a torch tensor, without importing torch
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.ndim != dims:
        raise ValueError(f"expected {name} of shape {shape}, got shape {array.shape}")
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise TypeError(f"expected {name} of an integer type or float16/32/64, got {array.dtype}: convert before")
    return array


def _as_eps(eps: Any, objective: Objective) -> Fraction | None:
    if eps is None:
        if objective == "sparsest":
            raise ValueError(
                "expected eps, the tolerance in the units of the values, for objective 'sparsest'; got None"
            )
        return None
    if isinstance(eps, bool | np.bool_) or not isinstance(eps, int | float | Fraction | np.integer | np.floating):
        raise TypeError(f"expected eps to be a number, got {eps!r}")
    if not isinstance(eps, Fraction) and not math.isfinite(eps):
        raise ValueError(f"expected a finite eps >= 0, got {eps}")
    if eps < 0:
        raise ValueError(f"expected eps >= 0, got {eps}")
    return eps if isinstance(eps, Fraction) else Fraction(eps.item() if isinstance(eps, np.generic) else eps)


def _refuse_nonfinite(items: npt.NDArray[Any], targets: npt.NDArray[Any]) -> None:
    if not np.isfinite(targets).all():
        at = int(np.flatnonzero(~np.isfinite(targets))[0])
        raise ValueError(f"expected finite targets, got targets[{at}] = {targets[at]}")
    for start in range(0, len(items), _ROWS):
        part = items[start : start + _ROWS]
        if not np.isfinite(part).all():
            row, column = (int(v[0]) for v in np.nonzero(~np.isfinite(part)))
            raise ValueError(f"expected finite items, got items[{start + row}, {column}] = {part[row, column]}")
        with np.errstate(over="ignore"):
            reach = np.abs(part).sum(1, dtype=np.float64) + np.abs(targets[start : start + _ROWS], dtype=np.float64)
        if not (reach < 2.0**1022).all():
            row = start + int(np.flatnonzero(~(reach < 2.0**1022))[0])
            raise ValueError(
                f"expected sum |items| + |target| below 2^1022, got more in row {row}: scale the values down"
            )


def _refuse_large(items: npt.NDArray[Any], targets: npt.NDArray[Any]) -> None:
    if targets.size and max(-int(targets.min()), int(targets.max())) > FAR:
        at = next(r for r, z in enumerate(targets.tolist()) if abs(z) > FAR)
        raise ValueError(f"expected integer targets within +-2^61, got targets[{at}] = {targets[at]}")
    if items.size and items.shape[1] * max(-int(items.min()), int(items.max())) >= BUDGET:
        for row, values in enumerate(items.tolist()):
            if sum(abs(v) for v in values) >= BUDGET:
                raise ValueError(f"expected sum |items| < 2^60 in every row, got more in row {row}: use a coarser grid")


def pose(items: Any, targets: Any, objective: Any, eps: Any, exponent: int | None) -> Problem:
    """Refuse bad input, naming the first offending index, and find the grid.

    Raises:
        TypeError: not numbers, or integers mixed with floats.
        ValueError: shapes, NaN or infinite values, values beyond the budget, more than 62 items, a bad eps.
    """
    if objective not in get_args(Objective):
        raise ValueError(f"expected objective in {get_args(Objective)}, got {objective!r}")
    items = _as_array(items, "items", 2, "[batch, n]")
    targets = _as_array(targets, "targets", 1, "[batch]")
    if len(items) != len(targets):
        raise ValueError(f"expected one target per row of items, got {len(items)} rows and {len(targets)} targets")
    if items.shape[1] > MAX_ITEMS:
        raise ValueError(f"expected at most {MAX_ITEMS} items (a mask is one int64), got {items.shape[1]}")
    tolerance = _as_eps(eps, objective)
    integral = items.dtype.kind in "iu"
    if integral != (targets.dtype.kind in "iu"):
        raise TypeError(
            f"expected items and targets both integer or both floating point, got {items.dtype} and {targets.dtype}"
        )
    if integral:
        if exponent is not None and not isinstance(exponent, int | np.integer):
            raise TypeError(f"expected exponent to be an integer, got {exponent!r}")
        _refuse_large(items, targets)
        return Problem(items, targets, objective, tolerance, Grid(int(exponent or 0), True), True)
    if exponent is not None:
        raise ValueError(f"expected exponent only with integer values, got exponent = {exponent} with {items.dtype}")
    _refuse_nonfinite(items, targets)
    return Problem(items, targets, objective, tolerance, find_grid(items, targets), False)
