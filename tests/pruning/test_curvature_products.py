"""Hessian and Gauss-Newton products and dense matrices against torch.func on the whole vector of weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from strongticket.mask import Mask
from strongticket.pruning import Loss, Problem, loss_function
from strongticket.pruning.curvature import hessian
from strongticket.pruning.curvature.diagonal import fisher_diagonal, ggn_diagonal
from strongticket.pruning.curvature.hessian import fisher_matrix, ggn_matrix, hessian_diagonal, hessian_matrix
from strongticket.pruning.curvature.products import (
    gather,
    ggn_product,
    gradient,
    hessian_product,
    live_count,
    scatter,
)

with warnings.catch_warnings():  # torch loads its forward mode at first use, by a function that it calls deprecated
    warnings.simplefilter("ignore", DeprecationWarning)
    torch.func.hessian(lambda one: one.square().sum())(torch.ones(1))


def smoothed(outputs: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, labels, label_smoothing=0.2)


def small_problem(loss: Loss = "cross-entropy", *, sparse: bool = True) -> Problem:
    """A smooth network with a convolution, a layer used twice, and a third of its weights pruned."""
    shared = nn.Linear(4, 4)
    module = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6, 4), nn.GELU(), shared, nn.Tanh())
    module.append(shared).append(nn.Linear(4, 3)).double()
    inputs = torch.randn(7, 1, 5, dtype=torch.float64)
    labels = torch.randn(7, 3, dtype=torch.float64) if loss == "squared-error" else torch.randint(3, (7,))
    names = [name for name, _ in module.named_parameters()]
    start = Mask({name: torch.rand(value.shape) < 0.7 for name, value in module.named_parameters()}) if sparse else None
    return Problem.of(module, (inputs, labels), names=names, loss=loss, start=start)


def dense(problem: Problem) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradient, Hessian, Gauss-Newton and Fisher matrix over the weights left, by torch.func on one vector."""
    inputs, labels = problem.data
    loss = loss_function(problem.loss)

    def outputs(vector: Tensor, examples: Tensor) -> Tensor:
        values = scatter(problem, vector)
        made: Tensor = torch.func.functional_call(problem.module, values, (examples,), tie_weights=False)
        return made

    at = gather(problem, problem.weights)
    slope = torch.func.grad(lambda vector: loss(outputs(vector, inputs), labels))(at)
    hessian = torch.func.hessian(lambda vector: loss(outputs(vector, inputs), labels))(at)
    ggn, fisher = torch.zeros_like(hessian), torch.zeros_like(hessian)
    for i in range(len(inputs)):
        one, label = inputs[i : i + 1], labels[i : i + 1]
        jacobian = torch.func.jacrev(outputs)(at, one)[0]
        curved = torch.func.hessian(lambda out, label=label: loss(out[None], label))(outputs(at, one)[0])
        ggn += jacobian.T @ curved @ jacobian / len(inputs)
        each = torch.func.grad(lambda vector, one=one, label=label: loss(outputs(vector, one), label))(at)
        fisher += torch.outer(each, each) / len(inputs)
    return slope, hessian, ggn, fisher


@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error", smoothed])
def test_products_and_matrices_are_those_of_the_weights_left(loss: Loss) -> None:
    problem = small_problem(loss)
    slope, hessian, ggn, fisher = dense(problem)
    vector = torch.randn(live_count(problem), dtype=torch.float64)
    for chunk in (1, 3, 100):
        assert torch.allclose(gradient(problem, chunk=chunk), slope, atol=1e-14)
        assert torch.allclose(hessian_product(problem, vector, chunk=chunk), hessian @ vector, rtol=1e-11, atol=1e-13)
        assert torch.allclose(ggn_product(problem, vector, chunk=chunk), ggn @ vector, rtol=1e-11, atol=1e-13)
        assert torch.allclose(hessian_matrix(problem, chunk=chunk), hessian, rtol=1e-11, atol=1e-14)
        assert torch.allclose(ggn_matrix(problem, chunk=chunk), ggn, rtol=1e-11, atol=1e-14)
        assert torch.allclose(fisher_matrix(problem, chunk=chunk), fisher, rtol=1e-11, atol=1e-14)
    assert float((hessian - ggn).abs().max()) > 1e-3  # or else these could be mixed up


def test_diagonals_are_those_of_the_matrices() -> None:
    problem = small_problem(sparse=False)
    for diagonal, matrix in (
        (ggn_diagonal, ggn_matrix),
        (fisher_diagonal, fisher_matrix),
        (hessian_diagonal, hessian_matrix),
    ):
        assert torch.allclose(gather(problem, diagonal(problem)), matrix(problem).diagonal(), rtol=1e-11, atol=1e-15)


def test_matrices_have_no_asymmetry() -> None:
    matrix = hessian_matrix(small_problem())
    assert torch.equal(matrix, matrix.T)


def test_gather_and_scatter_are_each_other_s_reverse() -> None:
    problem = small_problem()
    vector = torch.arange(1.0, live_count(problem) + 1, dtype=torch.float64)
    tensors = scatter(problem, vector)
    assert torch.equal(gather(problem, tensors), vector)
    position = 0
    for name in problem.names:
        for kept, value in zip(problem.start[name].flatten().tolist(), tensors[name].flatten().tolist(), strict=True):
            position += kept
            assert value == (position if kept else 0)
    with pytest.raises(ValueError, match="weights left, got"):
        scatter(problem, torch.ones(3))


