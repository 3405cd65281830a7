"""Compiled kernels of the exact minimum without vectors, for any processor: enumeration, hash join, two pointers.

Each works on one row at a time and writes masks only; errors are recomputed by the caller from the masks.
"""
# numba has no types: its decorators are untyped.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_FAR = (1 << 63) - 1
_END = 1 << 62
_EXPECTED = 6.0  # subsets within the first window, were the sums normal
_WIDENING = 3  # bits by which a window that missed grows
_WINDOWS = 3
_WIDEST = 59
_SPACIOUS = 5  # buckets are 2^5 times as many as sums
_VISITS = 8  # pairs compared per sum before the join gives up: sums are clustered

_jit = numba.njit(nogil=True, cache=True)


@_jit
def _popcount(bits: int) -> int:
    count = 0
    while bits:
        bits &= bits - 1
        count += 1
    return count


@_jit
def enumerate_all(
    items: Ints, targets: Ints, eps: int, size: int, sparsest: bool, masks: Ints, exists: Flags, scratch: Ints
) -> None:
    """All 2^n subsets; scratch: 2^n. For every objective, by the rule of ties and without zero items.

    `size` >= 0 allows only subsets of so many nonzero items, and `exists` says whether there are any. `sparsest` puts
    the size before the error where the error is within `eps`. Ties: smallest error, then size, then mask.
    """
    batch, n = items.shape
    for r in range(batch):
        zeros = 0
        for i in range(n):
            zeros |= (1 << i) if items[r, i] == 0 else 0
        scratch[0] = 0
        for i in range(n):
            for m in range(1 << i):
                scratch[(1 << i) + m] = scratch[m] + items[r, i]
        best, best_size, best_error, best_hit = 0, 0, _FAR, False
        exists[r] = False
        for m in range(1 << n):
            if m & zeros or (size >= 0 and _popcount(m) != size):
                continue
            error = abs(targets[r] - scratch[m])
            hit = sparsest and error <= eps
            if hit != best_hit:
                better = hit
            elif error == best_error or hit:
                here = _popcount(m)
                better = here < best_size or (here == best_size and error < best_error)
            else:
                better = error < best_error
            if better or not exists[r]:
                best, best_size, best_error, best_hit = m, _popcount(m), error, hit
                exists[r] = True
        masks[r] = best


@_jit
def _clamp(items: Ints, r: int, target: int) -> tuple[int, int]:
    """-1 or 1 where all negative or all positive items are nearest to the target, else 0; and their mask."""
    low, high, negative, positive = 0, 0, 0, 0
    for i in range(items.shape[1]):
        x = items[r, i]
        low += min(x, 0)
        high += max(x, 0)
        negative |= (1 if x < 0 else 0) << i
        positive |= (1 if x > 0 else 0) << i
    if target >= high:
        return 1, positive
    if target <= low:
        return -1, negative
    return 0, 0


@_jit
def settle_ends(items: Ints, targets: Ints, masks: Ints, settled: Flags) -> int:
    """Answer the rows whose target lies at or beyond an end of their reach; returns how many there are.

    All positive items (or all negative ones) then are the one subset of least error.
    """
    count = 0
    for r in range(len(targets)):
        side, mask = _clamp(items, r, targets[r])
        settled[r] = side != 0
        if side != 0:
            masks[r] = mask
            count += 1
    return count


@_jit
def _merge_shifted(source: Ints, size: int, shift: int, out: Ints) -> None:
    """Merge sorted `source` and `source + shift` into `out`, from both ends: two chains without a branch on data.

    The slots before and behind `size` sums are guards. Sums start at index 1.
    """
    one = np.uint64(1)
    source[0], source[size + 1] = -_END, _END
    i, j, p = one, one, one
    k, m, q = np.uint64(size), np.uint64(size), np.uint64(2 * size)
    for _ in range(size):
        x, y = source[i], source[j] + shift
        out[p] = min(x, y)
        step = np.uint64(x <= y)
        i, j, p = i + step, j + (one - step), p + one
        x, y = source[k], source[m] + shift
        out[q] = max(x, y)
        step = np.uint64(y >= x)
        m, k, q = m - step, k - (one - step), q - one


