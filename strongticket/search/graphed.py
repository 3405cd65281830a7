"""A training step of a search as one CUDA graph: what a small network costs on a GPU is the starting of operations.

Forward pass, backward pass, moving the scores and choosing are captured once and replayed with one call. What changes
from step to step (the batch, the learning rate, the counts of an annealed density) lies at fixed places in memory that
are written before the replay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from strongticket.search.searcher import Searcher
from strongticket.search.updates.segmented import SegmentedTopK

__all__ = ["GraphedStep"]

_WARM_UP = 3


@final
class GraphedStep:
    """Take the steps of a search by replaying one captured step; without a CUDA device, the same steps as they come.

    Args:
        searcher: on a CUDA device a search of edge-popup, IteRand or binary weights with SGD (a `SegmentedTopK`).
        loss: of (inputs, labels), a scalar, made with the searcher's module; everything in it has to be the same
            operations on the same shapes each time. Random numbers come from the device's default generator.
        inputs: a batch like all that will come, in shape, dtype and device.
        labels: its labels.

    Raises:
        ValueError: a search that cannot be captured.

    >>> from strongticket.models import MLP
    >>> from strongticket.search import EdgePopup, random_source
    >>> searcher = Searcher(random_source(MLP((8, 16, 2)), seed=0), EdgePopup(density=0.25))
    >>> x, y = torch.eye(8), torch.arange(8) % 2
    >>> step = GraphedStep(searcher, lambda x, y: torch.nn.functional.cross_entropy(searcher.module(x), y), x, y)
    >>> losses = [float(step(x, y, lr=0.1)) for _ in range(20)]
    >>> losses[-1] < losses[0]
    True
    """

    def __init__(
        self, searcher: Searcher, loss: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, labels: Tensor
    ) -> None:
        self._searcher, self._of = searcher, loss
        self._parameters = [searcher.module.get_parameter(layer.name) for layer in searcher.layers]
        self._inputs, self._labels = inputs.clone(), labels.clone()
        self._graph: torch.cuda.CUDAGraph | None = None
        update, self._device = searcher._update, self._parameters[0].device
        if self._device.type != "cuda":
            return
        if not isinstance(update, SegmentedTopK):
            raise ValueError(
                f"expected a search of edge-popup, IteRand or binary weights with SGD on {self._device}, got "
                f"{searcher.method} with {searcher.optimiser}: take its steps one by one"
            )
        self._update = update
        self._capture()

    def _capture(self) -> None:
        """Run a few steps, so that everything is compiled and allocated, undo them, and capture one."""
        module, before = self._searcher.module, self._searcher.state_dict()
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        noise = torch.cuda.get_rng_state(self._device)
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._run()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        torch.cuda.set_rng_state(noise, self._device)
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                buffer.copy_(buffers[name])
        self._searcher.load_state_dict(before)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = self._run()
        self._gradients = [parameter.grad for parameter in self._parameters]

    def _run(self) -> Tensor:
        """What is captured."""
        result, searcher = self._backward(), self._searcher
        with torch.no_grad():
            gradients = [searcher._gradient(layer) for layer in searcher.layers]
            self._update.move([unit.gather([gradients[i] for i in unit.places]) for unit in searcher._units])
        return result

    def _backward(self) -> Tensor:
        self._searcher.zero_grad()
        result = self._of(self._inputs, self._labels)
        result.backward()  # type: ignore[no-untyped-call]
        return result.detach()

    def __call__(self, inputs: Tensor, labels: Tensor, lr: float, *, progress: float | None = None) -> Tensor:
        """Take one step.

        Args:
            inputs, labels: the batch.
            lr: learning rate of the scores.
            progress: see `Searcher.step`.

        Returns:
            The loss before the step; on a CUDA device the next step overwrites it.

        Raises:
            ValueError: a batch of another shape or dtype than the first; see also `Searcher.step`.
        """
        for mine, given in ((self._inputs, inputs), (self._labels, labels)):
            if mine.shape != given.shape or mine.dtype != given.dtype:
                raise ValueError(
                    f"expected a batch of {tuple(mine.shape)} {mine.dtype} as captured, got {tuple(given.shape)} "
                    f"{given.dtype}: leave out the last, smaller batch, or take its step with the searcher"
                )
            mine.copy_(given, non_blocking=True)
        if self._graph is None:
            result = self._backward()
            self._searcher.step(lr, progress=progress)
            return result
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        self._update.captured = self._graph.replay
        try:
            self._searcher.step(lr, progress=progress)
        finally:
            self._update.captured = None
        return self._result
