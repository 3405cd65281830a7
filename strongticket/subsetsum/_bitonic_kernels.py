"""Compiled kernel of the exact minimum: a mirror-symmetric bitonic meet in the middle, one instance per vector lane.

The subset problem is turned into a sign problem: with a_i = 2|x_i| and T = 2(2z - sum x) + 1, choosing signs e_i so
that sum e_i a_i is nearest to T is choosing the subset {i : e_i = sign(x_i)} nearest to z. The signed sums of half the
items are symmetric about 0, so only their sorted upper half is kept. All sums A of the first half are even and all
B' = T - (sum of the second half) are odd: in the sorted union the best pair are neighbours of odd difference, which is
|4E + 1| for the error E = z - (chosen sum).

Sorting is cleaning of bitonic lists: compare-exchanges at strides 2^(s-1), ..., 2, 1 over rows of 2^s. A *pass* does up
to four of these stages on sixteen rows in registers. The first pass makes the list while cleaning it, the last pass of
the final list looks at neighbours instead of storing them, and passes go depth first, so that a block stays in the
nearest cache until it is done. One unused row after every sixteen keeps strided rows out of one another's cache sets.

The dtype of `scratch` chooses the keys: int32 (sixteen instances side by side) or int64 (eight).
"""
# numba has no types: its decorators are untyped.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from strongticket.subsetsum._lanes import (
    absolute,
    add,
    any_equal,
    both,
    clean,
    clean_rows,
    column,
    differing,
    either,
    fill,
    halved,
    larger,
    least,
    less,
    load,
    lower,
    negate,
    numbers,
    odd,
    odd_first,
    peek,
    pick,
    poke,
    put_cleaned,
    rows_of,
    select,
    skip,
    smaller,
    store,
    subtract,
    upper,
    width,
)

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.int32] | npt.NDArray[np.int64]

SMALLEST, LARGEST = 8, 34
"""Numbers of items that the kernels accept: four in each half at least, 2^17 signed sums of a half at most."""

_LANES_DIGEST = "1139ea8cdf21"
"""Start of the SHA-256 of _lanes.py. numba's cache on disk notices a change of this file but not of that one, which is
compiled into it: so a change there must be noted here, and a test insists."""

_SMALL_ROWS = 32  # rows of scratch besides the lists and the items

