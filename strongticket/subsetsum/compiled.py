"""The fast solver on a CPU: kernels compiled by numba over vector lanes, several threads, a few MB of scratch each."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any, Literal, final

import numpy as np

from strongticket.subsetsum._exact import Bools, Ints
from strongticket.subsetsum.abstract import AbstractSubsetSumSolver, Choice
from strongticket.subsetsum.batch import Batch
from strongticket.subsetsum.goal import Goal, Objective

__all__ = ["NumbaSolver", "aligned", "choose_few", "load_kernels"]

FEW = 7
"""Up to so many items all subsets are compared: the meet in the middle needs four items in each half."""

LARGEST_EXACT = 48
"""Sorted halves of 2^24 sums: 512 MB."""

_LARGEST_BY_SIZE = 40  # halves by subset size need twice the memory of plain ones
_SIDE_BY_SIDE = 34
_SHORT = 7  # subsets up to this size are found by tables of sums, larger ones by the halves
_SUMSET_ITEMS = 22
_INT32_REACH = 1 << 28  # 4 * reach + 1 < 2^30


@cache
def load_kernels() -> SimpleNamespace:
    """Import the kernels, which need numba."""
    try:
        from strongticket.subsetsum import (
            _bitonic_kernels,
            _class_kernels,
            _plain_kernels,
            _sparse_kernels,
            _sumset_kernels,
        )
    except ImportError as error:
        raise ImportError(
            "this backend needs numba: pip install 'strongticket[fast]', or use backend 'torch'"
        ) from error
    return SimpleNamespace(
        bitonic=_bitonic_kernels,
        classes=_class_kernels,
        plain=_plain_kernels,
        sparse=_sparse_kernels,
        sumset=_sumset_kernels,
    )


def aligned(elements: int, dtype: type[Any] = np.int64) -> Any:
    """Scratch that starts on a 64-byte line, so that no vector load straddles two."""
    size = np.dtype(dtype).itemsize
    raw = np.empty(elements + 64 // size, dtype)
    start = (-raw.ctypes.data // size) % (64 // size)
    return raw[start : start + elements]


def choose_few(batch: Batch, goal: Goal) -> Choice:
    """Compare all subsets of at most `FEW` items."""
    masks, sure = np.zeros(len(batch), np.int64), np.ones(len(batch), bool)
    size, sparsest = -1 if goal.size is None else goal.size, goal.objective == "sparsest"
    load_kernels().plain.enumerate_all(
        batch.rows(), batch.targets, goal.limit, size, sparsest, masks, sure.copy(), aligned(1 << batch.n)
    )
    return Choice(masks, sure, sure)


def fixed_size_by_classes(batch: Batch, size: int, masks: Ints) -> None:
    """Write the masks of the best subsets of `size` items; the halves' sums are sorted by subset size."""
    classes = load_kernels().classes
    scratch = aligned(classes.scratch_elements(batch.n, min(size, batch.n - size)))
    classes.fixed_size(batch.rows(), batch.targets, size, masks, np.empty(len(batch), bool), scratch)


def fronts_by_classes(batch: Batch) -> Ints:  # [batch, n + 1]
    """Masks of the best subset of every size."""
    classes, shape = load_kernels().classes, (len(batch), batch.n + 1)
    masks = np.zeros(shape, np.int64)
    if masks.size:
        scratch = aligned(classes.scratch_elements(batch.n, batch.n))
        classes.fronts(batch.rows(), batch.targets, masks, np.empty(shape, bool), scratch)
    return masks


def sparsest_by_classes(batch: Batch, goal: Goal, first: int, masks: Ints) -> Bools:
    """Write the masks of the sparsest subsets within eps of at least `first` items; says which rows have one."""
    classes, solved = load_kernels().classes, np.zeros(len(batch), bool)
    scratch = aligned(classes.scratch_elements(batch.n, batch.n))
    classes.sparsest(batch.rows(), batch.targets, goal.limit, first, batch.n, masks, solved, scratch)
    return solved


