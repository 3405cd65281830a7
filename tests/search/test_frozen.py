"""Frozen subsets: exact counts with every method and allocation, and a search among the rest alone."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strongticket.models import MLP
from strongticket.search import (
    AbstractTopK,
    Biprop,
    CubicRamp,
    EdgePopup,
    Frozen,
    IteRand,
    Levels,
    ScoreOptimiser,
    Searcher,
    SignedTopK,
    find,
    random_source,
)
from strongticket.search.methods.frozen import Frozen as Direct
from strongticket.selection import ALLOCATIONS, allocate, kept_count
from strongticket.ticketfile import dumps, loads

SIZES = (20, 70, 30, 4)
SOME = Frozen(dropped=0.4, kept=0.1)
METHODS: list[AbstractTopK] = [
    EdgePopup(0.3, frozen=SOME),
    EdgePopup(0.3, score_transform="identity", frozen=SOME),
    EdgePopup(0.3, "global", frozen=SOME),
    EdgePopup(0.3, "erdos-renyi", frozen=SOME),
    EdgePopup(0.3, "erdos-renyi-kernel", frozen=SOME),
    EdgePopup(0.2, levels=4, frozen=SOME),
    EdgePopup(0.2, "global", annealing=Levels(3, dense_first=True), frozen=SOME),
    Biprop(0.3, frozen=SOME),
    IteRand(0.3, period=4, rate=0.5, frozen=SOME),
    SignedTopK(0.3, frozen=SOME),
]


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, SIZES[0], generator=generator)
    return x, (x @ torch.randn(SIZES[0], SIZES[-1], generator=generator)).argmax(1)


def searcher_of(method: AbstractTopK, **options) -> Searcher:
    return Searcher(random_source(MLP(SIZES), 1), method, seed=2, **options)


def run(searcher: Searcher, steps: int, start: int = 0, total: int = 30) -> list[float]:
    x, y = data()
    losses = []
    for i in range(start, start + steps):
        loss = nn.functional.cross_entropy(searcher.module(x), y)
        searcher.zero_grad()
        loss.backward()
        searcher.step(0.3, progress=(i + 1) / total)
        losses.append(float(loss.detach()))
    return losses


def settled(searcher: Searcher, frozen: Frozen) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The dropped and the kept entries of each layer, as flags in its shape, drawn again."""
    flags = {}
    for layer in searcher.layers:
        dropped, kept, free = frozen.split(layer.name, layer.size, searcher.seed)
        assert sorted([*dropped, *kept, *free]) == list(range(layer.size))
        both = []
        for index in (dropped, kept):
            flag = torch.zeros(layer.size, dtype=torch.bool)
            flag[torch.from_numpy(index)] = True
            both.append(flag.view(layer.shape))
        flags[layer.name] = (both[0], both[1])
    return flags


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.key}-{m.allocation}-{m.levels}-{m.annealing}")
def test_what_is_frozen_stays_and_counts_are_exact(method: AbstractTopK) -> None:
    searcher = searcher_of(method)
    flags = settled(searcher, SOME)
    shapes = {layer.name: layer.shape for layer in searcher.layers}
    losses = []
    for i in range(30):
        losses += run(searcher, 1, start=i)
        masks = searcher.masks()
        for name, (dropped, kept) in flags.items():
            assert not masks[name][dropped].any()
            assert (masks[name][kept] == 1).all()
            assert not searcher.module.get_parameter(name)[dropped].any()
    kept_now = searcher.kept
    total = sum(math.prod(shape) for shape in shapes.values())
    if method.allocation == "global":
        assert sum(kept_now.values()) == kept_count(method.density, total)
    elif method.allocation == "layer":
        assert kept_now == allocate(shapes, method.density)
    else:
        bounds = {
            name: (int(kept.sum()), math.prod(shapes[name]) - int(dropped.sum()))
            for name, (dropped, kept) in flags.items()
        }
        assert kept_now == allocate(shapes, method.density, method.allocation, bounds=bounds)
        assert sum(kept_now.values()) == kept_count(method.density, total)
        assert kept_now["layers.2.weight"] == bounds["layers.2.weight"][1]  # small, so all that it may
    assert min(losses[-5:]) < losses[0]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.key}-{m.allocation}-{m.levels}-{m.annealing}")
