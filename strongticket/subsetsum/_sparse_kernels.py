"""Compiled kernel of sparsest subsets: all sums of one item, of two, ... up to seven, for many rows side by side.

Sizes are searched one after the other. Rows that are not answered at one size queue for the next; whenever enough
wait to fill a vector they are laid side by side, so that the search is nothing but subtractions, absolute values and
minima of vectors, with no branch. The dtype of the scratch is that of the sums: int32 where the values allow it, else
int64, which takes up to twice the time.

Subsets of one size are visited in colexicographic order, which is the order of their masks as integers: a subset is a
high part and a low part of two or three items, all of them below the lowest item of the high part. The sums of low
parts lie in a table in the same order, so those that a high part may be joined with are a prefix of the table. The
first strict improvement is therefore the smallest mask among subsets of equal error, and ties cost nothing.
"""
# numba has no types: its decorators are untyped.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from strongticket.subsetsum._lanes import (
    absolute,
    add,
    column,
    fill,
    least,
    less,
    load,
    peek,
    poke,
    rows_of,
    select,
    smaller,
    store,
    subtract,
    width,
)

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Keys = npt.NDArray[Any]  # int32 or int64

LARGEST = 7  # C(62, 7) ranks fit in 31 bits
_LANES = 16  # at most: of int32
_TAIL = 8  # low parts compared in one go at the end of a prefix, overlapping those before; shorter ones are padded
_LANES_DIGEST = "1139ea8cdf21"  # see `_bitonic_kernels`
_BINOMIALS = LARGEST + 1
_QUEUE = LARGEST * _LANES  # at the end each size adds its last, incomplete block to what the next one holds

_jit = numba.njit(nogil=True, cache=True)


def scratch_elements(n: int, largest: int) -> int:
    """Number of elements of scratch, int32 or int64, for rows of `n` items and subsets of up to `largest`."""
    triples = math.comb(n, 3) if largest > 4 else 0
    return (n + 1 + math.comb(n, 2) + triples + 8 * _TAIL + 3) * _LANES


def index_elements(n: int, largest: int) -> int:
    """Number of int64 elements of scratch for the masks of low parts, the binomials and the queues."""
    triples = math.comb(n, 3) if largest > 4 else 0
    return n + math.comb(n, 2) + triples + (n + 1) * _BINOMIALS + (LARGEST + 1) * (_QUEUE + 2)


def fits_int32(items: Ints, targets: Ints, largest: int) -> bool:
    """Whether subsets of up to `largest` items can be compared with their targets in 32 bits."""
    if items.size == 0:
        return True
    most = max(int(items.max()), -int(items.min()))
    return largest * most + max(int(targets.max()), -int(targets.min())) < 2**31 - 1


@_jit
def _compare(
    keys: Any, rest: Any, table: int, pads: int, length: int, rank: int, best: Any, block: Any
) -> tuple[Any, Any]:
    """The first `length` low parts with a rest; carries each lane's least error, and the rank of the block it is in."""
    if length < _TAIL:
        error = least(absolute(subtract(rest, column(keys, pads + length * _TAIL, 1, 8))))
        return smaller(error, best), select(less(error, best), fill(keys, rank), block)
    q = 0
    while q + 16 <= length:
        error = least(absolute(subtract(rest, column(keys, table + q, 1, 16))))
        block = select(less(error, best), fill(keys, rank + q), block)
        best = smaller(error, best)
        q += 16
    while q < length:
        q = min(q, length - _TAIL)
        error = least(absolute(subtract(rest, column(keys, table + q, 1, 8))))
        block = select(less(error, best), fill(keys, rank + q), block)
        best = smaller(error, best)
        q += _TAIL
    return best, block


@_jit
def _pad(keys: Any, table: int, positions: int, pads: int) -> None:
    """Prefixes of one to seven low parts, lengthened to eight by repeating their last."""
    for length in range(1, min(_TAIL - 1, positions) + 1):
        for q in range(_TAIL):
            store(keys, pads + length * _TAIL + q, load(keys, table + min(q, length - 1)))


@_jit
def _extend(keys: Any, n: int, low: int, x: int, sums: int, out: int, binomials: Ints) -> None:
    """Sums of low + 1 items, colexicographic: each item in turn with the sums of `low` items below it."""
    for i in range(low, n):
        item = load(keys, x + i)
        for q in range(binomials[i * _BINOMIALS + low]):
            store(keys, out, add(item, load(keys, sums + q)))
            out += 1


