"""The one-pass update of the methods that keep the largest scores, on a CPU: a warm bracket around each threshold.

The threshold moves little from step to step (about 1e-4 of itself), so a bracket around the last one holds the new one
and few other scores. What the bracket says is checked by two counts; where it is wrong, a radix selection finds the
threshold afresh. The mask is exact either way: the prediction affects speed alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from strongticket.search.layers import Layer
    from strongticket.search.methods import AbstractTopK, MethodState

__all__ = ["FusedTopK", "Segment"]

_NARROWEST, _WIDEST = 1e-5, 0.05
_START = 1e-3
_ROOM = 4096
Floats = npt.NDArray[np.float32]


class Segment:
    """Layers that compete for one count, and the bracket around their threshold."""

    def __init__(self, layers: list[int], size: int) -> None:
        self.layers = layers
        self.size = size
        self.threshold = math.nan
        self.width = _START if size >= 20_000 else 10 * _START
        self.misses = 0
        self.keys = np.empty(max(_ROOM, size // 32) if size > _ROOM else size, np.int64)

    @property
    def predicted(self) -> bool:
        """Whether there is a threshold to predict the next one from."""
        return not math.isnan(self.threshold)

    def bracket(self, absolute: bool, spread: float) -> tuple[np.float32, np.float32]:
        """The values between which the next threshold is expected."""
        if math.isnan(self.threshold):
            return np.float32(np.inf), np.float32(np.inf)  # holds nothing: the threshold will be looked for
        scale = self.threshold if absolute else max(abs(self.threshold), spread)
        return np.float32(self.threshold - self.width * scale), np.float32(self.threshold + self.width * scale)

    def settle(self, threshold: float, absolute: bool, spread: float) -> None:
        """Take up the threshold that was found."""
        if not math.isnan(self.threshold):
            scale = self.threshold if absolute else max(abs(self.threshold), spread)
            moved = 6 * abs(threshold - self.threshold) / scale if scale > 0 else _WIDEST
            self.width = min(_WIDEST, max(_NARROWEST, 0.9 * self.width, moved))
        self.threshold = threshold


def _scale(weight: Floats) -> tuple[float, int]:
    """A power of two that brings all |w| below 2^30, and how many limbs of 30 bits hold the scaled ones exactly."""
    if not weight.size:  # all of the layer is frozen
        return 1.0, 1
    magnitude = np.abs(weight).astype(np.float64)
    scale = 2.0 ** (30 - math.frexp(float(magnitude.max()))[1])
    return scale, 1 if np.array_equal(magnitude * scale, np.floor(magnitude * scale)) else 3


class FusedTopK:
    """Scores, momenta and kept weights of a search in flat buffers, updated and chosen from by compiled kernels.

    Args:
        layers: what is searched.
        scores: initial scores per layer; the buffers hold copies, `scores` the views of them.
        weights: frozen weights per layer, [size] float32, contiguous; none of them 0 if the method makes them binary.
        method: gives the counts and says how scores are ranked, and kept weights read.
        state: its memory, shared with the searcher.
        momentum, nesterov, weight_decay: of SGD.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        scores: Sequence[Tensor],
        weights: Sequence[Tensor],
        method: AbstractTopK,
        state: MethodState,
        *,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        from strongticket.search.updates import _kernels

        self._kernels = _kernels
        sizes = [layer.size for layer in layers]
        flat = torch.cat([score.reshape(-1) for score in scores])
        self.scores = list(torch.split(flat, sizes))
        self.momenta = list(torch.split(torch.zeros_like(flat), sizes))
        self.effective = list(torch.split(torch.zeros_like(flat), sizes))
        self.absolute = method.absolute
        self._layers, self._method, self._state = layers, method, state
        self._weights = [weight.numpy() for weight in weights]
        self._scores, self._momenta, self._kept = (
            [part.numpy() for part in parts] for parts in (self.scores, self.momenta, self.effective)
        )
        self._flat = flat.numpy()
        self._scales = [_scale(weight) for weight in self._weights] if method.reading == "binary" else []
        self._wrong = False
        self._hyper = (np.float32(momentum), np.float32(weight_decay), nesterov)
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).tolist()
        groups = [list(range(len(sizes)))] if method.allocation == "global" else [[i] for i in range(len(sizes))]
        self.segments = [Segment(group, sum(sizes[i] for i in group)) for group in groups]
        self._spread = [float(self._span(s).std()) if not self.absolute and s.size else 0.0 for s in self.segments]

    @property
    def misses(self) -> list[int]:
        """How often each bracket did not hold the threshold (each cost a radix selection)."""
        return [segment.misses for segment in self.segments]

    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """One step of SGD and the choice that follows.

        Raises:
            RuntimeError: a score became NaN.
        """
        momentum, decay, nesterov = self._hyper
        counts = self._method.counts(self._layers, self._state.progress)
        for segment, spread, count in zip(self.segments, self._spread, counts, strict=True):
            low, high = segment.bracket(self.absolute, spread)
            seen = np.zeros(3, np.int64)
            base = self._starts[segment.layers[0]]
            for i in segment.layers:
                self._kernels.step(
                    gradients[i].numpy(), self._weights[i], self._scores[i], self._momenta[i], self._kept[i],
                    np.float32(lr), momentum, decay, nesterov, self.absolute, np.float32(1.0),
                    low, high, segment.keys, self._starts[i] - base, seen,
                )  # fmt: skip
            self._settle(segment, spread, count, seen)
        self._binarise()

    def choose(self) -> None:
        """Choose from the scores as they are."""
        counts = self._method.counts(self._layers, self._state.progress)
        for segment, spread, count in zip(self.segments, self._spread, counts, strict=True):
            self._settle(segment, spread, count, self._look(segment, *segment.bracket(self.absolute, spread)))
        self._binarise()

    def _binarise(self) -> None:
        """Binary weights: the mean magnitude of what is kept of a layer, to the last bit that of the ticket."""
        for kept, (scale, limbs) in zip(self._kept, self._scales, strict=False):  # none where weights stay as they are
            first, second, third = (int(part) for part in self._kernels.exact_sum(kept, scale, limbs))
            total = float((first << 60) + (second << 30) + third) * 2.0**-60 / scale  # rounded once, then exact
            number = int(np.count_nonzero(kept))
            self._kernels.binarise(kept, np.float32(total / max(number, 1)))

    def _look(self, segment: Segment, low: np.float32, high: np.float32) -> npt.NDArray[np.int64]:
        seen = np.zeros(3, np.int64)
        base = self._starts[segment.layers[0]]
        for i in segment.layers:
            self._kernels.select(
                self._weights[i], self._scores[i], self._kept[i], self.absolute,
                low, high, segment.keys, self._starts[i] - base, seen,
            )  # fmt: skip
        return seen

    def _span(self, segment: Segment) -> Floats:
        return self._flat[self._starts[segment.layers[0]] : self._starts[segment.layers[-1] + 1]]

    def _settle(self, segment: Segment, spread: float, count: int, seen: npt.NDArray[np.int64]) -> None:
        if seen[2] and self._scales:
            self._wrong = True  # and choose nevertheless, as other updates do: `check` tells
        elif seen[2]:
            raise RuntimeError(
                f"{int(seen[2])} scores became NaN or infinite: lower lr, or check the loss and the gradients"
            )
        if count in (0, segment.size):
            for i in segment.layers:
                self._kept[i][:] = self._weights[i] if count else 0.0
            segment.threshold = math.nan
            return
        rest = count - int(seen[0])
        if not 1 <= rest <= int(seen[1]) <= len(segment.keys):
            segment.misses += not math.isnan(segment.threshold)
            seen = self._afresh(segment, count)
            rest = count - int(seen[0])
            if not 1 <= rest <= int(seen[1]):
                raise AssertionError(f"selection of {count} of {segment.size} scores went wrong: {seen.tolist()}")
        base = self._starts[segment.layers[0]]
        keys = segment.keys[: int(seen[1])]
        chosen = math.nan
        for i in segment.layers:
            chosen = float(self._kernels.settle(keys, rest, self._starts[i] - base, self._weights[i], self._kept[i]))
        segment.settle(chosen, self.absolute, spread)

    def _afresh(self, segment: Segment, count: int) -> npt.NDArray[np.int64]:
        """Find the threshold without a prediction; the buffer then holds all scores that equal it."""
        rank = self._kernels.threshold(self._span(segment), count, self.absolute)
        base = self._starts[segment.layers[0]]
        while True:
            seen = np.zeros(3, np.int64)
            for i in segment.layers:
                self._kernels.select_exactly(
                    self._weights[i], self._scores[i], self._kept[i], self.absolute,
                    rank, segment.keys, self._starts[i] - base, seen,
                )  # fmt: skip
            if int(seen[1]) <= len(segment.keys):
                return seen
            segment.keys = np.empty(int(seen[1]), np.int64)

    def check(self) -> None:
        """Raise RuntimeError if a score of binary weights became NaN or infinite; others raise in the step itself."""
        if self._wrong:
            raise RuntimeError("scores became NaN or infinite: lower lr, or check the loss and the gradients")

    def state_dict(self) -> dict[str, Any]:
        """What a resumed search needs: scores, momenta and brackets."""
        return {
            "scores": torch.cat(self.scores),
            "momenta": torch.cat(self.momenta),
            "brackets": [[segment.threshold, segment.width, segment.misses] for segment in self.segments],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of `state_dict`; the caller chooses afterwards."""
        sizes = [len(score) for score in self.scores]
        for mine, saved in ((self.scores, state["scores"]), (self.momenta, state["momenta"])):
            for part, value in zip(mine, torch.split(saved, sizes), strict=True):
                part.copy_(value)
        self._wrong = False
        for segment, (threshold, width, misses) in zip(self.segments, state["brackets"], strict=True):
            segment.threshold, segment.width, segment.misses = float(threshold), float(width), int(misses)
