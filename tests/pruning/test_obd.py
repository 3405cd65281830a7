"""Optimal brain damage: its saliencies are what the loss of a quadratic grows by, and what counts as curvature."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strongticket.mask import Mask
from strongticket.pruning import Problem, ScorePruner
from strongticket.pruning.curvature.diagonal import ggn_diagonal
from strongticket.pruning.curvature.hessian import hessian_matrix
from strongticket.pruning.curvature.products import gather
from strongticket.pruning.obd import CURVATURES, OBD


def smooth_problem() -> Problem:
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    return Problem.of(module, (torch.randn(9, 4, dtype=torch.float64), torch.randint(3, (9,))))


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 8))
@settings(max_examples=25)
def test_at_the_minimum_of_a_quadratic_it_is_the_increase_when_one_weight_goes(seed: int, inputs: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(inputs, 2, bias=False).double()
    layer.weight.data.copy_(torch.randn(2, inputs, generator=generator, dtype=torch.float64))
    examples = torch.randn(n, inputs, generator=generator, dtype=torch.float64)
    targets = layer(examples).detach()
    problem = Problem.of(layer, (examples, targets), loss="squared-error")
    scores = OBD().score(problem)["weight"]
    for row in range(2):
        for column in range(inputs):
            weight = layer.weight.detach().clone()
            weight[row, column] = 0
            loss = 0.5 * (examples @ weight.T - targets).square().sum(1).mean()
            assert float(scores[row, column]) == pytest.approx(float(loss), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_saliencies_are_half_the_curvature_times_the_square(curvature: str) -> None:
    problem = smooth_problem()
    score = OBD(curvature)  # type: ignore[arg-type]
    found, diagonal = score.score(problem), score.diagonal(problem)
    assert list(found) == list(problem.names)
    for name, one in found.items():
        assert one.dtype == torch.float64
        assert bool((one >= 0).all())
        assert torch.equal(one, diagonal[name].abs() * problem.weights[name].square() / 2)
    total = sum(float(one.sum()) for one in found.values())
    exact = sum(float(one.sum()) for one in OBD().score(problem).values())
    assert 0.3 < total / exact < 3  # of one size, whichever curvature


def test_exact_hessians_have_negative_entries_whose_size_counts() -> None:
    problem = smooth_problem()
    score = OBD("hessian")
    diagonal, found = score.diagonal(problem), score.score(problem)
    dense = hessian_matrix(problem)
    assert torch.allclose(gather(problem, diagonal), dense.diagonal(), rtol=1e-12)
    negative = {name: one < 0 for name, one in diagonal.items()}
    assert any(bool(one.any()) for one in negative.values())
    for name, one in negative.items():
        assert bool((found[name][one] > 0).all())


def test_what_is_pruned_has_no_saliency() -> None:
    problem = smooth_problem()
    mask = Mask({name: torch.rand(shape) < 0.5 for name, shape in problem.shapes.items()})
    pruned = problem.at({}, mask)
    for curvature in CURVATURES:
        for name, one in OBD(curvature).score(pruned).items():  # type: ignore[arg-type]
            assert not bool(one[~mask[name]].any())
            assert bool(one[mask[name]].any())


def test_draws_and_chunks_reach_the_estimates() -> None:
    problem = smooth_problem()
    for curvature in ("monte-carlo", "hutchinson"):
        one, same, other = (OBD(curvature, draws=draws).score(problem)["0.weight"] for draws in (2, 2, 3))  # type: ignore[arg-type]
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
    for curvature in CURVATURES:
        whole, parts = (OBD(curvature, chunk=chunk).score(problem)["0.weight"] for chunk in (None, 2))  # type: ignore[arg-type]
        assert torch.allclose(whole, parts, rtol=1e-11, atol=1e-15)
    exact = ggn_diagonal(problem)["0.weight"]
    error = [
        float((OBD("monte-carlo", draws=draws).diagonal(problem)["0.weight"] - exact).abs().max())
        for draws in (1, 1000)
    ]
    assert error[1] < 0.3 * error[0]


def test_bad_parameters_and_networks_are_refused() -> None:
    for build, words in (
        (lambda: OBD("kfac"), "a curvature among ggn, recursion"),  # type: ignore[arg-type]
        (lambda: OBD(draws=0), "at least 1"),
        (lambda: OBD(chunk=0), "at least 1"),
    ):
        with pytest.raises(ValueError, match=words):
            build()
    large = Problem.of(nn.Linear(100, 51), (torch.randn(2, 100), torch.zeros(2).long()))
    with pytest.raises(ValueError, match="at most 5,000"):
        OBD("hessian").score(large)
    for curvature in CURVATURES:
        bad = Problem.of(nn.Linear(3, 2), (torch.full((2, 3), 1e30), torch.zeros(2).long()))
        bad = bad.at({"weight": torch.full((2, 3), 1e20)})
        with pytest.raises(ValueError, match="NaN or infinite"):
            OBD(curvature).score(bad)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="give it data"):
            OBD(curvature).score(Problem.of(nn.Linear(3, 2)))  # type: ignore[arg-type]


def test_predictions_have_the_sign_of_the_curvature() -> None:
    """Where the loss bends down in some weights, ranks go by size, but what is predicted adds up with signs."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh()).double()
    data = torch.randn(9, 4, dtype=torch.float64), 3 * torch.randn(9, 3, dtype=torch.float64)
    problem, method = Problem.of(module, data, loss="squared-error"), OBD("hessian")
    diagonal, scores = method.diagonal(problem), method.score(problem)
    ranks, increase = method.score_and_increase(problem)
    assert min(float(value.min()) for value in diagonal.values()) < 0
    for name, weight in problem.weights.items():
        assert torch.equal(ranks[name], scores[name])
        torch.testing.assert_close(scores[name], diagonal[name].abs() * weight.square() / 2)
        torch.testing.assert_close(increase[name], diagonal[name] * weight.square() / 2)
    pruned = ScorePruner(method).prune(problem, 0.0)
    assert pruned.predicted_increase == pytest.approx(sum(float(value.sum()) for value in increase.values()))
