"""One-pass updates on a CPU for methods beyond the plain largest scores: nested masks, and fixed thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from strongticket.search.methods import GemMiner, SignedSupermask, Threshold
from strongticket.search.updates.fused import Segment

if TYPE_CHECKING:
    from strongticket.search.layers import Layer
    from strongticket.search.methods import MethodState, Multicoated

__all__ = ["FusedCoats", "FusedThresholds"]

_NONE = np.float32(np.inf)


class _Buffers:
    """Scores, momenta and kept weights of all layers, as tensors and as arrays of the same memory."""

    def __init__(self, scores: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
        sizes = [score.numel() for score in scores]
        self.flat = torch.cat([score.reshape(-1) for score in scores])
        self.momentum, self.effective = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        flats = (self.flat, self.momentum, self.effective)
        self.scores, _, self.kept = (list(torch.split(flat, sizes)) for flat in flats)
        arrays = [[part.numpy() for part in torch.split(flat, sizes)] for flat in flats]
        self.layers = list(zip([weight.numpy() for weight in weights], *arrays, strict=True))
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).tolist()
        self.wrong = False

    def look(self) -> None:
        self.wrong |= not bool(self.flat.isfinite().all())

    def check(self) -> None:
        if self.wrong:
            raise RuntimeError("scores became NaN or infinite: lower lr, or check the loss and the gradients")

    def state_dict(self) -> dict[str, Any]:
        return {"scores": self.flat.clone(), "momenta": self.momentum.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.flat.copy_(state["scores"])
        self.momentum.copy_(state["momenta"])
        self.wrong = False


@final
class FusedCoats:
    """Multicoated supermasks in compiled passes: a bracket for each coat of each segment, and one pass that writes.

    Args:
        layers, scores, weights, state, momentum, nesterov, weight_decay: see `FusedTopK`.
        method: the coats.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        scores: Sequence[Tensor],
        weights: Sequence[Tensor],
        method: Multicoated,
        state: MethodState,
        *,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        from strongticket.search.updates import _kernels

        self._kernels = _kernels
        self._buffers = _Buffers(scores, weights)
        self.scores, self.effective = self._buffers.scores, self._buffers.kept
        factor = np.float32(len(method.densities))
        self._hyper = (np.float32(momentum), np.float32(weight_decay), nesterov, True, factor)
        together, places = method.allocation == "global", list(range(len(layers)))
        groups = [places] if together else [[i] for i in places]
        sizes = [sum(layers[i].size for i in group) for group in groups]
        counts = [method.counts(layers, density) for density in method.densities]
        self._coats = [
            [(Segment(group, size), own[g]) for own in counts]
            for g, (group, size) in enumerate(zip(groups, sizes, strict=True))
        ]

    @property
    def misses(self) -> list[int]:
        """How often each coat's bracket did not hold its threshold, segment by segment."""
        return [segment.misses for coats in self._coats for segment, _ in coats]

    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """One step of SGD and the choice that follows."""
        momentum, decay, nesterov, absolute, factor = self._hyper
        for coats in self._coats:
            first = coats[0][0]
            low, high = first.bracket(absolute, 0.0)
            seen = np.zeros(3, np.int64)
            base = self._buffers.starts[first.layers[0]]
            for i in first.layers:
                weight, score, speed, kept = self._buffers.layers[i]
                self._kernels.step(
                    gradients[i].numpy(), weight, score, speed, kept,
                    np.float32(lr), momentum, decay, nesterov, absolute, factor,
                    low, high, first.keys, self._buffers.starts[i] - base, seen,
                )  # fmt: skip
            self._buffers.wrong |= bool(seen[2])
            self._wear(coats, seen)

    def choose(self) -> None:
        """Choose from the scores as they are."""
        self._buffers.look()
        for coats in self._coats:
            self._wear(coats, None)

    def _wear(self, coats: list[tuple[Segment, int]], seen: npt.NDArray[np.int64] | None) -> None:
        """Find the last score that wears each coat, and write the weights; `seen` is what is known of the first."""
        cuts = []
        for c, (segment, count) in enumerate(coats):
            cuts.append(self._cut(segment, count, seen if c == 0 else None))
        ranks, places = np.array([cut[0] for cut in cuts], np.int32), np.array([cut[1] for cut in cuts], np.int64)
        own = coats[0][0].layers
        for i in own:
            weight, score, _, kept = self._buffers.layers[i]
            base = self._buffers.starts[i] - self._buffers.starts[own[0]]
            self._kernels.wear(weight, score, kept, ranks, places, base)

    def _cut(self, segment: Segment, count: int, seen: npt.NDArray[np.int64] | None) -> tuple[int, int]:
        """Rank and index of the last score among the `count` largest."""
        if count in (0, segment.size):
            return (-1, 0) if count else (0x7FFFFFFF, segment.size)
        if seen is None:
            seen = self._look(segment, self._kernels.look, *segment.bracket(True, 0.0))
        if not 1 <= count - int(seen[0]) <= int(seen[1]) <= len(segment.keys):
            segment.misses += segment.predicted
            first, last = segment.layers[0], segment.layers[-1] + 1
            span = self._buffers.flat.numpy()[self._buffers.starts[first] : self._buffers.starts[last]]
            rank = self._kernels.threshold(span, count, True)
            seen = self._look(segment, self._kernels.look_exactly, rank)
            if int(seen[1]) > len(segment.keys):
                segment.keys = np.empty(int(seen[1]), np.int64)
                seen = self._look(segment, self._kernels.look_exactly, rank)
        key = int(self._kernels.nth_largest(segment.keys[: int(seen[1])], count - int(seen[0])))
        segment.settle(float(np.array(key >> 32, np.int32).view(np.float32)), True, 0.0)
        return key >> 32, key & 0xFFFFFFFF

    def _look(self, segment: Segment, kernel: Any, *bounds: Any) -> npt.NDArray[np.int64]:
        seen = np.zeros(3, np.int64)
        base = self._buffers.starts[segment.layers[0]]
        for i in segment.layers:
            kernel(self._buffers.layers[i][1], True, *bounds, segment.keys, self._buffers.starts[i] - base, seen)
        return seen

    def check(self) -> None:
        """Raise RuntimeError if a score has been NaN or infinite after some step."""
        self._buffers.check()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed search needs: scores and momenta; brackets are found again."""
        return self._buffers.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of `state_dict`; the caller chooses afterwards."""
        self._buffers.load_state_dict(state)


