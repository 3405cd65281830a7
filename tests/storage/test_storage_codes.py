"""Codes for weights: what they give back is what was paid for, and no budget is ever exceeded."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket.models import MLP, Target
from strongticket.storage import (
    CODES,
    at_budget,
    entropy_coded,
    kmeans_quantised,
    sparse_float,
    sparse_quantised,
    subset_bits,
    symbol_bits,
    uniform_quantised,
)

numbers = st.floats(-4, 4, width=32, allow_subnormal=False)


@st.composite
def weights(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))
    return {f"w{i}": torch.tensor(draw(st.lists(numbers, min_size=n, max_size=n))) for i, n in enumerate(sizes)}


def normal(*sizes: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"w{i}": torch.randn(n, generator=generator) for i, n in enumerate(sizes)}


def least_error(value: np.ndarray[Any, Any], levels: int) -> float:
    """Squared error of the best quantiser with so many values: the best cut of the sorted numbers into runs."""
    ordered = np.sort(value.astype(np.float64))
    cuts = itertools.combinations(range(1, len(ordered)), min(levels, len(ordered)) - 1)
    ends = ([0, *cut, len(ordered)] for cut in cuts)
    return min(sum(float(np.square(run - run.mean()).sum()) for run in runs(ordered, end)) for end in ends)


def runs(ordered: np.ndarray[Any, Any], ends: list[int]) -> list[np.ndarray[Any, Any]]:
    return [ordered[a:b] for a, b in itertools.pairwise(ends)]


@given(weights(), st.integers(1, 9))
def test_quantised_weights_have_no_more_values_than_were_paid_for(given_: Any, levels: int) -> None:
    size = sum(value.numel() for value in given_.values())
    uniform, kmeans = uniform_quantised(given_, levels), kmeans_quantised(given_, levels)
    for made, codebook in ((uniform, 1), (kmeans, levels)):
        assert all(len(np.unique(made.weights[name].numpy())) <= levels for name in given_)
        assert made.bits.total == pytest.approx(size * math.log2(levels) + 32 * codebook * len(given_))
        literal = sum(float((made.weights[n].double() - given_[n].double()).square().sum()) for n in given_)
        assert made.error == pytest.approx(literal)
    for name in given_:
        gaps = np.diff(np.unique(uniform.weights[name].double().numpy()))
        if len(gaps) > 1:  # multiples of one step, of which the smallest gap is a small one
            whole = [gaps / gaps.min() * k for k in range(1, levels)]
            assert any(np.allclose(multiples, np.rint(multiples), atol=1e-3) for multiples in whole)


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=9), st.integers(1, 4))
def test_no_quantiser_beats_the_best_one(values: list[float], levels: int) -> None:
    one = {"w": torch.tensor(values)}
    best = least_error(one["w"].numpy(), levels)
    slack = 1e-5 * (1 + best)  # values are float32
    assert uniform_quantised(one, levels).error >= best - slack
    assert best - slack <= kmeans_quantised(one, levels).error <= uniform_quantised(one, levels).error + slack


def test_two_values_of_normal_weights_are_the_known_ones() -> None:
    one = normal(200_000)
    assert kmeans_quantised(one, 2).mse == pytest.approx(1 - 2 / math.pi, rel=0.02)  # Max 1960
    assert kmeans_quantised(one, 4).mse == pytest.approx(0.1175, rel=0.03)
    assert uniform_quantised(one, 4).mse == pytest.approx(0.1188, rel=0.03)
    assert uniform_quantised(one, 8).mse == pytest.approx(0.03744, rel=0.03)


@given(weights(), st.floats(0.01, 5))
def test_entropy_coded_weights_are_the_nearest_multiples(given_: Any, step: float) -> None:
    made = entropy_coded(given_, step)
    single = float(np.float32(step))
    bits = 32.0
    for name, value in given_.items():
        multiples = np.rint(value.double().numpy() / single).astype(int)
        assert np.array_equal(made.weights[name].numpy(), (multiples * single).astype(np.float32))
        counts = np.bincount(multiples - multiples.min())
        low = min(0, int(multiples.min()))
        bits += 64 + symbol_bits(np.bincount(multiples - low))
        assert counts.sum() == value.numel()
    assert made.bits.total == pytest.approx(bits)


def test_many_symbols_of_which_few_occur_cost_the_same_as_counted_one_by_one() -> None:
    one = {"w": torch.tensor([0.0, 3.0, 3.0, -1.0])}
    step = 2.0**-12
    multiples = np.rint(one["w"].numpy() / step).astype(int)
    expected = 32 + 64 + symbol_bits(np.bincount(multiples - multiples.min()))
    assert entropy_coded(one, step).bits.total == pytest.approx(expected, rel=1e-9)


@given(weights(), st.data())
def test_sparse_codes_keep_the_largest(given_: Any, data: st.DataObject) -> None:
    size = sum(value.numel() for value in given_.values())
    kept = data.draw(st.integers(0, size))
    made = sparse_float(given_, kept)
    flat = torch.cat([value.abs() for value in given_.values()])
    ours = torch.cat([made.weights[name].abs() for name in given_])
    assert torch.equal(ours.sort().values[size - kept :], flat.sort().values[size - kept :])
    assert float(ours.sort().values[: size - kept].sum()) == 0
    places = sum(
        subset_bits(value.numel(), n) for value, n in zip(given_.values(), counts_of(given_, kept), strict=True)
    )
    assert made.bits.total == pytest.approx(places + 32 * kept)
    few = sparse_quantised(given_, kept, 2)
    assert all(len(np.unique(value[value != 0].numpy())) <= 2 for value in few.weights.values())
    assert few.bits.total == pytest.approx(places + kept + 64 * len(given_))


def counts_of(given_: dict[str, torch.Tensor], kept: int) -> list[int]:
    order = [(abs(float(x)), i, j) for i, value in enumerate(given_.values()) for j, x in enumerate(value)]
    taken = sorted(order)[len(order) - kept :]
    return [sum(i == k for _, i, _ in taken) for k in range(len(given_))]


@settings(max_examples=40, deadline=None)
@given(weights(), st.floats(0, 800), st.sampled_from(CODES))
def test_budgets_are_kept(given_: Any, budget: float, code: Any) -> None:
    made = at_budget(code, given_, budget)
    if made is not None:
        assert made.bits.total <= budget + 1e-9
        assert set(made.weights) == set(given_)
    else:
        assert budget < 32 + 96 * len(given_) + 32 * 64 * len(given_)


@settings(max_examples=30, deadline=None)
@given(weights(), st.floats(0, 500))
def test_budgets_are_used_up(given_: Any, budget: float) -> None:
    size = sum(value.numel() for value in given_.values())
    uniform, sparse = at_budget("uniform", given_, budget), at_budget("sparse", given_, budget)
    if uniform is not None and uniform.details["levels"] < 1 << 16:
        assert uniform_quantised(given_, int(uniform.details["levels"]) + 1).bits.total > budget
    fitting = [n for n in range(size + 1) if sparse_float(given_, n).bits.total <= budget]
    assert (sparse.details["kept"] if sparse else None) == (max(fitting) if fitting else None)


def test_more_bits_are_never_worse_for_the_entropy_code() -> None:
    one, last = normal(500, 100), math.inf
    for budget in (400, 600, 1200, 2400, 4800, 9600):
        made = at_budget("entropy-coded", one, budget)
        assert made is not None
        assert 0.9 * budget < made.bits.total <= budget or budget == 400
        assert made.error < last
        last = made.error


def test_a_target_pays_for_its_name_and_nonsense_is_refused() -> None:
    target = Target(MLP((3, 2)), {"layers.0.weight": torch.ones(2, 3)})
    assert uniform_quantised(target, 4).bits.recipe == 8 * len('{"architecture":"mlp-3-2"}')
    assert at_budget("uniform", target, 100) is None
    with pytest.raises(ValueError, match="NaN or infinite"):
        uniform_quantised({"w": torch.tensor([math.nan])}, 2)
    with pytest.raises(ValueError, match="levels"):
        kmeans_quantised({"w": torch.ones(1)}, 0)
    with pytest.raises(ValueError, match="step above 0"):
        entropy_coded({"w": torch.ones(1)}, 0.0)
    with pytest.raises(ValueError, match="expected one of"):
        at_budget("zip", {"w": torch.ones(1)}, 9)  # type: ignore[arg-type]


def test_weights_that_are_all_zero_cost_next_to_nothing() -> None:
    zero = {"w": torch.zeros(50)}
    for code in CODES:
        made = at_budget(code, zero, 400)
        assert made is not None
        assert made.error == 0


def test_multiples_beyond_32_bits_and_weights_beyond_float32_are_refused_and_not_wrapped() -> None:
    """2^31 multiples were once counted as 32 bits, and 10^30 of them came back as another weight."""
    with pytest.raises(ValueError, match="multiples fit in 32 bits"):
        entropy_coded({"w": torch.ones(3)}, 1e-30)
    with pytest.raises(ValueError, match="multiples fit in 32 bits"):
        entropy_coded({"w": torch.ones(3)}, 2.0**-31)
    finest = entropy_coded({"w": torch.ones(3)}, 2.0**-30)
    assert finest.error == 0.0
    for code in CODES:
        with pytest.raises(ValueError, match="beyond float32"):
            at_budget(code, {"w": torch.tensor([1e300], dtype=torch.float64)}, 1e6)


def test_every_code_has_an_answer_for_subnormal_weights_and_for_none_at_all() -> None:
    for code in CODES:
        tiny = at_budget(code, {"w": torch.tensor([1e-42, -1e-45])}, 1e4)
        assert tiny is not None
        assert tiny.bits.total <= 1e4
        assert tiny.error <= 1e-83
        nothing = at_budget(code, {}, 1e4)
        assert nothing is not None
        assert (nothing.size, nothing.error) == (0, 0.0)
