"""What is pruned: a trained network at rest, the parameters that may lose weights, and the data that judge the loss."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.mask import Mask
from strongticket.pruning._given import Data, checked_data, checked_names, judged
from strongticket.pruning.hold import Hold

__all__ = ["Loss", "Mode", "Problem", "loss_function", "prunable"]

Loss = Literal["cross-entropy", "squared-error"] | Callable[[Tensor, Tensor], Tensor]
"""The mean loss of a batch: "cross-entropy" of logits [n, classes] and labels [n]; "squared-error", half the squared
distance of outputs and targets [n, outputs], averaged over examples (so that its Hessian in the outputs is the
identity); or a function of (outputs, labels) that averages over the batch."""
Mode = Literal["eval", "train"]
MODES: Final[tuple[Mode, ...]] = ("eval", "train")


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
        return _squared_error
    raise ValueError(f"expected 'cross-entropy', 'squared-error' or a function as loss, got {loss!r}")


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.shape != targets.shape:
        raise ValueError(
            f"expected targets in the shape of the outputs, {tuple(outputs.shape)}, got {tuple(targets.shape)}"
        )
    return 0.5 * (outputs - targets).square().reshape(len(outputs), -1).sum(1).mean()


def prunable(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters that pruning takes weights from unless told otherwise: matrices and kernels.

    >>> prunable(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)))
    ('0.weight', '2.weight')
    """
    return tuple(name for name, parameter in module.named_parameters() if parameter.ndim >= 2 and parameter.numel())


@dataclass(frozen=True, eq=False)
class Problem:
    """A network and what its loss is measured on; made by `Problem.of`, which copies and checks.

    Attributes:
        module: the network in evaluation mode, without gradients; nobody changes it.
        names: parameters that may lose weights, in the module's order.
        inputs: examples [n, ...]; None where a method needs no data.
        labels: their labels or targets [n, ...]; None where a method needs none.
        loss: see `Loss`.
        seed: of whatever a method draws, through streams of their own.
        start: what is not pruned yet; entries outside of it are 0, and stay 0.
        mode: of the normalisation layers of `live`, see `Problem.of`.
    """

    module: nn.Module
    names: tuple[str, ...]
    inputs: Tensor | None
    labels: Tensor | None
    loss: Loss
    seed: int
    start: Mask
    mode: Mode = "eval"

    @classmethod
    def of(
        cls,
        module: nn.Module,
        data: Data = None,
        *,
        names: Sequence[str] | None = None,
        loss: Loss = "cross-entropy",
        seed: int = 0,
        start: Mask | None = None,
        mode: Mode = "eval",
    ) -> Problem:
        """Check and copy what is to be pruned.

        Args:
            module: a trained network; it is copied, and the copy is not held (see `hold`).
            data: (inputs, labels) on the module's device, or a `Split`; (inputs, None) for methods that need no labels,
                None for methods that need neither.
            names: parameters that may lose weights; all matrices and kernels if None.
            loss: see `Loss`.
            seed: 0 to 2^64 - 1.
            start: mask over `names` of what is left of an earlier pruning; None: the weights that are not 0.
            mode: "train": batch normalisation takes the moments of the batch wherever a gradient of the loss is taken,
                as in training, which is what a network is judged by whose running moments were never made. Such
                gradients depend on how examples are batched. All else, losses and layer inputs among it, is measured
                in evaluation mode, and nothing drops out in either.

        Raises:
            ValueError: unknown names, NaN or infinite weights or inputs, no examples, labels that do not fit the
                outputs, a network in the hands of `torch.nn.utils.prune`, or a start that does not fit.
            TypeError: weights that are not floating-point, labels of the cross-entropy that are not int64, or data that
                are not two tensors.
        """
        random.check_seed(seed)
        loss_function(loss)
        if mode not in MODES:
            raise ValueError(f"expected a mode in {MODES}, got {mode!r}")
        chosen = checked_names(module, prunable(module) if names is None else tuple(names))
        inputs, labels = (None, None) if data is None else checked_data(data)
        module = copy.deepcopy(module).eval().requires_grad_(False)
        for part in module.modules():
            for held in Hold.of(part):
                held.remove()
        for parameter in module.parameters():
            parameter.grad = None
        weights = {name: module.get_parameter(name) for name in chosen}
        if start is None:
            start = Mask({name: weight != 0 for name, weight in weights.items()})
        elif start.shapes != {name: tuple(weight.shape) for name, weight in weights.items()}:
            raise ValueError(f"the start {start.shapes} does not fit the parameters to prune, {list(chosen)}")
        for name, weight in weights.items():
            weight.data.mul_(start[name].to(weight.device))
        if inputs is not None:
            judged(module, inputs, labels, loss)
        return cls(module, chosen, inputs, labels, loss, seed, start, mode)

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
    def examples(self) -> Tensor:
        """The inputs, for methods that look at no labels.

        Raises:
            ValueError: there are none.
        """
        if self.inputs is None:
            raise ValueError("this method looks at what the network sees: give it data, (inputs, labels)")
        return self.inputs

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
        """Return a copy of the network of which just the parameters named require gradients.

        It is in evaluation mode, except for batch normalisation where `mode` is "train".
        """
        module = copy.deepcopy(self.module)
        for part in module.modules() if self.mode == "train" else ():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.train()
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
