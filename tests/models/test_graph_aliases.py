"""torch says most things two or three ways; a graph is read the same from each of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from strongticket.models import GraphTarget


class Net(nn.Module):
    """A step in the middle of a network; the layers around it are the same for all."""

    def __init__(self, step: Callable[[Net, Tensor], Tensor], dimensions: int) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1]
        self.dimensions = dimensions
        self.first, self.second, self.norm = conv(2, 3, 3), conv(3, 3, 1), norm(3)
        self.out = nn.Linear(3, 2)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, value in self.state_dict().items():
                if value.is_floating_point():
                    value.copy_(torch.rand(value.shape, generator=generator) - (0.0 if "var" in name else 0.5))
        self._step = [step]  # a list, so that it is no part of the module

    def forward(self, x: Tensor) -> Tensor:
        x = self._step[0](self, self.first(x))
        found: Tensor = self.out(torch.mean(x, tuple(range(2, 2 + self.dimensions))))
        return found


def normed(net: Net, x: Tensor, native: bool) -> Tensor:
    n = net.norm
    assert n.running_mean is not None
    assert n.running_var is not None
    if native:
        return torch.batch_norm(x, n.weight, n.bias, n.running_mean, n.running_var, False, 0.1, n.eps, False)
    return F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias, eps=n.eps)


Step = Callable[[Net, Tensor], Tensor]
SAME: dict[str, tuple[int, list[Step]]] = {
    "relu": (
        2,
        [
            lambda net, x: nn.functional.relu(x),
            lambda net, x: torch.relu(x),
            lambda net, x: torch.relu_(x),
            lambda net, x: F.relu_(x),
            lambda net, x: x.relu(),
            lambda net, x: x.relu_(),
            lambda net, x: x.contiguous().relu(),
        ],
    ),
    "max_pool1d": (
        1,
        [
            lambda net, x: F.max_pool1d(x, 2),
            lambda net, x: torch.max_pool1d(x, 2),
            lambda net, x: torch.max_pool1d(x, (2,), stride=(2,)),
        ],
    ),
    "max_pool2d": (
        2,
        [
            lambda net, x: F.max_pool2d(x, 3, 2, 1),
            lambda net, x: torch.max_pool2d(x, 3, 2, 1),
            lambda net, x: torch.max_pool2d(x, (3, 3), stride=(2, 2), padding=(1, 1)),
        ],
    ),
    "max_pool3d": (3, [lambda net, x: F.max_pool3d(x, 2), lambda net, x: torch.max_pool3d(x, 2)]),
    "avg_pool1d": (1, [lambda net, x: F.avg_pool1d(x, 2), lambda net, x: torch.avg_pool1d(x, 2)]),
    "adaptive_avg_pool1d": (
        1,
        [lambda net, x: F.adaptive_avg_pool1d(x, 2), lambda net, x: torch.adaptive_avg_pool1d(x, 2)],
    ),
    "conv2d": (
        2,
        [
            lambda net, x: net.second(x),
            lambda net, x: F.conv2d(x, net.second.weight, net.second.bias),
            lambda net, x: torch.conv2d(x, net.second.weight, net.second.bias),
            lambda net, x: torch.conv2d(input=x, weight=net.second.weight, bias=net.second.bias),
        ],
    ),
    "batch_norm": (
        2,
        [
            lambda net, x: net.norm(x),
            lambda net, x: normed(net, x, False),
            lambda net, x: normed(net, x, True),
        ],
    ),
    "add": (
        2,
        [
            lambda net, x: x + torch.relu(x),
            lambda net, x: torch.add(x, torch.relu(x)),
            lambda net, x: x.add(torch.relu(x)),
        ],
    ),
    "pad": (
        2,
        [
            lambda net, x: F.pad(x, (0, 0, 0, 0, 0, 0)),
            lambda net, x: torch.constant_pad_nd(x, (0, 0, 0, 0, 0, 0), 0.0),
            lambda net, x: torch.constant_pad_nd(x, (0, 0, 0, 0, 0, 0)),
        ],
    ),
    "dropout": (
        2,
        [
            lambda net, x: F.dropout(x, training=net.training),
            lambda net, x: F.alpha_dropout(x, training=net.training),
            lambda net, x: F.feature_alpha_dropout(x, training=net.training),
            lambda net, x: torch.dropout(x, 0.5, net.training),
            lambda net, x: torch.dropout(x, 0.5, train=net.training),
            lambda net, x: torch.feature_dropout(x, 0.5, net.training),
            lambda net, x: torch.alpha_dropout(x, 0.5, net.training),
            lambda net, x: torch.feature_alpha_dropout(x, 0.5, net.training),
        ],
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_every_name_of_an_operation_is_read_alike(name: str) -> None:
    dimensions, steps = SAME[name]
    shape = (2, *(6,) * dimensions)
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    found = []
    for step in steps:
        net = Net(step, dimensions).eval()
        target = GraphTarget.from_module(net, shape)
        torch.testing.assert_close(
            target.module()(x.to(target.weights[next(iter(target.weights))].dtype)).float(), net(x)
        )
        found.append(target.digest)
    assert len(set(found)) == 1


class Flat(nn.Module):
    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.out, self._step = nn.Linear(8, 2), [step]
        self.out.weight.data = torch.linspace(-1, 1, 16).reshape(2, 8)
        self.out.bias.data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self._step[0](x))
        return found


def test_every_way_to_flatten_is_read_alike() -> None:
    ways: list[Callable[[Tensor], Tensor]] = [
        lambda x: torch.flatten(x, 1),
        lambda x: torch.flatten(x, start_dim=1),
        lambda x: x.flatten(1),
        lambda x: x.flatten(start_dim=1, end_dim=-1),
        lambda x: x.view(-1, 8),
        lambda x: x.view(x.size(0), -1),
        lambda x: x.view(x.shape[0], 8),
        lambda x: x.reshape((x.shape[0], -1)),
        lambda x: torch.reshape(x, (x.size(0), -1)),
    ]
    assert len({GraphTarget.from_module(Flat(way), (2, 2, 2)).digest for way in ways}) == 1


def test_names_that_mean_something_else_are_refused() -> None:
    strange: list[tuple[Step, str]] = [
        (lambda net, x: torch.dropout(x, 0.5, True), "at random"),
        (lambda net, x: torch.constant_pad_nd(x, (0, 0, 0, 0, 0, 0), 1.0), "pads"),
        (lambda net, x: torch.max_pool2d(x, 2, dilation=2), "dilated"),
        (lambda net, x: torch.sigmoid(x), "is not known"),
    ]
    for step, said in strange:
        with pytest.raises(TypeError, match=said):
            GraphTarget.from_module(Net(step, 2), (2, 6, 6))
