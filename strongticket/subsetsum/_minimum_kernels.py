"""Compiled kernel of the exact minimum: a bitonic meet in the middle over eight instances side by side.

The subset problem is turned into a sign problem: with a_i = 2|x_i| and T = 2(2z - sum x) + 1, choosing signs e_i so
that sum e_i a_i is nearest to T is choosing the subset {i : e_i = sign(x_i)} nearest to z. The signed sums of half the
items are symmetric about 0, so only their sorted upper half is kept, and all sums of the first half are even while T
minus a sum of the second half is odd: in the merged list the best pair are neighbours whose difference is odd.

Everything lies as [position][lane] with eight lanes of int64, so that each compare-exchange is a minimum and a maximum
of two contiguous rows. The loops are written for the loop vectoriser of LLVM, which explains their shape:

- Where rows are a *constant* distance apart in one array, no alias check is needed, so strides 1, 8 and 64 have their
  own functions with literal offsets and three stages per pass.
- In a loop of constant trip count below 16 LLVM refuses alias checks, so `_scan` takes its trip count from a length.
- Elsewhere loops run over many rows at once, to pay for their alias checks.
"""
# numba has no types: its decorators are untyped.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

LANES = 8
TILE = 512  # elements of a repeated row: 64 positions
_PEAK = 1 << 62

_jit = numba.njit(nogil=True, cache=True)


