"""The vector kernels of the exact minimum against all subsets, against sorted halves, and against plain Python."""

from __future__ import annotations

import collections
import hashlib
import importlib.util
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from strongticket.subsetsum import _bitonic_kernels, _roofline

Ints = npt.NDArray[np.int64]
WIDTHS: list[Any] = [np.int32, np.int64]
LIMIT: dict[Any, int] = {
    np.int32: (1 << 28) - 1,
    np.int64: (1 << 60) - 1,
}  # largest sum of |items|: 4 sum + 1 below 2^30, 2^62


def scratch(n: int, dtype: type[Any]) -> npt.NDArray[Any]:
    size = np.dtype(dtype).itemsize
    elements = _bitonic_kernels.scratch_elements(n, size)
    raw: npt.NDArray[Any] = np.full(elements + 64 // size, 7, dtype)  # full of nonsense, and followed by guards
    start = (-raw.ctypes.data // size) % (64 // size)
    return raw[start : start + elements]


def solve(items: Ints, targets: Ints, dtype: type[Any]) -> Ints:
    masks = np.full(len(items), -1, np.int64)
    _bitonic_kernels.minimum(items, targets, masks, scratch(items.shape[1], dtype))
    return masks


def solve_shared(items: Ints, targets: Ints, dtype: type[Any]) -> Ints:
    masks = np.full(len(targets), -1, np.int64)
    _bitonic_kernels.minimum_shared(items, targets, masks, scratch(len(items), dtype))
    return masks


def errors(items: Ints, targets: Ints, masks: Ints) -> Ints:
    bits = (masks[:, None] >> np.arange(items.shape[1])) & 1
    error: Ints = np.abs(targets - (bits * items).sum(1))
    return error


def all_sums(items: Ints) -> Ints:
    sums = np.zeros((len(items), 1), np.int64)
    for i in range(items.shape[1]):
        sums = np.concatenate([sums, sums + items[:, i : i + 1]], axis=1)
    return sums


def least_errors(items: Ints, targets: Ints) -> Ints:
    """Literal: the error of every subset."""
    least: Ints = np.abs(targets[:, None] - all_sums(items)).min(1)
    return least


def least_error_by_halves(items: Ints, target: int) -> int:
    """Sums of one half sorted, and the two next to what each sum of the other half leaves."""
    h = len(items) // 2
    low, high = np.sort(all_sums(items[None, :h])[0]), all_sums(items[None, h:])[0]
    place = np.searchsorted(low, target - high)
    around = np.stack([low[np.maximum(place - 1, 0)], low[np.minimum(place, len(low) - 1)]])
    return int(np.abs(target - high - around).min())


def nasty_items(n: int, limit: int, seed: int) -> Ints:
    """Rows of many kinds, sum of |items| at most `limit` in each."""
    rng = np.random.default_rng(seed)
    top = limit // n
    uniform = rng.integers(-top, top, (6, n), endpoint=True)
    huge = rng.integers(-5, 5, (2, n), endpoint=True)
    huge[0, n // 2], huge[1, n - 1] = limit - 5 * n, -(limit - 5 * n)
    exact = rng.integers(-top, top, (2, n))
    exact[0, 0], exact[1, n - 1] = 0, 0
    exact[0, 0], exact[1, n - 1] = limit - np.abs(exact[0]).sum(), -(limit - np.abs(exact[1]).sum())
    sparse = np.zeros((3, n), np.int64)
    sparse[1, 0], sparse[2, n - 1] = limit, -limit
    pairs = rng.integers(1, top, (1, n))
    pairs[0, n // 2 : 2 * (n // 2)] = -pairs[0, : n // 2]
    rows = [
        uniform,
        -np.abs(uniform[:2]),
        np.abs(uniform[:2]),
        rng.integers(-3, 3, (3, n), endpoint=True),
        np.full((1, n), top),
        np.full((1, n), -1),
        np.array([[1, -1] * n])[:, :n],
        np.where(np.arange(n) % 2 == 0, 0, uniform[:1]),
        1 << np.arange(n, dtype=np.int64)[None] % 20,
        pairs,
        huge,
        exact,
        sparse,
    ]
    items = np.concatenate(rows).astype(np.int64)
    assert np.abs(items).sum(1).max() == limit == _bitonic_kernels.max_reach(items)
    return items


def nasty_targets(items: Ints, seed: int) -> Ints:
    """[kinds, batch]: inside, planted, at and around both ends of the reach, far out."""
    rng = np.random.default_rng(seed)
    low, high = np.minimum(items, 0).sum(1), np.maximum(items, 0).sum(1)
    planted = (items * rng.integers(0, 2, items.shape)).sum(1)
    inside = [rng.integers(low, high, endpoint=True) for _ in range(3)]
    ends = [low - 1, low, low + 1, high - 1, high, high + 1, low - 12345, high + 12345]
    far = [np.full(len(items), value, np.int64) for value in (0, 1 << 61, -(1 << 61), 1 << 32, -(1 << 31) - 1)]
    return np.stack([*inside, planted, planted + 1, *ends, *far])


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("n", range(8, 15))
def test_least_error_of_all_subsets_on_nasty_items(n: int, dtype: type[Any]) -> None:
    items = nasty_items(n, LIMIT[dtype], n)
    sums = all_sums(items)
    for targets in nasty_targets(items, n):
        masks = solve(items, targets, dtype)
        assert ((masks >= 0) & (masks < 1 << n)).all()
        assert (errors(items, targets, masks) == np.abs(targets[:, None] - sums).min(1)).all()
        zero = (items == 0) @ (1 << np.arange(n))
        assert not (masks & zero).any()


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("n", [*range(8, 14), 16, 17, 20])
def test_one_pool_for_all_targets_gives_the_masks_of_own_items(n: int, dtype: type[Any]) -> None:
    for row, items in enumerate(nasty_items(n, LIMIT[dtype], n)[:: 1 if n < 14 else 6]):
        targets = nasty_targets(items[None], row).ravel()
        own = solve(np.tile(items, (len(targets), 1)), targets, dtype)
        assert (solve_shared(items, targets, dtype) == own).all()


@pytest.mark.parametrize("n", [8, 9, 12, 15, 18, 21])
def test_both_widths_choose_the_same_masks(n: int) -> None:
    items = nasty_items(n, LIMIT[np.int32], n)
    for targets in nasty_targets(items, n)[::3]:
        assert (solve(items, targets, np.int32) == solve(items, targets, np.int64)).all()


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("n", range(15, 35))
def test_least_error_by_halves_up_to_34_items(n: int, dtype: type[Any]) -> None:
    rng = np.random.default_rng(n)
    top = LIMIT[dtype] // n
    items = rng.integers(-top, top, (5, n), endpoint=True)
    items[3] = rng.integers(-2, 2, n, endpoint=True)
    items[4] //= 1 << rng.integers(0, 27, n)
    targets = np.array([rng.integers(-top, top), np.maximum(items[1], 0).sum() + 1, 0, 3, rng.integers(-top, top)])
    expected = [least_error_by_halves(row, int(target)) for row, target in zip(items, targets, strict=True)]
    assert errors(items, targets, solve(items, targets, dtype)).tolist() == expected


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("batch", [0, 1, 7, 8, 9, 15, 16, 17, 33])
def test_instances_do_not_depend_on_their_neighbours(batch: int, dtype: type[Any]) -> None:
    rng = np.random.default_rng(batch)
    items = rng.integers(-(10**6), 10**6, (batch, 11))
    targets = rng.integers(-(10**6), 10**6, batch)
    masks = solve(items, targets, dtype)
    assert (errors(items, targets, masks) == least_errors(items, targets)).all()
    assert (solve(items[::-1].copy(), targets[::-1].copy(), dtype) == masks[::-1]).all()
    if batch:
        assert (solve_shared(items[0], targets, dtype)[0] == masks[0]).all()


@pytest.mark.parametrize("dtype", WIDTHS)
def test_items_before_and_behind_the_target_list(dtype: type[Any]) -> None:
    """The smallest key of the merged list comes from either half, and either half may lie below the other."""
    n, top = 10, LIMIT[dtype] // 20
    low, high = np.zeros((1, n), np.int64), np.zeros((1, n), np.int64)
    low[0, :5], high[0, 5:] = top, top
    for items in (low, high, low + high, low - high):
        ends = np.array([-5 * top, -1, 0, 1, top // 2, 5 * top - 1, 5 * top, 5 * top + 1, 10 * top, 10 * top + 1])
        repeated = np.tile(items, (len(ends), 1))
        assert (errors(repeated, ends, solve(repeated, ends, dtype)) == least_errors(repeated, ends)).all()


@given(
    items=st.integers(8, 11).flatmap(lambda n: st.lists(st.integers(-20, 20), min_size=n, max_size=n)),
    targets=st.lists(st.integers(-300, 300), min_size=1, max_size=9),
)
@settings(max_examples=60)
def test_small_integers_with_many_ties(items: list[int], targets: list[int]) -> None:
    pool, z = np.array(items), np.array(targets)
    expected = least_errors(np.tile(pool, (len(z), 1)), z)
    for dtype in WIDTHS:
        masks = solve_shared(pool, z, dtype)
        assert (errors(np.tile(pool, (len(z), 1)), z, masks) == expected).all()


@pytest.mark.parametrize("dtype", WIDTHS)
def test_scratch_is_not_left(dtype: type[Any]) -> None:
    for n in (8, 9, 13, 22):
        elements = _bitonic_kernels.scratch_elements(n, np.dtype(dtype).itemsize)
        room: npt.NDArray[Any] = np.full(elements + 4096, 99, dtype)
        items, targets = np.ones((3, n), np.int64), np.array([0, 3, 40])
        _bitonic_kernels.minimum(items, targets, np.zeros(3, np.int64), room[2048 : 2048 + elements])
        assert (room[:2048] == 99).all()
        assert (room[2048 + elements :] == 99).all()


def test_refuses_what_would_leave_the_scratch() -> None:
    masks, targets = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for n, room in ((7, 10), (35, 10), (20, 20)):
        short = scratch(room, np.int64)[:-64] if n == room else scratch(room, np.int64)
        with pytest.raises(ValueError, match="8 to 34 items"):
            _bitonic_kernels.minimum(np.ones((1, n), np.int64), targets, masks, short)


def test_one_compilation_per_width() -> None:
    for dtype in WIDTHS:
        for n in (8, 9, 16):
            solve(np.ones((2, n), np.int64), np.ones(2, np.int64), dtype)
            solve_shared(np.ones(n, np.int64), np.ones(2, np.int64), dtype)
    assert len(_bitonic_kernels.minimum.signatures) == 2
    assert len(_bitonic_kernels.minimum_shared.signatures) == 2


def test_a_second_process_loads_the_kernels_from_the_cache() -> None:
    solve(np.ones((1, 8), np.int64), np.ones(1, np.int64), np.int32)
    program = (
        "import numpy as np\n"
        "from strongticket.subsetsum import _bitonic_kernels as k\n"
        "k.minimum(np.ones((1, 8), np.int64), np.ones(1, np.int64), np.zeros(1, np.int64),"
        " np.zeros(k.scratch_elements(8), np.int32))\n"
        "print(sum(k.minimum.stats.cache_hits.values()), sum(k.minimum.stats.cache_misses.values()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0"]


def test_the_cache_notices_changes_of_the_vectors() -> None:
    """numba's cache sees changes of a kernel's own file only, so files of kernels repeat a digest of _lanes.py."""
    folder = Path(_bitonic_kernels.__file__).parent
    digest = hashlib.sha256((folder / "_lanes.py").read_bytes()).hexdigest()[:12]
    users = [path for path in folder.glob("*.py") if "subsetsum._lanes import" in path.read_text()]
    assert {"_bitonic_kernels.py", "_roofline.py", "_sparse_kernels.py"} <= {path.name for path in users}
    for path in users:
        assert f'_LANES_DIGEST = "{digest}"' in path.read_text(), f'set _LANES_DIGEST = "{digest}" in {path.name}'


# --- The source of the kernels in plain Python, counting --------------------------------------------------------------


class Rows:
    """A list of vectors: rows of a two-dimensional array from `start` on."""

    def __init__(self, rows: npt.NDArray[Any], start: int) -> None:
        self.rows, self.start = rows, start


def plain_lanes() -> tuple[types.ModuleType, collections.Counter[str]]:
    """A stand-in for _lanes on numpy arrays, and its counts of minima and maxima and of other operations."""
    count: collections.Counter[str] = collections.Counter()

    def elementwise(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*operands: Any) -> Any:
            lengths = [len(x) for x in operands if isinstance(x, tuple)]
            if not lengths:
                count[kind] += 1
                return function(*operands)
            count[kind] += lengths[0]
            return tuple(function(*(x[i] if isinstance(x, tuple) else x for x in operands)) for i in range(lengths[0]))

        return operation

    def put(rows: Rows, row: int, value: Any) -> None:
        rows.rows[rows.start + row] = value

    def poke(rows: Rows, row: int, lane: int, value: int) -> None:
        rows.rows[rows.start + row, lane] = value

    def column(rows: Rows, row: int, stride: int, length: int) -> Any:
        return tuple(rows.rows[rows.start + row + k * stride].copy() for k in range(length))

    def clean(x: Any) -> Any:
        v, stride = list(x), len(x) // 2
        while stride:
            for i in (i for i in range(len(v)) if not i & stride):
                v[i], v[i + stride] = np.minimum(v[i], v[i + stride]), np.maximum(v[i], v[i + stride])
                count["exchanges"] += 2
            stride //= 2
        return tuple(v)

    def put_cleaned(rows: Rows, row: int, stride: int, x: Any) -> None:
        for k, value in enumerate(clean(x)):
            put(rows, row + k * stride, value)

    def least(x: Any) -> Any:
        count["exchanges"] += len(x) - 1
        return np.minimum.reduce(x)

    def any_equal(x: Any, y: Any) -> Any:
        count["others"] += len(x) + 1
        count["exchanges"] += len(x) - 1
        return np.any([entry == y for entry in x], axis=0)

    def pick(x: Any, y: Any, values: Any) -> Any:
        count["others"] += 2 * len(x)
        chosen = np.zeros_like(y)
        for entry, value in zip(x, values, strict=True):
            chosen = np.where(entry == y, value, chosen)
        return chosen

    def rotate(x: Any) -> Any:
        bits = x.view(f"u{x.itemsize}")
        return (bits >> 1 | bits << (8 * x.itemsize - 1)).view(x.dtype)

    module: Any = types.ModuleType("strongticket.subsetsum._lanes")
    module.__dict__.update(
        rows_of=lambda array: Rows(array.reshape(-1, 64 // array.itemsize), 0),
        skip=lambda rows, rest: Rows(rows.rows, rows.start + rest),
        width=lambda rows: rows.rows.shape[1],
        peek=lambda rows, row, lane: int(rows.rows[rows.start + row, lane]),
        poke=poke,
        load=lambda rows, row: rows.rows[rows.start + row].copy(),
        store=put,
        column=column,
        fill=lambda rows, value: np.full(rows.rows.shape[1], value, rows.rows.dtype),
        numbers=lambda rows, first, step, length: tuple(
            np.full(rows.rows.shape[1], first + k * step, rows.rows.dtype) for k in range(length)
        ),
        add=elementwise("others", np.add),
        subtract=elementwise("others", np.subtract),
        negate=elementwise("others", np.negative),
        absolute=elementwise("others", np.abs),
        halved=elementwise("others", lambda x: x >> 1),
        either=elementwise("others", np.bitwise_or),
        both=elementwise("others", np.bitwise_and),
        differing=elementwise("others", np.bitwise_xor),
        odd_first=elementwise("others", rotate),
        less=elementwise("others", np.less),
        odd=elementwise("others", lambda x: (x & 1) == 1),
        select=elementwise("others", np.where),
        smaller=elementwise("exchanges", np.minimum),
        larger=elementwise("exchanges", np.maximum),
        lower=lambda x: x[: len(x) // 2],
        upper=lambda x: x[len(x) // 2 :],
        clean=clean,
        clean_rows=lambda rows, row, stride, length: put_cleaned(rows, row, stride, column(rows, row, stride, length)),
        put_cleaned=put_cleaned,
        least=least,
        any_equal=any_equal,
        pick=pick,
    )
    return module, count


@contextmanager
def plain_kernels() -> Iterator[tuple[Any, collections.Counter[str]]]:
    """The module of the kernels, executed without numba."""
    lanes, count = plain_lanes()
    numba: Any = types.ModuleType("numba")
    numba.njit = lambda **options: lambda function: function
    spec = importlib.util.spec_from_file_location("plain_kernels", _bitonic_kernels.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "numba", numba)
        patch.setitem(sys.modules, "strongticket.subsetsum._lanes", lanes)
        spec.loader.exec_module(module)
    with np.errstate(over="ignore"):
        yield module, count


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("n", [8, 9, 10, 11, 13, 16, 18])
def test_plain_python_runs_the_same_source_and_counts_its_operations(n: int, dtype: type[Any]) -> None:
    lanes = 64 // np.dtype(dtype).itemsize
    items = nasty_items(n, LIMIT[dtype], n)[-lanes:]
    targets = nasty_targets(items, n)[4]
    masks = np.zeros(lanes, np.int64)
    with plain_kernels() as (module, count):
        module.minimum(items, targets, masks, scratch(n, dtype))
    assert (masks == solve(items, targets, dtype)).all()
    expected = _roofline.operations(n)
    assert (count["exchanges"], count["others"]) == (expected.exchanges, expected.others)


@pytest.mark.parametrize("h", [4, 5, 6, 7, 9, 10])
def test_the_list_of_a_half_is_its_nonnegative_signed_sums_in_order(h: int) -> None:
    items = np.random.default_rng(h).integers(0, 1000, (h, 16)).astype(np.int32)
    room = np.zeros((2 << h, 16), np.int32)
    with plain_kernels() as (module, count):
        module._half_sums(Rows(items, 0), h, Rows(room, 0))
    places = [row + (row >> 4) for row in range(1 << (h - 1))]
    signed = 2 * all_sums(items.T.astype(np.int64)) - items.sum(0)[:, None]
    upper = np.sort(signed, axis=1)[:, 1 << (h - 1) :]
    assert (upper == room[places].T).all()
    assert count["exchanges"] == _roofline.half_operations(h).exchanges


@pytest.mark.parametrize("n", range(10, 32, 2))
def test_fewer_exchanges_than_sorting_without_known_ones(n: int) -> None:
    """(n - 1) 2^(n/2) + 2 compare-exchanges are those of cleaning every list in full."""
    h = n // 2
    cleaning = 2 * _roofline.half_operations(h).exchanges + 2 * (h + 1) * 2**h
    known = 2 * (2 ** (h - 2) - 1) + 2  # half of each first stage, and the first list of two
    assert cleaning // 2 + known == (n - 1) * 2**h + 2


def test_rates_are_measured_and_bound_the_time() -> None:
    rates = _roofline.measure_rates(np.int32, repeats=3)
    assert 0 < rates.exchanges < 1e12
    assert 0 < rates.additions < 1e12
    one, two = (rates.seconds(_roofline.operations(n)) for n in (20, 22))
    assert 1.8 * one < two < 2.4 * one
