"""Data sets: readers of the official file formats that refuse damaged input, splits that are functions of a seed."""

from __future__ import annotations

from strongticket.data._bytes import DataError
from strongticket.data._dataset import Dataset, Split, from_arrays
from strongticket.data._load import NAMES, load
from strongticket.data.cifar import read_cifar
from strongticket.data.digits import read_digits
from strongticket.data.idx import read_idx
from strongticket.data.monks import MonksPart, monks, write_monks

__all__ = [
    "NAMES",
    "DataError",
    "Dataset",
    "MonksPart",
    "Split",
    "from_arrays",
    "load",
    "monks",
    "read_cifar",
    "read_digits",
    "read_idx",
    "write_monks",
]
