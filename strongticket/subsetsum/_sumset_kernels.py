"""Compiled kernels for one pool of items that very many targets share: all its subset sums, sorted once, then searched.

Each sum carries a code, the size of its subset above the mask, so that comparing codes is the rule of ties: of equal
sums the smaller code is kept, and of the two neighbours of a target that are equally far the smaller code wins. What
comes out is therefore the subset that the rule names, at no cost.
"""
# numba has no types: its decorators are untyped.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]

LARGEST = 22  # items; all sums then take 48 MB, and 96 MB while they are made
_SIZE = 22  # bit of a code where the size begins
_END = 1 << 62  # guards both ends: farther from everything than any sum, |sums| < 2^60

_jit = numba.njit(nogil=True, cache=True)


@_jit
def _merge_shifted(
    sums: Ints, codes: Codes, size: int, shift: int, bit: int, out: Ints, out_codes: Codes
) -> None:  # fmt: skip
    """Merge `sums` with `sums + shift`, whose codes gain `bit`; from both ends, without a branch that depends on data.

    Sums start at index 1; the slots before and behind are guards.
    """
    one, gain = np.uint64(1), np.int32(bit)
    sums[0], sums[size + 1] = -_END, _END
    i, j, p = one, one, one
    k, m, q = np.uint64(size), np.uint64(size), np.uint64(2 * size)
    for _ in range(size):
        x, y = sums[i], sums[j] + shift
        d = y - x
        below = d >> 63  # -1 where the shifted sum is smaller, else 0; bits where a comparison would become a jump
        out[p] = x + (d & below)
        old, new = codes[i], np.int32(codes[j] + gain)
        out_codes[p] = old ^ ((old ^ new) & np.int32(below))
        i, j, p = i + one + np.uint64(below), j - np.uint64(below), p + one
        x, y = sums[k], sums[m] + shift
        d = y - x
        below = d >> 63
        out[q] = y - (d & below)
        old, new = codes[k], np.int32(codes[m] + gain)
        out_codes[q] = new ^ ((old ^ new) & np.int32(below))
        k, m, q = k + np.uint64(below), m - one - np.uint64(below), q - one


@_jit
def _drop_repeats(sums: Ints, codes: Codes) -> int:
    """Keep each sum once, with its smallest code, moving down what follows; returns how many are left."""
    repeats = 0
    for i in range(len(sums) - 1):
        repeats += 1 if sums[i] == sums[i + 1] else 0
    if repeats == 0:
        return len(sums)
    last, total, code = 0, sums[0], codes[0]
    for i in range(1, len(sums)):
        fresh = sums[i] != total
        code = codes[i] if fresh else min(codes[i], code)
        total = sums[i]
        last += 1 if fresh else 0
        sums[last], codes[last] = total, code
    return last + 1


@_jit
def _fill(items: Ints, sums: Ints, codes: Codes, other: Ints, other_codes: Codes) -> int:
    odd = False
    for x in items:
        odd = odd != (x != 0)
    if odd:
        sums, codes, other, other_codes = other, other_codes, sums, codes
    sums[1], codes[1] = 0, 0
    size = 1
    for i in range(len(items)):
        if items[i] != 0:
            _merge_shifted(sums, codes, size, items[i], (1 << _SIZE) + (1 << i), other, other_codes)
            sums, codes, other, other_codes = other, other_codes, sums, codes
            size *= 2
    return _drop_repeats(sums[1 : size + 1], codes[1 : size + 1])


def all_sums(items: Ints) -> tuple[Ints, Codes]:
    """The distinct subset sums of `items`, at most 22 of them, ascending, each with size << 22 | mask.

    Of subsets of equal sum the smallest is kept, then the smallest mask; zero items are left out.
    """
    room = (1 << len(items)) + 2
    sums, codes = np.empty(room, np.int64), np.empty(room, np.int32)
    count = _fill(items, sums, codes, np.empty(room, np.int64), np.empty(room, np.int32))
    return sums[1 : count + 1], codes[1 : count + 1]


@_jit
def nearest_sums(sums: Ints, codes: Codes, targets: Ints, order: Ints, masks: Ints) -> None:
    """Masks of the sums nearest to the targets, by the rule of ties; `order` sorts the targets.

    Each search starts where the last one ended and doubles its stride, so many targets cost little each. Several
    threads may share the sums, each with a span of `order`.
    """
    count = len(sums)
    at = 0  # every sum before it is below the target
    for r in order:
        target = targets[r]
        stride = 1
        while at + stride <= count and sums[at + stride - 1] < target:
            at += stride
            stride *= 2
        while stride > 0:
            if at + stride <= count and sums[at + stride - 1] < target:
                at += stride
            stride >>= 1
        best = min(at, count - 1)
        if at > 0:
            above, below = abs(target - sums[best]), abs(target - sums[at - 1])
            if below < above or (below == above and codes[at - 1] < codes[best]):
                best = at - 1
        masks[r] = codes[best] & ((1 << _SIZE) - 1)
