"""The exact minimum as one fused kernel: a block of instances per program, masks out, nothing in between in memory.

The subset problem is turned into a sign problem: with a_i = 2|x_i| and T = 2(2z - sum x) + 1, choosing signs e_i so
that sum e_i a_i is nearest to T is choosing the subset {i : e_i = sign(x_i)} nearest to z. The signed sums of half the
items are symmetric about 0, so only their sorted upper half is kept, and all sums of the first half are even while T
minus a sum of the second half is odd: in the merged list the best pair are neighbours whose difference is odd.

A list of 2^k positions is a tensor of shape [2] * k + [instances]; axis i is bit i of the position. So

- a list grows by a new axis just before the last one, and every compare-exchange is along one axis, whichever of
  registers, lanes or warps the compiler has put there: no layout is asked for;
- as Triton gives lanes to the last axes, the low bits stay in registers, where the last stages and the scan are cheap;
- the value at the other end of an axis is the sum along it less the own value, which wraps harmlessly.

The merged list is never there as a whole: its first two stages split it into four lists, each above the one before,
which are made from the half lists, cleaned and scanned one after the other.
"""
# triton has no types.
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _bit(axis: tl.constexpr, rank: tl.constexpr):
    """Where a position's index along `axis` is 1, in a shape that broadcasts."""
    return tl.reshape(tl.arange(0, 2), [1] * axis + [2] + [1] * (rank - 1 - axis)) == 1


@triton.jit
def _other(x, axis: tl.constexpr):
    """The values at the other end of an axis of length 2."""
    return tl.sum(x, axis=axis, keep_dims=True) - x


@triton.jit
def _reverse(x, k: tl.constexpr):
    """The list from its end: every bit of the position flipped."""
    for axis in tl.static_range(k):
        x = _other(x, axis)
    return x


@triton.jit
def _clean(x, k: tl.constexpr, rank: tl.constexpr):
    """Sort bitonic lists in the low k bits: compare-exchange at distance 2^(k-1), ..., 2, 1."""
    for j in tl.static_range(k):
        other = _other(x, k - 1 - j)
        x = tl.where(_bit(k - 1 - j, rank), tl.maximum(x, other), tl.minimum(x, other))
    return x


@triton.jit
def _magnitude(items, row, live, n: tl.constexpr, i, KEY: tl.constexpr):
    """2 |x_i| of each instance."""
    return (2 * tl.abs(tl.load(items + row * n + i, mask=live, other=0))).to(KEY)


@triton.jit
def _upper_half(items, row, live, n: tl.constexpr, first: tl.constexpr, h: tl.constexpr, KEY: tl.constexpr):
    """The sorted upper half of the signed sums of items first : first + h, 2^(h-1) of them."""
    u = _magnitude(items, row, live, n, first, KEY)
    for k in tl.static_range(h - 1):
        a = _magnitude(items, row, live, n, first + 1 + k, KEY)
        plus = _reverse(u, k) + a  # falls; |u - a| falls further and then rises
        minus = tl.abs(u - a)
        low = tl.expand_dims(tl.minimum(plus, minus), k)
        high = tl.expand_dims(tl.maximum(plus, minus), k)
        u = _clean(tl.where(_bit(k, k + 2), high, low), k, k + 2)
    return u


@triton.jit
def _end(x, right):
    """The values at one end of axis 0, which disappears."""
    return tl.sum(tl.where(right, x, 0), axis=0)


@triton.jit
def _scan(x, k: tl.constexpr, PEAK: tl.constexpr):
    """First and last value of sorted lists, their least odd difference of neighbours, and the left of the two.

    Blocks of 1, 2, 4, ... positions are joined; at each seam the neighbours are the last of one and the first of the
    other.
    """
    first = x
    last = x
    best = x
    at = x
    for j in tl.static_range(k):
        right = _bit(0, k - j + 1)
        left = right == 0
        before = _end(last, left)
        gap = _end(first, right) - before
        gap = tl.where((gap & 1) == 1, gap, PEAK)
        first = _end(first, left)
        last = _end(last, right)
        if j == 0:
            best = gap
            at = before
        else:
            best_left = _end(best, left)
            best_right = _end(best, right)
            at_best = tl.where(best_right < best_left, _end(at, right), _end(at, left))
            best = tl.minimum(best_left, best_right)
            at = tl.where(gap < best, before, at_best)
            best = tl.minimum(gap, best)
    return first, last, best, at


@triton.jit
def _signed_sums(items, row, live, n: tl.constexpr, first: tl.constexpr, h: tl.constexpr, KEY: tl.constexpr):
    """All signed sums of items first : first + h, [2^h, instances]; a set bit of the index is a plus."""
    index = tl.arange(0, 1 << h)[:, None]
    sums = index.to(KEY) * 0
    for i in tl.static_range(h):
        a = _magnitude(items, row, live, n, first + i, KEY)[None, :]
        sums = sums + tl.where(((index >> i) & 1) == 1, a, -a)
    return sums


