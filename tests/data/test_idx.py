"""The IDX reader: exact on good files, one clear error on everything else."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongticket.data import DataError, read_idx


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


GOOD = idx_bytes(np.arange(24).reshape(2, 3, 4))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.booleans(), st.integers(0, 2**32 - 1))
def test_round_trip_plain_and_gzip(tmp_path_factory, shape, compressed, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(idx_bytes(array)) if compressed else idx_bytes(array))
    assert np.array_equal(read_idx(path), array)


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_every_truncation_is_refused(tmp_path: Path, length: int):
    (tmp_path / "cut").write_bytes(GOOD[:length])
    (tmp_path / "cut.gz").write_bytes(gzip.compress(GOOD[:length]))
    for name in ("cut", "cut.gz"):
        with pytest.raises(DataError, match="cut"):
            read_idx(tmp_path / name)


@pytest.mark.parametrize("cut", [5, 20, -9, -4, -1])
def test_truncated_gzip_stream_is_refused(tmp_path: Path, cut: int):
    (tmp_path / "x.gz").write_bytes(gzip.compress(GOOD)[:cut])
    with pytest.raises(DataError):
        read_idx(tmp_path / "x.gz")


def test_flipped_gzip_bits_are_refused_or_harmless(tmp_path: Path):
    content = gzip.compress(GOOD * 3, mtime=0)[:]
    good = gzip.compress(GOOD, mtime=0)
    for position in range(len(good) * 8):
        damaged = bytearray(good)
        damaged[position // 8] ^= 1 << position % 8
        (tmp_path / "x.gz").write_bytes(damaged)
        try:
            array = read_idx(tmp_path / "x.gz")
        except DataError:
            continue
        assert np.array_equal(array.reshape(-1), np.arange(24))  # only bits of the gzip header that mean nothing
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(DataError, match="goes on"):
        read_idx(tmp_path / "x.gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + b"\0", "goes on"),
        (b"", "empty"),
        (b"\x01" + GOOD[1:], "first bytes"),
        (GOOD[:2] + b"\x0d" + GOOD[3:], "type 08"),
        (GOOD[:3] + b"\x00" + GOOD[4:], "dimensions"),
        (GOOD[:3] + b"\xff" + GOOD[4:], "dimensions"),
        (struct.pack(">BBBBII", 0, 0, 8, 2, 0, 5), "holds nothing"),
        (struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "over the limit"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "bad")
    if content:
        (tmp_path / "bad.gz").write_bytes(gzip.compress(content))
        with pytest.raises(DataError, match=message):
            read_idx(tmp_path / "bad.gz")


def test_a_header_that_lies_costs_no_memory(tmp_path: Path):
    """The header claims 900 MB, 200 bytes follow: memory must follow the bytes, not the claim."""
    (tmp_path / "lie").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, 900_000_000) + bytes(200))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="after 200"):
            read_idx(tmp_path / "lie")
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_stopped_at_the_announced_size(tmp_path: Path):
    """200 kB that expand to 200 MB behind a header that announces 10 bytes."""
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 10) + bytes(200_000_000), 6))
    assert (tmp_path / "bomb.gz").stat().st_size < 250_000
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="goes on"):
            read_idx(tmp_path / "bomb.gz")
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_limit_and_missing_file(tmp_path: Path):
    (tmp_path / "good").write_bytes(GOOD)
    assert read_idx(tmp_path / "good", limit=24).shape == (2, 3, 4)
    with pytest.raises(DataError, match="over the limit of 23"):
        read_idx(tmp_path / "good", limit=23)
    with pytest.raises(DataError, match="found none"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)
