"""What a gadget ticket computes, against literal rational arithmetic over the dense masked source."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket.certify import StructureError, collapse
from strongticket.certify.collapse import _integer_sums
from strongticket.models import MLP
from strongticket.ticket import Init, Mask, Source, Ticket


def make(seed: int, sizes: tuple[int, ...], bias: bool, init: Init) -> Ticket:
    rng = np.random.default_rng(seed)
    source = Source(MLP(sizes, bias), seed, init)
    kept = {}
    for i in range(source.architecture.depth):
        rows, columns = source.shapes[MLP.weight_name(i)]
        if i % 2:
            kept[MLP.weight_name(i)] = rng.random((rows, columns)) < rng.choice([0.02, 0.5, 1.0])
            own = rng.random(rows) < 0.5
        else:
            choice = rng.integers(-1, columns + bias, size=rows)
            kept[MLP.weight_name(i)] = choice[:, None] == np.arange(columns)
            own = choice == columns
        if bias:
            kept[MLP.bias_name(i)] = own
    return Ticket(source, Mask(kept))


def literal(ticket: Ticket, pair: int, x: list[Fraction]) -> list[Fraction]:
    """One pair of layers on a rational input, the way the network runs."""
    weights = ticket.weights()
    for i in (2 * pair, 2 * pair + 1):
        matrix = weights[MLP.weight_name(i)].double().tolist()
        bias = weights.get(MLP.bias_name(i))
        own = [0.0] * len(matrix) if bias is None else bias.double().tolist()
        if i % 2:
            x = [max(value, Fraction(0)) for value in x]
        seen = x
        x = [
            sum((Fraction(w) * v for w, v in zip(row, seen, strict=True)), Fraction(b))
            for row, b in zip(matrix, own, strict=True)
        ]
    return x


@settings(max_examples=80)
@given(
    st.integers(0, 2**32),
    st.booleans(),
    st.booleans(),
    st.sampled_from([Init(), Init("uniform23", 4.0), Init("sign"), Init("normal-tab1"), Init("uniform23", 3.0)]),
)
def test_collapsed_network_is_the_ticket(seed: int, bias: bool, nonnegative: bool, init: Init) -> None:
    ticket = make(seed, (2, 9, 3, 11, 2), bias, init)
    collapsed = collapse(ticket, nonnegative=nonnegative)
    assert collapsed.sizes == (2, 3, 2)
    assert collapsed.exact == (init.law != "normal-tab1" and init.scale != 3.0)
    assert sum(layer.kept for layer in collapsed.layers) == ticket.mask.count
    rng = np.random.default_rng(seed)
    for pair, layer in enumerate(collapsed.layers):
        signed = layer.negative is not None
        assert signed == (pair == 0 and not nonnegative)
        point = rng.standard_normal(layer.positive.value.shape[1])
        point = point if signed else np.abs(point)
        expected = literal(ticket, pair, [Fraction(x) for x in point])
        halves = [(layer.positive, np.maximum(point, 0))]
        if layer.negative is not None:
            halves.append((layer.negative, np.minimum(point, 0)))
        for j, wanted in enumerate(expected):
            total, slack = Fraction(layer.bias.value[j]), Fraction(0)
            slack += Fraction(0 if layer.bias.slack is None else layer.bias.slack[j])
            for sums, x in halves:
                total += sum(Fraction(w) * Fraction(v) for w, v in zip(sums.value[j], x, strict=True))
                if sums.slack is not None:
                    slack += sum(Fraction(s) * abs(Fraction(v)) for s, v in zip(sums.slack[j], x, strict=True))
            assert abs(total - wanted) <= slack
            assert not collapsed.exact or slack == 0
            assert slack < Fraction(1, 10**9)


def test_integers_and_values_agree() -> None:
    collapsed = collapse(make(1, (3, 40, 2), True, Init()))
    layer = collapsed.layers[0]
    for sums in (layer.positive, layer.negative, layer.bias):
        assert sums is not None
        assert sums.integers is not None
        assert sums.exponent == -46
        assert np.array_equal(np.ldexp(sums.integers.astype(float), -46), sums.value)
    assert layer.dead >= 0


def test_blocks_do_not_change_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    module = __import__("strongticket.certify.collapse", fromlist=["_BLOCK"])
    for density in (1.0, 0.001):
        rng = np.random.default_rng(0)
        source = Source(MLP((5, 400, 30)), 9)
        ticket = Ticket(
            source,
            Mask(
                {
                    "layers.0.weight": np.arange(400)[:, None] % 5 == np.arange(5),
                    "layers.1.weight": rng.random((30, 400)) < density,
                }
            ),
        )
        whole = collapse(ticket).layers[0]
        with monkeypatch.context() as patch:
            patch.setattr(module, "_BLOCK", 7)
            pieces = collapse(ticket).layers[0]
        assert np.array_equal(whole.positive.value, pieces.positive.value)
        dense = ticket.weights()
        first, second = dense["layers.0.weight"].double().numpy(), dense["layers.1.weight"].double().numpy()
        assert np.array_equal(whole.positive.value, second @ np.maximum(first, 0))


def test_integer_sums_stay_exact_when_float64_would_not() -> None:
    count = 2000
    key = np.zeros(count, dtype=np.int64)
    big = np.full(count, 2**23 - 1)
    assert count * (2**23 - 1) ** 2 > 2**53
    odd = big.copy()
    odd[::2] -= 2
    expected = sum(int(a) * int(b) for a, b in zip(big, odd, strict=True))
    assert _integer_sums(key, big, odd, 1, count)[0] == expected
    assert _integer_sums(key, -big, odd, 1, count)[0] == -expected
    with pytest.raises(ValueError, match="too many"):
        _integer_sums(key, big, odd, 1, 2**20)


def ticket_of(sizes: tuple[int, ...], bias: bool, **kept: np.ndarray) -> Ticket:
    source = Source(MLP(sizes, bias), 0)
    masks = {name: np.zeros(shape, dtype=bool) for name, shape in source.shapes.items()}
    masks |= {name.replace("_", "."): value for name, value in kept.items()}
    return Ticket(source, Mask(masks))


@pytest.mark.parametrize(
    ("ticket", "message"),
    [
        (
            lambda: ticket_of((2, 3, 1), False, layers_0_weight=np.array([[1, 0], [1, 1], [0, 0]]) > 0),
            "neuron 1 keeps 2",
        ),
        (
            lambda: ticket_of(
                (1, 1, 1, 3, 1), True, layers_2_weight=np.ones((3, 1)) > 0, layers_2_bias=np.arange(3) > 1
            ),
            "layers.2.bias: neuron 2",
        ),
        (lambda: ticket_of((2, 2), False), "depth 1"),
        (
            lambda: Ticket(
                Source(MLP((1, 1, 1)), 0),
                Mask({"layers.0.weight": np.ones((1, 1)) > 0}),
                {"layers.1.weight": torch.ones(1, 1)},
            ),
            "layers.1.weight.*dense",
        ),
    ],
)
def test_what_is_no_gadget_is_refused(ticket, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(StructureError, match=message):
        collapse(ticket())


def test_empty_mask_computes_zero() -> None:
    layer = collapse(ticket_of((2, 3, 2), True)).layers[0]
    assert layer.negative is not None
    assert not layer.positive.value.any()
    assert not layer.negative.value.any()
    assert not layer.bias.value.any()
    assert (layer.kept, layer.dead) == (0, 0)


def test_a_huge_source_costs_what_is_kept() -> None:
    source = Source(MLP((100, 10**6, 200)), 1)  # 3 * 10^8 weights, 1.2 GB if they were made
    first, second = np.array([5, 99_999_900]), np.array([0, 10**6 - 1, 2 * 10**8 - 1])
    index = {"layers.0.weight": first, "layers.1.weight": second}
    ticket = Ticket(source, Mask.from_indices(source.shapes, index))
    tracemalloc.start()
    layer = collapse(ticket).layers[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    assert layer.negative is not None
    u, v = (source.integers(name, index[name]).astype(np.int64) for name in index)
    expected = np.zeros((200, 100), dtype=np.int64)
    expected[0, 5] = u[0] * v[0]
    expected[0, 0] = u[1] * v[1]
    expected[199, 0] = u[1] * v[2]
    assert layer.positive.integers is not None
    assert layer.negative.integers is not None
    assert np.array_equal(layer.positive.integers + layer.negative.integers, expected)
