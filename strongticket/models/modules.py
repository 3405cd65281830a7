"""Architectures read from networks: any nn.Module tells which of its numbers are random weights and which are state.

A network is built without memory (on torch's meta device) to learn the names, shapes and types of its state dict, and
the tensors that a ticket or a source gives are put into a network that is built the same way.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from strongticket.ticket import AbstractArchitecture

__all__ = ["NORMALISATION", "AbstractModuleArchitecture", "ModuleArchitecture", "check_values"]

NORMALISATION: Final = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""Layers whose parameters are never random weights, whatever their shape."""


@dataclass(frozen=True)
class Layout:
    """What the names of a network's state dict are: see `AbstractArchitecture`."""

    shapes: dict[str, tuple[int, ...]]
    state: dict[str, tuple[tuple[int, ...], str]]
    aliases: dict[str, str]


def read_layout(module: nn.Module, *, vectors: bool) -> Layout:
    """Return the layout of a network.

    Args:
        module: the network; its values are not looked at.
        vectors: whether vectors outside normalisation layers (biases) are random weights, as matrices and kernels are.

    Raises:
        ValueError: a part of its state dict is no tensor, has no shape yet, or is not found where its name says.
    """
    found = Layout({}, {}, {})
    first: dict[int, str] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} in its state dict is a {type(value).__name__}; a ticket holds tensors only")
        if isinstance(value, UninitializedParameter | UninitializedBuffer):
            raise ValueError(f"{name} has no shape yet (a lazy layer): build the network with all its sizes")
        owner, leaf = place(module, name)
        if id(value) in first:
            found.aliases[name] = first[id(value)]
            continue
        first[id(value)] = name
        weight = leaf in owner._parameters and not isinstance(owner, NORMALISATION) and (vectors or value.ndim >= 2)
        if weight:
            found.shapes[name] = tuple(value.shape)
        else:
            found.state[name] = (tuple(value.shape), str(value.dtype).removeprefix("torch."))
    return found


