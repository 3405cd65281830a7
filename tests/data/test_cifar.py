"""The binary CIFAR reader: exact records, and never a pickle."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from strongticket.data import DataError, load, read_cifar


def records(classes: int, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, bytes]:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    labels = generator.integers(0, classes, count)
    head = b"" if classes == 10 else b"\x03"
    content = b"".join(
        head + bytes([label]) + image.tobytes() for image, label in zip(images, labels.tolist(), strict=True)
    )
    return images, labels, content


def write_cifar10(folder: Path, each: int = 20) -> Path:
    (folder / "cifar-10-batches-bin").mkdir(parents=True)
    for i, name in enumerate([*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]):
        (folder / "cifar-10-batches-bin" / name).write_bytes(records(10, each, i)[2])
    return folder


@pytest.mark.parametrize("classes", [10, 100])
def test_round_trip(tmp_path: Path, classes: int):
    images, labels, content = records(classes, 7)
    (tmp_path / "x.bin").write_bytes(content)
    read = read_cifar(tmp_path / "x.bin", classes=classes)
    assert np.array_equal(read.images, images)
    assert np.array_equal(read.labels, labels)
    assert read.labels.dtype == np.int64


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"\0", lambda c: b"", lambda c: c[:3072]])
def test_wrong_lengths_are_refused(tmp_path: Path, change):
    (tmp_path / "x.bin").write_bytes(change(records(10, 3)[2]))
    with pytest.raises(DataError, match="multiple of 3,073"):
        read_cifar(tmp_path / "x.bin")


def test_wrong_label_names_the_record(tmp_path: Path):
    content = bytearray(records(10, 3)[2])
    content[2 * 3073] = 10
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(DataError, match="record 2 has label 10"):
        read_cifar(tmp_path / "x.bin")
    with pytest.raises(ValueError, match=r"10 .* or 100"):
        read_cifar(tmp_path / "x.bin", classes=20)


def test_oversized_file_is_refused(tmp_path: Path):
    with (tmp_path / "x.bin").open("wb") as stream:
        stream.truncate(3073 * 70_000)
    with pytest.raises(DataError, match="more than"):
        read_cifar(tmp_path / "x.bin")


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["cifar-10-batches-py", "cifar-10-python.tar.gz"])
def test_the_pickled_version_is_refused_and_not_run(tmp_path: Path, name: str):
    trap = pickle.dumps(Trap(tmp_path / "executed"))
    if name.endswith("py"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data_batch_1").write_bytes(trap)
    else:
        (tmp_path / name).write_bytes(b"whatever")
    (tmp_path / "direct").write_bytes(trap)
    with pytest.raises(DataError, match=r"pickle.*binary version"):
        load("cifar10", folder=tmp_path)
    with pytest.raises(DataError, match="pickle"):
        read_cifar(tmp_path / "direct")
    if name.endswith("py"):
        with pytest.raises(DataError, match="pickle"):
            load(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_load_splits_scales_and_tells_what_it_is(tmp_path: Path):
    data = load("cifar10", folder=write_cifar10(tmp_path), validation=30, seed=1)
    assert (len(data.train), len(data.validation), len(data.test)) == (70, 30, 20)
    assert data.image_shape == (3, 32, 32)
    images, labels, _ = records(10, 20, 5)
    assert np.array_equal(data.images("test").numpy(), images.astype(np.float32) / np.float32(255))
    assert data.test.labels.tolist() == labels.tolist()
    assert "test_batch.bin" in data.note  # random bytes are not the published ones
    (tmp_path / "cifar-10-batches-bin" / "NOTE.txt").write_text("CIFAR-10 (from JPEG copies)\n")
    assert load(tmp_path / "cifar-10-batches-bin").note.startswith("CIFAR-10 (from JPEG copies); not byte for byte")


def test_cifar100_uses_fine_labels(tmp_path: Path):
    (tmp_path / "cifar-100-binary").mkdir()
    for name, seed in (("train.bin", 0), ("test.bin", 1)):
        (tmp_path / "cifar-100-binary" / name).write_bytes(records(100, 40, seed)[2])
    data = load("cifar100", folder=tmp_path)
    assert data.classes == 100
    assert data.test.labels.tolist() == records(100, 40, 1)[1].tolist()
