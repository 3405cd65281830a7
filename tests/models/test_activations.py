"""Activations beside ReLU: what they compute, their slope, and the networks that have them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from strongticket.models import Sign, architecture, sign
from strongticket.models.activations import activation


def test_sign_and_its_slope_are_those_of_the_paper() -> None:
    x = torch.linspace(-2, 2, 401, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(401, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (sign(x) * upstream).sum().backward()
    assert torch.equal(sign(x).detach(), torch.sign(x.detach()))
    expected = upstream * 2 * (1 - x.detach().clamp(-1, 1).abs())
    torch.testing.assert_close(x.grad, expected, rtol=0, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(sign(x), torch.sign(x))
    big = torch.tensor([1e30, -1e30, float("inf"), float("-inf")], requires_grad=True)
    sign(big).sum().backward()
    assert sign(big).tolist() == [1.0, -1.0, 1.0, -1.0]
    assert big.grad.tolist() == [0.0] * 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sign_takes_its_values_exactly_in_every_type(dtype: torch.dtype) -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_(True)
    out = sign(x)
    assert out.dtype == dtype
    assert set(out.tolist()) <= {-1.0, 0.0, 1.0}


def test_sign_runs_in_batches_of_networks() -> None:
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    slopes = torch.vmap(torch.func.grad(lambda row: sign(row).sum()))(x)
    torch.testing.assert_close(slopes, 2 * (1 - x.clamp(-1, 1).abs()))


def test_networks_of_binary_activations_are_those_of_the_paper() -> None:
    net = architecture("conv4+sign")
    assert net.id == "conv4+sign"
    assert net.size == architecture("conv4").size
    layers = list(net.module(weights_of("conv4+sign")).named_children())
    kinds = [type(layer).__name__ for _, layer in layers]
    pair = ["Conv2d", "BatchNorm2d", "Sign", "Conv2d", "MaxPool2d", "BatchNorm2d", "Sign"]
    hidden = ["Linear", "BatchNorm1d", "Sign"]
    assert kinds == [*pair, *pair, "Flatten", *hidden, *hidden, "Linear"]
    assert not any(layer.affine for _, layer in layers if isinstance(layer, nn.modules.batchnorm._BatchNorm))


def weights_of(name: str) -> dict[str, torch.Tensor]:
    net = architecture(name)
    return {**{key: torch.full(shape, 0.1) for key, shape in net.shapes.items()}, **net.initial_state()}


@pytest.mark.parametrize(
    "name", ["conv2x0.25", "vgg11x0.125", "vgg-smallx0.125", "resnet8x0.5", "resnet18-cifarx0.125"]
)
@pytest.mark.parametrize("kind", ["elu", "sign"])
def test_every_family_has_every_activation(name: str, kind: str) -> None:
    net, plain = architecture(f"{name}+{kind}"), architecture(name)
    assert architecture(net.id) == net
    assert net != plain
    assert net.shapes == plain.shapes
    module = net.module(weights_of(f"{name}+{kind}"))
    kinds = {type(layer) for layer in module.modules()}
    assert {"elu": nn.ELU, "sign": Sign}[kind] in kinds
    assert nn.ReLU not in kinds
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert module.eval()(x).shape == (2, 10)


def test_options_are_read_in_any_order_and_two_activations_are_refused() -> None:
    assert architecture("resnet8+sign+affine").id == "resnet8+affine+sign"
    assert architecture("resnet8+affine").id == "resnet8+affine"
    assert architecture("lenet5+elu").activation == "elu"
    with pytest.raises(ValueError, match="two activations"):
        architecture("conv2+sign+elu")
    for name in ("conv2+relu", "mlp-4-3-2+sign"):
        with pytest.raises(ValueError, match=r"no option|use mlp"):
            architecture(name)
    with pytest.raises(ValueError, match="an activation is one of"):
        activation("softsign")


def test_resnets_use_their_activation_everywhere() -> None:
    module = architecture("resnet8x0.5+sign").module(weights_of("resnet8x0.5+sign")).eval()
    seen: list[torch.Tensor] = []
    for layer in module.modules():
        if isinstance(layer, Sign):
            layer.register_forward_hook(lambda _m, _i, out: seen.append(out))
    module(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert len(seen) == 7  # the stem, and two in each of three blocks
    assert all(set(out.unique().tolist()) <= {-1.0, 0.0, 1.0} for out in seen)
