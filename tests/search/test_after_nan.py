"""Scores that became NaN: every update tells of them, and a search goes on from a saved state as if nothing were."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from strongticket.models import MLP
from strongticket.search import (
    AbstractMethod,
    Bernoulli,
    Biprop,
    EdgePopup,
    GemMiner,
    IteRand,
    Multicoated,
    Searcher,
    SignedSupermask,
    SignedTopK,
    Threshold,
    random_source,
)
from strongticket.search import searcher as searcher_module
from strongticket.search.updates.segmented import SegmentedTopK

METHODS: list[AbstractMethod] = [
    EdgePopup(0.4),
    EdgePopup(0.4, "global"),
    IteRand(0.4, period=2, rate=0.5),
    Biprop(0.4),
    Multicoated((0.5, 0.2)),
    Multicoated((0.5, 0.2), allocation="global"),
    GemMiner(0.5, stages=2),
    SignedSupermask(),
    SignedTopK(0.4),
    Threshold(),
    Bernoulli(),
]
X = torch.randn(32, 9, generator=torch.Generator().manual_seed(0))
Y = torch.arange(32) % 3


def searcher_of(method: AbstractMethod, fused: bool) -> Searcher:
    return Searcher(random_source(MLP((9, 20, 3)), 0, "kaiming-normal"), method, fused=fused)


def step(searcher: Searcher, at: int, slope: float | None = None) -> None:
    """A step of ten; with a slope that is what all gradients are."""
    searcher.zero_grad()
    nn.functional.cross_entropy(searcher.module(X), Y).backward()
    if slope is not None:
        for parameter in searcher.module.parameters():
            parameter.grad = torch.full_like(parameter, slope)
    searcher.step(0.1, progress=(at + 1) / 10)


def fail(searcher: Searcher, bad: float) -> None:
    for at in (3, 4):
        step(searcher, at, bad)
    searcher.check()


def look_again(searcher: Searcher) -> None:
    searcher.refresh()
    searcher.ticket()


def weights_after(searcher: Searcher, steps: range) -> list[Tensor]:
    for at in steps:
        step(searcher, at)
    searcher.check()
    return [parameter.detach().clone() for parameter in searcher.module.parameters()]


@pytest.fixture(params=["fused", "plain", "segmented"])
def fused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The update: compiled, of torch operations, or the one of GPUs (for methods that have it)."""
    if request.param == "segmented":
        update_of = searcher_module.update_of

        def segmented(layers, scores, weights, method, state, how, fused):  # type: ignore[no-untyped-def]
            if not isinstance(method, EdgePopup | IteRand | Biprop):
                return update_of(layers, scores, weights, method, state, how, fused)
            settings = {"momentum": how.momentum, "nesterov": how.nesterov, "weight_decay": how.weight_decay}
            return SegmentedTopK(layers, scores, weights, method, state, **settings, engine="torch")

        monkeypatch.setattr(searcher_module, "update_of", segmented)
    return bool(request.param != "plain")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_search_goes_on_from_a_saved_state(method: AbstractMethod, bad: float, fused: bool) -> None:
    whole, broken = searcher_of(method, fused), searcher_of(method, fused)
    wanted = weights_after(whole, range(8))
    weights_after(broken, range(3))
    saved = broken.state_dict()
    with pytest.raises(RuntimeError, match="NaN or infinite"):
        fail(broken, bad)
    assert all(bool(parameter.isfinite().all()) for parameter in broken.module.parameters())
    broken.load_state_dict(saved)
    got = weights_after(broken, range(3, 8))
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    assert broken.ticket().matches(broken.module)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_what_is_put_into_the_scores_from_outside_is_seen(method: AbstractMethod, fused: bool) -> None:
    searcher = searcher_of(method, fused)
    searcher.scores["layers.0.weight"].view(-1)[7] = math.nan
    with pytest.raises(RuntimeError, match="NaN or infinite"):
        look_again(searcher)


def test_what_is_published_of_coats_is_whole() -> None:
    """Also when some scores are NaN, every weight counts as often as its score says."""
    searcher = searcher_of(Multicoated((0.5, 0.2)), fused=True)
    first, last = (searcher.module.get_parameter(f"layers.{i}.weight") for i in range(2))
    first.grad, last.grad = torch.full_like(first, math.nan), torch.zeros_like(last)
    searcher.step(0.1)
    counts = (last.detach() / searcher.source.weight("layers.1.weight")).round()
    assert torch.equal(counts, searcher.masks()["layers.1.weight"])
    assert counts.max() == 2
