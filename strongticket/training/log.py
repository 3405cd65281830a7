"""Records of a run as it goes: one JSON line per epoch, and TensorBoard where it is installed and asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strongticket._files import check_writable, write_atomically

__all__ = ["Log"]


class Log:
    """Write the record of each epoch; a resumed run goes on behind the epochs that it does not repeat.

    Args:
        path: a JSONL file, or None.
        tensorboard: folder of the event files, or None.

    Raises:
        OSError: the file or the folder cannot be written.
        ValueError: the file holds something else than such records.
        ImportError: TensorBoard is asked for and not installed.
    """

    def __init__(self, path: str | os.PathLike[str] | None, tensorboard: str | os.PathLike[str] | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._folder = tensorboard
        self._events: Any = None
        if self._path is not None:
            check_writable(self._path)
            _records(self._path)  # what could not be gone on with is refused before the run, not after it
        if tensorboard is not None:
            if Path(tensorboard).is_file():
                raise NotADirectoryError(f"{tensorboard} is a file; give a folder for the event files")
            check_writable(Path(tensorboard) / "probe")
            _writer()

    def start(self, done: Sequence[Mapping[str, Any]]) -> None:
        """Write the records of the epochs that are done, which a run that was killed may not all have written.

        Raises:
            ValueError: the file holds something else than such records.
        """
        if self._path is not None:
            _records(self._path)
            write_atomically(self._path, "".join(json.dumps(record) + "\n" for record in done))
        if self._folder is not None:
            self._events = _writer()(log_dir=str(self._folder), purge_step=len(done) + 1)

    def write(self, record: Mapping[str, Any]) -> None:
        """Add the record of an epoch, which has its `number`."""
        if self._path is not None:
            with self._path.open("a") as stream:
                stream.write(json.dumps(record) + "\n")
        if self._events is not None:
            for name, value in _flat(record):
                self._events.add_scalar(name, value, record["number"])

    def close(self) -> None:
        """Flush the event files."""
        if self._events is not None:
            self._events.close()


def _records(path: Path) -> list[dict[str, Any]]:
    """The records of a file; a last line that a killed run left half-written is dropped."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    records: list[dict[str, Any]] = []
    for i, line in enumerate(lines):
        try:
            record = json.loads(line)
        except ValueError:  # no JSON, or no text at all
            record = None
        if isinstance(record, dict) and isinstance(record.get("number"), int):
            records.append(record)
        elif i < len(lines) - 1 or not line.startswith(b'{"number"'[: len(line)]):
            raise ValueError(f"{path} is no log of epochs (line {i + 1}), and will not be overwritten: name another")
    return records


def _flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "number":
            pairs.append((prefix + name, float(value)))
    return pairs


def _writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("event files need TensorBoard, which is not installed: pip install tensorboard") from error
    return SummaryWriter
