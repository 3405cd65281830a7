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
    lr: np.float32, mu: np.float32, decay: np.float32, nesterov: bool, absolute: bool, factor: np.float32,
    low: np.float32, high: np.float32, keys: Keys, base: int, counts: Keys,
) -> None:  # fmt: skip
    """One SGD step of the scores of a layer, and a first selection: kept[i] is weight[i] for scores >= high, else 0.

    The score's gradient is factor * sign(score) * weight * gradient (absolute), or without the sign. counts: scores
    above the bracket, candidates in [low, high) (their keys go to `keys` as far as it reaches), and those that are NaN
    or infinite; all are added to.
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
            slope = g[i] * (factor * w[i])
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


@_jit
def look(score: Floats, absolute: bool, low: np.float32, high: np.float32, keys: Keys, base: int, counts: Keys) -> None:
    """The counts and candidates of `select`; nothing is written but those."""
    for start in range(0, len(score), BLOCK):
        s = score[start : min(len(score), start + BLOCK)]
        above, inside = 0, 0
        for i in range(len(s)):
            rank = abs(s[i]) if absolute else s[i]
            above += 1 if rank >= high else 0
            inside += 1 if (rank >= low and rank < high) else 0
        counts[0] += above
        if inside:
            _collect(s, absolute, low, high, keys, base + start, counts)


@_jit
def look_exactly(score: Floats, absolute: bool, rank: Any, keys: Keys, base: int, counts: Keys) -> None:
    """The counts and candidates of `select_exactly`; nothing is written but those."""
    words = score.view(np.int32)
    above, at = 0, counts[1]
    for i in range(len(words)):
        own = _rank(words[i], absolute)
        above += 1 if own > rank else 0
        if own == rank:
            if at < len(keys):
                keys[at] = (own << 32) | (base + i)
            at += 1
    counts[0] += above
    counts[1] = at


@_jit
def wear(weight: Floats, score: Floats, kept: Floats, ranks: npt.NDArray[np.int32], places: Keys, base: int) -> None:
    """Weights times their number of coats: (|score|'s rank, flat index) at or above (ranks[c], places[c])."""
    words = score.view(np.int32)
    for start in range(0, len(words), BLOCK):
        stop = min(len(words), start + BLOCK)
        w, own, k = weight[start:stop], words[start:stop], kept[start:stop]
        for i in range(len(k)):
            k[i] = 0.0
        for c in range(len(ranks)):
            rank, place = ranks[c], np.int32(min(max(places[c] - base - start, 0), BLOCK))
            for i in range(len(k)):
                mine = own[i] & np.int32(0x7FFFFFFF)
                k[i] += np.float32(1.0) if (mine > rank or (mine == rank and np.int32(i) >= place)) else np.float32(0.0)
        for i in range(len(k)):
            k[i] = k[i] * w[i]


@_jit
def pass_threshold(
    gradient: Floats, weight: Floats, score: Floats, momentum: Floats, kept: Floats, alive: npt.NDArray[np.bool_],
    lr: np.float32, mu: np.float32, decay: np.float32, nesterov: bool,
    lowest: np.float32, highest: np.float32, penalty: np.float32, threshold: np.float32, rule: int,
) -> int:  # fmt: skip
    """One SGD step of scores that are compared with a fixed threshold; returns how many became NaN or infinite.

    Scores are clamped to lowest..highest first; their gradient is weight * gradient + penalty * score. rule: see
    `compare`.
    """
    size, infinite, wrong = len(score), np.float32(np.inf), 0
    for start in range(0, size, BLOCK):
        stop = min(size, start + BLOCK)
        g, w, s, m = gradient[start:stop], weight[start:stop], score[start:stop], momentum[start:stop]
        for i in range(len(s)):
            old = s[i]
            old = lowest if old < lowest else (highest if old > highest else old)
            slope = w[i] * g[i] + penalty * old + decay * old
            speed = mu * m[i] + slope
            m[i] = speed
            new = old - lr * (slope + mu * speed if nesterov else speed)
            s[i] = new
            wrong += 0 if abs(new) < infinite else 1
        compare(w, s, kept[start:stop], alive[start:stop], threshold, rule)
    return wrong


@_jit
def compare(
    weight: Floats, score: Floats, kept: Floats, alive: npt.NDArray[np.bool_], threshold: np.float32, rule: int
) -> None:
    """Weights kept by a threshold. rule 0: score > threshold, and alive; 1: score >= threshold; 2: |score| above it.

    Rule 2 gives them the sign of their score. `alive` may be empty for rules 1 and 2; for rule 3 it is all that counts.
    """
    zero = np.float32(0.0)
    if rule == 0:
        for i in range(len(kept)):
            kept[i] = weight[i] if (score[i] > threshold) & alive[i] else zero
    elif rule == 1:
        for i in range(len(kept)):
            kept[i] = weight[i] if score[i] >= threshold else zero
    elif rule == 2:
        for i in range(len(kept)):
            kept[i] = weight[i] if score[i] > threshold else (-weight[i] if score[i] < -threshold else zero)
    else:
        for i in range(len(kept)):
            kept[i] = weight[i] if alive[i] else zero


@_jit
def exact_sum(kept: Floats, scale: float, limbs: int) -> Any:
    """Sum of |kept| * scale in units of 1, 2^-30 and 2^-60, as three integers; all |kept| * scale are below 2^30."""
    first, second, third = np.int64(0), np.int64(0), np.int64(0)
    step = np.float64(1 << 30)
    if limbs == 1:
        for i in range(len(kept)):
            first += np.int32(np.float64(abs(kept[i])) * scale)
        return first, second, third
    for i in range(len(kept)):
        rest = np.float64(abs(kept[i])) * scale
        whole = np.int32(rest)
        first += whole
        rest = (rest - whole) * step
        whole = np.int32(rest)
        second += whole
        third += np.int32((rest - whole) * step)
    return first, second, third


@_jit
def binarise(kept: Floats, alpha: np.float32) -> None:
    """Replace what is not 0 by alpha and its sign."""
    zero = np.float32(0.0)
    for i in range(len(kept)):
        kept[i] = alpha if kept[i] > zero else (-alpha if kept[i] < zero else zero)
