"""Turn (seed, stream, block number) into random words on the processor: Philox4x32-10 in numpy.

Philox is a *counter-based* generator (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011): block number b of a stream is a keyed scrambling of b, so any part of a stream can be made alone, in any
order, on any device. Only 32-bit integer arithmetic is used, hence the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCKS_AT_ONCE", "LANES", "MULTIPLIERS", "Philox", "round_keys", "word_chunks"]

MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
WEYL: Final = (0x9E3779B9, 0xBB67AE85)
ROUNDS: Final = 10
LANES: Final = 4
"""Words in one block."""
BLOCKS_AT_ONCE: Final = 1 << 14
"""Counters per pass: seven buffers of this many 64-bit numbers stay inside a second-level cache of 1 MB."""

_LOW: Final = 0xFFFFFFFF
_MASK: Final = np.uint64(_LOW)
_HALF: Final = np.uint64(32)
_M0: Final = np.uint64(MULTIPLIERS[0])
_M1: Final = np.uint64(MULTIPLIERS[1])


def round_keys(seed: int) -> tuple[tuple[int, int], ...]:
    """Return the ten pairs of 32-bit keys that the ten rounds use for `seed` in 0..2^64-1.

    >>> [hex(k) for k in round_keys(2**32 + 7)[0]]
    ['0x7', '0x1']
    """
    low, high = seed & _LOW, seed >> 32
    return tuple(((low + r * WEYL[0]) & _LOW, (high + r * WEYL[1]) & _LOW) for r in range(ROUNDS))


@final
class Philox:
    """Make the blocks of one stream, a few thousand at a time, in buffers that are used again and again.

    One object serves one thread: every call overwrites the array that the call before returned.

    Args:
        seed: the key, 0..2^64-1.
        stream: the upper half of the counter, 0..2^64-1.
        capacity: the most blocks that one call will ask for.
    """

    __slots__ = ("_counter", "_keys", "_products", "_ramp", "_stream", "_words")

    def __init__(self, seed: int, stream: int, capacity: int) -> None:
        self._keys = [(np.uint64(a), np.uint64(b)) for a, b in round_keys(seed)]
        self._stream = (np.uint64(stream & _LOW), np.uint64(stream >> 32))
        self._counter = np.empty((LANES, capacity), np.uint64)
        self._products = np.empty((2, capacity), np.uint64)
        self._ramp = np.arange(capacity, dtype=np.uint64)
        self._words = np.empty((capacity, LANES), np.uint32)

    def run(self, first: int, count: int) -> NDArray[np.uint32]:  # [4 * count]
        """Return the words of blocks first..first+count-1, in order; `first + count` is at most 2^64."""
        np.add(self._ramp[:count], np.uint64(first), out=self._counter[0, :count])
        return self._scramble(count)

    def gather(self, blocks: NDArray[np.uint64]) -> NDArray[np.uint32]:  # [4 * len(blocks)]
        """Return the words of the blocks named, in the order named."""
        count = blocks.size
        self._counter[0, :count] = blocks
        return self._scramble(count)

    def _scramble(self, count: int) -> NDArray[np.uint32]:
        c0, c1, c2, c3 = self._counter[:, :count]
        p0, p1 = self._products[:, :count]
        np.right_shift(c0, _HALF, out=c1)
        np.bitwise_and(c0, _MASK, out=c0)
        c2.fill(self._stream[0])
        c3.fill(self._stream[1])
        for k0, k1 in self._keys:
            np.multiply(c0, _M0, out=p0)
            np.multiply(c2, _M1, out=p1)
            np.right_shift(p1, _HALF, out=c0)
            np.bitwise_xor(c1, k0, out=c1)
            np.bitwise_xor(c0, c1, out=c0)
            np.right_shift(p0, _HALF, out=c2)
            np.bitwise_xor(c3, k1, out=c3)
            np.bitwise_xor(c2, c3, out=c2)
            np.bitwise_and(p1, _MASK, out=c1)
            np.bitwise_and(p0, _MASK, out=c3)
        words = self._words[:count]
        for lane, part in enumerate((c0, c1, c2, c3)):
            words[:, lane] = part  # narrows to 32 bits: every part is already below 2^32
        return words.reshape(-1)


def word_chunks(seed: int, stream: int, start: int, stop: int) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Yield words start..stop-1 of a stream in pieces that stay in cache, each with its offset from `start`.

    Offsets are even whenever `start` is, so that two-word values never straddle two pieces. A piece is overwritten
    when the next one is asked for.
    """
    first, last = start // LANES, -(-stop // LANES)
    philox = Philox(seed, stream, min(BLOCKS_AT_ONCE, last - first))
    for block in range(first, last, BLOCKS_AT_ONCE):
        count = min(BLOCKS_AT_ONCE, last - block)
        head = max(start - LANES * block, 0)
        tail = min(stop - LANES * block, LANES * count)
        yield LANES * block + head - start, philox.run(block, count)[head:tail]