@triton.jit
def _signs(items, row, live, wanted, n: tl.constexpr, first: tl.constexpr, h: tl.constexpr, KEY: tl.constexpr):
    """The lowest pattern of signs of items first : first + h with the sum `wanted`, as int64 bits."""
    low: tl.constexpr = h // 2
    small = _signed_sums(items, row, live, n, first, low, KEY) - wanted[None, :]
    large = _signed_sums(items, row, live, n, first + low, h - low, KEY)
    hit = small[:, None, :] + large[None, :, :] == 0
    place = tl.arange(0, 1 << low)[:, None, None] + (tl.arange(0, 1 << (h - low)) << low)[None, :, None]
    found = tl.min(tl.min(tl.where(hit, place, 1 << h), axis=0), axis=0)
    return found.to(tl.int64)


@triton.jit(do_not_specialize=["runs"])  # one compilation whatever the batch
def minimum(
    items,  # int64 [rows, n]
    targets,  # int64 [batch]
    row_of,  # int64 [runs], or anything if not SHARED
    start_of,  # int64 [runs], or anything if not SHARED
    count_of,  # int64 [runs], or anything if not SHARED
    masks,  # int64 [batch], written
    runs,
    n: tl.constexpr,
    GROUP: tl.constexpr,  # runs per program
    SHARED: tl.constexpr,  # a run is several targets with one row of items; if not, it is one target with its own
    KEY: tl.constexpr,  # tl.int32 or tl.int64
    PEAK: tl.constexpr,  # above every difference that can win: 2^30 or 2^62
):
    """Masks of least error, none with a zero item; n >= 8."""
    h: tl.constexpr = n // 2
    spare: tl.constexpr = n - 2 * h
    run = tl.program_id(0) * GROUP + tl.arange(0, GROUP)
    live = run < runs
    row = run.to(tl.int64)
    start = row
    count = live.to(tl.int64)
    if SHARED:
        row = tl.load(row_of + run, mask=live, other=0)
        start = tl.load(start_of + run, mask=live, other=0)
        count = tl.load(count_of + run, mask=live, other=0)
    total = row * 0
    size = row * 0
    for i in tl.static_range(n):
        x = tl.load(items + row * n + i, mask=live, other=0)
        total += x
        size += tl.abs(x)
    extra = total.to(KEY) * 0
    if spare == 1:
        extra = _magnitude(items, row, live, n, n - 1, KEY)
    u = _upper_half(items, row, live, n, 0, h, KEY)
    v = _upper_half(items, row, live, n, h, h, KEY)
    u_reversed = _reverse(u, h - 1)
    v_reversed = _reverse(v, h - 1)
    rounds = 1
    if SHARED:
        rounds = tl.max(count, axis=0).to(tl.int32)
    for turn in range(rounds):
        there = turn < count
        z = tl.load(targets + start + turn, mask=there, other=0)
        # out of reach one unit beyond the ends is as good as any distance
        z = tl.minimum(tl.maximum(z, ((total - size) >> 1) - 1), ((total + size) >> 1) + 1)
        goal = tl.minimum(tl.maximum(2 * (2 * z - total) + 1, -2 * size - 1), 2 * size + 1).to(KEY)
        best = extra * 0 + PEAK
        at = extra * 0
        before = extra * 0
        plus = extra * 0 != 0  # whether the item beyond the halves has sign +
        for step in range(4 << spare):
            later = step >= 4
            t = goal
            if spare == 1:
                t = tl.where(later, goal - extra, goal + extra)
            upper = (step & 2) == 2
            # neighbours in the merged list of {-u, u}, rising, and {t + v, t - v}, falling: first stage, then second
            outer = tl.where(upper, tl.maximum(-u_reversed, t + v_reversed), tl.minimum(-u_reversed, t + v_reversed))
            inner = tl.where(upper, tl.maximum(u, t - v), tl.minimum(u, t - v))
            part = tl.where((step & 1) == 1, tl.maximum(outer, inner), tl.minimum(outer, inner))
            first, last, gap, left = _scan(_clean(part, h - 1, h), h - 1, PEAK)
            seam = first - before  # to the quarter before; the first has none
            seam = tl.where(((step & 3) != 0) & ((seam & 1) == 1), seam, PEAK)
            left = tl.where(seam < gap, before, left)
            gap = tl.minimum(seam, gap)
            at = tl.where(gap < best, left, at)
            plus = tl.where(gap < best, later, plus)
            best = tl.minimum(gap, best)
            before = last
        if spare == 1:
            goal = tl.where(plus, goal - extra, goal + extra)
        even = (at & 1) == 0
        signs = _signs(items, row, live, tl.where(even, at, at + best), n, 0, h, KEY)
        signs |= _signs(items, row, live, goal - tl.where(even, at + best, at), n, h, h, KEY) << h
        signs |= plus.to(tl.int64) << (2 * h)
        mask = signs * 0
        for i in tl.static_range(n):
            x = tl.load(items + row * n + i, mask=live, other=0)
            take = (x != 0) & ((((signs >> i) & 1) == 1) == (x > 0))
            mask |= take.to(tl.int64) << i
        tl.store(masks + start + turn, mask, mask=there)