@_jit
def _load_rows(items: Ints, targets: Ints, rows: Ints, count: int, keys: Any, x: int, z: int) -> None:
    """Rows into lanes; too few rows repeat the last."""
    for lane in range(width(keys)):
        r = rows[min(lane, count - 1)]
        poke(keys, z, lane, targets[r])
        for i in range(items.shape[1]):
            poke(keys, x + i, lane, items[r, i])


@_jit
def _search(
    keys: Any, n: int, size: int, low: int, x: int, z: int, table: int, pads: int, highs: Ints, binomials: Ints
) -> tuple[Any, Any]:
    """Least error of the subsets of `size` items, and the rank of a block of `low`-item parts that holds it.

    highs[1:] runs through the sets of the size - low - 1 largest items; the lowest item of the high part is the inner
    loop.
    """
    best, block = fill(keys, ((1 << 31) - 1) if width(keys) == _LANES else ((1 << 63) - 1)), fill(keys, 0)
    target, upper = load(keys, z), size - low
    if upper == 0:
        return _compare(keys, target, table, pads, binomials[n * _BINOMIALS + low], 0, best, block)
    for i in range(upper):
        highs[i] = low + i
    while True:
        part, offset = target, 0
        for i in range(1, upper):
            offset += binomials[highs[i] * _BINOMIALS + low + 1 + i]
            part = subtract(part, load(keys, x + highs[i]))
        for c in range(low, highs[1] if upper > 1 else n):
            rank, length = offset + binomials[c * _BINOMIALS + low + 1], binomials[c * _BINOMIALS + low]
            best, block = _compare(keys, subtract(part, load(keys, x + c)), table, pads, length, rank, best, block)
        i = 1
        while i < upper and highs[i] + 1 == (highs[i + 1] if i + 1 < upper else n):
            highs[i] = low + i
            i += 1
        if i >= upper:
            return best, block
        highs[i] += 1


@_jit
def _decode(
    keys: Any, n: int, size: int, low: int, lane: int, x: int, z: int, table: int, state: int, low_masks: Ints,
    binomials: Ints,
) -> int:  # fmt: skip
    """The mask of the first subset of least error: its high part from the rank, its low part by looking again."""
    error, code = peek(keys, state, lane), peek(keys, state + 1, lane)
    rest, mask, above = peek(keys, z, lane), 0, n
    for i in range(size - low, 0, -1):
        above -= 1
        while binomials[above * _BINOMIALS + low + i] > code:
            above -= 1
        code -= binomials[above * _BINOMIALS + low + i]
        rest -= peek(keys, x + above, lane)
        mask |= 1 << above
    while abs(rest - peek(keys, table + code, lane)) != error:
        code += 1
    whole: int = mask | low_masks[code]
    return whole


