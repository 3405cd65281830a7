"""Compiled kernels of the searches that are not the bitonic one: enumeration, short sums, two pointers, size classes.

Each works on one instance at a time and writes masks only; errors are recomputed by the caller from the masks.
"""
# numba has no types: its decorators are untyped.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_FAR = (1 << 63) - 1

_jit = numba.njit(nogil=True, cache=True)


@_jit
def _popcount(bits: int) -> int:
    count = 0
    while bits:
        bits &= bits - 1
        count += 1
    return count


@_jit
def enumerate_all(items: Ints, targets: Ints, eps: int, sparsest: bool, masks: Ints, scratch: Ints) -> None:
    """All 2^n subsets (scratch: 2^n sums). Ties: smallest error, then size, then mask; sparsest puts the size first."""
    batch, n = items.shape
    for r in range(batch):
        scratch[0] = 0
        for i in range(n):
            for m in range(1 << i):
                scratch[(1 << i) + m] = scratch[m] + items[r, i]
        best, best_size, best_error, best_hit = 0, 0, abs(targets[r]), abs(targets[r]) <= eps
        for m in range(1, 1 << n):
            error = abs(targets[r] - scratch[m])
            hit = error <= eps
            if sparsest and hit != best_hit:
                better = hit
            elif sparsest and hit:
                size = _popcount(m)
                better = size < best_size or (size == best_size and error < best_error)
            else:
                better = error < best_error or (error == best_error and _popcount(m) < best_size)
            if better:
                best, best_size, best_error, best_hit = m, _popcount(m), error, hit
        masks[r] = best


@_jit
def _nearest(table: Ints, start: int, wanted: int) -> int:
    """Least |wanted - table[q]| over q >= start."""
    best = _FAR
    part = table[start:]
    for q in range(len(part)):
        best = min(best, abs(wanted - part[q]))
    return best


@_jit
def _where(table: Ints, start: int, wanted: int, error: int) -> int:
    for q in range(start, len(table)):
        if abs(wanted - table[q]) == error:
            return q
    return -1


@_jit
def short_sums(items: Ints, targets: Ints, eps: int, masks: Ints, solved: Flags) -> None:
    """The smallest subset of at most four items within `eps`, of least error among its size.

    Pairs i < j lie in lexicographic order, so "disjoint and later" is a contiguous suffix of the table: every subset
    of four appears once, and the inner loop is a vector minimum. A row out of reach by more than `eps` is answered
    at once by all its positive, or all its negative, items. Rows with no such subset stay unsolved.
    """
    batch, n = items.shape
    count = n * (n - 1) // 2
    pairs = np.empty(count, np.int64)
    first, second = np.empty(count, np.int64), np.empty(count, np.int64)
    after = np.empty(n + 1, np.int64)  # start of the pairs whose first item is >= r
    q = 0
    for i in range(n):
        after[i] = q
        for j in range(i + 1, n):
            first[q], second[q] = i, j
            q += 1
    after[n] = q
    for r in range(batch):
        x, z = items[r], targets[r]
        solved[r] = True
        masks[r] = 0
        if abs(z) <= eps:
            continue
        low, high = 0, 0
        for i in range(n):
            low += min(x[i], 0)
            high += max(x[i], 0)
        side = 1 if z - high > eps else (-1 if low - z > eps else 0)  # eps may be -1: nothing counts as a hit
        if side != 0:
            for i in range(n):
                if side * x[i] > 0:
                    masks[r] |= 1 << i
            continue
        error = _nearest(x, 0, z)
        if error <= eps:
            masks[r] = 1 << _where(x, 0, z, error)
            continue
        q = 0
        for i in range(n):
            for j in range(i + 1, n):
                pairs[q] = x[i] + x[j]
                q += 1
        error = _nearest(pairs, 0, z)
        if error <= eps:
            q = _where(pairs, 0, z, error)
            masks[r] = (1 << first[q]) | (1 << second[q])
            continue
        best, at = _FAR, 0
        for i in range(n - 2):
            error = _nearest(pairs, after[i + 1], z - x[i])
            if error < best:
                best, at = error, i
        if best <= eps:
            q = _where(pairs, after[at + 1], z - x[at], best)
            masks[r] = (1 << at) | (1 << first[q]) | (1 << second[q])
            continue
        best = _FAR
        for p in range(after[max(n - 3, 0)]):
            error = _nearest(pairs, after[second[p] + 1], z - pairs[p])
            if error < best:
                best, at = error, p
        if best <= eps:
            q = _where(pairs, after[second[at] + 1], z - pairs[at], best)
            masks[r] = (1 << first[at]) | (1 << second[at]) | (1 << first[q]) | (1 << second[q])
            continue
        solved[r] = False


@_jit
def _merge_shifted(source: Ints, shift: int, out: Ints) -> None:
    """Merge sorted `source` and `source + shift` into `out`."""
    size = len(source)
    i, j = 0, 0
    for o in range(2 * size):
        if j == size or (i < size and source[i] <= source[j] + shift):
            out[o] = source[i]
            i += 1
        else:
            out[o] = source[j] + shift
            j += 1


