"""Quantising a target, and networks in integer arithmetic against Python's own integers."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from strongticket.models import MLP, Target
from strongticket.models import quantized as module
from strongticket.models.quantized import (
    IntegerLayer,
    accuracy_kept,
    integer_layers,
    integer_outputs,
    quantise,
    unequal_outputs,
)
from strongticket.testing import targets
from strongticket.ticket import Init, Mask, Source, Ticket


def slow_outputs(
    layers: list[IntegerLayer], inputs: list[list[int]], unit: int, reset: int | None, every: int
) -> list[list[Fraction]]:
    """The definition, in exact fractions: an affine map, a ReLU between layers, rounding down where asked for."""
    outputs = []
    for row in inputs:
        x = [Fraction(value, unit) for value in row]
        for i, layer in enumerate(layers, 1):
            x = [max(value, Fraction(0)) for value in x] if i > 1 else x
            weight, grid = layer.weight.toarray().tolist(), Fraction(1, 2**layer.bits)
            bias = [0] * len(weight) if layer.bias is None else layer.bias.tolist()
            x = [
                grid * sum((w * value for w, value in zip(line, x, strict=True)), Fraction(b))
                for line, b in zip(weight, bias, strict=True)
            ]
            if reset is not None and i % every == 0:
                x = [Fraction(math.floor(value * 2**reset), 2**reset) for value in x]
        outputs.append(x)
    return outputs


@st.composite
def networks(draw: st.DrawFn) -> list[IntegerLayer]:
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits = draw(st.integers(0, 8))
    layers = []
    for d_in, d_out in pairwise(sizes):
        weight = rng.integers(-(2**bits), 2**bits + 1, (d_out, d_in))
        bias = rng.integers(-(2**bits), 2**bits + 1, d_out) if draw(st.booleans()) else None
        layers.append(IntegerLayer(sparse.csr_array(weight), bias, bits))
    return layers


@given(networks(), st.data())
@settings(max_examples=150)
def test_integer_arithmetic_is_exact(layers: list[IntegerLayer], data: st.DataObject) -> None:
    unit = data.draw(st.sampled_from([1, 3, 16, 255, 2**20]))
    reset = data.draw(st.none() | st.integers(0, 12))
    every = data.draw(st.integers(1, 2))
    d = layers[0].weight.shape[1]
    inputs = data.draw(st.lists(st.lists(st.integers(-unit, unit), min_size=d, max_size=d), min_size=1, max_size=3))
    outputs, own = integer_outputs(layers, np.array(inputs), unit, reset=reset, every=every)
    found = [[Fraction(value, own) for value in row] for row in outputs.tolist()]
    assert found == slow_outputs(layers, inputs, unit, reset, every)


@given(st.integers(0, 2**32 - 1), st.integers(1, 2**12), st.integers(1, 2**47))
@settings(max_examples=60)
def test_products_beyond_53_bits_are_cut_into_parts(seed: int, weights: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(-weights, weights + 1, (3, 7))
    x = rng.integers(-values, values + 1, (4, 7))
    expected = [[sum(a * b for a, b in zip(w, v, strict=True)) for w in weight.tolist()] for v in x.tolist()]
    assert module._product(sparse.csr_array(weight), x).tolist() == expected


def test_what_could_leave_62_bits_is_refused() -> None:
    layer = IntegerLayer(sparse.csr_array(np.array([[2**30]])), None, 24)
    with pytest.raises(OverflowError, match="give reset"):
        integer_outputs([layer, layer, layer], [[1]], 1)
    outputs, unit = integer_outputs([layer, layer, layer], [[1]], 1, reset=0)
    assert (outputs.tolist(), unit) == ([[2**18]], 1)
    biased = IntegerLayer(sparse.csr_array(np.array([[1]])), np.array([2**40]), 10)
    with pytest.raises(OverflowError, match="biases of layer 1"):
        integer_outputs([biased], [[1]], 2**30)


@given(targets(max_depth=3, max_width=4, largest=4.0), st.integers(1, 12), st.booleans(), st.data())
@settings(max_examples=100)
def test_quantising_rounds_to_the_grid_and_says_how_far(
    target: Target, bits: int, rescale: bool, data: st.DataObject
) -> None:
    reach = data.draw(st.sampled_from([0.5, 1.0]))
    found = quantise(target, bits, rescale=rescale, reach=reach)
    product, largest, clipped = 1.0, 0.0, 0
    for old, new, factor in zip(target.layers, found.target.layers, found.factors, strict=True):
        assert math.frexp(factor)[0] == 0.5
        product *= factor
        pairs = [(old.weight * factor, new.weight)]
        if old.bias is not None and new.bias is not None:
            pairs.append((old.bias * product, new.bias))
        for before, after in pairs:
            assert (np.ldexp(after, bits) == np.rint(np.ldexp(after, bits))).all()
            assert np.abs(after).max(initial=0.0) <= reach
            inside = np.abs(before) <= reach
            clipped += int((~inside).sum())
            largest = max(largest, float(np.abs(before - after)[inside].max(initial=0.0)))
        if rescale:
            biggest = max(float(np.abs(before).max(initial=0.0)) for before, _ in pairs)
            assert biggest == 0 or reach / 2 < biggest <= reach  # no larger power of two would fit
    assert found.clipped == clipped
    assert clipped == 0 or not rescale
    assert found.largest_change == largest <= 2.0 ** -(bits + 1)
    assert found.scale == product
    again = quantise(found.target, bits, rescale=False, reach=reach)
    assert again.target.digest == found.target.digest
    assert again.largest_change == 0


def test_rescaling_keeps_the_function_up_to_its_scale() -> None:
    torch.manual_seed(1)
    mlp = MLP((5, 4, 3), bias=True)
    target = Target(mlp, {name: 0.07 * torch.randn(shape) for name, shape in mlp.shapes.items()})
    found = quantise(target, 20)
    x = torch.rand(50, 5)
    assert found.scale > 1
    assert torch.allclose(found.target.module()(x) / found.scale, target.module()(x), atol=1e-5)
    kept = accuracy_kept(target, found, (x.numpy() * 255).astype(np.int64), np.zeros(50, dtype=np.int64), 255)
    assert kept.equal == 1.0
    assert kept.accuracy == kept.quantised
    coarse = quantise(target, 1)
    assert accuracy_kept(target, coarse, np.arange(250).reshape(50, 5), np.zeros(50, dtype=np.int64), 255).equal < 1


def test_integer_layers_of_a_ticket_are_mask_times_source() -> None:
    source = Source(MLP((3, 6, 2), bias=True), 4, Init("quantized5"))
    generator = torch.Generator().manual_seed(0)
    mask = Mask({name: torch.rand(shape, generator=generator) < 0.5 for name, shape in source.shapes.items()})
    ticket = Ticket(source, mask)
    for i, layer in enumerate(integer_layers(ticket)):
        assert layer.bias is not None
        np.testing.assert_array_equal(layer.weight.toarray() / 32, ticket.weight(MLP.weight_name(i)).numpy())
        np.testing.assert_array_equal(layer.bias / 32, ticket.weight(MLP.bias_name(i)).numpy())


def test_differences_are_counted() -> None:
    source = Source(MLP((1, 1, 1)), 0, Init("quantized3"))
    ticket = Ticket(source, Mask.full(source.shapes))
    u, v = (int(source.integers(name)[0, 0]) for name in source.shapes)
    x = [[8 if u > 0 else -8]]
    target = Target(MLP((1, 1)), {"layers.0.weight": torch.tensor([[u * v / 64]])})
    wrong = Target(MLP((1, 1)), {"layers.0.weight": torch.tensor([[(u * v + 1) / 64]])})
    assert unequal_outputs(target, ticket, x, 8) == 0
    assert unequal_outputs(wrong, ticket, x, 8) == 1
    assert unequal_outputs(wrong, ticket, x, 8, reset=20) == 1
    assert unequal_outputs(target, ticket, x, 8, reset=1) == 0
    with pytest.raises(ValueError, match="a ticket of 4 layers"):
        unequal_outputs(Target(MLP((1, 1, 1)), {n: torch.ones(1, 1) for n in MLP((1, 1, 1)).shapes}), ticket, x, 8)


TARGET = Target(MLP((2, 1)), {"layers.0.weight": torch.tensor([[0.25, -0.5]])})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: quantise(TARGET, 0), ValueError, "bits: expected 1..23, got 0"),
        (lambda: quantise(TARGET, 4.0), TypeError, "bits: expected an int"),
        (lambda: quantise(None, 4), TypeError, "Target.from_module"),
        (lambda: quantise(TARGET, 2, reach=0.3), ValueError, "reach: expected a multiple"),
        (lambda: quantise(TARGET, 2, reach=2), ValueError, "reach: expected a multiple"),
        (lambda: integer_layers(None), TypeError, "expected a Target, or a Ticket"),
        (
            lambda: integer_layers(Target(MLP((1, 1)), {"layers.0.weight": torch.tensor([[0.1]])})),
            ValueError,
            "quantise the target first",
        ),
        (lambda: integer_outputs(integer_layers(TARGET), [[0.5, 1]], 1), TypeError, "np.rint"),
        (lambda: integer_outputs(integer_layers(TARGET), [[1]], 1), ValueError, r"expected inputs \[batch, 2\]"),
        (lambda: integer_outputs(integer_layers(TARGET), [[1, 1]], 0), ValueError, "unit: expected"),
        (lambda: integer_outputs(integer_layers(TARGET), [[1, 1]], 1, reset=31), ValueError, "reset in 0..30"),
    ],
)
def test_bad_requests_are_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_no_inputs_give_no_outputs() -> None:
    outputs, unit = integer_outputs(integer_layers(TARGET), np.zeros((0, 2), dtype=np.int64), 255)
    assert (outputs.shape, unit) == ((0, 1), 255 * 4)
