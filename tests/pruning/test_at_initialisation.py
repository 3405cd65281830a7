"""Scores before training against finite differences, closed forms and literal loops; their ablations."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from strongticket import Init, Mask, Source, random
from strongticket.models import architecture
from strongticket.pruning import (
    SNIP,
    GraSP,
    GraSPAbs,
    Iterative,
    Magnitude,
    Problem,
    Rounds,
    ScorePruner,
    SynFlow,
    Taylor,
    inverted,
    prune,
    redrawn,
    score,
    shuffled,
    shuffled_mask,
)
from strongticket.pruning._scoring import scoring_problem
from strongticket.pruning.curvature.products import gather, gradient, hessian_product
from strongticket.pruning.gradient import mean_loss
from strongticket.pruning.grasp import hessian_gradient
from strongticket.pruning.synflow import SynapticSaliency, synaptic_flow


def net(*sizes: int, seed: int = 0, activation: type[nn.Module] = nn.Tanh, bias: bool = True) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers += [activation()] if i else []
        layers.append(nn.Linear(inputs, outputs, bias=bias))
    made = nn.Sequential(*layers).double()
    for parameter in made.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.7)
    return made


def data(n: int = 40, inputs: int = 5, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(n, inputs, generator=generator, dtype=torch.float64), torch.arange(n) % classes


def differences(function: Callable[[dict[str, Tensor]], float], problem: Problem, step: float) -> dict[str, Tensor]:
    """Central differences of a function of the weights."""
    found = {}
    for name, weight in problem.weights.items():
        slopes = torch.zeros_like(weight).reshape(-1)
        for i in range(weight.numel()):
            ends = []
            for sign in (1.0, -1.0):
                moved = weight.clone().reshape(-1)
                moved[i] += sign * step
                ends.append(function({name: moved.view(weight.shape)}))
            slopes[i] = (ends[0] - ends[1]) / (2 * step)
        found[name] = slopes.view(weight.shape)
    return found


def close(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float) -> None:
    assert list(a) == list(b)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=tolerance, atol=tolerance * float(b[name].abs().max()))


def test_snip_is_the_slope_of_the_loss_in_gates_at_one() -> None:
    problem = Problem.of(net(5, 4, 3), data())
    gates = {}
    for name, weight in problem.weights.items():
        slopes = torch.zeros_like(weight).reshape(-1)
        for i in range(weight.numel()):
            ends = []
            for gate in (1 + 1e-5, 1 - 1e-5):
                moved = weight.clone().reshape(-1)
                moved[i] *= gate
                ends.append(mean_loss(problem, {name: moved.view(weight.shape)}))
            slopes[i] = (ends[0] - ends[1]) / 2e-5
        gates[name] = slopes.view(weight.shape).abs()
    close(SNIP().score(problem), gates, 1e-7)


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_snip_adds_up_before_it_takes_absolute_values(batch: int) -> None:
    problem = Problem.of(net(5, 4, 3), data())
    close(SNIP(batch=batch).score(problem), Taylor().score(problem), 1e-12)
    per_batch = {name: torch.zeros_like(weight) for name, weight in problem.weights.items()}
    for x, y in problem.batches(7):
        one = Problem.of(problem.module, (x, y))
        per_batch = {name: value + SNIP().score(one)[name] * len(y) / 40 for name, value in per_batch.items()}
    wrong = [float((per_batch[name] - SNIP().score(problem)[name]).abs().max()) for name in per_batch]
    assert max(wrong) > 1e-3, "absolute values per batch are another score"


def test_the_scoring_set_has_so_many_of_each_class_and_does_not_depend_on_the_order_of_calls() -> None:
    problem = Problem.of(net(5, 4, 3), data(), seed=3)
    few = scoring_problem(problem, 4)
    assert few.data[1].bincount().tolist() == [4, 4, 4]
    assert torch.equal(few.data[0], scoring_problem(problem, 4).data[0])
    assert not torch.equal(few.data[0], scoring_problem(replace(problem, seed=4), 4).data[0])
    close(SNIP(per_class=4).score(problem), SNIP().score(few), 1e-12)
    close(GraSP(per_class=4).score(problem), GraSP().score(few), 1e-12)
    with pytest.raises(ValueError, match="has 13 examples"):
        scoring_problem(problem, 14)
    with pytest.raises(ValueError, match="give it data"):
        SNIP(per_class=2).score(Problem.of(net(5, 4, 3)))


@pytest.mark.parametrize("batch", [6, 1000])
def test_the_hessian_times_the_gradient_by_differences_and_by_the_other_code(batch: int) -> None:
    problem = Problem.of(net(5, 4, 3), data())
    product = hessian_gradient(problem, batch=batch)

    def half_square(weights: dict[str, Tensor]) -> float:
        slope = gradient(problem.at(weights))
        return 0.5 * float(slope @ slope)

    close(product, differences(half_square, problem, 1e-5), 1e-7)
    torch.testing.assert_close(gather(problem, product), hessian_product(problem, gradient(problem)))


def test_grasp_of_a_linear_least_squares_problem_in_closed_form() -> None:
    x, _ = data(20, 4)
    y = torch.randn(20, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    problem = Problem.of(net(4, 1, bias=False), (x, y), loss="squared-error")
    w = problem.weights["0.weight"][0]
    # with outputs divided by T the Hessian is X'X / (n T^2) and the gradient X'(Xw / T - y) / (n T)
    for t in (1.0, 200.0):
        hessian = x.T @ x / 20 / t**2
        slope = x.T @ (x @ w / t - y[:, 0]) / 20 / t
        expected = w * (hessian @ slope)
        torch.testing.assert_close(GraSP(temperature=t).score(problem)["0.weight"][0], expected)
        torch.testing.assert_close(GraSPAbs(temperature=t).score(problem)["0.weight"][0], expected.abs())


def test_grasp_keeps_what_the_gradient_norm_needs() -> None:
    """Removing the weight of the greatest score lowers |g|^2; removing that of the least raises it."""
    problem = Problem.of(net(5, 6, 3, seed=2), data())
    tempered = replace(problem, loss=lambda out, y: nn.functional.cross_entropy(out / 200.0, y))
    scores = GraSP().score(problem)["0.weight"]
    # for so small a change as 1/1000 of a weight first order is enough
    before = float(gradient(tempered).square().sum())
    changes = {}
    for what, place in (("most", int(scores.argmax())), ("least", int(scores.argmin()))):
        moved = problem.weights["0.weight"].clone()
        moved.view(-1)[place] *= 0.999
        changes[what] = float(gradient(tempered.at({"0.weight": moved})).square().sum()) - before
    assert changes["most"] < 0 < changes["least"]


def test_grasp_does_not_care_for_normalisers_but_for_signs() -> None:
    inputs, labels = data()
    problem = Problem.of(net(5, 6, 3), (inputs, labels))
    signed, absolute = (prune(net(5, 6, 3), (inputs, labels), key, 0.3) for key in ("grasp", "grasp-abs"))
    assert signed.mask != absolute.mask
    assert signed.mask.count == absolute.mask.count == round(0.3 * 48)
    total = sum(float(value.abs().sum()) for value in GraSP().score(problem).values())
    scaled = {name: value / total for name, value in GraSP().score(problem).items()}
    flat = torch.cat([value.reshape(-1) for value in GraSP().score(problem).values()])
    assert torch.equal(flat.argsort(), torch.cat([value.reshape(-1) for value in scaled.values()]).argsort())


def test_pruned_weights_get_no_score_and_do_not_come_back() -> None:
    inputs, labels = data()
    half = prune(net(5, 6, 3), (inputs, labels), "magnitude", 0.5).mask
    for key in ("snip", "grasp", "grasp-abs", "synflow"):
        after = prune(net(5, 6, 3), (inputs, labels), key, 0.3, start=half).mask
        assert (after & half) == after
        assert after.count == round(0.3 * 48)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"per_class": 0}, {"temperature": 0.0}, {"temperature": float("inf")}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        GraSP(**wrong)  # type: ignore[arg-type]


# SynFlow


def test_the_flow_is_the_sum_over_paths_and_the_scores_are_parts_of_it() -> None:
    problem = Problem.of(net(4, 6, 5, 3, activation=nn.ReLU))
    flow, scores = synaptic_flow(problem)
    a, b, c = (problem.weights[name].abs() for name in problem.names)
    torch.testing.assert_close(torch.tensor(flow), (c @ b @ a).sum().float(), rtol=1e-6, atol=0)
    literal = {
        "0.weight": a * torch.outer((c @ b).sum(0), torch.ones(4).double()),
        "2.weight": b * torch.outer(c.sum(0), a.sum(1)),
        "4.weight": c * torch.outer(torch.ones(3).double(), (b @ a).sum(1)),
    }
    close(scores, literal, 1e-12)
    for name in scores:
        assert float(scores[name].sum()) == pytest.approx(flow, rel=1e-12)
    inflow, outflow = scores["0.weight"].sum(1), scores["2.weight"].sum(0)
    torch.testing.assert_close(inflow, outflow, rtol=1e-12, atol=0)


def test_biases_and_activations_do_not_enter_the_flow() -> None:
    plain = Problem.of(net(4, 6, 3, activation=nn.ReLU, bias=False))
    with_biases = net(4, 6, 3, activation=nn.Tanh)
    for name, weight in plain.weights.items():
        with_biases.get_parameter(name).data.copy_(weight)
    assert synaptic_flow(plain)[0] == synaptic_flow(Problem.of(with_biases))[0]


def test_the_score_by_differences_with_normalisation_and_convolutions() -> None:
    layers: list[nn.Module] = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)]
    module = nn.Sequential(*layers).double().eval()
    module[1].running_mean.copy_(torch.tensor([0.3, -0.2, 5.0]))
    module[1].running_var.copy_(torch.tensor([0.5, 2.0, 1.0]))
    module[1].weight.data.copy_(torch.tensor([-1.0, 0.5, 2.0]))
    problem = Problem.of(module, (torch.zeros(1, 1, 4, 4, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)))

    def flow(weights: dict[str, Tensor]) -> float:
        return synaptic_flow(problem.at(weights))[0]

    slopes = differences(flow, problem, 1e-4)
    expected = {name: (problem.weights[name] * slopes[name]).abs() for name in problem.names}
    close(SynapticSaliency().score(problem), expected, 1e-8)


def test_rounds_are_exponential_and_equal_a_literal_loop() -> None:
    problem = Problem.of(net(8, 12, 6, 3, activation=nn.ReLU))
    found = SynFlow(rounds=20).prune(problem, 0.1)
    assert found.mask == Rounds(ScorePruner(SynapticSaliency()), Iterative(20)).prune(problem, 0.1).mask
    start = {name: weight.clone() for name, weight in problem.weights.items()}
    kept = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in start.items()}
    for k in range(1, 21):
        now = problem.at({name: start[name] * kept[name] for name in start}, Mask(kept))
        scores = synaptic_flow(now)[1]
        ranked = [
            (float(scores[name].reshape(-1)[i]), j, name, i)
            for j, name in enumerate(start)
            for i in range(start[name].numel())
            if kept[name].reshape(-1)[i]
        ]
        order = {name: j for j, name in enumerate(start)}
        ranked.sort(key=lambda entry: (entry[0], order[entry[2]], entry[3]))
        keep = ranked[len(ranked) - int(0.1 ** (k / 20) * problem.size + 0.5) :]
        kept = {name: torch.zeros_like(value) for name, value in kept.items()}
        for _, _, name, i in keep:
            kept[name].view(-1)[i] = True
    assert found.mask == Mask(kept)


@pytest.mark.parametrize("model", ["mlp-784-100-100-100-10", "lenet-300-100", "conv2x0.125+1x14x14", "conv6x0.125"])
def test_no_layer_is_empty_at_a_hundredth(model: str) -> None:
    network = architecture(model)
    module = network.module({**Source(network, 1, Init("normal-tab1")).weights(), **network.initial_state()})
    shape = (784,) if "-" in model else (1, 14, 14) if "14" in model else (3, 32, 32)
    pruned = SynFlow(input_shape=shape).prune(Problem.of(module), 0.01)
    assert pruned.mask.count == round(0.01 * network.size)
    assert min(pruned.mask.counts.values()) > 0
    assert pruned.stats["empty"] == []
    flow = synaptic_flow(Problem.of(pruned.module(), start=pruned.mask), shape)[0]
    assert flow > 0


def test_one_round_does_empty_layers_where_a_hundred_do_not() -> None:
    network = architecture("mlp-32-512-512-10")
    problem = Problem.of(network.module(Source(network, 0, Init("normal-tab1")).weights()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        once = SynFlow(rounds=1).prune(problem, 0.002)
    assert min(once.mask.counts.values()) < min(SynFlow().prune(problem, 0.002).mask.counts.values())


def test_an_empty_shortcut_is_said() -> None:
    network = architecture("resnet8x0.5")
    module = network.module({**Source(network, 0, Init("normal-tab1")).weights(), **network.initial_state()})
    with pytest.warns(RuntimeWarning, match="downsample"):
        pruned = SynFlow(input_shape=(3, 8, 8)).prune(Problem.of(module), 0.01)
    assert all("downsample" in name for name in pruned.stats["empty"])


def test_deep_networks_neither_overflow_nor_vanish() -> None:
    sizes = (200,) * 20
    network = architecture("mlp-" + "-".join(map(str, sizes)))
    module = network.module({name: 10 * value for name, value in Source(network, 0).weights().items()})
    flow, scores = synaptic_flow(Problem.of(module))
    assert flow > 1e39  # float32 ends at 3e38
    totals = [float(value.sum()) for value in scores.values()]
    assert totals == pytest.approx([flow] * 19, rel=1e-9)


def test_networks_without_a_flow_are_refused() -> None:
    with pytest.raises(ValueError, match="double with its inputs"):
        SynFlow().prune(Problem.of(nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))), 0.5)
    with pytest.raises(ValueError, match="shape of an input"):
        SynFlow().prune(Problem.of(nn.Sequential(nn.Conv2d(1, 2, 3))), 0.5)


# ablations


@given(st.integers(0, 40), st.integers(0, 24), st.integers(0, 2**64 - 1), st.sampled_from(["layer", "network"]))
@settings(max_examples=40)
def test_shuffles_keep_the_counts(first: int, second: int, seed: int, within: str) -> None:
    mask = Mask({"a": (torch.arange(40) < first).view(8, 5), "b": torch.arange(24) < second})
    moved = shuffled_mask(mask, seed, within=within)  # type: ignore[arg-type]
    assert moved.count == mask.count
    assert moved.shapes == mask.shapes
    if within == "layer":
        assert moved.counts == mask.counts
    assert moved == shuffled_mask(mask, seed, within=within)  # type: ignore[arg-type]


def test_a_global_shuffle_levels_densities_out_and_stays_inside() -> None:
    mask = Mask({"a": torch.arange(4000) < 3900, "b": torch.arange(4000) < 100})
    moved = shuffled_mask(mask, 1, within="network")
    assert abs(moved.counts["a"] - 2000) < 200  # hypergeometric: deviation 22
    inside = Mask({"a": torch.arange(4000) % 2 == 0, "b": torch.arange(4000) % 2 == 0})
    moved = shuffled_mask(mask, 1, within="network", inside=inside)
    assert (moved & inside) == moved
    with pytest.raises(ValueError, match="3900 entries of a are to be kept, and 2000 places"):
        shuffled_mask(mask, 1, inside=inside)


def test_the_three_ablations_change_one_thing_each() -> None:
    inputs, labels = data()
    module = net(5, 30, 3)
    pruned = prune(module, (inputs, labels), "snip", 0.2)
    moved = shuffled(pruned, 5)
    assert moved.mask.counts == pruned.mask.counts
    assert moved.mask != pruned.mask
    for name in moved.mask:
        assert torch.equal(moved.module().get_parameter(name), module.get_parameter(name) * moved.mask[name])
    fresh = {name: torch.full_like(value, 2.0) for name, value in pruned.weights.items()}
    other = redrawn(pruned, fresh)
    assert other.mask == pruned.mask
    assert torch.equal(other.module().get_parameter("0.weight"), 2.0 * pruned.mask["0.weight"].double())
    assert torch.equal(other.module().get_parameter("0.bias"), module.get_parameter("0.bias"))
    worst = prune(module, (inputs, labels), inverted(SNIP()), 0.8)
    assert (worst.mask & pruned.mask).count == 0
    assert (worst.mask | pruned.mask).count == worst.mask.size
    with pytest.raises(ValueError, match="fresh values"):
        redrawn(pruned, {})


def test_inverted_scores_rank_backwards() -> None:
    module = net(5, 4, 3)
    plain, back = score(module, None, Magnitude()), score(module, None, inverted(Magnitude()))
    assert all(torch.equal(plain[name], -back[name]) for name in plain)
    assert random.PURPOSES  # the shuffle draws from a stream with a purpose
