"""Per-example gradients: closed forms against differentiating each example by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from strongticket.pruning.curvature.gradients import gradient_gram, sample_gradients, sample_index
from strongticket.pruning.problem import Problem, loss_function


class Twice(nn.Module):
    """One layer used at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(torch.tanh(self.a(x)))))


class Behind(Twice):
    """A weight used outside its layer, where no hook sees it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(nn.functional.linear(self.a(x), self.a.weight)))


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))


class Positions(nn.Module):
    """A linear layer that is used at every position of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x.unflatten(1, (2, 4)))).mean(1))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)), (5,)),
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 3),
        ),
        (2, 8, 8),
    ),
    "conv1": (lambda: nn.Sequential(nn.Conv1d(2, 3, 3, dilation=2), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)), (2, 8)),
    "grouped": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)),
        (2, 5, 5),
    ),
    "reflected": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), nn.Flatten(), nn.Linear(32, 3)),
        (1, 4, 4),
    ),
    "norm": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)),
        (1, 4, 4),
    ),
    "twice": (Twice, (4,)),
    "behind": (Behind, (4,)),
    "tied": (Tied, (4,)),
    "positions": (Positions, (8,)),
}


def problem_of(name: str, n: int = 13, seed: int = 0, loss: str = "cross-entropy") -> Problem:
    build, shape = NETS[name]
    generator = torch.Generator().manual_seed(5)
    net = build().double()
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2
    inputs = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (n,), generator=generator)
    return Problem.of(net, (inputs, labels), seed=seed, loss=loss)  # type: ignore[arg-type]


def literal(problem: Problem, rows: Tensor) -> Tensor:
    """One backward pass per row."""
    found, module = [], problem.live()
    parameters = [module.get_parameter(name) for name in problem.names]
    inputs, labels = problem.data
    for row in rows:
        loss = loss_function(problem.loss)(module(inputs[row]), labels[row])
        found.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, parameters)]))
    return torch.stack(found)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("group", [1, 3])
def test_gradients_are_those_of_autograd(name: str, group: int) -> None:
    problem = problem_of(name)
    rows = sample_index(problem, group=group)
    expected = literal(problem, rows)
    torch.testing.assert_close(sample_gradients(problem, group=group, chunk=2), expected, rtol=1e-12, atol=1e-12)
    columns = torch.arange(0, problem.size, 3)
    found = sample_gradients(problem, group=group, columns=columns)
    torch.testing.assert_close(found, expected[:, columns], rtol=1e-12, atol=1e-12)


def test_squared_errors_and_losses_of_ones_own() -> None:
    build, _ = NETS["mlp"]
    net = build().double()
    data = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    half = Problem.of(net, data, loss="squared-error")
    torch.testing.assert_close(sample_gradients(half), literal(half, sample_index(half)))
    own = Problem.of(net, data, loss=lambda out, target: (out - target).square().sum(1).mean())
    torch.testing.assert_close(sample_gradients(own), 2 * sample_gradients(half))


@pytest.mark.parametrize("group", [1, 2, 4])
def test_the_gram_matrix_needs_no_gradients(group: int) -> None:
    problem = problem_of("mlp")
    gram = gradient_gram(problem, group=group, chunk=3)
    gradients = sample_gradients(problem, group=group)
    assert gram is not None
    torch.testing.assert_close(gram, gradients @ gradients.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["conv", "positions", "twice", "behind", "tied"])
def test_the_gram_matrix_is_not_made_where_it_has_no_closed_form(name: str) -> None:
    assert gradient_gram(problem_of(name)) is None


def test_the_gram_matrix_is_not_made_of_what_is_pruned_in_part() -> None:
    problem = problem_of("mlp")
    weights = problem.weights
    weights["0.weight"] = weights["0.weight"] * (torch.rand(4, 5) < 0.5)
    module = problem.live()
    module.get_parameter("0.weight").data.copy_(weights["0.weight"])
    assert gradient_gram(Problem.of(module, problem.data)) is None


@given(n=st.integers(1, 40), group=st.integers(1, 5), count=st.integers(1, 50), seed=st.integers(0, 2**64 - 1))
@settings(max_examples=30, deadline=None)
def test_examples_are_drawn_without_replacement(n: int, group: int, count: int, seed: int) -> None:
    problem = problem_of("mlp", n, seed)
    if group > n:
        with pytest.raises(ValueError, match="give more data"):
            sample_index(problem, count=count, group=group)
        return
    rows = sample_index(problem, count=count, group=group)
    assert rows.shape == (min(count, n // group), group)
    assert len(rows.unique()) == rows.numel()
    assert torch.equal(rows, sample_index(problem, count=count, group=group))


def test_draws_and_seeds_differ() -> None:
    zero, one = (problem_of("mlp", 40, seed) for seed in (0, 1))
    assert not torch.equal(sample_index(zero), sample_index(one))
    assert not torch.equal(sample_index(zero), sample_index(zero, draw=1))


def test_a_loss_that_is_nan_is_refused() -> None:
    problem = problem_of("mlp")
    for name in ("mlp", "behind"):
        problem = problem_of(name)
        broken = Problem.of(problem.module, problem.data, loss=lambda out, labels: (out[:, 0] * torch.nan).mean())
        with pytest.raises(ValueError, match="NaN"):
            sample_gradients(broken)


def test_the_network_is_left_as_it_was() -> None:
    problem = problem_of("conv")
    before = {name: value.clone() for name, value in problem.module.state_dict().items()}
    sample_gradients(problem)
    assert all(torch.equal(value, before[name]) for name, value in problem.module.state_dict().items())
    assert not any(part._forward_hooks for part in problem.module.modules())
