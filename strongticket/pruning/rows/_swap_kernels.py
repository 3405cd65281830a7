"""Compiled exchange of kept for pruned weights within rows: everything that prices all exchanges, updated at each.

With the support S and the pruned P of a row: M = (H_SS)^-1, C = H_PS M, r = (H (target - w))_P and
s = diag(H_PP - C H_SP). M comes from sweeping H_SS pivot by pivot, C from a product, both by the tiles of
`_row_kernels`; C lies transposed, so that loops run along P. An exchange changes all four by terms of rank two.
"""
# numba has no types: its decorators are untyped.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from strongticket.pruning.rows._row_kernels import pitch_of, read_row, update_triangle
from strongticket.pruning.rows._tiles import BYTES, HEIGHT, VECTORS, update_tile

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_ROW_KERNELS_DIGEST = "2d0ab01e3765"
_TILES_DIGEST = "fcb8eb2c38ca"
"""Starts of the SHA-256 of _row_kernels.py and _tiles.py, which are compiled into these kernels. numba's cache on disk
notices a change of this file alone: so a change there must be noted here, and a test insists."""

DEEP = 32
TENURE = 2
"""Exchanges for which, on the way up, what was just exchanged stays as it is."""

_SHUT = 1e300
_AFRESH = 64  # exchanges after which rounding errors are thrown away
_VECTORS = 8

_jit = numba.njit(nogil=True, cache=True, fastmath={"nnan", "nsz", "contract"})


def pitch_for(d: int) -> int:
    """Elements between rows of the scratch."""
    return int(pitch_of(d + HEIGHT, 8))


def scratch_elements(d: int, most: int) -> int:
    """Size of the scratch of one thread for supports of up to `most` columns."""
    return pitch_for(d) * (2 * (most + HEIGHT) + DEEP + _VECTORS)


@_jit
def exchange(
    hessian: Floats,  # [d, d]
    right: Floats,  # [rows, d]: H target
    kept: Flags,  # [rows, d]: overwritten
    allowed: Flags,  # [rows, d]
    tolerance: Floats,  # [rows]
    patience: int,
    most: int,
    gains: Floats,  # [rows]
    counts: Ints,  # [rows]
    scratch: Floats,
    pitch: int,
) -> bool:
    """Exchange within each row, as `swaps.swap` says; False if H is not positive definite on a support."""
    d = len(hessian)
    support, pruned = np.empty(d, np.int64), np.empty(d, np.int64)
    best, held = np.empty(d, np.int64), np.empty(d, np.int64)
    for row in range(len(right)):
        k, m = 0, 0
        for j in range(d):
            if kept[row, j]:
                support[k] = j
                k += 1
            elif allowed[row, j]:
                pruned[m] = j
                m += 1
        gains[row], counts[row] = 0, 0
        if k == 0 or m == 0:
            continue
        size = pitch * (k + HEIGHT)
        cross, inner = scratch[:size], scratch[size : 2 * size]
        best[:k] = support[:k]
        done = _row(
            hessian, right[row], support[:k], pruned[:m], best[:k], held, tolerance[row], patience, most,
            cross, inner, scratch[2 * size :], pitch, gains, row,
        )  # fmt: skip
        if done < 0:
            return False
        counts[row] = done
        kept[row] = False
        for i in range(k):
            kept[row, best[i]] = True
    return True


@_jit
def _row(
    hessian: Floats, right: Floats, support: Ints, pruned: Ints, best: Ints, held: Ints, tolerance: float,
    patience: int, most: int, cross: Floats, inner: Floats, rest: Floats, pitch: int, gains: Floats, row: int,
) -> int:  # fmt: skip
    """Search one row; writes the best support, and returns after how many exchanges it was found, or -1."""
    m = len(pruned)
    panel, vectors = rest[: pitch * DEEP], rest[pitch * DEEP :]
    shut = vectors[7 * pitch : 7 * pitch + m]
    held[:] = 0
    now, least, found, floor = 0.0, 0.0, 0, 0.0
    for made in range(most):
        if made - found > patience:
            break
        if made % _AFRESH == 0:
            floor = _state(hessian, right, support, pruned, cross, inner, panel, vectors, pitch)
            if floor < 0:
                return -1
        change, out, into = _search(support, pruned, held, made, cross, inner, vectors, shut, floor, pitch)
        if change >= _SHUT or (made == found and patience == 0 and not change < -tolerance):
            break
        _swap(hessian, support, pruned, cross, inner, vectors, floor, out, into, pitch)
        now += change
        if now < least - tolerance:
            least, found = now, made + 1
            best[:] = support
            held[:] = 0
        else:
            held[support[out]] = held[pruned[into]] = made + 1 + TENURE
    gains[row] = -0.5 * least
    return found


