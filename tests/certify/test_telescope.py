"""Telescoped tickets: numbers that leave 64 bits are refused, not wrapped; so is what is no ticket of the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from strongticket.certify import StructureError, telescopes
from strongticket.certify.telescope import _product
from strongticket.constructions import Sreenivasan2022Finding
from strongticket.models import MLP, Target
from strongticket.ticket import Init, Mask, Source, Ticket


def _two_equal_neurons() -> Source:
    seeds = (Source(MLP((1, 2, 1)), seed, Init("sign")) for seed in range(100))
    return next(source for source in seeds if bool((source.weight("layers.0.weight") == 1).all()))


@pytest.mark.parametrize("weight", [2.0**63, -(2.0**63), 2.0**62, 2.0**100])
def test_weights_of_equal_channels_do_not_wrap_to_zero(weight: float) -> None:
    source = _two_equal_neurons()
    kept = {"layers.0.weight": np.ones((2, 1), dtype=bool), "layers.1.weight": np.zeros((1, 2), dtype=bool)}
    empty = Ticket(source, Mask(kept))  # computes 0
    values = {"layers.0.weight": torch.ones(2, 1), "layers.1.weight": torch.full((1, 2), weight)}
    with pytest.raises(OverflowError, match="62 bits"):
        telescopes(empty, Target(MLP((1, 2, 1)), values), [1, 2], bits=0, nonnegative=True)
    small = Target(MLP((1, 2, 1)), values | {"layers.1.weight": torch.tensor([[3.0, -3.0]])})
    assert telescopes(empty, small, [1, 2], bits=0, nonnegative=True)  # 3 h - 3 h is 0 indeed


def _target(*rows: list[list[float]], activation: str = "relu") -> Target:
    sizes = (len(rows[0][0]), *map(len, rows))
    return Target(
        MLP(sizes, activation=activation), {f"layers.{i}.weight": torch.tensor(w) for i, w in enumerate(rows)}
    )


def test_another_size_is_refused_and_not_broadcast() -> None:
    target = _target([[1.0, 2.0]])
    method = Sreenivasan2022Finding(bits=0)
    ticket, ends = method.construct(target).best, method.ends(target)
    assert telescopes(ticket, target, ends, bits=0, nonnegative=True)
    for other in (_target([[1.0, 2.0]] * 3), _target([[1.0, 2.0, 0.0]])):
        with pytest.raises(StructureError, match="inputs and"):
            telescopes(ticket, other, ends, bits=0, nonnegative=True)
    narrow = _target([[1.0]])
    ticket, ends = method.construct(narrow).best, method.ends(narrow)
    with pytest.raises(StructureError, match="the target's 2 inputs and 1 outputs"):
        telescopes(ticket, _target([[1.0, 1.0]]), ends, bits=0, nonnegative=True)


@pytest.mark.parametrize("activation", ["leaky", "tanh", "sigmoid"])
def test_a_target_with_another_activation_is_another_function(activation: str) -> None:
    rows = [[1.0, -2.0], [1.0, 1.0]], [[1.0, 1.0]]
    target, other = _target(*rows), _target(*rows, activation=activation)
    method = Sreenivasan2022Finding(bits=0)
    ticket, ends = method.construct(target).best, method.ends(target)
    assert telescopes(ticket, target, ends, bits=0, nonnegative=True)
    x = torch.tensor([[0.0, 1.0]])
    assert not torch.allclose(ticket.module()(x), other.module()(x))
    with pytest.raises(StructureError, match="telescopes into a ReLU MLP"):
        telescopes(ticket, other, ends, bits=0, nonnegative=True)


def test_biases_on_one_side_only_are_compared() -> None:
    plain = _target([[1.0, -2.0], [1.0, 1.0]], [[1.0, 1.0]])
    shapes = MLP((2, 2, 1), bias=True).shapes
    biases = {name: torch.ones(shape) for name, shape in shapes.items() if name.endswith("bias")}
    biased = Target(MLP((2, 2, 1), bias=True), {**plain.weights, **biases})
    silent = Target(biased.architecture, {**plain.weights, **{name: 0 * value for name, value in biases.items()}})
    method = Sreenivasan2022Finding(bits=0)
    for target, equals in ((plain, (plain,)), (biased, (biased,)), (silent, (silent, plain))):
        ticket, ends = method.construct(target).best, method.ends(target)
        for other in (plain, biased, silent):
            found = telescopes(ticket, other, ends, bits=0, nonnegative=True)
            assert found or other not in equals
            assert not found or (other is biased) == (target is biased)


def test_columns_whose_sum_leaves_64_bits_are_refused() -> None:
    channels = sparse.csr_array(np.full((4, 1), 1 << 62, dtype=np.int64))  # the sum of this column is 2^64
    weight = sparse.csr_array(np.ones((1, 4), dtype=np.int64))
    with pytest.raises(OverflowError, match="62 bits"):
        _product(weight, channels)
    fine = sparse.csr_array(np.full((4, 1), 1 << 59, dtype=np.int64))
    assert _product(weight, fine).toarray().tolist() == [[1 << 61]]
