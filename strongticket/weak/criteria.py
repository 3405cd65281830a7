"""Which weights of a trained network are kept: criteria on where a weight began and where it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from torch import Tensor

from strongticket import random

__all__ = ["CRITERIA", "PLATEAUS", "Criterion", "scores", "untied"]

Criterion = Callable[[Tensor, Tensor], Tensor]
"""(initial, final) -> scores, all [n] float64: of the weights that compete with each other and are still there."""


def large_final(initial: Tensor, final: Tensor) -> Tensor:
    """Return |w_f|: Frankle & Carbin's."""
    return final.abs()


def small_final(initial: Tensor, final: Tensor) -> Tensor:
    """Return -|w_f|."""
    return -final.abs()


def large_init(initial: Tensor, final: Tensor) -> Tensor:
    """Return |w_i|."""
    return initial.abs()


def small_init(initial: Tensor, final: Tensor) -> Tensor:
    """Return -|w_i|."""
    return -initial.abs()


def large_init_large_final(initial: Tensor, final: Tensor) -> Tensor:
    """Return min(rank |w_f|, rank |w_i|).

    The paper writes min(a |w_f|, |w_i|) with a such that percentiles agree; with ranks they agree at every density.
    """
    return torch.minimum(_ranks(final.abs()), _ranks(initial.abs()))


def small_init_small_final(initial: Tensor, final: Tensor) -> Tensor:
    """Return -max(rank |w_f|, rank |w_i|); see `large_init_large_final`."""
    return -torch.maximum(_ranks(final.abs()), _ranks(initial.abs()))


def magnitude_increase(initial: Tensor, final: Tensor) -> Tensor:
    """Return |w_f| - |w_i|."""
    return final.abs() - initial.abs()


def movement(initial: Tensor, final: Tensor) -> Tensor:
    """Return |w_f - w_i|."""
    return (final - initial).abs()


def large_final_same_sign(initial: Tensor, final: Tensor) -> Tensor:
    """Return max(0, w_f sign(w_i)): large at the end and never of the other sign."""
    return (final * initial.sign()).clamp_min(0.0)


def large_final_different_sign(initial: Tensor, final: Tensor) -> Tensor:
    """Return max(0, -w_f sign(w_i)): the opposite control."""
    return (-final * initial.sign()).clamp_min(0.0)


CRITERIA: Final[Mapping[str, Criterion]] = MappingProxyType(
    {
        "large-final": large_final,
        "small-final": small_final,
        "large-init": large_init,
        "small-init": small_init,
        "large-init-large-final": large_init_large_final,
        "small-init-small-final": small_init_small_final,
        "magnitude-increase": magnitude_increase,
        "movement": movement,
        "large-final-same-sign": large_final_same_sign,
        "large-final-different-sign": large_final_different_sign,
    }
)
"""The mask criteria of Zhou, Lan, Liu & Yosinski (2019) but "random", which is a control of its own (`Control`)."""
PLATEAUS: Final = frozenset({"large-final-same-sign", "large-final-different-sign"})
"""Criteria that give 0 to whole parts of a layer. Which of these stay is drawn (`untied`), as in the paper's code: by
their places it would be the last units of the layer that keep everything, and the first ones nothing."""


def scores(
    criterion: str,
    initial: Mapping[str, Tensor],
    final: Mapping[str, Tensor],
    kept: Mapping[str, Tensor],
    *,
    together: bool,
) -> dict[str, Tensor]:
    """Return the scores of weights, -infinity where nothing is left.

    Args:
        criterion: name of one of `CRITERIA`.
        initial: weights before training.
        final: weights after it.
        kept: what is left of them, boolean.
        together: whether layers compete; criteria with ranks then rank all of them together.

    Raises:
        ValueError: an unknown criterion.

    >>> w = {"a": torch.tensor([1.0, -3.0, 2.0])}
    >>> scores("large-final", w, w, {"a": torch.tensor([True, True, False])}, together=False)["a"].tolist()
    [1.0, 3.0, -inf]
    """
    if criterion not in CRITERIA:
        raise ValueError(f"unknown criterion {criterion!r}: expected one of {', '.join(CRITERIA)}")
    groups = [list(kept)] if together else [[name] for name in kept]
    found = {name: torch.full(kept[name].shape, -torch.inf, dtype=torch.float64) for name in kept}
    for group in groups:
        first, last = (torch.cat([w[name].cpu().double()[kept[name]] for name in group]) for w in (initial, final))
        values = CRITERIA[criterion](first, last)
        for name, part in zip(group, torch.split(values, [int(kept[name].sum()) for name in group]), strict=True):
            found[name][kept[name]] = part
    return found


def untied(found: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return scores that rank the same weights in the same order, but equal ones in a random order; NaN stays NaN.

    The order of equal ones is a function of (seed, name of the layer, place), the same at every level.

    Args:
        found: scores by layer.
        seed: of the trunk.

    >>> untied({"a": torch.tensor([2.0, -torch.inf]), "b": torch.tensor([1.0])}, 0)
    {'a': tensor([2., 0.], dtype=torch.float64), 'b': tensor([1.], dtype=torch.float64)}
    """
    keys = []
    for name, value in found.items():
        pairs = random.words(seed, f"weak/ties/{name}", 0, 2 * value.numel(), purpose=random.TRIAL).reshape(-1, 2)
        keys.append((pairs[:, 0].astype(np.uint64) << np.uint64(32)) | pairs[:, 1])
    values = torch.cat([value.reshape(-1) for value in found.values()]).numpy()
    ranks = torch.empty(len(values), dtype=torch.float64)
    ranks[torch.from_numpy(np.lexsort((np.concatenate(keys), values)))] = torch.arange(len(values)).double()
    ranks[torch.from_numpy(np.isnan(values))] = torch.nan  # else it would be the largest, and `largest` not refuse it
    parts = torch.split(ranks, [value.numel() for value in found.values()])
    return {name: part.view(found[name].shape) for name, part in zip(found, parts, strict=True)}


def _ranks(values: Tensor) -> Tensor:
    """0 for the smallest; of equal values the first has the lower rank."""
    ranks = torch.empty(len(values), dtype=torch.float64)
    ranks[values.argsort(stable=True)] = torch.arange(len(values), dtype=torch.float64)
    return ranks
