"""The straight line between two networks: its ends, its middle, its statistics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from strongticket.models import architecture
from strongticket.training import accuracy
from strongticket.weak import beginning, random_source
from strongticket.weak.connectivity import Connection, PathPoint, connection

NETWORK = architecture("resnet8x0.25-3+affine+1x8x8")


def drawn(seed: int) -> dict[str, Tensor]:
    values = beginning(random_source(NETWORK, seed, "kaiming-normal"))
    for name, value in values.items():
        if name.endswith("running_var"):
            value.add_(seed)
    return values


def examples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 1, 8, 8, generator=generator), torch.arange(40) % 3


def test_points_are_the_networks_of_mixed_values() -> None:
    one, other, (x, y) = drawn(0), drawn(1), examples()
    line = connection(NETWORK, one, other, (x, y), points=5)
    assert [point.at for point in line.points] == [0.0, 0.25, 0.5, 0.75, 1.0]
    for point in line.points:
        mixed = {
            name: (1 - point.at) * one[name] + point.at * other[name] if one[name].is_floating_point() else one[name]
            for name in one
        }
        module = NETWORK.module(mixed).eval()
        assert point.loss == pytest.approx(float(nn.functional.cross_entropy(module(x).double(), y)), rel=1e-5)
    for end, values in ((0, one), (-1, other)):
        assert line.points[end].accuracy == accuracy(NETWORK.module(values), x, y)


def test_a_network_lies_in_one_valley_with_itself() -> None:
    one = drawn(0)
    line = connection(NETWORK, one, one, examples(), points=4)
    assert line.barrier == line.drop == 0.0
    assert len({round(point.loss, 6) for point in line.points}) == 1


def test_statistics_are_measured_anew_without_touching_the_ends() -> None:
    one, other, (x, y) = drawn(0), drawn(1), examples()
    before = {name: value.clone() for name, value in one.items()}
    line = connection(NETWORK, one, other, (x, y), points=3, statistics=x)
    assert all(torch.equal(one[name], before[name]) for name in one)
    module = NETWORK.module({name: value.clone() for name, value in one.items()})
    module.train()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0  # of one batch: its own statistics
    module(x)
    expected = nn.functional.cross_entropy(module.eval()(x).double(), y)
    assert line.points[0].loss == pytest.approx(float(expected), rel=1e-5)
    plain = connection(NETWORK, one, other, (x, y), points=3)
    assert abs(plain.points[0].loss - line.points[0].loss) > 1e-4


def test_barrier_and_drop() -> None:
    line = Connection(tuple(PathPoint(at, 0.0, value) for at, value in ((0.0, 0.9), (0.5, 0.4), (1.0, 0.8))))
    assert line.barrier == pytest.approx(0.45)
    assert line.drop == pytest.approx(0.4)
    better = Connection(tuple(PathPoint(at, 0.0, value) for at, value in ((0.0, 0.8), (0.5, 0.95), (1.0, 0.8))))
    assert better.barrier == better.drop == 0.0
    with pytest.raises(ValueError, match="two ends"):
        connection(NETWORK, drawn(0), drawn(1), examples(), points=1)


def test_a_small_rest_of_the_statistics_counts_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """One example more than fits into a batch must not have half of the say."""
    monkeypatch.setattr("strongticket.weak.connectivity._BATCH", 39)
    one, (x, y) = drawn(0), examples()
    split = connection(NETWORK, one, one, (x, y), points=2, statistics=x).points[0].loss
    monkeypatch.undo()
    whole = connection(NETWORK, one, one, (x, y), points=2, statistics=x).points[0].loss
    assert split == pytest.approx(whole, rel=0.01)
    with pytest.raises(ValueError, match="one input at least"):
        connection(NETWORK, one, one, (x, y), points=2, statistics=x[:0])