@final
class NumbaSolver(AbstractSubsetSumSolver):
    """Exact minimum up to 48 items, all sizes up to 40, sparsest within eps up to 62 (complete to 7 items above 40).

    min_error: enumeration (n < 8), bitonic meet in the middle over vector lanes (n <= 34), two pointers; a pool that
    many targets share is sorted once, wholly (n <= 22) or in halves. sparsest: tables of sums of one to seven items,
    then the exact minimum to exclude what cannot be reached, then the halves' sums by subset size. fixed_size: the
    same tables, or the halves by size.

    Args:
        keys: width of the integers that the minimum is searched with: "int32" twice as many at a time, but
            sum |items| < 2^28 in every row; "auto": the width that each chunk allows.
    """

    name = "numba"
    parallel = True
    reads_only = True

    def __init__(self, keys: Literal["auto", "int32", "int64"] = "auto") -> None:
        if keys not in ("auto", "int32", "int64"):
            raise ValueError(f"expected keys 'auto', 'int32' or 'int64', got {keys!r}")
        self.keys = keys
        load_kernels()

    def most_items(self, objective: Objective) -> int:
        """Memory sets the limits."""
        return {"min_error": LARGEST_EXACT, "fixed_size": _LARGEST_BY_SIZE}.get(objective, 62)

    def chunk_size(self, n: int, goal: Goal, sharing: float = 1.0) -> int:
        """About 10 ms of work in whole blocks of lanes; more where a pool's sums are worth sorting wholly."""
        if goal.objective == "min_error" and n <= _SUMSET_ITEMS and sharing >= _worth_sorting(n):
            return 1 << 17
        return int(min(1 << 13, max(16, 2.0 ** (22.5 - n / 2)))) // 16 * 16

    def choose(self, batch: Batch, goal: Goal) -> Choice:
        """Run the kernel that suits n and the objective."""
        if batch.n <= FEW or not len(batch):
            return choose_few(batch, goal)
        masks, proved = np.zeros(len(batch), np.int64), np.ones(len(batch), bool)
        if goal.objective == "min_error":
            return Choice(masks, proved, self._minimum(batch, masks))
        if goal.objective == "fixed_size":
            assert goal.size is not None
            return Choice(masks, proved, self._fixed_size(batch, goal.size, masks))
        canonical = self._short(batch, goal, masks)
        rows = np.flatnonzero(~canonical)
        if rows.size and batch.n <= _LARGEST_BY_SIZE:
            masks[rows] = self._larger(batch.take(rows), goal)
        elif rows.size:
            proved[rows] = False
        return Choice(masks, proved, canonical)

    def choose_sizes(self, batch: Batch) -> Ints:
        """All sizes at once."""
        return fronts_by_classes(batch)

    def _minimum(self, batch: Batch, masks: Ints) -> Bools:
        """Write the masks of least error; returns where they keep to the rule of ties.

        Targets at or beyond an end of the reach are answered first, without a search.
        """
        n = batch.n
        if n > _SIDE_BY_SIDE:  # two pointers look at the reach themselves
            plain = load_kernels().plain
            plain.two_pointers(batch.rows(), batch.targets, masks, aligned(plain.pointer_elements(n)))
            return np.zeros(len(batch), bool)
        if batch.pool is None or len(batch) < 4 * len(np.unique(batch.pool)):
            own = Batch(batch.rows(), batch.targets)
            settled = np.zeros(len(batch), bool)
            if load_kernels().plain.settle_ends(own.items, own.targets, masks, settled):
                rows = np.flatnonzero(~settled)
                masks[rows] = self._inside(own.take(rows))
            else:
                masks[:] = self._inside(own)
            return settled
        canonical = np.zeros(len(batch), bool)
        for pool, span in batch.pools():
            items, targets = batch.items[pool], batch.targets[span]
            if n <= _SUMSET_ITEMS and len(targets) >= _worth_sorting(n):
                sumset = load_kernels().sumset
                sums, codes = sumset.all_sums(items)
                sumset.nearest_sums(sums, codes, targets, np.argsort(targets), masks[span])
                canonical[span] = True
            else:
                canonical[span] = self._shared(items, targets, masks[span])
        return canonical

    def _inside(self, batch: Batch) -> Ints:
        masks = np.zeros(len(batch), np.int64)
        if masks.size:
            bitonic, width = load_kernels().bitonic, self._width(batch)
            scratch = aligned(bitonic.scratch_elements(batch.n, np.dtype(width).itemsize), width)
            bitonic.minimum(batch.items, batch.targets, masks, scratch)
        return masks

    def _shared(self, items: Ints, targets: Ints, masks: Ints) -> Bools:
        batch = Batch(items[None], targets, np.zeros(len(targets), np.int64))
        masks[:], settled = batch.ends()
        rows = np.flatnonzero(~settled)
        if rows.size:
            bitonic, width = load_kernels().bitonic, self._width(batch)
            found = np.zeros(rows.size, np.int64)
            scratch = aligned(bitonic.scratch_elements(batch.n, np.dtype(width).itemsize), width)
            bitonic.minimum_shared(items, targets[rows], found, scratch)
            masks[rows] = found
        return settled

    def _width(self, batch: Batch) -> type[Any]:
        reach = 0 if self.keys == "int64" else int(load_kernels().bitonic.max_reach(batch.items))
        if self.keys == "int32" and reach >= _INT32_REACH:
            raise ValueError(f"expected sum |items| < 2^28 for int32 keys, got {reach}: use keys 'auto'")
        return np.int32 if self.keys != "int64" and reach < _INT32_REACH else np.int64

    def _short(self, batch: Batch, goal: Goal, masks: Ints) -> Bools:
        """Sparsest subsets of up to seven items, and rows out of reach; says which rows are settled."""
        sparse, n, solved = load_kernels().sparse, batch.n, np.zeros(len(batch), bool)
        keys, index = self._tables(batch, _SHORT)
        sparse.short_sums(batch.rows(), batch.targets, goal.limit, min(_SHORT, n), masks, solved, keys, index)
        return solved

    def _tables(self, batch: Batch, largest: int) -> tuple[Any, Ints]:
        sparse = load_kernels().sparse
        narrow = self.keys != "int64" and sparse.fits_int32(batch.items, batch.targets, largest)
        keys = aligned(sparse.scratch_elements(batch.n, largest), np.int32 if narrow else np.int64)
        return keys, aligned(sparse.index_elements(batch.n, largest))

    def _larger(self, batch: Batch, goal: Goal) -> Ints:
        """Sparsest subsets of more than seven items: rows that nothing reaches drop out first."""
        masks = np.zeros(len(batch), np.int64)
        self._minimum(batch, masks)
        rows = np.flatnonzero(np.abs(batch.errors(masks)) <= goal.limit)
        if rows.size:
            found = np.zeros(rows.size, np.int64)
            sparsest_by_classes(batch.take(rows), goal, _SHORT + 1, found)
            masks[rows] = found
        return masks

    def _fixed_size(self, batch: Batch, size: int, masks: Ints) -> Bools:
        done = np.zeros(len(batch), bool)
        if 1 <= size <= _SHORT:
            keys, index = self._tables(batch, size)
            load_kernels().sparse.fixed_short(batch.rows(), batch.targets, size, masks, done, keys, index)
        rows = np.flatnonzero(~done)
        if rows.size:
            found = np.zeros(rows.size, np.int64)
            fixed_size_by_classes(batch.take(rows), size, found)
            masks[rows] = found
        return done


def _worth_sorting(n: int) -> int:
    """Targets from which sorting all sums of a pool beats sorting its halves, as measured at n = 20..22."""
    return max(1024, 1 << max(0, n - 7))
