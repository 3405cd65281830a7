"""Schedules as formulas, and pruning in rounds with and without training between them."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from strongticket import Mask
from strongticket.pruning import (
    AbstractSchedule,
    ExactOBS,
    Gradual,
    Iterative,
    Magnitude,
    Neurons,
    NofM,
    OneShot,
    Problem,
    Retraining,
    Rounds,
    ScorePruner,
    Taylor,
    pruner_of,
    train_held,
)
from strongticket.training import Recipe

densities = st.floats(0, 1)
steps = st.integers(1, 30)
schedules = st.one_of(st.builds(OneShot), st.builds(Iterative, steps), st.builds(Gradual, steps))


@given(schedules, densities, densities)
def test_schedules_fall_to_the_target_exactly(schedule: AbstractSchedule, start: float, target: float) -> None:
    found = schedule.densities(start, target)
    assert found[-1] == target
    assert all(0 <= density <= 1 for density in found)
    if target >= start:
        assert len(found) == 1
    else:
        assert all(a >= b - 1e-12 for a, b in zip((start, *found), found, strict=False))
        assert len(found) == getattr(schedule, "rounds", getattr(schedule, "steps", 1))


@given(st.integers(1, 12), st.fractions(0, 1), st.fractions(0, 1))
def test_gradual_is_the_cubic_of_the_fraction_removed(n: int, a: Fraction, b: Fraction) -> None:
    start, target = max(a, b), min(a, b)
    found = Gradual(n).densities(float(start), float(target))
    removed_first, removed_last = 1 - start, 1 - target
    for i, density in enumerate(found, 1) if target < start else ():
        removed = removed_last + (removed_first - removed_last) * (1 - Fraction(i, n)) ** 3
        assert math.isclose(density, float(1 - removed), abs_tol=1e-12)


@given(st.integers(1, 12), st.floats(0.01, 1), st.floats(0.01, 1))
def test_iterative_keeps_the_same_fraction_each_time(n: int, a: float, b: float) -> None:
    start, target = max(a, b), min(a, b)
    found = (start, *Iterative(n).densities(start, target))
    for before, after in pairwise(found) if target < start else ():
        assert math.isclose(after / before, (target / start) ** (1 / n), rel_tol=1e-9)
    assert Iterative(4).densities(1.0, 0.0) == (0.75, 0.5, 0.25, 0.0)


def test_settings_out_of_range_are_refused() -> None:
    for wrong in (lambda: Iterative(0), lambda: Gradual(0), lambda: OneShot().densities(1.0, 1.5)):
        with pytest.raises(ValueError):
            wrong()
    with pytest.raises(ValueError, match="start"):
        OneShot().densities(-0.1, 0.0)


def net() -> nn.Sequential:
    generator = torch.Generator().manual_seed(1)
    made = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3))
    for parameter in made.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(40, 6, generator=generator), torch.randint(3, (40,), generator=generator)


def test_rounds_compute_scores_anew_at_what_the_last_round_left() -> None:
    problem = Problem.of(net(), data())
    pruner = Rounds(ScorePruner(Taylor()), Iterative(3))
    found = pruner.prune(problem, 0.2)
    by_hand = problem
    for density in Iterative(3).densities(1.0, 0.2):
        step = ScorePruner(Taylor()).prune(by_hand, density)
        by_hand = by_hand.at(step.weights, step.mask)
    assert found.mask == by_hand.start
    assert found.mask != ScorePruner(Taylor()).prune(problem, 0.2).mask
    assert [entry["kept"] for entry in found.stats["rounds"]] == [47, 28, 16]
    assert found.original is problem.module
    assert not found.updated


def test_a_density_means_the_same_in_any_path_and_from_any_start() -> None:
    start = Mask({"0.weight": torch.rand(9, 6) < 0.6, "2.weight": torch.rand(3, 9) < 0.6})
    problem = Problem.of(net(), data(), start=start)
    pruner = Rounds(ScorePruner(Taylor()), Gradual(3))
    alone = [pruner.prune(problem, density) for density in (0.3, 1.0, 0.1, 0.0)]
    together = pruner.path(problem, (0.3, 1.0, 0.1, 0.0))
    assert [a.mask for a in alone] == [b.mask for b in together]
    assert [pruned.mask.count for pruned in together] == [24, start.count, 8, 0]


def test_training_between_rounds_trains_all_but_what_is_gone() -> None:
    problem = Problem.of(net(), data(), seed=4)
    recipe = Recipe(3, 16, lr=0.01)
    pruner = Rounds(ScorePruner(Magnitude()), Iterative(2), Retraining(recipe))
    first, second = pruner.prune(problem, 0.25), pruner.prune(problem, 0.25)
    assert first.mask == second.mask  # a function of the seed
    other = pruner.prune(Problem.of(net(), data(), seed=5), 0.25)
    assert not torch.equal(first.weights["0.weight"], other.weights["0.weight"])
    half = ScorePruner(Magnitude()).prune(problem, 0.5)
    assert (first.mask & half.mask) == first.mask
    between = first.original
    for name in problem.names:
        assert not bool(between.get_parameter(name)[~half.mask[name]].any())
        assert torch.equal(first.weights[name], between.get_parameter(name) * first.mask[name])
    assert not torch.equal(between.get_parameter("0.bias"), problem.module.get_parameter("0.bias"))
    assert torch.equal(problem.weights["0.weight"], net()[0].weight)
    again = train_held(half.module(), half.mask, *data(), recipe, seed=11).module
    assert not torch.equal(again.get_parameter("0.weight"), between.get_parameter("0.weight"))  # another order


def test_training_with_another_loss_is_refused() -> None:
    problem = Problem.of(net(), (data()[0], torch.zeros(40, 3)), loss="squared-error")
    with pytest.raises(ValueError, match="cross-entropy"):
        Rounds(ScorePruner(Taylor()), retraining=Retraining("digits")).prune(problem, 0.5)


def test_rounds_start_where_the_structure_does() -> None:
    narrow = Mask({"0.weight": (torch.arange(6) == 2).expand(9, 6)})  # a weight of each neuron: all neurons are left
    problem = Problem.of(net(), names=["0.weight"], start=narrow)
    pruner = Rounds(ScorePruner(Magnitude(), structure=Neurons()), Iterative(2))
    assert pruner.start_density(problem) == 1.0
    assert Rounds(ScorePruner(Magnitude())).start_density(problem) == 1 / 6
    pruned = pruner.prune(problem, 0.33)
    assert [entry["kept"] for entry in pruned.stats["rounds"]] == [5, 3]


def test_rounds_to_the_one_density_of_n_of_m_are_refused() -> None:
    structured = ScorePruner(Magnitude(), structure=NofM(2, 4))
    for pruner in (structured, ExactOBS(n_of_m=(2, 4))):
        for schedule in (Iterative(2), Gradual(3)):
            with pytest.raises(ValueError, match=r"NofM\(2, 4\) has the one density 0.5"):
                Rounds(pruner, schedule)
        assert Rounds(pruner, OneShot()).pruner == Rounds(pruner, Iterative(1)).pruner == pruner
    with pytest.raises(ValueError, match="leave the schedule 'iterative' out"):
        pruner_of("exact-obs", structure=NofM(1, 2), schedule=Iterative(3))
