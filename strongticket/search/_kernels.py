"""Compiled kernels of the mask search on a CPU: update the scores, select exactly K of them, write the kept weights.

One pass over a layer reads gradient, weight, score and momentum and writes score, momentum and effective weight. It
knows the threshold of the step before, and a bracket around it: scores above the bracket are kept at once, those
inside are candidates, and the exact choice is made among the candidates alone. A bracket that misses (it does not
hold the K-th largest score) is noticed by two counts, and the threshold is then found again by a radix selection.

Ties are settled by index, as `strongticket.selection.largest` says: candidates are compared as 64-bit keys, the score's
order-preserving bits above its flat index.
"""
# numba has no types: its decorators are untyped.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Keys = npt.NDArray[np.int64]

BLOCK, PIECE = 512, 64

_jit = numba.njit(nogil=True, cache=True)


@_jit
def _rank(word: Any, absolute: bool) -> Any:
    """Order-preserving integer of a float32 given by its bits; -0.0 ranks as 0.0."""
    wide = np.int64(word)
    if absolute:
        return wide & 0x7FFFFFFF
    return wide if wide >= 0 else -0x80000000 - wide


@_jit
def _value(rank: Any) -> Any:
    """The float32 of a rank."""
    cell = np.empty(1, np.float32)
    cell.view(np.int32)[0] = rank if rank >= 0 else -0x80000000 - rank
    return cell[0]


@_jit
def step(
    gradient: Floats, weight: Floats, score: Floats, momentum: Floats, kept: Floats,
    lr: np.float32, mu: np.float32, decay: np.float32, nesterov: bool, absolute: bool,
    low: np.float32, high: np.float32, keys: Keys, base: int, counts: Keys,
) -> None:  # fmt: skip
    """One SGD step of the scores of a layer, and a first selection: kept[i] is weight[i] for scores >= high, else 0.

    The score's gradient is sign(score) * weight * gradient (absolute), or weight * gradient. counts: scores above the
    bracket, candidates in [low, high) (their keys go to `keys` as far as it reaches), and those that are NaN or
    infinite; all are added to.
    """
    size = len(score)
    zero, infinite = np.float32(0.0), np.float32(np.inf)
    for start in range(0, size, BLOCK):
        stop = min(size, start + BLOCK)
        g, w, s = gradient[start:stop], weight[start:stop], score[start:stop]
        m, k = momentum[start:stop], kept[start:stop]
        above, inside, wrong = 0, 0, 0
        for i in range(len(s)):
            old = s[i]
            slope = g[i] * w[i]
            if absolute:
                slope = slope if old > zero else (-slope if old < zero else zero)
            slope += decay * old
            speed = mu * m[i] + slope
            m[i] = speed
            new = old - lr * (slope + mu * speed if nesterov else speed)
            s[i] = new
            rank = abs(new) if absolute else new
            k[i] = w[i] if rank >= high else zero
            above += 1 if rank >= high else 0
            inside += 1 if (rank >= low and rank < high) else 0
            wrong += 0 if abs(new) < infinite else 1
        counts[0] += above
        counts[2] += wrong
        if inside:
            _collect(s, absolute, low, high, keys, base + start, counts)


@_jit
def select(
    weight: Floats, score: Floats, kept: Floats, absolute: bool,
    low: np.float32, high: np.float32, keys: Keys, base: int, counts: Keys,
) -> None:  # fmt: skip
    """The selection of `step` without the update."""
    size = len(score)
    zero, infinite = np.float32(0.0), np.float32(np.inf)
    for start in range(0, size, BLOCK):
        stop = min(size, start + BLOCK)
        w, s, k = weight[start:stop], score[start:stop], kept[start:stop]
        above, inside, wrong = 0, 0, 0
        for i in range(len(s)):
            rank = abs(s[i]) if absolute else s[i]
            k[i] = w[i] if rank >= high else zero
            above += 1 if rank >= high else 0
            inside += 1 if (rank >= low and rank < high) else 0
            wrong += 0 if abs(rank) < infinite else 1
        counts[0] += above
        counts[2] += wrong
        if inside:
            _collect(s, absolute, low, high, keys, base + start, counts)


