"""Second moments of layer inputs: the Hessian of a layer's squared output error, shared by all of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from strongticket.pruning.problem import Problem

__all__ = ["CrossGram", "LinearMap", "calling_order", "cross_gram", "layer_grams", "linear_maps"]

_CHUNK = 1 << 24  # numbers of unfolded inputs that are held at a time
_TYPES = (nn.Linear, nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True)
class LinearMap:
    """A layer whose outputs are linear in a matrix of weights: Linear, or a convolution of unfolded inputs.

    Attributes:
        name: of the weight.
        layer: of the module.
        groups: blocks of outputs that see different inputs.
        shape: of the weight.
    """

    name: str
    layer: str
    groups: int
    shape: tuple[int, ...]

    def rows(self, weight: Tensor) -> Tensor:
        """Return a tensor in the shape of the weight as rows [groups, outputs per group, d]."""
        return weight.reshape(self.groups, self.shape[0] // self.groups, -1)

    def unfold(self, module: nn.Module, inputs: Tensor) -> Tensor:
        """Return what each row of weights is multiplied with: [groups, positions of all examples, d]."""
        if isinstance(module, nn.Linear):
            return inputs.reshape(1, -1, inputs.shape[-1])
        assert isinstance(module, nn.Conv1d | nn.Conv2d)
        if inputs.ndim == len(module.kernel_size) + 1:
            inputs = inputs[None]  # one example without a batch
        padding: Any = module.padding
        if isinstance(padding, str) or module.padding_mode != "zeros":
            mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
            inputs = functional.pad(inputs, module._reversed_padding_repeated_twice, mode=mode)
            padding = (0,) * len(module.kernel_size)
        kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
        if isinstance(module, nn.Conv1d):
            inputs = inputs[:, :, None]
            kernel, stride, dilation, padding = (1, *kernel), (1, *stride), (1, *dilation), (0, *padding)
        columns = functional.unfold(inputs, kernel, dilation, padding, stride)
        n, _, positions = columns.shape
        return columns.view(n, self.groups, -1, positions).permute(1, 0, 3, 2).reshape(self.groups, n * positions, -1)


def linear_maps(problem: Problem) -> tuple[LinearMap, ...]:
    """Return the layers that the problem's parameters belong to, in the order of `names`.

    Raises:
        ValueError: a parameter that is not the weight of a Linear, Conv1d or Conv2d layer, or of several of them.
    """
    maps = []
    owners: dict[int, list[str]] = {}
    for place, module in problem.module.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            owners.setdefault(id(parameter), []).append(f"{place}.{leaf}" if place else leaf)
    for name in problem.names:
        layer, _, leaf = name.rpartition(".")
        module = problem.module.get_submodule(layer)
        if not isinstance(module, _TYPES) or leaf != "weight":
            raise ValueError(
                f"layer-wise methods prune weights of Linear, Conv1d and Conv2d layers; {name} belongs to "
                f"{type(module).__name__}: name other parameters, or use a method for whole networks"
            )
        shared = owners[id(module.weight)]
        if len(shared) > 1:
            raise ValueError(
                f"{shared} are one parameter: its layers see different inputs, and errors of both make no model of one "
                "layer; leave it out with names, or use a method for whole networks"
            )
        groups = 1 if isinstance(module, nn.Linear) else module.groups
        maps.append(LinearMap(name, layer, groups, tuple(module.weight.shape)))
    return tuple(maps)


def layer_grams(
    problem: Problem, *, dtype: torch.dtype = torch.float64, batch: int = 256
) -> dict[str, Tensor]:  # {name: [groups, d, d]}
    """Return H = X^T X / n of every layer: half the mean squared change of an output is (w' - w) H (w' - w)^T / 2.

    Convolutions see their inputs unfolded, positions add up, so that the loss is per example. A layer that is called
    several times adds up all of its calls.

    Args:
        problem: the network and its examples.
        dtype: of the sums and products.
        batch: examples at a time.

    Raises:
        ValueError: see `linear_maps`; or a layer that the network does not call, or whose inputs overflow.

    >>> inputs = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    >>> layer_grams(Problem.of(nn.Linear(2, 5), (inputs, torch.tensor([0, 1]))))["weight"].tolist()
    [[[5.0, 1.0], [1.0, 2.0]]]
    """
    sums: dict[str, Tensor] = {}
    maps = linear_maps(problem)

    def add(own: LinearMap, module: nn.Module, inputs: Tensor) -> None:
        for part in _pieces(own, module, inputs):
            part = part.to(dtype)
            if own.name not in sums:
                sums[own.name] = part.new_zeros(own.groups, part.shape[2], part.shape[2])
            sums[own.name].baddbmm_(part.transpose(1, 2), part)

    with torch.no_grad(), _Listening(problem.module, maps, add):
        for inputs in torch.split(problem.examples, batch):
            problem.module(inputs)
    missing = [own.name for own in maps if own.name not in sums]
    if missing:
        raise ValueError(f"the network never called the layers of {missing}: do not prune them")
    for name, total in sums.items():
        if not bool(torch.isfinite(total).all()):
            raise ValueError(f"the inputs of the layer of {name} hold NaN or infinite values, or overflow")
    count = len(problem.examples)
    return {own.name: sums[own.name] / count for own in maps}


def calling_order(problem: Problem, maps: Sequence[LinearMap]) -> tuple[LinearMap, ...]:
    """Return the layers in the order in which the network calls them first."""
    order: dict[LinearMap, None] = {}
    with torch.no_grad(), _Listening(problem.module, maps, lambda own, *_: order.setdefault(own)):
        problem.module(problem.examples[:1])
    return tuple(order)


class _Listening:
    """Calls `heard(map, module, inputs)` whenever one of the layers is called; the module is as it was afterwards."""

    def __init__(
        self, module: nn.Module, maps: Sequence[LinearMap], heard: Callable[[LinearMap, nn.Module, Tensor], None]
    ) -> None:
        self._module, self._maps, self._heard = module, maps, heard

    def __enter__(self) -> None:
        def hook(own: LinearMap) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor]], None]:
            return lambda module, given, named: self._heard(own, module, (*given, *named.values())[0].detach())

        self._handles = [
            self._module.get_submodule(own.layer).register_forward_pre_hook(hook(own), with_kwargs=True)
            for own in self._maps
        ]

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def _pieces(own: LinearMap, module: nn.Module, inputs: Tensor) -> Iterator[Tensor]:  # [groups, positions, d] each
    """Unfold a few examples at a time."""
    if isinstance(module, nn.Linear):
        yield own.unfold(module, inputs)
        return
    if inputs.ndim == _dimensions(module) - 1:
        inputs = inputs[None]
    one = own.unfold(module, inputs[:1]).numel()
    for part in torch.split(inputs, max(1, _CHUNK // max(1, one))):
        yield own.unfold(module, part)


def _dimensions(module: nn.Module) -> int:
    """Number of dimensions of a batch of a convolution's inputs."""
    return 3 if isinstance(module, nn.Conv1d) else 4


