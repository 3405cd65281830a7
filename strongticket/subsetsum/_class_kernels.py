"""Compiled kernels of subsets by size: each half's sums lie sorted class by class of subset size.

A class of a half with one item more is the merge of the same class and of the class below, shifted by the item; each
sum carries its mask. Every pair of classes, one of each half, is then searched with two pointers for the size they make
together. Merges and searches run from both ends at once: two independent chains without a branch that depends on data.

Zero items are left out beforehand, so sizes count nonzero items only.
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

_END = 1 << 62  # guards both ends of a class: farther from everything than any sum, |sums| < 2^60
_FAR = 1 << 61  # more than any error of a clamped target, less than any that involves a guard

_jit = numba.njit(nogil=True, cache=True)


def scratch_elements(n: int, size: int) -> int:
    """Number of int64 elements of scratch for rows of `n` items and up to `size` of each half."""
    half = n - n // 2
    classes = min(half, max(size, 0))
    room = sum(math.comb(half, k) for k in range(classes + 1)) + 2 * (classes + 1)
    return 8 * room + _tail(n)


def _tail(n: int) -> int:
    return 4 * (n - n // 2 + 2) + 4 * (n + 1)


_shared_tail = _jit(_tail)


@_jit
def _merge(
    keys: Ints, masks: Ints, a: int, size_a: int, b: int, size_b: int, shift: int, bit: int, out: Ints, out_masks: Ints,
    o: int,
) -> None:  # fmt: skip
    """Merge the class at `a` with the class at `b` shifted; of equal sums those without the new item come first."""
    one = np.uint64(1)
    i, j, p = np.uint64(a), np.uint64(b), np.uint64(o)
    k, m, q = np.uint64(a + size_a - 1), np.uint64(b + size_b - 1), np.uint64(o + size_a + size_b - 1)
    for _ in range((size_a + size_b + 1) // 2):
        x, y = keys[i], keys[j] + shift
        d = y - x
        below = d >> 63  # -1 where the shifted sum is smaller, else 0; bits where a comparison would become a jump
        out[p] = x + (d & below)
        old, new = masks[i], masks[j] | bit
        out_masks[p] = old ^ ((old ^ new) & below)
        i, j, p = i + one + np.uint64(below), j - np.uint64(below), p + one
        x, y = keys[k], keys[m] + shift
        d = y - x
        below = d >> 63
        out[q] = y - (d & below)
        old, new = masks[k], masks[m] | bit
        out_masks[q] = new ^ ((old ^ new) & below)
        k, m, q = k + np.uint64(below), m - one - np.uint64(below), q - one


@_jit
def _class_sums(
    x: Ints, first: int, stop: int, largest: int, keys: Ints, masks: Ints, other: Ints, other_masks: Ints,
    starts: Ints, sizes: Ints,
) -> bool:  # fmt: skip
    """Sums of subsets of up to `largest` of the items first:stop, in classes; True if they end up in `other`."""
    starts[0], sizes[0] = 1, 1
    keys[0], keys[1], keys[2], masks[1] = -_END, 0, _END, 0
    swapped = False
    for m in range(stop - first):
        shift, bit = x[first + m], 1 << m
        source, source_masks = (other, other_masks) if swapped else (keys, masks)
        out, out_masks = (keys, masks) if swapped else (other, other_masks)
        top = min(m + 1, largest)
        o, below, size_below = 1, 0, 0  # class k - 1 of the source
        for k in range(top + 1):
            at, size = (starts[k], sizes[k]) if k <= m else (0, 0)
            out[o - 1] = -_END
            if size_below == 0:  # k = 0
                out[o], out_masks[o] = 0, 0
            elif size == 0:  # k = m + 1: all items so far
                out[o], out_masks[o] = source[below] + shift, source_masks[below] | bit
            else:
                _merge(source, source_masks, at, size, below, size_below, shift, bit, out, out_masks, o)
            new_size = size + size_below
            out[o + new_size] = _END
            starts[k], sizes[k] = o, new_size
            below, size_below = at, size
            o += new_size + 2
        swapped = not swapped
    return swapped


@_jit
def _closest(
    a: Ints, at_a: int, size_a: int, b: Ints, at_b: int, size_b: int, target: int
) -> tuple[int, np.int64, np.int64]:
    """Least |target - a_i - b_j| over two classes, and its i and j: two pointers from either corner.

    After size_a + size_b steps in all, the rows and columns that one walk and the other have left behind are all there
    are.
    """
    one = np.uint64(1)
    i, j = np.uint64(at_a), np.uint64(at_b + size_b - 1)
    k, m = np.uint64(at_a + size_a - 1), np.uint64(at_b)
    best, best_i, best_j = _FAR, i, j
    other, other_k, other_m = _FAR, k, m
    for _ in range((size_a + size_b + 1) // 2):
        rest = target - a[i] - b[j]
        error = abs(rest)
        best_i, best_j = (i if error < best else best_i), (j if error < best else best_j)
        best = min(best, error)
        step = np.uint64(rest > 0)
        i, j = i + step, j - (one - step)
        rest = target - a[k] - b[m]
        error = abs(rest)
        other_k, other_m = (k if error < other else other_k), (m if error < other else other_m)
        other = min(other, error)
        step = np.uint64(rest < 0)
        k, m = k - step, m + (one - step)
    if other < best:
        return other, np.int64(other_k), np.int64(other_m)
    return best, np.int64(best_i), np.int64(best_j)


@_jit
def _nonzero(items: Ints, r: int, x: Ints, places: Ints) -> int:
    """The nonzero items of a row and where they are."""
    count = 0
    for i in range(items.shape[1]):
        if items[r, i] != 0:
            x[count], places[count] = items[r, i], i
            count += 1
    return count


@_jit
def _spread(mask: int, places: Ints, count: int, n: int) -> int:
    """A mask of nonzero items as a mask of all items."""
    if count == n:
        return mask
    out = 0
    for i in range(count):
        out |= ((mask >> i) & 1) << places[i]
    return out


@_jit
def _clamp(target: int, x: Ints, count: int) -> int:
    """The target, or one quantum beyond the reach of all subsets: errors keep their order."""
    low, high = 0, 0
    for i in range(count):
        low += min(x[i], 0)
        high += max(x[i], 0)
    return min(max(target, low - 1), high + 1)


@_jit
def _search_sizes(
    x: Ints, count: int, target: int, first: int, last: int, eps: int, errors: Ints, chosen: Ints, scratch: Ints,
    spare: Ints,
) -> int:  # fmt: skip
    """Least error and subset of each size `first` to `last`, up to the first within eps; returns the next size.

    Needs first <= last <= count.
    """
    h = count // 2
    room = len(scratch) // 8
    a, b = scratch[:room], scratch[2 * room : 3 * room]
    masks_a, masks_b = scratch[4 * room : 5 * room], scratch[6 * room : 7 * room]
    other_a, other_b = scratch[room : 2 * room], scratch[3 * room : 4 * room]
    other_masks_a, other_masks_b = scratch[5 * room : 6 * room], scratch[7 * room :]
    quarter = len(spare) // 4
    starts_a, sizes_a = spare[:quarter], spare[quarter : 2 * quarter]
    starts_b, sizes_b = spare[2 * quarter : 3 * quarter], spare[3 * quarter :]
    if _class_sums(x, 0, h, last, a, masks_a, other_a, other_masks_a, starts_a, sizes_a):
        a, masks_a = other_a, other_masks_a
    if _class_sums(x, h, count, last, b, masks_b, other_b, other_masks_b, starts_b, sizes_b):
        b, masks_b = other_b, other_masks_b
    for size in range(first, last + 1):
        errors[size] = _FAR
        for ka in range(max(0, size - (count - h)), min(h, size) + 1):
            kb = size - ka
            error, i, j = _closest(a, starts_a[ka], sizes_a[ka], b, starts_b[kb], sizes_b[kb], target)
            if error < errors[size]:
                errors[size], chosen[size] = error, masks_a[i] | (masks_b[j] << h)
        if errors[size] <= eps:
            return size + 1
    return last + 1


@_jit
def fronts(items: Ints, targets: Ints, masks: Ints, exists: Flags, scratch: Ints) -> None:
    """The subset of least error of every size 0..n, by size [batch, n + 1]; scratch: scratch_elements(n, n).

    No subset exists of more items than a row has nonzero ones. Which of several equally good subsets is chosen is
    not defined.
    """
    batch, n = items.shape
    tail = scratch[len(scratch) - _shared_tail(n) :]
    scratch = scratch[: len(scratch) - len(tail)]
    x, places, errors = tail[: n + 1], tail[n + 1 : 2 * n + 2], tail[2 * n + 2 : 3 * n + 3]
    chosen, spare = tail[3 * n + 3 : 4 * n + 4], tail[4 * n + 4 :]
    for r in range(batch):
        count = _nonzero(items, r, x, places)
        target = _clamp(targets[r], x, count)
        _search_sizes(x, count, target, 0, count, -1, errors, chosen, scratch, spare)
        for size in range(n + 1):
            exists[r, size] = size <= count
            masks[r, size] = _spread(chosen[size], places, count, n) if size <= count else 0


@_jit
def fixed_size(items: Ints, targets: Ints, size: int, masks: Ints, exists: Flags, scratch: Ints) -> None:
    """The subset of exactly `size` nonzero items of least error; scratch: scratch_elements(n, min(size, n - size)).

    More than half of a row's items are chosen by leaving out the others. Which of several equally good subsets is
    chosen is not defined.
    """
    batch, n = items.shape
    tail = scratch[len(scratch) - _shared_tail(n) :]
    scratch = scratch[: len(scratch) - len(tail)]
    x, places, errors = tail[: n + 1], tail[n + 1 : 2 * n + 2], tail[2 * n + 2 : 3 * n + 3]
    chosen, spare = tail[3 * n + 3 : 4 * n + 4], tail[4 * n + 4 :]
    for r in range(batch):
        count = _nonzero(items, r, x, places)
        exists[r] = size <= count
        masks[r] = 0
        if size > count:
            continue
        target, total = _clamp(targets[r], x, count), 0
        for i in range(count):
            total += x[i]
        left_out = 2 * size > count
        least = count - size if left_out else size
        _search_sizes(
            x, count, total - target if left_out else target, least, least, -1, errors, chosen, scratch, spare
        )
        mask = ((1 << count) - 1) ^ chosen[least] if left_out else chosen[least]
        masks[r] = _spread(mask, places, count, n)


@_jit
def sparsest(
    items: Ints, targets: Ints, eps: int, first: int, last: int, masks: Ints, solved: Flags, scratch: Ints
) -> None:
    """The smallest subset within `eps` of `first` to `last` items, of least error among its size.

    For rows of which it is known that fewer than `first` items do not do. Rows without such a subset stay unsolved,
    with mask 0. Which of several equally good subsets is chosen is not defined. Scratch: scratch_elements(n, last).
    """
    batch, n = items.shape
    tail = scratch[len(scratch) - _shared_tail(n) :]
    scratch = scratch[: len(scratch) - len(tail)]
    x, places, errors = tail[: n + 1], tail[n + 1 : 2 * n + 2], tail[2 * n + 2 : 3 * n + 3]
    chosen, spare = tail[3 * n + 3 : 4 * n + 4], tail[4 * n + 4 :]
    for r in range(batch):
        count = _nonzero(items, r, x, places)
        solved[r], masks[r] = False, 0
        if first > min(last, count):
            continue
        target = _clamp(targets[r], x, count)
        limit = min(eps - abs(targets[r] - target), _FAR - 1)
        if limit < 0:
            continue
        done = _search_sizes(x, count, target, first, min(last, count), limit, errors, chosen, scratch, spare)
        if errors[done - 1] <= limit:
            solved[r], masks[r] = True, _spread(chosen[done - 1], places, count, n)