# By stages left: equal shares, the last pass having four. Wide passes have three at most, as sixteen streams of rows at
# powers of two are more than a cache takes (a fifth slower at n = 30).
_RADIX = np.array([0] * 5 + [min((s - 4) // ((s - 1) // 4), 3 if s > 8 else 4) for s in range(5, LARGEST // 2 + 2)])

_jit = numba.njit(nogil=True, cache=True)
_inline = numba.njit(nogil=True, forceinline=True)


def scratch_elements(n: int, itemsize: int = 4) -> int:
    """Number of elements of scratch that the kernels need for `n` items; fastest where it starts on a 64-byte line."""
    half = 1 << (n // 2 - 1)
    rows = 2 * (half + half // 16) + 4 * half + half // 4 + n + _SMALL_ROWS
    return rows * 64 // itemsize


@_inline
def _at(row: int) -> int:
    """Where a row of a list lies: one row in seventeen is unused."""
    return row + (row >> 4)


@_inline
def _radix(left: int) -> int:
    """Stages of the next pass, of `left` > 4 stages to go."""
    return int(_RADIX[left])


# --- Cleaning ---------------------------------------------------------------------------------------------------------


@_jit
def _pass(w: Any, row: int, left: int) -> None:
    """The next stages of one bitonic block of 2^left rows of list `w`, from `row` on."""
    r = _radix(left)
    rows = 1 << (left - r)
    step, base = _at(rows), _at(row)
    if r == 4:  # then left = 8: literal strides, for which addresses need no registers
        for i in range(16):
            clean_rows(w, base + i, 17, 16)
    elif r == 3:
        for i in range(rows):
            clean_rows(w, base + _at(i), step, 8)
    elif r == 2:
        for i in range(rows):
            clean_rows(w, base + _at(i), step, 4)
    else:
        for i in range(rows):
            clean_rows(w, base + _at(i), step, 2)


@_inline
def _descend(w: Any, row: int, left: int) -> None:
    """All passes but the last of the blocks that start at `row`, the largest of which has 2^left rows."""
    while left > 4:
        if row & ((1 << left) - 1) == 0:
            _pass(w, row, left)
        left -= _radix(left)


@_inline
def _tile(left: int) -> int:
    """Rows that `_descend` prepares for the last pass at a time."""
    while left > 8:
        left -= _radix(left)
    return 1 << left if left > 4 else 256


@_jit
def _finish(w: Any, rows: int, left: int) -> None:
    """Sort `rows` rows that consist of bitonic blocks of 2^left rows in order."""
    tile = min(_tile(left), rows)
    for row in range(0, rows, tile):
        _descend(w, row, left)
        for i in range(row >> 4, (row + tile) >> 4):
            clean_rows(w, 17 * i, 1, 16)


# --- Sorted sums of a half --------------------------------------------------------------------------------------------


@_inline
def _grown(mirrored: Any, u: Any, a: Any) -> tuple[Any, Any]:
    """First stage when an item joins a list of m sums u: reversed u + a falls, |u - a| falls and rises.

    On rows i, i + s, i + 2 s, ... of both; `mirrored` are the rows of u that meet those of `u`, from the bottom up.
    u_(m-1-i) >= u_i for i < m/2, so in half of the rows it is known which is larger.
    """
    falling, rest = add(mirrored[::-1], a), absolute(subtract(u, a))
    low = lower(rest) + smaller(upper(falling), upper(rest))
    high = lower(falling) + larger(upper(falling), upper(rest))
    return low, high


@_inline
def _put_grown(u: Any, i: int, step: int, grown: Any) -> None:
    low, high = grown
    put_cleaned(u, i, step, low)
    put_cleaned(u, i + len(low) * step, step, high)


@_inline
def _grow(u: Any, a: Any, left: int) -> None:
    """First pass of the 2^left rows (reversed u + a, |u - a|), in the place of u and the rows behind it.

    Rows i + k s and s - 1 - i + k s meet each other only, so both are read before both are written.
    """
    r = _radix(left)
    rows = 1 << (left - r)
    step = _at(rows)
    for i in range(rows >> 1):
        low, high = _at(i), _at(rows - 1 - i)
        if r == 4:
            low8, high8 = column(u, low, step, 8), column(u, high, step, 8)
            _put_grown(u, low, step, _grown(high8, low8, a))
            _put_grown(u, high, step, _grown(low8, high8, a))
        elif r == 3:
            low4, high4 = column(u, low, step, 4), column(u, high, step, 4)
            _put_grown(u, low, step, _grown(high4, low4, a))
            _put_grown(u, high, step, _grown(low4, high4, a))
        elif r == 2:
            low2, high2 = column(u, low, step, 2), column(u, high, step, 2)
            _put_grown(u, low, step, _grown(high2, low2, a))
            _put_grown(u, high, step, _grown(low2, high2, a))
        else:  # u_high >= u_low
            low1, high1 = load(u, low), load(u, high)
            store(u, low, absolute(subtract(low1, a)))
            store(u, low + step, add(high1, a))
            put_cleaned(u, high, step, (absolute(subtract(high1, a)), add(low1, a)))


@_jit
def _half_sums(a: Any, h: int, u: Any) -> None:
    """Sorted upper half of the signed sums of the `h` rows of `a`, into `u`."""
    p, q = load(a, 0), load(a, 1)
    two = (absolute(subtract(p, q)), add(p, q))
    low2, high2 = _grown(two, two, load(a, 2))
    four = clean(low2) + clean(high2)
    grown4 = _grown(four, four, load(a, 3))
    if h == 4:
        _put_grown(u, 0, 1, grown4)
        return
    eight = clean(grown4[0]) + clean(grown4[1])
    _put_grown(u, 0, 1, _grown(eight, eight, load(a, 4)))
    for i in range(5, h):
        _grow(u, load(a, i), i)
        _finish(u, 1 << i, i - _radix(i))


# --- The best pair ----------------------------------------------------------------------------------------------------


@_inline
def _put_joined(w: Any, low: int, high: int, step: int, t: Any, u: Any, u_high: Any, v: Any, v_high: Any) -> None:
    """First stages on every s-th row of (-reversed u, u), ascending, followed by (t + reversed v, t - v), descending.

    On rows i + k s and on rows s - 1 - i + k s, at the addresses `low` and `high`; both need the same rows of u and v.
    """
    put_cleaned(w, low, step, negate(u_high[::-1]) + u + add(v_high[::-1], t) + subtract(t, v))
    put_cleaned(w, high, step, negate(u[::-1]) + u_high + add(v[::-1], t) + subtract(t, v_high))


@_jit
def _join(u: Any, v: Any, t: Any, w: Any, left: int) -> None:
    """First pass of the 2^left rows of both sorted lists: made, cleaned and written to `w`."""
    r = _radix(left)
    rows = 1 << (left - r)
    step = _at(rows)
    for i in range(rows >> 1):
        low, high = _at(i), _at(rows - 1 - i)
        if r == 4:
            u4, u4_high = column(u, low, step, 4), column(u, high, step, 4)
            v4, v4_high = column(v, low, step, 4), column(v, high, step, 4)
            _put_joined(w, low, high, step, t, u4, u4_high, v4, v4_high)
        elif r == 3:
            u2, u2_high = column(u, low, step, 2), column(u, high, step, 2)
            v2, v2_high = column(v, low, step, 2), column(v, high, step, 2)
            _put_joined(w, low, high, step, t, u2, u2_high, v2, v2_high)
        elif r == 2:
            u1, u1_high = column(u, low, step, 1), column(u, high, step, 1)
            v1, v1_high = column(v, low, step, 1), column(v, high, step, 1)
            _put_joined(w, low, high, step, t, u1, u1_high, v1, v1_high)
        else:
            far, half = (rows >> 1) - 1 - i, rows >> 1
            put_cleaned(w, i, step, (negate(load(u, far)), add(load(v, far), t)))
            put_cleaned(w, half + i, step, (load(u, i), subtract(t, load(v, i))))


@_inline
def _neighbour_keys(previous: Any, group: Any) -> Any:
    """Differences of neighbours in a column that follows `previous`, odd ones below all even ones."""
    return odd_first(subtract(group, (previous, *group[:-1])))


@_jit
def _best_pair(w: Any, rows: int, left: int, small: Any) -> Any:
    """Key of the smallest odd difference of neighbours in the sorted list, and the left neighbour, per lane.

    The last pass is done in registers and not stored: only the number of the best group of sixteen rows is kept, whose
    rows are gathered and sorted again to find the pair. The first row is its own left neighbour: an even difference.
    """
    tile = min(_tile(left), rows)
    _descend(w, 0, left)
    previous = least(column(w, 0, 1, 16))
    best = place = fill(w, 0)
    before = previous
    for row in range(0, rows, tile):
        if row > 0:
            _descend(w, row, left)
        for i in range(row >> 4, (row + tile) >> 4):
            group = clean(column(w, 17 * i, 1, 16))
            nearest = least(_neighbour_keys(previous, group))
            better = less(nearest, best)
            best, before = smaller(nearest, best), select(better, previous, before)
            place = select(better, fill(w, i), place)
            previous = group[15]
    store(small, 16, place)
    for lane in range(width(w)):
        first = 17 * peek(small, 16, lane)
        for k in range(16):
            poke(small, k, lane, peek(w, first + k, lane))
    group = clean(column(small, 0, 1, 16))
    return best, pick(_neighbour_keys(before, group), best, (before, *group[:-1]))


# --- From the best pair to the subset ---------------------------------------------------------------------------------


@_jit
def _sign_pattern(a: Any, h: int, wanted: Any, table: Any) -> Any:
    """Bits b with sum of (2 b_i - 1) a_i equal to `wanted`, for the `h` rows of `a`.

    Eight sums of the first four items, up to their common sign, stay in registers; the sums of the others are a table.
    """
    a1, a2, a3 = load(a, 1), load(a, 2), load(a, 3)
    one = (load(a, 0),)
    two = subtract(one, a1) + add(one, a1)
    four = subtract(two, a2) + add(two, a2)
    eight = subtract(four, a3) + add(four, a3)
    lowest = fill(a, 0)
    for i in range(4, h):
        lowest = subtract(lowest, load(a, i))
    store(table, 0, lowest)
    size = 1
    for i in range(4, h):
        twice = add(load(a, i), load(a, i))
        for j in range(size):
            store(table, size + j, add(load(table, j), twice))
        size *= 2
    magnitudes = absolute(eight)
    rest = high = fill(a, 0)
    for j in range(size):
        left = subtract(wanted, load(table, j))
        hit = any_equal(magnitudes, absolute(left))
        rest, high = select(hit, left, rest), select(hit, fill(a, 16 * j), high)
    return add(high, _low_pattern(a, eight, rest))


@_inline
def _low_pattern(a: Any, eight: Any, rest: Any) -> Any:
    """Signs of the first four items: odd numbers stand for the entries of `eight`, their complements for -entries."""
    patterns = numbers(a, 1, 2, 8)
    opposite = subtract(fill(a, 15), pick(eight, negate(rest), patterns))
    return select(any_equal(eight, rest), pick(eight, rest, patterns), opposite)


# --- Instances in and masks out ---------------------------------------------------------------------------------------

# Rows of the small room: sixteen of a group, and those below.
_TARGET, _NEGATIVE, _USED, _SIGNS = 17, 18, 21, 24  # the last three: first half, second half, item out


@_inline
def _own_signs(a: Any, first: int, count: int, small: Any, part: int) -> Any:
    """Replace `count` rows x by 2|x|, note which are negative and which not zero; returns sums of x and of |x|."""
    zero = fill(a, 0)
    total = reach = negative = used = zero
    for i in range(count):
        x = load(a, first + i)
        size, bit = absolute(x), fill(a, 1 << i)
        total, reach = add(total, x), add(reach, size)
        negative = either(negative, select(less(x, zero), bit, zero))
        used = either(used, select(less(zero, size), bit, zero))
        store(a, first + i, add(size, size))
    store(small, _NEGATIVE + part, negative)
    store(small, _USED + part, used)
    return total, reach


@_jit
def _pose(a: Any, n: int, small: Any) -> None:
    """Items x become 2|x|; the target z becomes T = 2 (2 z - sum x) + 1, clamped to one beyond reach.

    Beyond reach all targets have the same nearest subset. z is clamped before, so that T does not overflow.
    """
    h = n // 2
    total_a, reach_a = _own_signs(a, 0, h, small, 0)
    total_b, reach_b = _own_signs(a, h, h, small, 1)
    total_c, reach_c = _own_signs(a, 2 * h, n & 1, small, 2)
    total, reach = add(add(total_a, total_b), total_c), add(add(reach_a, reach_b), reach_c)
    one = fill(a, 1)
    lowest, highest = subtract(halved(subtract(total, reach)), one), add(halved(add(total, reach)), one)
    z = smaller(larger(load(small, _TARGET), lowest), highest)
    t = subtract(add(z, z), total)
    edge = add(add(reach, reach), one)
    store(small, _TARGET, smaller(larger(add(add(t, t), one), negate(edge)), edge))


@_jit
def _search(a: Any, n: int, u: Any, v: Any, w: Any, small: Any) -> None:
    """Signs of the sums nearest to the target row, as rows of the small room."""
    h = n // 2
    stages = h + 1
    t = load(small, _TARGET)
    best = before = nearest = last = fill(a, 0)
    for sign in range(1 + (n & 1)):  # an odd item out takes either sign
        shifted = t
        if n & 1:
            shifted = subtract(t, load(a, n - 1)) if sign else add(t, load(a, n - 1))
        _join(u, v, shifted, w, stages)
        key, neighbour = _best_pair(w, 1 << stages, stages - _radix(stages), small)
        better = less(key, best)
        best, before = smaller(key, best), select(better, neighbour, before)
        nearest, last = select(better, shifted, nearest), select(better, fill(a, sign), last)
    after = add(before, add(add(best, best), fill(a, 1)))  # a key turned left by one bit is the difference
    swapped = odd(before)
    store(small, _SIGNS, _sign_pattern(a, h, select(swapped, after, before), w))
    store(small, _SIGNS + 1, _sign_pattern(skip(a, h), h, subtract(nearest, select(swapped, before, after)), w))
    store(small, _SIGNS + 2, last)


@_inline
def _write_masks(masks: Ints, first: int, n: int, small: Any) -> None:
    """Items whose sign is their own; a zero item is in no subset."""
    for part in range(3):
        own = differing(load(small, _SIGNS + part), load(small, _NEGATIVE + part))
        store(small, _SIGNS + part, both(own, load(small, _USED + part)))
    h = n // 2
    for lane in range(min(width(small), len(masks) - first)):
        high = peek(small, _SIGNS + 1, lane) | (peek(small, _SIGNS + 2, lane) << h)
        masks[first + lane] = peek(small, _SIGNS, lane) | (high << h)


@_inline
def _read_target(target: int, small: Any, lane: int) -> None:
    limit = 1 << (29 if width(small) == 16 else 61)  # beyond every reach: it need only fit the lane
    poke(small, _TARGET, lane, min(max(target, -limit), limit))


@_inline
def _rooms(scratch: Keys, n: int) -> Any:
    """Parts of the scratch: lists of both halves, list of their pairs, items, and a few rows more."""
    u = rows_of(scratch)
    half, pairs = _at(1 << (n // 2 - 1)), _at(2 << (n // 2))
    if n < SMALLEST or n > LARGEST or len(scratch) < (2 * half + pairs + n + _SMALL_ROWS) * width(u):
        raise ValueError("expected 8 to 34 items and as much scratch as scratch_elements says")
    w = skip(u, 2 * half)
    a = skip(w, pairs)
    return u, skip(u, half), w, a, skip(a, n)


@_jit
def minimum(items: Ints, targets: Ints, masks: Ints, scratch: Keys) -> None:
    """Write the subset of least error of every row of `items` [batch, n] to `masks`.

    n = 8..34; 4 sum |x| + 1 < 2^30 in every row with int32 scratch, < 2^62 with int64 scratch.
    """
    batch, n = items.shape
    h = n // 2
    u, v, w, a, small = _rooms(scratch, n)
    for first in range(0, batch, width(a)):
        for lane in range(width(a)):
            row = min(first + lane, batch - 1)  # a short last block repeats its last instance
            _read_target(targets[row], small, lane)
            for i in range(n):
                poke(a, i, lane, items[row, i])
        _pose(a, n, small)
        _half_sums(a, h, u)
        _half_sums(skip(a, h), h, v)
        _search(a, n, u, v, w, small)
        _write_masks(masks, first, n, small)


@_jit
def minimum_shared(items: Ints, targets: Ints, masks: Ints, scratch: Keys) -> None:
    """The same for one pool of `items` [n] and many targets: the sums of its halves are sorted once."""
    batch, n = len(targets), len(items)
    h = n // 2
    u, v, w, a, small = _rooms(scratch, n)
    for first in range(0, batch, width(a)):
        for lane in range(width(a)):
            _read_target(targets[min(first + lane, batch - 1)], small, lane)
        for i in range(n):
            store(a, i, fill(a, items[i]))
        _pose(a, n, small)
        if first == 0:
            _half_sums(a, h, u)
            _half_sums(skip(a, h), h, v)
        _search(a, n, u, v, w, small)
        _write_masks(masks, first, n, small)


@_jit
def max_reach(items: Ints) -> int:
    """Largest sum of |items| of a row of [batch, n]: int32 keys fit where 4 max_reach + 1 < 2^30."""
    most = 0
    for row in range(items.shape[0]):
        reach = 0
        for i in range(items.shape[1]):
            reach += abs(items[row, i])
        most = max(most, reach)
    return most