@dataclass(frozen=True, eq=False)
class CrossGram:
    """What a layer sees in a pruned network, and how that relates to what it should put out.

    Attributes:
        own: Z^T Z / n of the inputs in the pruned network, with a column of ones behind [groups, d + 1, d + 1].
        cross: Z^T Zd / n with the inputs in the dense network, likewise.
        dense: Zd^T Zd / n, likewise.
    """

    own: Tensor
    cross: Tensor
    dense: Tensor


def cross_gram(pruned: nn.Module, dense: nn.Module, own: LinearMap, problem: Problem, *, batch: int = 256) -> CrossGram:
    """Return the second moments of a layer's inputs in a pruned network and of those in the dense one, in float64.

    The outputs of the dense layer are fitted best by the rows Z^T Z \\ Z^T Zd W^T, whose last column is the bias.

    Args:
        pruned: the network whose earlier layers are pruned.
        dense: the network as it was; both are in evaluation mode.
        own: the layer.
        problem: gives the examples.
        batch: examples at a time.

    Raises:
        ValueError: networks that call the layer in different ways, or not at all.
    """
    sums: list[Tensor] = []
    with torch.no_grad():
        for inputs in torch.split(problem.examples, batch):
            heard = [_heard(module, own, inputs) for module in (pruned, dense)]
            if len(heard[0]) != len(heard[1]) or not heard[0]:
                raise ValueError(f"the network calls the layer of {own.name} in different ways, or never")
            for (layer, z), (_, zd) in zip(*heard, strict=True):
                for a, b in zip(_pieces(own, layer, z), _pieces(own, layer, zd), strict=True):
                    a, b = (functional.pad(part.double(), (0, 1), value=1.0).transpose(1, 2) for part in (a, b))
                    new = [a @ a.transpose(1, 2), a @ b.transpose(1, 2), b @ b.transpose(1, 2)]
                    sums = new if not sums else [total.add_(more) for total, more in zip(sums, new, strict=True)]
    count = len(problem.examples)
    return CrossGram(*(total / count for total in sums))


def _heard(module: nn.Module, own: LinearMap, inputs: Tensor) -> list[tuple[nn.Module, Tensor]]:
    calls: list[tuple[nn.Module, Tensor]] = []
    with _Listening(module, [own], lambda _, layer, given: calls.append((layer, given))):
        module(inputs)
    return calls
