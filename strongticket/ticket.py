"""The front room: a random network named by its recipe, a set of kept connections, and the two together.

A strong lottery ticket is a subnetwork of a random network that computes what you want with no weight trained. All
there is to know about it is *which seed* (`Source`) and *which connections are kept* (`Mask`); a `Ticket` is the pair.
Some searches find more than that: binary, rescaled, signed, multicoated or redrawn weights. Then a `Reading` says how
the kept weights are read, and the ticket is the three together.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from strongticket import random
from strongticket._files import canonical_json, sha256
from strongticket.certificate import Certificate
from strongticket.mask import Mask
from strongticket.reading import LARGEST_RESCALE, Reading, mean_magnitude
from strongticket.source import AbstractArchitecture, Init, Source

__all__ = ["AbstractArchitecture", "Init", "Mask", "Reading", "Source", "Ticket"]


@dataclass(frozen=True, eq=False)
class Ticket:
    """A strong lottery ticket: a frozen random network and the connections kept of it.

    Every random parameter of the source is in `mask` or in `dense`, never in both, and everything that its
    architecture has as `state` is in `dense`.

    Args:
        source: the random network.
        mask: kept entries of the masked parameters.
        dense: what is not random: {name: tensor}, such as normalisation statistics; copied.
        certificates: evidence that came with it.
        reading: how kept weights are read; plain (the source's own) if not given.

    Raises:
        ValueError: mask, dense values or reading do not fit the source, or a certificate is of another ticket.
    """

    source: Source
    mask: Mask
    dense: Mapping[str, Tensor] = field(default_factory=dict)
    certificates: tuple[Certificate, ...] = ()
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        owned = {name: tensor.detach().cpu().clone() for name, tensor in self.dense.items()}
        object.__setattr__(self, "dense", owned)
        _check_fit(self.source.architecture, self.mask, owned)
        _check_reading(self.source, self.mask, self.reading)
        for certificate in self.certificates:
            if certificate.ticket_digest != self.digest:
                raise ValueError(f"a certificate of ticket {certificate.ticket_digest}; this one is {self.digest}")

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Ticket) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def plain(self) -> bool:
        """Whether the ticket is its source times a 0/1 mask: every kept weight is the source's own."""
        return self.reading.plain

    def kept_weights(self, name: str) -> Tensor:
        """Return the kept weights of one parameter, in the order of their flat indices, making no others."""
        drawn = self._drawn(name, self.mask.indices(name), 0)
        return self._read(name, drawn, 0, self._alpha(name, drawn))

    def weight_blocks(self, name: str, size: int = 1 << 22) -> Iterator[Tensor]:
        """Yield the kept weights of one parameter in the order of their flat indices, about `size` at a time."""
        start, alpha = 0, self._alpha(name)
        for index in self.mask.index_blocks(name, size):
            yield self._read(name, self._drawn(name, index, start), start, alpha)
            start += index.size

    def _drawn(self, name: str, index: NDArray[np.int64], start: int) -> Tensor:
        """The weights at kept indices start, start + 1, ... as the source or a redraw event gives them."""
        if name in self.reading.redraws:
            return self.source.redrawn(name, index, self.reading.redraws[name][start : start + index.size])
        if index.size and 4 * index.size > int(index[-1]) - int(index[0]) + 1:  # drawing all between costs less
            first = int(index[0])
            return self.source.weight(name, slice(first, int(index[-1]) + 1))[torch.from_numpy(index - first)]
        return self.source.weight(name, index)

    def _alpha(self, name: str, drawn: Tensor | None = None) -> Tensor | None:
        if self.reading.kind(name) != "binary":
            return None
        return mean_magnitude(self._drawn(name, self.mask.indices(name), 0) if drawn is None else drawn)

    def _read(self, name: str, drawn: Tensor, start: int, alpha: Tensor | None) -> Tensor:
        size, kept = math.prod(self.source.shapes[name]), self.mask.counts[name]
        return self.reading.read(name, drawn, start=start, size=size, kept=kept, alpha=alpha)

    def weights(self) -> dict[str, Tensor]:
        """Return all of the ticket as dense tensors: the frozen weight where kept, 0 elsewhere, and what is dense."""
        return {name: self.weight(name) for name in (*self.source.shapes, *self.source.architecture.state)}

    def weight(self, name: str) -> Tensor:
        """Return one parameter, or one part of the state, as a dense tensor."""
        if name in self.dense:
            return self.dense[name].clone()
        weight = torch.zeros(self.source.shapes[name])
        weight.view(-1)[torch.from_numpy(self.mask.indices(name))] = self.kept_weights(name)
        return weight

    def module(self) -> nn.Module:
        """Return the ticket as an ordinary network in evaluation mode; see `models.sparse_module` for large, thin ones.

        (In training mode normalisation layers would change their statistics, and with them the ticket.)
        """
        return self.source.architecture.module(self.weights()).eval()

    def matches(self, module: nn.Module) -> bool:
        """Check a network the strict way: regenerate the source, multiply by the 0/1 mask, compare bit for bit.

        (A parameter that is not read plainly is regenerated from the source and the reading.)
        """
        state, architecture = module.state_dict(), self.source.architecture
        own = (*self.source.shapes, *architecture.state)
        if set(state) != {*own, *architecture.aliases}:
            return False
        for name in own:
            if name in self.dense or name in self.reading.names:
                expected = self.weight(name)
            else:
                expected = self.source.weight(name) * self.mask[name]
            if not _same(state[name], expected, signed_zeros=name in self.dense):
                return False
        return all(_same(state[alias], state[name]) for alias, name in architecture.aliases.items())

    def with_certificates(self, *certificates: Certificate) -> Ticket:
        """Return this ticket with more evidence; its digest stays the same.

        Raises:
            ValueError: a certificate of another ticket.
        """
        return replace(self, certificates=self.certificates + certificates)

    @cached_property
    def digest(self) -> str:
        """sha256 of what the ticket is: recipe, mask, dense values and reading; certificates are not part of it."""
        dense = {
            name: {"dtype": str(tensor.dtype), "shape": list(tensor.shape), "sha256": sha256(tensor_bytes(tensor))}
            for name, tensor in self.dense.items()
        }
        value = {"rule": "slt-ticket/1", "source": self.source.to_json(), "mask": self.mask.digest, "dense": dense}
        if not self.plain:
            value |= {"rule": "slt-ticket/2", "reading": self.reading.to_json()}
        return sha256(canonical_json(value).encode())


def _same(actual: object, expected: Tensor, *, signed_zeros: bool = True) -> bool:
    """Whether two tensors are the same bit for bit; without signed zeros, -0.0 is taken for 0.0."""
    if not isinstance(actual, Tensor) or actual.dtype != expected.dtype or actual.shape != expected.shape:
        return False
    if not signed_zeros:
        # + 0.0 turns the -0.0 of a dropped negative weight into 0.0: the only bit that is not part of the claim
        actual, expected = actual.detach().cpu() + 0.0, expected + 0.0
    return tensor_bytes(actual) == tensor_bytes(expected)


def _check_fit(architecture: AbstractArchitecture, mask: Mask, dense: Mapping[str, Tensor]) -> None:
    state = architecture.state
    wanted = {**architecture.shapes, **{name: shape for name, (shape, _) in state.items()}}
    given = {**mask.shapes, **{name: tuple(value.shape) for name, value in dense.items()}}
    both, fixed = set(mask) & set(dense), set(mask) & set(state)
    if both:
        raise ValueError(f"both masked and dense: {_few(both)}")
    if fixed:
        raise ValueError(f"masked, but not random in {architecture.id}: {_few(fixed)}; give them as dense values")
    shapes = {f"{n} {given[n]} instead of {wanted[n]}" for n in given.keys() & wanted if given[n] != wanted[n]}
    types = {
        f"{name} {dense[name].dtype} instead of {dtype}"
        for name, (_, dtype) in state.items()
        if name in dense and str(dense[name].dtype) != f"torch.{dtype}"
    }
    faults = {
        "neither masked nor dense are": wanted.keys() - given,
        "unknown are": given.keys() - wanted,
        "other shapes have": shapes,
        "other types have": types,
    }
    if any(faults.values()):
        said = ", ".join(f"{what} {_few(names)}" for what, names in faults.items() if names)
        hint = "; what is not random starts as architecture.initial_state()" if state.keys() - dense else ""
        raise ValueError(f"the mask and dense values do not fit {architecture.id}: {said}{hint}")


def _check_reading(source: Source, mask: Mask, reading: Reading) -> None:
    if unknown := reading.names - set(mask):
        raise ValueError(f"the reading is of parameters that are not masked: {_few(unknown)}; masked are {_few(mask)}")
    for what, numbers in (("factors", reading.factors), ("redraws", reading.redraws)):
        for name, values in numbers.items():
            if values.size != mask.counts[name]:
                raise ValueError(
                    f"{name} keeps {mask.counts[name]} weights and has {values.size} {what}: "
                    "give one for each kept weight"
                )
    for name, kind in reading.kinds.items():
        size, kept = math.prod(source.shapes[name]), mask.counts[name]
        if kind == "rescaled" and kept and size > LARGEST_RESCALE * kept:
            raise ValueError(f"{name} keeps {kept} of {size} weights, too few to rescale them: float32 would overflow")
    for name, events in reading.redraws.items():
        largest = random.MAX_VALUES // math.prod(source.shapes[name]) - 1
        if int(events.max()) > largest:
            raise ValueError(f"{name} can be redrawn at events 1..{largest}, got {events.max()}")


def _few(names: Collection[str]) -> str:
    listed = ", ".join(sorted(names)[:6])
    return listed if len(names) <= 6 else f"{listed} and {len(names) - 6} more"


def tensor_bytes(value: Tensor) -> bytes:
    """Return the bytes of a tensor in C order, as the machine holds them."""
    # cloned, because a tensor of one element may count as contiguous with a stride that a view of bytes refuses
    flat = value.detach().cpu().clone(memory_format=torch.contiguous_format).view(-1)
    return flat.view(torch.uint8).numpy().tobytes()
