from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from strongticket.pruning.layer_obs import LayerObs
from strongticket.pruning.problem import Problem
from strongticket.pruning.sparsegpt import SparseGPT
from strongticket.selection import kept_count


def layer_problem(rows: int, d: int, seed: int = 0) -> tuple[Problem, Tensor, Tensor]:
    torch.manual_seed(seed)
    layer = nn.Linear(d, rows, bias=False).double()
    inputs = torch.relu(torch.randn(4 * d, d, dtype=torch.float64) @ torch.randn(d, d, dtype=torch.float64))
    hessian = inputs.T @ inputs / len(inputs)
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(d)
    return Problem.of(layer, (inputs, None)), layer.weight.data.clone(), hessian


def literal(weight: Tensor, hessian: Tensor, density: float, width: int) -> Tensor:
    """Column by column with the inverse of what is to the right, made anew each time."""
    rows, d = weight.shape
    weight, done = weight.clone(), 0
    for first in range(0, d, width):
        stop = min(d, first + width)
        scores = torch.empty(rows, stop - first, dtype=torch.float64)
        for column in range(first, stop):
            own = torch.linalg.inv(hessian[column:, column:])[0, 0]
            scores[:, column - first] = weight[:, column].square() / own
        goal = round(density * rows * d * stop / d)
        kept = torch.zeros_like(scores, dtype=torch.bool).view(-1)
        kept[scores.view(-1).argsort()[scores.numel() - (goal - done) :]] = True
        kept, done = kept.view(scores.shape), goal
        for column in range(first, stop):
            inverse = torch.linalg.inv(hessian[column:, column:])
            gone = ~kept[:, column - first]
            weight[gone, column:] -= weight[gone, column : column + 1] / inverse[0, 0] * inverse[0]
            weight[gone, column] = 0
    return weight


@pytest.mark.parametrize(("rows", "d", "width", "density"), [(5, 12, 4, 0.5), (4, 20, 7, 0.3), (6, 9, 100, 0.25)])
def test_the_sweep_is_the_literal_one(rows: int, d: int, width: int, density: float) -> None:
    problem, weight, hessian = layer_problem(rows, d)
    pruned = SparseGPT(block=width).prune(problem, density)
    expected = literal(weight, hessian, density, width)
    assert torch.equal(pruned.mask["weight"], expected != 0)
    torch.testing.assert_close(pruned.weights["weight"], expected, rtol=1e-6, atol=1e-9)


def test_bad_options_are_refused() -> None:
    for arguments in ({"block": 0}, {"damping": -1.0}, {"allocation": "global"}):
        with pytest.raises(ValueError):
            SparseGPT(**arguments)
    with pytest.raises(ValueError):
        LayerObs(allocation="erdos-renyi")  # type: ignore[arg-type]


def test_one_shot_saliencies_are_those_of_a_single_removal() -> None:
    problem, weight, hessian = layer_problem(3, 6)
    inverse = torch.linalg.inv(hessian)
    score = weight.square() / (2 * inverse.diagonal())
    for published in (False, True):
        pruned = LayerObs(damping=0.01, published=published).prune(problem, 17 / 18)
        gone = (~pruned.mask["weight"]).nonzero()[0]
        assert int(score.argmin()) == int(gone[0] * 6 + gone[1])
        row, column = gone.tolist()
        expected = weight[row] - weight[row, column] / inverse[column, column] * inverse[column]
        torch.testing.assert_close(pruned.weights["weight"][row], expected, rtol=1e-8, atol=1e-12)


def test_one_shot_published_update_is_the_literal_loop() -> None:
    problem, weight, hessian = layer_problem(3, 6, seed=2)
    inverse = torch.linalg.inv(hessian)
    count = kept_count(0.4, 18)
    order = (weight.square() / (2 * inverse.diagonal())).view(-1).argsort()
    expected = weight.clone()
    for flat in order[: 18 - count].tolist():
        row, column = divmod(flat, 6)
        expected[row] -= expected[row, column].clone() / inverse[column, column] * inverse[column]
    expected.view(-1)[order[: 18 - count]] = 0
    pruned = LayerObs(damping=0.01, published=True).prune(problem, 0.4)
    torch.testing.assert_close(pruned.weights["weight"], expected, rtol=1e-8, atol=1e-12)
