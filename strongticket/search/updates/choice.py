"""Which update moves the scores: the fastest that does what the method, the optimiser and the device ask for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from strongticket.search.layers import Layer
from strongticket.search.methods import (
    AbstractMethod,
    Biprop,
    EdgePopup,
    GemMiner,
    IteRand,
    MethodState,
    Multicoated,
    SignedSupermask,
    Threshold,
)
from strongticket.search.optimiser import ScoreOptimiser
from strongticket.search.updates.fused import FusedTopK
from strongticket.search.updates.fused_rest import FusedCoats, FusedThresholds
from strongticket.search.updates.plain import PlainUpdate
from strongticket.search.updates.segmented import SegmentedTopK

__all__ = ["Update", "update_of"]

Update = FusedTopK | FusedCoats | FusedThresholds | SegmentedTopK | PlainUpdate
"""Moves scores and chooses: `step`, `choose`, `scores`, `effective`, `check`, and the state of a resumed search."""


def update_of(
    layers: Sequence[Layer],
    scores: list[Tensor],
    weights: list[Tensor],
    method: AbstractMethod,
    state: MethodState,
    how: ScoreOptimiser,
    fused: bool,
) -> Update:
    """Return the update of a search.

    Args:
        layers: what is searched.
        scores: initial scores per layer.
        weights: frozen weights per layer.
        method: the method.
        state: its memory.
        how: the optimiser of the scores.
        fused: False for plain torch operations.
    """
    if fused and how.name == "sgd":
        fast = _fast(layers, scores, weights, method, state, how)
        if fast is not None:
            return fast
    kind: torch.optim.Optimizer
    if how.name == "adam":
        kind = torch.optim.Adam(scores, lr=0.1, weight_decay=how.weight_decay)
    elif how.name == "rmsprop":
        kind = torch.optim.RMSprop(scores, lr=0.1, weight_decay=how.weight_decay)
    else:
        kind = torch.optim.SGD(
            scores, lr=0.1, momentum=how.momentum, nesterov=how.nesterov, weight_decay=how.weight_decay
        )
    return PlainUpdate(layers, scores, weights, method, state, kind)


def _fast(
    layers: Sequence[Layer],
    scores: list[Tensor],
    weights: list[Tensor],
    method: AbstractMethod,
    state: MethodState,
    how: ScoreOptimiser,
) -> Update | None:
    options: dict[str, Any] = {
        "momentum": how.momentum, "nesterov": how.nesterov, "weight_decay": how.weight_decay,
    }  # fmt: skip
    device = scores[0].device.type
    if isinstance(method, Biprop) and not all(bool(weight.all()) for weight in weights):
        return None  # what is kept is told by not being 0
    if device == "cuda" and isinstance(method, EdgePopup | IteRand | Biprop):
        return SegmentedTopK(layers, scores, weights, method, state, **options)
    if device != "cpu" or find_spec("numba") is None:
        return None
    if isinstance(method, EdgePopup | IteRand | Biprop):
        return FusedTopK(layers, scores, weights, method, state, **options)
    if isinstance(method, Multicoated):
        return FusedCoats(layers, scores, weights, method, state, **options)
    if isinstance(method, GemMiner | SignedSupermask | Threshold):
        return FusedThresholds(layers, scores, weights, method, state, **options)
    return None
