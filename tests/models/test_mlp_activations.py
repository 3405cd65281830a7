"""Perceptrons with other activations than ReLU: names, networks, targets, files, and what refuses them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from strongticket import certify
from strongticket.bounds import HypothesisError
from strongticket.certificate import Domain
from strongticket.constructions import (
    Kumar2025Quantized,
    Malach2020Proving,
    Natale2024Sparsity,
    Orseau2020Logarithmic,
    Pensia2020Optimal,
)
from strongticket.models import MLP, Target, architecture, sparse_module
from strongticket.models.activations import LEAKY_SLOPE, PERCEPTRON_ACTIVATIONS, PerceptronActivation, activation
from strongticket.models.quantized import integer_layers, quantise
from strongticket.ticket import Mask, Source, Ticket

OTHERS: tuple[PerceptronActivation, ...] = PERCEPTRON_ACTIVATIONS[1:]


def values(mlp: MLP) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: 0.5 * torch.randn(shape, generator=generator) for name, shape in mlp.shapes.items()}


@pytest.mark.parametrize("kind", PERCEPTRON_ACTIVATIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_names_are_read_back_and_relu_is_not_named(kind: PerceptronActivation, bias: bool) -> None:
    mlp = MLP((5, 4, 3), bias, kind)
    assert mlp.id == "mlp-5-4-3" + "+bias" * bias + (f"+{kind}" if kind != "relu" else "")
    assert architecture(mlp.id) == mlp
    assert mlp.rectified == (kind == "relu")


def test_options_come_in_any_order_and_once() -> None:
    assert architecture("lenet-300-100+tanh+bias") == MLP((784, 300, 100, 10), True, "tanh")
    for name in ("mlp-3-2-1+tanh+tanh", "mlp-3-2-1+relu", "mlp-3-2-1+elu", "mlp-3-2-1+", "mlp-3-2-1+tanh+leaky"):
        with pytest.raises(ValueError, match="no architecture is named"):
            architecture(name)
    with pytest.raises(ValueError, match="two activations"):
        architecture("mlp-3-2-1+tanh+sigmoid")
    with pytest.raises(ValueError, match="activation of an MLP is one of"):
        MLP((3, 2, 1), activation="elu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no hidden layer"):
        MLP((3, 2), activation="tanh")


@pytest.mark.parametrize("kind", PERCEPTRON_ACTIVATIONS)
def test_networks_targets_and_files_keep_their_activation(kind: PerceptronActivation, tmp_path: Path) -> None:
    mlp = MLP((6, 5, 4, 3), True, kind)
    layers: list[nn.Module] = []
    for d_in, d_out in pairwise(mlp.sizes):
        layers += [nn.Linear(d_in, d_out), activation(kind)]
    usual = nn.Sequential(*layers[:-1])
    for parameter, value in zip(usual.parameters(), values(mlp).values(), strict=True):
        parameter.data = value
    inputs = torch.randn(7, 6, generator=torch.Generator().manual_seed(2))
    target = Target.from_module(usual)
    assert target.architecture == mlp
    assert torch.equal(target.module()(inputs), usual(inputs))
    assert Target.from_module(target.module()).digest == target.digest
    again = Target.load(target.save(tmp_path / "target.safetensors"))
    assert (again.architecture, again.digest) == (mlp, target.digest)
    assert Target.from_state(usual.state_dict(), kind).digest == target.digest
    relu = Target(MLP(mlp.sizes, True), target.weights)
    assert (relu.digest == target.digest) == (kind == "relu")
    source = Source(MLP((3, 400, 2), activation=kind), 0)
    thin = Ticket(source, Mask.from_indices(source.shapes, {name: np.array([0, 5]) for name in source.shapes}))
    dense, sparse = thin.module()(inputs[:, :3]), sparse_module(thin)(inputs[:, :3])
    assert torch.allclose(dense, sparse, rtol=1e-5, atol=1e-5)


def test_the_digests_of_relu_networks_are_those_of_before() -> None:
    weights = {"layers.0.weight": torch.arange(6.0).reshape(2, 3), "layers.1.weight": torch.ones(1, 2)}
    digest = "ef627859eb031fe9f3c8bbc5ca5319ce175e97d6b3a2d084cc1cfa79241d0b7e"
    assert Target(MLP((3, 2, 1)), weights).digest == digest


def test_leaky_relu_is_the_one_of_torch() -> None:
    assert nn.LeakyReLU().negative_slope == LEAKY_SLOPE
    x = torch.linspace(-2, 2, 9)
    assert torch.equal(activation("leaky")(x), torch.where(x > 0, x, x * LEAKY_SLOPE))


@pytest.mark.parametrize("kind", OTHERS)
def test_what_assumes_relu_refuses_other_activations(kind: PerceptronActivation) -> None:
    mlp = MLP((3, 2, 1), activation=kind)
    target = Target(mlp, {name: torch.clamp(value, -1, 1) for name, value in values(mlp).items()})
    for method in (
        Pensia2020Optimal(weight_eps=0.01),
        Malach2020Proving(weight_eps=0.1),
        Natale2024Sparsity(size=2, weight_eps=0.01),
        Orseau2020Logarithmic(weight_eps=0.01),
        Kumar2025Quantized(),
    ):
        with pytest.raises(HypothesisError, match="speaks of ReLU networks"):
            method.plan(target)
    source = Source(MLP((3, 4, 2), activation=kind), 0)
    ticket = Ticket(source, Mask.full(source.shapes, kept=False))
    with pytest.raises(certify.StructureError, match="made of ReLU neurons"):
        certify.collapse(ticket)
    plain = Source(MLP((3, 4, 2, 4, 1)), 0)
    gadgets = Ticket(plain, Mask.full(plain.shapes, kept=False))
    with pytest.raises(ValueError, match="computes a ReLU network, but the target is"):
        certify.certify(gadgets, target, Domain.box(0, 1))
    with pytest.raises(ValueError, match="takes ReLU networks"):
        quantise(target, 3)
    with pytest.raises(ValueError, match="takes ReLU networks"):
        integer_layers(target)
    with pytest.raises(ValueError, match="takes ReLU networks"):
        integer_layers(ticket)
    assert np.isfinite(target.layers[0].weight).all()
