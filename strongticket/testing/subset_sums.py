"""Property-test a subset-sum solver: instances that break solvers, a literal oracle, and one check that uses both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from strongticket.subsetsum import OBJECTIVES, AbstractSubsetSumSolver, Fronts, Objective, Outcome, SubsetSums

try:
    from hypothesis import given, settings
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("strongticket.testing needs hypothesis: pip install 'strongticket[testing]'") from error

__all__ = [
    "BestSubset",
    "Instances",
    "brute_force",
    "check_fronts",
    "check_subset_sum_solver",
    "check_subset_sums",
    "planted_subset_sums",
    "subset_sum_instances",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Instances:
    """A batch of integer instances; `planted` holds a mask whose sum is the target, where one was planted."""

    items: npt.NDArray[np.int64]  # [batch, n]
    targets: npt.NDArray[np.int64]  # [batch]
    planted: npt.NDArray[np.int64] | None = None  # [batch]


@dataclass(frozen=True)
class BestSubset:
    """The best subset of one instance by (error, size, mask), or (size, error, mask) for the sparsest within eps.

    Attributes:
        error: |target - sum|.
        size: number of items.
        mask: bits of the items, none of them zero.
        unique: no other subset of nonzero items has this error (sparsest: this size and error).
        reachable: the error is within eps (always true without eps); fixed_size: and there are that many items.
    """

    error: int
    size: int
    mask: int
    unique: bool
    reachable: bool


def brute_force(
    items: Any,  # [batch, n] integers
    targets: Any,  # [batch] integers
    *,
    objective: Objective = "min_error",
    eps: int | None = None,
    size: int | None = None,
) -> list[BestSubset]:
    """Oracle: look at every subset of nonzero items in exact Python integers.

    For "first_hit" it is the subset of least error: any other within eps is as good. For "fixed_size" with fewer
    nonzero items than `size` it is all of them, and not reachable.

    >>> brute_force([[3, 5, 0]], [7])
    [BestSubset(error=1, size=2, mask=3, unique=True, reachable=True)]
    >>> brute_force([[3, 5, 9, 1]], [8], objective="sparsest", eps=1)
    [BestSubset(error=1, size=1, mask=4, unique=True, reachable=True)]
    >>> brute_force([[3, 5, 9, 1]], [8], objective="fixed_size", size=3)
    [BestSubset(error=1, size=3, mask=11, unique=True, reachable=True)]
    """
    return [
        _best_subset([int(v) for v in row], int(target), objective, eps, size)
        for row, target in zip(items, targets, strict=True)
    ]


def _best_subset(row: list[int], target: int, objective: Objective, eps: int | None, count: int | None) -> BestSubset:
    subsets = [(0, 0)]
    for i, x in enumerate(row):
        if x != 0:
            subsets += [(total + x, mask | 1 << i) for total, mask in subsets]
    ranked = [(abs(target - total), mask.bit_count(), mask) for total, mask in subsets]
    if objective == "fixed_size":
        fitting = [r for r in ranked if r[1] == count]
        if not fitting:
            return BestSubset(ranked[-1][0], ranked[-1][1], ranked[-1][2], False, False)
        ranked = fitting
    within = [r for r in ranked if eps is None or r[0] <= eps]
    if objective == "sparsest" and within:
        size, error, mask = min((size, error, mask) for error, size, mask in within)
        ties = sum(r[:2] == (error, size) for r in ranked)
    else:
        error, size, mask = min(ranked)
        ties = sum(r[0] == error for r in ranked)
    return BestSubset(error, size, mask, ties == 1, bool(within))


_KINDS = ("any", "equal", "few values", "negative", "one huge", "zeros", "opposite", "tiny")


@st.composite
def _rows(draw: st.DrawFn, n: int, magnitude: int) -> list[int]:
    kind = draw(st.sampled_from(_KINDS))
    value = st.integers(-magnitude, magnitude)
    if kind == "equal":
        return [draw(value)] * n
    if kind == "few values":
        return draw(st.lists(st.sampled_from([-3, -2, -1, 0, 1, 2, 3]), min_size=n, max_size=n))
    if kind == "negative":
        return draw(st.lists(st.integers(-magnitude, -1), min_size=n, max_size=n))
    if kind == "zeros":
        return draw(st.lists(st.just(0) | value, min_size=n, max_size=n))
    if kind == "tiny":
        return draw(st.lists(st.integers(-20, 20), min_size=n, max_size=n))
    row = draw(st.lists(value, min_size=n, max_size=n))
    if kind == "one huge" and n:
        row = [v // 1000 for v in row]
        row[draw(st.integers(0, n - 1))] = draw(st.sampled_from([-magnitude, magnitude]))
    if kind == "opposite":
        row = [row[i] if i % 2 == 0 else -row[i - 1] for i in range(n)]
    return row


def _target(draw: st.DrawFn, row: list[int]) -> int:
    """A target at one of the places where solvers go wrong: ends of the reach, just beyond, far beyond, on a sum."""
    low, high = sum(v for v in row if v < 0), sum(v for v in row if v > 0)
    place = draw(st.sampled_from(["inside", "end", "beyond", "far", "near a sum", "zero"]))
    if place == "zero":
        return 0
    if place == "inside":
        return draw(st.integers(low, high))
    if place == "end":
        return draw(st.sampled_from([low, high]))
    if place == "beyond":
        return draw(st.sampled_from([low - 1, high + 1]))
    if place == "far":
        return draw(st.sampled_from([-1, 1])) * draw(st.integers(high - low, 1 << 60))
    bits = draw(st.integers(0, (1 << len(row)) - 1))
    return sum(v for i, v in enumerate(row) if bits >> i & 1) + draw(st.integers(-2, 2))


def _as_instances(rows: list[list[int]], targets: list[int], n: int, planted: list[int] | None = None) -> Instances:
    masks = None if planted is None else np.array(planted, np.int64)
    return Instances(np.array(rows, np.int64).reshape(len(rows), n), np.array(targets, np.int64), masks)


@st.composite
def subset_sum_instances(
    draw: st.DrawFn,
    *,
    min_items: int = 0,
    max_items: int = 12,
    max_batch: int = 9,
    magnitude: int = 1 << 46,
) -> Instances:
    """Batches of integer instances, all rows of one n: arbitrary, degenerate and unreachable ones side by side.

    Args:
        draw: given by Hypothesis.
        min_items: fewest items of an instance.
        max_items: most items of an instance.
        max_batch: most instances of a batch; batches may be empty.
        magnitude: largest |item|; max_items * magnitude must stay below 2^60.
    """
    if max_items * magnitude >= 1 << 60:
        raise ValueError(f"expected max_items * magnitude < 2^60, got {max_items} * {magnitude}")
    n = draw(st.integers(min_items, max_items))
    rows = [draw(_rows(n, magnitude)) for _ in range(draw(st.integers(0, max_batch)))]
    return _as_instances(rows, [_target(draw, row) for row in rows], n)


@st.composite
def planted_subset_sums(
    draw: st.DrawFn,
    *,
    min_items: int = 0,
    max_items: int = 30,
    max_batch: int = 9,
    magnitude: int = 1 << 46,
) -> Instances:
    """Batches whose targets are the sum of a random subset, given as `planted`: the minimum error is 0 at any n."""
    if max_items * magnitude >= 1 << 60:
        raise ValueError(f"expected max_items * magnitude < 2^60, got {max_items} * {magnitude}")
    n = draw(st.integers(min_items, max_items))
    rows = [draw(_rows(n, magnitude)) for _ in range(draw(st.integers(0, max_batch)))]
    planted = [draw(st.integers(0, (1 << n) - 1)) for _ in rows]
    targets = [sum(v for i, v in enumerate(row) if m >> i & 1) for row, m in zip(rows, planted, strict=True)]
    return _as_instances(rows, targets, n, planted)


def check_subset_sums(
    result: SubsetSums,
    instances: Instances,
    *,
    objective: Objective,
    eps: int | None = None,
    size: int | None = None,
    exact: bool = True,
) -> None:
    """Assert that `result` answers `instances`, by exact recomputation and by the oracle (so n <= about 16)."""
    items, targets = instances.items.tolist(), instances.targets.tolist()
    assert len(result) == len(targets), f"expected {len(targets)} answers, got {len(result)}"
    best = brute_force(items, targets, objective=objective, eps=eps, size=size)
    for r, (row, target, oracle) in enumerate(zip(items, targets, best, strict=True)):
        mask, asked = int(result.mask[r]), f"{objective}, eps {eps}, size {size}"
        where = f"row {r}: items {row}, target {target}, {asked}"
        assert 0 <= mask < 1 << len(row), f"mask {mask} names items that do not exist; {where}"
        assert not any(v == 0 and mask >> i & 1 for i, v in enumerate(row)), f"a zero item is chosen; {where}"
        error = target - sum(v for i, v in enumerate(row) if mask >> i & 1)
        assert int(result.error[r]) == error, f"error {result.error[r]} reported, {error} true; {where}"
        assert int(result.size[r]) == mask.bit_count(), f"size {result.size[r]} reported of mask {mask:b}; {where}"
        outcome = result.outcomes[r]
        hit = (eps is None or abs(error) <= eps) and (size is None or mask.bit_count() == size)
        assert hit == (outcome is Outcome.FOUND), f"{outcome.name} with error {error}; {where}"
        if outcome is Outcome.NONE_EXISTS:
            assert not oracle.reachable, f"NONE_EXISTS, but {oracle} does; {where}"
        if result.canonical[r]:
            assert mask == oracle.mask, f"mask {mask:b} called canonical, the tie rule names {oracle.mask:b}; {where}"
        if not exact:
            continue
        assert outcome is not Outcome.NOT_FOUND, f"NOT_FOUND from an exact solver, {oracle} exists; {where}"
        if objective == "first_hit" and oracle.reachable:
            continue  # any subset within eps will do
        if objective == "fixed_size" and oracle.size != size:
            continue  # nothing to choose from
        assert abs(error) == oracle.error, f"error {error}, the oracle has {oracle}; {where}"
        if objective == "sparsest" and oracle.reachable:
            assert mask.bit_count() == oracle.size, f"size {mask.bit_count()}, the oracle has {oracle}; {where}"
        if oracle.unique:
            assert mask == oracle.mask, f"mask {mask:b}, the only best one is {oracle.mask:b}; {where}"


def check_fronts(fronts: Fronts, instances: Instances) -> None:
    """Assert that `fronts` holds the best subset of every size, by exact recomputation and by the oracle."""
    items, targets = instances.items.tolist(), instances.targets.tolist()
    n = instances.items.shape[1]
    assert fronts.mask.shape == (len(targets), n + 1), f"expected {(len(targets), n + 1)}, got {fronts.mask.shape}"
    for k in range(n + 1):
        best = brute_force(items, targets, objective="fixed_size", size=k)
        for r, (row, target, oracle) in enumerate(zip(items, targets, best, strict=True)):
            mask, where = int(fronts.mask[r, k]), f"row {r}, size {k}: items {row}, target {target}"
            if oracle.size != k:
                assert mask == -1, f"mask {mask:b}, but there are only {oracle.size} nonzero items; {where}"
                continue
            error = target - sum(v for i, v in enumerate(row) if mask >> i & 1)
            assert mask.bit_count() == k, f"mask {mask:b} is of another size; {where}"
            assert int(fronts.error[r, k]) == error, f"error {fronts.error[r, k]} reported, {error} true; {where}"
            assert abs(error) == oracle.error, f"error {error}, the oracle has {oracle}; {where}"


def check_subset_sum_solver(
    solver: AbstractSubsetSumSolver,
    *,
    max_items: int = 12,
    max_examples: int = 100,
    exact: bool = True,
    objectives: Sequence[Objective] = OBJECTIVES,
) -> None:
    """Test a solver of your own against the oracle on generated instances, planted and unreachable ones included.

    Args:
        solver: the solver.
        max_items: most items of an instance; time grows as 2^max_items.
        max_examples: number of batches tried for each objective.
        exact: the solver claims to find the optimum; otherwise only what it reports is checked.
        objectives: what to test; "fixed_size" includes the best subsets of every size (`pareto`).

    Raises:
        AssertionError: with the smallest failing instance that Hypothesis finds.

    >>> from strongticket.subsetsum import BruteForceSolver
    >>> check_subset_sum_solver(BruteForceSolver(), max_items=5, max_examples=5)
    """
    batches = subset_sum_instances(max_items=max_items) | planted_subset_sums(max_items=max_items)
    tolerances = st.sampled_from([0, 1, 3, 1 << 20, 1 << 40, 1 << 45]) | st.integers(0, 1 << 47)
    needs_eps = ("sparsest", "first_hit")

    def check_one(objective: Objective) -> None:
        @settings(max_examples=max_examples, deadline=None, report_multiple_bugs=False)
        @given(batches, tolerances if objective in needs_eps else st.none() | tolerances, st.data())
        def check(instances: Instances, eps: int | None, data: st.DataObject) -> None:
            size = data.draw(st.integers(0, instances.items.shape[1])) if objective == "fixed_size" else None
            result = solver.solve(instances.items, instances.targets, objective=objective, eps=eps, size=size)
            check_subset_sums(result, instances, objective=objective, eps=eps, size=size, exact=exact)

        check()

    @settings(max_examples=max(1, max_examples // 4), deadline=None, report_multiple_bugs=False)
    @given(batches)
    def check_every_size(instances: Instances) -> None:
        check_fronts(solver.fronts(instances.items, instances.targets), instances)

    @settings(max_examples=max(1, max_examples // 4), deadline=None, report_multiple_bugs=False)
    @given(batches, st.data())
    def check_pools(instances: Instances, data: st.DataObject) -> None:
        batch, rows = len(instances.targets), len(instances.items)
        pool = np.array(data.draw(st.lists(st.integers(0, max(0, rows - 1)), min_size=batch, max_size=batch)), np.int64)
        for objective in objectives:
            eps, size = (1 << 40 if objective in needs_eps else None), (1 if objective == "fixed_size" else None)
            if size is not None and not instances.items.shape[1]:
                continue
            result = solver.solve(
                instances.items, instances.targets, objective=objective, eps=eps, size=size, pool=pool
            )
            own = Instances(instances.items[pool], instances.targets)
            check_subset_sums(result, own, objective=objective, eps=eps, size=size, exact=exact)

    for objective in objectives:
        check_one(objective)
    if "fixed_size" in objectives and exact:
        check_every_size()
    check_pools()
