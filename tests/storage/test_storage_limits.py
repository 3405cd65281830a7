"""The least that any code needs: covering numbers by enumeration, and no code is ever below the limits."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket.storage import (
    CODES,
    RateDistortion,
    at_budget,
    covering_bits,
    entropy_coded,
    gaussian_bits,
    kmeans_quantised,
    sparse_float,
    uniform_quantised,
    water_level,
)

Array = np.ndarray[Any, Any]


def cover(radius: Fraction, eps: Fraction) -> list[Fraction]:
    """The fewest points within eps of all of [-radius, radius]: from the left, each as far right as it may be."""
    points: list[Fraction] = []
    reached = -radius
    while not points or reached < radius:
        points.append(reached + eps)
        reached += 2 * eps
    return points


@pytest.mark.parametrize(("top", "bottom"), [(1, 1), (1, 2), (2, 3), (3, 2), (5, 2), (7, 3), (4, 1), (9, 4), (0, 1)])
def test_covering_numbers_are_those_of_a_greedy_cover_and_of_a_packing(top: int, bottom: int) -> None:
    eps = Fraction(1, 8)
    radius = eps * Fraction(top, bottom)
    points = cover(radius, eps)
    assert 2.0 ** covering_bits(1, float(radius), float(eps)) == pytest.approx(len(points))
    m = len(points)
    assert 2.0 ** covering_bits(2, float(radius), float(eps)) == pytest.approx(m * m)
    if m > 1:  # in two dimensions: m^2 points of which no ball holds two
        line = [-radius + 2 * radius * j / (m - 1) for j in range(m)]
        packed = list(itertools.product(line, repeat=2))
        assert all(
            max(abs(a - b) for a, b in zip(p, q, strict=True)) > 2 * eps for p, q in itertools.combinations(packed, 2)
        )
        grid = [-radius + radius * j / 20 for j in range(41)]
        assert all(any(abs(x - p) <= eps for p in points) for x in grid)


def test_covering_bits_are_at_least_what_volume_says_and_refuse_nonsense() -> None:
    for radius, eps in ((1.0, 0.3), (0.5, 0.01), (1.0, 0.1)):
        assert covering_bits(7, radius, eps) >= 7 * math.log2(radius / eps) - 1e-9
    assert covering_bits(5, 0.1, 0.2) == 0.0
    for bad in ((1, 1.0, 0.0), (1, -1.0, 0.1), (-1, 1.0, 0.1), (1, math.inf, 0.1)):
        with pytest.raises(ValueError, match="radius >= 0 and eps > 0"):
            covering_bits(*bad)


def literal_level(sizes: list[int], variances: list[float], mse: float) -> float:
    low, high = 0.0, max(variances)
    for _ in range(200):
        middle = (low + high) / 2
        spread = sum(n * min(middle, v) for n, v in zip(sizes, variances, strict=True)) / sum(sizes)
        low, high = (middle, high) if spread < mse else (low, middle)
    return high


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0.01, 10)), min_size=1, max_size=5),
    st.floats(0.001, 0.999),
)
def test_water_levels_are_those_of_bisection(layers: list[tuple[int, float]], share: float) -> None:
    sizes, variances = [n for n, _ in layers], [v for _, v in layers]
    mse = share * sum(n * v for n, v in layers) / sum(sizes)
    level = literal_level(sizes, variances, mse)
    assert water_level(sizes, variances, mse) == pytest.approx(level, rel=1e-9)
    literal = sum(n / 2 * max(0.0, math.log2(v / level)) for n, v in layers)
    assert gaussian_bits(sizes, variances, mse) == pytest.approx(literal, rel=1e-6, abs=1e-6)
    # no other way to share the distortion needs fewer bits
    for bend in (0.7, 1.4):
        shares = [min(v, level) * (bend if i == 0 else 1.0) for i, v in enumerate(variances)]
        scale = mse * sum(sizes) / sum(n * d for n, d in zip(sizes, shares, strict=True))
        other = sum(n / 2 * max(0.0, math.log2(v / (d * scale))) for (n, v), d in zip(layers, shares, strict=True))
        assert other >= literal - 1e-6


def test_gaussian_bits_at_the_ends() -> None:
    assert gaussian_bits([4], [1.0], 0.0) == math.inf
    assert gaussian_bits([4], [0.0], 0.0) == 0.0
    assert gaussian_bits([4], [1.0], 5.0) == 0.0
    with pytest.raises(ValueError, match="as many sizes"):
        gaussian_bits([1, 2], [1.0], 0.5)
    for sizes, variances in (([1], [math.nan]), ([1], [-1.0]), ([-1, 5], [1.0, 1.0]), ([1, 2], [1.0])):
        for mse in (0.0, 0.5):
            with pytest.raises(ValueError, match="none negative or NaN"):
                gaussian_bits(sizes, variances, mse)


def quantisers(values: Array) -> list[tuple[float, float]]:
    """(entropy in bits, mean squared error) of every quantiser that cuts the sorted numbers into runs."""
    ordered, found = np.sort(values), []
    for cut in itertools.product((False, True), repeat=len(values) - 1):
        parts = np.split(ordered, [i + 1 for i, here in enumerate(cut) if here])
        shares = np.array([len(part) for part in parts]) / len(values)
        error = sum(float(np.square(part - part.mean()).sum()) for part in parts) / len(values)
        found.append((float(-(shares * np.log2(shares)).sum()), error))
    return found


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-1, 1, width=32, allow_subnormal=False), min_size=2, max_size=7))
def test_no_quantiser_of_a_small_sample_is_below_the_limit(values: list[float]) -> None:
    law = RateDistortion.of({"w": torch.tensor(values)})
    for entropy, error in quantisers(np.array(values, dtype=np.float32).astype(np.float64)):
        assert law.bits(error) <= len(values) * entropy + 1e-6


def primal(values: Array, mse: float) -> float:
    """Shannon's function of a small sample from above: Blahut's algorithm with reproductions on a fine grid."""
    grid = np.linspace(values.min(), values.max(), 401)
    distance = np.square(values[:, None] - grid)
    best = math.inf
    for slope in np.geomspace(0.05, 2000.0, 60):
        kernel, said = np.exp(-slope * distance), np.full(401, 1 / 401)
        for _ in range(300):
            joint = kernel * said
            joint /= joint.sum(axis=1, keepdims=True)
            said = joint.mean(axis=0)
        error = float((joint * distance).sum() / len(values))
        rate = float((joint * np.log2(np.maximum(joint, 1e-300) / np.maximum(said, 1e-300))).sum() / len(values))
        best = min(best, rate if error <= mse else math.inf)
    return best


def test_the_bound_is_close_to_the_function_itself() -> None:
    values = np.array([-1.0, -0.8, -0.1, 0.0, 0.05, 0.4, 0.9, 1.0])
    law = RateDistortion.of({"w": torch.tensor(values)})
    for mse in (0.3, 0.1, 0.03, 0.01):
        from_above, from_below = primal(values, mse), law.bits(mse) / len(values)
        assert from_above - 0.12 < from_below <= from_above + 1e-6  # slopes of the primal are coarse


def test_a_coin_has_the_limit_of_a_coin() -> None:
    law = RateDistortion.of({"w": torch.tensor([-1.0, 1.0] * 500)})
    mse = 0.04  # each toss is named wrongly with probability 0.01, or moved a little
    wrong = mse / 4
    binary = 1 + wrong * math.log2(wrong) + (1 - wrong) * math.log2(1 - wrong)
    assert 0.9 < law.bits(mse) / 1000 <= binary
    assert law.bits(0.0) / 1000 == pytest.approx(1.0, abs=0.02)


def test_normal_weights_are_close_to_shannons_limit_and_layers_share_one_slope() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {"a": torch.randn(30_000, generator=generator), "b": 0.1 * torch.randn(10_000, generator=generator)}
    law = RateDistortion.of(weights)
    for mse in (0.3, 0.02, 0.004, 0.0005):
        assert 0.985 * law.gaussian(mse) - 600 < law.bits(mse) < law.gaussian(mse) + 400
    bits = [law.bits(mse) for mse in (0.5, 0.1, 0.02, 0.004, 0.0008)]
    assert bits == sorted(bits)


def test_what_is_regular_costs_less_than_noise() -> None:
    few = torch.tensor([0.0] * 900 + [1.0] * 100)
    law = RateDistortion.of({"w": few})
    assert law.bits(1e-4) < 500 < 1000 < law.gaussian(1e-4)
    assert RateDistortion.of({"w": torch.full((9,), 0.3)}).bits(0.0) == 0.0


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.floats(1.5, 12), st.sampled_from(["normal", "laplace", "uniform", "two"]))
def test_no_code_is_below_the_limit(seed: int, each: float, law: str) -> None:
    generator = np.random.default_rng(seed)
    draws: dict[str, Any] = {
        "normal": lambda n: generator.normal(size=n),
        "laplace": lambda n: generator.laplace(size=n),
        "uniform": lambda n: generator.uniform(-1, 1, n),
        "two": lambda n: generator.choice([-1.0, 1.0], n) + 0.05 * generator.normal(size=n),
    }
    drawn = draws[law]
    weights = {"a": torch.from_numpy(drawn(200).astype(np.float32)), "b": torch.from_numpy(drawn(40) * 0.2).float()}
    limit = RateDistortion.of(weights)
    made = [at_budget(code, weights, 240 * each) for code in CODES]
    made += [uniform_quantised(weights, 3), kmeans_quantised(weights, 2), entropy_coded(weights, 0.7)]
    made += [sparse_float(weights, 20)]
    for one in made:
        assert one is None or one.bits.total >= limit.bits(one.mse) - 1e-6


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one weight"):
        RateDistortion.of({})
    with pytest.raises(ValueError, match="finite"):
        RateDistortion.of({"w": torch.tensor([math.inf])})
    with pytest.raises(ValueError, match="squared error >= 0"):
        RateDistortion.of({"w": torch.ones(2)}).bits(-1.0)
