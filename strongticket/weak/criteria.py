"""Which weights of a trained network are kept: criteria on where a weight began and where it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

__all__ = ["CRITERIA", "Criterion", "scores"]

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


def _ranks(values: Tensor) -> Tensor:
    """0 for the smallest; of equal values the first has the lower rank."""
    ranks = torch.empty(len(values), dtype=torch.float64)
    ranks[values.argsort(stable=True)] = torch.arange(len(values), dtype=torch.float64)
    return ranks
