"""Compiled elimination of rows: the lower triangle of the inverse, brought up to date once per panel of pivots.

One row at a time, in scratch that a thread uses again for each of its rows. Within a panel only the diagonal and the
weights follow every pivot; the row of a pivot is made from the triangle as it was before the panel and the panel's
earlier rows. Then the triangle takes all pivots of the panel tile by tile, so that it is read and written once per
panel, and the columns that are gone make place for the last ones.
"""
# numba has no types: its decorators are untyped.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from strongticket.pruning.rows._tiles import (
    BYTES,
    HEIGHT,
    ROW_VECTORS,
    VECTORS,
    follow,
    get_column,
    only,
    put_column,
    update_row,
    update_tile,
)

Floats = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_TILES_DIGEST = "fcb8eb2c38ca"
"""Start of the SHA-256 of _tiles.py, which is compiled into these kernels. numba's cache on disk notices a change of
this file alone: so a change there must be noted here, and a test insists."""

_VECTORS = 4  # weights, diagonal, bias, scores
_LARGE, _DEEP = 1500, 4000

_jit = numba.njit(nogil=True, cache=True, fastmath={"nnan", "nsz", "contract"})


def pitch_of(d: int, itemsize: int) -> int:
    """Elements between rows of the scratch: room for whole tiles, and an odd number of lines of the cache."""
    lanes = BYTES // itemsize
    line = 64 // itemsize
    room = d + lanes * max(VECTORS, ROW_VECTORS)
    return ((room + line - 1) // line | 1) * line


def panel_of(d: int) -> int:
    """Pivots per panel: more where the triangle does not fit into the cache."""
    return 16 if d < _LARGE else 32 if d < _DEEP else 64


def scratch_elements(d: int, itemsize: int) -> int:
    """Size of the scratch of one thread: a matrix of d rows, the panel, and a few vectors."""
    return pitch_of(d, itemsize) * (d + HEIGHT + panel_of(d) + _VECTORS)


@_jit
def eliminate(
    weight: Floats,  # [rows, d]
    inverse: Floats,  # [1 or rows, d, d]
    start: Flags,  # [rows, d]
    keep: int,
    group: int,
    order: Ints,  # [rows, steps]
    losses: Floats,  # [rows, steps]
    scratch: Floats,
    pitch: int,
    deep: int,
) -> None:
    """Write order and losses of every row; `deep` pivots are a panel.

    Of each `group` columns side by side the last `keep` go after all other columns of the row; none do if keep is 0.
    """
    d = weight.shape[1]
    matrix = scratch[: pitch * (d + HEIGHT)]
    rest = scratch[pitch * (d + HEIGHT) :]
    panel, vectors = rest[: pitch * deep], rest[pitch * deep :]
    columns, gone, left = np.empty(d, np.int64), np.empty(d, np.int64), np.empty(d, np.int64)
    for row in range(len(weight)):
        source = inverse[row if len(inverse) > 1 else 0]
        for i in range(d):
            line, own = matrix[i * pitch : i * pitch + i + 1], source[i, : i + 1]
            for j in range(i + 1):
                line[j] = own[j]
        for k in range(d):
            left[k] = min(d, (k + 1) * group) - k * group if keep else d + 1
        _row(
            weight[row], start[row], keep, group, order[row], losses[row],
            matrix, panel, vectors, columns, gone, left, pitch, deep,
        )  # fmt: skip


@_jit
def _row(
    weight: Floats, start: Flags, keep: int, group: int, order: Ints, losses: Floats,
    matrix: Floats, panel: Floats, vectors: Floats, columns: Ints, gone: Ints, left: Ints, pitch: int, deep: int,
) -> None:  # fmt: skip
    w, diagonal = vectors[:pitch], vectors[pitch : 2 * pitch]
    bias, score = vectors[2 * pitch : 3 * pitch], vectors[3 * pitch : 4 * pitch]
    n, largest = len(weight), matrix[0]
    late = weight.dtype.type(np.sqrt(np.finfo(weight.dtype).max))
    for j in range(n):
        columns[j] = j
        w[j] = weight[j] if start[j] else 0
        diagonal[j] = matrix[j * pitch + j]
        bias[j] = 0 if start[j] else -late  # what is pruned already goes first
        score[j] = w[j] * w[j] / diagonal[j] + bias[j]
        largest = max(largest, diagonal[j])
    if keep:
        for j in range(n):
            if left[j // group] <= keep and start[j]:
                bias[j] = late
                score[j] += late
    floor = largest * weight.dtype.type(np.finfo(weight.dtype).tiny)
    least = score[0]
    for j in range(n):
        least = score[j] if score[j] < least else least
    depth, missing, width = 0, 0, BYTES // weight.itemsize
    _seal(w, diagonal, bias, n, n + width)
    score[n : n + width] = np.inf
    for step in range(len(order)):
        pivot = _first(score, columns, least, n)
        own = w[pivot]
        order[step] = columns[pivot]
        losses[step] = 0.5 * np.float64(own) * np.float64(own) / np.float64(diagonal[pivot])
        if step + 1 == len(order):
            return
        read_row(matrix, panel, pivot, depth, n, pitch)
        gone[missing] = pivot
        missing += 1
        if keep:
            _close_group(columns, bias, left, keep, group, columns[pivot], n, late)
        scale = weight.dtype.type(1) / np.sqrt(diagonal[pivot])
        base = depth * pitch
        for j in range(base + n, base + n + width):
            panel[j] = 0
        for k in range(missing):
            panel[base + gone[k]] = 0
        _seal(w, diagonal, bias, pivot, pivot + 1)
        least = follow(panel, base, w, diagonal, bias, score, scale, own * scale, floor, n)
        depth += 1
        if depth == deep:
            update_triangle(matrix, panel, n, depth, pitch)
            _close_up(matrix, w, diagonal, bias, score, columns, np.sort(gone[:missing]), n, pitch)
            n, depth, missing = n - missing, 0, 0
            _seal(w, diagonal, bias, n, n + width)


@_jit
def _seal(w: Floats, diagonal: Floats, bias: Floats, start: int, stop: int) -> None:
    """Make sure that slots are never chosen."""
    for j in range(start, stop):
        w[j], diagonal[j], bias[j] = 0, 1, np.inf


@_jit
def _close_group(
    columns: Ints, bias: Floats, left: Ints, keep: int, group: int, column: int, n: int, late: Any
) -> None:  # fmt: skip
    """Note that a column is gone; the others of its group go late once there are only `keep` of them."""
    own = column // group
    left[own] -= 1
    if left[own] == keep:
        for j in range(n):
            if columns[j] // group == own and bias[j] == 0:
                bias[j] = late


@_jit
def _first(score: Floats, columns: Ints, least: Any, n: int) -> int:
    """The slot of the lowest column among those of the least score; what lies behind slot n is infinite."""
    slot = only(score, least, n)
    if slot < 0:
        for j in range(n):
            if score[j] == least and (slot < 0 or columns[j] < columns[slot]):
                slot = j
    return int(max(0, slot))


@_jit
def read_row(matrix: Floats, panel: Floats, pivot: int, depth: int, n: int, pitch: int) -> None:
    """Write the pivot's row of the inverse, as the panel's earlier pivots leave it, into the panel."""
    base = depth * pitch
    line, own = panel[base : base + pitch], matrix[pivot * pitch : (pivot + 1) * pitch]
    for j in range(pivot):
        line[j] = own[j]
    done = get_column(matrix, pivot * pitch + pivot, pitch, panel, base + pivot, n - pivot)
    for j in range(pivot + done, n):
        line[j] = matrix[j * pitch + pivot]
    width = ROW_VECTORS * (BYTES // panel.itemsize)
    if depth:
        for j in range(0, n, width):
            update_row(panel, base + j, 0, panel, pivot, j, pitch, depth)


@_jit
def update_triangle(matrix: Floats, panel: Floats, n: int, depth: int, pitch: int) -> None:
    """Let the triangle take the pivots of the panel."""
    width = VECTORS * (BYTES // matrix.itemsize)
    for j in range(0, n, width):
        for i in range(j - j % HEIGHT, n, HEIGHT):
            update_tile(matrix, i * pitch + j, pitch, panel, i, j, pitch, depth)


@_jit
def _close_up(
    matrix: Floats, w: Floats, diagonal: Floats, bias: Floats, score: Floats, columns: Ints, gone: Ints,
    n: int, pitch: int,
) -> None:  # fmt: skip
    """Fill the slots that are gone with the last ones that are not."""
    source, behind = n, len(gone)
    for slot in gone:
        source -= 1
        while behind and gone[behind - 1] == source:
            source -= 1
            behind -= 1
        if source <= slot:
            return
        there = source * pitch
        new, old = matrix[slot * pitch : (slot + 1) * pitch], matrix[there : there + pitch]
        for j in range(slot):
            new[j] = old[j]
        done = put_column(matrix, (slot + 1) * pitch + slot, pitch, matrix, there + slot + 1, source - slot - 1)
        for j in range(slot + 1 + done, source):
            matrix[j * pitch + slot] = old[j]
        for j in range(source + 1, n):
            matrix[j * pitch + slot] = matrix[j * pitch + source]
        w[slot], diagonal[slot], bias[slot], score[slot] = w[source], diagonal[source], bias[source], score[source]
        columns[slot] = columns[source]
