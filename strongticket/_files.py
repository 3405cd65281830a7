"""Write files so that a crash leaves the old file or the new one, never something between."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

__all__ = ["canonical_json", "check_writable", "sha256", "write_atomically"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


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

    A writer that is killed leaves its temporary file, `.NAME.*.part`; the next one that writes `path` removes it.

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
    try:
        return _written(path, data.encode() if isinstance(data, str) else data)
    except OSError as error:  # a failing write does not say what was written, which a user asks first
        raise OSError(error.errno, error.strerror, str(path)) from error


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse, before long work, a path that `write_atomically` could not write; makes its folder if it is missing.

    Raises:
        OSError: it is a folder, or its folder cannot be written.
    """
    path = _regular(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.parent / f".{path.name[:100]}.probe"  # always the same: what a kill leaves, the next one removes
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise type(error)(f"{path} cannot be written ({error.strerror}); give a place that can") from error


def _written(path: Path, content: bytes) -> Path:
    temporary, handle = _temporary(path)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            temporary.replace(path)  # before its lock ends: else another writer could take it for abandoned
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path


def _temporary(path: Path) -> tuple[Path, int]:
    """Open a new file beside `path`: under its usual name, or under a random one while another writer has that.

    The usual name lets a writer find what a killed one left without listing the folder. Whether that one is dead the
    system knows: a lock ends with the process that holds it.
    """
    usual = path.parent / f".{path.name[:100]}.{sha256(path.name.encode())[:16]}.part"
    for _ in range(2):
        try:
            handle = os.open(usual, _NEW, 0o666)
        except FileExistsError:
            if _remove_abandoned(usual):
                continue
            break
        if _locked(handle, usual) is not False:
            return usual, handle
        os.close(handle)  # another writer found it before it was locked, and removes it
        break
    other = path.parent / f".{path.name[:100]}.{secrets.token_hex(8)}.part"
    return other, os.open(other, _NEW, 0o666)


def _remove_abandoned(path: Path) -> bool:
    """Remove a temporary file whose writer is dead, and say whether it was one."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False  # it is not ours to write
    try:
        if not _locked(handle, path):
            return False
        path.unlink(missing_ok=True)  # while it is locked: so it is the file that was looked at
        return True
    finally:
        os.close(handle)


def _locked(handle: int, path: Path) -> bool | None:
    """Lock an open file for this writer: False if another has it or it is no longer at `path`, None without locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # elsewhere than on Unix, and on some network file systems
        return None
    try:
        here, there = os.fstat(handle), os.lstat(path)
    except OSError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _regular(path: str | os.PathLike[str]) -> Path:
    """The file behind the links, so that links stay links; folders, devices and pipes are refused."""
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file")
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is a device or a pipe; give the name of a file")
    return path
