from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from strongticket.subsetsum import Outcome, SubsetSums, pareto, solve
from strongticket.subsetsum._exact import error_bound, round_up


def true_error(items: np.ndarray, targets: np.ndarray, result: SubsetSums, r: int) -> Fraction:
    chosen = result.chosen(items.shape[1])[r]
    return abs(Fraction(float(targets[r])) - sum(Fraction(float(x)) for x in items[r][chosen]))


def minimum_error(items: np.ndarray, target: float) -> Fraction:
    sums = [Fraction(0)]
    for x in items:
        sums += [s + Fraction(float(x)) for s in sums]
    return min(abs(Fraction(float(target)) - s) for s in sums)


def fractions_agree(items: np.ndarray, targets: np.ndarray, result: SubsetSums) -> None:
    """Errors are upper bounds within 2^-45, exact on the grid; the minimum is within the stated bracket."""
    for r in range(len(targets)):
        error = true_error(items, targets, result, r)
        assert error <= Fraction(float(result.errors()[r])) <= error * (1 + Fraction(1, 2**45)) + Fraction(1, 2**1072)
        assert error <= minimum_error(items[r], targets[r]) + Fraction(result.bound)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n", [5, 9])
def test_floats_against_fractions(backend: str, dtype: Any, n: int) -> None:
    rng = np.random.default_rng(n)
    for items, targets in (
        (rng.uniform(-1, 1, (5, n)), rng.uniform(-1, 1, 5)),
        (rng.normal(size=(5, n)), rng.normal(size=5)),
        (rng.uniform(-1, 1, (5, n)) * rng.uniform(-1, 1, (5, n)), rng.uniform(-40, 40, 5)),
        (rng.integers(-3, 4, (5, n)) / 4, rng.integers(-3, 4, 5) / 4),
        (10 ** rng.uniform(-4, 0, (5, n)), rng.uniform(0, 1, 5)),
        (np.zeros((5, n)), rng.uniform(-1, 1, 5)),
    ):
        x, z = items.astype(dtype), targets.astype(dtype)
        fractions_agree(x, z, solve(x, z, backend=backend))


def test_dyadic_values_are_certified() -> None:
    rng = np.random.default_rng(0)
    grid = rng.integers(-(1 << 23), 1 << 23, (50, 21)) / (1 << 23)
    targets = rng.integers(-(1 << 46), 1 << 46, 50) / (1 << 46)
    result = solve(grid * rng.integers(-(1 << 23), 1 << 23, (50, 21)) / (1 << 23), targets)
    assert (result.certified, result.exponent, result.bound) == (True, -46, 0.0)
    for r in range(50):
        assert result.errors()[r] == abs(int(result.error[r])) * 2.0**-46


def test_integers_and_floats_give_the_same_answer() -> None:
    rng = np.random.default_rng(5)
    items, targets = rng.integers(-(1 << 46), 1 << 46, (20, 12)), rng.integers(-(1 << 46), 1 << 46, 20)
    exact = solve(items, targets, exponent=-46, eps=1e-3, objective="sparsest")
    floats = solve(items * 2.0**-46, targets * 2.0**-46, eps=1e-3, objective="sparsest")
    np.testing.assert_array_equal(exact.mask, floats.mask)
    np.testing.assert_array_equal(exact.errors(), floats.errors())
    tensors = solve(torch.from_numpy(items), torch.from_numpy(targets))
    np.testing.assert_array_equal(tensors.mask, solve(items, targets).mask)


def test_values_off_the_grid_say_so() -> None:
    items = np.array([[1.0, 1e-30, 0.3, -0.2, 0.7, 1e-30, 0.1, 0.9]])
    result = solve(items, np.array([1e-30]), eps=0.0)
    assert not result.certified
    assert 0 < result.bound < 1e-15
    assert result.errors()[0] <= 1e-30
    assert result.outcomes[0] in (Outcome.FOUND, Outcome.NOT_FOUND)  # within the bracket nothing may be excluded
    assert solve(items, np.array([0.25]), eps=1e-6).outcomes == [Outcome.NONE_EXISTS]


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 2.0**-60, 1.0, 2.0**60, 1e300])
@pytest.mark.parametrize("n", [4, 9])
def test_scales(scale: float, n: int) -> None:
    rng = np.random.default_rng(1)
    items, targets = rng.integers(-9, 10, (6, n)) * scale, rng.integers(-90, 90, 6) * scale
    result = solve(items, targets)
    fractions_agree(items, targets, result)
    assert result.certified