def place(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return the layer that owns a name of the state dict, and the last part of the name."""
    prefix, _, leaf = name.rpartition(".")
    try:
        owner = module.get_submodule(prefix)
    except AttributeError:
        owner = None
    if owner is None or (leaf not in owner._parameters and leaf not in owner._buffers):
        raise ValueError(f"its state dict has {name!r}, but no parameter or buffer is at that place") from None
    return owner, leaf


def check_values(architecture: AbstractArchitecture, values: Mapping[str, Tensor]) -> None:
    """Refuse values that are not exactly one tensor of the right shape per name of `shapes` and `state`.

    Raises:
        ValueError: naming what is missing, unknown or of another shape.
    """
    wanted = {**architecture.shapes, **{name: shape for name, (shape, _) in architecture.state.items()}}
    faults = [f"{name} is missing" for name in wanted if name not in values]
    faults += [f"{name} is unknown" for name in values if name not in wanted]
    faults += [
        f"{name} has shape {tuple(value.shape)} instead of {wanted[name]}"
        for name, value in values.items()
        if name in wanted and tuple(value.shape) != tuple(wanted[name])
    ]
    if faults:
        more = f" and {len(faults) - 4} more" if len(faults) > 4 else ""
        lacking = any(name not in values for name in architecture.state)
        hint = "; initial_state() gives what is not random" if lacking else ""
        raise ValueError(f"the weights do not fit {architecture.id}: {', '.join(faults[:4])}{more}{hint}")


def fill(module: nn.Module, values: Mapping[str, Tensor], aliases: Mapping[str, str]) -> nn.Module:
    """Put values into a network in place of its own: parameters share their memory, buffers (which move) do not."""
    for name, value in values.items():
        owner, leaf = place(module, name)
        is_parameter = leaf in owner._parameters
        setattr(owner, leaf, nn.Parameter(value, requires_grad=False) if is_parameter else value.detach().clone())
    for alias, name in aliases.items():
        (owner, leaf), (source, original) = place(module, alias), place(module, name)
        setattr(owner, leaf, getattr(source, original))
    return module


class AbstractModuleArchitecture(AbstractArchitecture):
    """Describe a network by the code that builds it: its weights and biases are random, normalisation is state."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the network with torch's own layers, on the device of the context; its values do not matter.

        Normalisation layers must be the only ones with buffers, and those buffers in the state dict.
        """

    @cached_property
    def _layout(self) -> Layout:
        return read_layout(self._blank(), vectors=True)

    def _blank(self) -> nn.Module:
        with torch.device("meta"):
            return self.build()

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each random parameter, in the order of the state dict."""
        return dict(self._layout.shapes)

    @property
    def state(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """(shape, dtype name) of the statistics and affine parameters of normalisation layers."""
        return dict(self._layout.state)

    def initial_state(self) -> dict[str, Tensor]:
        """Return fresh statistics: means and biases 0, variances and weights 1, counts 0."""
        module = self._blank()
        for layer in module.modules():
            if isinstance(layer, NORMALISATION):
                layer.to_empty(device="cpu", recurse=False)
                layer.reset_parameters()
        values = module.state_dict()
        return {name: values[name].clone() for name in self._layout.state}

    def module(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Build the network with these values; its parameters share their memory."""
        check_values(self, weights)
        return fill(self._blank(), weights, {})


@final
@dataclass(frozen=True)
class ModuleArchitecture(AbstractArchitecture):
    """Make an architecture of a network of your own, from the function (or class) that builds it.

    Random, and so masked, are its parameters of two or more dimensions outside normalisation layers: weights of Linear,
    Conv and Embedding layers, the projections of MultiheadAttention, and so on. All the rest of its state dict is
    state: biases, normalisation, buffers. A parameter that is used twice is random once.

    To save its tickets, `strongticket.models.register` its name first, in the program that loads them too.

    Args:
        name: the id; a ticket names its architecture by it, so change it with the network.
        factory: builds the network, the same each time but for random values, which do not matter. It is called on the
            meta device when only shapes are asked for; a factory that cannot run there is called on the CPU.

    >>> net = ModuleArchitecture("two-layers", lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    >>> dict(net.shapes)
    {'0.weight': (3, 4), '2.weight': (2, 3)}
    >>> net.state
    {'0.bias': ((3,), 'float32'), '2.bias': ((2,), 'float32')}
    """

    name: str
    factory: Callable[[], nn.Module] = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"an architecture is named by a text that is not empty, got {self.name!r}")
        if isinstance(self.factory, nn.Module) or not callable(self.factory):
            raise TypeError(
                f"the factory of {self.name!r} must build a new network when it is called, got a "
                f"{type(self.factory).__name__}; give the class, or lambda: copy.deepcopy(network)"
            )

    @property
    def id(self) -> str:
        """The name."""
        return self.name

    @cached_property
    def _layout(self) -> Layout:
        try:
            module = self._built(0, "meta")
        except Exception:  # whatever a stranger's constructor does with numbers that are not there
            module = self._built(0, "cpu")
        layout = self._read(module)
        if not layout.shapes:
            raise ValueError(f"{self.name!r} has no parameter of two or more dimensions, so nothing is random")
        return layout

    def _built(self, seed: int, device: str = "cpu") -> nn.Module:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.default_generator.manual_seed(seed)
            module = self.factory()
        if not isinstance(module, nn.Module):
            raise TypeError(f"the factory of {self.name!r} returned a {type(module).__name__}, not an nn.Module")
        return module

    def _read(self, module: nn.Module) -> Layout:
        try:
            layout = read_layout(module, vectors=False)
        except ValueError as error:
            raise ValueError(f"{self.name!r} cannot be an architecture: {error}") from error
        values = module.state_dict()
        others = [f"{name} ({values[name].dtype})" for name in layout.shapes if values[name].dtype != torch.float32]
        if others:
            raise ValueError(
                f"{self.name!r} cannot be an architecture: random weights are float32, and it has "
                f"{', '.join(others[:4])}; build it in float32 and convert the network that comes out"
            )
        return layout

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each parameter of two or more dimensions outside normalisation layers."""
        return dict(self._layout.shapes)

    @property
    def state(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """(shape, dtype name) of all else in the state dict."""
        return dict(self._layout.state)

    @property
    def aliases(self) -> Mapping[str, str]:
        """Second names of parameters that are used twice."""
        return dict(self._layout.aliases)

    def initial_state(self) -> dict[str, Tensor]:
        """Return the state as the factory makes it, with 0 in place of what it draws at random (biases of Linear).

        (What is random is seen by building the network twice, under two seeds of torch.)
        """
        one, other = self._built(0).state_dict(), self._built(1).state_dict()
        return {
            name: one[name].clone() if _equal(one[name], other[name]) else torch.zeros_like(one[name])
            for name in self._layout.state
        }

    def module(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Build the network with these values; its parameters share their memory.

        Raises:
            ValueError: values that do not fit, a factory that builds another network than before, or one that draws
                numbers at random which are not in the state dict.
        """
        check_values(self, weights)
        module = self._built(0)
        if self._read(module) != self._layout:
            raise ValueError(f"the factory of {self.name!r} now builds other names or shapes than before")
        hidden = _hidden(module)
        others = _hidden(self._built(1)) if hidden else {}
        drawn = [name for name, value in hidden.items() if name not in others or not _equal(value, others[name])]
        if drawn:
            raise ValueError(
                f"{self.name!r} draws {', '.join(drawn[:4])} at random and leaves it out of its state dict, so no "
                "ticket could hold it: register it with persistent=True"
            )
        return fill(module, weights, self._layout.aliases)


def _hidden(module: nn.Module) -> dict[str, Tensor]:
    """Buffers that are not in the state dict."""
    kept = set(module.state_dict())
    return {name: value for name, value in module.named_buffers(remove_duplicate=False) if name not in kept}


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())
