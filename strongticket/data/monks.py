"""The three MONK's problems (thrun1991monks), rebuilt byte for byte: the data of the first brain-surgery paper.

A robot has six attributes with 3, 3, 2, 3, 4 and 2 values; there are 432 of them, and three rules say which belong to a
class. The 432 are the test part of each problem; the training part is a random draw of 124, 169 and 122 of them, in
monks-3 with six labels turned round as noise. Rules and draws are all there is to know, so nothing is downloaded: the
draws are kept as bitmaps, and the official files follow from them.

The data are "MONK's Problems" of the UCI Machine Learning Repository
(https://archive.ics.uci.edu/ml/datasets/MONK%27s+Problems), under the Creative Commons Attribution 4.0 licence
(CC BY 4.0).
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from strongticket._files import write_atomically
from strongticket.data._bytes import DataError

__all__ = ["MONKS", "MONKS_INPUTS", "MonksPart", "MonksProblem", "monks", "monks_file", "write_monks"]

MonksProblem = Literal["monks-1", "monks-2", "monks-3"]
MONKS: Final[tuple[MonksProblem, ...]] = ("monks-1", "monks-2", "monks-3")

MONKS_INPUTS: Final = 17
"""Inputs of a network: one for each value of each attribute."""

_VALUES: Final = (3, 3, 2, 3, 4, 2)
# bit i stands for the robot of id i + 1
_DRAWN: Final = {
    "monks-1": int(
        "AA00E18EA0854500230082810828090809032007209211014004E1AB201C48909840DB30C5EA08DA444438E00884B19602500C240030",
        16,
    ),
    "monks-2": int(
        "853501002035A12D3935063A8E04F92BEA40B0259646B1238D19E9701190AB84496A081904A270986C3AF35044FB7A020AD003445748",
        16,
    ),
    "monks-3": int(
        "A128034D806061022802104801A00482801585904A102D10403208B906A00240086803C340A0871160440D0D906F1C1033C88800895E",
        16,
    ),
}
_NOISE: Final = {"monks-1": (), "monks-2": (), "monks-3": (5, 61, 203, 213, 214, 391)}


class MonksPart(NamedTuple):
    """One part of a problem, in the order of the official file."""

    attributes: npt.NDArray[np.int64]  # [n, 6], from 1
    labels: npt.NDArray[np.int64]  # [n], 0 or 1
    ids: npt.NDArray[np.int64]  # [n], 1..432, ascending

    def inputs(self) -> npt.NDArray[np.float64]:  # [n, 17]
        """Return the attributes as a network sees them: 1 for the value that each has, 0 for its others.

        >>> monks("monks-1")[1].inputs()[0].tolist()
        [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        """
        return np.concatenate(
            [self.attributes[:, i, None] == np.arange(1, n + 1) for i, n in enumerate(_VALUES)], axis=1
        ).astype(np.float64)


def monks(problem: MonksProblem) -> tuple[MonksPart, MonksPart]:
    """Return the training and the test part of a problem.

    Args:
        problem: "monks-1", "monks-2" or "monks-3".

    Raises:
        DataError: there is no such problem.

    >>> train, test = monks("monks-3")
    >>> len(train.labels), len(test.labels), int(train.labels.sum())
    (122, 432, 60)
    """
    if problem not in MONKS:
        raise DataError(f"expected one of {', '.join(MONKS)}, got {problem!r}")
    attributes = np.array(list(itertools.product(*(range(1, n + 1) for n in _VALUES))), dtype=np.int64)
    ids = np.arange(1, len(attributes) + 1)
    labels = _rule(problem, attributes).astype(np.int64)
    drawn = np.array([_DRAWN[problem] >> i & 1 for i in range(len(ids))], dtype=bool)
    noisy = labels ^ np.isin(ids, _NOISE[problem])
    return MonksPart(attributes[drawn], noisy[drawn], ids[drawn]), MonksPart(attributes, labels, ids)


def monks_file(problem: MonksProblem, part: Literal["train", "test"]) -> bytes:
    """Return the official file of one part, "monks-1.train" and so on, byte for byte.

    >>> monks_file("monks-1", "train")[:24]
    b' 1 1 1 1 1 3 1 data_5\\n 1'
    """
    if part not in ("train", "test"):
        raise DataError(f"expected 'train' or 'test', got {part!r}")
    attributes, labels, ids = monks(problem)[part == "test"]
    rows = zip(labels.tolist(), attributes.tolist(), ids.tolist(), strict=True)
    return "".join(f" {label} {' '.join(map(str, each))} data_{i}\n" for label, each, i in rows).encode("ascii")


def write_monks(folder: str | os.PathLike[str]) -> list[Path]:
    """Write the six official files, monks-1.train to monks-3.test, and return their paths.

    Args:
        folder: an existing folder; files of these names are replaced.

    Raises:
        OSError: there is no such folder, or it cannot be written.
    """
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"expected an existing folder, got {os.fspath(folder)!r}: make it first")
    parts: tuple[Literal["train", "test"], ...] = ("train", "test")
    return [
        write_atomically(Path(folder) / f"{problem}.{part}", monks_file(problem, part))
        for problem in MONKS
        for part in parts
    ]


def _rule(problem: MonksProblem, attributes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    a1, a2, _, a4, a5, _ = attributes.T
    if problem == "monks-1":
        return np.asarray((a1 == a2) | (a5 == 1))
    if problem == "monks-2":
        return np.asarray((attributes == 1).sum(axis=1) == 2)
    return np.asarray(((a5 == 3) & (a4 == 1)) | ((a5 != 4) & (a2 != 3)))
