"""A conformance check of mask searches: what every way to choose a subnetwork by its scores promises.

>>> from strongticket.search import EdgePopup
>>> check_search_method(EdgePopup(density=0.3))
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from strongticket.models import MLP
from strongticket.search import AbstractMethod, AbstractTopK, IteRand, Layer, Searcher, layers_of, random_source
from strongticket.search.methods import MethodState
from strongticket.selection import kept_count
from strongticket.testing._promises import elsewhere, must, undrawn
from strongticket.ticket import Source

__all__ = ["check_search_method"]

SIZES = (7, 11, 5)
STEPS = 6
LR = 0.3
_SEED = "the state's seed"


def check_search_method(
    method: AbstractMethod, *, density: float | None = None, fused: bool = False, seed: int = 0
) -> None:
    """Check what every mask search promises, on a small random network, step by step.

    Choosing changes neither scores nor weights, and weights never change; the parameters hold the weights as the
    method weighs them, and 0 where the mask is 0; exactly as many are kept as the method says, also where scores tie;
    a search is a function of its arguments, whatever torch's own generator has drawn, and draws nothing from that; one
    that was saved goes on to the same ticket; the ticket is the module, bit for bit; NaN gradients do not pass
    unnoticed; and a field `density` may be 0 and 1, or is refused by a ValueError.

    Args:
        method: with its settings.
        density: fraction that is kept at the end, exactly; None where that comes out of the search. Methods under
            `AbstractTopK` are held to their counts anyway.
        fused: by the compiled update that the method has, if any, instead of plain operations.
        seed: of the network, the scores and what the method draws.

    Raises:
        AssertionError: saying what was promised and what was found.
    """
    with _named(method):
        _check_choice(method, seed)
        _check_search(method, density, fused, seed)
        _check_nan(method, fused, seed)
        _check_ends(method, fused, seed)


@contextmanager
def _named(method: AbstractMethod) -> Iterator[None]:
    try:
        with undrawn(_SEED), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*keeps nothing", category=UserWarning)
            yield
    except AssertionError as error:
        raise AssertionError(f"{method.key}: {error}") from error
    except Exception as error:
        raise AssertionError(f"{method.key}: {type(error).__name__}: {error}") from error


def _source(seed: int) -> Source:
    return random_source(MLP(SIZES), seed, "kaiming-uniform")


def _searcher(method: AbstractMethod, fused: bool, seed: int) -> Searcher:
    return Searcher(_source(seed), method, seed=seed, fused=fused)


def _data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(40, SIZES[0], generator=generator)
    return x, (x @ torch.randn(SIZES[0], SIZES[-1], generator=generator)).argmax(1)


def _go(searcher: Searcher, start: int = 0, stop: int = STEPS) -> None:
    x, y = _data()
    for step in range(start, stop):
        searcher.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(searcher.module(x), y))
        searcher.step(LR, progress=(step + 1) / STEPS)


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def _check_choice(method: AbstractMethod, seed: int) -> None:
    """The method by itself: pure functions, of ties too."""
    frozen = getattr(method, "frozen", None)
    layers = layers_of(MLP(SIZES))
    if frozen is not None:
        layers = tuple(replace(layer, frozen=frozen.counts(layer.total)) for layer in layers)
    plain = [torch.linspace(0.01, 0.99, layer.size) for layer in layers]
    low, high = method.clamp or (-1.0, 1.0)
    tied = [torch.full((layer.size,), (low + high) / 2 + 0.25) for layer in layers]
    weights = [torch.linspace(-1.0, 1.0, layer.size) for layer in layers]
    for what, scores in (("different scores", plain), ("equal scores", tied)):
        kept = [score.clone() for score in scores]
        first = method.masks(layers, scores, MethodState(progress=1.0, seed=seed))
        again = method.masks(layers, scores, MethodState(progress=1.0, seed=seed))
        must(all(map(torch.equal, scores, kept)), f"choosing among {what} changed the scores")
        must(all(map(torch.equal, first, again)), f"among {what} another mask is chosen the second time")
        _check_masks(layers, first)
        if isinstance(method, AbstractTopK):
            _check_counts(method, layers, first, 1.0, what)
        for score, weight, mask in zip(scores, weights, first, strict=True):
            gradient = weight.flip(0)
            given = [value.clone() for value in (score, weight, gradient, mask)]
            slope, effective = method.slope(score, weight, gradient, mask), method.weigh(weight, mask)
            unchanged = all(map(torch.equal, (score, weight, gradient, mask), given))
            must(unchanged, "slope or weigh changed what it was given")
            must(slope.shape == score.shape, f"slopes have the shape {tuple(slope.shape)}, not {tuple(score.shape)}")
            must(bool(slope.isfinite().all()), "slopes of finite numbers are NaN or infinite")
            must(not bool(effective[mask == 0].any()), "a weight whose mask is 0 is weighed as something else than 0")


def _check_masks(layers: tuple[Layer, ...], masks: list[Tensor]) -> None:
    shapes, wanted = [tuple(mask.shape) for mask in masks], [(layer.size,) for layer in layers]
    must(shapes == wanted, f"masks have the shapes {shapes}, expected {wanted}")
    for mask in masks:
        whole = mask.dtype == torch.bool or bool((mask == mask.round()).all())
        must(whole, f"masks are bool or whole numbers, got {mask.dtype} with {sorted(set(mask.tolist()))[:4]}")


def _check_counts(
    method: AbstractTopK, layers: tuple[Layer, ...], masks: list[Tensor], progress: float, what: str
) -> None:
    counts, kept = method.counts(layers, progress), [int(mask.count_nonzero()) for mask in masks]
    kept = kept if len(counts) == len(kept) else [sum(kept)]
    must(kept == counts, f"of {what} {kept} are kept, expected exactly {counts}")


def _check_search(method: AbstractMethod, density: float | None, fused: bool, seed: int) -> None:
    source, searcher = _source(seed), _searcher(method, fused, seed)
    saved: Any = None
    for step in range(STEPS):
        _go(searcher, step, step + 1)
        _check_held(searcher, source, method)
        if step == STEPS // 2:
            saved = copy.deepcopy(searcher.state_dict())
    ticket = searcher.ticket()
    size = source.architecture.size
    if density is not None:
        count = kept_count(density, size)
        must(ticket.mask.count == count, f"{ticket.mask.count} weights are kept at the end, expected {count}")
    must(ticket.matches(searcher.module), "the ticket is not what the module holds")
    with elsewhere(), undrawn(_SEED):
        again, resumed = _searcher(method, fused, seed), _searcher(method, fused, seed)
        _go(again)
        must(again.ticket() == ticket, "the same search finds another ticket the second time")
        must(_same(again.scores, searcher.scores), "the same search has other scores the second time")
        resumed.load_state_dict(saved)
        _go(resumed, STEPS // 2 + 1)
        must(resumed.ticket() == ticket, "a search that was saved and went on finds another ticket")


def _check_held(searcher: Searcher, source: Source, method: AbstractMethod) -> None:
    masks = searcher.masks()
    for layer, weight in zip(searcher.layers, searcher.weights, strict=True):
        held = searcher.module.get_parameter(layer.name).detach().view(-1)
        mask = masks[layer.name].view(-1)
        must(not bool(held[mask == 0].any()), f"{layer.name} is not 0 where its mask is")
        if not isinstance(method, IteRand):  # which draws dropped weights anew
            must(
                torch.equal(weight, source.weight(layer.name).view(-1)), f"random weights of {layer.name} have changed"
            )
        if getattr(method, "frozen", None) is None and not getattr(method, "biases", False):
            must(torch.equal(held, method.weigh(weight, mask)), f"{layer.name} does not hold what the method weighs")


def _check_nan(method: AbstractMethod, fused: bool, seed: int) -> None:
    searcher = _searcher(method, fused, seed)
    _go(searcher, 0, 1)
    for layer in searcher.layers:
        parameter = searcher.module.get_parameter(layer.name)
        parameter.grad = torch.full_like(parameter, math.nan)
    try:
        searcher.step(LR, progress=2 / STEPS)
        searcher.check()
    except RuntimeError:
        return
    finite = all(not bool(score.isnan().any()) for score in searcher.scores.values())
    must(finite, "NaN gradients make NaN scores, and nothing says so")


def _check_ends(method: AbstractMethod, fused: bool, seed: int) -> None:
    if "density" not in {field.name for field in fields(method)}:  # type: ignore[arg-type]
        return
    for density in (0.0, 1.0):
        try:
            searcher = _searcher(replace(method, density=density), fused, seed)  # type: ignore[type-var]
        except ValueError:
            continue
        _go(searcher)
        kept, size = sum(searcher.kept.values()), searcher.source.architecture.size
        if isinstance(method, AbstractTopK):
            must(kept == density * size, f"at density {density:g} {kept} of {size} weights are kept")
        else:
            must(kept <= density * size, f"at density {density:g} {kept} of {size} weights are kept")
        must(searcher.ticket().matches(searcher.module), f"at density {density:g} the ticket is not its module")
