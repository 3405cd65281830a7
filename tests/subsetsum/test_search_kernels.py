from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

numba = pytest.importorskip("numba")

from strongticket.subsetsum import _class_kernels as classes  # noqa: E402
from strongticket.subsetsum import _plain_kernels as plain  # noqa: E402
from strongticket.subsetsum import _sparse_kernels as sparse  # noqa: E402
from strongticket.subsetsum import _sumset_kernels as sumset  # noqa: E402
from strongticket.subsetsum import solve  # noqa: E402

BUDGET = 1 << 60
Ranked = list[tuple[int, int, int]]  # (|error|, size, mask)


# --- The literal oracle: all subsets without zero items, in exact integers.


def all_subsets(items: list[int], target: int) -> Ranked:
    sums = [0]
    for x in items:
        sums += [s + x for s in sums]
    zeros = sum(1 << i for i, x in enumerate(items) if x == 0)
    return [(abs(target - s), m.bit_count(), m) for m, s in enumerate(sums) if not m & zeros]


def best_of_size(subsets: Ranked, size: int) -> tuple[int, int] | None:
    return min(((e, m) for e, s, m in subsets if s == size), default=None)


def sparsest(subsets: Ranked, eps: int) -> tuple[int, int, int] | None:
    return min(((s, e, m) for e, s, m in subsets if e <= eps), default=None)


def errors(items: np.ndarray, targets: np.ndarray, masks: np.ndarray) -> list[int]:
    return [
        abs(int(z) - sum(int(x) for i, x in enumerate(row) if int(m) >> i & 1))
        for row, z, m in zip(items, targets, masks, strict=True)
    ]


# --- Rows of every nasty kind.


