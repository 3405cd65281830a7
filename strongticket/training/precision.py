"""Lower precision inside the network, none outside: autocast, and the scaling of losses that float16 needs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from strongticket.training.recipe import Autocast

__all__ = ["LossScale", "lower_precision"]

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_START, _GROWTH_STEPS, _LARGEST = 2.0**16, 2000, 2.0**24


def lower_precision(kind: Autocast | None, device: torch.device) -> AbstractContextManager[object]:
    """Return the context that the network is run in.

    Raises:
        ValueError: float16 elsewhere than on CUDA.
    """
    if kind is None:
        return nullcontext()
    if kind == "float16" and device.type != "cuda":
        raise ValueError(f"autocast to float16 needs a CUDA device, got {device}: use bfloat16, or None")
    return torch.autocast(device.type, dtype=_DTYPES[kind])


class LossScale:
    """Keep small gradients from vanishing in float16: losses are multiplied, gradients divided by a factor.

    The factor is halved, and the step skipped, when a gradient overflows; it doubles after 2,000 steps without one.

    >>> scale = LossScale()
    >>> weight = nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([1.0, float("inf")])
    >>> scale.unscale([weight]), scale.factor
    (False, 32768.0)
    """

    def __init__(self) -> None:
        self.factor = _START
        self.good = 0

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss to call backward on."""
        return loss * self.factor

    def unscale(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Divide the gradients and adapt the factor; False if one of them is not finite (then skip the step)."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        finite = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
        for gradient in gradients:
            gradient.div_(self.factor)
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.factor /= 2
        elif self.good >= _GROWTH_STEPS:
            self.factor, self.good = min(_LARGEST, 2 * self.factor), 0
        return finite
