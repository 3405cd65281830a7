"""Any method, any device, in plain torch operations: what faster updates are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from strongticket.search.layers import Layer
from strongticket.search.methods import AbstractMethod, MethodState

__all__ = ["PlainUpdate"]


class PlainUpdate:
    """Scores with an optimiser of torch, chosen from by the method's own rule; nothing here waits for the device.

    Args:
        layers: what is searched.
        scores: initial scores per layer, which are moved in place.
        weights: frozen weights per layer.
        method: the method.
        state: its memory, shared with the searcher.
        optimiser: made from the scores.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        scores: list[Tensor],
        weights: list[Tensor],
        method: AbstractMethod,
        state: MethodState,
        optimiser: torch.optim.Optimizer,
    ) -> None:
        self.layers, self.scores, self.weights = layers, scores, weights
        self.method, self.state, self.optimiser = method, state, optimiser
        self._wrong = torch.zeros((), dtype=torch.bool, device=scores[0].device)
        self.masks: list[Tensor] = []
        self.effective: list[Tensor] = []

    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """Move the scores and choose."""
        if self.method.clamp is not None:
            for score in self.scores:
                score.clamp_(*self.method.clamp)
        for score, weight, gradient, mask in zip(self.scores, self.weights, gradients, self.masks, strict=True):
            score.grad = self.method.slope(score, weight, gradient, mask)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step()
        for score in self.scores:
            score.grad = None
        self.choose()

    def choose(self) -> None:
        """Choose from the scores as they are."""
        for score in self.scores:
            self._wrong |= ~score.isfinite().all()
        self.masks = self.method.masks(self.layers, self.scores, self.state)
        self.effective = [self.method.weigh(w, m) for w, m in zip(self.weights, self.masks, strict=True)]

    def check(self) -> None:
        """Raise RuntimeError if a score has been NaN or infinite at some choice; waits for the device."""
        if bool(self._wrong):
            raise RuntimeError("scores became NaN or infinite: lower lr, or check the loss and the gradients")

    def state_dict(self) -> dict[str, Any]:
        """What a resumed search needs."""
        return {"scores": torch.cat(self.scores), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of `state_dict`; the caller chooses afterwards."""
        for score, saved in zip(self.scores, torch.split(state["scores"], [len(s) for s in self.scores]), strict=True):
            score.copy_(saved)
        self.optimiser.load_state_dict(state["optimiser"])
        self._wrong.zero_()
