"""Per-example gradients: closed forms against differentiating each example by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from strongticket.pruning.curvature.gradients import sample_gradients, sample_index
from strongticket.pruning.curvature.hessian import hessian_matrix
from strongticket.pruning.curvature.products import ggn_product, gradient, hessian_product
from strongticket.pruning.curvature.recursion import recursion_diagonal
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


class Named(Twice):
    """A layer that is known by two names."""

    def __init__(self) -> None:
        super().__init__()
        self.again = self.a
        self.c = nn.Conv1d(4, 4, 1, groups=2)  # no closed form

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.again(self.c(self.a(x).unsqueeze(2)).squeeze(2))))


class Keyword(Twice):
    """Layers that are called with keywords."""

    def forward(self, x: Tensor) -> Tensor:
        return self.b(input=torch.tanh(self.a(input=x)))


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
    "named": (Named, (4,)),
    "keyword": (Keyword, (4,)),
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


class Sometimes(nn.Module):
    """A weight that is used outside its layer, but only for some inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        gate = (x[:, :1] > 2).to(x)
        return self.b(torch.relu(self.a(x))) + gate * (x @ self.a.weight[:3].T)


def test_uses_that_the_first_rows_do_not_show_are_seen() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(60, 4, dtype=torch.float64).clamp(max=1.9)
    inputs[7, 0] = 3.0
    problem = Problem.of(Sometimes().double(), (inputs, torch.randint(3, (60,))))
    rows = sample_index(problem)
    assert 7 not in rows[:5]
    torch.testing.assert_close(sample_gradients(problem, chunk=5), literal(problem, rows), rtol=1e-10, atol=1e-12)


class Overwritten(nn.Module):
    """What a layer saw is written over."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.tanh(x)
        made = self.a(seen)
        seen.mul_(0)
        return self.b(torch.relu(made))


def test_inputs_that_are_overwritten_are_refused() -> None:
    problem = Problem.of(Overwritten(), (torch.randn(5, 4), torch.randint(3, (5,))))
    with pytest.raises(ValueError, match="overwritten after its call"):
        sample_gradients(problem)


def test_what_is_no_mean_over_examples_is_refused() -> None:
    """By gradients, products, dense matrices and the recursion alike."""
    uses: list[Callable[[Problem], object]] = [
        sample_gradients,
        gradient,
        hessian_matrix,
        recursion_diagonal,
        lambda problem: hessian_product(problem, torch.ones(problem.start.count)),
        lambda problem: ggn_product(problem, torch.ones(problem.start.count)),
    ]
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    good = Problem.of(net, (torch.randn(9, 4), torch.arange(9) % 3))
    image = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    plain = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.ReLU(), nn.Linear(5, 3))
    shuffled = [
        replace(Problem.of(plain), inputs=good.inputs, labels=good.labels),
        Problem.of(image, (torch.randn(9, 1, 4, 4), torch.arange(9) % 3), mode="train"),
    ]
    total = Problem.of(net, good.data, loss=lambda out, y: nn.functional.cross_entropy(out, y, reduction="sum"))
    weighted = torch.tensor([1.0, 5.0, 1.0])
    uneven = Problem.of(net, good.data, loss=lambda out, y: nn.functional.cross_entropy(out, y, weight=weighted))
    for use in uses:
        for problem in shuffled:
            with pytest.raises(ValueError, match="running statistics"):
                use(problem)
        for problem in (total, uneven):
            with pytest.raises(ValueError, match="not the mean of its examples"):
                use(problem)
        for label in (-100, 3):
            with pytest.raises(ValueError, match=r"labels \[n\] in 0..2"):
                use(replace(good, labels=torch.full((9,), label)))


@pytest.mark.parametrize("chunk", [0, -1, 1.5])
def test_chunks_that_make_no_sense_are_refused(chunk: Any) -> None:
    problem = problem_of("mlp")
    for use in (sample_gradients, gradient, hessian_matrix, recursion_diagonal):
        with pytest.raises(ValueError, match="chunk as a whole number"):
            use(problem, chunk=chunk)  # type: ignore[operator]


def test_dtypes_and_groups_that_make_no_sense_are_refused() -> None:
    problem = problem_of("mlp")
    with pytest.raises(TypeError, match=r"dtype=torch\.int32"):
        sample_gradients(problem, dtype=torch.int32)
    with pytest.raises(ValueError, match="group as a whole number"):
        sample_gradients(problem, group=1.5)  # type: ignore[arg-type]


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
