"""What a network makes of data: its outputs, its predictions, and how many of them are right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["accuracy", "judged", "logits", "predictions"]

_BATCH = 2048


@contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Switch a module to evaluation, then give every part back the mode it had."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def logits(module: nn.Module, inputs: Tensor, *, batch_size: int = _BATCH) -> Tensor:
    """Return the outputs of a network in evaluation mode, in batches, without gradients.

    Args:
        module: the network; left as it is.
        inputs: [n, ...].
        batch_size: how many examples at a time, at least 1.

    Returns:
        The outputs [n, classes].

    Raises:
        ValueError: there are no inputs, or `batch_size` is below 1.

    >>> logits(nn.Identity(), torch.tensor([[1.0, 2.0]]))
    tensor([[1., 2.]])
    """
    if not len(inputs) or batch_size < 1:
        raise ValueError(f"expected at least one input and batch_size >= 1, got {len(inputs)} and {batch_size}")
    with _evaluation_mode(module):
        return torch.cat([module(batch) for batch in torch.split(inputs, batch_size)])


def predictions(module: nn.Module, inputs: Tensor, *, batch_size: int = _BATCH) -> Tensor:
    """Return the class that a network gives each input: the largest output, the first of several.

    Args:
        module: the network; left as it is.
        inputs: [n, ...].
        batch_size: how many examples at a time, at least 1.

    Returns:
        The classes [n], int64.

    >>> predictions(nn.Identity(), torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    tensor([1, 0])
    """
    return logits(module, inputs, batch_size=batch_size).argmax(1)


def accuracy(module: nn.Module, inputs: Tensor, labels: Tensor, *, batch_size: int = _BATCH) -> float:
    """Return the share of inputs, from 0 to 1, that a network gives their label.

    Args:
        module: the network; left as it is.
        inputs: [n, ...].
        labels: [n].
        batch_size: how many examples at a time, at least 1.

    Raises:
        ValueError: there is not exactly one label per input.

    >>> accuracy(nn.Identity(), torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([1, 1]))
    0.5
    """
    if labels.shape != inputs.shape[:1]:
        raise ValueError(f"expected one label per input, got shapes {tuple(inputs.shape)} and {tuple(labels.shape)}")
    return int((predictions(module, inputs, batch_size=batch_size) == labels).sum()) / len(labels)


def judged(module: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return (mean cross-entropy, in float64; number classified correctly) of a network in evaluation mode.

    Args:
        module: the network; left as it is.
        inputs: [n, ...].
        labels: [n] int64.

    Raises:
        ValueError: there are no inputs.

    >>> loss, hits = judged(nn.Identity(), torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([1, 0]))
    >>> round(float(loss), 4), int(hits)
    (0.5032, 1)
    """
    outputs = logits(module, inputs)
    return nn.functional.cross_entropy(outputs.double(), labels), (outputs.argmax(1) == labels).sum()