def scratch_elements(n: int) -> int:
    """Number of int64 elements of scratch that `minimum` needs for `n` items."""
    half = 1 << (n // 2 - 1)
    return 8 * half * LANES + n * LANES + TILE + 256


@_jit
def _pass8_stride1(w: Ints, base: int, groups: int) -> None:
    for g in range(groups):
        v = w[base + g * 64 : base + g * 64 + 64]
        for t in range(8):
            a, b, c, d = v[t], v[t + 8], v[t + 16], v[t + 24]
            e, f, x, y = v[t + 32], v[t + 40], v[t + 48], v[t + 56]
            a, e = min(a, e), max(a, e)
            b, f = min(b, f), max(b, f)
            c, x = min(c, x), max(c, x)
            d, y = min(d, y), max(d, y)
            a, c = min(a, c), max(a, c)
            b, d = min(b, d), max(b, d)
            e, x = min(e, x), max(e, x)
            f, y = min(f, y), max(f, y)
            v[t], v[t + 8] = min(a, b), max(a, b)
            v[t + 16], v[t + 24] = min(c, d), max(c, d)
            v[t + 32], v[t + 40] = min(e, f), max(e, f)
            v[t + 48], v[t + 56] = min(x, y), max(x, y)


@_jit
def _pass8_stride8(w: Ints, base: int, groups: int) -> None:
    for g in range(groups):
        v = w[base + g * 512 : base + g * 512 + 512]
        for t in range(64):
            a, b, c, d = v[t], v[t + 64], v[t + 128], v[t + 192]
            e, f, x, y = v[t + 256], v[t + 320], v[t + 384], v[t + 448]
            a, e = min(a, e), max(a, e)
            b, f = min(b, f), max(b, f)
            c, x = min(c, x), max(c, x)
            d, y = min(d, y), max(d, y)
            a, c = min(a, c), max(a, c)
            b, d = min(b, d), max(b, d)
            e, x = min(e, x), max(e, x)
            f, y = min(f, y), max(f, y)
            v[t], v[t + 64] = min(a, b), max(a, b)
            v[t + 128], v[t + 192] = min(c, d), max(c, d)
            v[t + 256], v[t + 320] = min(e, f), max(e, f)
            v[t + 384], v[t + 448] = min(x, y), max(x, y)


@_jit
def _pass8_stride64(w: Ints, base: int, groups: int) -> None:
    for g in range(groups):
        v = w[base + g * 4096 : base + g * 4096 + 4096]
        for t in range(512):
            a, b, c, d = v[t], v[t + 512], v[t + 1024], v[t + 1536]
            e, f, x, y = v[t + 2048], v[t + 2560], v[t + 3072], v[t + 3584]
            a, e = min(a, e), max(a, e)
            b, f = min(b, f), max(b, f)
            c, x = min(c, x), max(c, x)
            d, y = min(d, y), max(d, y)
            a, c = min(a, c), max(a, c)
            b, d = min(b, d), max(b, d)
            e, x = min(e, x), max(e, x)
            f, y = min(f, y), max(f, y)
            v[t], v[t + 512] = min(a, b), max(a, b)
            v[t + 1024], v[t + 1536] = min(c, d), max(c, d)
            v[t + 2048], v[t + 2560] = min(e, f), max(e, f)
            v[t + 3072], v[t + 3584] = min(x, y), max(x, y)


@_jit
def _pass4(w: Ints, base: int, groups: int, stride: int) -> None:
    for g in range(groups):
        o = base + g * 4 * stride
        p, q = w[o : o + stride], w[o + stride : o + 2 * stride]
        r, s = w[o + 2 * stride : o + 3 * stride], w[o + 3 * stride : o + 4 * stride]
        for t in range(stride):
            a, b, c, d = p[t], q[t], r[t], s[t]
            a, c = min(a, c), max(a, c)
            b, d = min(b, d), max(b, d)
            p[t], q[t] = min(a, b), max(a, b)
            r[t], s[t] = min(c, d), max(c, d)


@_jit
def _pass2(w: Ints, base: int, groups: int, stride: int) -> None:
    for g in range(groups):
        o = base + g * 2 * stride
        p, q = w[o : o + stride], w[o + stride : o + 2 * stride]
        for t in range(stride):
            a, b = p[t], q[t]
            p[t], q[t] = min(a, b), max(a, b)


@_jit
def _wide_stages(w: Ints, total: int, size: int) -> int:
    """Stages of blocks larger than 512 rows, over the whole list; returns the block size that is left."""
    while size > 512:
        if size >= 2048:
            _pass4(w, 0, total // size, size * 2)
            size //= 4
        else:
            _pass2(w, 0, total // size, size * 4)
            size //= 2
    return size


@_jit
def _narrow_stages(w: Ints, base: int, total: int, size: int) -> int:
    """Stages of blocks of at most 512 rows (32 KB, the first-level cache) down to blocks of 8 rows."""
    if size == 512:
        _pass8_stride64(w, base, total // 512)
        size = 64
    elif size == 256:
        _pass4(w, base, total // 256, 512)
        size = 64
    elif size == 128:
        _pass2(w, base, total // 128, 512)
        size = 64
    if size == 64:
        _pass8_stride8(w, base, total // 64)
        size = 8
    elif size == 32:
        _pass4(w, base, total // 32, 64)
        size = 8
    elif size == 16:
        _pass2(w, base, total // 16, 64)
        size = 8
    return size


@_jit
def _clean(w: Ints, total: int, size: int) -> None:
    """Sort `total` rows that consist of bitonic blocks of `size` rows, the blocks being in order."""
    size = _wide_stages(w, total, size)
    step = min(total, 512)
    for row in range(0, total, step):
        left = _narrow_stages(w, row * LANES, step, size)
        if left == 8:
            _pass8_stride1(w, row * LANES, step // 8)
        elif left == 4:
            _pass4(w, row * LANES, step // 4, LANES)
        elif left == 2:
            _pass2(w, row * LANES, step // 2, LANES)


@_jit
def _reverse_rows(source: Ints, out: Ints, rows: int) -> None:
    for j in range(rows):
        o, q = j * LANES, (rows - 1 - j) * LANES
        a, b, c, d = source[q], source[q + 1], source[q + 2], source[q + 3]
        e, f, x, y = source[q + 4], source[q + 5], source[q + 6], source[q + 7]
        out[o], out[o + 1], out[o + 2], out[o + 3] = a, b, c, d
        out[o + 4], out[o + 5], out[o + 6], out[o + 7] = e, f, x, y


@_jit
def _repeat_row(row: Ints, tile: Ints, elements: int) -> None:
    for j in range(0, elements, LANES):
        for t in range(LANES):
            tile[j + t] = row[t]


@_jit
def _grow(upper: Ints, reverse: Ints, tile: Ints, out: Ints, elements: int) -> None:
    """First cleaning stage of the bitonic list (reversed upper + a, |upper - a|), fused with making that list."""
    for j in range(0, elements, TILE):
        k = min(TILE, elements - j)
        forward, backward = upper[j : j + k], reverse[j : j + k]
        low, high = out[j : j + k], out[elements + j : elements + j + k]
        for t in range(k):
            p, q = backward[t] + tile[t], abs(forward[t] - tile[t])
            low[t], high[t] = min(p, q), max(p, q)


@_jit
def _half_sums(a: Ints, h: int, upper: Ints, other: Ints, reverse: Ints, tile: Ints) -> None:
    """Sorted upper half of the signed sums of the `h` rows of `a` into `upper`, and reversed into `reverse`."""
    source, out = (upper, other) if (h - 1) % 2 == 0 else (other, upper)
    for t in range(LANES):
        source[t] = a[t]
    rows = 1
    for i in range(1, h):
        _reverse_rows(source, reverse, rows)
        _repeat_row(a[i * LANES : i * LANES + LANES], tile, min(TILE, rows * LANES))
        _grow(source, reverse, tile, out, rows * LANES)
        _clean(out, 2 * rows, rows)
        source, out = out, source
        rows *= 2
    _reverse_rows(source, reverse, rows)


@_jit
def _join(u: Ints, v: Ints, u_rev: Ints, v_rev: Ints, tile: Ints, out: Ints, elements: int) -> None:
    """First cleaning stage of {-u, u} ascending followed by {t + v, t - v} descending, fused with making them."""
    for j in range(0, elements, TILE):
        k = min(TILE, elements - j)
        f, g = u_rev[j : j + k], v_rev[j : j + k]
        low, high = out[j : j + k], out[2 * elements + j : 2 * elements + j + k]
        for t in range(k):
            p, q = -f[t], tile[t] + g[t]
            low[t], high[t] = min(p, q), max(p, q)
    for j in range(0, elements, TILE):
        k = min(TILE, elements - j)
        f, g = u[j : j + k], v[j : j + k]
        low, high = out[elements + j : elements + j + k], out[3 * elements + j : 3 * elements + j + k]
        for t in range(k):
            p, q = f[t], tile[t] - g[t]
            low[t], high[t] = min(p, q), max(p, q)


@_jit
def _scan(w: Ints, base: int, groups: int, state: Ints) -> None:
    """Last three stages on blocks of 8 rows, never stored, and the smallest odd difference of neighbours.

    `state` holds three rows: previous value, best key, left neighbour of the best pair. The key of a difference d is
    d + (d << 63) in wrapping arithmetic: odd differences become very negative in their own order, even ones stay.
    """
    lanes = len(state) // 3
    for g in range(groups):
        v = w[base + g * 64 : base + g * 64 + 64]
        for t in range(lanes):
            a, b, c, d = v[t], v[t + 8], v[t + 16], v[t + 24]
            e, f, x, y = v[t + 32], v[t + 40], v[t + 48], v[t + 56]
            a, e = min(a, e), max(a, e)
            b, f = min(b, f), max(b, f)
            c, x = min(c, x), max(c, x)
            d, y = min(d, y), max(d, y)
            a, c = min(a, c), max(a, c)
            b, d = min(b, d), max(b, d)
            e, x = min(e, x), max(e, x)
            f, y = min(f, y), max(f, y)
            a, b = min(a, b), max(a, b)
            c, d = min(c, d), max(c, d)
            e, f = min(e, f), max(e, f)
            x, y = min(x, y), max(x, y)
            z, best, left = state[t], state[t + 8], state[t + 16]
            key = a - z
            key += key << 63
            left, best = (z if key < best else left), min(key, best)
            key = b - a
            key += key << 63
            left, best = (a if key < best else left), min(key, best)
            key = c - b
            key += key << 63
            left, best = (b if key < best else left), min(key, best)
            key = d - c
            key += key << 63
            left, best = (c if key < best else left), min(key, best)
            key = e - d
            key += key << 63
            left, best = (d if key < best else left), min(key, best)
            key = f - e
            key += key << 63
            left, best = (e if key < best else left), min(key, best)
            key = x - f
            key += key << 63
            left, best = (f if key < best else left), min(key, best)
            key = y - x
            key += key << 63
            left, best = (x if key < best else left), min(key, best)
            state[t], state[t + 8], state[t + 16] = y, best, left


@_jit
def _sign_pattern(a: Ints, h: int, wanted: int, table: Ints) -> int:
    """Bits b with sum of (2 b_i - 1) a_i equal to `wanted`: 32 low sums are compared at once. Needs h >= 4."""
    low = min(h, 5)
    table[0] = 0
    for i in range(h):
        table[0] -= a[i]
    size = 1
    for i in range(low):
        for j in range(size):
            table[size + j] = table[j] + 2 * a[i]
        size *= 2
    for j in range(size, 32):
        table[j] = table[0]  # h = 4: a repeated sum can only repeat pattern 0, which the low half already holds
    offset = 0
    for high in range(1 << (h - low)):
        if high > 0:  # counting up by one: clear the trailing ones, set the next bit
            changed, k = high ^ (high - 1), low
            while changed > 1:
                offset -= 2 * a[k]
                changed >>= 1
                k += 1
            offset += 2 * a[k]
        rest = wanted - offset
        hit = -1
        for j in range(32):
            hit = max(hit, j if table[j] == rest else -1)
        if hit >= 0:
            return high * 32 + (hit if hit < size else 0)
    return -1


@_jit
def _load(items: Ints, targets: Ints, first: int, a: Ints, t: Ints) -> None:
    """Eight instances into lanes; a short last block repeats its last instance.

    Targets are clamped to one quantum beyond reach: farther ones would run past the sentinel of `_scan`.
    """
    batch, n = items.shape
    for lane in range(LANES):
        r = min(first + lane, batch - 1)
        total, size = 0, 0
        for i in range(n):
            x = items[r, i]
            total += x
            size += abs(x)
            a[i * LANES + lane] = 2 * abs(x)
        low, high = (total - size) // 2, (total + size) // 2
        z = min(max(targets[r], low - 1), high + 1)
        t[lane] = min(max(2 * (2 * z - total) + 1, -2 * size - 1), 2 * size + 1)


@_jit
def _start_scan(a: Ints, h: int, t: Ints, state: Ints) -> None:
    """Sentinel rows: the first difference must be even whichever list the smallest key comes from."""
    for lane in range(LANES):
        sum_a, sum_b = 0, 0
        for i in range(h):
            sum_a += a[i * LANES + lane]
            sum_b += a[(h + i) * LANES + lane]
        state[lane] = -_PEAK + (1 if t[lane] - sum_b < -sum_a else 0)
        state[LANES + lane] = _PEAK
        state[2 * LANES + lane] = 0


@_jit
def _decode(
    items: Ints, r: int, a: Ints, h: int, lane: int, t: int, key: int, left: int, last: int, lane_a: Ints, table: Ints
) -> int:
    """The subset behind a best pair: which signs have the two half sums, then which items those signs choose."""
    n = items.shape[1]
    d = key ^ (-(1 << 63))
    if left & 1:
        sum_a, sum_b = left + d, t - left
    else:
        sum_a, sum_b = left, t - (left + d)
    for i in range(n):
        lane_a[i] = a[i * LANES + lane]
    signs = _sign_pattern(lane_a, h, sum_a, table)
    signs |= _sign_pattern(lane_a[h:], h, sum_b, table) << h
    signs |= last << (2 * h)
    mask = 0
    for i in range(n):
        nonnegative = 1 if items[r, i] >= 0 else 0
        mask |= (1 - (((signs >> i) & 1) ^ nonnegative)) << i
    return mask


@_jit
def minimum(items: Ints, targets: Ints, masks: Ints, scratch: Ints) -> None:
    """Write the subset of least error of every row into `masks`; n >= 8, 4 sum|x| + 1 < 2^62."""
    batch, n = items.shape
    h = n // 2
    extra = n - 2 * h
    half = (1 << (h - 1)) * LANES
    u, v = scratch[:half], scratch[half : 2 * half]
    u_rev, v_rev = scratch[2 * half : 3 * half], scratch[3 * half : 4 * half]
    w = scratch[4 * half : 8 * half]
    o = 8 * half
    tile = scratch[o : o + TILE]
    o += TILE
    a = scratch[o : o + n * LANES]
    o += n * LANES
    state, t, shifted = scratch[o : o + 24], scratch[o + 24 : o + 32], scratch[o + 32 : o + 40]
    best_key, best_left = scratch[o + 40 : o + 48], scratch[o + 48 : o + 56]
    best_last, best_t = scratch[o + 56 : o + 64], scratch[o + 64 : o + 72]
    table, lane_a = scratch[o + 72 : o + 104], scratch[o + 104 : o + 104 + n]
    rows = 4 << (h - 1)
    for first in range(0, batch, LANES):
        _load(items, targets, first, a, t)
        _half_sums(a, h, u, w, u_rev, tile)
        _half_sums(a[h * LANES :], h, v, w, v_rev, tile)
        for lane in range(LANES):
            best_key[lane] = _PEAK
        for last in range(1 << extra):  # an odd item out takes either sign
            for lane in range(LANES):
                shift = a[(n - 1) * LANES + lane] if extra else 0
                shifted[lane] = t[lane] - shift if last else t[lane] + shift
            _start_scan(a, h, shifted, state)
            _repeat_row(shifted, tile, TILE)
            _join(u, v, u_rev, v_rev, tile, w, half)
            size = _wide_stages(w, rows, rows // 2)
            step = min(rows, 512)
            for row in range(0, rows, step):
                _narrow_stages(w, row * LANES, step, size)
                _scan(w, row * LANES, step // 8, state)
            for lane in range(LANES):
                if state[LANES + lane] < best_key[lane]:
                    best_key[lane], best_left[lane] = state[LANES + lane], state[2 * LANES + lane]
                    best_last[lane], best_t[lane] = last, shifted[lane]
        for lane in range(min(LANES, batch - first)):
            masks[first + lane] = _decode(
                items, first + lane, a, h, lane, best_t[lane], best_key[lane], best_left[lane], best_last[lane],
                lane_a, table,
            )  # fmt: skip
