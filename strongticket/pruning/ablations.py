"""Sanity checks of pruning before training: what is left of a method when its mask, weights or order are spoilt.

Frankle, Dziugaite, Roy & Carbin (2020): if shuffling a mask within each layer, or drawing the weights anew, costs no
accuracy, then all that the method found is how many weights each layer keeps; if inverting the scores costs none, it
found nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from strongticket import random
from strongticket.mask import Mask
from strongticket.pruning.abstract import AbstractScore, Pruned
from strongticket.pruning.problem import Problem

__all__ = ["Within", "inverted", "redrawn", "shuffled", "shuffled_mask"]

Within = Literal["layer", "network"]
"""Where kept entries may go: anywhere in their own layer, or anywhere at all (which changes the layers' densities)."""


def inverted(score: AbstractScore) -> AbstractScore:
    """Return the score that ranks weights the other way round: the most important go first.

    >>> from strongticket.pruning import Magnitude
    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, -3.0]]))
    >>> inverted(Magnitude()).score(Problem.of(layer))
    {'weight': tensor([[-1., -3.]])}
    """
    return _Inverted(score)


@final
@dataclass(frozen=True)
class _Inverted(AbstractScore):
    of: AbstractScore
    key: ClassVar[str] = "inverted"

    def score(self, problem: Problem) -> dict[str, Tensor]:
        return {name: -score for name, score in self.of.score(problem).items()}


def shuffled_mask(mask: Mask, seed: int, *, within: Within = "layer", inside: Mask | None = None) -> Mask:
    """Return a mask of as many entries at random places.

    Args:
        mask: how many: of each parameter, or in all.
        seed: of the places.
        within: "layer": each parameter keeps as many as before; "network": all of them together do.
        inside: entries that may be kept; None: all. It must have enough of them.

    Raises:
        ValueError: an unknown `within`, or an `inside` of other shapes or with too few entries.

    >>> mask = Mask({"a": torch.arange(10) < 3, "b": torch.arange(90) < 50})
    >>> shuffled_mask(mask, 0).counts, shuffled_mask(mask, 0, within="network").count
    ({'a': 3, 'b': 50}, 53)
    """
    places = Mask.full(mask.shapes) if inside is None else inside
    if within not in ("layer", "network"):
        raise ValueError(f"expected within='layer' or 'network', got {within!r}")
    if places.shapes != mask.shapes:
        raise ValueError(f"the places {places.shapes} are not those of the mask, {mask.shapes}")
    groups = [[name] for name in mask] if within == "layer" else [list(mask)]
    kept: dict[str, Tensor] = {}
    for group in groups:
        free = torch.cat([places[name].reshape(-1) for name in group]).nonzero()[:, 0]
        count = sum(mask.counts[name] for name in group)
        if count > len(free):
            raise ValueError(f"{count} entries of {', '.join(group)} are to be kept, and {len(free)} places are there")
        order = random.permutation(seed, f"shuffled mask/{'/'.join(group)}", len(free), purpose=random.TRIAL)
        flat = torch.zeros(sum(math.prod(mask.shapes[name]) for name in group), dtype=torch.bool)
        flat[free[torch.from_numpy(order[:count])]] = True
        parts = torch.split(flat, [math.prod(mask.shapes[name]) for name in group])
        kept |= {name: part.view(mask.shapes[name]) for name, part in zip(group, parts, strict=True)}
    return Mask({name: kept[name] for name in mask})


def shuffled(pruned: Pruned, seed: int, *, within: Within = "layer") -> Pruned:
    """Return a network pruned as much as another, of the same weights, but of random ones among them.

    Args:
        pruned: how many, and of which network.
        seed: of the places.
        within: see `shuffled_mask`.

    >>> from strongticket.pruning import prune
    >>> pruned = prune(torch.nn.Linear(8, 4), None, "magnitude", 0.25)
    >>> shuffled(pruned, 0).mask.counts == pruned.mask.counts, shuffled(pruned, 0).mask == pruned.mask
    (True, False)
    """
    mask = shuffled_mask(pruned.mask, seed, within=within)
    return _again(pruned, mask, {name: pruned.original.get_parameter(name).detach() for name in mask}, "shuffled")


def redrawn(pruned: Pruned, weights: Mapping[str, Tensor]) -> Pruned:
    """Return a network under the same mask with other weights: the control that draws them anew.

    Args:
        pruned: the mask.
        weights: fresh values for every parameter of the mask: `Source.weights` of another seed, say.

    Raises:
        ValueError: a parameter without values, or values of another shape.

    >>> from strongticket.pruning import prune
    >>> pruned = prune(torch.nn.Linear(8, 4), None, "magnitude", 0.25)
    >>> int(redrawn(pruned, {"weight": torch.ones(4, 8)}).module().weight.sum())
    8
    """
    for name, shape in pruned.mask.shapes.items():
        if name not in weights or tuple(weights[name].shape) != shape:
            got = tuple(weights[name].shape) if name in weights else "none"
            raise ValueError(f"expected fresh values of shape {shape} for {name}, got {got}")
    return _again(pruned, pruned.mask, weights, "redrawn")


def _again(pruned: Pruned, mask: Mask, weights: Mapping[str, Tensor], what: str) -> Pruned:
    values = {name: weights[name] * mask[name].to(weights[name].device) for name in mask}
    stats = {**pruned.stats, "ablation": what}
    return replace(pruned, mask=mask, weights=values, predicted_increase=None, updated=what == "redrawn", stats=stats)
