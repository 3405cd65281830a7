"""Write files so that a crash leaves the old file or the new one, never something between."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

__all__ = ["canonical_json", "check_writable", "sha256", "write_atomically"]


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, ASCII; NaN and infinities are refused.

    Equal values give equal texts, so that digests and file names built from them are stable.

    >>> canonical_json({"b": 1, "a": [0.5, True]})
    '{"a":[0.5,true],"b":1}'

    Raises:
        ValueError: a number is NaN or infinite.
        TypeError: a value is not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256(*parts: bytes | memoryview) -> str:
    """Return the hexadecimal sha256 of the parts, one after the other."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.hexdigest()


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> Path:
    """Write `data` to `path` whole or not at all: temporary file beside it, fsync, rename, fsync of the folder.

    Args:
        path: where the file goes; its folder is made if it is missing.
        data: the content; text is written as UTF-8.

    Returns:
        The path written.

    Raises:
        OSError: it is no file, its folder cannot be written, or the disk is full; what was at `path` is then untouched.
    """
    path = _regular(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = data.encode() if isinstance(data, str) else data
    temporary = path.parent / f".{path.name[:100]}.{secrets.token_hex(8)}.part"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse, before long work, a path that `write_atomically` could not write; makes its folder if it is missing.

    Raises:
        OSError: it is a folder, or its folder cannot be written.
    """
    path = _regular(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.parent / f".{secrets.token_hex(8)}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise type(error)(f"{path} cannot be written ({error.strerror}); give a place that can") from error


def _regular(path: str | os.PathLike[str]) -> Path:
    """The file behind the links, so that links stay links; folders, devices and pipes are refused."""
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file")
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is a device or a pipe; give the name of a file")
    return path