def test_targets_far_beyond_the_grid() -> None:
    items = np.array([[1e-20, -3e-20, 2e-20, 0.0]] * 4)
    targets = np.array([1.0, -1.0, 1e300, 2e-20])
    result = solve(items, targets, eps=0.5)
    assert [o.name for o in result.outcomes] == ["NONE_EXISTS", "NONE_EXISTS", "NONE_EXISTS", "FOUND"]
    assert result.chosen(4).tolist()[:2] == [[True, False, True, False], [False, True, False, False]]
    fractions_agree(items, targets, result)
    sparse = solve(items, targets, objective="sparsest", eps=Fraction(1) - Fraction(1, 10**20))
    assert sparse.size.tolist() == [1, 1, 2, 0]  # the larger item that helps is enough for the first
    assert abs(int(result.error[0])) == 2**63 - 1 or abs(result.error[0] * 2.0**result.exponent) == result.errors()[0]


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9),
    st.floats(-1e6, 1e6),
    st.floats(0, 1e6),
    st.sampled_from(["min_error", "sparsest"]),
)
@example([0.0] * 6 + [1.2e-85, 1.0], 1.0, 0.0, "sparsest")  # off the grid, no integer error is surely within eps = 0
@example([0.0] * 6 + [-1.2e-85, -1.0], -1.0, 0.0, "sparsest")
def test_outcomes_are_true_for_any_floats(row: list[float], target: float, eps: float, objective: Any) -> None:
    items, targets = np.array([row]), np.array([target])
    result = solve(items, targets, objective=objective, eps=eps)
    fractions_agree(items, targets, result) if objective == "min_error" else None
    error, best = true_error(items, targets, result, 0), minimum_error(items[0], target)
    if result.found[0]:
        assert error <= Fraction(eps)
    elif result.certified:
        assert best > Fraction(eps)
    if result.outcomes[0] is Outcome.NONE_EXISTS:
        assert best > Fraction(eps)


def test_error_exactly_eps_is_a_hit() -> None:
    assert solve([[3, 5]], [9], eps=1, objective="sparsest").found.all()
    assert not solve([[3, 5]], [9], eps=Fraction(999, 1000), objective="sparsest").found.any()
    assert solve([[3, 5]], [9], eps=0.5, exponent=-1).found.all()
    assert not solve([[3, 5]], [9], eps=np.nextafter(0.5, 0), exponent=-1).found.any()


@given(st.integers(0, 2**63 - 1), st.integers(-1120, 900))
def test_round_up(units: int, exponent: int) -> None:
    value = Fraction(units) * Fraction(2) ** exponent
    up = float(round_up(np.array([units]), exponent)[0])
    assert Fraction(up) >= value
    assert up == 0 or Fraction(float(np.nextafter(up, 0))) < value


@given(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=12))
def test_error_bound(values: list[float]) -> None:
    items, target = np.array([values[1:]]), np.array([values[0]])
    exact = abs(Fraction(values[0]) - sum(Fraction(v) for v in values[1:]))
    bound = Fraction(float(error_bound(items, target, np.ones_like(items, bool))[0]))
    size = sum(Fraction(abs(v)) for v in values)
    assert exact <= bound <= exact * (1 + Fraction(1, 2**45)) + size / 2**95 + Fraction(1, 2**1070)


