from __future__ import annotations

import math
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strongticket.models import MLP
from strongticket.random.laws import LAWS
from strongticket.random.normal_table import HalfQuantile
from strongticket.source import LARGEST_SCALE, SMALLEST_SCALE
from strongticket.testing import sources
from strongticket.ticket import Init, Source


@given(sources(), st.data())
def test_a_weight_does_not_depend_on_what_else_is_asked_for(source: Source, data: st.DataObject) -> None:
    whole = source.weights()
    assert {name: tuple(value.shape) for name, value in whole.items()} == dict(source.shapes)
    name = data.draw(st.sampled_from(list(source.shapes)))
    size = math.prod(source.shapes[name])
    flat = whole[name].reshape(-1).numpy()
    assert flat.dtype == np.float32
    index = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=20)), dtype=np.int64)
    assert source.weight(name, index).numpy().tobytes() == flat[index].tobytes()
    start, stop = sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size))))
    assert source.weight(name, slice(start, stop)).numpy().tobytes() == flat[start:stop].tobytes()
    again = Source(source.architecture, source.seed, source.init)
    assert again == source
    assert again.digest == source.digest


@given(sources(), st.data())
def test_integers_are_the_weights_exactly(source: Source, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(source.shapes)))
    law, scale = source.init.of(name)
    if law == "normal-tab1" or math.frexp(scale)[0] != 0.5:
        with pytest.raises(ValueError, match="dyadic grid"):
            source.integers(name)
        return
    weights = source.weight(name).double().numpy()
    integers = source.integers(name)
    assert integers.shape == source.shapes[name]
    assert np.array_equal(np.ldexp(integers.astype(np.float64), source.grid_exponent(name)), weights)


def test_scales_multiply_and_round_once() -> None:
    mlp, name = MLP((6, 5)), "layers.0.weight"
    scale = float(np.float32(0.1))
    plain = Source(mlp, 3).weight(name).numpy()
    scaled = Source(mlp, 3, Init("normal-tab1", 1.0, ((name, "uniform23", scale),))).weight(name).numpy()
    exact = plain.astype(np.float64) * scale  # 24 + 24 bits fit in 53
    assert np.array_equal(scaled, exact.astype(np.float32))


def test_names_and_seeds_and_laws_give_different_networks() -> None:
    mlp = MLP((8, 8, 8))
    weights = Source(mlp, 0).weights()
    assert not torch.equal(weights["layers.0.weight"], weights["layers.1.weight"])
    recipes = [Source(mlp, 0), Source(mlp, 1), Source(mlp, 2**64 - 1), Source(mlp, 0, Init("sign"))]
    recipes += [Source(mlp, 0, Init(scale=0.5)), Source(MLP((8, 8)), 0), Source(MLP((8, 8, 8), bias=True), 0)]
    assert len({source.digest for source in recipes}) == len(set(recipes)) == len(recipes)


def test_a_source_of_a_million_million_weights_costs_nothing() -> None:
    start = time.process_time()
    source = Source(MLP((10**6, 10**6)), 1)
    index = np.random.default_rng(0).integers(0, 10**12, 10**4)
    weights = source.weight("layers.0.weight", index)
    assert time.process_time() - start < 0.5
    assert weights[-1] == source.weight("layers.0.weight", slice(int(index[-1]), int(index[-1]) + 1))[0]


def test_wrong_requests_are_refused() -> None:
    source, name = Source(MLP((3, 2)), 1), "layers.0.weight"
    with pytest.raises(KeyError, match=r"layers\.0\.weight"):
        source.weight("w")
    for index in ([-1], [6], [0, 6]):
        with pytest.raises(IndexError, match=r"0\.\.5"):
            source.weight(name, np.array(index))
    for wrong in (np.array([0.5]), np.array([True])):
        with pytest.raises(TypeError, match="integers"):
            source.weight(name, wrong)
    with pytest.raises(ValueError, match="step"):
        source.weight(name, slice(0, 6, 2))
    assert source.weight(name, slice(4, 2)).shape == (0,)
    assert source.weight(name, np.zeros((2, 0))).shape == (2, 0)
    assert source.weight(name, torch.tensor([[5, 0]])).shape == (1, 2)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "1", None, True])
def test_wrong_seeds_are_refused(seed: object) -> None:
    with pytest.raises((TypeError, ValueError), match="seed"):
        Source(MLP((3, 2)), seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("law", ["uniform23", "sign"])
@pytest.mark.parametrize("scale", [SMALLEST_SCALE, 1.0, LARGEST_SCALE])
def test_integers_are_exact_up_to_the_limits_of_the_scale(law: str, scale: float) -> None:
    source, name = Source(MLP((300, 1000)), 5, Init(law, scale)), "layers.0.weight"
    bits = source.weight(name).numpy().tobytes()
    assert (
        np.ldexp(source.integers(name).astype(np.float64), source.grid_exponent(name)).astype(np.float32).tobytes()
        == bits
    )
    for i, weight in zip(source.integers(name, slice(0, 50)), source.weight(name, slice(0, 50)), strict=True):
        assert Fraction(int(i)) * Fraction(2) ** source.grid_exponent(name) == Fraction(float(weight))


def test_no_scaled_weight_is_subnormal() -> None:
    smallest = HalfQuantile(1)(np.array([2**52 - 1], dtype=np.uint64))  # of normal-tab1, next to the median
    assert 2.0**-53 <= abs(smallest[0]) <= 2.0**-52
    for least in (float(abs(smallest[0])), 2.0**-23, 1.0):
        scaled = np.float32(least) * np.float32(SMALLEST_SCALE)
        assert scaled >= np.finfo(np.float32).smallest_normal
        assert float(scaled) == float(np.float32(least)) * SMALLEST_SCALE
    for law in LAWS.values():
        assert law.support[1] * LARGEST_SCALE < np.finfo(np.float32).max


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 0.1, 2.0**-65, 2.0**65, 2.0**-130, 5e-324])
def test_wrong_scales_are_refused(scale: float) -> None:
    for scales in ({"scale": scale}, {"overrides": (("w", "sign", scale),)}):
        with pytest.raises(ValueError, match="scale of"):
            Init(**scales)


def test_wrong_inits_are_refused() -> None:
    with pytest.raises(ValueError, match="cauchy"):
        Init("cauchy")
    with pytest.raises(ValueError, match="overridden twice"):
        Init(overrides=(("w", "sign", 0.5), ("w", "sign", 0.25)))
    with pytest.raises(ValueError, match="does not have"):
        Source(MLP((3, 2)), 1, Init(overrides=(("w", "sign", 0.5),)))
