"""Refuse networks and data that cannot be pruned, before any work is done, saying what to give instead."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from strongticket.data._dataset import Split

__all__ = ["Data", "checked_data", "checked_names", "judged"]

Data = tuple[Tensor, Tensor | None] | Split | None
"""What pruning looks at: (inputs, labels), a part of a data set, (inputs, None) without labels, or nothing."""


def checked_names(module: nn.Module, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of parameters to prune in the module's order.

    Raises:
        ValueError: unknown names or none, parameters without entries, NaN or infinite weights, NaN in a buffer, or
            parameters that torch's own pruning has in its hands.
        TypeError: weights that are not floating-point.
    """
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    for name in parameters:
        bare = name.removesuffix("_orig")
        if bare != name and f"{bare}_mask" in buffers:
            raise ValueError(
                f"{bare} is {name} times {bare}_mask (torch.nn.utils.prune), so that what is pruned here would not "
                "stay so: take mask_of(network) as the start and call torch.nn.utils.prune.remove on the layers first"
            )
    unknown = [name for name in names if name not in parameters]
    if unknown or not names or len(set(names)) != len(names):
        raise ValueError(f"expected different names among {list(parameters)} to prune, got {list(names)}")
    for name in names:
        if not parameters[name].numel():
            raise ValueError(f"{name} has shape {tuple(parameters[name].shape)}, no weight to prune: leave it out")
    for name, parameter in parameters.items():
        if not parameter.is_floating_point():
            raise TypeError(f"expected real floating-point weights, {name} has dtype {parameter.dtype}")
        if not bool(torch.isfinite(parameter).all()):
            raise ValueError(f"{name} holds NaN or infinite weights: train the network first")
    for name, buffer in buffers.items():
        if bool(buffer.isnan().any()):
            raise ValueError(f"the buffer {name} holds NaN: the training diverged, or its statistics were never made")
    return tuple(name for name in parameters if name in set(names))


def checked_data(data: Any) -> tuple[Tensor, Tensor | None]:
    """Return (inputs, labels), labels being None where there are none.

    Raises:
        TypeError: something else than two tensors.
        ValueError: no examples, numbers of inputs and labels that differ, or NaN or infinite values.
    """
    if isinstance(data, Split):
        data = data.pair
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(
            f"expected data as (inputs, labels), two tensors, got {type(data).__name__}: of a DataLoader, concatenate "
            "the batches"
        )
    inputs, labels = data
    for what, value in (("inputs", inputs), ("labels", labels)):
        if not isinstance(value, Tensor) and not (what == "labels" and value is None):
            raise TypeError(f"expected the {what} as a tensor, got {type(value).__name__}: torch.as_tensor makes one")
        if isinstance(value, Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"the {what} hold NaN or infinite values")
    if len(inputs) == 0 or (labels is not None and len(inputs) != len(labels)):
        count = "no" if labels is None else len(labels)
        raise ValueError(f"expected as many labels as inputs, at least one, got {count} labels, {len(inputs)} inputs")
    return inputs, labels


def judged(module: nn.Module, inputs: Tensor, labels: Tensor | None, loss: object) -> None:
    """Try the network on an example or two, and see whether labels and outputs go together under a named loss.

    Raises:
        ValueError: the network does not take the inputs, or labels do not fit its outputs.
        TypeError: labels of the cross-entropy that are neither int64 nor probabilities.
    """
    try:
        with torch.no_grad():
            outputs = module(inputs[:2])  # two, as some networks cannot normalise one by itself
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"the network does not take inputs of shape {tuple(inputs.shape[1:])}, {inputs.dtype}, on {inputs.device}: "
            f"{error}"
        ) from error
    if labels is None or callable(loss):
        return
    if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != min(2, len(inputs)):
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(f"expected a row of outputs per example, got {got} for {min(2, len(inputs))}; {_ADVICE}")
    shape = (len(inputs), *outputs.shape[1:])
    if loss == "squared-error":
        if labels.shape != shape:
            raise ValueError(f"expected targets of shape {shape}, got {tuple(labels.shape)}; {_ADVICE}")
        return
    if outputs.ndim != 2:
        raise ValueError(f"cross-entropy here is of logits [n, classes], got {shape}; give a function, or: {_ADVICE}")
    _check_classes(labels, shape)


_ADVICE = "methods that look at no labels take (inputs, None)"


def _check_classes(labels: Tensor, shape: tuple[int, ...]) -> None:
    if labels.is_floating_point() and labels.shape == shape:
        if not bool(((labels.sum(1) - 1).abs() < 1e-3).all()):
            raise ValueError(f"expected label probabilities {shape} whose rows sum to 1")
        return
    if labels.dtype != torch.int64:
        raise TypeError(
            f"expected labels of the cross-entropy as int64, numbers of classes, got {labels.dtype}; {_ADVICE}"
        )
    if labels.ndim != 1 or int(labels.min()) < 0 or int(labels.max()) >= shape[1]:
        raise ValueError(
            f"expected labels [n] in 0..{shape[1] - 1}, got shape {tuple(labels.shape)} in {int(labels.min())}.."
            f"{int(labels.max())}; leave examples without a label out; {_ADVICE}"
        )
