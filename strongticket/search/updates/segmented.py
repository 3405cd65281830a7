"""The update of the methods that keep the largest scores, on a GPU: the whole network in a few launches, no waiting.

Scores, momenta, weights, kept weights and gradients of all searched layers lie one behind the other in flat buffers;
what a layer sees are views. Counts, learning rate, brackets and the number of misses lie on the device too, so that a
step is the same launches on the same memory whatever happens, never waits, and can be captured in a CUDA graph: a
smaller learning rate or an annealed density are numbers that the host writes between two steps.

Every backend rounds each product and each sum once (no fused multiply-adds) and ranks scores by their bits, so that
they give the same bits on every device. Plain optimisers of torch do fuse, and differ in the last place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import Tensor

from strongticket.search.updates.flat import AbstractEngine, Flat, TorchEngine
from strongticket.search.updates.flat_triton import Grain, TritonEngine

if TYPE_CHECKING:
    from strongticket.search.layers import Layer
    from strongticket.search.methods import AbstractTopK, MethodState

__all__ = ["SegmentedTopK"]

_LARGEST = (1 << 31) - 1  # flat index + 1 that fits into a key


@final
class SegmentedTopK:
    """Scores, momenta and kept weights of a search in flat buffers on a device, moved and chosen from without waiting.

    Args:
        layers: what is searched.
        scores: initial scores per layer; the buffers hold copies, `scores` the views of them.
        weights: frozen weights per layer, copied; `weights` are the views, through which they may be changed. None of
            them 0 if the method makes them binary.
        method: gives the counts and says how scores are ranked and kept weights read.
        state: its memory, shared with the searcher.
        momentum, nesterov, weight_decay: of SGD.
        engine: "triton" or "torch"; None: triton on CUDA devices where it is installed.

    Raises:
        ValueError: more scores than a flat index of 31 bits can name.
        ImportError, RuntimeError: see `TritonEngine`.
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
        engine: Literal["triton", "torch"] | None = None,
        grain: Grain | None = None,
    ) -> None:
        sizes = [layer.size for layer in layers]
        if sum(sizes) > _LARGEST:
            raise ValueError(f"expected at most {_LARGEST} scores on one device, got {sum(sizes)}: search fewer layers")
        self._layers, self._method, self._state = layers, method, state
        flat = torch.cat([score.reshape(-1) for score in scores])
        together = method.allocation == "global"
        device = flat.device
        self.flat = Flat(
            weights=torch.cat([weight.reshape(-1) for weight in weights]),
            scores=flat,
            momenta=torch.zeros_like(flat),
            kept=torch.zeros_like(flat),
            gradients=torch.zeros_like(flat),
            hyper=torch.tensor([0.0, momentum, weight_decay], device=device),
            sizes=(sum(sizes),) if together else tuple(sizes),
            counts=torch.zeros(1 if together else len(sizes), dtype=torch.int32, device=device),
            wrong=torch.zeros(1, dtype=torch.int32, device=device),
        )
        self.scores, self.weights, self.effective = (
            list(torch.split(part, sizes)) for part in (self.flat.scores, self.flat.weights, self.flat.kept)
        )
        self._kept, self._gradients = self.effective, list(torch.split(self.flat.gradients, sizes))
        if method.reading != "plain":
            self.effective = list(torch.split(torch.zeros_like(flat), sizes))
        self._counted: float | None = None
        """The progress that the counts on the device are of."""
        self.captured: Callable[[], None] | None = None
        """What a step does in place of `move`, where that was captured."""
        if engine is None:
            engine = "triton" if device.type == "cuda" and find_spec("triton") is not None else "torch"
        self.engine: AbstractEngine
        if engine == "triton":
            self.engine = TritonEngine(self.flat, absolute=method.absolute, nesterov=nesterov, grain=grain)
        else:
            self.engine = TorchEngine(self.flat, absolute=method.absolute, nesterov=nesterov)

    @property
    def misses(self) -> list[int]:
        """How often each bracket did not hold the threshold; waits for the device."""
        return self.engine.misses

    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """One step of SGD and the choice that follows."""
        self.prepare(lr)
        if self.captured is None:
            self.move(gradients)
        else:
            self.captured()

    def prepare(self, lr: float) -> None:
        """Write what the host decides to the device: the learning rate, and the counts where they changed."""
        self.flat.hyper[0].fill_(lr)
        progress = self._state.progress
        if self._counted is None or (self._method.moves and progress != self._counted):
            counts = self._method.counts(self._layers, progress)
            pinned = self.flat.device.type == "cuda"  # or the copy would wait for the device
            told = torch.tensor(counts, dtype=torch.int32, pin_memory=pinned)
            self.flat.counts.copy_(told, non_blocking=True)
            self._counted = progress

    def move(self, gradients: Sequence[Tensor]) -> None:
        """The device's part of a step: the same launches every time, none of which the host waits for."""
        torch._foreach_copy_(self._gradients, list(gradients))
        self.engine.step()
        self._read()

    def choose(self) -> None:
        """Choose from the scores as they are."""
        self.prepare(0.0)
        self.flat.wrong.logical_or_(~self.flat.scores.isfinite().all())
        self.engine.choose()
        self._read()

    def _read(self) -> None:
        """Binary weights need the mean magnitude of what was kept."""
        if self._method.reading != "plain":
            for weight, kept, effective in zip(self.weights, self._kept, self.effective, strict=True):
                effective.copy_(self._method.weigh(weight, kept != 0))

    def check(self) -> None:
        """Raise RuntimeError if a score has been NaN or infinite at some choice; waits for the device."""
        if bool(self.flat.wrong):
            raise RuntimeError("scores became NaN or infinite: lower lr, or check the loss and the gradients")

    def state_dict(self) -> dict[str, Any]:
        """What a resumed search needs: scores, momenta and brackets."""
        return {
            "scores": self.flat.scores.clone(),
            "momenta": self.flat.momenta.clone(),
            "brackets": self.engine.state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of `state_dict`; the caller chooses afterwards."""
        self.flat.scores.copy_(state["scores"])
        self.flat.momenta.copy_(state["momenta"])
        self.flat.wrong.zero_()
        self.engine.restore(state["brackets"])
        self._counted = None
