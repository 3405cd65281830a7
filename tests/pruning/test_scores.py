"""Saliencies of single weights, each against a literal transcription; and what the score pruner makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from strongticket import Mask, random
from strongticket.pruning import (
    AbstractScore,
    GradientMagnitude,
    Magnitude,
    Movement,
    Problem,
    Random,
    ScorePruner,
    Taylor,
    target_counts,
)
from strongticket.pruning.gradient import mean_gradient, mean_loss
from strongticket.training import Recipe, WeightOptimiser
from strongticket.training.loop import order


def net(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    made = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).to(dtype)
    for parameter in made.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator, dtype=dtype))
    return made


def data(n: int = 50, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(n, 5, generator=generator, dtype=dtype), torch.randint(3, (n,), generator=generator)


def literal_gradient(problem: Problem) -> dict[str, Tensor]:
    """The mean of the gradients of single examples."""
    module = problem.live()
    inputs, labels = problem.data
    sums = {name: torch.zeros_like(problem.weights[name]) for name in problem.names}
    for x, y in zip(inputs, labels, strict=True):
        loss = nn.functional.cross_entropy(module(x[None]), y[None])
        for name in problem.names:
            (part,) = torch.autograd.grad(loss, module.get_parameter(name), retain_graph=True)
            sums[name] += part / len(inputs)
    return {name: total * problem.start[name] for name, total in sums.items()}


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_mean_gradient_is_that_of_single_examples_whatever_the_batch(batch: int) -> None:
    start = Mask({"0.weight": torch.rand(7, 5) < 0.7, "2.weight": torch.rand(3, 7) < 0.7})
    problem = Problem.of(net(dtype=torch.float64), data(dtype=torch.float64), start=start)
    expected = literal_gradient(problem)
    found = mean_gradient(problem, batch=batch)
    for name in problem.names:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-15)
        assert not bool((found[name][~start[name]] != 0).any())
    assert math.isclose(
        mean_loss(problem, batch=batch),
        float(nn.functional.cross_entropy(problem.module(problem.data[0]), problem.data[1])),
        rel_tol=1e-12,
    )


def test_first_order_scores_are_what_their_names_say() -> None:
    problem = Problem.of(net(dtype=torch.float64), data(dtype=torch.float64))
    gradient, weights = literal_gradient(problem), problem.weights
    for name in problem.names:
        close = {"rtol": 1e-12, "atol": 1e-15}
        torch.testing.assert_close(GradientMagnitude().score(problem)[name], gradient[name].abs(), **close)
        torch.testing.assert_close(Taylor().score(problem)[name], (gradient[name] * weights[name]).abs(), **close)
        assert torch.equal(Magnitude().score(problem)[name], weights[name].abs())


def test_taylor_is_the_change_of_the_loss_to_first_order() -> None:
    problem = Problem.of(net(dtype=torch.float64), data(dtype=torch.float64))
    saliency, before, step = Taylor().score(problem)["0.weight"], mean_loss(problem), 1e-6
    for place in [(0, 0), (3, 2), (6, 4)]:
        weight = problem.weights["0.weight"].clone()
        weight[place] *= 1 - step
        change = abs(mean_loss(problem, {"0.weight": weight}) - before) / step
        assert math.isclose(change, float(saliency[place]), rel_tol=1e-3, abs_tol=1e-6)


def test_random_scores_are_a_function_of_seed_and_name_and_not_those_of_a_mask_search() -> None:
    first, again, other = (Random().score(Problem.of(net(), seed=seed)) for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    values = Random().score(Problem.of(nn.Linear(300, 300), seed=3))["weight"].double().view(-1).numpy()
    assert abs(values.mean() - 0.5) < 4 / np.sqrt(12 * values.size)
    assert 0 <= values.min() < 1e-3 < 1 - 1e-3 < values.max() < 1
    assert len(np.unique(values)) == values.size
    searched = random.UNIFORM23.values(3, "weight", 0, values.size, purpose=random.SCORES)
    assert abs(np.corrcoef(values, searched)[0, 1]) < 0.02


def test_movement_is_minus_the_sum_of_weight_times_gradient_over_the_steps() -> None:
    recipe = Recipe(3, 16, lr=0.05, optimiser="sgd", schedule="cosine", keep_best=False)
    start = Mask({"0.weight": torch.rand(7, 5) < 0.7, "2.weight": torch.ones(3, 7, dtype=torch.bool)})
    problem = Problem.of(net(), data(), seed=9, start=start)
    module = net()
    module[0].weight.data *= start["0.weight"]
    optimiser, (inputs, labels) = WeightOptimiser(module, recipe), data()
    expected = {"0.weight": torch.zeros(7, 5), "2.weight": torch.zeros(3, 7)}
    for epoch in (1, 2, 3):
        visits = torch.from_numpy(order(9, epoch, 50))
        for at, rows in enumerate(torch.split(visits, 16)):
            loss = nn.functional.cross_entropy(module(inputs[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            gradient = module[0].weight.grad
            assert gradient is not None
            gradient *= start["0.weight"]
            for name in expected:
                parameter = module.get_parameter(name)
                assert parameter.grad is not None
                expected[name] -= parameter.data * parameter.grad
            optimiser.step(recipe.lr_at((epoch - 1) * 4 + at, 4))
    found = Movement(recipe).score(problem)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)
    assert torch.equal(problem.weights["2.weight"], net()[2].weight)  # nothing of the fine-tuning remains


def test_movement_refuses_other_losses_than_the_one_it_trains_with() -> None:
    with pytest.raises(ValueError, match="cross-entropy"):
        Movement().score(Problem.of(net(), (data()[0], torch.zeros(50, 3)), loss="squared-error"))
    with pytest.raises(ValueError, match="unknown recipe"):
        Movement("digit")


@pytest.mark.parametrize("score", [GradientMagnitude(), Taylor(), Movement()], ids=lambda score: score.key)
def test_scores_that_need_data_refuse_none_and_losses_that_are_not_finite(score: AbstractScore) -> None:
    with pytest.raises(ValueError, match="data"):
        score.score(Problem.of(net()))
    wild = net()
    wild[0].weight.data.fill_(3e38)
    with pytest.raises((ValueError, RuntimeError), match=r"nan|NaN|inf"):
        score.score(Problem.of(wild, (3e38 * torch.ones(4, 5), torch.zeros(4, dtype=torch.int64))))


@dataclass(frozen=True)
class Fixed(AbstractScore):
    """Saliencies that are given."""

    values: tuple[float, ...]
    key: ClassVar[str] = "fixed"
    is_increase: ClassVar[bool] = True

    def score(self, problem: Problem) -> dict[str, Tensor]:
        flat = torch.tensor(self.values, dtype=torch.float64)
        sizes = [weight.numel() for weight in problem.weights.values()]
        parts = torch.split(flat, sizes)
        return {name: part.view(shape) for (name, shape), part in zip(problem.shapes.items(), parts, strict=True)}


@given(
    values=st.lists(st.integers(0, 4), min_size=12, max_size=12),
    alive=st.lists(st.booleans(), min_size=12, max_size=12),
    density=st.floats(0, 1),
)
def test_the_least_go_ties_by_index_and_the_prediction_is_their_sum(
    values: list[int], alive: list[bool], density: float
) -> None:
    module = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 3, bias=False))
    module[0].weight.data.fill_(1.0)
    module[1].weight.data.fill_(2.0)
    flat = torch.tensor(alive)
    start = Mask({"0.weight": flat[:6].view(2, 3), "1.weight": flat[6:].view(3, 2)})
    problem = Problem.of(module, start=start)
    pruned = ScorePruner(Fixed(tuple(map(float, values)))).prune(problem, density)
    (count,) = target_counts(problem, [density])
    ranked = sorted((value, place) for place, value in enumerate(values) if alive[place])
    expected = {place for _, place in ranked[len(ranked) - count :]}
    kept = torch.cat([pruned.mask[name].reshape(-1) for name in problem.names])
    assert set(kept.nonzero()[:, 0].tolist()) == expected
    assert pruned.predicted_increase == sum(values[i] for i in range(12) if alive[i] and i not in expected)
    for name in problem.names:
        assert torch.equal(pruned.weights[name], problem.weights[name] * pruned.mask[name])


def test_saliencies_that_cannot_be_ranked_are_refused() -> None:
    problem = Problem.of(nn.Linear(2, 2, bias=False))
    with pytest.raises(ValueError, match="NaN or infinite"):
        ScorePruner(Fixed((1.0, math.nan, 2.0, 3.0))).prune(problem, 0.5)
    with pytest.raises(ValueError, match="allocation"):
        ScorePruner(Magnitude(), allocation="locally")  # type: ignore[arg-type]