@_jit
def _sorted_sums(items: Ints, r: int, first: int, stop: int, table: Ints, other: Ints) -> bool:
    """All subset sums of items first:stop, ascending from index 1 between guards; True if they end up in `other`."""
    table[1] = 0
    size, swapped = 1, False
    for i in range(first, stop):
        if swapped:
            _merge_shifted(other, size, items[r, i], table)
        else:
            _merge_shifted(table, size, items[r, i], other)
        swapped = not swapped
        size *= 2
    out = other if swapped else table
    out[0], out[size + 1] = -_END, _END
    return swapped


@_jit
def _pattern(items: Ints, r: int, first: int, stop: int, wanted: int, table: Ints) -> int:
    """A subset of items first:stop with sum `wanted`: sums of 2^k patterns at a time, then where among them."""
    low = min(stop - first, 6)
    table[0] = 0
    for i in range(low):
        for m in range(1 << i):
            table[(1 << i) + m] = table[m] + items[r, first + i]
    size = 1 << low
    offset = 0
    for high in range(1 << (stop - first - low)):
        if high > 0:  # counting up by one: clear the trailing ones, set the next bit
            changed, k = high ^ (high - 1), first + low
            while changed > 1:
                offset -= items[r, k]
                changed >>= 1
                k += 1
            offset += items[r, k]
        rest = wanted - offset
        hits = 0
        for m in range(size):
            hits += 1 if table[m] == rest else 0
        if hits:
            m = 0
            while table[m] != rest:
                m += 1
            return high * size + m
    return -1


