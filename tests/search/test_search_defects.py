"""Defects of released mask searches, each with a test that would catch it: decay, evaluation, selection in the loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from strongticket.models import MLP, architecture
from strongticket.search import (
    AbstractMethod,
    Bernoulli,
    Biprop,
    EdgePopup,
    Frozen,
    GemMiner,
    IteRand,
    Multicoated,
    ScoreOptimiser,
    Searcher,
    SignedSupermask,
    SignedTopK,
    Threshold,
    random_source,
)

METHODS: list[AbstractMethod] = [
    EdgePopup(0.3),
    EdgePopup(0.3, "global"),
    EdgePopup(0.3, frozen=Frozen(0.3, 0.1)),
    IteRand(0.4, period=2, rate=0.5),
    Biprop(0.3),
    Bernoulli(),
    Bernoulli(rescale=True),
    SignedSupermask(),
    SignedTopK(0.3),
    GemMiner(0.3, stages=2),
    Multicoated((0.4, 0.2)),
    Threshold(),
]


def steps(searcher: Searcher, x: torch.Tensor, y: torch.Tensor, count: int, lr: float = 0.1) -> None:
    searcher.module.train()
    for i in range(count):
        loss = nn.functional.cross_entropy(searcher.module(x), y)
        searcher.zero_grad()
        loss.backward()
        searcher.step(lr, progress=(i + 1) / (2 * count))


# ---- weight decay acts on scores, and is said by the formula ---------------------------------------------------------


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("method", [EdgePopup(0.3), EdgePopup(0.3, score_transform="identity")], ids=repr)
def test_weight_decay_of_scores_is_the_formula(method: AbstractMethod, nesterov: bool, fused: bool) -> None:
    """v <- mu v + (dL/dS + wd S); S <- S - lr v, in double precision beside it."""
    how = ScoreOptimiser(momentum=0.9, weight_decay=0.05, nesterov=nesterov)
    searcher = Searcher(random_source(MLP((12, 20, 3)), 0), method, optimiser=how, fused=fused)
    generator = torch.Generator().manual_seed(0)
    scores = {name: score.double().clone() for name, score in searcher.scores.items()}
    speeds = {name: torch.zeros_like(score) for name, score in scores.items()}
    for step in range(20):
        for layer, weight in zip(searcher.layers, searcher.weights, strict=True):
            g = torch.randn(layer.shape, generator=generator) * (step % 3 > 0)  # at times decay alone
            searcher.module.get_parameter(layer.name).grad = g
            score = scores[layer.name]
            slope = (weight.view(layer.shape) * g).double()
            slope = (score.sign() * slope if method.absolute else slope) + 0.05 * score  # type: ignore[attr-defined]
            speed = speeds[layer.name] = 0.9 * speeds[layer.name] + slope
            scores[layer.name] = score - 0.1 * (slope + 0.9 * speed if nesterov else speed)
        searcher.step(0.1)
        for name, score in searcher.scores.items():
            torch.testing.assert_close(score.double(), scores[name], rtol=0, atol=3e-6)
            flips = score.sign() != scores[name].sign()  # rounding near 0 would count from then on
            scores[name] = torch.where(flips, score.double(), scores[name])


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_without_decay_and_gradient_no_score_moves(name: str) -> None:
    for decay in (0.0, 0.1):
        how = ScoreOptimiser(name, momentum=0.9, weight_decay=decay)  # type: ignore[arg-type]
        searcher = Searcher(random_source(MLP((12, 20, 3)), 0), EdgePopup(0.3), optimiser=how)
        before = {name: score.clone() for name, score in searcher.scores.items()}
        for _ in range(3):
            for parameter in searcher.module.parameters():
                parameter.grad = torch.zeros_like(parameter)
            searcher.step(0.01)
        for layer, score in searcher.scores.items():
            assert torch.equal(score, before[layer]) == (decay == 0.0)
            shrunk = score.abs() < before[layer].abs()
            assert decay == 0.0 or float(shrunk.float().mean()) > 0.9


def test_optimisers_are_torchs() -> None:
    x, y = torch.randn(16, 12, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 3
    for name, kind in (("adam", torch.optim.Adam), ("rmsprop", torch.optim.RMSprop)):
        how = ScoreOptimiser(name, weight_decay=1e-3)  # type: ignore[arg-type]
        searcher = Searcher(random_source(MLP((12, 20, 3)), 0), EdgePopup(0.3), optimiser=how)
        scores = [score.clone().view(-1).requires_grad_(True) for score in searcher.scores.values()]
        own = kind(scores, lr=0.02, weight_decay=1e-3)
        for _ in range(5):
            searcher.zero_grad()
            nn.functional.cross_entropy(searcher.module(x), y).backward()
            for layer, weight, score in zip(searcher.layers, searcher.weights, scores, strict=True):
                g = searcher.module.get_parameter(layer.name).grad.view(-1)
                score.grad = score.detach().sign() * weight * g
            own.step()
            searcher.step(0.02)
            for got, score in zip(searcher.scores.values(), scores, strict=True):
                assert torch.equal(got.view(-1), score.detach())
    with pytest.raises(ValueError, match="expected optimiser"):
        ScoreOptimiser("lion")  # type: ignore[arg-type]


# ---- evaluation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_evaluation_is_the_same_twice_and_takes_a_batch_of_one(method: AbstractMethod) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(24, 3, 8, 8, generator=generator), torch.arange(24) % 3
    searcher = Searcher(random_source(architecture("resnet8x0.25-3+3x8x8"), 0), method)
    steps(searcher, x, y, 4)
    module = searcher.module.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        first, second = module(x), module(x)
        alone = torch.cat([module(row[None]) for row in x])
    assert torch.equal(first, second)  # nothing is drawn, and no statistics move
    assert alone.shape == first.shape
    torch.testing.assert_close(alone, first, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    ticket = searcher.ticket().module()
    assert not ticket.training
    assert torch.equal(ticket(x), first)


# ---- the selection in steady state -----------------------------------------------------------------------------------


SELECTIONS = {"aten::sort", "aten::kthvalue", "aten::topk", "aten::argsort", "aten::msort"}
SIZES = (300, 200, 10)


def selections_in(searcher: Searcher, x: torch.Tensor, y: torch.Tensor, count: int) -> list[tuple[str, int]]:
    """Operations that select or sort, and how many numbers each was given, over some steps."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        steps(searcher, x, y, count)
    events = profile.events() or []
    names = {event.name for event in events}
    assert "aten::addmm" in names or "aten::mm" in names  # the profile does see the steps
    return [
        (event.name, max(math.prod(shape) for shape in event.input_shapes if shape))
        for event in events
        if event.name in SELECTIONS
    ]


@pytest.mark.parametrize("method", [EdgePopup(0.5), EdgePopup(0.1, "global"), IteRand(0.5)], ids=repr)
def test_steady_steps_neither_sort_nor_select_all_scores(method: AbstractMethod) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(128, SIZES[0], generator=generator)
    y = torch.arange(128) % 10
    searcher = Searcher(random_source(MLP(SIZES), 0), method)
    steps(searcher, x, y, 20)
    misses = sum(searcher._update.misses)
    assert selections_in(searcher, x, y, 10) == []
    steps(searcher, x, y, 100)
    assert sum(searcher._update.misses) - misses <= 5  # of 110 steps and one or two brackets
    plain = Searcher(random_source(MLP(SIZES), 0), method, fused=False)
    found = selections_in(plain, x, y, 2)
    assert any(size >= SIZES[0] * SIZES[1] for _, size in found)  # what the test looks for can be seen
