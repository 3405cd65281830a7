"""Optimal brain surgeon over whole networks, against deleting one weight at a time with dense matrices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import strongticket.pruning._greedy_fisher as greedy_fisher
from strongticket.mask import Mask
from strongticket.pruning._flat import flat_mask, flat_start, flat_weights, split_flat
from strongticket.pruning._greedy_fisher import GreedyFisher
from strongticket.pruning.abstract import Pruned
from strongticket.pruning.curvature.fisher import LowRankFisher, recursion_inverse
from strongticket.pruning.curvature.gradients import sample_gradients
from strongticket.pruning.network_obs import NetworkObs, Schedule, stage_counts
from strongticket.pruning.problem import Problem
from strongticket.pruning.quadratic import joint_increase, joint_update, obs_order


def tiny(seed: int = 0, n: int = 12, dtype: torch.dtype = torch.float64, **options: Any) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).to(dtype)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    inputs = torch.randn(n, 5, generator=generator, dtype=torch.float64).to(dtype)
    inputs[:, 2] = 0  # a dead input
    return Problem.of(net, (inputs, torch.randint(3, (n,), generator=generator)), seed=seed, **options)


def flat(pruned: Pruned) -> Tensor:
    return torch.cat([weight.reshape(-1) for weight in pruned.weights.values()]).double()


def kept(pruned: Pruned) -> Tensor:
    return torch.cat([pruned.mask[name].reshape(-1) for name in pruned.mask])


def random_start(problem: Problem, seed: int) -> Mask:
    generator = torch.Generator().manual_seed(seed)
    return Mask({name: torch.rand(shape, generator=generator) < 0.7 for name, shape in problem.shapes.items()})


@given(seed=st.integers(0, 50), damping=st.sampled_from([1e-5, 1e-3, 0.1]), group=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_the_path_is_that_of_deleting_one_weight_at_a_time(seed: int, damping: float, group: int) -> None:
    problem = tiny(seed)
    gradients = sample_gradients(problem, group=group)
    inverse = recursion_inverse(gradients, damping)
    weights = flat_weights(problem)
    order, losses = obs_order(weights, inverse, 32)
    densities = [1 - i / 32 for i in (1, 7, 16, 25, 31, 32)]
    for density, pruned in zip(
        densities, NetworkObs(group=group, damping=damping).path(problem, densities), strict=True
    ):
        gone = order[: 32 - pruned.mask.count]
        assert torch.equal(kept(pruned), ~torch.isin(torch.arange(32), gone))
        torch.testing.assert_close(flat(pruned), joint_update(weights, inverse, gone), rtol=1e-7, atol=1e-9)
        increase = group * joint_increase(weights, inverse, gone)
        assert pruned.predicted_increase == pytest.approx(increase, rel=1e-8)
        assert pruned.predicted_increase == pytest.approx(group * float(losses[: len(gone)].sum()), rel=1e-8)
        assert pruned.mask.count == round(32 * density)


def large(seed: int, rows: int, n: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Gradients of few directions, so that deletions matter to one another, and weights."""
    generator = torch.Generator().manual_seed(seed)
    gradients = torch.randn(rows, rows // 2, generator=generator) @ torch.randn(rows // 2, n, generator=generator)
    return gradients.to(dtype), torch.randn(n, generator=generator).double()


@pytest.mark.parametrize("panel", [1, 5, 16, 200])
def test_panels_change_nothing(panel: int) -> None:
    gradients, weights = large(0, 24, 150)
    inverse = recursion_inverse(gradients, 1e-3)
    order, losses = obs_order(weights, inverse, 150)
    greedy = GreedyFisher(LowRankFisher(gradients, 1e-3), weights, panel=panel)
    for left in (149, 100, 40, 3, 0):
        greedy.run(left)
        assert greedy.count == left
        index, found = greedy.settle()
        gone = order[: 150 - left]
        assert set(index.tolist()) == set(range(150)) - set(gone.tolist())
        assert greedy.loss == pytest.approx(float(losses[: 150 - left].sum()), rel=1e-8)
        torch.testing.assert_close(found, joint_update(weights, inverse, gone)[index], rtol=1e-6, atol=1e-8)


def test_the_check_of_a_panel_is_what_makes_it_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients, weights = large(1, 24, 400)
    inverse = recursion_inverse(gradients, 1e-4)
    order = obs_order(weights, inverse, 300)[0]
    lefts = [400 - 40 * i for i in range(1, 8)]
    expected = [set(range(400)) - set(order[: 400 - left].tolist()) for left in lefts]

    def path() -> tuple[list[set[int]], int]:
        greedy, found = GreedyFisher(LowRankFisher(gradients, 1e-4), weights, panel=40), []
        for left in lefts:
            greedy.run(left)
            found.append(set(greedy._index[greedy._alive].tolist()))
        return found, greedy.cut

    monkeypatch.setattr(greedy_fisher, "_CANDIDATES", 1)
    monkeypatch.setattr(greedy_fisher, "_SPARE", 0)
    found, cut = path()
    assert found == expected
    assert cut > 0
    monkeypatch.setattr(GreedyFisher, "_first_wrong", lambda self, moved, c, *rest: len(c))
    assert path()[0] != expected


@pytest.mark.parametrize("stale", [0.999, 0.85, 0.0])
def test_downdates_are_as_good_as_making_everything_anew(monkeypatch: pytest.MonkeyPatch, stale: float) -> None:
    gradients, weights = large(2, 20, 200)
    monkeypatch.setattr(greedy_fisher, "_STALE", stale)
    greedy = GreedyFisher(LowRankFisher(gradients, 1e-3), weights, panel=8)
    greedy.run(60)
    along = greedy._weights[greedy._alive]
    index, settled = greedy.settle()
    torch.testing.assert_close(along, settled, rtol=1e-7, atol=1e-9)
    fresh = LowRankFisher(gradients[:, index], 1e-3)
    torch.testing.assert_close(greedy._fisher.factor, fresh.factor, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(greedy._q / 1e-3, fresh.diagonal_of_inverse(), rtol=1e-8, atol=0)


def test_float32_finds_a_path_as_cheap() -> None:
    gradients, weights = large(3, 30, 500, torch.float32)
    fisher = LowRankFisher(gradients, 1e-3)
    exact, single = (GreedyFisher(fisher, weights, dtype=dtype) for dtype in (torch.float64, torch.float32))
    for greedy in (exact, single):
        greedy.run(100)
    assert single.loss == pytest.approx(exact.loss, rel=1e-3)
    index, settled = single.settle()
    step = -weights.clone()
    step[index] += settled
    assert fisher.quadratic(step) == pytest.approx(single.loss, rel=1e-4)


@pytest.mark.parametrize(("dtype", "scale"), [(torch.float32, 1.0), (torch.float64, 1e4)])
def test_twins_and_large_gradients_are_survived(dtype: torch.dtype, scale: float) -> None:
    gradients, weights = large(4, 20, 100, dtype)
    greedy = GreedyFisher(LowRankFisher(scale * torch.cat([gradients] * 2, 1), 1e-4), weights.repeat(2), dtype=dtype)
    for left in (150, 50, 0):
        greedy.run(left)
        index, found = greedy.settle()
        assert len(index) == left
        assert bool(found.isfinite().all())


def test_matrices_that_are_singular_to_rounding_are_refused() -> None:
    gradients, weights = large(4, 20, 100)
    with pytest.raises(ValueError, match="singular"):
        GreedyFisher(LowRankFisher(torch.cat([gradients] * 2, 1) * 1e6, 1e-8), weights.repeat(2)).run(50)


def test_the_first_order_term_is_that_of_groups() -> None:
    """With groups of 4, the Fisher matrix is too small by 4; the step must be that of gradients divided by 4."""
    problem, damping, group = tiny(4, 16), 1e-2, 4
    gradients = sample_gradients(problem, group=group)
    inverse = recursion_inverse(gradients, damping)
    mean = gradients.mean(0)
    start = flat_weights(problem) - inverse @ mean / group
    (pruned,) = NetworkObs(group=group, damping=damping, first_order=True).path(problem, [0.5])
    gone = obs_order(start, inverse, 16)[0]
    torch.testing.assert_close(flat(pruned), joint_update(start, inverse, gone), rtol=1e-7, atol=1e-9)
    step = flat(pruned) - flat_weights(problem)
    fisher = gradients.T @ gradients / len(gradients) + damping * torch.eye(32, dtype=torch.float64)
    model = mean @ step + group * step @ fisher @ step / 2
    assert pruned.predicted_increase == pytest.approx(float(model), rel=1e-8)
    unscaled = flat_weights(problem) - inverse @ mean
    assert not torch.allclose(flat(pruned), joint_update(unscaled, inverse, gone), rtol=1e-2)


def test_stages_start_from_where_the_last_one_ended() -> None:
    problem = tiny(5, 20)
    method = NetworkObs(samples=10, group=1, damping=0.1, stages=3)
    ends = stage_counts(32, 8, 3)
    now, increase, gains = problem, 0.0, []
    for stage, end in enumerate(ends):
        index = flat_start(now)
        gradients = sample_gradients(now, count=10, draw=stage)[:, index]
        inverse = recursion_inverse(gradients, 0.1)
        mean = gradients.mean(0)
        start = flat_weights(now)[index] - inverse @ mean
        gone = obs_order(start, inverse, len(index) - end)[0]
        values = torch.zeros(32, dtype=torch.float64)
        values[index] = joint_update(start, inverse, gone)
        left = torch.ones(len(index), dtype=torch.bool)
        left[gone] = False
        gains.append(-float(mean @ inverse @ mean) / 2)
        increase += joint_increase(start, inverse, gone) + gains[-1]
        now = now.at(split_flat(now, values), flat_mask(now, index[left]))
    (pruned,) = method.path(problem, [0.25])
    assert pruned.mask == now.start
    torch.testing.assert_close(flat(pruned), flat_weights(now), rtol=1e-6, atol=1e-8)
    assert pruned.predicted_increase == pytest.approx(increase, rel=1e-6)
    assert [step["predicted"] for step in pruned.stats["newton"]] == pytest.approx(gains)


def test_several_stages_have_defaults_of_their_own_and_tell_what_their_steps_did() -> None:
    """A trained network survives; with the settings of one stage the first step wrecks it, and the stats say so."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(600, 12, generator=generator)
    labels = (inputs @ torch.randn(12, 4, generator=generator)).argmax(1)
    net = nn.Sequential(nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 4))
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 3
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(inputs), labels).backward()
        optimiser.step()
    problem = Problem.of(net, (inputs, labels))

    def right(pruned: Pruned) -> float:
        return float((pruned.module()(inputs).argmax(1) == labels).float().mean())

    method = NetworkObs(samples=30, stages=3)
    good, bad = method.prune(problem, 0.5), replace(method, group=1, damping=1e-5).prune(problem, 0.5)
    assert (good.stats["group"], good.stats["damping"]) == (16, 1e-3)
    assert right(good) > 0.9 > right(bad) + 0.1
    off = [max(abs(step["elsewhere"] - step["predicted"]) for step in one.stats["newton"]) for one in (good, bad)]
    assert off[0] < 0.1 < off[1]
    once = NetworkObs(samples=30).prune(problem, 0.5)
    assert (once.stats["group"], once.stats["damping"]) == (1, 1e-5)
    assert "newton" not in once.stats
    few = Problem.of(net, (inputs[:9], labels[:9]))  # fewer examples than a group
    assert NetworkObs(stages=2).prune(few, 0.5).stats["group"] == 9


def test_predictions_are_those_of_the_model_in_float64() -> None:
    """Losses that are added up along a path in float32 are some tenths of a percent off at its end."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(60, 30), nn.Tanh(), nn.Linear(30, 3))
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 3
    data = torch.randn(200, 60, generator=generator), torch.randint(3, (200,), generator=generator)
    problem = Problem.of(net, data)
    fisher = LowRankFisher(sample_gradients(problem), 1e-6)
    for pruned in NetworkObs(damping=1e-6).path(problem, [0.3, 0.0]):
        expected = fisher.quadratic(flat(pruned) - flat_weights(problem).double())
        assert pruned.predicted_increase == pytest.approx(expected, rel=1e-6)


def test_more_gradients_than_fit_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = tiny()
    monkeypatch.setattr("strongticket.pruning._checks._memory", lambda device: 1000)
    monkeypatch.setattr("strongticket.pruning.network_obs.sample_gradients", None)
    with pytest.raises(ValueError, match=r"more than .* fewer samples, or WoodFisher with blocks"):
        NetworkObs().prune(problem, 0.5)


@pytest.mark.parametrize("options", [{}, {"stages": 4}, {"stages": 2, "each": True}, {"stages": 3, "group": 2}])
def test_masks_of_a_path_are_nested_and_exact_in_their_counts(options: dict[str, Any]) -> None:
    problem = tiny(6)
    densities = [0.3, 1.0, 0.7, 0.0, 0.71, 0.3]
    found = NetworkObs(damping=0.1, **options).path(problem, densities)
    assert [pruned.mask.count for pruned in found] == [10, 32, 22, 0, 23, 10]
    for pruned in found:
        assert bool((flat(pruned)[~kept(pruned)] == 0).all())
        for other in found:
            assert (pruned.mask & other.mask).count == min(pruned.mask.count, other.mask.count)
    assert not found[1].updated
    assert found[1].predicted_increase == 0
    assert all(torch.equal(found[1].weights[name], weight) for name, weight in problem.weights.items())
    assert found[0].mask == found[5].mask
    assert found[0].updated


@pytest.mark.parametrize("seed", range(3))
def test_what_is_pruned_already_stays_away(seed: int) -> None:
    whole = tiny(seed)
    problem = tiny(seed, start=random_start(whole, seed))
    total = problem.start.count
    for pruned in NetworkObs(damping=1e-2, stages=2).path(problem, [1.0, 0.5, 0.1]):
        assert (pruned.mask & problem.start).count == pruned.mask.count <= total
        assert bool((flat(pruned)[~kept(pruned)] == 0).all())
    # curvature is that of what is left: the path equals that of the dense matrices without the rest
    index = flat_start(problem)
    inverse = recursion_inverse(sample_gradients(problem)[:, index], 1e-2)
    gone = obs_order(flat_weights(problem)[index], inverse, total - 8)[0]
    (pruned,) = NetworkObs(damping=1e-2).path(problem, [0.25])
    left = torch.ones(total, dtype=torch.bool)
    left[gone] = False
    assert pruned.mask == flat_mask(problem, index[left])


def test_dead_inputs_cost_what_the_damping_says() -> None:
    problem = tiny(7, 200, names=["0.weight"])
    dead = torch.arange(20).view(4, 5)[:, 2]
    weights = flat_weights(problem)[dead]
    (pruned,) = NetworkObs(damping=1e-9).path(problem, [16 / 20])
    assert not bool(kept(pruned)[dead].any())
    assert pruned.predicted_increase == pytest.approx(float(1e-9 * weights.square().sum() / 2), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_again_is_the_same_bits(dtype: torch.dtype) -> None:
    problem = tiny(8, 40, dtype)
    method = NetworkObs(samples=20, stages=2, damping=1e-2)
    one, two = method.prune(problem, 0.4), method.prune(problem, 0.4)
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in problem.names)
    assert one.weights["0.weight"].dtype == dtype
    other = method.prune(tiny(8, 40, dtype, start=None), 0.4)
    assert other.mask == one.mask


@pytest.mark.parametrize("threads", [2])
def test_threads_do_not_change_the_mask(threads: int) -> None:
    problem = tiny(9, 64)
    one = NetworkObs(damping=1e-2).prune(problem, 0.3)
    torch.set_num_threads(threads)
    try:
        two = NetworkObs(damping=1e-2).prune(problem, 0.3)
    finally:
        torch.set_num_threads(1)
    assert one.mask == two.mask
    torch.testing.assert_close(flat(one), flat(two), rtol=1e-9, atol=1e-11)


def test_layers_of_one_weight() -> None:
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 2))
    data = torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1])
    for pruned in NetworkObs().path(Problem.of(net, data), [0.0, 1 / 3, 2 / 3, 1.0]):
        assert pruned.module()(data[0]).isfinite().all()