def pointer_elements(n: int) -> int:
    """Number of int64 elements of scratch for `two_pointers`."""
    return int(4 * ((1 << (n - n // 2)) + 64))


@_jit
def _walk(items: Ints, r: int, target: int, scratch: Ints) -> int:
    """The subset of least error by sorted halves and two pointers from either corner."""
    n = items.shape[1]
    h = n // 2
    room = len(scratch) // 4
    a, b, spare = scratch[:room], scratch[room : 2 * room], scratch[2 * room : 3 * room]
    if _sorted_sums(items, r, 0, h, a, spare):
        a, spare = spare, a
    last = scratch[3 * room :]
    if _sorted_sums(items, r, h, n, b, last):
        b = last
    size_a, size_b = 1 << h, 1 << (n - h)
    one = np.uint64(1)
    i, j, k, m = one, np.uint64(size_b), np.uint64(size_a), one
    best, best_a, best_b = _FAR, 0, 0
    other, other_a, other_b = _FAR, 0, 0
    for _ in range((size_a + size_b + 1) // 2):
        x, y = a[i], b[j]
        rest = target - x - y
        error = abs(rest)
        best_a, best_b = (x if error < best else best_a), (y if error < best else best_b)
        best = min(best, error)
        step = np.uint64(rest > 0)
        i, j = i + step, j - (one - step)
        x, y = a[k], b[m]
        rest = target - x - y
        error = abs(rest)
        other_a, other_b = (x if error < other else other_a), (y if error < other else other_b)
        other = min(other, error)
        step = np.uint64(rest < 0)
        k, m = k - step, m + (one - step)
    if other < best:
        best_a, best_b = other_a, other_b
    mask: int = _pattern(items, r, 0, h, best_a, spare) | (_pattern(items, r, h, n, best_b, spare) << h)
    return mask


@_jit
def two_pointers(items: Ints, targets: Ints, masks: Ints, scratch: Ints) -> None:
    """The subset of least error by sorted halves and two pointers; scratch: pointer_elements(n). Needs n >= 2."""
    for r in range(len(targets)):
        side, mask = _clamp(items, r, targets[r])
        masks[r] = mask if side else _walk(items, r, targets[r], scratch)


def hash_elements(n: int) -> int:
    """Number of int64 elements of scratch for the sums of `hash_join`."""
    return pointer_elements(n)


def head_elements(n: int) -> int:
    """Number of int32 elements of scratch for the chains and candidates of `hash_join`."""
    return int((1 << (n // 2 + _SPACIOUS)) + 2 * (1 << (n - n // 2)) + 2)


@_jit
def _all_sums(items: Ints, r: int, first: int, stop: int, start: int, sign: int, out: Ints) -> None:
    out[0] = start
    for i in range(first, stop):
        size = 1 << (i - first)
        source, target, x = out[:size], out[size : 2 * size], sign * items[r, i]
        for m in range(size):
            target[m] = source[m] + x


@_jit
def _first_shift(items: Ints, r: int, target: int) -> int:
    """Bits of the window in which a few subsets are expected, were the sums normal."""
    n = items.shape[1]
    mean, variance = 0.0, 0.0
    for i in range(n):
        x = float(items[r, i])
        mean += 0.5 * x
        variance += 0.25 * x * x
    deviation = (float(target) - mean) ** 2 / (2.0 * variance)
    width = _EXPECTED * math.sqrt(2.0 * math.pi * variance) * math.exp(min(deviation, 40.0)) * 2.0**-n
    shift = 1
    while shift < _WIDEST and float(1 << shift) < width:
        shift += 1
    return shift


@_jit
def _join(a: Ints, size_a: int, b: Ints, size_b: int, shift: int, buckets: int, chains: npt.NDArray[np.int32]) -> int:
    """Best pair index i | j * size_a with |a_i - b_j| within half a window; -1: none; -2: too many to look at.

    The heads of the chains must be zero; `_forget` makes them so again, which takes less than clearing them all.
    """
    mask, half = buckets - 1, 1 << (shift - 1)
    heads, follow = chains[:buckets], chains[buckets : buckets + size_a + 1]
    near = chains[buckets + size_a + 1 :]
    for i in range(size_a):
        k = np.uint64((a[i] >> shift) & mask)
        follow[np.uint64(i + 1)] = heads[k]
        heads[k] = np.int32(i + 1)
    count = np.uint64(0)
    for j in range(size_b):
        k = (b[j] - half) >> shift
        near[count] = np.int32(j)
        count += np.uint64((heads[np.uint64(k & mask)] | heads[np.uint64((k + 1) & mask)]) != 0)
    best, at, visits = half + 1, -1, 0
    for c in range(np.int64(count)):
        j = near[c]
        k = (b[j] - half) >> shift
        for bucket in range(k, k + 2):
            i = heads[bucket & mask]
            while i > 0:
                error = abs(a[i - 1] - b[j])
                if error < best:
                    best, at = error, (i - 1) + j * size_a
                i = follow[i]
                visits += 1
        if visits > _VISITS * (size_a + size_b):
            return -2
        if best == 0:
            return at
    return at


@_jit
def _forget(a: Ints, size_a: int, shift: int, buckets: int, chains: npt.NDArray[np.int32]) -> None:
    for i in range(size_a):
        chains[np.uint64((a[i] >> shift) & (buckets - 1))] = 0


@_jit
def hash_join(items: Ints, targets: Ints, masks: Ints, scratch: Ints, chains: npt.NDArray[np.int32]) -> None:
    """The subset of least error: sums of one half hashed by windows, sums of the other looked up. Needs n >= 2.

    Rows whose sums are clustered, and targets so far out that two windows miss, are left to the two pointers. Scratch:
    hash_elements(n) and head_elements(n).
    """
    n = items.shape[1]
    h = n // 2
    size_a, size_b = 1 << h, 1 << (n - h)
    a, b = scratch[:size_a], scratch[size_a : size_a + size_b]
    buckets = 1 << (h + _SPACIOUS)
    chains[:buckets] = 0
    for r in range(len(targets)):
        side, mask = _clamp(items, r, targets[r])
        if side:
            masks[r] = mask
            continue
        _all_sums(items, r, 0, h, 0, 1, a)
        _all_sums(items, r, h, n, targets[r], -1, b)
        shift, at = _first_shift(items, r, targets[r]), -1
        for _ in range(_WINDOWS):
            at = _join(a, size_a, b, size_b, shift, buckets, chains)
            _forget(a, size_a, shift, buckets, chains)
            if at != -1:
                break
            shift = min(shift + _WIDENING, _WIDEST)
        masks[r] = at if at >= 0 else _walk(items, r, targets[r], scratch)