@_jit
def _sorted_sums(x: Ints, first: Ints, second: Ints) -> Ints:
    """All subset sums of `x`, ascending; lies in one of the two buffers of 2^len(x)."""
    source, out = first, second
    source[0] = 0
    size = 1
    for i in range(len(x)):
        _merge_shifted(source[:size], x[i], out[: 2 * size])
        source, out = out, source
        size *= 2
    return source[:size]


@_jit
def _pattern(x: Ints, wanted: int, size: int) -> int:
    """A subset of `x` with sum `wanted`, of `size` items unless `size` is negative: a Gray-code walk."""
    total, bits = 0, 0
    if wanted == 0 and size <= 0:
        return 0
    for step in range(1, 1 << len(x)):
        k = 0
        while not (step >> k) & 1:
            k += 1
        bits ^= 1 << k
        total += x[k] if (bits >> k) & 1 else -x[k]
        if total == wanted and (size < 0 or _popcount(bits) == size):
            return bits
    return -1


@_jit
def two_pointers(items: Ints, targets: Ints, masks: Ints, scratch: Ints) -> None:
    """The subset of least error by sorted halves and two pointers; scratch: 4 * 2^ceil(n/2). Little memory, any n."""
    batch, n = items.shape
    h = n // 2
    room = 1 << (n - h)
    for r in range(batch):
        x, z = items[r], targets[r]
        a = _sorted_sums(x[:h], scratch[:room], scratch[room : 2 * room])
        b = _sorted_sums(x[h:], scratch[2 * room : 3 * room], scratch[3 * room : 4 * room])
        i, j = 0, len(b) - 1
        best, best_a, best_b = _FAR, 0, 0
        while i < len(a) and j >= 0:
            rest = z - a[i] - b[j]
            if abs(rest) < best:
                best, best_a, best_b = abs(rest), a[i], b[j]
            if rest > 0:
                i += 1
            else:
                j -= 1
        masks[r] = _pattern(x[:h], best_a, -1) | (_pattern(x[h:], best_b, -1) << h)


@_jit
def _class_sums(x: Ints, first: Ints, second: Ints, starts: Ints, shadow: Ints) -> Ints:
    """Subset sums of `x` class by class of subset size, each class ascending, class k at starts[k]:starts[k + 1].

    With item x, class k becomes the merge of class k and class k - 1 shifted by x.
    """
    source, out = first, second
    source[0] = 0
    starts[0], starts[1] = 0, 1
    for m in range(len(x)):
        for k in range(m + 2):
            shadow[k] = starts[k]
        shadow[m + 2] = shadow[m + 1]
        o = 0
        for k in range(m + 2):
            i, i_end = shadow[k], shadow[k + 1]
            j = shadow[k - 1] if k else 0
            j_end = shadow[k] if k else 0
            starts[k] = o
            while i < i_end or j < j_end:
                if j == j_end or (i < i_end and source[i] <= source[j] + x[m]):
                    out[o] = source[i]
                    i += 1
                else:
                    out[o] = source[j] + x[m]
                    j += 1
                o += 1
        starts[m + 2] = o
        source, out = out, source
    return source


@_jit
def size_classes(items: Ints, targets: Ints, eps: int, masks: Ints, scratch: Ints) -> None:
    """The sparsest subset within `eps`, else the subset of least error; scratch: 4 * 2^ceil(n/2) + 4 (n + 3).

    Sizes are tried in ascending order; every pair of size classes of the two halves is searched with two pointers.
    """
    batch, n = items.shape
    h = n // 2
    room = 1 << (n - h)
    spare = scratch[4 * room :]
    starts_a, starts_b, shadow = spare[: n + 3], spare[n + 3 : 2 * n + 6], spare[2 * n + 6 : 3 * n + 9]
    for r in range(batch):
        x, z = items[r], targets[r]
        a = _class_sums(x[:h], scratch[:room], scratch[room : 2 * room], starts_a, shadow)
        b = _class_sums(x[h:], scratch[2 * room : 3 * room], scratch[3 * room : 4 * room], starts_b, shadow)
        best, best_a, best_b, best_i, best_j = _FAR, 0, 0, 0, 0
        for size in range(n + 1):
            for ka in range(max(0, size - (n - h)), min(h, size) + 1):
                kb = size - ka
                i, i_end = starts_a[ka], starts_a[ka + 1]
                j, j_end = starts_b[kb + 1] - 1, starts_b[kb]
                while i < i_end and j >= j_end:
                    rest = z - a[i] - b[j]
                    if abs(rest) < best:
                        best, best_a, best_b, best_i, best_j = abs(rest), a[i], b[j], ka, kb
                    if rest > 0:
                        i += 1
                    else:
                        j -= 1
            if best <= eps:
                break
        masks[r] = _pattern(x[:h], best_a, best_i) | (_pattern(x[h:], best_b, best_j) << h)
