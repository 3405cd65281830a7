from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongticket.ticketfile import gaps
from strongticket.ticketfile.gaps import decode_bits, decode_index, encode


def literal_encode(index: list[int]) -> bytes:
    out, previous = bytearray(), -1
    for i in index:
        gap, previous = i - previous - 1, i
        while gap > 127:
            out.append(gap & 127 | 128)
            gap >>= 7
        out.append(gap)
    return bytes(out)


def literal_decode(payload: bytes) -> list[int] | None:
    """Return the indices, or None for bytes that are not gaps below 2^63 in their shortest spelling."""
    index, previous, value, length = [], -1, 0, 0
    for byte in payload:
        value |= (byte & 127) << 7 * length
        length += 1
        if byte < 128:
            if length > 9 or (byte == 0 and length > 1):
                return None
            previous += value + 1
            index.append(previous)
            value = length = 0
    return None if length else index


EDGES = [0, 1, 126, 127, 128, 129, 2**14 - 1, 2**14, 2**14 + 1, 2**56 - 1, 2**56, 2**62, 2**63 - 2]
numbers = st.sampled_from(EDGES) | st.integers(0, 300) | st.integers(0, 2**63 - 2)


def array(payload: bytes) -> np.ndarray:
    return np.frombuffer(payload, dtype=np.uint8)


@given(st.lists(numbers, unique=True).map(sorted), st.integers(1, 5))
def test_encoding_is_the_literal_one_and_comes_back(index: list[int], pieces: int) -> None:
    blocks = [block for block in np.array_split(np.array(index, dtype=np.int64), pieces) if block.size]
    payload = encode(blocks, limit=10**6)
    assert payload == literal_encode(index)
    assert payload is not None
    assert decode_index(array(payload), len(index), 2**63).tolist() == index
    assert encode(blocks, limit=len(payload) + 1) == payload
    assert encode(blocks, limit=len(payload)) is None or not index


@given(st.sets(st.integers(0, 2000)))
def test_bits_are_those_of_the_indices(index: set[int]) -> None:
    payload = literal_encode(sorted(index))
    bits = np.unpackbits(decode_bits(array(payload), 2001, 2001), bitorder="little", count=2001)
    assert set(np.flatnonzero(bits).tolist()) == index


@pytest.mark.parametrize("block", [9, 10, 64])
@given(st.lists(numbers, unique=True, min_size=1).map(sorted))
def test_blocks_do_not_show(block: int, index: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaps, "_BLOCK", block)
        assert decode_index(array(literal_encode(index)), len(index), 2**63).tolist() == index
        small = [i for i in index if i < 400]
        bits = decode_bits(array(literal_encode(small)), 400, 400)
        assert np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist() == small


awkward = st.lists(st.sampled_from([0, 1, 0x7F, 0x80, 0x81, 0xFF]), max_size=40).map(bytes)


@given(st.binary(max_size=40) | awkward)
def test_any_bytes_are_decoded_as_literally_or_refused(payload: bytes) -> None:
    expected = literal_decode(payload)
    limit = 2**63
    if expected is None or any(i >= limit for i in expected):
        with pytest.raises(ValueError):
            decode_index(array(payload), (payload and sum(byte < 128 for byte in payload)) or 0, limit)
    else:
        assert decode_index(array(payload), len(expected), limit).tolist() == expected
        assert literal_encode(expected) == payload  # no list has two spellings


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"\x80", "no end"),
        (b"\x01\x80", "no end"),
        (b"\x80\x00", "padded"),
        (b"\x80" * 9 + b"\x01", "more than 9 bytes"),
        (b"\xff" * 100 + b"\x01", "more than 9 bytes"),
        (b"\x64", "keeps entry 100, beyond the last one, 99"),
        ((b"\xff" * 8 + b"\x7f") * 2, "beyond the last one"),  # the sum would be 0 modulo 2^64
        ((b"\xff" * 8 + b"\x7f") * 2 + b"\x00" * 50, "beyond the last one"),
    ],
)
def test_wrong_bytes_are_refused(payload: bytes, says: str) -> None:
    count = sum(byte < 128 for byte in payload)
    with pytest.raises(ValueError, match=says):
        decode_index(array(payload), count, 100)
    with pytest.raises(ValueError, match=says):
        decode_bits(array(payload), 100, 100)


@pytest.mark.parametrize("count", [0, 2, 4, 10**6])
def test_another_count_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"3 gaps instead of {count}"):
        decode_index(array(b"\x00\x01\x02"), count, 100)
