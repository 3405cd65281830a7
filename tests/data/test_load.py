"""Splits, records and the one door to all data sets."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strongticket.data import DataError, Dataset, Split, from_arrays, load
from strongticket.data._dataset import held_out


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, train: int = 50, test: int = 20) -> Path:
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for part, count in (("train", train), ("t10k", test)):
        images = generator.integers(0, 256, (count, 28, 28))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(generator.integers(0, 10, count)))
    return folder.parent


@given(st.integers(0, 2**64 - 1), st.integers(2, 200), st.data())
def test_held_out_is_a_partition_and_a_pure_function(seed, n, data):
    count = data.draw(st.integers(0, n - 1))
    kept, out = held_out(seed, "x", n, count)
    assert len(out) == count
    assert sorted([*kept.tolist(), *out.tolist()]) == list(range(n))
    assert kept.tolist() == sorted(kept.tolist())
    again = held_out(seed, "x", n, count)
    assert kept.tolist() == again[0].tolist()


def test_the_split_depends_on_seed_and_name_and_nests():
    first, other_seed, other_name = (held_out(*key, 1000, 100)[1] for key in ((0, "a"), (1, "a"), (0, "b")))
    assert len({*first.tolist()} & {*other_seed.tolist()}) < 50
    assert len({*first.tolist()} & {*other_name.tolist()}) < 50
    assert {*held_out(0, "a", 1000, 50)[1].tolist()} < {*first.tolist()}
    with pytest.raises(DataError, match="hold out 0 to 9"):
        held_out(0, "a", 10, 10)


def test_digits_split(monkeypatch):
    monkeypatch.delenv("STRONGTICKET_DATA", raising=False)
    first, second = load("digits"), load("digits", seed=1)
    assert torch.equal(first.test.inputs, second.test.inputs)  # the test part does not depend on the seed
    assert not torch.equal(first.validation.inputs, second.validation.inputs)
    assert torch.equal(first.train.inputs, load("digits").train.inputs)
    assert "not writer-independent" in first.note
    from sklearn.datasets import load_digits

    bunch = load_digits()
    rows = {(tuple((x / 16).tolist()), int(y)) for x, y in zip(bunch.data, bunch.target, strict=True)}
    parts = (first.train, first.validation, first.test)
    seen = [
        (tuple(x), y)
        for part in parts
        for x, y in zip(part.inputs.double().tolist(), part.labels.tolist(), strict=True)
    ]
    assert len(seen) == 1797
    assert set(seen) == rows


def test_mnist_layout_from_argument_environment_and_path(tmp_path: Path, monkeypatch):
    folder = write_mnist(tmp_path / "mnist")
    monkeypatch.delenv("STRONGTICKET_DATA", raising=False)
    with pytest.raises(DataError, match=r"folder=.*STRONGTICKET_DATA.*mnist/.*download"):
        load("mnist")
    data = load("mnist", folder=folder)
    assert (len(data.train), len(data.validation), len(data.test)) == (45, 5, 20)
    assert data.train.inputs.shape == (45, 784)
    assert data.images("train").shape == (45, 1, 28, 28)
    assert "not byte for byte" in data.note
    monkeypatch.setenv("STRONGTICKET_DATA", str(folder))
    assert torch.equal(load("mnist").train.inputs, data.train.inputs)
    assert torch.equal(load(tmp_path / "mnist").train.inputs, data.train.inputs)


def test_byte_scaling_is_correctly_rounded():
    x = np.arange(256, dtype=np.uint8).reshape(128, 2)
    y = np.zeros(128, np.int64)
    data = from_arrays("x", x, y, x, y, validation=0)
    exact = np.array([np.float32(k / 255.0) for k in range(256)])  # k/255 in float64, then once to float32
    assert np.array_equal(data.test.inputs.numpy().reshape(-1), exact)


def test_missing_and_mismatched_files(tmp_path: Path):
    with pytest.raises(DataError, match="expected a folder"):
        load("mnist", folder=tmp_path)
    with pytest.raises(DataError, match="unknown data set 'mnits'"):
        load("mnits")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no known data set"):
        load(tmp_path / "empty")
    folder = write_mnist(tmp_path / "mnist")
    labels = tmp_path / "mnist" / "train-labels-idx1-ubyte"
    good = labels.read_bytes()
    labels.write_bytes(idx_bytes(np.zeros(49)))
    with pytest.raises(DataError, match=r"\(50, 28, 28\) and \(49,\)"):
        load("mnist", folder=folder)
    labels.write_bytes(idx_bytes(np.full(50, 10)))
    with pytest.raises(DataError, match="label 10"):
        load("mnist", folder=folder)
    labels.write_bytes(good)
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte or .*gz"):
        load("mnist", folder=folder)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.full((4, 2), np.nan), np.zeros(4, int), r"\[0, 1\]"),
        (np.full((4, 2), np.inf), np.zeros(4, int), r"\[0, 1\]"),
        (np.full((4, 2), 1.5), np.zeros(4, int), "rescale"),
        (np.zeros((4, 2)), np.array([0, 1, 2, 3]), "label 3"),
        (np.zeros((4, 2)), np.array([0, -1, 0, 0]), "at least 0"),
        (np.zeros((4, 2)), np.zeros(4), "integers"),
        (np.zeros((4, 2), np.int32), np.zeros(4, int), "int32"),
        (np.zeros((4, 2)), np.zeros(3, int), "shapes"),
        (np.zeros(4), np.zeros(4, int), "shapes"),
        (np.zeros((0, 2)), np.zeros(0, int), "n >= 1"),
        (np.zeros((4, 3)), np.zeros(4, int), "the same"),
    ],
)
def test_from_arrays_refuses(x, y, message):
    with pytest.raises(DataError, match=message):
        from_arrays("x", x, y, np.zeros((2, 2)), np.zeros(2, int), validation=0, classes=3)


def test_records_refuse_what_they_do_not_promise():
    good = Split(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DataError, match="float32"):
        Split(torch.zeros(2, 4, dtype=torch.float64), good.labels)
    with pytest.raises(DataError, match="int64"):
        Split(good.inputs, torch.zeros(2))
    with pytest.raises(DataError, match="image_shape"):
        Dataset("x", "", good, good, good, 1, (1, 2, 3))
    with pytest.raises(DataError, match="no image shape"):
        Dataset("x", "", good, good, good, 1, None).images("test")
    with pytest.raises(DataError, match="must not be empty"):
        Dataset("x", "", good, good, good.take(0), 1, None)


@pytest.mark.data
def test_real_mnist(real_data: Path):
    if not (real_data / "mnist").is_dir():
        pytest.skip(f"no mnist/ in {real_data}")
    data = load("mnist", folder=real_data)
    assert data.note == ""  # the MD5 sums of all four files are the published ones
    assert (len(data.train), len(data.validation), len(data.test)) == (55_000, 5_000, 10_000)
    whole = torch.cat([data.train.inputs, data.validation.inputs])
    assert float(whole.double().mean()) == pytest.approx(0.1307, abs=5e-5)
    assert data.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@pytest.mark.data
def test_real_fashion_mnist(real_data: Path):
    if not (real_data / "fashion-mnist").is_dir():
        pytest.skip(f"no fashion-mnist/ in {real_data}")
    data = load("fashion-mnist", folder=real_data, validation=0)
    assert torch.bincount(data.train.labels).tolist() == [6000] * 10
    assert torch.bincount(data.test.labels).tolist() == [1000] * 10
    assert float(data.train.inputs.double().mean()) == pytest.approx(0.2860, abs=5e-5)
    assert float(data.train.inputs.double().std()) == pytest.approx(0.3530, abs=5e-5)


@pytest.mark.data
def test_real_cifar10(real_data: Path):
    if not (real_data / "cifar-10-batches-bin").is_dir():
        pytest.skip(f"no cifar-10-batches-bin/ in {real_data}")
    data = load("cifar10", folder=real_data, validation=0)
    assert torch.bincount(data.train.labels).tolist() == [5000] * 10
    assert torch.bincount(data.test.labels).tolist() == [1000] * 10