@_jit
def _state(
    hessian: Floats, right: Floats, support: Ints, pruned: Ints, cross: Floats, inner: Floats, panel: Floats,
    vectors: Floats, pitch: int,
) -> float:  # fmt: skip
    """Make M, C, weights, r and s afresh; returns below what no entry of s may fall, or -1."""
    k, m = len(support), len(pruned)
    residual, spare, weight = vectors[:m], vectors[pitch : pitch + m], vectors[2 * pitch : 2 * pitch + k]
    if not _invert(hessian, support, cross, inner, panel, pitch):
        return -1.0
    _multiply(hessian, support, pruned, cross, inner, pitch)
    for i in range(k):
        total, own = 0.0, inner[i * pitch : i * pitch + k]
        for j in range(k):
            total += own[j] * right[support[j]]
        weight[i] = total
    largest = 0.0
    for j in range(m):
        residual[j], spare[j] = right[pruned[j]], hessian[pruned[j], pruned[j]]
        largest = max(largest, spare[j])
    for i in range(k):
        line, value = cross[i * pitch : i * pitch + m], right[support[i]]
        beside = inner[i * pitch + k : i * pitch + k + m]
        for j in range(m):
            residual[j] -= line[j] * value
            spare[j] -= line[j] * beside[j]
    return 1e-14 * largest


@_jit
def _invert(hessian: Floats, support: Ints, matrix: Floats, inner: Floats, panel: Floats, pitch: int) -> bool:
    """Write (H_SS)^-1 into `inner`, whole; `matrix` is overwritten.

    Sweeping pivot p turns a symmetric matrix A into A - a a^T / A_pp, with a its row p, but for row and column p, which
    become a / A_pp and -1 / A_pp; once all pivots are swept it is -A^-1. Setting row and column p to 0 and p's own
    entry of u = a / sqrt(A_pp) to -1 / sqrt(A_pp) makes that A - u u^T everywhere.
    """
    k = len(support)
    for i in range(k):
        line, source = matrix[i * pitch : i * pitch + i + 1], hessian[support[i]]
        for j in range(i + 1):
            line[j] = source[support[j]]
    depth = 0
    for pivot in range(k):
        read_row(matrix, panel, pivot, depth, k, pitch)
        own = panel[depth * pitch : (depth + 1) * pitch]
        value = own[pivot]
        if not value > 0:
            return False
        scale = 1 / np.sqrt(value)
        for j in range(k):
            own[j] *= scale
        own[pivot] = -scale
        for b in range(depth):
            panel[b * pitch + pivot] = 0
        matrix[pivot * pitch : pivot * pitch + pivot + 1] = 0
        for j in range(pivot + 1, k):
            matrix[j * pitch + pivot] = 0
        depth += 1
        if depth == DEEP or pivot + 1 == k:
            update_triangle(matrix, panel, k, depth, pitch)
            depth = 0
    for i in range(k):
        for j in range(i + 1):
            inner[i * pitch + j] = -matrix[i * pitch + j]
            inner[j * pitch + i] = -matrix[i * pitch + j]
    return True


