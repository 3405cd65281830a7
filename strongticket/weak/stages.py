"""Stages of long studies: each is made once, written whole or not at all, and found again by all that decides it."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strongticket._files import canonical_json, write_atomically
from strongticket.runs import Spec
from strongticket.training.checkpoint import digest

__all__ = ["Stage", "Stages"]

_FORMAT = "strongticket-stage/1"


@dataclass(frozen=True, eq=False)
class Stage:
    """What a stage came to.

    Attributes:
        record: JSON values: counts, curves, accuracies. What a machine adds (times) is under "measured".
        tensors: what later stages need.
    """

    record: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class Stages:
    """A folder with one file per stage, named by the key of its `Spec`.

    Reading a file runs no code. One that is damaged, or is of another stage, is set aside and made again. Of several
    processes that want the same stage one makes it and the others wait; one that is killed is waited for no longer.

    Args:
        folder: made when the first stage is written; None: nothing is kept.

    >>> import tempfile
    >>> stages, spec = Stages(tempfile.mkdtemp()), Spec("demo", 1, {"seed": 0})
    >>> stages.made(spec, lambda: Stage({"x": 1}, {"w": torch.ones(2)})).record["x"]
    1
    >>> stages.made(spec, lambda: Stage({"x": 2}, {})).record["x"]  # it is there: nothing is made
    1
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._memory: dict[str, Stage] = {}

    def made(self, spec: Spec, make: Callable[[], Stage]) -> Stage:
        """Return a stage: what the folder has, or what `make` returns, which is then kept."""
        found = self.read(spec)
        if found is not None:
            self._tidy(spec)
            return found
        if self.folder is None:
            self._memory[spec.key] = make()
            return self._memory[spec.key]
        with _alone(self.path(spec).with_suffix(".lock")):
            found = self.read(spec)  # another process may have made it meanwhile
            if found is not None:
                return found
            stage = make()
            write_atomically(self.path(spec), _bytes(spec, stage))
            self._tidy(spec)
            return stage

    def _tidy(self, spec: Spec) -> None:
        """Remove what making a stage needed, which a process that was killed right after it leaves behind."""
        if self.folder is not None:
            self.path(spec).with_suffix(".lock").unlink(missing_ok=True)
            shutil.rmtree(self.unfinished(spec), ignore_errors=True)

    def has(self, spec: Spec) -> bool:
        """Whether there is something that looks like this stage; whether it is whole, `read` finds out."""
        return spec.key in self._memory if self.folder is None else self.path(spec).exists()

    def read(self, spec: Spec) -> Stage | None:
        """Return a stage that was made, or None; a damaged one is set aside, and is none.

        Raises:
            OSError: the file is there and cannot be read.
        """
        if self.folder is None:
            return self._memory.get(spec.key)
        path = self.path(spec)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            if (content["format"], content["spec"]) != (_FORMAT, canonical_json(spec.to_json())):
                raise ValueError("it is of another stage")
            if content["digest"] != digest([content["record"], content["tensors"]]):
                raise ValueError("it was changed after it was written")
            return Stage(json.loads(content["record"]), content["tensors"])
        except Exception:  # the unpickler raises whatever damage leads it to
            with suppress(FileNotFoundError):  # another process has just done so
                path.replace(path.with_suffix(".damaged"))
            return None

    def path(self, spec: Spec) -> Path:
        """Return the file of a stage.

        Raises:
            ValueError: nothing is kept, so there are no files.
        """
        if self.folder is None:
            raise ValueError("these stages are kept in memory: give a folder to have files")
        return self.folder / spec.name / f"{spec.key}.pt"

    def unfinished(self, spec: Spec) -> Path:
        """Return the folder for checkpoints of a stage that is being made."""
        return self.path(spec).with_suffix(".unfinished")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Be the only process that holds this lock; the system takes it from a process that dies."""
    try:
        import fcntl
    except ImportError:  # elsewhere than on Unix two processes may do the same work twice
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
        path.unlink(missing_ok=True)


def _bytes(spec: Spec, stage: Stage) -> bytes:
    record = canonical_json(dict(stage.record))
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in stage.tensors.items()}
    content = {"format": _FORMAT, "spec": canonical_json(spec.to_json()), "record": record, "tensors": tensors}
    buffer = io.BytesIO()
    torch.save({**content, "digest": digest([record, tensors])}, buffer)
    return buffer.getvalue()
