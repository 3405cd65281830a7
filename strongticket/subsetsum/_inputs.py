"""Check what the user gave, argument by argument, before any work: each refusal names the argument and the value."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from strongticket.subsetsum._exact import BUDGET, FAR, Floats, Ints, row_reach
from strongticket.subsetsum.goal import Objective

MAX_ITEMS = 62
_FINEST, _COARSEST = -1074, 960  # 2^exponent and every error, below 2^62 units, are float64 numbers
_TYPES = "an integer type or float16/32/64"


def as_values(items: Any, targets: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:  # [n] or [rows, n], [batch]
    """Items and targets as numpy arrays, both integer or both floating point."""
    x = _as_array(items, "items", (1, 2), "[batch, n], or [n] shared by all targets")
    z = _as_array(targets, "targets", (1,), "[batch]")
    if not z.size and isinstance(targets, list | tuple):  # numpy takes [] for floats
        z = z.astype(x.dtype)
    elif not x.size and isinstance(items, list | tuple):
        x = x.astype(z.dtype)
    if x.shape[-1] > MAX_ITEMS:
        raise ValueError(f"expected at most {MAX_ITEMS} items (a mask is one int64), got {x.shape[-1]}")
    if (x.dtype.kind in "iu") != (z.dtype.kind in "iu"):
        raise TypeError(f"expected items and targets both integer or both floating point, got {x.dtype} and {z.dtype}")
    return x, z


def _as_array(values: Any, name: str, dims: tuple[int, ...], shape: str) -> npt.NDArray[Any]:
    array = _as_numpy(values, name)
    if array.ndim not in dims:
        raise ValueError(f"expected {name} of shape {shape}, got shape {array.shape}")
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise TypeError(f"expected {name} of {_TYPES}, got {array.dtype}: convert before")
    return array


def _as_numpy(values: Any, name: str) -> npt.NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray) and (masked := int(np.ma.getmaskarray(values).sum())):
        raise ValueError(f"expected {name} without masked entries, got {masked}: fill them before")
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    if values.layout != torch.strided or values.is_meta:
        raise TypeError(
            f"expected {name} as a dense tensor with data, got layout {values.layout} on device {values.device}: "
            "use to_dense(), or a device that holds data"
        )
    try:
        return np.asarray(values.detach().cpu().resolve_conj().resolve_neg().numpy())
    except TypeError as error:  # a type that numpy lacks, as bfloat16
        raise TypeError(f"expected {name} of {_TYPES}, got {values.dtype}: convert before") from error


def as_eps(eps: Any, objective: Objective) -> Fraction | None:
    """The tolerance as an exact number."""
    if eps is None:
        if objective in ("sparsest", "first_hit"):
            raise ValueError(
                f"expected eps, the tolerance in the units of the values, for objective {objective!r}; got None"
            )
        return None
    if isinstance(eps, bool | np.bool_) or not isinstance(eps, int | float | Fraction | np.integer | np.floating):
        raise TypeError(f"expected eps to be a number, got {eps!r}")
    if isinstance(eps, float | np.floating) and not math.isfinite(eps):
        raise ValueError(f"expected a finite eps >= 0, got {eps}")
    if eps < 0:
        raise ValueError(f"expected eps >= 0, got {eps}")
    return eps if isinstance(eps, Fraction) else Fraction(eps.item() if isinstance(eps, np.generic) else eps)


def as_size(size: Any, objective: Objective, n: int) -> int | None:
    """The number of items to choose, where it is part of the objective."""
    if objective != "fixed_size":
        if size is not None:
            raise ValueError(f"expected size only with objective 'fixed_size', got size = {size!r} for {objective!r}")
        return None
    if isinstance(size, bool | np.bool_) or not isinstance(size, int | np.integer):
        raise TypeError(f"expected size, the number of items to choose, for objective 'fixed_size'; got {size!r}")
    if not 0 <= size <= n:
        raise ValueError(f"expected a size from 0 to the number of items, {n}, got {size}")
    return int(size)


def as_exponent(exponent: Any, values: np.dtype[Any]) -> int:
    """The unit of integer values."""
    if exponent is None:
        return 0
    if isinstance(exponent, bool | np.bool_) or not isinstance(exponent, int | np.integer):
        raise TypeError(f"expected exponent to be an integer, got {exponent!r}")
    if values.kind not in "iu":
        raise ValueError(f"expected exponent only with integer values, got {exponent} with {values}")
    if not _FINEST <= exponent <= _COARSEST:
        raise ValueError(
            f"expected an exponent from {_FINEST} to {_COARSEST}, so that errors are float64, got {exponent}"
        )
    return int(exponent)


def as_pool(pool: Any, rows: int, batch: int) -> Ints | None:
    """Row of `items` for each target, or None where rows and targets go together."""
    if pool is None:
        if rows == batch:
            return None
        raise ValueError(
            f"expected one target per row of items, got {rows} rows and {batch} targets: for a pool that all "
            "targets share give items of shape [n], for several pools say which by pool"
        )
    index = _as_numpy(pool, "pool")
    if index.shape != (batch,) or (index.dtype.kind not in "iu" and batch):
        raise ValueError(
            f"expected pool to be one row number per target, {batch} integers, got {index.dtype} of shape {index.shape}"
        )
    wrong = np.flatnonzero((index < 0) | (index >= rows))
    if wrong.size:
        at = int(wrong[0])
        raise ValueError(f"expected pool in 0..{rows - 1}, the rows of items, got pool[{at}] = {index[at]}")
    return index.astype(np.int64)


def refuse_nonfinite(
    items: npt.NDArray[Any],  # [pools, n]
    targets: npt.NDArray[Any],  # [batch]
    pool: Ints | slice,  # [batch] row of `items` of each target
    names: Ints | range,  # [pools] what the user calls the rows of `items`
) -> Floats:  # [pools]
    """Sum |items| of every row, all of them finite and small enough to be told exactly."""
    if not np.isfinite(targets).all():
        at = int(np.flatnonzero(~np.isfinite(targets))[0])
        raise ValueError(f"expected finite targets, got targets[{at}] = {targets[at]}")
    reach = row_reach(items)
    with np.errstate(over="ignore"):
        fits = reach[pool] + np.abs(targets, dtype=np.float64) < 2.0**1022
    if fits.all():
        return reach
    for row in np.flatnonzero(~np.isfinite(reach)).tolist():
        for column in np.flatnonzero(~np.isfinite(items[row])).tolist():
            raise ValueError(f"expected finite items, got items[{names[row]}, {column}] = {items[row, column]}")
    at = int(np.flatnonzero(~fits)[0])
    raise ValueError(f"expected sum |items| + |target| below 2^1022, got more for target {at}: scale the values down")


def refuse_large(items: npt.NDArray[Any], targets: npt.NDArray[Any], names: Ints | range) -> None:
    """Integers must stay where sums cannot overflow."""
    if targets.size and max(-int(targets.min()), int(targets.max())) > FAR:
        at = next(r for r, z in enumerate(targets.tolist()) if abs(z) > FAR)
        raise ValueError(f"expected integer targets within +-2^61, got targets[{at}] = {targets[at]}")
    if items.size and items.shape[1] * max(-int(items.min()), int(items.max())) >= BUDGET:
        for row in np.flatnonzero(row_reach(items) > 0.999 * BUDGET).tolist():
            if sum(abs(v) for v in items[row].tolist()) >= BUDGET:
                raise ValueError(
                    f"expected sum |items| < 2^60 in every row, got more in row {names[row]}: use a coarser grid"
                )