@_jit
def _multiply(hessian: Floats, support: Ints, pruned: Ints, cross: Floats, inner: Floats, pitch: int) -> None:
    """Write C^T = M H_SP into `cross`, and H_SP behind M into `inner`."""
    k, m = len(support), len(pruned)
    for i in range(k):
        line, own = inner[i * pitch + k : (i + 1) * pitch], hessian[support[i]]
        for j in range(m):
            line[j] = own[pruned[j]]
        line[m:] = 0
    cross[:] = 0
    width = VECTORS * (BYTES // 8)
    for j in range(0, m, width):
        for i in range(0, k, HEIGHT):
            update_tile(cross, i * pitch + j, pitch, inner, i, k + j, pitch, k)
    for i in range(k):
        cells = cross[i * pitch : i * pitch + m]
        for j in range(m):
            cells[j] = -cells[j]


@_jit
def _best_of_row(
    line: Floats, residual: Floats, spare: Floats, shut: Floats, floor: float, weight: float, own: float
) -> float:  # fmt: skip
    """The most that bringing one pruned column in earns, once the kept weight of this line is out."""
    share, inverse = weight / own, 1 / own
    most = -_SHUT
    for j in range(len(line)):
        value = residual[j] + line[j] * share
        left = spare[j] + line[j] * line[j] * inverse
        left = left if left > floor else floor
        earned = value * value / left - shut[j]
        most = earned if earned > most else most
    return most


@_jit
def _which(
    line: Floats, residual: Floats, spare: Floats, shut: Floats, floor: float, weight: float, own: float
) -> int:  # fmt: skip
    """The first column that earns most."""
    share, inverse = weight / own, 1 / own
    best, most = 0, -_SHUT
    for j in range(len(line)):
        value = residual[j] + line[j] * share
        left = spare[j] + line[j] * line[j] * inverse
        earned = value * value / (left if left > floor else floor) - shut[j]
        if earned > most:
            best, most = j, earned
    return best


@_jit
def _search(
    support: Ints, pruned: Ints, held: Ints, made: int, cross: Floats, inner: Floats, vectors: Floats, shut: Floats,
    floor: float, pitch: int,
) -> tuple[float, int, int]:  # fmt: skip
    """Twice the change of the loss by the best exchange of columns that are not held, and its two slots."""
    k, m = len(support), len(pruned)
    residual, spare, weight = vectors[:m], vectors[pitch : pitch + m], vectors[2 * pitch : 2 * pitch + k]
    for j in range(m):
        shut[j] = _SHUT if held[pruned[j]] > made else 0.0
    best, out = _SHUT, 0
    for i in range(k):
        if held[support[i]] > made:
            continue
        own = inner[i * pitch + i]
        earned = _best_of_row(cross[i * pitch : i * pitch + m], residual, spare, shut, floor, weight[i], own)
        change = weight[i] * weight[i] / own - earned
        if change < best:
            best, out = change, i
    line = cross[out * pitch : out * pitch + m]
    into = _which(line, residual, spare, shut, floor, weight[out], inner[out * pitch + out])
    return best, out, into


@_jit
def _swap(
    hessian: Floats, support: Ints, pruned: Ints, cross: Floats, inner: Floats, vectors: Floats, floor: float,
    out: int, into: int, pitch: int,
) -> None:  # fmt: skip
    """Take slot `out` of the support out and slot `into` of the pruned in."""
    k, m = len(support), len(pruned)
    residual, spare, weight = vectors[:m], vectors[pitch : pitch + m], vectors[2 * pitch : 2 * pitch + k]
    gone, come = vectors[3 * pitch : 3 * pitch + k], vectors[4 * pitch : 4 * pitch + k]
    line, error = vectors[5 * pitch : 5 * pitch + m], vectors[6 * pitch : 6 * pitch + m]
    own = inner[out * pitch + out]
    share = weight[out] / own
    column, total = pruned[into], 0.0
    for i in range(k):
        gone[i] = inner[out * pitch + i]
        come[i] = cross[i * pitch + into] - gone[i] * cross[out * pitch + into] / own
        total += gone[i] * hessian[column, support[i]]
    total -= own * hessian[column, support[out]]
    for j in range(m):
        line[j] = cross[out * pitch + j]
        error[j] = hessian[column, pruned[j]] + line[j] * total / own
    for i in range(k):
        if i != out:
            value, beside = hessian[column, support[i]], cross[i * pitch : i * pitch + m]
            for j in range(m):
                error[j] -= beside[j] * value
    left = max(floor, spare[into] + line[into] * line[into] / own)
    new = (residual[into] + line[into] * share) / left
    # the two change places: what left stands in the pruned one's slot, what came in the kept one's
    error[into] = hessian[column, support[out]] + total / own
    line[into], residual[into], spare[into] = 1, 0, 0
    gone[out], come[out], weight[out] = 0, -1, 0
    support[out], pruned[into] = column, support[out]
    for j in range(m):
        residual[j] += line[j] * share - error[j] * new
        spare[j] += line[j] * line[j] / own - error[j] * error[j] / left
    for i in range(k):
        weight[i] -= gone[i] * share + come[i] * new
        a, b = gone[i] / own, come[i] / left
        beside = inner[i * pitch : i * pitch + k]
        cells = cross[i * pitch : i * pitch + m]
        if i == out:
            beside[:] = 0
            cells[:] = 0
        beside[out], cells[into] = 0, 0
        for j in range(k):
            beside[j] += come[j] * b - gone[j] * a
        for j in range(m):
            cells[j] -= line[j] * a + error[j] * b
