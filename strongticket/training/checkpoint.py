"""Checkpoints: a run that was killed goes on where it was, and ends with the same bits as one that was not.

A checkpoint is one file, replaced whole or not at all, that holds tensors, numbers and texts only, so that loading it
runs no code. It names the arguments of its run; a run with other arguments is refused instead of being mixed up with
it, and a file that cannot be read is reported instead of being started over.
"""

from __future__ import annotations

import io
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strongticket._files import canonical_json, check_writable, sha256, write_atomically

__all__ = ["Checkpoint", "CheckpointError", "Keeper", "digest"]

_FORMAT = "slt-checkpoint/2"
_UNSUMMED = "slt-checkpoint/1"  # has no digest; read, so that runs begun before go on
_FILE = "checkpoint.pt"
_DIGEST = re.compile('"[0-9a-f]{64}"')


class CheckpointError(ValueError):
    """A checkpoint is of another run or cannot be read; the message says what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """Say where the checkpoint of a run is kept, and how often it is written.

    Attributes:
        folder: holds ``checkpoint.pt``; made if it is missing. One folder, one run.
        every_epochs: epochs between two checkpoints, at least 1; the end of the run always makes one.
        every_seconds: seconds between two checkpoints, in the middle of epochs too; None for none of these.
    """

    folder: str | os.PathLike[str]
    every_epochs: int = 1
    every_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.every_epochs < 1 or (self.every_seconds is not None and not self.every_seconds >= 0):
            raise ValueError(
                f"expected every_epochs >= 1 and every_seconds >= 0, got {self.every_epochs} and {self.every_seconds}"
            )


class Keeper:
    """The checkpoint of one run: written when it is due, read when the run starts.

    Args:
        checkpoint: where and how often.
        arguments: what the result is a function of, as JSON; a file with others is refused.
        device: where tensors go that were on a device.
        writes: whether this process writes.
    """

    def __init__(
        self, checkpoint: Checkpoint, arguments: Mapping[str, Any], device: torch.device, *, writes: bool = True
    ) -> None:
        self.settings = checkpoint
        self.path = Path(checkpoint.folder) / _FILE
        self._arguments, self._device, self._writes = dict(arguments), device, writes
        self._last = time.monotonic()
        if writes:
            check_writable(self.path)
            for left in self.path.parent.glob(f".{_FILE}.*.part"):  # of a run that was killed while writing
                left.unlink(missing_ok=True)

    def overdue(self) -> bool:
        """Whether the seconds between two checkpoints are over."""
        seconds = self.settings.every_seconds
        return seconds is not None and time.monotonic() - self._last >= seconds

    def save(self, state: dict[str, Any]) -> None:
        """Write the state; see `load`."""
        self._last = time.monotonic()
        if not self._writes:
            return
        buffer, arguments = io.BytesIO(), canonical_json(self._arguments)
        torch.save(
            {"format": _FORMAT, "arguments": arguments, "state": state, "digest": digest([arguments, state])}, buffer
        )
        write_atomically(self.path, buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        """Return the state that was saved last, or None if there is none.

        Raises:
            CheckpointError: the file is of a run with other arguments, or damaged.
        """
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location=self._place, weights_only=True)
            given, state = json.loads(content["arguments"]), content["state"]
            known = content["format"] in (_FORMAT, _UNSUMMED)
            if content["format"] == _FORMAT and content["digest"] != digest([content["arguments"], state]):
                raise ValueError("it was changed after it was written")
            if content["format"] == _UNSUMMED and "digest" in content:
                raise ValueError("it was changed after it was written")
        except Exception as e:  # the unpickler raises whatever damage leads it to
            raise CheckpointError(f"{self.path} cannot be read ({e}): delete it to start again") from e
        if not known:
            raise CheckpointError(f"{self.path} has the format {content['format']!r}, expected {_FORMAT!r}: delete it")
        mine = json.loads(canonical_json(self._arguments))
        other = sorted(key for key in {*mine, *given} if mine.get(key) != given.get(key))
        if other:
            said = "; ".join(f"{key} {_short(given.get(key))} there, {_short(mine.get(key))} now" for key in other)
            said = said.replace("... there, ... now", "differs")
            raise CheckpointError(
                f"{self.path} is of another run: {said}. Give the same arguments to go on, or another folder"
            )
        return dict(state)

    def _place(self, storage: Any, location: str) -> Any:
        if location == "cpu":
            return storage
        return torch.serialization.default_restore_location(storage, str(self._device))  # type: ignore[no-untyped-call]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return "..." if _DIGEST.fullmatch(text) else text


def digest(value: Any) -> str:
    """Return the sha256 of nested dicts and lists of tensors, numbers and texts: equal bits, equal digest.

    >>> digest({"a": torch.zeros(2)}) == digest({"a": torch.tensor([0.0, 0.0])})
    True
    >>> digest({"a": torch.zeros(2)}) == digest({"a": torch.tensor([0.0, -0.0])})
    False
    """
    return sha256(canonical_json(_named(value)).encode())


def _named(value: Any) -> Any:
    if isinstance(value, Tensor):
        # cloned, because a tensor of one element may count as contiguous with a stride that a view of bytes refuses
        flat = value.detach().cpu().clone(memory_format=torch.contiguous_format).view(-1)
        return [str(value.dtype), list(value.shape), sha256(flat.view(torch.uint8).numpy().data)]
    if isinstance(value, Mapping):
        return {str(key): _named(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_named(part) for part in value]
    return value if isinstance(value, str | int | None) else repr(value)
