"""Folders that cannot be written: a disk that is full, one that is read-only, a limit on the size of files."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["PLACES", "full_disk", "limit_file_size", "read_only"]

FILE_BYTES: Final = 512  # of the limit


@contextmanager
def full_disk(folder: Path) -> Iterator[str]:
    """Put a disk with no room at a folder, which keeps its files; yields how that was done.

    Raises:
        PermissionError: only the superuser can mount file systems.
    """
    with _memory_disk(folder):
        room = os.statvfs(folder)
        filler = folder / ".filler"
        with filler.open("wb") as stream, contextlib.suppress(OSError):
            stream.write(bytes(room.f_bavail * room.f_frsize))
        try:
            yield "tmpfs with nothing left"
        finally:
            filler.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[str]:
    """Make a folder read-only, for the superuser too; yields how that was done.

    Raises:
        PermissionError: the superuser may not mount file systems here.
    """
    if os.geteuid():
        mode = folder.stat().st_mode
        folder.chmod(0o500)
        try:
            yield "mode 0500"
        finally:
            folder.chmod(mode)
        return
    with _memory_disk(folder):
        _system("mount", "-o", "remount,ro", str(folder))
        yield "tmpfs mounted read-only"


def limit_file_size() -> None:
    """Let this process write no file larger than `FILE_BYTES`: what a quota or a full disk does to a write."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))


PLACES: Final = ("file size limit", "full disk", "read-only folder")
"""What `doors` tries."""


@contextmanager
def _memory_disk(folder: Path) -> Iterator[None]:
    aside = folder.with_name(f"{folder.name}.aside")
    shutil.copytree(folder, aside)
    try:
        _system("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder))
        try:
            shutil.copytree(aside, folder, dirs_exist_ok=True)
            yield
        finally:
            _system("umount", str(folder))
    finally:
        shutil.rmtree(aside)


def _system(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(f"{' '.join(words)}: {done.stderr.strip()}")