@_jit
def select_exactly(
    weight: Floats, score: Floats, kept: Floats, absolute: bool, rank: Any, keys: Keys, base: int, counts: Keys
) -> None:
    """The selection of `select` around one rank: larger ones are kept, equal ones are candidates.

    Ranks are compared as integers, because a processor that flushes subnormal numbers calls them equal to 0.
    """
    words = score.view(np.int32)
    above, at = 0, counts[1]
    for i in range(len(words)):
        own = _rank(words[i], absolute)
        kept[i] = weight[i] if own > rank else np.float32(0.0)
        above += 1 if own > rank else 0
        if own == rank:
            if at < len(keys):
                keys[at] = (own << 32) | (base + i)
            at += 1
    counts[0] += above
    counts[1] = at


@_jit
def _collect(s: Floats, absolute: bool, low: np.float32, high: np.float32, keys: Keys, base: int, counts: Keys) -> None:
    """Append the keys of the candidates of a block; pieces without one are skipped by a vector count."""
    words = s.view(np.int32)
    at = counts[1]
    for start in range(0, len(s), PIECE):
        piece, bits = s[start : start + PIECE], words[start : start + PIECE]
        inside = 0
        for i in range(len(piece)):
            rank = abs(piece[i]) if absolute else piece[i]
            inside += 1 if (rank >= low and rank < high) else 0
        if inside == 0:
            continue
        if at + PIECE <= len(keys):  # every key is written, and overwritten unless it is a candidate's: no branches
            for i in range(len(piece)):
                rank = abs(piece[i]) if absolute else piece[i]
                keys[at] = (_rank(bits[i], absolute) << 32) | (base + start + i)
                at += 1 if (rank >= low and rank < high) else 0
            continue
        for i in range(len(piece)):
            rank = abs(piece[i]) if absolute else piece[i]
            if rank >= low and rank < high:
                if at < len(keys):
                    keys[at] = (_rank(bits[i], absolute) << 32) | (base + start + i)
                at += 1
    counts[1] = at


@_jit
def nth_largest(keys: Keys, count: int) -> Any:
    """The `count`-th largest of distinct keys, which are reordered (Hoare's selection)."""
    wanted = len(keys) - count
    left, right = 0, len(keys) - 1
    while left < right:
        pivot = keys[(left + right) >> 1]
        i, j = left, right
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if wanted <= j:
            right = j
        elif wanted >= i:
            left = i
        else:
            break
    return keys[wanted]


@_jit
def settle(keys: Keys, count: int, base: int, weight: Floats, kept: Floats) -> Any:
    """Keep the `count` largest candidates that lie in one layer's span; returns the score of the last one kept."""
    last = nth_largest(keys, count)
    for key in keys:
        if key >= last:
            index = (key & 0xFFFFFFFF) - base
            if 0 <= index < len(kept):
                kept[index] = weight[index]
    return _value(last >> 32)


@_jit
def threshold(score: Floats, count: int, absolute: bool) -> Any:
    """The rank of the `count`-th largest score of a flat array by radix selection: no copy, three passes."""
    words = score.view(np.int32)
    histogram = np.zeros(1 << 11, np.int64)
    prefix, rest = np.int64(0), count
    for level in range(3):
        shift = 21 - 11 * level if level < 2 else 0
        width = 11 if level < 2 else 10
        histogram[:] = 0
        for i in range(len(words)):
            rank = _rank(words[i], absolute) + 0x80000000
            if level == 0 or (rank >> (shift + width)) == prefix:
                histogram[(rank >> shift) & ((1 << width) - 1)] += 1
        digit = (1 << width) - 1
        while rest > histogram[digit]:
            rest -= histogram[digit]
            digit -= 1
        prefix = (prefix << width) | digit
    return prefix - 0x80000000
