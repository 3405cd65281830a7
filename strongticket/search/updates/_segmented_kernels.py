"""The mask of a whole network on a GPU: one pass over all scores, one program per segment, and a way out for misses.

A *segment* is a stretch of the flat buffers whose scores compete for one count: a layer, or all layers together.

- `sweep` moves the scores and compares each with its segment's bracket, the stretch of ranks in which the threshold is
  expected: scores above it are kept and counted, those inside are candidates, whose keys are collected in any order.
- `settle`, one program per segment, checks by the counts that the bracket holds the threshold, selects among the
  candidates, writes their weights, and sets the next bracket. Where the bracket missed, it does the selection afresh
  over all scores of the segment; or, for segments too large for one program, says so in `failed`, and
- `digits`, `ties` and `apply`, which are always launched and return at once unless a segment failed, do that with many
  programs per segment.

Every program of a launch reads what launches before it wrote and nothing else, so nothing hangs on the order in which
programs run; what they add up by atomics are whole numbers. Hence the mask is a function of the scores alone: exactly
the K largest, ties by the highest index. Keys are (rank + 2^31) * 2^31 + index: distinct, and never negative.
"""
# triton has no types.
# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

BINS = tl.constexpr(256)
LEVELS = tl.constexpr(4)  # digits of 8 bits in a rank
NARROWEST = tl.constexpr(1e-5)
WIDEST = tl.constexpr(0.05)
LEAST = tl.constexpr(-0x80000000)
MOST = tl.constexpr(0x7FFFFFFF)


@triton.jit
def _rank(score, ABSOLUTE: tl.constexpr):
    """Order-preserving int32 of a float32: its magnitude's if ABSOLUTE; -0.0 ranks as 0.0, NaN beyond infinity."""
    bits = score.to(tl.int32, bitcast=True)
    if ABSOLUTE:
        rank = bits & 0x7FFFFFFF
    else:
        rank = tl.where(bits >= 0, bits, LEAST - bits)
    return rank


@triton.jit
def _value(rank):
    """The float32 of a rank."""
    return tl.where(rank >= 0, rank, LEAST - rank).to(tl.float32, bitcast=True)


@triton.jit
def _key(rank):
    """The upper part of a key: the rank made non-negative."""
    return rank.to(tl.int64) + 0x80000000


