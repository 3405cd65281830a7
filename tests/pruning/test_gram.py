from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from strongticket.pruning.curvature import gram as gram_module
from strongticket.pruning.curvature.gram import calling_order, cross_gram, layer_grams, linear_maps
from strongticket.pruning.problem import Problem

LAYERS = {
    "linear": (nn.Linear(4, 3), (5, 4)),
    "linear over a sequence": (nn.Linear(4, 3), (5, 7, 4)),
    "conv": (nn.Conv2d(4, 6, 3, padding=1, stride=2), (5, 4, 9, 8)),
    "grouped": (nn.Conv2d(4, 6, (3, 2), groups=2, dilation=2), (5, 4, 9, 8)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, bias=False), (5, 4, 6, 6)),
    "circular": (nn.Conv2d(4, 6, (3, 5), padding="same", padding_mode="circular"), (5, 4, 9, 8)),
    "same": (nn.Conv2d(4, 6, (3, 5), padding="same", dilation=(2, 1)), (5, 4, 9, 8)),
    "one dimension": (nn.Conv1d(4, 6, 3, padding=1, groups=2), (5, 4, 9)),
    "reflected": (nn.Conv1d(4, 6, 3, padding=1, padding_mode="reflect"), (5, 4, 9)),
}


def made(name: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    layer, shape = LAYERS[name]
    return layer, torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", [2, 100])
def test_the_form_is_the_squared_change_of_the_outputs(name: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, inputs = made(name)
    monkeypatch.setattr(gram_module, "_CHUNK", 500)
    problem = Problem.of(layer, (inputs, None))
    grams, (own,) = layer_grams(problem, batch=batch), linear_maps(problem)
    change = torch.randn(own.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    probe = copy.deepcopy(layer).double()
    probe.weight.data = change
    if probe.bias is not None:
        probe.bias.data.zero_()
    rows = own.rows(change)
    form = torch.einsum("gri,gij,grj->", rows, grams["weight"], rows)
    torch.testing.assert_close(form, probe(inputs.double()).square().sum().detach() / len(inputs), rtol=1e-12, atol=0)
    assert not layer._forward_pre_hooks  # the network is left as it was


def test_a_layer_used_twice_adds_up_and_an_unused_one_is_refused() -> None:
    layer = nn.Linear(3, 3, bias=False)
    inputs = torch.randn(6, 3)
    labels = None
    twice = layer_grams(Problem.of(nn.Sequential(layer, layer), (inputs, labels)))["0.weight"]
    both = torch.cat([inputs, layer(inputs)]).detach().double()
    torch.testing.assert_close(twice[0], both.T @ both / 6)

    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, given: Tensor) -> Tensor:
            return self.used(given)

    with pytest.raises(ValueError, match=r"never called the layers of \['unused.weight'\]"):
        layer_grams(Problem.of(Unused(), (inputs, labels)))


def test_parameters_of_other_layers_are_refused() -> None:
    network = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 2))
    with pytest.raises(ValueError, match="belongs to Embedding"):
        linear_maps(Problem.of(network))
    with pytest.raises(ValueError, match="give it data"):
        layer_grams(Problem.of(nn.Linear(2, 2)))


def test_overflow_is_refused() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].weight.data.fill_(1e38)
    with pytest.raises(ValueError, match=r"1\.weight hold NaN or infinite"):
        layer_grams(Problem.of(network, (torch.full((3, 2), 1e3), None)))


def test_layers_in_the_order_of_their_calls() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(3, 2), nn.Linear(4, 3)

        def forward(self, given: Tensor) -> Tensor:
            return self.last(self.first(given))

    problem = Problem.of(Backwards(), (torch.randn(3, 4), None))
    assert [own.layer for own in calling_order(problem, linear_maps(problem))] == ["first", "last"]


@pytest.mark.parametrize("name", ["linear", "grouped", "one dimension"])
def test_cross_moments_give_the_least_squares_fit_with_bias(name: str) -> None:
    layer, inputs = made(name)
    inputs = torch.cat([inputs, *(made(name, seed)[1] for seed in range(1, 9))])
    dense = nn.Sequential(nn.Identity(), layer)
    noisy = copy.deepcopy(dense)

    class Noise(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return given + 0.3 * torch.sin(5 * given)

    noisy[0] = Noise()
    problem = Problem.of(dense, (inputs, None))
    (own,) = linear_maps(problem)
    moments = cross_gram(noisy, problem.module, own, problem, batch=7)
    for group in range(own.groups):
        z, zd = (
            torch.cat([(part := own.unfold(layer, given)[group].double()), torch.ones(len(part), 1)], 1)
            for given in (noisy[0](inputs), inputs)
        )
        weight = torch.cat([own.rows(layer.weight)[group], layer.bias.view(own.groups, -1)[group, :, None]], 1).double()
        fit = torch.linalg.lstsq(z, zd @ weight.T).solution.T
        solved = torch.linalg.solve(moments.own[group], moments.cross[group] @ weight.T).T
        torch.testing.assert_close(solved, fit.detach(), rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(moments.dense[group], zd.T @ zd / len(inputs))


def test_one_parameter_of_two_layers_is_refused() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
            self.b.weight = self.a.weight

        def forward(self, inputs: Tensor) -> Tensor:
            return self.c(self.b(self.a(inputs)))  # type: ignore[no-any-return]

    data = (torch.randn(5, 4), None)
    with pytest.raises(ValueError, match=r"\['a.weight', 'b.weight'\] are one parameter"):
        linear_maps(Problem.of(Tied(), data))
    assert [own.name for own in linear_maps(Problem.of(Tied(), data, names=["c.weight"]))] == ["c.weight"]


def test_a_layer_called_by_the_name_of_its_argument_is_heard() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.layer(input=inputs)  # type: ignore[no-any-return]

    inputs = torch.randn(5, 4)
    (found,) = layer_grams(Problem.of(Named(), (inputs, None))).values()
    torch.testing.assert_close(found[0], inputs.double().T @ inputs.double() / 5)