def test_tickets_are_ordinary_ones_and_resume(method: AbstractTopK) -> None:
    whole, first = searcher_of(method), searcher_of(method)
    run(whole, 12)
    run(first, 5)
    saved = copy.deepcopy(first.state_dict())
    second = searcher_of(method)
    second.load_state_dict(saved)
    run(second, 7, start=5)
    ticket = whole.ticket()
    assert ticket.matches(whole.module)
    assert loads(dumps(ticket)).matches(whole.module)
    assert second.ticket() == ticket
    with pytest.raises(ValueError, match="another search"):
        searcher_of(EdgePopup(0.3)).load_state_dict(saved)


def test_the_search_is_that_of_the_rest() -> None:
    """The oracle: scores, gradients and selection of the entries that are left, written out in torch."""
    method = EdgePopup(0.3, frozen=SOME)
    searcher = searcher_of(method, optimiser=ScoreOptimiser(momentum=0.9, weight_decay=1e-3))
    plain = searcher_of(EdgePopup(0.3))
    scores, speeds = {}, {}
    for layer in searcher.layers:
        _, kept, free = SOME.split(layer.name, layer.size, 2)
        rest = torch.from_numpy(free)
        scores[layer.name] = plain.scores[layer.name].view(-1)[rest].clone()
        speeds[layer.name] = torch.zeros(len(free))
    x, y = data()
    for _ in range(12):
        searcher.zero_grad()
        nn.functional.cross_entropy(searcher.module(x), y).backward()
        gradients = {layer.name: searcher.module.get_parameter(layer.name).grad.clone() for layer in searcher.layers}
        searcher.step(0.1)
        for layer, weight in zip(searcher.layers, searcher.weights, strict=True):
            _, kept, free = SOME.split(layer.name, layer.size, 2)
            rest, score = torch.from_numpy(free), scores[layer.name]
            slope = score.sign() * weight[rest] * gradients[layer.name].view(-1)[rest] + 1e-3 * score
            speeds[layer.name] = 0.9 * speeds[layer.name] + slope
            score -= 0.1 * speeds[layer.name]
            own = searcher.scores[layer.name].view(-1)
            torch.testing.assert_close(own[rest], score, rtol=0, atol=1e-6)
            assert own[torch.from_numpy(kept)].isinf().all()
            score.copy_(own[rest])  # so that rounding does not add up
            chosen = kept_count(0.3, layer.size) - len(kept)
            expected = torch.zeros(layer.size, dtype=torch.bool)
            expected[torch.from_numpy(kept)] = True
            expected[rest[torch.sort(score.abs(), stable=True).indices[len(free) - chosen :]]] = True
            assert torch.equal(searcher.masks()[layer.name].view(-1), expected)


@pytest.mark.parametrize("method", METHODS[:5], ids=lambda m: f"{m.key}-{m.allocation}-{m.absolute}")
def test_compiled_and_plain_updates_agree(method: AbstractTopK) -> None:
    fused, plain = searcher_of(method), searcher_of(method, fused=False)
    for i in range(8):
        run(fused, 1, start=i)
        run(plain, 1, start=i)
    assert fused.ticket().mask.iou(plain.ticket().mask) > 0.99
    assert type(fused._update) is not type(plain._update)