class Unbatched(nn.Module):
    """A network whose derivatives torch cannot batch: a function with a backward pass of its own."""

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, inputs):  # type: ignore[no-untyped-def]
            ctx.save_for_backward(inputs)
            return inputs**3

        @staticmethod
        def backward(ctx, slope):  # type: ignore[no-untyped-def]
            (inputs,) = ctx.saved_tensors
            assert float(slope.detach().abs().sum()) >= 0  # looks at its numbers
            return 3 * inputs**2 * slope

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2, dtype=torch.float64)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.Cube.apply(self.layer(inputs))  # type: ignore[no-any-return]


class Batched(Unbatched):
    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs) ** 3


@pytest.mark.parametrize("make", [hessian_matrix, ggn_matrix, fisher_matrix])
def test_what_cannot_be_batched_is_looped_over(make: Callable[[Problem], Tensor]) -> None:
    data = torch.randn(4, 2, dtype=torch.float64), torch.tensor([0, 1, 1, 0])
    odd, plain = Unbatched(), Batched()
    plain.load_state_dict(odd.state_dict())
    found, wanted = (make(Problem.of(module, data)) for module in (odd, plain))
    assert float(wanted.abs().max()) > 0
    assert torch.allclose(found, wanted, rtol=1e-12)


def test_networks_that_are_linear_in_all_weights_and_losses_that_do_not_bend() -> None:
    data = torch.randn(4, 2, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64)
    problem = Problem.of(nn.Linear(2, 1, bias=False).double(), data, loss=lambda outputs, labels: outputs.mean())
    zero = torch.zeros(2, 2, dtype=torch.float64)
    assert torch.equal(hessian_matrix(problem), zero)
    assert torch.equal(ggn_matrix(problem), zero)
    assert torch.equal(hessian_product(problem, torch.ones(2)), zero[0])
    assert torch.equal(ggn_product(problem, torch.ones(2)), zero[0])
    assert float(fisher_matrix(problem).trace()) > 0


def test_nothing_left_and_weights_of_no_use() -> None:
    data = torch.randn(4, 2), torch.zeros(4).long()
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    empty = Problem.of(module, data, start=Mask({f"{i}.weight": torch.zeros(2, 2).bool() for i in (0, 1)}))
    assert hessian_matrix(empty).shape == ggn_matrix(empty).shape == (0, 0)
    assert hessian_product(empty, torch.zeros(0)).shape == (0,)
    problem = Problem.of(Idle(), data)
    assert not bool(hessian_matrix(problem)[4:].any())
    assert not bool(ggn_matrix(problem)[:, 4:].any())
    assert not bool(ggn_diagonal(problem)["idle.weight"].any())
    assert bool(ggn_matrix(problem)[:4, :4].any())


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.used(inputs)  # type: ignore[no-any-return]


def test_large_problems_and_bad_losses_are_refused() -> None:
    data = torch.randn(2, 100), torch.zeros(2).long()
    large = Problem.of(nn.Linear(100, 51), data)
    for make in (hessian_matrix, ggn_matrix, fisher_matrix, hessian_diagonal):
        with pytest.raises(ValueError, match=r"at most 5,000 weights, got 5,100: use diagonals"):
            make(large)
    problem = replace(Problem.of(nn.Linear(100, 2), data), labels=data[1] + 7)
    vector = torch.ones(200)
    for use in (hessian_matrix, ggn_matrix, fisher_matrix, gradient):
        with pytest.raises(ValueError, match=r"labels \[n\] in 0..1"):
            use(problem)
    for use in (hessian_product, ggn_product):
        with pytest.raises(ValueError, match=r"labels \[n\] in 0..1"):
            use(problem, vector)
        with pytest.raises(ValueError, match="over the 200 weights left"):
            use(problem, vector[1:])


def test_dense_hessians_keep_within_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer examples and vectors at a time where a network saves more numbers for each; the matrix is the same."""
    module = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(72, 2)).double()
    problem = Problem.of(module, (torch.randn(20, 1, 6, 6, dtype=torch.float64), torch.arange(20) % 2))
    whole = hessian_matrix(problem)
    each = hessian._saved(problem, problem.live())
    assert each > 3 * (36 + 72)  # at least what enters the layers
    shapes: list[tuple[int, int]] = []
    second, batches = hessian._second, Problem.batches

    def watched(*args: Any) -> Tensor:
        shapes.append((size[0], args[3].stop - args[3].start))
        return second(*args)

    size = [0]

    def sized(self: Problem, chunk: int) -> Any:
        size[0] = chunk
        return batches(self, chunk)

    monkeypatch.setattr(hessian, "_second", watched)
    monkeypatch.setattr(Problem, "batches", sized)
    for budget in (1, 5 * each, 100 * each):
        monkeypatch.setattr(hessian, "BUDGET", budget)
        shapes.clear()
        torch.testing.assert_close(hessian_matrix(problem), whole, rtol=1e-10, atol=1e-12)
        assert all(min(examples, 20) * vectors * each <= max(budget, each) for examples, vectors in shapes)
