"""The update of whole networks in flat buffers, by torch operations: exact at every step, and blind to its data."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strongticket.models import MLP
from strongticket.search import (
    AbstractMethod,
    AbstractTopK,
    Biprop,
    EdgePopup,
    GemMiner,
    IteRand,
    Multicoated,
    ScoreOptimiser,
    Searcher,
    SignedSupermask,
    random_source,
)
from strongticket.search.graphed import GraphedStep
from strongticket.search.layers import Layer
from strongticket.search.methods import CubicRamp, Frozen, MethodState, Threshold
from strongticket.search.redraws import redrawn
from strongticket.search.updates import choice
from strongticket.search.updates.choice import update_of
from strongticket.search.updates.flat import keep_largest
from strongticket.search.updates.fused import FusedTopK
from strongticket.search.updates.fused_rest import FusedCoats, FusedThresholds
from strongticket.search.updates.plain import PlainUpdate
from strongticket.search.updates.segmented import SegmentedTopK

SIZES = (300, 77, 10, 5)


def stable_sort_mask(ranks: torch.Tensor, count: int) -> torch.Tensor:
    mask = torch.zeros(len(ranks), dtype=torch.bool)
    mask[torch.sort(ranks, stable=True).indices[len(ranks) - count :]] = True
    return mask


def expected(update: SegmentedTopK, absolute: bool, counts: list[int]) -> torch.Tensor:
    ranks = update.flat.scores.abs() if absolute else update.flat.scores
    parts = zip(torch.split(ranks, list(update.flat.sizes)), counts, strict=True)
    return update.flat.weights * torch.cat([stable_sort_mask(part, count) for part, count in parts])


def inputs(sizes: tuple[int, ...]) -> tuple[list[Layer], list[torch.Tensor], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    layers = [Layer(f"l{i}", (size, 1)) for i, size in enumerate(sizes)]
    scores = [torch.randn(size, generator=generator) * 0.05 for size in sizes]
    return layers, scores, [torch.randn(size, generator=generator) for size in sizes]


def segmented(method: AbstractTopK, sizes: tuple[int, ...] = SIZES, **how: Any) -> SegmentedTopK:
    options: dict[str, Any] = {"momentum": 0.9, "nesterov": False, "weight_decay": 1e-3, **how}
    return SegmentedTopK(*inputs(sizes), method, MethodState(), engine="torch", **options)


def gradients(sizes: tuple[int, ...], step: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(size, generator=generator) * 0.01 for size in sizes]


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("allocation", ["layer", "global", "erdos-renyi"])
def test_lenet_masks_equal_a_stable_sort_at_every_step(absolute: bool, allocation: Any) -> None:
    steps = 200 if absolute and allocation == "layer" else 12
    sizes = (235_200, 30_000, 1_000)
    method = EdgePopup(0.3, allocation, score_transform="abs" if absolute else "identity")
    update = segmented(method, sizes)
    counts = method.counts(update._layers, 0.0)
    update.choose()
    noise = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(0)) * 0.01
    for step in range(steps):
        flat = noise.roll(977 * step)
        update.step(list(torch.split(flat, sizes)), 0.1)
        assert torch.equal(update.flat.kept, expected(update, absolute, counts)), step


@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=12), min_size=1, max_size=4),
    st.booleans(),
    st.randoms(use_true_random=False),
)
@settings(max_examples=150)
def test_keep_largest_settles_ties_by_index(rows: list[list[int]], absolute: bool, dice: Any) -> None:
    flat = torch.tensor([float(value) * dice.choice([1.0, -0.0, 1e-42]) for row in rows for value in row])
    sizes = torch.tensor([len(row) for row in rows])
    counts = torch.tensor([dice.randint(0, len(row)) for row in rows])
    segment = torch.repeat_interleave(torch.arange(len(rows)), sizes)
    weights = torch.arange(1.0, len(flat) + 1)
    kept = keep_largest(flat, weights, segment, sizes.cumsum(0) - counts, absolute)
    ranks = flat.abs() if absolute else flat
    parts = zip(torch.split(ranks, sizes.tolist()), counts.tolist(), strict=True)
    assert torch.equal(kept, weights * torch.cat([stable_sort_mask(part, count) for part, count in parts]))


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("method", [EdgePopup(0.3), IteRand(0.4), EdgePopup(0.2, "global"), Biprop(0.3)], ids=str)
def test_equals_the_plain_update(method: AbstractTopK, nesterov: bool) -> None:
    # powers of two: products are exact, so that fused multiply-adds of the plain update round as separate ones do
    for lr, momentum, decay, tolerance in ((0.125, 0.5, 2**-10, 0.0), (0.1, 0.9, 1e-3, 1e-6)):
        update = segmented(method, momentum=momentum, nesterov=nesterov, weight_decay=decay)
        layers, scores, weights = inputs(SIZES)
        how = torch.optim.SGD(scores, lr=0.1, momentum=momentum, nesterov=nesterov, weight_decay=decay)
        plain = PlainUpdate(layers, scores, weights, method, MethodState(), how)
        for one in (update, plain):
            one.choose()
        for step in range(40):
            for one in (update, plain):
                one.step(gradients(SIZES, step), lr)
            for mine, theirs in zip(update.scores, plain.scores, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance)
            if not tolerance:
                for mine, theirs in zip(update.effective, plain.effective, strict=True):
                    assert torch.equal(mine + 0.0, theirs + 0.0)


def test_counts_follow_the_density_on_its_way() -> None:
    for method in (EdgePopup(0.1, levels=4), EdgePopup(0.2, annealing=CubicRamp())):
        update = segmented(method)
        update.choose()
        for step in range(12):
            update._state.progress = (step + 1) / 12
            update.step(gradients(SIZES, step), 0.1)
            counts = method.counts(update._layers, update._state.progress)
            assert torch.equal(update.flat.kept, expected(update, True, counts))


def test_a_resumed_update_goes_on_bit_for_bit() -> None:
    whole, first, second = (segmented(EdgePopup(0.3)) for _ in range(3))
    for update in (whole, first):
        update.choose()
    for step in range(20):
        whole.step(gradients(SIZES, step), 0.1)
        if step < 9:
            first.step(gradients(SIZES, step), 0.1)
    second.load_state_dict(first.state_dict())
    second.choose()
    for step in range(9, 20):
        second.step(gradients(SIZES, step), 0.1)
    for mine, theirs in ((whole.flat.scores, second.flat.scores), (whole.flat.kept, second.flat.kept)):
        assert torch.equal(mine, theirs)


def test_nan_waits_for_the_check() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        update = segmented(EdgePopup(0.3))
        update.choose()
        update.check()
        parts = gradients(SIZES, 0)
        parts[1][3] = bad
        update.step(parts, 0.1)
        for size, kept in zip(SIZES, update.effective, strict=True):
            assert int((kept != 0).sum()) == round(0.3 * size)
        with pytest.raises(RuntimeError, match="NaN or infinite"):
            update.check()


@pytest.mark.parametrize("method", [EdgePopup(0.3), EdgePopup(0.3, "global", score_transform="identity"), Biprop(0.3)])
def test_a_step_never_looks_at_its_data(method: AbstractTopK) -> None:
    layers, scores, weights = inputs(SIZES)  # tensors without data: reading a value, or counting, raises
    far = [[part.to("meta") for part in parts] for parts in (scores, weights)]
    update = SegmentedTopK(
        layers, *far, method, MethodState(), momentum=0.9, nesterov=True, weight_decay=0.0, engine="torch"
    )
    update.choose()
    update.step([part.to("meta") for part in gradients(SIZES, 0)], 0.1)
    assert all(part.is_meta for part in update.effective)


def test_memory_stays_where_it_is() -> None:
    for method in (EdgePopup(0.3), Biprop(0.3)):  # a captured graph writes to the same places for ever
        update = segmented(method)
        update.choose()
        held = [*update.scores, *update.effective, *update.weights]
        places = [part.data_ptr() for part in held]
        update.step(gradients(SIZES, 0), 0.1)
        update.choose()
        assert [part.data_ptr() for part in [*update.scores, *update.effective, *update.weights]] == places


def test_the_triton_engine_says_what_it_needs() -> None:
    pytest.importorskip("triton")
    with pytest.raises(RuntimeError, match="TRITON_INTERPRET=1"):
        SegmentedTopK(
            *inputs(SIZES), EdgePopup(0.3), MethodState(), momentum=0.9, nesterov=False, weight_decay=0.0,
            engine="triton",
        )  # fmt: skip


# which update -----------------------------------------------------------------------------------------------------


def test_the_fastest_update_is_chosen() -> None:
    pytest.importorskip("numba")
    layers, scores, weights = inputs(SIZES)
    chosen = [
        (EdgePopup(0.3), FusedTopK),
        (IteRand(0.3), FusedTopK),
        (Biprop(0.3), FusedTopK),
        (Multicoated((0.4, 0.2)), FusedCoats),
        (GemMiner(0.3), FusedThresholds),
        (SignedSupermask(), FusedThresholds),
        (Threshold(), FusedThresholds),
    ]
    for method, kind in chosen:
        for fused, how in ((True, ScoreOptimiser()), (False, ScoreOptimiser()), (True, ScoreOptimiser("adam"))):
            update = update_of(layers, scores, weights, method, MethodState(), how, fused)
            assert type(update) is (kind if fused and how.name == "sgd" else PlainUpdate)
    zero = [weight * (weight > 0) for weight in weights]  # what is kept could not be told from what is not
    update = update_of(layers, scores, zero, Biprop(0.3), MethodState(), ScoreOptimiser(), True)
    assert type(update) is PlainUpdate


REST: list[AbstractMethod] = [
    Biprop(0.3),
    Biprop(0.2, "global"),
    Multicoated((0.4, 0.2, 0.1)),
    Multicoated((0.9, 0.5, 0.2, 0.1), allocation="global"),
    Multicoated((1.0, 0.5, 0.0)),
    GemMiner(0.3, stages=2),
    GemMiner(0.3, stages=1, unflag=True),
    SignedSupermask(0.3),
    Threshold(0.1),
]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("method", REST, ids=str)
def test_compiled_passes_equal_plain_torch(method: AbstractMethod, nesterov: bool) -> None:
    pytest.importorskip("numba")
    how = ScoreOptimiser(momentum=0.9, weight_decay=1e-3, nesterov=nesterov)
    source = random_source(MLP((20, 70, 30, 4)), 1, "kaiming-normal")
    fused, plain = (Searcher(source, method, seed=2, optimiser=how, fused=fused) for fused in (True, False))
    assert not isinstance(fused._update, PlainUpdate)
    generator = torch.Generator().manual_seed(0)
    for i in range(30):
        for a, b in zip(fused.module.parameters(), plain.module.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        if i == 12:  # ties everywhere, and zeros of both signs
            for one in (fused, plain):
                for score in one.scores.values():
                    score.copy_((score * 20).round() / 20)
                    score.view(-1)[::3] *= -0.0
                one.refresh()
        for one in (fused, plain):
            one.step(0.05, progress=(i + 1) / 30)
        for name, score in plain.scores.items():
            torch.testing.assert_close(fused.scores[name], score, rtol=0, atol=2e-6)  # a few last places
            score.copy_(fused.scores[name])
        plain.refresh()
        for a, b in zip(fused.module.parameters(), plain.module.parameters(), strict=True):
            assert torch.equal(a + 0.0, b + 0.0), i
        assert fused.ticket().matches(fused.module)


def test_coats_rarely_miss() -> None:
    pytest.importorskip("numba")
    searcher = Searcher(random_source(MLP((300, 200, 10)), 0), Multicoated((0.4, 0.2)))
    x, y = torch.randn(256, 300, generator=torch.Generator().manual_seed(0)), torch.arange(256) % 10
    for _ in range(60):
        searcher.zero_grad()
        nn.functional.cross_entropy(searcher.module(x), y).backward()
        searcher.step(0.1)
    assert sum(searcher._update.misses) <= 12


# redraws and graphs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["signed-constant", "kaiming-normal", "kaiming-uniform"])
def test_redraws_by_torch_are_those_of_the_search(init: Any) -> None:
    source = random_source(MLP((20, 70, 4)), 1, init, density=0.3)
    searcher = Searcher(source, IteRand(0.4, period=3, rate=0.5), seed=2)
    for event in range(1, 4):
        searcher.state.step = 3 * event - 1
        for parameter in searcher.module.parameters():
            parameter.grad = torch.ones_like(parameter)
        before = [weight.clone() for weight in searcher.weights]
        masks = searcher.masks()
        searcher._redraw(searcher.method)
        for i, layer in enumerate(searcher.layers):
            dropped = ~masks[layer.name].view(-1)
            number = (searcher.state.step + 1) // 3
            anew, again = redrawn(source, 2, layer.name, number, 0.5, before[i], dropped)
            assert torch.equal(anew, searcher.weights[i])
            assert torch.equal(again, searcher._generations[i] == number)
            assert 0.3 < float(again.sum() / dropped.sum()) < 0.7


@pytest.mark.parametrize("method", [EdgePopup(0.3), EdgePopup(0.1, levels=4), IteRand(0.4, period=4), Biprop(0.3)])
def test_graphed_steps_without_a_device_are_ordinary_ones(method: AbstractTopK) -> None:
    x, y = torch.randn(16, 20, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 4
    one, other = (Searcher(random_source(MLP((20, 30, 4)), 0), method) for _ in range(2))
    step = GraphedStep(one, lambda x, y: nn.functional.cross_entropy(one.module(x), y), x, y)
    for i in range(12):
        loss = nn.functional.cross_entropy(other.module(x + i), y)
        other.zero_grad()
        loss.backward()
        other.step(0.1, progress=(i + 1) / 12)
        assert torch.equal(step(x + i, y, 0.1, progress=(i + 1) / 12), loss.detach())
    for a, b in zip(one.module.parameters(), other.module.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="smaller batch"):
        step(x[:3], y[:3], 0.1)


@pytest.mark.parametrize(
    "method",
    [
        EdgePopup(0.3),
        EdgePopup(0.4, biases=True),
        EdgePopup(0.4, "global", frozen=Frozen(dropped=0.3, kept=0.1)),
        IteRand(0.4, period=3, rate=0.5),
        IteRand(0.4, period=3, rate=0.5, frozen=Frozen(dropped=0.3)),
        Biprop(0.3),
        Biprop(0.3, biases=True),
    ],
    ids=str,
)
def test_a_whole_search_in_flat_buffers(method: AbstractTopK, monkeypatch: pytest.MonkeyPatch) -> None:
    # what runs on CUDA devices, here by torch on the CPU; powers of two make it equal to plain torch, bit for bit
    def flat(layers: Any, scores: Any, weights: Any, method: Any, state: Any, how: ScoreOptimiser) -> SegmentedTopK:
        return SegmentedTopK(
            layers, scores, weights, method, state, momentum=how.momentum, nesterov=how.nesterov,
            weight_decay=how.weight_decay, engine="torch",
        )  # fmt: skip

    monkeypatch.setattr(choice, "_fast", flat)
    source = random_source(MLP((20, 70, 4), bias=True), 1)
    how = ScoreOptimiser(momentum=0.5, weight_decay=2**-10)
    mine, plain = (Searcher(source, method, seed=2, optimiser=how, fused=fused) for fused in (True, False))
    assert isinstance(mine._update, SegmentedTopK)
    generator = torch.Generator().manual_seed(0)
    saved: dict[str, Any] = {}
    for i in range(14):
        if i == 6:
            saved = mine.state_dict()
        for a, b in zip(mine.module.parameters(), plain.module.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        for one in (mine, plain):
            one.step(0.125)
        for a, b in zip(mine.module.parameters(), plain.module.parameters(), strict=True):
            assert torch.equal(a + 0.0, b + 0.0), i
        for name, weight in zip(mine.scores, mine.weights, strict=True):
            assert torch.equal(weight, plain.weights[list(plain.scores).index(name)])
    assert mine.ticket() == plain.ticket()
    assert mine.ticket().matches(mine.module)
    mine.load_state_dict(saved)
    assert mine.state.step == 6
    assert mine.ticket().matches(mine.module)
