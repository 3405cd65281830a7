from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strongticket import random
from strongticket.certify import StructureError, collapse
from strongticket.models import MLP, sparse_module
from strongticket.reading import binary, mean_magnitude, rescaled
from strongticket.testing import check_ticket
from strongticket.ticket import Init, Mask, Reading, Source, Ticket

SOURCE = Source(MLP((4, 6, 3), bias=True), 11, Init("normal-tab1", float(np.float32(0.3))))
NAME = "layers.0.weight"


def example(reading: Reading | None = None) -> Ticket:
    generator = np.random.default_rng(0)
    mask = Mask({name: generator.random(shape) < 0.5 for name, shape in SOURCE.shapes.items()})
    return Ticket(SOURCE, mask, reading=reading or Reading())


def nearest(value: Fraction, bits: int) -> Fraction:
    """Round to so many significant bits, ties to even, in exact arithmetic."""
    if not value:
        return value
    exponent = 0
    while value >= 2**bits:
        value, exponent = value / 2, exponent + 1
    while value < 2 ** (bits - 1):
        value, exponent = value * 2, exponent - 1
    return Fraction(round(value)) * Fraction(2) ** exponent


# 53 bits and a half: the hard cases of rounding are sums that lie between two float64 numbers, or close to it
hard = st.sampled_from([2.0**0, 2.0**-1, 2.0**-52, 2.0**-53, 2.0**-54, 3 * 2.0**-54, 2.0**-75, 1 + 2.0**-23, 0.0])
weight = st.floats(2.0**-57, 16.0, width=32) | hard


@given(st.lists(weight, max_size=30), st.integers(-40, 64), st.integers(0, 5))  # no mean is a subnormal float32
def test_the_mean_magnitude_is_that_of_exact_arithmetic(values: list[float], scale: int, spare: int) -> None:
    weights = torch.tensor([w * 2.0**scale * (-1) ** i for i, w in enumerate(values)], dtype=torch.float32)
    count = len(values) + spare
    total = sum((abs(Fraction(float(w))) for w in weights), Fraction(0))
    expected = nearest(nearest(nearest(total, 53) / max(count, 1), 53), 24)
    assert Fraction(float(mean_magnitude(weights, count))) == expected
    assert Fraction(float(mean_magnitude(weights, torch.tensor(count)))) == expected
    if values:  # dropped weights count for nothing, wherever they are
        apart = torch.stack([torch.zeros_like(weights), weights.flip(0)], 1)
        assert Fraction(float(mean_magnitude(apart, count))) == expected


@pytest.mark.parametrize("law", ["uniform23", "normal-tab1", "sign"])
def test_the_mean_magnitude_of_many_weights_is_that_of_fsum(law: str) -> None:
    source = Source(MLP((1000, 300)), 3, Init(law, float(np.float32(1.7e-3))))
    weights = source.weight(NAME).view(-1)
    total = math.fsum(weights.abs().double().tolist())
    assert float(mean_magnitude(weights)) == float(np.float32(total / weights.numel()))


def test_what_is_not_a_weight_is_refused() -> None:
    with pytest.raises(TypeError, match="float32"):
        mean_magnitude(torch.ones(3).double())
    assert float(mean_magnitude(torch.zeros(0))) == 0
    assert torch.equal(rescaled(torch.ones(3), 5, 0), 5 * torch.ones(3))
    assert torch.equal(binary(torch.tensor([-0.0, 3.0]), torch.tensor(2.0)), torch.tensor([0.0, 2.0]))


