"""Read CIFAR-10 and CIFAR-100 in their *binary* version: records of label bytes and 3,072 pixel bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from strongticket.data._bytes import DataError, open_plain_or_gzip, read_at_most

__all__ = ["CifarRecords", "read_cifar", "refuse_pickles"]

_PIXELS = 3 * 32 * 32
_MAX_BYTES = 60_000 * (_PIXELS + 2)
_LABEL_BYTES = {10: 1, 100: 2}
_PICKLE_ADVICE = (
    "this is the 'python version' of CIFAR, a pickle: loading it would run whatever code it holds, so it is refused. "
    "Fetch the binary version (cifar-10-binary.tar.gz or cifar-100-binary.tar.gz) instead"
)


class CifarRecords(NamedTuple):
    """What one binary CIFAR file holds."""

    images: npt.NDArray[np.uint8]  # [n, 3, 32, 32], planes red, green, blue
    labels: npt.NDArray[np.int64]  # [n], the fine labels in CIFAR-100


def read_cifar(path: str | os.PathLike[str], *, classes: int = 10) -> CifarRecords:
    """Read one binary CIFAR file, refusing anything that is not a whole number of records with valid labels.

    Args:
        path: a `.bin` file of the binary version, for example `data_batch_1.bin` (CIFAR-10) or `train.bin` (CIFAR-100).
        classes: 10 (records of 1 + 3,072 bytes) or 100 (coarse label, fine label, 3,072 bytes).

    Returns:
        The images and their labels (fine labels for CIFAR-100).

    Raises:
        DataError: the file is missing, cut, too long, holds a label out of range, or is a pickle.
        ValueError: `classes` is neither 10 nor 100.
    """
    if classes not in _LABEL_BYTES:
        raise ValueError(f"classes must be 10 (CIFAR-10) or 100 (CIFAR-100), got {classes}")
    label_bytes = _LABEL_BYTES[classes]
    record = label_bytes + _PIXELS
    with open_plain_or_gzip(path) as stream:
        content = read_at_most(stream, _MAX_BYTES + 1)
    if content[:1] == b"\x80" and content[-1:] == b".":
        raise DataError(f"{path}: {_PICKLE_ADVICE}")
    if len(content) > _MAX_BYTES:
        raise DataError(f"{path}: holds more than {_MAX_BYTES:,} bytes, more than any official CIFAR file")
    if not content or len(content) % record:
        raise DataError(
            f"{path}: expected a positive multiple of {record:,} bytes (CIFAR-{classes} records), "
            f"got {len(content):,}: fetch the file again, it is cut or of another format"
        )
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    labels = rows[:, label_bytes - 1].astype(np.int64)
    worst = int(labels.max())
    if worst >= classes:
        index = int(labels.argmax())
        raise DataError(f"{path}: record {index} has label {worst}, expected 0 to {classes - 1}: the file is damaged")
    return CifarRecords(rows[:, label_bytes:].reshape(-1, 3, 32, 32), labels)


def refuse_pickles(folder: str | os.PathLike[str]) -> None:
    """Raise a `DataError` if `folder` holds the pickled 'python version' of CIFAR (a folder, or its tar file).

    Args:
        folder: the data folder, or a CIFAR folder inside it.
    """
    folder = Path(folder)
    pickled = (
        "cifar-10-batches-py",
        "cifar-100-python",
        "cifar-10-python.tar.gz",
        "cifar-100-python.tar.gz",
        "data_batch_1",
    )
    for name in pickled:
        if (folder / name).exists():
            raise DataError(f"{folder / name}: {_PICKLE_ADVICE}")
