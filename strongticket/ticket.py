"""The front room: a random network named by its recipe, a set of kept connections, and the two together.

A strong lottery ticket is a subnetwork of a random network that computes what you want with no weight trained. All
there is to know about it is *which seed* (`Source`) and *which connections are kept* (`Mask`); a `Ticket` is the pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from strongticket._files import canonical_json, sha256
from strongticket.certificate import Certificate
from strongticket.mask import Mask
from strongticket.source import AbstractArchitecture, Init, Source

__all__ = ["AbstractArchitecture", "Init", "Mask", "Source", "Ticket"]


@dataclass(frozen=True, eq=False)
class Ticket:
    """A strong lottery ticket: a frozen random network and the connections kept of it.

    Every parameter of the source is in `mask` or in `dense`, never in both.

    Args:
        source: the random network.
        mask: kept entries of the masked parameters.
        dense: what is not random: {name: tensor}, such as normalisation statistics; copied.
        certificates: evidence that came with it.

    Raises:
        ValueError: the mask does not fit the source, or a certificate is of another ticket.
    """

    source: Source
    mask: Mask
    dense: Mapping[str, Tensor] = field(default_factory=dict)
    certificates: tuple[Certificate, ...] = ()

    def __post_init__(self) -> None:
        shapes = {**self.mask.shapes, **{name: tuple(value.shape) for name, value in self.dense.items()}}
        owned = {name: tensor.detach().cpu().clone() for name, tensor in self.dense.items()}
        object.__setattr__(self, "dense", owned)
        if set(self.mask) & set(self.dense):
            raise ValueError(f"both masked and dense: {sorted(set(self.mask) & set(self.dense))}")
        if shapes != dict(self.source.shapes):
            raise ValueError(f"the mask's shapes {shapes} do not fit the source's {dict(self.source.shapes)}")
        for certificate in self.certificates:
            if certificate.ticket_digest != self.digest:
                raise ValueError(f"a certificate of ticket {certificate.ticket_digest}; this one is {self.digest}")

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Ticket) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def kept_weights(self, name: str) -> Tensor:
        """Return the kept weights of one parameter, in the order of their flat indices, making no others."""
        return self.source.weight(name, self.mask.indices(name))

    def weights(self) -> dict[str, Tensor]:
        """Return every weight of the ticket as dense tensors: the frozen weight where kept, 0 elsewhere."""
        return {name: self.weight(name) for name in self.source.shapes}

    def weight(self, name: str) -> Tensor:
        """Return one parameter of the ticket as a dense tensor."""
        if name in self.dense:
            return self.dense[name].clone()
        weight = torch.zeros(self.source.shapes[name])
        weight.view(-1)[torch.from_numpy(self.mask.indices(name))] = self.kept_weights(name)
        return weight

    def module(self) -> nn.Module:
        """Return the ticket as an ordinary network with dense weights; see `models.sparse_module` for large ones."""
        return self.source.architecture.module(self.weights())

    def matches(self, module: nn.Module) -> bool:
        """Check a network the strict way: regenerate the source, multiply by the 0/1 mask, compare bit for bit."""
        state = module.state_dict()
        if set(state) != set(self.source.shapes):
            return False
        for name in self.source.shapes:
            expected = self.dense[name] if name in self.dense else self.source.weight(name) * self.mask[name]
            actual = state[name].detach().cpu()
            # + 0.0 turns the -0.0 of a dropped negative weight into 0.0: the only bit that is not part of the claim
            if actual.dtype != expected.dtype or actual.shape != expected.shape:
                return False
            if name in self.mask:
                actual, expected = actual + 0.0, expected + 0.0
            if tensor_bytes(actual) != tensor_bytes(expected):
                return False
        return True

    def with_certificates(self, *certificates: Certificate) -> Ticket:
        """Return this ticket with more evidence; its digest stays the same.

        Raises:
            ValueError: a certificate of another ticket.
        """
        return replace(self, certificates=self.certificates + certificates)

    @cached_property
    def digest(self) -> str:
        """sha256 of what the ticket is: recipe, mask and dense values; certificates are not part of it."""
        dense = {
            name: {"dtype": str(tensor.dtype), "shape": list(tensor.shape), "sha256": sha256(tensor_bytes(tensor))}
            for name, tensor in self.dense.items()
        }
        value = {"rule": "slt-ticket/1", "source": self.source.to_json(), "mask": self.mask.digest, "dense": dense}
        return sha256(canonical_json(value).encode())


def tensor_bytes(value: Tensor) -> bytes:
    """Return the bytes of a tensor in C order, as the machine holds them."""
    # cloned, because a tensor of one element may count as contiguous with a stride that a view of bytes refuses
    flat = value.detach().cpu().clone(memory_format=torch.contiguous_format).view(-1)
    return flat.view(torch.uint8).numpy().tobytes()
