"""What is pruned: a trained network at rest, the parameters that may lose weights, and the data that judge the loss."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.mask import Mask

__all__ = ["Loss", "Problem", "loss_function", "prunable"]

Loss = Literal["cross-entropy", "squared-error"] | Callable[[Tensor, Tensor], Tensor]
"""The mean loss of a batch: "cross-entropy" of logits [n, classes] and labels [n]; "squared-error", half the squared
distance of outputs and targets [n, outputs], averaged over examples (so that its Hessian in the outputs is the
identity); or a function of (outputs, labels) that averages over the batch."""


def loss_function(loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss as a function of (outputs, labels).

    Raises:
        ValueError: an unknown name.
    """
    if callable(loss):
        return loss
    if loss == "cross-entropy":
        return nn.functional.cross_entropy
    if loss == "squared-error":
        return lambda outputs, targets: 0.5 * (outputs - targets).square().flatten(1).sum(1).mean()
    raise ValueError(f"expected 'cross-entropy', 'squared-error' or a function as loss, got {loss!r}")


def prunable(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters that pruning takes weights from unless told otherwise: matrices and kernels.

    >>> prunable(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)))
    ('0.weight', '2.weight')
    """
    return tuple(name for name, parameter in module.named_parameters() if parameter.ndim >= 2)


@dataclass(frozen=True, eq=False)
class Problem:
    """A network and what its loss is measured on; made by `Problem.of`, which copies and checks.

    Attributes:
        module: the network in evaluation mode, without gradients; nobody changes it.
        names: parameters that may lose weights, in the module's order.
        inputs: examples [n, ...]; None where a method needs no data.
        labels: their labels or targets [n, ...].
        loss: see `Loss`.
        seed: of whatever a method draws, through streams of their own.
        start: what is not pruned yet; entries outside of it are 0, and stay 0.
    """

    module: nn.Module
    names: tuple[str, ...]
    inputs: Tensor | None
    labels: Tensor | None
    loss: Loss
    seed: int
    start: Mask

    @classmethod
    def of(
        cls,
        module: nn.Module,
        data: tuple[Tensor, Tensor] | None = None,
        *,
        names: Sequence[str] | None = None,
        loss: Loss = "cross-entropy",
        seed: int = 0,
        start: Mask | None = None,
    ) -> Problem:
        """Check and copy what is to be pruned.

        Args:
            module: a trained network; it is copied.
            data: (inputs, labels) on the module's device; None for methods that need none.
            names: parameters that may lose weights; all matrices and kernels if None.
            loss: see `Loss`.
            seed: 0 to 2^64 - 1.
            start: mask over `names` of what is left of an earlier pruning; None: the weights that are not 0.

        Raises:
            ValueError: unknown names, NaN or infinite weights or inputs, no examples, or a start that does not fit.
            TypeError: weights that are not floating-point.
        """
        random.check_seed(seed)
        loss_function(loss)
        chosen = _checked_names(module, prunable(module) if names is None else tuple(names))
        inputs, labels = (None, None) if data is None else _checked_data(*data)
        module = copy.deepcopy(module).eval().requires_grad_(False)
        for parameter in module.parameters():
            parameter.grad = None
        weights = {name: module.get_parameter(name) for name in chosen}
        if start is None:
            start = Mask({name: weight != 0 for name, weight in weights.items()})
        elif start.shapes != {name: tuple(weight.shape) for name, weight in weights.items()}:
            raise ValueError(f"the start {start.shapes} does not fit the parameters to prune, {list(chosen)}")
        for name, weight in weights.items():
            weight.data.mul_(start[name].to(weight.device))
        return cls(module, chosen, inputs, labels, loss, seed, start)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The parameters that may lose weights; not copies."""
        return {name: self.module.get_parameter(name).detach() for name in self.names}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter that may lose weights."""
        return {name: tuple(weight.shape) for name, weight in self.weights.items()}

    @cached_property
    def size(self) -> int:
        """Number of weights that densities are fractions of: all of the parameters named, pruned before or not."""
        return sum(weight.numel() for weight in self.weights.values())

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        """The examples and their labels.

        Raises:
            ValueError: there are none.
        """
        if self.inputs is None or self.labels is None:
            raise ValueError("this method looks at the loss: give it data, (inputs, labels)")
        return self.inputs, self.labels

    def batches(self, size: int = 256) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the examples in their order, `size` at a time; the last batch may be smaller."""
        inputs, labels = self.data
        yield from zip(torch.split(inputs, size), torch.split(labels, size), strict=True)

    def live(self) -> nn.Module:
        """Return a copy of the network in evaluation mode of which just the parameters named require gradients."""
        module = copy.deepcopy(self.module)
        for name in self.names:
            module.get_parameter(name).requires_grad_(True)
        return module

    def at(self, weights: Mapping[str, Tensor], start: Mask | None = None) -> Problem:
        """Return the same problem at other weights, for methods that go several steps.

        Args:
            weights: values for some or all of `names`, and for other parameters that a method moved (biases).
            start: what is left there; None: the start as it was.
        """
        module = copy.deepcopy(self.module)
        start = self.start if start is None else start
        for name in self.names:
            parameter = module.get_parameter(name)
            value = weights.get(name, parameter)
            parameter.data.copy_(value.detach().to(parameter) * start[name].to(parameter.device))
        for name in set(weights) - set(self.names):
            module.get_parameter(name).data.copy_(weights[name])
        return replace(self, module=module, start=start)


def _checked_names(module: nn.Module, names: tuple[str, ...]) -> tuple[str, ...]:
    parameters = dict(module.named_parameters())
    unknown = [name for name in names if name not in parameters]
    if unknown or not names or len(set(names)) != len(names):
        raise ValueError(f"expected different names among {list(parameters)} to prune, got {list(names)}")
    for name, parameter in parameters.items():
        if not parameter.is_floating_point():
            raise TypeError(f"expected real floating-point weights, {name} has dtype {parameter.dtype}")
        if not bool(torch.isfinite(parameter).all()):
            raise ValueError(f"{name} holds NaN or infinite weights: train the network first")
    return tuple(name for name in parameters if name in set(names))


def _checked_data(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if len(inputs) == 0 or len(inputs) != len(labels):
        raise ValueError(f"expected as many labels as inputs, at least one, got {len(labels)} and {len(inputs)}")
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        raise ValueError("the inputs hold NaN or infinite values")
    return inputs, labels