@pytest.mark.parametrize(
    ("reading", "error", "says"),
    [
        (lambda: Reading({"w": "ternary"}), ValueError, "kind of w"),
        (lambda: Reading(factors={"w": [0, 1]}), ValueError, "is 0: drop"),
        (lambda: Reading(factors={"w": [-128]}), ValueError, r"-127\.\.127"),
        (lambda: Reading(factors={"w": [0.5]}), TypeError, "whole numbers"),
        (lambda: Reading(factors={"w": [[1, 2]]}), TypeError, "whole numbers"),
        (lambda: Reading(redraws={"w": [-1]}), ValueError, r"0\.\.2147483647"),
        (lambda: Reading(redraws={"w": [2**31]}), ValueError, r"0\.\.2147483647"),
        (lambda: example(Reading({"layers.9.weight": "binary"})), ValueError, "not masked"),
        (lambda: example(Reading(factors={NAME: [2]})), ValueError, "one for each kept weight"),
        (lambda: example(Reading(redraws={NAME: [2]})), ValueError, "one for each kept weight"),
    ],
)
def test_readings_that_do_not_fit_are_refused(reading: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        reading()  # type: ignore[operator]


def test_readings_are_values() -> None:
    given_ = np.array([1, -1, 1])
    one = Reading(factors={"w": given_})
    given_[:] = 1
    assert one == Reading({"v": "plain"}, {"w": [1, -1, 1], "v": [1]}, {"w": [0, 0, 0]})
    assert hash(one) == hash(Reading(factors={"w": [1, -1, 1]}))
    assert one != Reading(factors={"w": [1, -1, -1]})
    assert one != "one"
    with pytest.raises(ValueError, match="read-only"):
        one.factors["w"][0] = 5
    assert repr(Reading({"w": "binary"})) == "Reading(kinds of w (binary))"
    assert repr(Reading()) == "Reading(plain)"


def several() -> list[Ticket]:
    kept = example().mask.counts[NAME]
    numbers = np.arange(kept)
    return [
        example(),
        example(Reading({NAME: "binary"})),
        example(Reading({NAME: "rescaled"})),
        example(Reading({"layers.1.weight": "binary"})),
        example(Reading(factors={NAME: np.where(numbers % 2, -1, 1)})),
        example(Reading(factors={NAME: numbers % 3 + 1})),
        example(Reading(redraws={NAME: numbers % 3})),
        example(Reading({NAME: "binary"}, {NAME: numbers % 3 + 1}, {NAME: numbers % 2})),
    ]


def test_digests_know_readings() -> None:
    tickets = several()
    assert len({ticket.digest for ticket in tickets}) == len(tickets)
    assert [ticket.plain for ticket in tickets] == [True] + [False] * 7
    for ticket in tickets:
        check_ticket(ticket)
        assert [ticket.matches(other.module()) for other in tickets] == [ticket is other for other in tickets]


def test_every_reading_runs_sparse_and_dense_alike() -> None:
    source = Source(MLP((40, 30, 3), bias=True), 11)
    index = {name: np.arange(0, math.prod(shape), 29) for name, shape in source.shapes.items()}
    mask = Mask.from_indices(source.shapes, index)
    events = np.arange(mask.counts[NAME])
    ticket = Ticket(source, mask, reading=Reading({NAME: "binary", "layers.1.weight": "rescaled"}, {}, {NAME: events}))
    inputs = torch.randn(5, 40)
    assert torch.allclose(sparse_module(ticket)(inputs), ticket.module()(inputs), atol=1e-5)


def test_nothing_is_proved_of_readings_but_redraws() -> None:
    source = Source(MLP((2, 2, 1)), 1)
    ticket = Ticket(source, Mask.from_indices(source.shapes, {NAME: np.array([0, 3]), "layers.1.weight": np.arange(2)}))
    assert collapse(ticket).exact
    assert collapse(Ticket(source, ticket.mask, reading=Reading(redraws={NAME: [0, 1]}))).exact
    for reading in (Reading({NAME: "binary"}), Reading(factors={NAME: [-1, 1]})):
        with pytest.raises(StructureError, match="nothing is proved of"):
            collapse(Ticket(source, ticket.mask, reading=reading))


def test_redrawn_weights_are_other_numbers_of_the_same_law() -> None:
    source = Source(MLP((300, 200)), 5, Init("uniform23", 0.25))
    index = np.arange(60_000)
    again = source.redrawn(NAME, index, 1)
    assert torch.equal(source.redrawn(NAME, index, 0), source.weight(NAME).view(-1))
    assert float(again.abs().max()) < 0.25
    assert float(again.std()) == pytest.approx(0.25 / 3**0.5, rel=0.02)
    for other in (source.redrawn(NAME, index, 2), source.weight(NAME).view(-1)):
        assert abs(float(torch.corrcoef(torch.stack([again, other]))[0, 1])) < 0.02
    mixed = index % 3
    expected = torch.stack([source.redrawn(NAME, index, e) for e in range(3)])[torch.from_numpy(mixed), index]
    assert torch.equal(source.redrawn(NAME, torch.from_numpy(index), torch.from_numpy(mixed)), expected)
    assert source.redrawn(NAME, np.zeros(0, dtype=np.int64), 3).numel() == 0
    with pytest.raises(ValueError, match="redraw events"):
        source.redrawn(NAME, index, -1)
    with pytest.raises(ValueError, match="redraw events"):
        source.redrawn(NAME, index, random.MAX_VALUES // 60_000)
    with pytest.raises(IndexError):
        source.redrawn(NAME, np.array([60_000]), 1)
    with pytest.raises(TypeError):
        source.redrawn(NAME, np.array([0.5]), 1)


def test_the_checks_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that sees nothing is worth nothing: break the reading and look."""
    original = Reading.read

    def wrong(self: Reading, name: str, drawn: torch.Tensor, **options: object) -> torch.Tensor:
        weights = original(self, name, drawn, **options)  # type: ignore[arg-type]
        weights[:1] = torch.nextafter(weights[:1], torch.tensor(9.0))
        return weights

    for ticket in several()[1:]:
        with monkeypatch.context() as patch:
            patch.setattr(Reading, "read", wrong)
            with pytest.raises(AssertionError):
                check_ticket(ticket)