@final
class FusedThresholds:
    """Gem-Miner, signed supermasks and fixed thresholds: one pass moves the scores and compares them.

    Args:
        layers, scores, weights, state, momentum, nesterov, weight_decay: see `FusedTopK`.
        method: what is compared.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        scores: Sequence[Tensor],
        weights: Sequence[Tensor],
        method: GemMiner | SignedSupermask | Threshold,
        state: MethodState,
        *,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        from strongticket.search.updates import _kernels

        self._kernels, self._layers, self._method, self._state = _kernels, layers, method, state
        self._buffers = _Buffers(scores, weights)
        self.scores, self.effective = self._buffers.scores, self._buffers.kept
        lowest, highest = method.clamp or (-np.inf, np.inf)
        penalty = 2 * method.penalty if isinstance(method, GemMiner) else 0.0
        self._hyper = (np.float32(momentum), np.float32(weight_decay), nesterov)
        self._range = (np.float32(lowest), np.float32(highest), np.float32(penalty))
        self._empty = np.empty(0, np.bool_)

    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """One step of SGD and the choice that follows."""
        for i, (weight, score, speed, kept) in enumerate(self._buffers.layers):
            alive, threshold, rule = self._rule(i)
            wrong = self._kernels.pass_threshold(
                gradients[i].numpy(), weight, score, speed, kept, alive,
                np.float32(lr), *self._hyper, *self._range, threshold, rule,
            )  # fmt: skip
            self._buffers.wrong |= wrong > 0

    def choose(self) -> None:
        """Choose from the scores as they are."""
        self._buffers.look()
        settled = self._state.alive if isinstance(self._method, GemMiner) else self._state.thresholds
        if settled is None:  # survivors and thresholds are made by the first look
            self._method.masks(self._layers, self.scores, self._state)
        for i, (weight, score, _, kept) in enumerate(self._buffers.layers):
            alive, threshold, rule = self._rule(i)
            self._kernels.compare(weight, score, kept, alive, threshold, rule)

    def _rule(self, layer: int) -> tuple[npt.NDArray[np.bool_], np.float32, int]:
        """What a layer's scores are compared with, and how, see the kernel `compare`."""
        method = self._method
        if isinstance(method, GemMiner):
            assert self._state.alive is not None
            done = method.unflag and self._state.progress >= 1
            return self._state.alive[layer].numpy(), np.float32(0.5), 3 if done else 0
        if isinstance(method, SignedSupermask):
            assert self._state.thresholds is not None
            return self._empty, np.float32(self._state.thresholds[layer].item()), 2
        return self._empty, np.float32(method.threshold), 1

    def check(self) -> None:
        """Raise RuntimeError if a score has been NaN or infinite after some step."""
        self._buffers.check()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed search needs: scores and momenta."""
        return self._buffers.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of `state_dict`; the caller chooses afterwards."""
        self._buffers.load_state_dict(state)
