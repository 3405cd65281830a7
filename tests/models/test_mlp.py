"""Architectures by name, and the networks they build."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from strongticket.models import MLP, architecture, sparse_module
from strongticket.testing import tickets
from strongticket.ticket import Ticket


@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=8), st.booleans())
def test_every_mlp_is_read_back_from_its_name(sizes: list[int], bias: bool) -> None:
    mlp = MLP(tuple(sizes), bias)
    assert architecture(mlp.id) == mlp
    assert mlp.size == sum(a * b + (b if bias else 0) for a, b in pairwise(sizes))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "mlp",
        "mlp-5",
        "mlp-0-3",
        "mlp-5-03",
        "mlp-5--3",
        "MLP-5-3",
        "mlp-5-3+Bias",
        "lenet",
        "mlp-5-3 ",
        "mlp-5-3\n",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no architecture is named"):
        architecture(name)


def test_household_names() -> None:
    assert architecture("lenet-300-100+bias") == MLP((784, 300, 100, 10), bias=True)
    assert architecture("lenet-300-100").size == 266_200
    assert architecture("lenet-500").size == 397_000


@pytest.mark.parametrize("sizes", [(5,), (), (5, 0), (5, -1)])
def test_sizes_out_of_range_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least two sizes, each >= 1"):
        MLP(sizes)


@pytest.mark.parametrize("bias", [False, True])
def test_the_module_is_the_usual_network(bias: bool) -> None:
    mlp = MLP((6, 5, 4, 3), bias)
    weights = {name: torch.randn(shape) for name, shape in mlp.shapes.items()}
    usual = nn.Sequential(nn.Linear(6, 5, bias), nn.ReLU(), nn.Linear(5, 4, bias), nn.ReLU(), nn.Linear(4, 3, bias))
    for i, name in enumerate(mlp.shapes):
        list(usual.parameters())[i].data = weights[name]
    module = mlp.module(weights)
    inputs = torch.randn(7, 2, 3)
    assert torch.equal(module(inputs), usual(inputs.flatten(1)))
    assert list(module.state_dict()) == list(mlp.shapes)
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit mlp-2-1"):
        MLP((2, 1)).module({"layers.0.weight": torch.zeros(2, 2)})


@given(tickets(dense=False))
def test_sparse_and_dense_networks_agree(ticket: Ticket) -> None:
    mlp = ticket.source.architecture
    assert isinstance(mlp, MLP)
    inputs = torch.rand(4, mlp.sizes[0])
    dense, sparse = ticket.module()(inputs), sparse_module(ticket)(inputs)
    assert torch.allclose(dense, sparse, rtol=1e-4, atol=1e-4 * float(dense.abs().max().clamp(min=1e-30)))
