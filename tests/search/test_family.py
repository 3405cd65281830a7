"""The members of the family that came later: annealing, signed top-K, thresholds, biases, allocated coats."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from strongticket.models import MLP, architecture
from strongticket.search import (
    AbstractMethod,
    Bernoulli,
    Biprop,
    CubicRamp,
    EdgePopup,
    Frozen,
    GemMiner,
    IteRand,
    Levels,
    Multicoated,
    ScoreOptimiser,
    Searcher,
    SignedSupermask,
    SignedTopK,
    Threshold,
    find,
    layers_of,
    random_source,
)
from strongticket.search.layers import Layer, initial_scores
from strongticket.search.methods import MethodState
from strongticket.selection import allocate, kept_count
from strongticket.ticketfile import dumps, loads

SIZES = (20, 70, 30, 4)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, SIZES[0], generator=generator)
    return x, (x @ torch.randn(SIZES[0], SIZES[-1], generator=generator)).argmax(1)


def searcher_of(method: AbstractMethod, *, bias: bool = False, **options) -> Searcher:
    source = random_source(MLP(SIZES, bias=bias), 1, "kaiming-normal", biases=bias)
    return Searcher(source, method, seed=2, **options)


def run(searcher: Searcher, steps: int, start: int = 0, total: int = 30, lr: float = 0.3) -> list[float]:
    x, y = data()
    losses = []
    for i in range(start, start + steps):
        loss = nn.functional.cross_entropy(searcher.module(x), y)
        searcher.zero_grad()
        loss.backward()
        searcher.step(lr, progress=(i + 1) / total)
        losses.append(float(loss.detach()))
    return losses


NEW: list[AbstractMethod] = [
    EdgePopup(0.1, "global", annealing=CubicRamp(share=0.5, steps=5)),
    EdgePopup(0.1, "global", annealing=Levels(4, dense_first=True)),
    EdgePopup(0.4, "supsup"),
    Biprop(0.4, "global", annealing=CubicRamp()),
    SignedTopK(0.3),
    SignedTopK(0.3, "global"),
    Threshold(),
    GemMiner(0.2, stages=3, unflag=True),
    Multicoated((0.4, 0.2, 0.1), allocation="global"),
    Multicoated((0.4, 0.2, 0.1), allocation="erdos-renyi"),
]


@pytest.mark.filterwarnings("ignore:.* keeps nothing:UserWarning")
@pytest.mark.parametrize("method", NEW, ids=repr)
def test_each_learns_resumes_and_leaves_a_ticket_that_is_its_module(method: AbstractMethod) -> None:
    whole, first = searcher_of(method), searcher_of(method)
    losses = run(whole, 30)
    assert min(losses[-5:]) < 0.9 * losses[0]
    run(first, 11)
    saved = copy.deepcopy(first.state_dict())
    second = searcher_of(method)
    second.load_state_dict(saved)
    run(second, 19, start=11)
    ticket = whole.ticket()
    assert ticket.matches(whole.module)
    assert loads(dumps(ticket)).matches(whole.module)
    assert second.ticket() == ticket


def test_old_states_still_read_as_the_same_methods() -> None:
    for method, said in (
        (
            EdgePopup(0.3),
            "EdgePopup(density=0.3, allocation='layer', levels=1, score_transform='abs', score_init='kaiming-uniform')",
        ),
        (
            IteRand(0.4),
            "IteRand(density=0.4, allocation='layer', levels=1, period=300, rate=0.1, score_init='relu-uniform')",
        ),
        (GemMiner(), "GemMiner(density=0.01, stages=29, penalty=0.0001, score_init='unit')"),
        (Multicoated((0.5, 0.1)), "Multicoated(densities=(0.5, 0.1), score_init='normal-fan-out')"),
    ):
        assert repr(method) == said
    assert "frozen=Frozen(dropped=0.1, kept=0.0)" in repr(EdgePopup(0.3, frozen=Frozen(0.1)))
    assert "annealing=Levels(count=3, dense_first=True)" in repr(Biprop(annealing=Levels(3, dense_first=True)))
    assert "unflag=True" in repr(GemMiner(unflag=True))


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, math.nan, "3"])
def test_numbers_of_things_are_whole(wrong: Any) -> None:
    for make in (
        lambda: EdgePopup(0.3, levels=wrong),
        lambda: Levels(wrong),
        lambda: CubicRamp(steps=wrong),
        lambda: GemMiner(stages=wrong),
        lambda: IteRand(period=wrong),
    ):
        with pytest.raises(ValueError, match=">= 1, a whole number"):
            make()
    assert EdgePopup(0.3, levels=np.int64(2)).density_at(1.0) == 0.3  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [*NEW, Bernoulli(), SignedSupermask(), SignedTopK()], ids=repr)
def test_laws_of_scores_are_looked_at(method: AbstractMethod) -> None:
    assert replace(method, score_init="unit").score_init == "unit"  # type: ignore[type-var, attr-defined]
    with pytest.raises(ValueError, match="expected score_init in"):
        replace(method, score_init="banana")  # type: ignore[type-var]


def test_a_ticket_can_count_all_coats() -> None:
    searcher = searcher_of(Multicoated((0.5,) * 127))
    assert int(max(mask.max() for mask in searcher.masks().values())) == 127
    assert searcher.ticket().matches(searcher.module)
    with pytest.raises(ValueError, match="counts up to 127 coats, got 128"):
        Multicoated((0.5,) * 128)


def test_a_step_that_is_left_out_counts_as_gone() -> None:
    """Where the very last one is, Gem-Miner has made all prunings and unflagged what survived all the same."""
    x, y = data()
    method = GemMiner(0.3, stages=4, unflag=True)
    searcher = searcher_of(method)
    for i in range(10):
        searcher.zero_grad()
        nn.functional.cross_entropy(searcher.module(x), y).backward()
        before = {name: score.clone() for name, score in searcher.scores.items()}
        if i in (4, 5, 9):
            searcher.skip(progress=(i + 1) / 10)
            assert all(torch.equal(score, before[name]) for name, score in searcher.scores.items())
        else:
            searcher.step(0.1, progress=(i + 1) / 10)
    assert searcher.state.alive is not None
    size = sum(alive.numel() for alive in searcher.state.alive)
    left = size
    for _ in range(4):
        left -= math.ceil((1 - 0.3 ** (1 / 4)) * left)
    assert sum(searcher.kept.values()) == left
    assert searcher.ticket().matches(searcher.module)
    falling = searcher_of(EdgePopup(0.2, levels=4))
    falling.skip(progress=1.0)
    assert falling.ticket().mask.density == pytest.approx(0.2, abs=0.01)


# ---- densities on the way --------------------------------------------------------------------------------------------


def test_the_ramp_is_that_of_the_released_code_epoch_by_epoch() -> None:
    for density in (0.05, 0.3, 0.5):
        method = Biprop(density, "global", annealing=CubicRamp(share=10 / 100, steps=10))
        for epoch in range(100):
            wanted = density + (0.5 - density) * (1 - epoch / 10) ** 3 if epoch < 10 else density
            for batch in range(7):
                # the choice before batch b of epoch e is made when (7 e + b) / 700 of the search is over
                assert method.density_at((7 * epoch + batch) / 700) == pytest.approx(wanted, abs=1e-12)
        assert method.density_at(1.0) == density
    assert EdgePopup(0.8, annealing=CubicRamp()).density_at(0.0) == 0.8


def test_iterations_from_dense_are_those_of_gem_miner() -> None:
    miner, method = GemMiner(0.0059, stages=29), EdgePopup(0.0059, "global", annealing=Levels(29, dense_first=True))
    p = 1 - 0.0059 ** (1 / 29)
    for epoch in range(1, 151):
        pruned = miner.prunings(0.0, epoch / 150)
        assert method.density_at(epoch / 150) == pytest.approx((1 - p) ** pruned)
    assert [Levels(4).density_at(0.1, j / 4) for j in range(4)] == pytest.approx([0.1 ** (j / 4) for j in range(1, 5)])
    with pytest.raises(ValueError, match="choose one"):
        EdgePopup(0.1, levels=2, annealing=CubicRamp())
    for bad in (lambda: Levels(0), lambda: CubicRamp(0.0), lambda: CubicRamp(start=2.0)):
        with pytest.raises(ValueError, match=r"level|share|start"):
            bad()


@pytest.mark.parametrize("annealing", [CubicRamp(0.5, 5), Levels(3, dense_first=True), Levels(3)])
def test_annealed_counts_are_exact_at_every_step(annealing: object) -> None:
    method = EdgePopup(0.1, annealing=annealing)  # type: ignore[arg-type]
    searcher = searcher_of(method)
    for i in range(30):
        run(searcher, 1, start=i)
        density = method.density_at((i + 1) / 30)
        assert searcher.kept == {layer.name: kept_count(density, layer.size) for layer in searcher.layers}
    assert searcher.kept == {layer.name: kept_count(0.1, layer.size) for layer in searcher.layers}


def test_find_returns_the_density_that_was_asked_for() -> None:
    x, y = data()
    method = EdgePopup(0.2, "global", annealing=Levels(3, dense_first=True))
    found = find(MLP(SIZES), x, y, "digits", method=method, epochs=4, batch_size=32, validation=(x, y))
    assert sum(found.ticket.mask.counts.values()) == kept_count(0.2, found.source.architecture.size)


# ---- signed top-K, thresholds, coats, survivors ----------------------------------------------------------------------


@pytest.mark.parametrize("allocation", ["layer", "global"])
def test_signed_top_k_takes_both_ends_of_a_stable_sort(allocation: str) -> None:
    generator = torch.Generator().manual_seed(0)
    layers = [Layer("a", (9, 7)), Layer("b", (5, 5))]
    for trial in range(40):
        scores = [torch.randn(layer.size, generator=generator) for layer in layers]
        if trial % 2:  # many ties
            scores = [(2 * score).round() for score in scores]
        density = trial / 39
        method = SignedTopK(density, allocation)  # type: ignore[arg-type]
        got = method.masks(layers, scores, MethodState())
        groups = [scores] if allocation == "layer" else [[torch.cat(scores)]]
        expected = []
        for score in groups[0]:
            order, kept = torch.sort(score, stable=True).indices, kept_count(density, len(score))
            mask = torch.zeros(len(score))
            mask[order[len(score) - (kept - kept // 2) :]] = 1.0
            mask[order[: kept // 2]] = -1.0
            expected.append(mask)
        assert torch.equal(torch.cat(got), torch.cat(expected))
    w, g = torch.randn(63), torch.randn(63)
    assert torch.equal(SignedTopK().slope(scores[0], w, g, got[0]), w * g)


def test_thresholds_keep_what_reaches_them_and_select_nothing() -> None:
    method, layer = Threshold(), Layer("a", (2, 2))
    mask = method.masks([layer], [torch.tensor([-0.1, -0.0, 0.0, 0.3])], MethodState())[0]
    assert mask.tolist() == [False, True, True, True]
    w, g, s = torch.randn(4), torch.randn(4), torch.randn(4)
    assert torch.equal(method.slope(s, w, g, mask), w * g)
    searcher = searcher_of(method)
    assert 0.4 < searcher.ticket().mask.density < 0.6
    assert searcher.ticket().plain
    with pytest.raises(ValueError, match="finite"):
        Threshold(math.nan)


@pytest.mark.parametrize("allocation", ["layer", "global", "erdos-renyi", "erdos-renyi-kernel"])
def test_coats_are_nested_and_allocated(allocation: str) -> None:
    densities = (0.4, 0.2, 0.1)
    searcher = searcher_of(Multicoated(densities, allocation=allocation))  # type: ignore[arg-type]
    run(searcher, 3)
    shapes = {layer.name: layer.shape for layer in searcher.layers}
    together = torch.cat([mask.view(-1) for mask in searcher.masks().values()])
    ranks = torch.cat([score.abs().view(-1) for score in searcher.scores.values()])
    for c, density in enumerate(densities, 1):
        if allocation == "global":
            order = torch.sort(ranks, stable=True).indices
            worn = torch.zeros(len(ranks), dtype=torch.bool)
            worn[order[len(ranks) - kept_count(density, len(ranks)) :]] = True
            assert torch.equal(together >= c, worn)
        else:
            counts = allocate(shapes, density, allocation)  # type: ignore[arg-type]
            assert {name: int((mask >= c).sum()) for name, mask in searcher.masks().items()} == counts
    with pytest.raises(ValueError, match="expected an allocation"):
        Multicoated(allocation="even")  # type: ignore[arg-type]


def test_unflagged_survivors_are_all_kept_at_the_end_and_only_there() -> None:
    searcher, other = (searcher_of(GemMiner(0.8, stages=3, unflag=unflag)) for unflag in (True, False))
    for i in range(30):
        for each in (searcher, other):
            run(each, 1, start=i)
        same = all(torch.equal(a, b) for a, b in zip(searcher.masks().values(), other.masks().values(), strict=True))
        assert same == (i < 29)
    flat = torch.cat([mask.view(-1) for mask in searcher.masks().values()])
    assert torch.equal(flat, torch.cat(searcher.state.alive))
    assert int(flat.sum()) > sum(other.kept.values())


def test_supsup_allocation_is_the_rule_of_its_code() -> None:
    shapes = {"wide": (300, 784), "conv": (64, 32, 3, 3), "last": (10, 300)}
    counts = allocate(shapes, 0.5, "supsup")
    for name, shape in shapes.items():
        share = min(0.5, 32 * (shape[0] + shape[1]) / math.prod(shape))
        assert counts[name] == kept_count(share, math.prod(shape))
    assert counts["wide"] < 0.15 * 300 * 784
    assert counts["last"] == 1500


def test_draws_of_bernoulli_masks_are_samples_of_their_own() -> None:
    searcher = searcher_of(Bernoulli())
    run(searcher, 10, lr=20.0)
    tickets = [searcher.ticket(draw=number) for number in range(3)]
    assert len({ticket.digest for ticket in (*tickets, searcher.ticket())}) == 4
    assert tickets[1] == searcher.ticket(draw=1)
    assert searcher.ticket().matches(searcher.module)  # which they do not disturb
    p = torch.cat([torch.sigmoid(score).view(-1) for score in searcher.scores.values()]).mean()
    for ticket in tickets:
        assert abs(ticket.mask.density - float(p)) < 0.05
    for wrong in ({"draw": -1}, {"draw": 0, "threshold": 0.5}):
        with pytest.raises(ValueError, match="draw"):
            searcher.ticket(**wrong)
    with pytest.raises(ValueError, match="not drawn"):
        searcher_of(EdgePopup(0.3)).ticket(draw=0)


# ---- biases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allocation", ["layer", "global", "erdos-renyi"])
@pytest.mark.parametrize("kind", [EdgePopup, Biprop, IteRand, SignedTopK])
def test_biases_share_one_count_with_their_layers_weights(kind: type, allocation: str) -> None:
    searcher = searcher_of(kind(0.3, allocation, biases=True), bias=True)
    assert [layer.name for layer in searcher.layers] == list(searcher.source.shapes)
    run(searcher, 6)
    masks, kept = searcher.masks(), searcher.kept
    pairs = [(f"layers.{i}.weight", f"layers.{i}.bias") for i in range(3)]
    total = kept_count(0.3, searcher.source.architecture.size)
    if allocation != "layer":
        assert sum(kept.values()) == total
    else:
        for weight, bias in pairs:
            assert kept[weight] + kept[bias] == kept_count(0.3, masks[weight].numel() + masks[bias].numel())
    if kind is EdgePopup and allocation == "layer":  # a stable sort of both, weights first
        for weight, bias in pairs:
            ranks = torch.cat([searcher.scores[name].abs().view(-1) for name in (weight, bias)])
            order = torch.sort(ranks, stable=True).indices
            expected = torch.zeros(len(ranks), dtype=torch.bool)
            expected[order[len(ranks) - kept[weight] - kept[bias] :]] = True
            assert torch.equal(torch.cat([masks[weight].view(-1), masks[bias]]), expected)
    for layer in searcher.layers:  # a bias's mask multiplies the bias
        parameter = searcher.module.get_parameter(layer.name)
        assert not parameter[masks[layer.name] == 0].any()
        if kind in (EdgePopup, IteRand):
            own = searcher.weights[searcher.layers.index(layer)].view(layer.shape)
            assert torch.equal(parameter, own * masks[layer.name])
    ticket = searcher.ticket()
    assert ticket.matches(searcher.module)
    assert loads(dumps(ticket)).matches(searcher.module)


def test_biases_learn_and_their_slope_is_the_formula() -> None:
    searcher = searcher_of(EdgePopup(0.3, biases=True), bias=True, optimiser=ScoreOptimiser(momentum=0.0))
    x, y = data()
    searcher.zero_grad()
    nn.functional.cross_entropy(searcher.module(x), y).backward()
    before = {name: score.clone() for name, score in searcher.scores.items()}
    gradients = {layer.name: searcher.module.get_parameter(layer.name).grad.clone() for layer in searcher.layers}
    searcher.step(0.5)
    for layer, weight in zip(searcher.layers, searcher.weights, strict=True):
        slope = before[layer.name].sign() * weight.view(layer.shape) * gradients[layer.name]
        torch.testing.assert_close(searcher.scores[layer.name], before[layer.name] - 0.5 * slope, rtol=0, atol=1e-6)
    assert not torch.equal(before["layers.0.bias"], searcher.scores["layers.0.bias"])


def test_scores_of_biases_have_the_fans_of_their_layer() -> None:
    searcher = searcher_of(EdgePopup(0.3, biases=True), bias=True)
    bounds = {f"layers.{i}.{kind}": math.sqrt((6 if kind == "bias" else 1) / SIZES[i])
              for i in range(3) for kind in ("weight", "bias")}  # fmt: skip
    for name, score in searcher.scores.items():
        assert 0.4 * bounds[name] < float(score.abs().max()) <= bounds[name]
    layer = searcher.layers[0]
    assert torch.equal(searcher.scores[layer.name].view(-1), initial_scores(layer, "kaiming-uniform", 2))


def test_biases_are_searched_when_they_are_named() -> None:
    names = ("layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.2.bias")
    searcher = searcher_of(EdgePopup(0.25), bias=True, names=names, keep=("layers.2.weight",))
    run(searcher, 3)
    kept = searcher.kept
    assert kept["layers.0.weight"] + kept["layers.0.bias"] == kept_count(0.25, 20 * 70 + 70)
    assert kept["layers.1.weight"] == kept_count(0.25, 70 * 30)
    assert kept["layers.2.bias"] == 1  # alone, because its weights are not searched
    assert searcher.ticket().mask.counts["layers.1.bias"] == 0
    frozen = searcher_of(EdgePopup(0.3, biases=True, frozen=Frozen(0.4, 0.1)), bias=True)
    run(frozen, 3)
    assert frozen.ticket().matches(frozen.module)
    assert frozen.kept["layers.0.weight"] + frozen.kept["layers.0.bias"] == kept_count(0.3, 20 * 70 + 70)
    plain = searcher_of(GemMiner(0.3, stages=2), bias=True, names=names)
    run(plain, 30)
    assert plain.ticket().matches(plain.module)
    with pytest.raises(ValueError, match="different random parameters"):
        layers_of(MLP(SIZES), ("layers.0.bias",))


def test_biases_are_drawn_at_the_scale_of_their_layer() -> None:
    net = MLP((400, 300, 10), bias=True)
    source = random_source(net, 0, "kaiming-normal", density=0.5, biases=True, gain=1.5)
    for i, fan in ((0, 400), (1, 300)):
        wanted = 1.5 * math.sqrt(2 / fan / 0.5)
        assert source.init.of(f"layers.{i}.bias")[1] == pytest.approx(wanted)
        assert source.init.of(f"layers.{i}.weight")[1] == pytest.approx(wanted)
    assert random_source(net, 0).init.of("layers.0.bias")[1] == 1.0
    for gain in (0.0, math.inf):
        with pytest.raises(ValueError, match="gain"):
            random_source(net, 0, gain=gain)


# ---- binary activations ----------------------------------------------------------------------------------------------


def test_networks_of_binary_activations_and_weights_are_searched() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(32, 3, 8, 8, generator=generator), torch.arange(32) % 3
    net = architecture("conv2x0.25-3+3x8x8+sign")
    found = find(net, x, y, "diffenderfer2021-conv2-binary", epochs=3, batch_size=16, density=0.5)
    assert found.ticket.matches(found.module)
    assert math.isfinite(found.history[-1].loss)
    assert not all(epoch.details["flips"] == 0 for epoch in found.history)