def rows(n: int, rng: np.random.Generator) -> Iterator[list[int]]:
    for bits in (1, 3, 6, 23, 46, 55):
        yield rng.integers(-(1 << bits), (1 << bits) + 1, n).tolist()
    most = (BUDGET - 1) // max(n, 1)
    yield [0] * n
    yield [most] * n
    yield [-most] * n
    yield [-7] * n
    yield [5, -5] * (n // 2) + [5] * (n % 2)
    yield [0, 3] * (n // 2) + [0] * (n % 2)
    yield [BUDGET - 1] + [0] * (n - 1) if n else []
    yield [0] * (n - 1) + [1 - BUDGET] if n else []
    yield [1 << i for i in range(n)]
    yield [1 << 40, *rng.integers(-3, 4, n - 1).tolist()] if n else []
    yield (-rng.integers(1, 1 << 30, n)).tolist()


def instances(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Every row with targets inside, at and beyond the ends of its reach, on subset sums and beside them."""
    rng = np.random.default_rng(seed)
    items, targets = [], []
    for row in rows(n, rng):
        low, high = sum(min(x, 0) for x in row), sum(max(x, 0) for x in row)
        some = sum(x for x in row if rng.integers(2))
        inside = int(rng.integers(low, high + 1))
        for target in {inside, some, some + 1, low, high, low - 1, high + 1, 0, -(1 << 61), 1 << 61}:
            items.append(row)
            targets.append(target)
    return np.array(items, np.int64).reshape(len(items), n), np.array(targets, np.int64)


def poisoned(elements: int, dtype: type = np.int64) -> np.ndarray:
    """Scratch that was not cleared."""
    return np.random.default_rng(7).integers(-(1 << 30), 1 << 30, elements).astype(dtype)


# --- The kernels behind one interface: masks, and where they are an answer.


def short_sums(items, targets, eps, largest, dtype=np.int64):
    batch, n = items.shape
    masks, solved = np.full(batch, -1), np.zeros(batch, bool)
    keys = poisoned(sparse.scratch_elements(n, largest), dtype)
    index = poisoned(sparse.index_elements(n, largest))
    sparse.short_sums(items, targets, eps, largest, masks, solved, keys, index)
    return masks, solved


def fixed_short(items, targets, size, dtype=np.int64):
    batch, n = items.shape
    masks, done = np.full(batch, -1), np.zeros(batch, bool)
    keys, index = poisoned(sparse.scratch_elements(n, size), dtype), poisoned(sparse.index_elements(n, size))
    sparse.fixed_short(items, targets, size, masks, done, keys, index)
    return masks, done


def class_sparsest(items, targets, eps, first, last):
    batch, n = items.shape
    masks, solved = np.full(batch, -1), np.zeros(batch, bool)
    classes.sparsest(items, targets, eps, first, last, masks, solved, poisoned(classes.scratch_elements(n, last)))
    return masks, solved


def fixed_size(items, targets, size):
    batch, n = items.shape
    masks, exists = np.full(batch, -1), np.zeros(batch, bool)
    classes.fixed_size(items, targets, size, masks, exists, poisoned(classes.scratch_elements(n, min(size, n - size))))
    return masks, exists


def fronts(items, targets):
    batch, n = items.shape
    masks, exists = np.full((batch, n + 1), -1), np.zeros((batch, n + 1), bool)
    classes.fronts(items, targets, masks, exists, poisoned(classes.scratch_elements(n, n)))
    return masks, exists


def enumerate_all(items, targets, eps=-1, size=-1, objective_sparsest=False):
    batch, n = items.shape
    masks, exists = np.full(batch, -1), np.zeros(batch, bool)
    plain.enumerate_all(items, targets, eps, size, objective_sparsest, masks, exists, poisoned(1 << n))
    return masks, exists


def hash_join(items, targets):
    n = items.shape[1]
    masks = np.full(len(targets), -1)
    plain.hash_join(items, targets, masks, poisoned(plain.hash_elements(n)), poisoned(plain.head_elements(n), np.int32))
    return masks


def two_pointers(items, targets):
    masks = np.full(len(targets), -1)
    plain.two_pointers(items, targets, masks, poisoned(plain.pointer_elements(items.shape[1])))
    return masks


def nearest_sums(items, targets):
    masks = np.full(len(targets), -1)
    sums, codes = sumset.all_sums(items)
    assert (np.diff(sums) > 0).all()
    sumset.nearest_sums(sums, codes, targets, np.argsort(targets), masks)
    return masks


SIZES = range(14)


@pytest.fixture(scope="module", params=SIZES, ids=lambda n: f"n{n}")
def case(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, list[Ranked]]:
    items, targets = instances(request.param, seed=request.param)
    if request.param > 9:  # all subsets in Python take long
        keep = np.random.default_rng(1).permutation(len(targets))[: 400 >> max(request.param - 10, 0)]
        items, targets = items[keep], targets[keep]
    return items, targets, [all_subsets(r, z) for r, z in zip(items.tolist(), targets.tolist(), strict=True)]


def test_short_sums_keep_the_rule_of_ties(case) -> None:
    items, targets, subsets = case
    for eps, largest in itertools.product((-1, 0, 1, 5, 1 << 20, 1 << 45, 1 << 62), (2, 4, 5, 6, 7)):
        masks, solved = short_sums(items, targets, eps, largest)
        small = np.flatnonzero(np.abs(items).max(1, initial=0) + np.abs(targets) // largest < 1 << 27)
        if small.size:
            assert sparse.fits_int32(items[small], targets[small], largest)
            narrow, narrow_solved = short_sums(items[small], targets[small], eps, largest, np.int32)
            np.testing.assert_array_equal(narrow_solved, solved[small])
            np.testing.assert_array_equal(narrow[narrow_solved], masks[small][narrow_solved])
        for row, z, found, mask, ok in zip(items.tolist(), targets.tolist(), subsets, masks, solved, strict=True):
            beyond = max(z - sum(max(x, 0) for x in row), sum(min(x, 0) for x in row) - z)
            right = sparsest(found, eps)
            if beyond > eps:
                assert ok
                assert mask == min(found)[2]
                assert right is None or eps < 0
            elif right is not None and right[0] <= largest:
                assert ok
                assert mask == right[2]
            else:
                assert not ok


def test_fixed_sizes_and_fronts(case) -> None:
    items, targets, subsets = case
    n = items.shape[1]
    front, front_exists = fronts(items, targets)
    for size in range(n + 3):
        masks, exists = fixed_size(items, targets, size)
        for b, found in enumerate(subsets):
            right = best_of_size(found, size)
            assert exists[b] == (right is not None)
            if size <= n:
                assert front_exists[b, size] == exists[b]
            if right is not None:
                for mask in (int(masks[b]), int(front[b, size])):
                    assert (right[0], size, mask) in found


def test_fixed_short_keeps_the_rule_of_ties(case) -> None:
    items, targets, subsets = case
    small = np.abs(items).max(1, initial=0) + np.abs(targets) // 7 < 1 << 27
    for size in range(1, 8):
        masks, done = fixed_short(items, targets, size)
        np.testing.assert_array_equal(done, (items != 0).all(1) & (size <= items.shape[1]))
        narrow, narrow_done = fixed_short(items[small], targets[small], size, np.int32)
        np.testing.assert_array_equal(narrow_done, done[small])
        np.testing.assert_array_equal(narrow, masks[small])
        for mask, ok, found in zip(masks, done, subsets, strict=True):
            if ok:
                assert mask == best_of_size(found, size)[1]


def test_sparsest_by_classes(case) -> None:
    items, targets, subsets = case
    n = items.shape[1]
    for eps, first, last in itertools.product((-1, 0, 5, 1 << 45, 1 << 62), (0, 1, 3), (2, n)):
        masks, solved = class_sparsest(items, targets, eps, first, min(last, n))
        for mask, ok, found in zip(masks.tolist(), solved, subsets, strict=True):
            right = sparsest([s for s in found if first <= s[1] <= last], eps)
            assert ok == (right is not None)
            if right is not None:
                assert (right[1], right[0], mask) in found


def test_exact_minimum_without_vectors(case) -> None:
    items, targets, subsets = case
    least = [min(s)[0] for s in subsets]
    assert errors(items, targets, hash_join(items, targets)) == least
    assert errors(items, targets, two_pointers(items, targets)) == least


def test_sumset_keeps_the_rule_of_ties(case) -> None:
    items, targets, subsets = case
    for row in np.unique(items, axis=0):
        here = np.flatnonzero((items == row).all(1))
        masks = nearest_sums(row, targets[here])
        assert masks.tolist() == [min(subsets[b])[2] for b in here]


@pytest.mark.parametrize("n", range(9))
def test_enumeration_keeps_the_rule_of_ties(n: int) -> None:
    items, targets = instances(n, seed=n)
    subsets = [all_subsets(r, z) for r, z in zip(items.tolist(), targets.tolist(), strict=True)]
    masks, exists = enumerate_all(items, targets)
    assert exists.all()
    assert masks.tolist() == [min(s)[2] for s in subsets]
    for eps in (-1, 0, 5, 1 << 45, 1 << 62):
        masks, _ = enumerate_all(items, targets, eps, -1, True)
        assert masks.tolist() == [(sparsest(s, eps) or min(s))[2] for s in subsets]
    for size in range(n + 2):
        masks, exists = enumerate_all(items, targets, size=size)
        right = [best_of_size(s, size) for s in subsets]
        assert exists.tolist() == [r is not None for r in right]
        assert masks[exists].tolist() == [r[1] for r in right if r is not None]


@given(st.lists(st.integers(-9, 9), max_size=9), st.integers(-50, 50), st.integers(-1, 12))
def test_coarse_grids(items: list[int], target: int, eps: int) -> None:
    # nearly every answer is tied here
    subsets = all_subsets(items, target)
    x, z = np.array([items], np.int64).reshape(1, -1), np.array([target])
    assert nearest_sums(x[0], z).tolist() == [min(subsets)[2]]
    assert errors(x, z, hash_join(x, z)) == errors(x, z, two_pointers(x, z)) == [min(subsets)[0]]
    right = sparsest(subsets, eps)
    for dtype in (np.int32, np.int64):
        masks, solved = short_sums(x, z, eps, 7, dtype)
        assert not solved[0] or masks[0] == (right or min(subsets))[-1]
        assert solved[0] or right is None or right[0] > 7
    for size in range(len(items) + 1):
        masks, exists = fixed_size(x, z, size)
        best = best_of_size(subsets, size)
        assert exists[0] == (best is not None)
        assert best is None or (best[0], size, int(masks[0])) in subsets


@pytest.mark.parametrize("batch", [0, 1, 7, 8, 9, 15, 16, 17, 33, 100])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_the_company_of_a_row_changes_nothing(batch: int, dtype: type) -> None:
    rng = np.random.default_rng(batch)
    items, targets = rng.integers(-(1 << 20), 1 << 20, (batch, 14)), rng.integers(-(1 << 20), 1 << 20, batch)
    together = short_sums(items, targets, 60, 6, dtype)
    assert batch < 15 or 0 < together[1].sum() < batch  # rows of all sizes wait in the queues
    for b in range(batch):
        mask, solved = short_sums(items[b : b + 1], targets[b : b + 1], 60, 6, dtype)
        assert solved[0] == together[1][b]
        assert not solved[0] or mask[0] == together[0][b]


@pytest.mark.parametrize("n", [14, 17, 20, 21, 22, 25, 30, 34])
def test_independent_algorithms_agree_beyond_the_oracle(n: int) -> None:
    rng = np.random.default_rng(n)
    items = rng.integers(-(1 << 46), 1 << 46, (6, n))
    targets = rng.integers(-(1 << 46), 1 << 46, 6)
    items[1] >>= 40  # small integers: many ties
    targets[1] >>= 40
    items[2, ::3] = 0
    least = errors(items, targets, two_pointers(items, targets))
    assert errors(items, targets, hash_join(items, targets)) == least
    if n <= 22:
        for b in range(6):
            mask = nearest_sums(items[b], targets[b : b + 1])
            assert errors(items[b : b + 1], targets[b : b + 1], mask) == [least[b]]
    if n <= 25:
        masks, exists = fronts(items, targets)
        by_size = [errors(items, targets, masks[:, k]) for k in range(n + 1)]
        assert [min(by_size[k][b] for k in range(n + 1) if exists[b, k]) for b in range(6)] == least
        for size in range(1, n + 1):
            mask, there = fixed_size(items, targets, size)
            np.testing.assert_array_equal(there, exists[:, size])
            assert [e for e, t in zip(errors(items, targets, mask), there, strict=True) if t] == [
                e for e, t in zip(by_size[size], there, strict=True) if t
            ]
    for size in (1, 2, 3, 4, 5):
        short, done = fixed_short(items, targets, size)
        mask, _ = fixed_size(items, targets, size)
        np.testing.assert_array_equal(done, (items != 0).all(1))
        assert errors(items[done], targets[done], short[done]) == errors(items[done], targets[done], mask[done])
    eps = 1 << 34
    short, solved = short_sums(items, targets, eps, 5)
    mask, found = class_sparsest(items, targets, eps, 0, 5)
    np.testing.assert_array_equal(solved, found)
    assert errors(items[solved], targets[solved], short[solved]) == errors(items[solved], targets[solved], mask[solved])


@pytest.mark.parametrize("n", [40, 62])
def test_small_subsets_of_many_items(n: int) -> None:
    rng = np.random.default_rng(n)
    items, targets = rng.integers(-(1 << 46), 1 << 46, (3, n)), rng.integers(-(1 << 46), 1 << 46, 3)
    for size in (2, 4) if n == 62 else (2, 5):
        planted = np.array([row[rng.permutation(n)[:size]].sum() for row in items])
        assert errors(items, planted, fixed_size(items, planted, size)[0]) == [0, 0, 0]
        rest = items.sum(1) - planted
        assert errors(items, rest, fixed_size(items, rest, n - size)[0]) == [0, 0, 0]
        short, done = fixed_short(items, targets, size)
        assert done.all()
        assert errors(items, targets, short) == errors(items, targets, fixed_size(items, targets, size)[0])
        masks, solved = short_sums(items, planted, 0, size)
        assert solved.all()
        assert errors(items, planted, masks) == [0, 0, 0]


@pytest.mark.parametrize("kind", ["equal", "two values", "two scales", "far target"])
def test_hash_join_is_never_quadratic(kind: str) -> None:
    # 2^28 pairs of sums per row would take a second each
    n = 28
    items = np.ones((20, n), np.int64)
    items[:, ::2] = {"two values": 3, "two scales": 1 << 50}.get(kind, 1)
    items *= 1 << 8
    targets = items.sum(1) // 2 + 77
    if kind == "far target":
        items = np.random.default_rng(0).integers(-(1 << 40), 1 << 40, (20, n))
        targets = items.clip(0).sum(1) - np.arange(20)
    hash_join(items[:1, :10].copy(), targets[:1])  # compile
    start = time.process_time()
    masks = hash_join(items, targets)
    assert time.process_time() - start < 4
    assert errors(items, targets, masks) == errors(items, targets, two_pointers(items, targets))


def test_one_signature_per_width() -> None:
    for kernel, count in (
        (sparse.short_sums, 2),
        (sparse.fixed_short, 2),
        (classes.fronts, 1),
        (classes.fixed_size, 1),
        (classes.sparsest, 1),
        (plain.hash_join, 1),
        (plain.two_pointers, 1),
        (plain.enumerate_all, 1),
        (sumset.nearest_sums, 1),
    ):
        assert len(kernel.signatures) <= count, kernel


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("batch", [15, 47, 95, 200, 331])
def test_incomplete_blocks_of_every_size_fit_their_queues(dtype: type, batch: int) -> None:
    # at the end of a batch the leftovers of all sizes pile up; scratch is guarded, and every row must get its answer
    rng = np.random.default_rng(batch)
    n, largest = 9, 7
    items = 2 * rng.integers(-(1 << 21), 1 << 21, (batch, n)) + 1
    targets = rng.integers(-(1 << 23), 1 << 23, batch)
    for eps in (0, 300, 3000, 30_000):
        sizes = sparse.scratch_elements(n, largest), sparse.index_elements(n, largest)
        keys, index = np.full(sizes[0] + 512, 7, dtype), np.full(sizes[1] + 512, 7, np.int64)
        masks, solved = np.zeros(batch, np.int64), np.zeros(batch, bool)
        sparse.short_sums(items, targets, eps, largest, masks, solved, keys[: sizes[0]], index[: sizes[1]])
        assert (keys[sizes[0] :] == 7).all()
        assert (index[sizes[1] :] == 7).all()
        truth = solve(items, targets, objective="sparsest", eps=eps, backend="brute")
        short = truth.found & (truth.size <= largest)
        assert (solved[short]).all()
        np.testing.assert_array_equal(masks[short], truth.mask[short])
