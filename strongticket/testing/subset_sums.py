"""Property-test a subset-sum solver: literal oracles, and one check that tries them on instances that break solvers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np
import numpy.typing as npt

from strongticket.subsetsum import (
    OBJECTIVES,
    AbstractSubsetSumSolver,
    Batch,
    Choice,
    Fronts,
    Goal,
    Objective,
    Outcome,
    SubsetSums,
)
from strongticket.testing.subset_sum_strategies import (
    Instances,
    float_subset_sums,
    long_subset_sums,
    planted_subset_sums,
    pooled_subset_sums,
    subset_sum_instances,
    widest_subset_sums,
)

try:
    from hypothesis import given, settings
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("strongticket.testing needs hypothesis: pip install 'strongticket[testing]'") from error

__all__ = [
    "BestSubset",
    "Instances",
    "brute_force",
    "brute_force_sizes",
    "check_fronts",
    "check_subset_sum_solver",
    "check_subset_sums",
    "float_subset_sums",
    "long_subset_sums",
    "planted_subset_sums",
    "pooled_subset_sums",
    "subset_sum_instances",
    "widest_subset_sums",
]

Number = int | Fraction
_SATURATED = 2**63 - 1


@dataclass(frozen=True)
class BestSubset:
    """The best subset of one instance by (error, size, mask), or (size, error, mask) for the sparsest within eps.

    Attributes:
        error: |target - sum|, exact: a Fraction for floating-point values.
        size: number of items.
        mask: bits of the items, none of them zero.
        unique: no other subset of nonzero items has this error (sparsest: this size and error).
        reachable: the error is within eps (always true without eps); fixed_size: and there are that many items.
    """

    error: Number
    size: int
    mask: int
    unique: bool
    reachable: bool


def brute_force(
    items: Any,  # [batch, n]
    targets: Any,  # [batch]
    *,
    objective: Objective = "min_error",
    eps: Number | float | None = None,
    size: int | None = None,
) -> list[BestSubset]:
    """Oracle: look at every subset of nonzero items in exact Python integers, or Fractions for floating-point values.

    For "first_hit" it is the subset of least error: any other within eps is as good. For "fixed_size" with fewer
    nonzero items than `size` it is all of them, and not reachable.

    >>> brute_force([[3, 5, 0]], [7])
    [BestSubset(error=1, size=2, mask=3, unique=True, reachable=True)]
    >>> brute_force([[3, 5, 9, 1]], [8], objective="sparsest", eps=1)
    [BestSubset(error=1, size=1, mask=4, unique=True, reachable=True)]
    >>> brute_force([[3, 5, 9, 1]], [8], objective="fixed_size", size=3)
    [BestSubset(error=1, size=3, mask=11, unique=True, reachable=True)]
    >>> brute_force([[0.5, 1e-20]], [0.5])[0].mask
    1
    """
    limit = None if eps is None else _exact(eps)
    return [
        _best_subset(_subsets(row, target), objective, limit, size) for row, target in zip(items, targets, strict=True)
    ]


def brute_force_sizes(
    items: Any,  # [batch, n]
    targets: Any,  # [batch]
) -> list[list[BestSubset]]:  # [batch][n + 1]
    """Oracle for fronts: the best subset of every size, as `brute_force` finds it with "fixed_size".

    >>> [best.error for best in brute_force_sizes([[8, 4, 1]], [5])[0]]
    [5, 1, 0, 8]
    >>> [best.reachable for best in brute_force_sizes([[8, 0, 1]], [5])[0]]  # two nonzero items
    [True, True, True, False]
    """
    ranked = [_subsets(row, target) for row, target in zip(items, targets, strict=True)]
    return [
        [_best_subset(subsets, "fixed_size", None, k) for k in range(len(row) + 1)]
        for subsets, row in zip(ranked, items, strict=True)
    ]


def _exact(value: Any) -> Number:
    if isinstance(value, Fraction):
        return value
    return Fraction(float(value)) if isinstance(value, float | np.floating) else int(value)


def _size(error: Number) -> Number:
    return error if error >= 0 else -error


def _subsets(row: Any, target: Any) -> list[tuple[Number, int, int]]:
    """(|error|, size, mask) of every subset of nonzero items."""
    sums: list[tuple[Number, int]] = [(0, 0)]
    for i, x in enumerate(map(_exact, row)):
        if x != 0:
            sums += [(total + x, mask | 1 << i) for total, mask in sums]
    wanted = _exact(target)
    return [(_size(wanted - total), mask.bit_count(), mask) for total, mask in sums]


def _best_subset(
    ranked: list[tuple[Number, int, int]], objective: Objective, eps: Number | None, count: int | None
) -> BestSubset:
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


def check_subset_sums(
    result: SubsetSums,
    instances: Instances,
    *,
    objective: Objective,
    eps: Number | float | None = None,
    size: int | None = None,
    exact: bool = True,
) -> None:
    """Assert that `result` answers `instances`, by exact recomputation and by the oracle (so n <= about 16).

    Integer instances are taken as posed with exponent 0. Whatever the result claims to be proved is checked with
    `exact` or without.

    Args:
        result: of `solve`, or of a solver's own.
        instances: what was asked.
        objective, eps, size: as they were given to `solve`.
        exact: the solver finds and proves the optimum; otherwise only what it reports and claims is checked.
    """
    own = instances.own()
    assert len(result) == len(own.targets), f"expected {len(own.targets)} answers, got {len(result)}"
    best = brute_force(own.items, own.targets, objective=objective, eps=eps, size=size)
    asked = f"{objective}, eps {eps}, size {size}"
    for r, (row, target, oracle) in enumerate(zip(own.items.tolist(), own.targets.tolist(), best, strict=True)):
        where = f"row {r}: items {row}, target {target}, {asked}"
        error = _check_report(result, r, [_exact(v) for v in row], _exact(target), where)
        mask, outcome = int(result.mask[r]), result.outcomes[r]
        few = objective == "fixed_size" and oracle.size != size
        within = (eps is None or _size(error) <= _exact(eps)) and (size is None or mask.bit_count() == size)
        if outcome is Outcome.FOUND:
            assert within, f"FOUND with error {error}; {where}"
        if outcome is Outcome.NONE_EXISTS:
            assert not oracle.reachable, f"NONE_EXISTS, but {oracle} does; {where}"
        if not result.certified[r]:
            _check_bracket(result, r, _size(error), oracle, objective, few, where)
            continue
        best_claimed = eps is None or objective == "sparsest"
        if within and not best_claimed:
            assert outcome is Outcome.FOUND, f"{outcome.name} with error {error}; {where}"
        if result.canonical[r]:
            assert mask == oracle.mask, f"mask {mask:b} called canonical, the tie rule names {oracle.mask:b}; {where}"
        if exact:
            assert outcome is not Outcome.NOT_FOUND, f"NOT_FOUND from an exact solver, {oracle} exists; {where}"
        if few or (objective == "first_hit" and oracle.reachable):
            continue  # nothing to choose from, or any subset within eps will do
        if exact or (best_claimed and outcome is Outcome.FOUND):
            assert _size(error) == oracle.error, f"error {error}, the oracle has {oracle}; {where}"
            if objective == "sparsest" and oracle.reachable:
                assert mask.bit_count() == oracle.size, f"size {mask.bit_count()}, the oracle has {oracle}; {where}"
            if oracle.unique:
                assert mask == oracle.mask, f"mask {mask:b}, the only best one is {oracle.mask:b}; {where}"


def _check_report(result: SubsetSums, r: int, row: list[Number], target: Number, where: str) -> Number:
    """Assert that mask, size and errors of one row belong together; returns the exact error."""
    mask = int(result.mask[r])
    assert 0 <= mask < 1 << len(row), f"mask {mask} names items that do not exist; {where}"
    assert not any(v == 0 and mask >> i & 1 for i, v in enumerate(row)), f"a zero item is chosen; {where}"
    assert int(result.size[r]) == mask.bit_count(), f"size {result.size[r]} reported of mask {mask:b}; {where}"
    error = target - sum(v for i, v in enumerate(row) if mask >> i & 1)
    _check_error(int(result.error[r]), float(result.absolute_error[r]), error, int(result.exponent[r]),
                 bool(result.certified[r]), where)  # fmt: skip
    return error


def _check_error(units: int, absolute: float, error: Number, exponent: int, certified: bool, where: str) -> None:
    unit = Fraction(1) if isinstance(error, int) else Fraction(2) ** exponent
    if certified and abs(units) != _SATURATED:
        assert units * unit == error, f"error {units} reported, {error} true; {where}"
    least = Fraction(_size(error))
    assert absolute >= 0, f"absolute error {absolute}; {where}"
    most = least * (1 + Fraction(1, 2**45)) + Fraction(1, 2**1070)
    assert least <= Fraction(absolute) <= most, f"absolute error {absolute} reported, {float(least)} true; {where}"


def _check_bracket(
    result: SubsetSums, r: int, error: Number, oracle: BestSubset, objective: Objective, few: bool, where: str
) -> None:
    """Assert what is promised off the grid: the minimum up to `bound`."""
    bound = Fraction(float(result.bound[r]))
    assert not result.canonical[r], f"canonical off the grid; {where}"
    if objective in ("min_error", "fixed_size") and not few:
        assert error <= oracle.error + bound, (
            f"error {float(error)}, bound {float(bound)}, the oracle has {oracle}; {where}"
        )
        least = Fraction(float(result.absolute_error[r])) - bound
        assert least <= oracle.error, f"no error below {float(least)} claimed, the oracle has {oracle}; {where}"


def check_fronts(fronts: Fronts, instances: Instances) -> None:
    """Assert that `fronts` holds the best subset of every size, by exact recomputation and by the oracle."""
    own = instances.own()
    shape = (len(own.targets), own.n + 1)
    assert fronts.mask.shape == shape, f"expected {shape}, got {fronts.mask.shape}"
    for r, front in enumerate(brute_force_sizes(own.items, own.targets)):
        row, target = own.items[r].tolist(), own.targets[r].item()
        certified, bound = bool(fronts.certified[r]), Fraction(float(fronts.bound[r]))
        assert not (certified and bound), f"a bound of {bound} on the grid; row {r}"
        for k, oracle in enumerate(front):
            mask, where = int(fronts.mask[r, k]), f"row {r}, size {k}: items {row}, target {target}"
            if not oracle.reachable:
                assert mask == -1, f"mask {mask:b}, but there are only {oracle.size} nonzero items; {where}"
                assert not fronts.efficient[r, k], f"no such subset, but called efficient; {where}"
                continue
            error = _exact(target) - sum(_exact(v) for i, v in enumerate(row) if mask >> i & 1)
            assert mask.bit_count() == k, f"mask {mask:b} is of another size; {where}"
            absolute = float(fronts.absolute_error[r, k])
            _check_error(int(fronts.error[r, k]), absolute, error, int(fronts.exponent[r]), certified, where)
            assert _size(error) <= oracle.error + bound, f"error {error}, the oracle has {oracle}; {where}"
            assert certified or Fraction(absolute) - bound <= oracle.error, f"the oracle has {oracle}; {where}"
            if certified and abs(int(fronts.error[r, 0])) != _SATURATED:
                better = all(oracle.error < smaller.error for smaller in front[:k])
                assert bool(fronts.efficient[r, k]) == better, f"efficient is {not better}; {where}"


@final
class _Watched(AbstractSubsetSumSolver):
    """Hands everything to a solver and sees that it leaves its batches as they are."""

    reads_only = True

    def __init__(self, solver: AbstractSubsetSumSolver) -> None:
        self.name, self.parallel, self._solver = solver.name, solver.parallel, solver

    def most_items(self, objective: Objective) -> int:
        return self._solver.most_items(objective)

    def chunk_size(self, n: int, goal: Goal, sharing: float = 1.0) -> int:
        return self._solver.chunk_size(n, goal, sharing)

    def choose(self, batch: Batch, goal: Goal) -> Choice:
        before = batch.copy()
        choice = self._solver.choose(batch, goal)
        self._compare(before, batch)
        return choice

    def choose_sizes(self, batch: Batch) -> npt.NDArray[np.int64]:  # [batch, n + 1]
        before = batch.copy()
        masks = self._solver.choose_sizes(batch)
        self._compare(before, batch)
        return masks

    def _compare(self, before: Batch, after: Batch) -> None:
        for name in ("items", "targets", "pool"):
            was, now = getattr(before, name), getattr(after, name)
            assert was is None or np.array_equal(was, now), f"{self.name} wrote to batch.{name}"


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
        exact: the solver finds and proves the optimum; otherwise only what it reports, and claims to be proved, is
            checked.
        objectives: what to test; "fixed_size" includes the best subsets of every size (`pareto`) if `exact`.

    Raises:
        AssertionError: with the smallest failing instance that Hypothesis finds.

    >>> from strongticket.subsetsum import BruteForceSolver
    >>> check_subset_sum_solver(BruteForceSolver(), max_items=5, max_examples=5)
    """
    watched, small = _Watched(solver), min(5, max_items)
    batches = (
        subset_sum_instances(max_items=max_items)
        | planted_subset_sums(max_items=max_items)
        | widest_subset_sums(min_items=1, max_items=max(1, max_items))
        | long_subset_sums(max_items=small)
    )
    pooled = pooled_subset_sums(max_items=max_items)
    some = max(1, max_examples // 4)
    for objective in objectives:
        _check_objective(watched, batches, objective, exact, max_examples)
        _check_objective(watched, pooled, objective, exact, some)
    if "fixed_size" in objectives and exact:
        _check_every_size(watched, batches, some)
        _check_every_size(watched, pooled, some)


def _check_objective(
    solver: AbstractSubsetSumSolver,
    batches: st.SearchStrategy[Instances],
    objective: Objective,
    exact: bool,
    max_examples: int,
) -> None:
    tolerances = st.sampled_from([0, 1, 3, 1 << 20, 1 << 40, 1 << 45]) | st.integers(0, 1 << 47)
    eps_of = tolerances if objective in ("sparsest", "first_hit") else st.none() | tolerances

    @settings(max_examples=max_examples, deadline=None, report_multiple_bugs=False)
    @given(batches, eps_of, st.data())
    def check(instances: Instances, eps: int | None, data: st.DataObject) -> None:
        size = data.draw(st.integers(0, instances.n)) if objective == "fixed_size" else None
        asked: dict[str, Any] = {"objective": objective, "eps": eps, "size": size}
        result = solver.solve(instances.items, instances.targets, pool=instances.pool, **asked)
        check_subset_sums(result, instances, exact=exact, **asked)

    check()


def _check_every_size(
    solver: AbstractSubsetSumSolver, batches: st.SearchStrategy[Instances], max_examples: int
) -> None:
    @settings(max_examples=max_examples, deadline=None, report_multiple_bugs=False)
    @given(batches)
    def check(instances: Instances) -> None:
        check_fronts(solver.fronts(instances.items, instances.targets, pool=instances.pool), instances)

    check()
