"""Store a thin set of indices in about a byte for each: the gaps between them as LEB128 numbers.

A LEB128 number has 7 bits per byte, low bits first; the top bit of a byte says that more follow. The number stored for
an index is how many entries were left out since the index before it, so that no list of numbers can repeat an index or
go backwards, and no padding is allowed, so that no list has two spellings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_NUMBER_BYTES", "decode_bits", "decode_index", "encode"]

MAX_NUMBER_BYTES = 9  # 63 bits
_BLOCK = 1 << 16  # bytes decoded together: the arrays made on the way are 50 times as large


def encode(blocks: Iterable[NDArray[np.int64]], limit: int) -> bytes | None:
    """Return the gaps of rising indices >= 0 that come in blocks, none empty, or None if they take >= `limit` bytes.

    >>> encode([np.array([3, 4, 500])], limit=8).hex()
    '0300ef03'
    """
    parts: list[bytes] = []
    total, previous = 0, -1
    for index in blocks:
        gaps = np.empty(index.size, dtype=np.int64)
        gaps[0] = int(index[0]) - previous - 1
        np.subtract(index[1:], index[:-1] + 1, out=gaps[1:])
        parts.append(_leb128(gaps))
        total, previous = total + len(parts[-1]), int(index[-1])
        if total >= limit:
            return None
    return b"".join(parts)


def decode_index(payload: NDArray[np.uint8], count: int, limit: int) -> NDArray[np.int64]:
    """Return the `count` indices below `limit` <= 2^63 that some bytes hold.

    >>> decode_index(np.frombuffer(bytes.fromhex("0300ef03"), np.uint8), 3, 501)
    array([  3,   4, 500])

    Raises:
        ValueError: bytes that are not gaps, another number of them, or an index beyond the limit.
    """
    index = np.empty(count, dtype=np.int64)
    done = 0
    for block in _blocks(payload, limit):
        if done + block.size <= count:
            index[done : done + block.size] = block
        done += block.size
    if done != count:
        raise ValueError(f"it has {done} gaps instead of {count}")
    return index


def decode_bits(payload: NDArray[np.uint8], size: int, limit: int) -> NDArray[np.uint8]:  # [ceil(size / 8)]
    """Return the indices below `limit` that some bytes hold as packed bits, little-endian within a byte.

    >>> decode_bits(np.frombuffer(bytes.fromhex("030005"), np.uint8), 12, 12).tolist()
    [24, 4]

    Raises:
        ValueError: bytes that are not gaps, or an index beyond the limit.
    """
    bits = np.zeros(-(-size // 8), dtype=np.uint8)
    for block in _blocks(payload, limit):
        place = block >> 3
        firsts = np.flatnonzero(np.diff(place, prepend=-1))
        bits[place[firsts]] |= np.bitwise_or.reduceat((1 << (block & 7)).astype(np.uint8), firsts)
    return bits


def _blocks(payload: NDArray[np.uint8], limit: int) -> Iterator[NDArray[np.int64]]:
    following = 0
    for gaps in _numbers(payload):
        # the first index beyond the limit is below 2^64, so that no sum comes round to a small number unseen
        index = np.cumsum(gaps + np.uint64(1), dtype=np.uint64) + np.uint64(following) - np.uint64(1)
        largest = int(index.max())
        if largest >= limit:
            raise ValueError(f"it keeps entry {largest}, beyond the last one, {limit - 1}")
        following = int(index[-1]) + 1
        yield index.astype(np.int64)


def _leb128(values: NDArray[np.int64]) -> bytes:  # values: [n], 0 <= value < 2^63
    lengths = np.ones(values.size, dtype=np.int64)
    for bits in range(7, 63, 7):
        lengths += values >= (1 << bits)
    starts = np.cumsum(lengths) - lengths
    out = np.empty(int(lengths.sum()), dtype=np.uint8)
    for k in range(int(lengths.max(initial=0))):
        here = lengths > k
        more = (lengths[here] > k + 1).astype(np.uint8) << 7
        out[starts[here] + k] = ((values[here] >> (7 * k)) & 0x7F).astype(np.uint8) | more
    return out.tobytes()


def _numbers(payload: NDArray[np.uint8]) -> Iterator[NDArray[np.uint64]]:
    start = 0
    while start < payload.size:
        block = payload[start : start + _BLOCK]
        ends = np.flatnonzero(block < 0x80)
        if ends.size == 0:
            raise ValueError("its last gap has no end")
        block = block[: int(ends[-1]) + 1]
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1] + 1])
        lengths = ends - starts + 1
        if int(lengths.max()) > MAX_NUMBER_BYTES or bool(((lengths > 1) & (block[ends] == 0)).any()):
            raise ValueError(f"it has a gap of more than {MAX_NUMBER_BYTES} bytes, or one padded with zeros")
        values = np.zeros(ends.size, dtype=np.uint64)
        for k in range(int(lengths.max())):
            here = lengths > k
            values[here] |= (block[starts[here] + k] & 0x7F).astype(np.uint64) << np.uint64(7 * k)
        yield values
        start += block.size