@pytest.mark.parametrize("schedule", ["geometric", "exponential"])
@given(total=st.integers(0, 10_000), share=st.floats(0, 1), stages=st.integers(1, 20))
def test_stages_end_where_they_should(schedule: Schedule, total: int, share: float, stages: int) -> None:
    last = round(total * share)
    counts = stage_counts(total, last, stages, schedule)
    assert len(counts) == stages
    assert counts[-1] == last
    assert all(a >= b for a, b in zip([total, *counts], counts, strict=False))


def test_the_exponential_schedule_is_the_published_one() -> None:
    n, b, target, stages = 100_000, 0.1, 0.98, 15
    m = (target - b) * 2 ** (stages - 1) / (2 ** (stages - 1) - 1)
    expected = [round(n * (1 - (b + m * (1 - 2.0**-i)))) for i in range(stages)]
    assert stage_counts(n, 2000, stages, "exponential") == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": 0.0}, "above 0"),
        ({"damping": float("nan")}, "above 0"),
        ({"stages": 0}, "at least 1"),
        ({"samples": 0}, "at least 1"),
        ({"samples": 2.5}, "whole number"),
        ({"stages": True}, "whole number"),
        ({"schedule": "cubic"}, "schedule"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkObs(**options)


def test_bad_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="schedule"):
        stage_counts(10, 5, 2, "nonsense")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="down to 0 to 10"):
        stage_counts(10, 11, 2)


def test_bad_problems_are_refused() -> None:
    problem = tiny()
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        NetworkObs().path(problem, [1.5])
    with pytest.raises(ValueError, match="give it data"):
        NetworkObs().path(Problem.of(problem.module), [0.5])
    with pytest.raises(ValueError, match="NaN"):
        NetworkObs().path(Problem.of(problem.module, problem.data, loss=lambda x, y: x.sum() * torch.nan), [0.5])
