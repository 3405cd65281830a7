"""Random networks named by their recipe: what they look like, the law of their weights, and a seed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from strongticket import random
from strongticket._files import canonical_json, sha256

__all__ = ["AbstractArchitecture", "Index", "Init", "Source"]

# Between these no scaled weight overflows float32 and none is subnormal: values of the laws are 0 or in [2^-53, 2^4] in
# magnitude, so a product is at least 2^-117, and a power of two as scale multiplies without rounding.
SMALLEST_SCALE, LARGEST_SCALE = 2.0**-64, 2.0**64
Index = NDArray[np.int64] | Tensor | slice | None


class AbstractArchitecture(ABC):
    """Say what a network looks like without making it: an identifier, its names and shapes, and a way to build it.

    A network's state dict has three kinds of names: the random parameters (`shapes`: what a `Source` draws and a mask
    covers), the rest that is not random (`state`: what a ticket holds as dense values) and second names of parameters
    that are used twice (`aliases`). Concrete architectures live in `strongticket.models`; two with the same `id` are
    the same.
    """

    @property
    @abstractmethod
    def id(self) -> str:
        """The name that `strongticket.models.architecture` reads back."""

    @property
    @abstractmethod
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each random parameter by its name in the module's state dict, in the module's order."""

    @property
    def state(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """(shape, dtype name) of everything else in the state dict: statistics and affine parameters of normalisation,
        learned parts; in the module's order."""
        return {}

    @property
    def aliases(self) -> Mapping[str, str]:
        """Further names in the state dict of parameters that the module uses twice: {second name: first name}."""
        return {}

    def initial_state(self) -> dict[str, Tensor]:
        """Return a fresh tensor for each name of `state`, as training starts from it: means 0, variances 1, counts 0.

        Raises:
            NotImplementedError: an architecture of one's own has a state and does not say how it starts.
        """
        if self.state:
            raise NotImplementedError(
                f"{type(self).__name__} has the state {list(self.state)[:3]} and does not say how it starts: "
                "define its initial_state(), or give the values yourself"
            )
        return {}

    @abstractmethod
    def module(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Build the network with these values for every name of `shapes` and `state`.

        Its parameters do not require gradients, and it is in training mode, as torch makes modules.

        Raises:
            ValueError: a name is missing or unknown, or a shape does not fit.
        """

    @property
    def size(self) -> int:
        """Number of random parameters: weights, and biases where they are random."""
        return sum(math.prod(shape) for shape in self.shapes.values())


@dataclass(frozen=True)
class Init:
    """Name the law of a random network's weights: value = scale * law, rounded once to float32.

    Args:
        law: a law of `strongticket.random`, by name.
        scale: factor in [2^-64, 2^64], exact in float32; 1 keeps the law's dyadic grid, and so does any power of two.
            Within these limits no weight is a subnormal number, which float32 would round.
        overrides: parameters with a law and scale of their own, (name, law, scale); their order does not matter.

    Raises:
        ValueError: unknown law, or a scale that is not a float32 number in [2^-64, 2^64].

    >>> Init("uniform23", overrides=(("layers.0.weight", "sign", 0.5),)).of("layers.0.weight")
    ('sign', 0.5)
    """

    law: str = "uniform23"
    scale: float = 1.0
    overrides: tuple[tuple[str, str, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", float(self.scale))
        own = sorted((str(name), str(law), float(scale)) for name, law, scale in self.overrides)
        object.__setattr__(self, "overrides", tuple(own))
        for name, law, scale in (("every parameter", self.law, self.scale), *self.overrides):
            random.law(law)
            if not (SMALLEST_SCALE <= scale <= LARGEST_SCALE and float(np.float32(scale)) == scale):
                raise ValueError(
                    f"the scale of {name} must be exact in float32 and between 2^-64 and 2^64, got {scale!r}"
                )
        if len({name for name, _, _ in self.overrides}) != len(self.overrides):
            raise ValueError(f"a parameter is overridden twice: {self.overrides}")

    def of(self, name: str) -> tuple[str, float]:
        """Return the law and the scale of one parameter."""
        return next(((law, scale) for own, law, scale in self.overrides if own == name), (self.law, self.scale))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"law": self.law, "scale": self.scale, "overrides": [list(own) for own in self.overrides]}


@dataclass(frozen=True)
class Source:
    """Name a random network by its recipe; its weights are made when they are asked for, and only those.

    The weight at flat (C-order) index i of parameter `name` is a function of (seed, name, i) alone: the same bits on
    every device and version, whatever else was asked for before. A source of 10^12 weights costs nothing by itself.

    Args:
        architecture: what the network looks like.
        seed: 0 <= seed < 2^64.
        init: the law of the weights.
    """

    architecture: AbstractArchitecture
    seed: int
    init: Init = Init()

    def __post_init__(self) -> None:
        random.check_seed(self.seed)
        random.check_streams(list(self.shapes))
        shapes = self.shapes
        unknown = [name for name, _, _ in self.init.overrides if name not in shapes]
        if unknown:
            raise ValueError(
                f"the init overrides {unknown}, which {self.architecture.id} does not have as random parameters; "
                f"it has {list(shapes)}"
            )

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each random parameter."""
        return self.architecture.shapes

    def weights(self) -> dict[str, Tensor]:
        """Return every random weight: {name: float32 tensor of the parameter's shape}."""
        return {name: self.weight(name) for name in self.shapes}

    def weight(self, name: str, index: Index = None) -> Tensor:
        """Return some weights of one parameter, making no others.

        Args:
            name: parameter name.
            index: flat indices (any shape), a slice of the flat parameter, or None for the whole parameter.

        Returns:
            float32 tensor: of the index's shape, of the slice's length, or of the parameter's shape.

        Raises:
            KeyError: no such parameter, or one that is not random.
            IndexError: an index outside the parameter.
        """
        key, scale = self.init.of(name)
        law = random.law(key)
        values = self._draw(name, index, law.values, law.values_at)
        if scale != 1.0:
            values = values * np.float32(scale)
        return torch.from_numpy(values)

    def redrawn(self, name: str, index: NDArray[np.int64] | Tensor, event: int | NDArray[np.int32] | Tensor) -> Tensor:
        """Return weights as they are drawn at redraw events 1, 2, ...: same law, other numbers; event 0 is `weight`.

        The weight of an event is a function of (seed, name, index, event) alone.

        Args:
            name: parameter name.
            index: flat indices, any shape.
            event: one event >= 0, or one for each index.

        Returns:
            float32 tensor of the index's shape.

        Raises:
            KeyError, IndexError: see `weight`.
            ValueError: a negative event, or one beyond the last number that the parameter can draw (2^62 in all).
        """
        flat = np.asarray(index)
        events = np.broadcast_to(np.asarray(event, dtype=np.int64), flat.shape)
        weights = self.weight(name, flat)
        size = math.prod(self.shapes[name])
        if not events.size:
            return weights
        largest = max(0, random.MAX_VALUES // size - 1)
        if int(events.min()) < 0 or int(events.max()) > largest:
            raise ValueError(f"redraw events of {name} must lie in 0..{largest}, got {events.min()}..{events.max()}")
        again = np.flatnonzero(events)
        if again.size:
            key, scale = self.init.of(name)
            places = flat.reshape(-1)[again].astype(np.int64) + events.reshape(-1)[again] * size
            values = random.law(key).values_at(self.seed, name, places, purpose=random.REINIT)
            weights.view(-1)[torch.from_numpy(again)] = torch.from_numpy(values * np.float32(scale))
        return weights

    def integers(self, name: str, index: Index = None) -> NDArray[np.int32]:
        """Return some weights as exact integers: weight = integer * 2^grid_exponent(name).

        Raises:
            ValueError: the init's law or scale leaves the dyadic grid, so that no exact integers exist.
        """
        self.grid_exponent(name)
        law = random.law(self.init.of(name)[0])
        return self._draw(name, index, law.integers, law.integers_at)

    def grid_exponent(self, name: str) -> int:
        """Return e such that every weight of the parameter is an integer times 2^e (-23 for uniform23 at scale 1)."""
        key, scale = self.init.of(name)
        exponent = random.law(key).grid_exponent
        mantissa, power = math.frexp(scale)
        if exponent is None or mantissa != 0.5:
            raise ValueError(
                f"law {key!r} with scale {scale} is not on a dyadic grid; "
                "exact arithmetic needs a grid law ('uniform23', 'sign') and a power of two as scale"
            )
        return exponent + power - 1

    def _draw(
        self,
        name: str,
        index: Index,
        contiguous: Callable[..., NDArray[Any]],
        gathered: Callable[..., NDArray[Any]],
    ) -> NDArray[Any]:
        shape = self._shape(name)
        size = math.prod(shape)
        if index is None:
            return contiguous(self.seed, name, 0, size).reshape(shape)
        if isinstance(index, slice):
            start, stop, step = index.indices(size)
            if step != 1:
                raise ValueError(f"a slice of weights has step 1, got {index}; give an index array instead")
            return contiguous(self.seed, name, start, max(start, stop))
        flat = np.asarray(index)
        if flat.size == 0:
            flat = flat.astype(np.int64)
        if flat.dtype.kind not in "iu":
            raise TypeError(f"indices of weights are integers, got dtype {flat.dtype}")
        if flat.size and (int(flat.min()) < 0 or int(flat.max()) >= size):
            raise IndexError(f"{name} has flat indices 0..{size - 1}, got {flat.min()}..{flat.max()}")
        return gathered(self.seed, name, flat.reshape(-1)).reshape(flat.shape)

    def _shape(self, name: str) -> tuple[int, ...]:
        shapes = self.shapes
        if name not in shapes:
            raise KeyError(self._absent(name))
        return shapes[name]

    def _absent(self, name: str) -> str:
        architecture = self.architecture
        if name in architecture.state:
            shape, dtype = architecture.state[name]
            return (
                f"{name!r} of {architecture.id} is not random ({dtype} of shape {shape}), so no source draws it: take "
                "it from a ticket's dense values, or from architecture.initial_state()"
            )
        if name in architecture.aliases:
            return f"{name!r} of {architecture.id} is a second name of {architecture.aliases[name]!r}: draw that one"
        return f"{architecture.id} has no parameter {name!r}; it has {list(self.shapes)}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: architecture, seed, init."""
        return {"architecture": self.architecture.id, "seed": self.seed, "init": self.init.to_json()}

    @property
    def digest(self) -> str:
        """sha256 of the recipe."""
        return sha256(canonical_json(self.to_json()).encode())
