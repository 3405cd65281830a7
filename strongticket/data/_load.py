"""One door to every data set: by its name, or by the path of files in an official layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from strongticket.data._bytes import DataError, md5, open_plain_or_gzip, read_at_most
from strongticket.data._dataset import Dataset, from_arrays, held_out
from strongticket.data._official import OFFICIAL, OfficialFile, OfficialSet
from strongticket.data.cifar import read_cifar, refuse_pickles
from strongticket.data.digits import DIGITS_NOTE, read_digits
from strongticket.data.download import download as download_set
from strongticket.data.idx import read_idx

__all__ = ["ENVIRONMENT_VARIABLE", "NAMES", "data_folder", "load"]

ENVIRONMENT_VARIABLE = "STRONGTICKET_DATA"
"""Names the data folder when no argument does."""

NAMES = ("digits", *OFFICIAL)
"""The data sets that `load` knows by name."""

_DIGITS_TEST = 360
_DIGITS_VALIDATION = 180
_NOTE_FILE = "NOTE.txt"
_NOTE_LIMIT = 10_000

_Bytes = npt.NDArray[np.uint8]
_Labels = npt.NDArray[np.int64]


def load(
    name_or_path: str | os.PathLike[str],
    *,
    folder: str | os.PathLike[str] | None = None,
    validation: int | None = None,
    seed: int = 0,
    download: bool = False,
) -> Dataset:
    """Load a data set, checked and split, ready to train on.

    The official test part is the test part, whatever the seed. Validation examples are held out of the training part
    by a permutation that is a pure function of (seed, name).

    Args:
        name_or_path: "digits" (needs no files), "mnist", "fashion-mnist", "cifar10", "cifar100", or the path of a
            folder that holds four IDX files or the binary CIFAR files under their official names.
        folder: the data folder, which holds `mnist/`, `fashion-mnist/`, `cifar-10-batches-bin/` or
            `cifar-100-binary/`; by default the one that the environment variable STRONGTICKET_DATA names.
        validation: how many training examples to hold out; by default 5,000 (digits: 180).
        seed: seed of the split, 0 to 2^64 - 1.
        download: fetch what is missing into the data folder first (needs the extra `data`).

    Returns:
        The data set. Its `note` tells what has to be said beside every number made with it: the folder's NOTE.txt if
        there is one, and which files are not byte for byte the published ones.

    Raises:
        DataError: no data folder was given, files are missing or damaged, or the name is unknown.
        ImportError: an extra that is needed is not installed.

    >>> data = load("digits")
    >>> len(data.train), len(data.validation), len(data.test), data.image_shape
    (1257, 180, 360, (1, 8, 8))
    """
    name = os.fspath(name_or_path)
    if name == "digits":
        return _load_digits(validation, seed)
    if name in OFFICIAL:
        official = OFFICIAL[name]
        root = data_folder(folder, name)
        if download:
            download_set(name, root)
        return _load_official(official, root / official.folder, validation, seed)
    path = Path(name)
    if path.is_dir():
        return _load_official(_recognise(path), path, validation, seed)
    raise DataError(f"unknown data set '{name}': expected one of {', '.join(NAMES)}, or the path of a folder")


def data_folder(folder: str | os.PathLike[str] | None, name: str) -> Path:
    """Return the data folder: the argument, else what STRONGTICKET_DATA names.

    Args:
        folder: the folder given by the caller, or None.
        name: the data set that is wanted, for the message.

    Raises:
        DataError: neither is given.
    """
    if folder is not None:
        return Path(folder)
    if os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(os.environ[ENVIRONMENT_VARIABLE])
    raise DataError(
        f"data set '{name}' needs a data folder: pass folder=..., or set the environment variable "
        f"{ENVIRONMENT_VARIABLE}, to a folder that holds {OFFICIAL[name].folder}/ (with download=True it is filled)"
    )


def _load_digits(validation: int | None, seed: int) -> Dataset:
    digits = read_digits()
    # The test part does not depend on the seed, so that no choice made under one seed can leak into another's test.
    train, test = held_out(0, "digits/test", len(digits.labels), _DIGITS_TEST)
    return from_arrays(
        "digits",
        digits.images[train],
        digits.labels[train],
        digits.images[test],
        digits.labels[test],
        validation=_DIGITS_VALIDATION if validation is None else validation,
        seed=seed,
        classes=10,
        image_shape=(1, 8, 8),
        scale=16,
        note=DIGITS_NOTE,
    )


def _load_official(official: OfficialSet, folder: Path, validation: int | None, seed: int) -> Dataset:
    if not folder.is_dir():
        refuse_pickles(folder.parent)
        raise DataError(
            f"data set '{official.name}': expected a folder {folder}, found none: check the data folder, "
            "or pass download=True"
        )
    changed: list[str] = []
    read = _read_idx_pair if official.layout == "idx" else _read_cifar_files
    x, y = read(official, official.train, folder, changed)
    x_test, y_test = read(official, official.test, folder, changed)
    return from_arrays(
        official.name,
        x,
        y,
        x_test,
        y_test,
        validation=min(official.validation, len(y) // 10) if validation is None else validation,
        seed=seed,
        classes=official.classes,
        image_shape=official.image_shape,
        note=_note(folder, changed),
    )


def _read_idx_pair(
    official: OfficialSet, files: Sequence[OfficialFile], folder: Path, changed: list[str]
) -> tuple[_Bytes, _Labels]:
    pixels = official.image_shape[1] * official.image_shape[2]
    limit = 60_000 * pixels
    images, labels = (read_idx(_plain_or_gz(folder, file.name), limit=limit) for file in files)
    if images.shape[1:] != official.image_shape[1:] or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"{folder}: expected {files[0].name} of shape [n, 28, 28] and {files[1].name} of shape [n], "
            f"got {images.shape} and {labels.shape}"
        )
    if int(labels.max()) >= official.classes:
        raise DataError(
            f"{folder / files[1].name}: found label {int(labels.max())}, expected 0 to {official.classes - 1}"
        )
    for file, array in zip(files, (images, labels), strict=True):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
        if md5(header, array.data) != file.md5:
            changed.append(file.name)
    return images, labels.astype(np.int64)


def _read_cifar_files(
    official: OfficialSet, files: Sequence[OfficialFile], folder: Path, changed: list[str]
) -> tuple[_Bytes, _Labels]:
    refuse_pickles(folder)
    parts = [read_cifar(folder / file.name, classes=official.classes) for file in files]
    changed += [file.name for file in files if md5((folder / file.name).read_bytes()) != file.md5]
    return np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts])


def _plain_or_gz(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise DataError(f"expected {name} or {name}.gz in {folder}, found neither: pass download=True to fetch it")


def _note(folder: Path, changed: Sequence[str]) -> str:
    lines = []
    if (folder / _NOTE_FILE).is_file():
        with open_plain_or_gzip(folder / _NOTE_FILE) as stream:
            lines.append(bytes(read_at_most(stream, _NOTE_LIMIT)).decode("utf-8", errors="replace").strip())
    if changed:
        lines.append(f"not byte for byte the published files (other pixels or another order): {', '.join(changed)}")
    return "; ".join(lines)


def _recognise(folder: Path) -> OfficialSet:
    """Tell by the files in a folder which official layout it has; MNIST and Fashion-MNIST share theirs."""
    for official in OFFICIAL.values():
        first = official.train[0].name
        if (folder / first).exists() or (folder / f"{first}.gz").exists():
            if official.layout == "idx" and folder.name in OFFICIAL:
                return OFFICIAL[folder.name]
            return official
    refuse_pickles(folder)
    wanted = ", ".join(official.train[0].name for official in OFFICIAL.values() if official.name != "fashion-mnist")
    raise DataError(f"{folder} holds no known data set: expected one of the files {wanted} (IDX files also as .gz)")
