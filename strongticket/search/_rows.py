"""Scores of many searches at once, [runs, size] per layer: moved and chosen from together, by each run's own counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from strongticket.search.layers import Layer
from strongticket.search.methods import AbstractTopK, EdgePopup, MethodState
from strongticket.search.recipes import SearchRecipe
from strongticket.search.updates.fused import FusedTopK

__all__ = ["EachOwn", "FusedRows", "PlainRows", "largest_rows"]


@dataclass(frozen=True)
class EachOwn(AbstractTopK):
    """The counts of several methods, one behind the other, layer by layer."""

    methods: tuple[EdgePopup, ...] = ()
    key = "edge-popup"
    score_init = "kaiming-uniform"

    @property
    def absolute(self) -> bool:
        return self.methods[0].absolute

    def counts(self, layers: Sequence[Layer], progress: float) -> list[int]:
        """Return the count of each layer of each run, all runs of the first layer first."""
        runs = len(self.methods)
        each = [method.counts(layers[::runs], progress) for method in self.methods]
        return [count for layer in zip(*each, strict=True) for count in layer]

    def columns(self, layers: Sequence[Layer], progress: float, device: torch.device) -> list[Tensor]:
        """Return the counts of each layer as a column [runs, 1]."""
        each = [method.counts(layers, progress) for method in self.methods]
        return [torch.tensor(layer, device=device).view(-1, 1) for layer in zip(*each, strict=True)]

    def ranks(self, score: Tensor) -> Tensor:
        """Return what scores are compared by."""
        return score.abs() if self.absolute else score


class PlainRows:
    """Scores [runs, size] per layer, moved and chosen from by operations that treat all runs at once."""

    def __init__(
        self,
        scores: list[Tensor],
        weights: list[Tensor],
        method: EachOwn,
        layers: Sequence[Layer],
        recipe: SearchRecipe,
    ) -> None:
        self.scores, self._weights, self._method, self._layers = scores, weights, method, layers
        how = recipe.optimiser
        self._optimiser = torch.optim.SGD(
            scores, lr=recipe.lr, momentum=how.momentum, nesterov=how.nesterov, weight_decay=how.weight_decay
        )
        self._at = -1.0
        self._columns: list[Tensor] = []
        self.effective: list[Tensor] = []

    def step(self, gradients: Sequence[Tensor], lr: float, progress: float) -> None:
        """Move the scores along the slopes of these gradients [runs, size], and choose."""
        for score, weight, gradient in zip(self.scores, self._weights, gradients, strict=True):
            score.grad = self._method.methods[0].slope(score, weight, gradient, weight)
        self._optimiser.param_groups[0]["lr"] = lr
        self._optimiser.step()
        self.choose(progress)

    def choose(self, progress: float) -> None:
        """Choose from the scores as they are, at a share of the search."""
        if progress != self._at:
            self._at = progress
            self._columns = self._method.columns(self._layers, progress, self.scores[0].device)
        self.effective = [
            weight * largest_rows(self._method.ranks(score), counts)
            for score, weight, counts in zip(self.scores, self._weights, self._columns, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Scores and momenta."""
        return {"scores": self.scores, "optimiser": self._optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of `state_dict`; the caller chooses afterwards."""
        for mine, saved in zip(self.scores, state["scores"], strict=True):
            mine.copy_(saved)
        self._optimiser.load_state_dict(state["optimiser"])


class FusedRows:
    """The compiled update of single searches, told that all runs of all layers are layers of one network."""

    def __init__(
        self,
        scores: list[Tensor],
        weights: list[Tensor],
        method: EachOwn,
        layers: Sequence[Layer],
        recipe: SearchRecipe,
    ) -> None:
        self._runs, self._state = len(method.methods), MethodState()
        how = recipe.optimiser
        self._update = FusedTopK(
            [layer for layer in layers for _ in range(self._runs)],
            [row for score in scores for row in score], [row for weight in weights for row in weight],
            method, self._state,
            momentum=how.momentum, nesterov=how.nesterov, weight_decay=how.weight_decay,
        )  # fmt: skip
        self.scores, self.effective = self._stacks(self._update.scores), self._stacks(self._update.effective)

    def _stacks(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """[runs, size] per layer: the rows lie one behind the other in the buffer."""
        firsts = parts[:: self._runs]
        return [first.as_strided((self._runs, len(first)), (len(first), 1)) for first in firsts]

    def step(self, gradients: Sequence[Tensor], lr: float, progress: float) -> None:
        """Move the scores along the slopes of these gradients [runs, size], and choose."""
        self._state.progress = progress
        self._update.step([row for gradient in gradients for row in gradient], lr)

    def choose(self, progress: float) -> None:
        """Choose from the scores as they are, at a share of the search."""
        self._state.progress = progress
        self._update.choose()

    def state_dict(self) -> dict[str, Any]:
        """Scores, momenta and brackets."""
        return self._update.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of `state_dict`; the caller chooses afterwards."""
        self._update.load_state_dict(state)


def largest_rows(values: Tensor, counts: Tensor) -> Tensor:  # [rows, size], [rows, 1] -> [rows, size] bool
    """Mark the largest values of each row, its own number of them, by the rule of `strongticket.selection.largest`.

    >>> largest_rows(torch.tensor([[1.0, 2.0, 2.0], [3.0, 1.0, 2.0]]), torch.tensor([[1], [3]]))
    tensor([[False, False,  True],
            [ True,  True,  True]])
    """
    size = values.shape[1]
    threshold = values.sort(1).values.gather(1, (size - counts).clamp(0, size - 1))
    above, ties = values > threshold, values == threshold
    from_the_end = ties.flip(1).cumsum(1).flip(1)
    return (above | (ties & (from_the_end <= counts - above.sum(1, keepdim=True)))) & (counts > 0)
