"""The textbook way, compiled: sorted half lists by merging, then two pointers; nothing of the engine is used."""
# numba has no types: its decorators are untyped.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["two_pointers"]

Ints = npt.NDArray[np.int64]


@numba.njit(cache=True)
def _sums(items: Ints, first: Ints, second: Ints) -> Ints:
    """All subset sums in ascending order, in one of the two buffers."""
    source, out = first, second
    source[0] = 0
    size = 1
    for x in items:
        i = j = 0
        for o in range(2 * size):  # merge the sums without x and those with it
            if j == size or (i < size and source[i] <= source[j] + x):
                out[o] = source[i]
                i += 1
            else:
                out[o] = source[j] + x
                j += 1
        source, out = out, source
        size *= 2
    return source[:size]


@numba.njit(cache=True)
def two_pointers(items: Ints, targets: Ints, errors: Ints) -> None:
    """Write the least |target - subset sum| of each row of `items`; no masks."""
    n = items.shape[1]
    scratch = np.empty((4, 1 << (n - n // 2)), np.int64)
    for r in range(len(targets)):
        a = _sums(items[r, : n // 2], scratch[0], scratch[1])
        b = _sums(items[r, n // 2 :], scratch[2], scratch[3])
        i, j = 0, len(b) - 1
        best = abs(targets[r] - a[0] - b[j])
        while i < len(a) and j >= 0:
            rest = targets[r] - a[i] - b[j]
            best = min(best, abs(rest))
            if rest > 0:
                i += 1
            else:
                j -= 1
        errors[r] = best
