"""What all targets are: an architecture and exact numbers, with a digest, and a file that is theirs."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Self

from torch import Tensor, nn

from strongticket.models.names import architecture as read_architecture
from strongticket.models.targets._numbers import (
    check_undamaged,
    largest,
    numbers_digest,
    read_numbers,
    write_numbers,
)
from strongticket.ticket import AbstractArchitecture

__all__ = ["AbstractTarget"]


class AbstractTarget(ABC):
    """A trained network that a ticket shall compute, held as exact numbers; subclasses are frozen dataclasses.

    Attributes:
        architecture: what the network is.
        weights: {name: tensor}, float32 or float64, finite.
    """

    architecture: AbstractArchitecture
    weights: Mapping[str, Tensor]

    @abstractmethod
    def module(self) -> nn.Module:
        """Return the target as a network."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the target as a safetensors file, whole or not at all."""
        return write_numbers(path, self.architecture, self.weights, self.digest)

    @cached_property
    def digest(self) -> str:
        """sha256 of the architecture and of every number with its type."""
        return numbers_digest(self.architecture, self.weights)

    @property
    def largest(self) -> float:
        """The largest absolute weight or bias."""
        return largest(self.weights)

    @classmethod
    def _saved(cls, path: str | os.PathLike[str], what: str, named: str, instead: str) -> Self:
        """Read what `save` wrote.

        Args:
            path: the file.
            what: the network that it should hold, for messages.
            named: what the names of such architectures begin with.
            instead: how a state dict is read, for the message where it is one.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not such a file, or a damaged one.
        """
        state, note = read_numbers(path, what, named)
        if not note:
            raise ValueError(f"{path} is a state dict, which does not say what its network is: use {instead}")
        own = read_architecture(str(note.get("architecture")))
        try:
            target = cls(own, state)  # type: ignore[call-arg]  # subclasses are dataclasses of these two
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        check_undamaged(path, note, own.id, target.digest)
        return target
