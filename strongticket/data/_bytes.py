"""Read files of stated size without trusting what they say about themselves."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["DataError", "md5", "open_plain_or_gzip", "read_at_most", "read_exactly"]

_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"


class DataError(ValueError):
    """A data set is missing, damaged, or not in the format that was asked for; the message says what to do."""


def md5(*parts: bytes | bytearray | memoryview) -> str:
    """Return the hexadecimal MD5 of the parts, one after the other.

    It is the checksum that the data sets publish: it finds damage, it is no protection against malice.
    """
    state = hashlib.md5(usedforsecurity=False)
    for part in parts:
        state.update(part)
    return state.hexdigest()


@contextmanager
def open_plain_or_gzip(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file, through gzip if its first two bytes say so, and turn every read failure into a `DataError`.

    Args:
        path: the file; its name does not matter, only its content.

    Yields:
        A binary stream of the uncompressed content.

    Raises:
        DataError: the file is missing, unreadable, or its gzip stream is damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            magic = raw.read(2)
            raw.seek(0)
            if magic == _GZIP_MAGIC:
                with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
                    yield stream  # type: ignore[misc]
            else:
                yield raw
    except FileNotFoundError:
        raise DataError(f"expected a file at {path}, found none: check the folder, or download the data set") from None
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: the gzip stream is damaged ({error}): fetch the file again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def read_at_most(stream: IO[bytes], limit: int) -> bytearray:
    """Read up to `limit` bytes, growing with what arrives: memory follows the content, never a claimed size."""
    content = bytearray()
    while len(content) < limit:
        chunk = stream.read(min(_CHUNK, limit - len(content)))
        if not chunk:
            break
        content += chunk
    return content


def read_exactly(stream: IO[bytes], count: int, what: str) -> bytearray:
    """Read `count` bytes that must also be the last ones of the stream.

    Args:
        stream: where to read.
        count: how many bytes must follow, at least 0.
        what: the file's name in the error message.

    Returns:
        The bytes, writable, so that an array can use them without a copy.

    Raises:
        DataError: the stream ends earlier, or goes on.

    >>> import io
    >>> bytes(read_exactly(io.BytesIO(b"abc"), 3, "example"))
    b'abc'
    """
    content = read_at_most(stream, count)
    if len(content) < count:
        raise DataError(
            f"{what}: expected {count:,} more bytes, the file ends after {len(content):,}: fetch it again, it is cut"
        )
    if stream.read(1):
        raise DataError(f"{what}: expected the file to end after {count:,} bytes of data, it goes on: fetch it again")
    return content