@triton.jit
def sweep(
    gradient,  # float32 [size], and so the next four
    weight,
    score,
    momentum,
    kept,
    hyper,  # float32 [3]: learning rate, momentum, weight decay
    chunk_segment,  # int32 [programs]
    chunk_start,  # int64 [programs]
    stop,  # int64 [segments], and so on
    low,  # int32
    high,  # int32
    key_start,  # int64
    room,  # int32
    keys,  # int64
    seen,  # int32 [segments, 2], added to: scores above the bracket, and inside
    wrong,  # int32 [1], set to 1 by a score that is NaN or infinite
    UPDATE: tl.constexpr,  # move the scores first
    NESTEROV: tl.constexpr,
    ABSOLUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One SGD step of the scores of a chunk, and their comparison with the bracket."""
    program = tl.program_id(0)
    segment = tl.load(chunk_segment + program)
    at = tl.load(chunk_start + program) + tl.arange(0, BLOCK)
    live = at < tl.load(stop + segment)
    s = tl.load(score + at, mask=live, other=0.0)
    w = tl.load(weight + at, mask=live, other=0.0)
    if UPDATE:
        lr = tl.load(hyper)
        mu = tl.load(hyper + 1)
        slope = w * tl.load(gradient + at, mask=live, other=0.0)
        if ABSOLUTE:
            slope = slope * tl.where(s > 0, 1.0, tl.where(s < 0, -1.0, 0.0))
        slope = slope + tl.load(hyper + 2) * s
        speed = mu * tl.load(momentum + at, mask=live, other=0.0) + slope
        tl.store(momentum + at, speed, mask=live)
        if NESTEROV:
            s = s - lr * (slope + mu * speed)
        else:
            s = s - lr * speed
        tl.store(score + at, s, mask=live)
        bad = tl.sum((live & ((s.to(tl.int32, bitcast=True) & 0x7F800000) == 0x7F800000)).to(tl.int32), axis=0)
        if bad > 0:
            tl.atomic_max(wrong, 1)
    rank = _rank(s, ABSOLUTE)
    top = tl.load(high + segment)
    above = live & (rank >= top)
    inside = live & (rank >= tl.load(low + segment)) & (rank < top)
    tl.store(kept + at, tl.where(above, w, 0.0), mask=live)
    number = tl.sum(above.to(tl.int32), axis=0)
    if number > 0:
        tl.atomic_add(seen + 2 * segment, number)
    members = inside.to(tl.int32)
    number = tl.sum(members, axis=0)
    if number > 0:
        place = tl.atomic_add(seen + 2 * segment + 1, number) + tl.cumsum(members, axis=0) - 1
        key = (_key(rank) << 31) | at
        there = inside & (place < tl.load(room + segment))
        tl.store(keys + tl.load(key_start + segment) + place, key, mask=there)


@triton.jit
def _tally(histogram, digit, live):
    """Add digits to a histogram of BINS."""
    dead = tl.sum((live == 0).to(tl.int32), axis=0)  # they are counted as 0, and taken away again
    counts = tl.histogram(tl.where(live, digit, 0), BINS)
    return histogram + counts - tl.where(tl.arange(0, BINS) == 0, dead, 0)


@triton.jit
def _digit(histogram, rest):
    """The bin of the `rest`-th largest, how many largest of that bin are wanted, and how many it has."""
    over = tl.sum(histogram, axis=0) - tl.cumsum(histogram, axis=0)
    here = (over < rest) & (rest <= over + histogram)
    digit = tl.sum(tl.where(here, tl.arange(0, BINS), 0), axis=0)
    left = rest - tl.sum(tl.where(here, over, 0), axis=0)
    return digit, left, tl.sum(tl.where(here, histogram, 0), axis=0)


@triton.jit
def _bound(keys, inside, rest, low, high, KEYS: tl.constexpr):
    """A bound with exactly `rest` of the `inside` keys at or above it; all lie in the bracket low <= rank < high."""
    bound = _key(low) << 31
    differing = bound ^ ((_key(high) << 31) - 1)
    shift = tl.where((differing >> 32) != 0, 32, 24)  # of the highest 8 bits in which keys can differ
    shift = tl.where((differing >> 40) != 0, 40, shift)
    shift = tl.where((differing >> 48) != 0, 48, shift)
    shift = tl.where((differing >> 56) != 0, 56, shift)
    bound = ((bound >> shift) >> 8 << 8) << shift
    going = rest > 0
    while going:
        histogram = tl.zeros([BINS], tl.int32)
        for start in range(0, inside, KEYS):
            at = start + tl.arange(0, KEYS)
            key = tl.load(keys + at, mask=at < inside, other=0)
            near = (at < inside) & ((((key ^ bound) >> shift) >> 8) == 0)
            histogram = _tally(histogram, ((key >> shift) & 255).to(tl.int32), near)
        digit, rest, members = _digit(histogram, rest)
        bound += digit.to(tl.int64) << shift
        going = (members != rest) & (shift > 0)
        shift -= 8
    return bound


@triton.jit
def _patch(keys, inside, bound, weight, kept, KEYS: tl.constexpr):
    """Keep the candidates at or above the bound; returns the least rank kept."""
    least = tl.full([], 0x7FFFFFFFFFFFFFFF, tl.int64)
    for start in range(0, inside, KEYS):
        at = start + tl.arange(0, KEYS)
        key = tl.load(keys + at, mask=at < inside, other=0)
        take = (at < inside) & (key >= bound)
        index = key & 0x7FFFFFFF
        tl.store(kept + index, tl.load(weight + index, mask=take, other=0.0), mask=take)
        least = tl.minimum(least, tl.min(tl.where(take, key, 0x7FFFFFFFFFFFFFFF), axis=0))
    return ((least >> 31) - 0x80000000).to(tl.int32)


@triton.jit
def _digits(score, first, last, prefix, LEVEL: tl.constexpr, ABSOLUTE: tl.constexpr, BLOCK: tl.constexpr):
    """Histogram of digit LEVEL of the ranks that begin with `prefix`, in a stretch of the scores."""
    shift: tl.constexpr = 24 - 8 * LEVEL
    histogram = tl.zeros([BINS], tl.int32)
    for block in range(0, (last - first).to(tl.int32), BLOCK):
        at = first + block + tl.arange(0, BLOCK)
        s = tl.load(score + at, mask=at < last, other=0.0)
        rank = _key(_rank(s, ABSOLUTE))
        near = (at < last) & (((rank >> shift) >> 8) == prefix)
        histogram = _tally(histogram, ((rank >> shift) & 255).to(tl.int32), near)
    return histogram


@triton.jit
def _ties(score, first, last, rank, ABSOLUTE: tl.constexpr, BLOCK: tl.constexpr):
    """Number of scores of a rank in a stretch."""
    number = tl.full([], 0, tl.int32)
    for block in range(0, (last - first).to(tl.int32), BLOCK):
        at = first + block + tl.arange(0, BLOCK)
        s = tl.load(score + at, mask=at < last, other=0.0)
        number += tl.sum(((at < last) & (_rank(s, ABSOLUTE) == rank)).to(tl.int32), axis=0)
    return number


@triton.jit
def _apply(
    score, weight, kept, first, last, rank, rest, after, count, size, ABSOLUTE: tl.constexpr, BLOCK: tl.constexpr
):
    """Write the kept weights of a stretch: larger ranks, and of equal ones those with fewer than `rest` behind them.

    `after`: how many scores of that rank lie behind the stretch.
    """
    length = (last - first).to(tl.int32)
    for turn in range(0, length, BLOCK):
        begin = (length - 1) // BLOCK * BLOCK - turn  # from the end to the front
        at = first + begin + tl.arange(0, BLOCK)
        live = at < last
        own = _rank(tl.load(score + at, mask=live, other=0.0), ABSOLUTE)
        equal = (live & (own == rank)).to(tl.int32)
        total = tl.sum(equal, axis=0)
        behind = after + total - tl.cumsum(equal, axis=0)
        keep = (own > rank) | ((equal == 1) & (behind < rest))
        keep = (keep & (count > 0)) | (count == size)
        w = tl.load(weight + at, mask=live, other=0.0)
        tl.store(kept + at, tl.where(keep, w, 0.0), mask=live)
        after += total


@triton.jit
def _aim(segment, rank, count, size, threshold, width, spread, low, high, old, wide, scatter, ABSOLUTE: tl.constexpr):
    """Set a segment's bracket around its threshold; `old`, `wide` and `scatter` are what was in the tables."""
    value = _value(rank)
    scale = old
    next_scale = value
    if not ABSOLUTE:
        scale = tl.maximum(tl.abs(old), scatter)
        next_scale = tl.maximum(tl.abs(value), scatter)
    moved = tl.where(scale > 0, 6 * tl.abs(value - old) / scale, WIDEST)
    wider = tl.minimum(WIDEST, tl.maximum(NARROWEST, tl.maximum(0.9 * wide, moved)))
    wide = tl.where(old == old, wider, wide)
    below = tl.minimum(_rank(value - wide * next_scale, ABSOLUTE), rank)
    beyond = tl.maximum(_rank(value + wide * next_scale, ABSOLUTE), rank + 1)
    none = (count == 0) | (count == size)  # then everything is on one side of an empty bracket
    edge = tl.where(count == 0, MOST, LEAST)
    tl.store(threshold + segment, tl.where(none, float("nan"), value))
    tl.store(width + segment, wide)
    tl.store(low + segment, tl.where(none, edge, below))
    tl.store(high + segment, tl.where(none, edge, beyond))


@triton.jit
def settle(
    weight,  # float32 [size]
    score,  # float32 [size]
    kept,  # float32 [size], written
    start,  # int64 [segments], and so on
    stop,  # int64
    count,  # int32
    key_start,  # int64
    room,  # int32
    keys,  # int64
    seen,  # int32 [segments, 2], set to 0
    threshold,  # float32, NaN where there is none
    width,  # float32
    spread,  # float32
    low,  # int32
    high,  # int32
    failed,  # int32, written
    misses,  # int32, added to
    histograms,  # int32 [segments, LEVELS, BINS]; set to 0 where failed, unless ALONE
    ABSOLUTE: tl.constexpr,
    ALONE: tl.constexpr,  # select afresh here
    KEYS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Choose a segment's scores among the candidates, if its bracket holds the threshold; see the module."""
    segment = tl.program_id(0)
    first = tl.load(start + segment)
    last = tl.load(stop + segment)
    number = tl.load(count + segment)
    above = tl.load(seen + 2 * segment)
    inside = tl.load(seen + 2 * segment + 1)
    lower = tl.load(low + segment)
    upper = tl.load(high + segment)
    old = tl.load(threshold + segment)
    wide = tl.load(width + segment)
    scatter = tl.load(spread + segment)
    own = keys + tl.load(key_start + segment)
    space = tl.load(room + segment)
    tl.debug_barrier()  # all warps have read before one of them writes
    size = (last - first).to(tl.int32)
    rest = number - above
    trivial = (rest == 0) & (inside == 0) & (lower == upper)
    fits = (rest >= 1) & (rest <= inside) & (inside <= space)
    lost = (fits | trivial) == 0
    rank = lower
    if fits:
        rank = _patch(own, inside, _bound(own, inside, rest, lower, upper, KEYS), weight, kept, KEYS)
    if lost:
        if ALONE:
            prefix = (number * 0).to(tl.int64)
            rest = number
            for level in tl.static_range(LEVELS):
                histogram = _digits(score, first, last, prefix, level, ABSOLUTE, BLOCK)
                digit, rest, _members = _digit(histogram, rest)
                prefix = prefix * BINS + digit
            rank = (prefix - 0x80000000).to(tl.int32)
            _apply(score, weight, kept, first, last, rank, rest, number * 0, number, size, ABSOLUTE, BLOCK)
        else:
            for level in tl.static_range(LEVELS):
                at = (segment * LEVELS + level) * BINS + tl.arange(0, BINS)
                tl.store(histograms + at, tl.zeros([BINS], tl.int32))
    known = fits
    if ALONE:
        known = fits | lost
    if known:
        _aim(segment, rank, number, size, threshold, width, spread, low, high, old, wide, scatter, ABSOLUTE)
    tl.store(failed + segment, lost.to(tl.int32))
    tl.store(misses + segment, tl.load(misses + segment) + (lost & (old == old)).to(tl.int32))
    tl.store(seen + 2 * segment, 0)
    tl.store(seen + 2 * segment + 1, 0)


@triton.jit
def _descend(histograms, segment, number, LEVEL: tl.constexpr):
    """The first LEVEL digits of the `number`-th largest rank, and how many largest of those so beginning are wanted."""
    prefix = (number * 0).to(tl.int64)
    rest = number
    for level in tl.static_range(LEVEL):
        histogram = tl.load(histograms + (segment * LEVELS + level) * BINS + tl.arange(0, BINS))
        digit, rest, _members = _digit(histogram, rest)
        prefix = prefix * BINS + digit
    return prefix, rest


@triton.jit
def digits(
    score,  # float32 [size]
    stretch_segment,  # int32 [programs]
    stretch_start,  # int64 [programs]
    stretch_stop,  # int64 [programs]
    count,  # int32 [segments]
    failed,  # int32 [segments]
    histograms,  # int32 [segments, LEVELS, BINS], level LEVEL is added to
    LEVEL: tl.constexpr,
    ABSOLUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One digit of the threshold of failed segments: its histogram over a stretch."""
    program = tl.program_id(0)
    segment = tl.load(stretch_segment + program)
    if tl.load(failed + segment) != 0:
        first = tl.load(stretch_start + program)
        last = tl.load(stretch_stop + program)
        prefix, _ = _descend(histograms, segment, tl.load(count + segment), LEVEL)
        histogram = _digits(score, first, last, prefix, LEVEL, ABSOLUTE, BLOCK)
        at = (segment * LEVELS + LEVEL) * BINS + tl.arange(0, BINS)
        tl.atomic_add(histograms + at, histogram, mask=histogram != 0)


@triton.jit
def ties(
    score,  # float32 [size]
    stretch_segment,  # int32 [programs]
    stretch_start,  # int64 [programs]
    stretch_stop,  # int64 [programs]
    stretch_place,  # int32 [programs]: number of the stretch in its segment
    count,  # int32 [segments]
    failed,  # int32 [segments]
    histograms,  # int32 [segments, LEVELS, BINS]
    tied,  # int32 [segments, STRETCHES], written
    ABSOLUTE: tl.constexpr,
    STRETCHES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """How many scores of a stretch equal the threshold of a failed segment."""
    program = tl.program_id(0)
    segment = tl.load(stretch_segment + program)
    if tl.load(failed + segment) != 0:
        first = tl.load(stretch_start + program)
        last = tl.load(stretch_stop + program)
        prefix, _ = _descend(histograms, segment, tl.load(count + segment), LEVELS)
        rank = (prefix - 0x80000000).to(tl.int32)
        number = _ties(score, first, last, rank, ABSOLUTE, BLOCK)
        tl.store(tied + segment * STRETCHES + tl.load(stretch_place + program), number)


@triton.jit
def apply(
    weight,  # float32 [size]
    score,  # float32 [size]
    kept,  # float32 [size], written
    stretch_segment,  # int32 [programs]
    stretch_start,  # int64 [programs]
    stretch_stop,  # int64 [programs]
    stretch_place,  # int32 [programs]
    start,  # int64 [segments], and so on
    stop,  # int64
    count,  # int32
    failed,  # int32
    histograms,  # int32 [segments, LEVELS, BINS]
    tied,  # int32 [segments, STRETCHES]
    threshold,  # float32
    width,  # float32
    spread,  # float32
    low,  # int32
    high,  # int32
    ABSOLUTE: tl.constexpr,
    STRETCHES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the kept weights of a stretch of a failed segment; its first stretch sets the bracket."""
    program = tl.program_id(0)
    segment = tl.load(stretch_segment + program)
    if tl.load(failed + segment) != 0:
        place = tl.load(stretch_place + program)
        number = tl.load(count + segment)
        size = (tl.load(stop + segment) - tl.load(start + segment)).to(tl.int32)
        prefix, rest = _descend(histograms, segment, number, LEVELS)
        rank = (prefix - 0x80000000).to(tl.int32)
        stretches = tl.arange(0, STRETCHES)
        counts = tl.load(tied + segment * STRETCHES + stretches)  # 0 beyond the last stretch
        after = tl.sum(tl.where(stretches > place, counts, 0), axis=0)
        first = tl.load(stretch_start + program)
        last = tl.load(stretch_stop + program)
        _apply(score, weight, kept, first, last, rank, rest, after, number, size, ABSOLUTE, BLOCK)
        if place == 0:
            old = tl.load(threshold + segment)
            wide = tl.load(width + segment)
            scatter = tl.load(spread + segment)
            tl.debug_barrier()
            _aim(segment, rank, number, size, threshold, width, spread, low, high, old, wide, scatter, ABSOLUTE)
