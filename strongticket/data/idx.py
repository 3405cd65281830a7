"""Read IDX files, the format in which MNIST and Fashion-MNIST are published, plain or gzip-compressed."""

from __future__ import annotations

import math
import os
import struct
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from strongticket.data._bytes import DataError, open_plain_or_gzip, read_at_most, read_exactly

__all__ = ["MAX_IDX_BYTES", "read_idx"]

MAX_IDX_BYTES = 1 << 30
"""Largest content that `read_idx` takes unless told otherwise: 1 GiB."""

_UNSIGNED_BYTE = 0x08
_MAX_DIMENSIONS = 8


def read_idx(path: str | os.PathLike[str], *, limit: int = MAX_IDX_BYTES) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes into an array, refusing anything that is not exactly one.

    The header's sizes are checked against `limit` before a single byte of data is read, and memory grows with the
    content that arrives, so that a small file cannot claim, or expand to, more than it is allowed.

    Args:
        path: the file, plain or gzip-compressed (told by its content, not by its name).
        limit: the most bytes of data allowed, as uncompressed.

    Returns:
        A uint8 array of the shape that the header gives (MNIST images: [n, 28, 28], labels: [n]).

    Raises:
        DataError: the file is missing, damaged, cut, too long, of another type than unsigned bytes, or over the limit.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "labels"
    >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    >>> read_idx(file)
    array([7, 2, 1], dtype=uint8)
    """
    with open_plain_or_gzip(path) as stream:
        shape = _read_shape(stream, str(path))
        count = math.prod(shape)
        if count > limit:
            raise DataError(
                f"{path}: its header announces {count:,} bytes (shape {shape}), over the limit of {limit:,}: "
                "the file is damaged or not this data set; pass a larger limit if it is meant"
            )
        content = read_exactly(stream, count, str(path))
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read_shape(stream: IO[bytes], what: str) -> tuple[int, ...]:
    magic = bytes(read_at_most(stream, 4))
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"{what}: expected an IDX file (first bytes 00 00), got {magic.hex(' ') or 'an empty file'}")
    kind, dimensions = magic[2], magic[3]
    if kind != _UNSIGNED_BYTE:
        raise DataError(f"{what}: expected IDX type 08 (unsigned bytes), got {kind:02x}: other types are not read here")
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise DataError(f"{what}: expected 1 to {_MAX_DIMENSIONS} dimensions, its header says {dimensions}")
    header = bytes(read_at_most(stream, 4 * dimensions))
    if len(header) < 4 * dimensions:
        raise DataError(f"{what}: the file ends inside its header: fetch it again")
    shape: tuple[Any, ...] = struct.unpack(f">{dimensions}I", header)
    if 0 in shape:
        raise DataError(f"{what}: its header says shape {shape}, which holds nothing")
    return shape