@pytest.mark.parametrize(
    ("items", "targets", "options", "message"),
    [
        ([[1.0, np.nan]], [0.0], {}, r"items\[0, 1\] = nan"),
        ([[1.0], [np.inf]], [0.0, 0.0], {}, r"items\[1, 0\] = inf"),
        ([[1.0], [2.0]], [0.0, -np.inf], {}, r"targets\[1\] = -inf"),
        ([[1e308, 1e308]], [0.0], {}, "in row 0"),
        ([[[1, 2]]], [1], {}, r"shape \[batch, n\]"),
        ([1, 2], [1], {"pool": [0]}, "several rows of items"),
        ([[1, 2]], [1, 3], {"pool": [0]}, "one row number per target"),
        ([[1, 2]], [1, 3], {"pool": [0, 1]}, r"pool\[1\] = 1"),
        ([[1, 2]], [1, 3], {"pool": [0, -1]}, r"pool\[1\] = -1"),
        ([[1, 2]], [1], {"objective": "first_hit"}, "expected eps"),
        ([[1, 2]], [1], {"size": 1}, "size only with"),
        ([[1, 2]], [1], {"objective": "fixed_size", "size": 3}, "size from 0 to the number of items, 2"),
        ([[1] * 60], [1], {"objective": "fixed_size", "size": 9}, "at most 40"),
        ([[1, 2]], [[1]], {}, r"shape \[batch\]"),
        ([[1, 2]], [1, 2], {}, "1 rows and 2 targets"),
        ([[1] * 63], [1], {}, "at most 62"),
        ([[1, 2]], [1], {"eps": -1}, "eps >= 0"),
        ([[1, 2]], [1], {"eps": float("nan")}, "finite eps"),
        ([[1, 2]], [1], {"objective": "sparsest"}, "expected eps"),
        ([[1, 2]], [1], {"objective": "best"}, "expected objective"),
        ([[1, 2]], [1], {"backend": "gurobi"}, "expected backend"),
        ([[1, 2]], [1], {"threads": 0}, "threads >= 1"),
        ([[1.5, 2]], [1.0], {"exponent": 3}, "exponent only with integer"),
        ([[1, 2], [1 << 59, 1 << 59]], [1, 1], {}, "in row 1"),
        ([[-(2**63)]], [1], {}, "in row 0"),
        ([[1]], [-(2**63)], {}, r"targets\[0\]"),
        ([[1] * 17], [1], {"backend": "brute"}, "at most 16"),
    ],
)
def test_bad_values_are_refused(items: Any, targets: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve(items, targets, **options)


@pytest.mark.parametrize(
    ("items", "targets", "options"),
    [
        ([[1, 2]], [0.5], {}),
        ([[1.5, 2]], [1], {}),
        ([[True, False]], [1], {}),
        ([["a"]], [1], {}),
        ([[1j]], [1], {}),
        ([[1]], [1], {"eps": "small"}),
        ([[1]], [1], {"eps": True}),
        ([[1]], [1], {"exponent": 0.5}),
    ],
)
def test_bad_types_are_refused(items: Any, targets: Any, options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="expected"):
        solve(items, targets, **options)


def test_budget_is_checked_row_by_row() -> None:
    row = np.array([[(1 << 60) - 1 - 8] + [1] * 8])
    assert solve(row, np.array([5])).error.tolist() == [0]
    with pytest.raises(ValueError, match="row 0"):
        solve(row + 1, np.array([5]))


def test_the_bound_covers_the_rounding_of_the_reported_error() -> None:
    items = np.array([[-9.22845555882743e-06, 2.835175153613494e-10, 0.36937323073391126]])
    targets = np.array([-0.36937323073391126])
    result = solve(items, targets, backend="brute")
    least = minimum_error(items[0], targets[0])
    assert Fraction(float(result.absolute_error[0])) - Fraction(result.bound) <= least


def test_size_must_be_a_number() -> None:
    with pytest.raises(TypeError, match="expected size"):
        solve([[1, 2]], [1], objective="fixed_size")
    with pytest.raises(TypeError, match="expected size"):
        solve([[1, 2]], [1], objective="fixed_size", size=True)


@pytest.mark.parametrize("backend", ["numba", "brute"])
def test_fixed_size_counts_values_too_small_for_the_grid_as_items(backend: str) -> None:
    # 1e-30 rounds to 0 beside 1.0, but it is an item: the best single item for target 0
    items, targets = np.array([[1.0, 1e-30, 0.0, 0.7]]), np.array([1e-31])
    result = solve(items, targets, objective="fixed_size", size=1, backend=backend)
    assert not result.certified
    assert result.mask.tolist() == [2]
    few = solve(items, targets, objective="fixed_size", size=4, backend=backend)
    assert few.outcomes == [Outcome.NONE_EXISTS]
    assert few.mask.tolist() == [11]
    fronts = pareto(items, targets, backend=backend)
    assert (fronts.mask >= 0).tolist() == [[True, True, True, True, False]]
    assert fronts.absolute_error[0, 4] == np.inf


def test_far_targets_of_every_objective() -> None:
    items, targets = np.array([[0.5, -0.25, 0.125, 0.0]]), np.array([1e200, -1e200])
    for options, masks in (
        ({}, [5, 2]),
        ({"objective": "first_hit", "eps": 1.0}, [5, 2]),
        ({"objective": "fixed_size", "size": 1}, [1, 2]),
        ({"objective": "fixed_size", "size": 2}, [5, 6]),
        ({"objective": "fixed_size", "size": 3}, [7, 7]),
    ):
        result = solve(items[0], targets, backend="brute", **options)
        assert result.mask.tolist() == masks
        assert abs(int(result.error[0])) == 2**63 - 1
    fronts = pareto(items[0], targets, backend="brute")
    assert fronts.mask.tolist() == [[0, 1, 5, 7, -1], [0, 2, 6, 7, -1]]


def test_pools_in_any_order_answer_their_own_targets() -> None:
    rng = np.random.default_rng(3)
    items, pool = rng.uniform(-1, 1, (4, 12)), rng.integers(0, 4, 50)
    targets = rng.uniform(-1, 1, 50)
    for options in ({}, {"objective": "sparsest", "eps": 1e-3}, {"objective": "fixed_size", "size": 4}):
        shared = solve(items, targets, pool=pool, **options)
        own = solve(items[pool], targets, **options)
        np.testing.assert_array_equal(shared.mask, own.mask)
        np.testing.assert_array_equal(shared.absolute_error, own.absolute_error)
    np.testing.assert_array_equal(pareto(items, targets, pool=pool).mask, pareto(items[pool], targets).mask)


def test_a_pool_of_very_many_targets_is_sorted_wholly() -> None:
    rng = np.random.default_rng(4)
    items, targets = rng.integers(-(1 << 20), 1 << 20, 15), rng.integers(-(1 << 22), 1 << 22, 5000)
    many, few = solve(items, targets), solve(items, targets[:20])
    assert many.canonical.all()
    np.testing.assert_array_equal(np.abs(many.error[:20]), np.abs(few.error))
    truth = solve(items, targets[:300], backend="brute")
    np.testing.assert_array_equal(many.mask[:300], truth.mask)


def test_the_front_says_which_sizes_are_worth_their_items() -> None:
    fronts = pareto([[8, 4, 1, 0]], [5])
    assert fronts.error.tolist() == [[5, 1, 0, -8, 2**63 - 1]]
    assert fronts.efficient.tolist() == [[True, True, True, False, False]]