def test_densities_that_freezing_does_not_allow_are_refused() -> None:
    for frozen in (Frozen(kept=0.4), Frozen(dropped=0.8)):
        for allocation in ("layer", "global", "erdos-renyi"):
            with pytest.raises(ValueError, match="what is frozen allows"):
                searcher_of(EdgePopup(0.3, allocation, frozen=frozen))
    for bad in ({"dropped": 0.7, "kept": 0.4}, {"dropped": -0.1}, {"kept": 1.2}):
        with pytest.raises(ValueError, match=r"at most 1|in \[0, 1\]"):
            Frozen(**bad)
    with pytest.raises(ValueError, match="differ in what is frozen"):  # layers that nobody froze
        EdgePopup(0.3, frozen=SOME).counts(searcher_of(EdgePopup(0.3)).layers, 0.0)
    exactly = searcher_of(EdgePopup(0.3, frozen=Frozen(dropped=0.7, kept=0.3)))
    assert exactly.kept == searcher_of(EdgePopup(0.3)).kept


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**64 - 1))
def test_splits_are_exact_and_seeded(size: int, dropped: float, share: float, seed: int) -> None:
    frozen = Direct(dropped, min(share * (1 - dropped), 1 - dropped))
    parts = frozen.split("w", size, seed)
    assert sorted(np.concatenate(parts)) == list(range(size))
    assert (len(parts[0]), len(parts[1])) == frozen.counts(size)
    for part, wanted in zip(parts, (frozen.dropped * size, frozen.kept * size), strict=False):
        assert wanted - 1 - 1e-9 < len(part) <= wanted + 1e-9
    assert frozen.bits({"w": (size,)}) == len(parts[2])
    again = frozen.split("w", size, seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


@pytest.mark.filterwarnings("ignore:density .* keeps nothing:UserWarning")
@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("sizes", [(5, 3, 2), (3, 1, 5), (11, 9, 7)])
def test_a_density_that_the_shares_allow_is_allowed(sizes: tuple[int, ...], allocation: str) -> None:
    """At the limit everything is frozen but for what rounding leaves, layers of odd sizes and halves among them."""
    source = random_source(MLP(sizes), 0, "kaiming-normal")
    for percent in range(0, 101, 5):
        density, rest = percent / 100, (100 - percent) / 100
        for frozen in (Frozen(dropped=rest), Frozen(kept=density), Frozen(rest, density)):
            counts = Searcher(source, EdgePopup(density, allocation, frozen=frozen), fused=False).kept  # type: ignore[arg-type]
            if allocation in ("layer", "supsup"):
                assert counts == allocate(source.shapes, density, allocation)  # type: ignore[arg-type]
            else:
                assert sum(counts.values()) == kept_count(density, source.architecture.size)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", [Biprop, EdgePopup, IteRand, SignedTopK])
def test_nothing_may_be_left_to_search(kind: type[AbstractTopK], fused: bool) -> None:
    source = random_source(MLP((5, 4, 5)), 0, "kaiming-normal")
    searcher = Searcher(source, kind(0.4, frozen=Frozen(dropped=0.6, kept=0.4)), fused=fused)
    assert all(unit.layer.size == 0 for unit in searcher._units)
    for parameter in searcher.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    searcher.step(0.1)
    assert searcher.kept == {"layers.0.weight": 8, "layers.1.weight": 8}
    assert searcher.ticket().matches(searcher.module)


def test_seeds_and_names_have_draws_of_their_own() -> None:
    one = [Frozen(dropped=0.5).split(name, 1000, seed)[0] for name, seed in (("a", 0), ("a", 1), ("b", 0))]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert 150 < len(np.intersect1d(one[i], one[j])) < 350  # 250 expected


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_bounded_allocations_keep_their_bounds_and_their_sum(draw: st.DataObject) -> None:
    sides = st.tuples(st.integers(1, 40), st.integers(1, 40))
    shapes = {str(i): shape for i, shape in enumerate(draw.draw(st.lists(sides, min_size=1, max_size=5)))}
    bounds = {}
    for name, shape in shapes.items():
        ends = draw.draw(st.tuples(st.integers(0, math.prod(shape)), st.integers(0, math.prod(shape))))
        bounds[name] = (min(ends), max(ends))
    size = sum(math.prod(shape) for shape in shapes.values())
    total = draw.draw(st.integers(sum(low for low, _ in bounds.values()), sum(high for _, high in bounds.values())))
    for allocation in ("erdos-renyi", "erdos-renyi-kernel"):
        counts = allocate(shapes, total / size, allocation, bounds=bounds)
        assert sum(counts.values()) == total
        assert all(bounds[name][0] <= count <= bounds[name][1] for name, count in counts.items())
        # what is not at a bound has the same factor before rounding
        inner = [name for name in shapes if bounds[name][0] + 1 < counts[name] < bounds[name][1] - 1]
        factors = [(counts[name] - 1) / sum(shapes[name]) for name in inner]
        ceilings = [(counts[name] + 1) / sum(shapes[name]) for name in inner]
        assert not inner or max(factors) <= min(ceilings)


def test_bounds_that_do_not_bind_change_nothing() -> None:
    shapes = {"a": (300, 784), "b": (100, 300), "c": (10, 100), "d": (64, 3, 3, 3)}
    for allocation in ALLOCATIONS[2:]:
        for density in (0.01, 0.1, 0.37, 0.8):
            free = {name: (0, math.prod(shape)) for name, shape in shapes.items()}
            with_bounds = allocate(shapes, density, allocation, bounds=free)
            without = allocate(shapes, density, allocation)
            assert all(abs(with_bounds[name] - without[name]) <= 1 for name in shapes)


def test_ramps_and_recipes_freeze_too() -> None:
    x, y = data()
    method = Biprop(0.2, "global", annealing=CubicRamp(0.5, 2), frozen=SOME)
    found = find(MLP(SIZES), x, y, "digits", method=method, epochs=4, batch_size=32)
    assert found.ticket.matches(found.module)
    assert sum(found.ticket.mask.counts.values()) == kept_count(0.2, found.source.architecture.size)
    for epoch in found.history:
        assert all(math.isfinite(value) for value in epoch.details["thresholds"].values())