@_jit
def _fill_tables(n: int, largest: int, one: Ints, two: Ints, three: Ints, binomials: Ints) -> None:
    """Masks of low parts in colexicographic order, and binomials C(i, k) at [i * 8 + k]."""
    for i in range(n + 1):
        binomials[i * _BINOMIALS] = 1
        for k in range(1, _BINOMIALS):
            above = binomials[(i - 1) * _BINOMIALS + k - 1] + binomials[(i - 1) * _BINOMIALS + k] if i else 0
            binomials[i * _BINOMIALS + k] = above
    for i in range(n):
        one[i] = 1 << i
        for j in range(i):
            two[i * (i - 1) // 2 + j] = (1 << i) | (1 << j)
    if largest > 4:
        o = 0
        for i in range(2, n):
            for q in range(i * (i - 1) // 2):
                three[o] = (1 << i) | two[q]
                o += 1


@_jit
def _triage(items: Ints, targets: Ints, r: int, eps: int, masks: Ints) -> bool:
    """Answer a row that the empty subset satisfies, or that is out of reach by more than eps."""
    z, low, high = targets[r], 0, 0
    masks[r] = 0
    if abs(z) <= eps:
        return True
    for i in range(items.shape[1]):
        low += min(items[r, i], 0)
        high += max(items[r, i], 0)
    side = 1 if z - high > eps else (-1 if low - z > eps else 0)
    if side == 0:
        return False
    for i in range(items.shape[1]):
        if side * items[r, i] > 0:
            masks[r] |= 1 << i
    return True


@_jit
def _run(
    items: Ints, targets: Ints, eps: int, size: int, rows: Ints, count: int, masks: Ints, solved: Flags,
    scratch: Keys, index: Ints, largest: int,
) -> None:  # fmt: skip
    """A lane each for `count` rows, at one size, or at sizes one and two if `size` is 2 and eps >= 0."""
    n, keys = items.shape[1], rows_of(scratch)
    n2, n3 = n * (n - 1) // 2, (n * (n - 1) * (n - 2) // 6 if largest > 4 else 0)
    x, two, three, pads = 0, n, n + n2, n + n2 + n3
    z, state = pads + 8 * _TAIL, pads + 8 * _TAIL + 1
    one_masks, two_masks, three_masks = index[:n], index[n : n + n2], index[n + n2 : n + n2 + n3]
    binomials = index[n + n2 + n3 :][: (n + 1) * _BINOMIALS]
    highs = index[n + n2 + n3 + (n + 1) * _BINOMIALS :][: LARGEST + 1]
    _load_rows(items, targets, rows, count, keys, x, z)
    if size >= 2:
        _extend(keys, n, 1, x, x, two, binomials)
    if size >= 5:
        _extend(keys, n, 2, x, two, three, binomials)
    for stage in range(1 if size == 2 and eps >= 0 else size, min(size, n) + 1):
        low, table, low_masks, positions = 1, x, one_masks, n
        if 2 <= stage <= 4:
            low, table, low_masks, positions = 2, two, two_masks, n2
        if stage >= 5:
            low, table, low_masks, positions = 3, three, three_masks, n3
        _pad(keys, table, positions, pads)
        best, block = _search(keys, n, stage, low, x, z, table, pads, highs, binomials)
        store(keys, state, best)
        store(keys, state + 1, block)
        for lane in range(count):
            r = rows[lane]
            if not solved[r] and (eps < 0 or peek(keys, state, lane) <= eps):
                masks[r] = _decode(keys, n, stage, low, lane, x, z, table, state, low_masks, binomials)
                solved[r] = True


@_jit
def _prepare(n: int, largest: int, index: Ints) -> Ints:
    """Fill the tables that all rows share; returns the room for the queues."""
    n2, n3 = n * (n - 1) // 2, (n * (n - 1) * (n - 2) // 6 if largest > 4 else 0)
    tables = n + n2 + n3
    end = tables + (n + 1) * _BINOMIALS
    _fill_tables(n, largest, index[:n], index[n : n + n2], index[n + n2 : tables], index[tables:end])
    return index[end + LARGEST + 1 :]


@_jit
def short_sums(
    items: Ints, targets: Ints, eps: int, largest: int, masks: Ints, solved: Flags, keys: Keys, index: Ints
) -> None:
    """The smallest subset within `eps` of up to `largest` <= 7 items; ties: least error, then smallest mask.

    A row out of reach by more than `eps` is answered at once by all its positive, or all its negative, items, and
    counts as solved. With eps < 0 nothing is within eps and only rows out of reach are solved. Scratch: `keys` of
    scratch_elements(n, largest), int32 only where `fits_int32`, and `index` of index_elements(n, largest).
    """
    batch, n = items.shape
    lanes = width(rows_of(keys))
    queues = _prepare(n, largest, index)
    counts, queues = queues[: LARGEST + 1], queues[LARGEST + 1 :]
    counts[:] = 0
    for r in range(batch + 1):
        last = r == batch
        if not last:
            solved[r] = _triage(items, targets, r, eps, masks)
            if solved[r] or eps < 0:
                continue
            queues[2 * _QUEUE + counts[2]] = r
            counts[2] += 1
        for size in range(2, max(largest, 2) + 1):
            while counts[size] >= lanes or (last and counts[size] > 0):
                count = min(counts[size], lanes)
                counts[size] -= count
                rows = queues[size * _QUEUE + counts[size] :][:count]
                _run(items, targets, eps, size, rows, count, masks, solved, keys, index, largest)
                if size < largest:
                    for lane in range(count):
                        if not solved[rows[lane]]:
                            queues[(size + 1) * _QUEUE + counts[size + 1]] = rows[lane]
                            counts[size + 1] += 1


@_jit
def fixed_short(items: Ints, targets: Ints, size: int, masks: Ints, done: Flags, keys: Keys, index: Ints) -> None:
    """The subset of exactly `size` items, 1 to 7, of least error, smallest mask first; rows with a zero item stay.

    The way of `fixed_size` in the kernels by size classes that suits small sizes, and keeps to the rule of ties.
    Scratch as in `short_sums` with largest = size; `keys` int32 only where `fits_int32`.
    """
    batch, n = items.shape
    queue = _prepare(n, size, index)
    count = 0
    for r in range(batch + 1):
        if r < batch:
            done[r] = False
            masks[r] = 0
            zero = size > n
            for i in range(n):
                zero = zero or items[r, i] == 0
            if zero:
                continue
            queue[count] = r
            count += 1
        if count == width(rows_of(keys)) or (r == batch and count > 0):
            _run(items, targets, -1, size, queue, count, masks, done, keys, index, size)
            count = 0
