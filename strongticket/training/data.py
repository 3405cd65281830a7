"""Data that can be trained on: checked before any work is done, split by a named stream, moved to the device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from strongticket.data._dataset import Split, held_out, pair_of
from strongticket.training.evaluate import logits
from strongticket.training.recipe import AbstractRecipe

__all__ = ["Examples", "check_examples", "check_fit", "check_outputs", "examples_of", "standardise"]


@dataclass(frozen=True, eq=False)
class Examples:
    """What a run learns from and what it chooses by.

    Attributes:
        inputs: [n, ...] float.
        labels: [n] int64.
        validation: (inputs, labels), or None.
    """

    inputs: Tensor
    labels: Tensor
    validation: tuple[Tensor, Tensor] | None

    def to(self, device: torch.device | None) -> Examples:
        """Return the same examples on a device; None leaves them."""
        if device is None:
            return self
        validation = None if self.validation is None else tuple(part.to(device) for part in self.validation)
        return Examples(self.inputs.to(device), self.labels.to(device), validation)  # type: ignore[arg-type]


def examples_of(
    inputs: Tensor,  # [n, ...]
    labels: Tensor,  # [n]
    validation: tuple[Tensor, Tensor] | Split | None,
    recipe: AbstractRecipe,
    seed: int,
) -> Examples:
    """Return checked examples; without validation data, the recipe's share of the training data is held out.

    Which ones is a function of (seed, n), by the stream of splits.

    Raises:
        ValueError: shapes, dtypes or values that cannot be trained on.
    """
    validation = pair_of(validation)
    check_examples("training", inputs, labels)
    if recipe.augmentation != "none" and inputs.ndim != 4:
        raise ValueError(
            f"augmentation {recipe.augmentation} needs images [n, channels, height, width], got inputs of shape "
            f"{tuple(inputs.shape)}"
        )
    if validation is not None and not len(validation[1]):
        validation = None
    if validation is not None:
        check_examples("validation", *validation)
    elif count := round(recipe.held_out * len(labels)):
        parts = held_out(seed, "held out", len(labels), count)
        kept, out = (torch.from_numpy(part).to(labels.device) for part in parts)
        validation = (inputs[out], labels[out])
        inputs, labels = inputs[kept], labels[kept]
    return Examples(inputs, labels, validation)


def check_examples(part: str, inputs: Tensor, labels: Tensor) -> None:
    """Refuse data that no classifier can be trained on.

    Raises:
        ValueError: saying what was expected.
    """
    numbers = inputs.is_floating_point() or inputs.dtype == torch.int64  # int64: tokens
    if not numbers or inputs.ndim < 2 or labels.dtype != torch.int64:
        raise ValueError(
            f"{part} data must be float inputs or int64 tokens [n, ...] and int64 labels [n], got {inputs.dtype} of "
            "shape "
            f"{tuple(inputs.shape)} and {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if labels.shape != inputs.shape[:1] or not len(labels):
        raise ValueError(
            f"{part} data must have one label per input and at least one, got shapes {tuple(inputs.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if not math.isfinite(sum(float(bound) for bound in torch.aminmax(inputs))):
        raise ValueError(f"{part} inputs hold NaN or infinite values: clean them first")


def check_fit(network: nn.Module, examples: Examples) -> None:
    """Refuse examples, for training or validation, that do not fit a network; see `check_outputs`."""
    check_outputs(network, examples.inputs, examples.labels)
    if examples.validation is not None:
        check_outputs(network, *examples.validation)


def check_outputs(network: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    """Refuse a network that does not take the inputs, or has fewer outputs than there are classes.

    Raises:
        ValueError: saying what was expected.
    """
    try:
        outputs = logits(network, inputs[:1])
    except RuntimeError as error:
        shape = tuple(inputs.shape[1:])
        raise ValueError(f"the network does not take inputs of shape {shape}: {error}; give one that fits") from error
    if outputs.ndim != 2:
        raise ValueError(f"the network must return [n, classes], got shape {tuple(outputs.shape)} for one input")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= outputs.shape[1]:
        raise ValueError(f"labels must lie in 0..{outputs.shape[1] - 1} (the network's outputs), got {low} to {high}")


def standardise(inputs: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Return images whose channels have mean 0 and variance 1 over the first tensor, the others treated alike.

    Published recipes do so before training; a ticket then expects inputs that were.

    Args:
        inputs: training images [n, channels, ...]; other data count as one channel.
        others: validation and test images.

    Raises:
        ValueError: a channel is constant.

    >>> a, b = standardise(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0]]))
    >>> a.view(-1).tolist(), b.item()
    ([-1.0, 1.0], 2.0)
    """
    dims = [d for d in range(inputs.ndim) if d != 1 or inputs.ndim < 3]
    mean = inputs.double().mean(dims, keepdim=True)
    std = (inputs.double() - mean).square().mean(dims, keepdim=True).sqrt()
    if not bool((std > 0).all()):
        raise ValueError("a channel of the inputs is constant: it has no variance to divide by; drop it")
    return tuple(((part.double() - mean) / std).to(part.dtype) for part in (inputs, *others))
