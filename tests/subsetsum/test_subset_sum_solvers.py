from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket.subsetsum import (
    AbstractSubsetSumSolver,
    Batch,
    BruteForceSolver,
    Choice,
    Goal,
    NumbaSolver,
    Outcome,
    PlainSolver,
    TorchSolver,
    solve,
)
from strongticket.testing.subset_sums import (
    Instances,
    brute_force,
    brute_force_sizes,
    check_subset_sum_solver,
    check_subset_sums,
    long_subset_sums,
    planted_subset_sums,
    pooled_subset_sums,
    subset_sum_instances,
    widest_subset_sums,
)

FAST = [NumbaSolver(), PlainSolver(), TorchSolver()]
ids = [s.name for s in FAST]


def uniform(batch: int, n: int, seed: int, bits: int = 46) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-(1 << bits), 1 << bits, (batch, n)), rng.integers(-(1 << bits), 1 << bits, batch)


def products(batch: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Products of two odd 23-bit integers, as the constructions have them."""
    rng = np.random.default_rng(seed)
    u, v = (2 * rng.integers(-(1 << 22), 1 << 22, (batch, n)) + 1 for _ in range(2))
    return u * v, rng.integers(-(1 << 46), 1 << 46, batch)


@pytest.mark.parametrize("solver", [*FAST, BruteForceSolver()], ids=[*ids, "brute"])
def test_conformance(solver: AbstractSubsetSumSolver) -> None:
    check_subset_sum_solver(solver, max_items=11, max_examples=60)


class _Broken(AbstractSubsetSumSolver):
    """Delegates, then spoils the answer in one way: the conformance check must notice every way."""

    name = "broken"

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def chunk_size(self, n, goal, sharing=1.0):
        return 64

    def most_items(self, objective):
        return 16

    def choose(self, batch, goal):
        dense = self.fault == "dense" and goal.objective == "sparsest"
        exact = BruteForceSolver()
        right = exact.choose(batch, Goal("min_error", goal.eps) if dense else goal)
        mask = right.mask
        sized = goal.objective == "fixed_size"
        if self.fault == "empty":
            return replace(right, mask=np.zeros_like(mask))
        if self.fault in ("unproved", "doubting"):
            return replace(right, proved=np.zeros_like(right.proved), canonical=np.zeros_like(right.proved))
        if self.fault == "stray bit":
            return replace(right, mask=mask | (1 << batch.n))
        if self.fault == "wrong pool" and batch.pool is not None:
            return self.choose(Batch(batch.items[batch.pool * 0], batch.targets), goal)
        if self.fault == "wrong size" and sized:
            return exact.choose(batch, Goal("min_error", goal.eps))
        if self.fault == "ties":  # solved in reverse order of items, which is as good but for ties
            other = exact.choose(Batch(batch.rows()[:, ::-1].copy(), batch.targets), goal)
            flipped = sum(((other.mask >> i) & 1) << (batch.n - 1 - i) for i in range(batch.n)) + 0 * other.mask
            return replace(right, mask=flipped)
        if self.fault == "float64":
            return Choice(_in_float64(batch, goal), right.proved, ~right.proved)
        if self.fault == "late rows" and not sized:  # one row after the first block of lanes
            return replace(right, mask=np.where(np.arange(len(mask)) == 16, 0, mask))
        if self.fault == "sorts in place":
            batch.items.sort(axis=1)
        if self.fault == "clears items":
            batch.items[:] = 0
        if self.fault == "shifts targets":
            batch.targets[:] += 1
        if self.fault == "clears pool" and batch.pool is not None:
            batch.pool[:] = 0
        nothing = np.zeros(len(batch), bool)
        guess = mask if sized else np.zeros_like(mask)
        if self.fault == "modest":  # an honest heuristic: it proves nothing
            return Choice(guess, nothing, nothing)
        if self.fault == "claims the minimum" and goal.eps is None:
            return Choice(guess, ~nothing, nothing)
        if self.fault == "claims the sparsest" and goal.objective == "sparsest":
            least = exact.choose(batch, Goal("min_error", goal.eps)).mask
            return Choice(least, ~nothing, nothing)
        if self.fault == "claims there is none" and goal.eps is not None and not sized:
            return Choice(guess, ~nothing, nothing)
        return right

    def choose_sizes(self, batch):
        if self.fault == "sizes without pool":
            batch = Batch(np.resize(batch.items, (len(batch), batch.n)), batch.targets)
        return super().choose_sizes(batch)


def _in_float64(batch: Batch, goal: Goal) -> np.ndarray:
    """All subsets by the tie rule, in floating-point arithmetic."""
    place = np.arange(batch.n)
    bits = (np.arange(1 << batch.n)[:, None] >> place) & 1
    error = np.abs(batch.targets[:, None].astype(float) - batch.rows().astype(float) @ bits.T.astype(float))
    error[(batch.rows() == 0).astype(int) @ bits.T > 0] = np.inf
    size = np.broadcast_to(bits.sum(1), error.shape)
    if goal.objective == "fixed_size":
        error[size != goal.size] = np.inf
    hit = error <= goal.limit
    if goal.objective == "sparsest":
        least = np.where(hit, size, batch.n + 1).min(1, keepdims=True)
        error[hit.any(1)[:, None] & ~(hit & (size == least))] = np.inf
    return np.array([np.lexsort((s, e))[0] for e, s in zip(error, size, strict=True)], np.int64)


WRITES = ["sorts in place", "clears items", "shifts targets", "clears pool"]


@pytest.mark.parametrize(
    "fault",
    ["empty", "unproved", "dense", "stray bit", "wrong pool", "wrong size", "ties", "float64", "late rows", *WRITES,
     "sizes without pool", "modest"],
)  # fmt: skip
def test_conformance_check_can_fail(fault: str) -> None:
    with pytest.raises(AssertionError):
        check_subset_sum_solver(_Broken(fault), max_items=6, max_examples=60)


@pytest.mark.parametrize("fault", ["claims the minimum", "claims the sparsest", "claims there is none"])
def test_conformance_check_of_heuristics_can_fail(fault: str) -> None:
    with pytest.raises(AssertionError):
        check_subset_sum_solver(_Broken(fault), max_items=6, max_examples=60, exact=False)


@pytest.mark.parametrize("fault", ["none", "modest", "doubting"])
def test_conformance_check_passes_honest_heuristics(fault: str) -> None:
    check_subset_sum_solver(_Broken(fault), max_items=6, max_examples=30, exact=False)


@pytest.mark.parametrize("fault", WRITES)
@pytest.mark.parametrize("objective", ["min_error", "fixed_size", "sparsest", "first_hit"])
def test_a_solver_that_writes_cannot_spoil_the_arrays_it_was_asked_about(fault: str, objective: str) -> None:
    rng = np.random.default_rng(0)
    items, targets, pool = rng.integers(1, 999, (3, 6)), rng.integers(1, 999, 9), np.arange(9) // 3
    before = items.copy(), targets.copy(), pool.copy()
    options = {
        "objective": objective,
        "pool": pool,
        "eps": None if objective == "fixed_size" else 5,
        "size": 2 if objective == "fixed_size" else None,
    }
    result = _Broken(fault).solve(items, targets, **options)
    fronts = _Broken(fault).fronts(items, targets, pool=pool)
    for was, now in zip(before, (items, targets, pool), strict=True):
        np.testing.assert_array_equal(was, now)
    np.testing.assert_array_equal(result.error, targets - (result.chosen(6) * items[pool]).sum(1))
    bits = (fronts.mask[:, :, None] >> np.arange(6)) & 1
    np.testing.assert_array_equal(fronts.error, targets[:, None] - (bits * items[pool][:, None]).sum(2))


def test_a_solver_must_give_one_mask_per_target() -> None:
    class Short(AbstractSubsetSumSolver):
        name = "short"

        def chunk_size(self, n, goal, sharing=1.0):
            return 8

        def choose(self, batch, goal):
            sure = np.ones(1, bool)
            return Choice(np.zeros(1, np.int64), sure, sure)

    with pytest.raises(AssertionError, match=r"'short': expected 2 masks, got shape \(1,\)"):
        Short().solve([[1], [2]], [1, 2])


def test_conformance_check_passes_what_is_right() -> None:
    check_subset_sum_solver(_Broken("none"), max_items=6, max_examples=30)


@pytest.mark.parametrize("solver", FAST, ids=ids)
@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, 10, 13, 14])
@pytest.mark.parametrize("batch", [0, 1, 7, 8, 9, 17])
def test_sizes_of_items_and_batch(solver: AbstractSubsetSumSolver, n: int, batch: int) -> None:
    items, targets = products(batch, n, seed=100 * n + batch)
    for objective, eps in (("min_error", None), ("sparsest", 1 << 38)):
        truth = solve(items, targets, objective=objective, eps=eps, backend="brute")
        result = solver.solve(items, targets, objective=objective, eps=eps)
        np.testing.assert_array_equal(result.mask, truth.mask)  # 46-bit random items: the optimum is unique
        np.testing.assert_array_equal(result.error, truth.error)
        np.testing.assert_array_equal(result.outcome, truth.outcome)


@pytest.mark.parametrize("n", [15, 16, 17, 20, 21, 26, 27])
def test_backends_agree_beyond_the_oracle(n: int) -> None:
    items, targets = products(9, n, seed=n)
    a, *others = (solver.solve(items, targets) for solver in FAST)
    for b in others:
        np.testing.assert_array_equal(a.mask, b.mask)
    eps = int(np.median(np.abs(a.error))) << 6  # small enough to need more than four items
    for options in ({"objective": "sparsest", "eps": eps}, {"objective": "fixed_size", "size": n // 3}):
        a, *others = (solver.solve(items, targets, **options) for solver in FAST)
        for b in others:
            np.testing.assert_array_equal(a.mask, b.mask)
        assert a.size.max() > 4
    fronts, *others = (solver.fronts(items[:3], targets[:3]) for solver in FAST)
    for other in others:
        np.testing.assert_array_equal(fronts.mask, other.mask)


@pytest.mark.parametrize("n", [9, 16, 25, 34, 36])
def test_minimum_agrees_with_sparsest_and_plain_search(n: int) -> None:
    # independent exact algorithms, far beyond what can be enumerated
    items, targets = uniform(5, n, seed=n)
    result = solve(items, targets, backend="numba")
    np.testing.assert_array_equal(solve(items, targets, backend="numba-plain").mask, result.mask)
    limit = int(np.abs(result.error).max())
    sparse = solve(items, targets, objective="sparsest", eps=limit, backend="numba")
    assert sparse.found.all()
    below = solve(items, targets, objective="sparsest", eps=int(np.abs(result.error).min()) - 1, backend="numba")
    assert not below.found.any()
    assert below.count(Outcome.NONE_EXISTS) == 5
    np.testing.assert_array_equal(np.abs(below.error), np.abs(result.error))


@settings(max_examples=40)
@given(planted_subset_sums(min_items=8, max_items=24, max_batch=3), st.sampled_from(FAST[:1]))
def test_planted_subsets_are_found(instances: Instances, solver: AbstractSubsetSumSolver) -> None:
    result = solver.solve(instances.items, instances.targets, eps=0)
    assert not result.error.any()
    sparse = solver.solve(instances.items, instances.targets, objective="sparsest", eps=0)
    assert not sparse.error.any()
    assert all(s <= int(m).bit_count() for s, m in zip(sparse.size, instances.planted, strict=True))


def _edges(n: int, magnitude: int) -> Iterator[tuple[list[int], int]]:
    """Rows at which the sentinel of the neighbour scan could leak: lists one below the other, targets at the ends."""
    big, small = magnitude, 1
    for row in (
        [big] * n,
        [-big] * n,
        [big] * (n // 2) + [small] * (n - n // 2),
        [small] * (n // 2) + [big] * (n - n // 2),
        [0] * (n - 1) + [big],
        [big] + [0] * (n - 1),
        [0] * n,
        [big, -big] * (n // 2) + [small] * (n % 2),
    ):
        low, high = sum(v for v in row if v < 0), sum(v for v in row if v > 0)
        for target in (low, high, low - 1, high + 1, 0, 1, -1, (1 << 61), -(1 << 61), high - 1, low + 1):
            yield row, target


@pytest.mark.parametrize("solver", FAST, ids=ids)
@pytest.mark.parametrize("n", [8, 9, 11])
@pytest.mark.parametrize("magnitude", [1, 3, ((1 << 60) - 1) // 11])
def test_sentinel_edges(solver: AbstractSubsetSumSolver, n: int, magnitude: int) -> None:
    rows, targets = zip(*_edges(n, magnitude), strict=True)
    instances = Instances(np.array(rows), np.array(targets))
    for objective, eps in (("min_error", None), ("min_error", 0), ("sparsest", 0), ("sparsest", magnitude)):
        result = solver.solve(instances.items, instances.targets, objective=objective, eps=eps)
        check_subset_sums(result, instances, objective=objective, eps=eps)


@pytest.mark.parametrize("solver", FAST, ids=ids)
@pytest.mark.parametrize("n", [8, 9, 11])
@pytest.mark.parametrize("sign", [-1, 1])
def test_sentinel_at_the_budget(solver: AbstractSubsetSumSolver, n: int, sign: int) -> None:
    # sum |items| = 2^60 - 1 all in one half: the merged list then reaches down to the sentinel itself
    rows, targets = [], []
    for first in range(n):
        for count in range(1, n - first + 1):
            row = [0] * n
            row[first : first + count] = [sign * (((1 << 60) - 1) // count)] * count
            row[first] += sign * ((1 << 60) - 1) - sum(row)
            for target in (0, sum(row), sum(row) + 1, sum(row) - 1, -1, 1, 1 << 61, -(1 << 61)):
                rows.append(row)
                targets.append(target)
    truth = solve(rows, targets, backend="brute")
    result = solver.solve(rows, targets)
    np.testing.assert_array_equal(np.abs(result.error), np.abs(truth.error))


@pytest.mark.parametrize("solver", FAST, ids=ids)
@pytest.mark.parametrize("n", [6, 9, 12])
def test_small_integers_with_many_ties(solver: AbstractSubsetSumSolver, n: int) -> None:
    rng = np.random.default_rng(n)
    items, targets = rng.integers(-60, 61, (1500, n)), rng.integers(-250, 251, 1500)
    items[::3, ::2] = 0
    for objective, eps in (("min_error", None), ("sparsest", 0), ("sparsest", 1), ("sparsest", 4)):
        truth = solve(items, targets, objective=objective, eps=eps, backend="brute")
        result = solver.solve(items, targets, objective=objective, eps=eps)
        np.testing.assert_array_equal(np.abs(result.error), np.abs(truth.error))
        np.testing.assert_array_equal(result.outcome, truth.outcome)
        if objective == "sparsest":
            np.testing.assert_array_equal(result.size[result.found], truth.size[truth.found])


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("n", [8, 21, 30])
def test_unreachable_targets_take_everything_that_helps(backend: str, n: int) -> None:
    items, _ = products(6, n, seed=n)
    high, low = np.maximum(items, 0).sum(1), np.minimum(items, 0).sum(1)
    for beyond in (1, 40 << 46, 1 << 60):
        up = solve(items, high + beyond, eps=beyond - 1, backend=backend)
        np.testing.assert_array_equal(up.error, beyond)
        np.testing.assert_array_equal(up.chosen(n), items > 0)
        assert up.count(Outcome.NONE_EXISTS) == 6
        assert up.canonical.all()
        down = solve(items, low - beyond, objective="sparsest", eps=beyond, backend=backend)
        np.testing.assert_array_equal(down.error, -beyond)
        assert down.found.all()


@settings(max_examples=50)
@given(subset_sum_instances(min_items=1, max_items=18, max_batch=3, magnitude=1 << 40), st.randoms())
def test_invariances(instances: Instances, random) -> None:
    items, targets = instances.items, instances.targets
    n = items.shape[1]
    error = np.abs(solve(items, targets, backend="numba").error)

    def errors(x, z):
        return np.abs(solve(x, z, backend="numba").error)

    order = list(range(n))
    random.shuffle(order)
    np.testing.assert_array_equal(errors(items[:, order], targets), error)
    np.testing.assert_array_equal(errors(-items, -targets), error)
    reach = np.abs(targets) < 1 << 59
    np.testing.assert_array_equal(errors(items, items.sum(1) - targets)[reach], error[reach])
    near = np.abs(targets) < 1 << 57
    np.testing.assert_array_equal(errors(items * 8, np.where(near, targets, 0) * 8)[near], 8 * error[near])
    i = random.randrange(n)
    toggled = items.copy()
    toggled[:, i] *= -1
    np.testing.assert_array_equal(errors(toggled, targets - items[:, i]), error)
    np.testing.assert_array_equal(errors(np.pad(items, ((0, 0), (0, 5))), targets), error)
    more = np.concatenate([items, np.full((len(items), 1), random.randrange(1 << 40))], 1)
    assert (errors(more, targets) <= error).all()
    np.testing.assert_array_equal(errors(items[::-1], targets[::-1])[::-1], error)


@pytest.mark.parametrize("objective", ["min_error", "sparsest"])
def test_chunks_threads_order_and_layout_change_nothing(objective: str) -> None:
    items, targets = products(20_001, 10, seed=3)
    seen: list[int] = []
    eps = 1 << 40
    whole = solve(items, targets, objective=objective, eps=eps, backend="numba", threads=2, progress=seen.append)
    assert sum(seen) == 20_001
    assert len(seen) > 1
    one = solve(np.asfortranarray(items), targets, objective=objective, eps=eps, backend="numba", threads=1)
    np.testing.assert_array_equal(whole.mask, one.mask)
    items.setflags(write=False)
    some = solve(items[1000:1003], targets[1000:1003], objective=objective, eps=eps, backend="numba")
    np.testing.assert_array_equal(some.mask, whole.mask[1000:1003])


def test_sparsest_size_does_not_grow_with_eps() -> None:
    items, targets = products(50, 21, seed=8)
    sizes = [
        solve(items, targets, objective="sparsest", eps=1 << k, backend="numba").size for k in (32, 36, 38, 40, 42, 44)
    ]
    for tight, loose in itertools.pairwise(sizes):
        assert (loose <= tight).all()


def test_large_n_is_sparse_or_refused() -> None:
    items, targets = uniform(3, 62, seed=1)
    result = solve(items, targets, objective="sparsest", eps=1 << 38, backend="numba")
    assert result.found.all()
    planted = items[:, ::2].sum(1)
    hopeless = solve(items, planted, objective="sparsest", eps=0, backend="numba")
    assert hopeless.count(Outcome.NOT_FOUND) == 3  # a subset exists, so NONE_EXISTS would be false
    with pytest.raises(ValueError, match="at most 48 items"):
        solve(items, targets, backend="numba")
    items, targets = products(2, 40, seed=4)
    assert np.abs(solve(items, targets, backend="numba").error).max() < 1 << 20


def test_beyond_the_short_subsets_the_sparsest_falls_back_on_the_minimum() -> None:
    items, _ = uniform(2, 41, seed=6)
    items *= 2
    hidden = items[:, :20].sum(1) + np.array([0, 1])  # twenty items, and an odd number that nothing reaches
    result = solve(items, hidden, objective="sparsest", eps=0, backend="numba")
    nearest = solve(items, hidden, backend="numba")
    assert result.outcomes == [Outcome.NOT_FOUND, Outcome.NONE_EXISTS]  # a sparser one may exist for the first
    np.testing.assert_array_equal(np.abs(result.error), np.abs(nearest.error))
    assert result.error[0] == 0
    assert (result.mask != 0).all()


class _Lazy(AbstractSubsetSumSolver):
    """Finds the minimum, but of the sparsest only the empty subset and what one item does."""

    name = "lazy"

    def most_items(self, objective):
        return 9 if objective == "min_error" else 62

    def chunk_size(self, n, goal, sharing=1.0):
        return 3

    def choose(self, batch, goal):
        if goal.objective != "sparsest":
            return BruteForceSolver().choose(batch, goal)
        few = BruteForceSolver().choose(batch, Goal("fixed_size", None, 1)).mask
        hit = np.abs(batch.errors(few)) <= goal.limit
        return Choice(np.where(hit, few, 0), hit & (np.abs(batch.targets) > goal.limit), np.zeros(len(batch), bool))


@given(subset_sum_instances(min_items=1, max_items=9) | long_subset_sums(max_items=5), st.integers(0, 50))
def test_the_fallback_of_the_sparsest_claims_only_what_is_proved(instances: Instances, eps: int) -> None:
    result = _Lazy().solve(instances.items, instances.targets, objective="sparsest", eps=eps)
    check_subset_sums(result, instances, objective="sparsest", eps=eps, exact=False)
    best = brute_force(instances.items, instances.targets, objective="sparsest", eps=eps)
    for r, oracle in enumerate(best):
        assert (result.outcomes[r] is Outcome.NONE_EXISTS) == (not oracle.reachable)
        if not result.found[r] and instances.items.shape[1] and abs(int(instances.targets[r])) > eps:
            least = brute_force(instances.items[r : r + 1], instances.targets[r : r + 1])[0]
            assert abs(int(result.error[r])) == least.error


def test_beyond_all_searches_the_best_one_known_is_given() -> None:
    items, targets = uniform(2, 10, seed=1)
    result = _Lazy().solve(items, targets, objective="sparsest", eps=0)
    assert result.count(Outcome.NOT_FOUND) == 2
    assert not result.mask.any()


@pytest.mark.parametrize("solver", FAST, ids=ids)
def test_house_solvers_leave_their_batches_alone(solver: AbstractSubsetSumSolver) -> None:
    assert solver.reads_only  # so they get the arrays of the user, and the conformance check compares them
    items, targets = products(40, 12, seed=1)
    before, wanted, pool = items.copy(), targets.copy(), np.arange(40) // 2
    for options in ({}, {"objective": "sparsest", "eps": 1 << 40}, {"objective": "fixed_size", "size": 3}):
        solver.solve(items, targets, **options)
        solver.solve(items, targets, pool=pool, **options)
    solver.fronts(items, targets)
    np.testing.assert_array_equal(items, before)
    np.testing.assert_array_equal(targets, wanted)


@given(st.data())
def test_strategies_give_what_they_say(data: st.DataObject) -> None:
    wide = data.draw(widest_subset_sums())
    reach = [sum(map(abs, row)) for row in wide.items.tolist()]
    assert all(1 << 58 <= r < 1 << 60 for r in reach)
    long = data.draw(long_subset_sums())
    assert 17 <= len(long.targets) <= 40
    pooled = data.draw(pooled_subset_sums())
    assert pooled.pool is not None
    assert pooled.own().items.shape == (len(pooled.targets), pooled.n)
    for mask, target, row in zip(*_planted(data.draw(planted_subset_sums())), strict=True):
        assert sum(v for i, v in enumerate(row) if mask >> i & 1) == target


def _planted(instances: Instances) -> tuple[list[int], list[int], list[list[int]]]:
    assert instances.planted is not None
    return instances.planted.tolist(), instances.targets.tolist(), instances.items.tolist()


@given(subset_sum_instances(max_items=6, max_batch=3))
def test_the_oracle_of_fronts_is_the_oracle_of_every_size(instances: Instances) -> None:
    fronts = brute_force_sizes(instances.items, instances.targets)
    for k in range(instances.n + 1):
        best = brute_force(instances.items, instances.targets, objective="fixed_size", size=k)
        assert [front[k] for front in fronts] == best


def test_missing_numba_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from strongticket.subsetsum import compiled

    compiled.load_kernels.cache_clear()
    for name in ("_bitonic_kernels", "_class_kernels", "_plain_kernels", "_sparse_kernels", "_sumset_kernels"):
        monkeypatch.delitem(sys.modules, f"strongticket.subsetsum.{name}", raising=False)
        monkeypatch.delattr(f"strongticket.subsetsum.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match=r"strongticket\[fast\]"):
        NumbaSolver()
    compiled.load_kernels.cache_clear()


def test_importing_subsetsum_does_not_import_numba() -> None:
    import subprocess
    import sys

    code = "import sys, strongticket.subsetsum; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_recompilation_across_dtypes_and_calls() -> None:
    from strongticket.subsetsum import compiled

    kernels = compiled.load_kernels()
    items, targets = uniform(40, 9, seed=2, bits=20)
    calls = [
        {},
        {"objective": "sparsest", "eps": 3},
        {"objective": "fixed_size", "size": 3},
        {"objective": "fixed_size", "size": 8},
        {"objective": "first_hit", "eps": 3},
    ]
    for shift in (0, 30):  # int32 and int64 keys
        for dtype in (np.int32, np.int64, np.float32, np.float64):
            for options in calls:
                x, z = (items >> 10 << shift, targets >> 10 << shift) if dtype != np.int32 else (items, targets)
                solve(x.astype(dtype), z.astype(dtype), backend="numba", **options)
                solve(x[0].astype(dtype), z.astype(dtype), backend="numba", **options)
    for kernel, widths in (
        (kernels.bitonic.minimum, 2),
        (kernels.bitonic.minimum_shared, 2),
        (kernels.sparse.short_sums, 2),
        (kernels.sparse.fixed_short, 2),
        (kernels.classes.fixed_size, 1),
        (kernels.plain.enumerate_all, 1),
    ):
        assert len(kernel.signatures) <= widths
