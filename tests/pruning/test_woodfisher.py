"""WoodFisher against its formulas on dense matrices."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from strongticket.mask import Mask
from strongticket.pruning import woodfisher
from strongticket.pruning._flat import flat_start, flat_weights
from strongticket.pruning.abstract import Pruned
from strongticket.pruning.curvature.fisher import recursion_inverse
from strongticket.pruning.curvature.gradients import sample_gradients
from strongticket.pruning.problem import Problem
from strongticket.pruning.quadratic import joint_update
from strongticket.pruning.shares import layer_counts
from strongticket.pruning.woodfisher import Update, WoodFisher
from strongticket.selection import Allocation, largest


def tiny(seed: int = 0, n: int = 12, **options: Any) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    inputs = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    return Problem.of(net, (inputs, torch.randint(3, (n,), generator=generator)), seed=seed, **options)


def flat(pruned: Pruned) -> Tensor:
    return torch.cat([weight.reshape(-1) for weight in pruned.weights.values()])


def blocks_of(problem: Problem, block: int | None) -> list[Tensor]:
    if block is None:
        return [torch.arange(problem.size)]
    found, begin = [], 0
    for weight in problem.weights.values():
        found += torch.split(torch.arange(begin, begin + weight.numel()), block)
        begin += weight.numel()
    return found


@pytest.mark.parametrize("block", [None, 3, 8, 100])
@pytest.mark.parametrize("update", get_args(Update))
@pytest.mark.parametrize("group", [1, 2])
def test_scores_and_updates_are_the_formulas(block: int | None, update: Update, group: int) -> None:
    problem, damping = tiny(1), 1e-3
    weights, gradients = flat_weights(problem), sample_gradients(problem, group=group)
    inverse = torch.zeros(32, 32, dtype=torch.float64)
    fisher = torch.zeros_like(inverse)
    for part in blocks_of(problem, block):
        inverse[part[:, None], part] = recursion_inverse(gradients[:, part], damping)
        fisher[part[:, None], part] = gradients[:, part].T @ gradients[:, part] / len(gradients)
    fisher += damping * torch.eye(32, dtype=torch.float64)
    scores = weights.square() / (2 * inverse.diagonal())
    method = WoodFisher(group=group, damping=damping, block=block, update=update)
    for density, pruned in zip([0.8, 0.3], method.path(problem, [0.8, 0.3]), strict=True):
        kept = largest(scores, round(32 * density))
        gone = (~kept).double()
        expected = weights.clone()
        if update == "sum":
            expected = weights - inverse @ (gone * weights / inverse.diagonal())
        elif update == "joint":
            expected = joint_update(weights, inverse, (~kept).nonzero()[:, 0])
        expected = expected * kept
        assert torch.equal(torch.cat([pruned.mask[name].reshape(-1) for name in pruned.mask]), kept)
        torch.testing.assert_close(flat(pruned), expected, rtol=1e-8, atol=1e-10)
        step = expected - weights
        assert pruned.predicted_increase == pytest.approx(group * float(step @ fisher @ step) / 2, rel=1e-8)
        assert pruned.updated == (update != "none")


@given(seed=st.integers(0, 99), density=st.floats(0, 1), block=st.sampled_from([None, 4]))
@settings(max_examples=25, deadline=None)
def test_the_joint_update_costs_least(seed: int, density: float, block: int | None) -> None:
    problem = tiny(seed)
    found = {update: WoodFisher(update=update, block=block).prune(problem, density) for update in get_args(Update)}
    assert len({pruned.mask for pruned in found.values()}) == 1
    joint, total, none = (found[update].predicted_increase for update in ("joint", "sum", "none"))
    assert joint is not None
    assert total is not None
    assert none is not None
    assert joint <= total * (1 + 1e-9) + 1e-15
    assert joint <= none * (1 + 1e-9) + 1e-15


def test_the_published_update_is_not_the_best_one() -> None:
    problem = tiny(3)
    joint, total = (WoodFisher(update=update).prune(problem, 0.5).predicted_increase for update in ("joint", "sum"))
    assert joint is not None
    assert total is not None
    assert total > 1.5 * joint


@pytest.mark.parametrize("allocation", ["layer", "erdos-renyi", "global"])
@pytest.mark.parametrize("block", [None, 3])
def test_layers_keep_what_the_allocation_says(allocation: Allocation, block: int | None) -> None:
    start = Mask({"0.weight": torch.rand(4, 5) < 0.8, "2.weight": torch.rand(3, 4) < 0.8})
    problem = tiny(2, start=start)
    for count, pruned in zip(
        (8, 20), WoodFisher(allocation=allocation, block=block).path(problem, [8 / 32, 20 / 32]), strict=True
    ):
        assert pruned.mask.count == count
        if allocation != "global":
            assert pruned.mask.counts == layer_counts(problem.shapes, count, allocation, left=start.counts)


@pytest.mark.parametrize("block", [None, 3])
@pytest.mark.parametrize("update", get_args(Update))
def test_what_is_pruned_already_stays_away(block: int | None, update: Update) -> None:
    start = Mask({"0.weight": torch.rand(4, 5) < 0.6, "2.weight": torch.rand(3, 4) < 0.6})
    problem = tiny(4, start=start)
    for density, pruned in zip(
        [1.0, 0.2], WoodFisher(block=block, update=update).path(problem, [1.0, 0.2]), strict=True
    ):
        assert (pruned.mask & start).count == pruned.mask.count == min(start.count, round(32 * density))
        gone = ~torch.cat([pruned.mask[name].reshape(-1) for name in pruned.mask])
        assert bool((flat(pruned)[gone] == 0).all())
    if block is None and update == "joint":
        index = flat_start(problem)
        inverse = recursion_inverse(sample_gradients(problem)[:, index], 1e-5)
        kept = torch.cat([pruned.mask[name].reshape(-1) for name in pruned.mask])[index]
        expected = joint_update(flat_weights(problem)[index], inverse, (~kept).nonzero()[:, 0])
        torch.testing.assert_close(flat(pruned)[index], expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("block", [None, 3])
@pytest.mark.parametrize("update", get_args(Update))
def test_all_and_nothing(block: int | None, update: Update) -> None:
    problem = tiny(5)
    nothing, everything = WoodFisher(block=block, update=update).path(problem, [0.0, 1.0])
    assert nothing.mask.count == 0
    assert bool((flat(nothing) == 0).all())
    assert torch.equal(flat(everything), flat_weights(problem))
    assert everything.predicted_increase == 0
    assert not everything.updated


def test_equal_scores_leave_the_highest_index() -> None:
    net = nn.Linear(4, 1, bias=False)
    net.weight.data.fill_(1.0)
    problem = Problem.of(net, (torch.zeros(3, 4), torch.zeros(3, 1)), loss="squared-error")
    assert WoodFisher().prune(problem, 0.5).mask["weight"].tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("update", get_args(Update))
@pytest.mark.parametrize("held", [12 * 8 * 6, 12 * 8 * 3, 1])
def test_blocks_need_the_gradients_of_a_few_weights_at_a_time(
    held: int, update: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Mask({"0.weight": torch.rand(4, 5) < 0.8, "2.weight": torch.rand(3, 4) < 0.8})
    problem, method = tiny(6, start=start), WoodFisher(block=3, update=update)
    together = method.path(problem, [0.6, 0.2])
    widths: list[int] = []

    def watched(*args: Any, columns: Tensor, **options: Any) -> Tensor:
        widths.append(len(columns))
        return sample_gradients(*args, columns=columns, **options)

    monkeypatch.setattr(woodfisher, "_HELD", held)
    monkeypatch.setattr(woodfisher, "sample_gradients", watched)
    for one, other in zip(method.path(problem, [0.6, 0.2]), together, strict=True):
        assert one.mask == other.mask
        torch.testing.assert_close(flat(one), flat(other), rtol=1e-10, atol=1e-12)
        assert one.predicted_increase == pytest.approx(other.predicted_increase, rel=1e-10)
    assert max(widths) <= max(3, held // 96)
    assert len(widths) > 2


def test_more_gradients_than_fit_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = tiny()
    monkeypatch.setattr("strongticket.pruning._checks._memory", lambda device: 1000)
    with pytest.raises(ValueError, match=r"takes about .* fewer samples, or blocks"):
        WoodFisher().prune(problem, 0.5)
    WoodFisher(block=4).prune(problem, 0.5)


@pytest.mark.parametrize(
    "options",
    [
        {"damping": 0.0},
        {"samples": 0},
        {"samples": 2.5},
        {"group": 0},
        {"block": 0},
        {"update": "all"},
        {"allocation": "none"},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        WoodFisher(**options)


def test_bad_densities_and_losses_are_refused() -> None:
    problem = tiny()
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        WoodFisher().path(problem, [-0.1])
    with pytest.raises(ValueError, match="give it data"):
        WoodFisher().path(Problem.of(problem.module), [0.5])
