"""What the official data sets consist of: files, sizes, checksums, and where they are published."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["OFFICIAL", "OfficialFile", "OfficialSet", "RemoteFile"]


@dataclass(frozen=True)
class OfficialFile:
    """One file of a data set as its readers want it."""

    name: str
    """Name without `.gz`."""
    md5: str
    """MD5 of the uncompressed content."""


@dataclass(frozen=True)
class RemoteFile:
    """One file to download."""

    name: str
    md5: str
    """MD5 of the file as published (compressed)."""
    max_bytes: int
    """A download that grows beyond this is stopped."""


@dataclass(frozen=True)
class OfficialSet:
    """A published data set: where it lies in the data folder, what it must hold, where to get it."""

    name: str
    folder: str
    """Its folder inside the data folder."""
    layout: str
    """"idx" or "cifar"."""
    classes: int
    image_shape: tuple[int, int, int]
    train: tuple[OfficialFile, ...]
    test: tuple[OfficialFile, ...]
    remote: tuple[RemoteFile, ...]
    mirrors: tuple[str, ...]
    """Base addresses, tried in this order."""
    validation: int
    """Images held out of the official training part by default."""


def _idx_set(name: str, content_md5: tuple[str, ...], gz_md5: tuple[str, ...], mirrors: tuple[str, ...]) -> OfficialSet:
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    files = tuple(OfficialFile(file, md5) for file, md5 in zip(names, content_md5, strict=True))
    remote = tuple(RemoteFile(f"{file}.gz", md5, 32 << 20) for file, md5 in zip(names, gz_md5, strict=True))
    return OfficialSet(name, name, "idx", 10, (1, 28, 28), files[:2], files[2:], remote, mirrors, validation=5000)


_CIFAR_MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")

_SETS = (
    _idx_set(
        "mnist",
        (
            "6bbc9ace898e44ae57da46a324031adb",
            "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea",
            "27ae3e4e09519cfbb04c329615203637",
        ),
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    ),
    _idx_set(
        "fashion-mnist",
        (
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
    ),
    OfficialSet(
        name="cifar10",
        folder="cifar-10-batches-bin",
        layout="cifar",
        classes=10,
        image_shape=(3, 32, 32),
        train=(
            OfficialFile("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25"),
            OfficialFile("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692"),
            OfficialFile("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421"),
            OfficialFile("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb"),
            OfficialFile("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d"),
        ),
        test=(OfficialFile("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d"),),
        remote=(RemoteFile("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", 200 << 20),),
        mirrors=_CIFAR_MIRRORS,
        validation=5000,
    ),
    OfficialSet(
        name="cifar100",
        folder="cifar-100-binary",
        layout="cifar",
        classes=100,
        image_shape=(3, 32, 32),
        train=(OfficialFile("train.bin", "6172c7755cfe09b2fe270c85cebc1b15"),),
        test=(OfficialFile("test.bin", "4499cfba6c016c1be1438163640a0898"),),
        remote=(RemoteFile("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", 200 << 20),),
        mirrors=_CIFAR_MIRRORS,
        validation=5000,
    ),
)

OFFICIAL = MappingProxyType({official.name: official for official in _SETS})
"""The published data sets by name."""
