"""Fetch the published data sets: from several mirrors, with a timeout, and never a byte that was not asked for."""

from __future__ import annotations

import logging
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from strongticket.data._bytes import DataError, md5
from strongticket.data._official import OFFICIAL, OfficialSet, RemoteFile

__all__ = ["TIMEOUT", "download"]

TIMEOUT = 30.0
"""Seconds without a byte from a server until the next mirror is tried."""

_LARGEST_MEMBER = 200 << 20


def download(
    name: str,
    folder: str | os.PathLike[str],
    *,
    mirrors: Sequence[str] | None = None,
    timeout: float = TIMEOUT,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Download a data set into the layout that `load` reads; what is there with the right checksum is left alone.

    Each file is checked against its published MD5 before it gets its name, so a failure leaves no file behind.

    Args:
        name: "mnist", "fashion-mnist", "cifar10" or "cifar100".
        folder: the data folder; the data set gets its own folder inside.
        mirrors: base addresses to use instead of the published ones, tried in order.
        timeout: seconds without a byte until the next mirror is tried, above 0.
        progress: called with (file name, bytes so far, bytes in all or 0 if unknown) while a file arrives.

    Returns:
        The data set's folder.

    Raises:
        DataError: the name is unknown, or no mirror delivered a file with the right checksum; lists each failure.
        ImportError: pooch is not installed; the message names the extra that brings it.
    """
    if name not in OFFICIAL:
        raise DataError(f"no address is known for '{name}': expected one of {', '.join(OFFICIAL)}")
    return _download_set(OFFICIAL[name], Path(folder), mirrors=mirrors, timeout=timeout, progress=progress)


def _download_set(
    official: OfficialSet,
    folder: Path,
    *,
    mirrors: Sequence[str] | None,
    timeout: float,
    progress: Callable[[str, int, int], None] | None,
) -> Path:
    target = folder / official.folder
    bases = tuple(official.mirrors if mirrors is None else mirrors)
    for remote in official.remote:
        where = target if official.layout == "idx" else folder
        if official.layout == "cifar" and _complete(official, target):
            continue
        archive = fetch(remote, bases, where, timeout=timeout, progress=progress)
        if official.layout == "cifar":
            _unpack(archive, official, folder)
            archive.unlink()
    return target


def fetch(
    remote: RemoteFile,
    bases: Sequence[str],
    folder: Path,
    *,
    timeout: float = TIMEOUT,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Fetch one file from the first mirror that delivers it with the right checksum.

    Args:
        remote: what to fetch.
        bases: base addresses, each ending in "/".
        folder: where the file goes.
        timeout: seconds without a byte until the next mirror is tried.
        progress: called with (file name, bytes so far, bytes in all) while the file arrives.

    Returns:
        The file's path. A file that is there already with the right checksum is returned without any connection.

    Raises:
        DataError: every mirror failed; the message lists how.
        ImportError: pooch is not installed.
    """
    if timeout <= 0:
        raise ValueError(f"timeout must be above 0 seconds, got {timeout}")
    try:
        import pooch
    except ImportError as error:
        raise ImportError("downloads need pooch, which is not installed: pip install 'strongticket[data]'") from error
    failures = []
    for base in bases:
        meter = _Meter(remote, progress)
        try:
            with _quiet(pooch.get_logger()):
                path = pooch.retrieve(
                    base + remote.name,
                    known_hash=f"md5:{remote.md5}",
                    fname=remote.name,
                    path=folder,
                    downloader=pooch.HTTPDownloader(timeout=timeout, progressbar=meter, chunk_size=_Meter.CHUNK),
                )
            return Path(path)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors, a wrong checksum is a ValueError
            failures.append(f"  {base}{remote.name}: {str(error).splitlines()[0] if str(error) else repr(error)}")
    raise DataError(
        f"could not download {remote.name}; no file was left in {folder}. Tried:\n"
        + "\n".join(failures)
        + "\nCheck the connection, or put the file there by hand."
    )


class _Meter:
    """What pooch reports to while a file arrives; stops a download that grows beyond what was announced."""

    CHUNK = 1 << 16

    def __init__(self, remote: RemoteFile, progress: Callable[[str, int, int], None] | None) -> None:
        self.total = 0
        self._remote = remote
        self._progress = progress
        self._seen = 0

    def update(self, count: int) -> None:
        self._seen += count
        if self._seen > self._remote.max_bytes + self.CHUNK:
            raise DataError(f"the server sends more than {self._remote.max_bytes:,} bytes: not the published file")
        if self._progress is not None:
            self._progress(self._remote.name, min(self._seen, self.total) if self.total else self._seen, self.total)

    def reset(self) -> None:
        self._seen = 0

    def close(self) -> None:
        pass


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch from logging to the terminal: progress is the caller's to show."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _complete(official: OfficialSet, folder: Path) -> bool:
    files = (*official.train, *official.test)
    return all((folder / file.name).is_file() and md5((folder / file.name).read_bytes()) == file.md5 for file in files)


def _unpack(archive: Path, official: OfficialSet, folder: Path) -> None:
    """Unpack the wanted files of a tar archive beside their place, check them, and only then move them there."""
    wanted = {f"{official.folder}/{file.name}": file for file in (*official.train, *official.test)}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as temporary:
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    if member.name in wanted:
                        _extract(tar, member, temporary)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise DataError(f"{archive}: cannot be unpacked ({error})") from error
        for name, file in wanted.items():
            path = Path(temporary) / name
            if not path.is_file() or md5(path.read_bytes()) != file.md5:
                raise DataError(f"{archive}: {name} is missing in it or does not have the MD5 {file.md5}")
        (folder / official.folder).mkdir(exist_ok=True)
        for name in wanted:
            (Path(temporary) / name).replace(folder / name)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: str) -> None:
    if not member.isfile() or member.size > _LARGEST_MEMBER:
        raise DataError(f"{tar.name!s}: {member.name} is no plain file of at most {_LARGEST_MEMBER:,} bytes")
    options: dict[str, Any] = {"filter": "data"}  # refuses links, devices and paths that lead out of the folder
    tar.extract(member, folder, **options)
