"""Turn (seed, stream, block number) into random words on any torch device, with the bits of the numpy generator.

torch has no unsigned 64-bit arithmetic, so 32-bit numbers travel in int64: products wrap modulo 2^64, which keeps
their bits, and every right shift is masked because it drags the sign along.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

import torch
from torch import Tensor

from strongticket.random.normal_table import FIRST_ROW, MANTISSA_BITS, TERMS, columns_by_exponent
from strongticket.random.philox import LANES, MULTIPLIERS, round_keys

__all__ = ["BLOCKS_AT_ONCE", "check_index", "gather_words", "normal_tab1", "philox_blocks", "word_chunks"]

BLOCKS_AT_ONCE: Final = 1 << 22
"""Counters per pass: about ten int64 buffers of 32 MB, so the peak memory does not grow with the request."""

_LOW: Final = 0xFFFFFFFF


def philox_blocks(
    blocks: Tensor,  # [n] int64; block numbers from 2^63 on wrap to negative ones
    seed: int,
    stream: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # four of [n] int64, each value a 32-bit word
    """Return the four words of each block named, on the device of `blocks`."""
    c0, c1 = blocks & _LOW, (blocks >> 32) & _LOW
    c2, c3 = torch.full_like(blocks, stream & _LOW), torch.full_like(blocks, stream >> 32)
    for k0, k1 in round_keys(seed):
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0 = ((p1 >> 32) & _LOW) ^ c1 ^ k0
        c1 = p1 & _LOW
        c2 = ((p0 >> 32) & _LOW) ^ c3 ^ k1
        c3 = p0 & _LOW
    return c0, c1, c2, c3


def word_chunks(
    seed: int, stream: int, start: int, stop: int, device: torch.device
) -> Iterator[tuple[int, Tensor]]:  # (offset from start, [m] int64)
    """Yield words start..stop-1 of a stream in pieces, each with its offset; offsets are even whenever `start` is."""
    first, last = start // LANES, -(-stop // LANES)
    for block in range(first, last, BLOCKS_AT_ONCE):
        count = min(BLOCKS_AT_ONCE, last - block)
        blocks = torch.arange(block, block + count, dtype=torch.int64, device=device)
        words = torch.stack(philox_blocks(blocks, seed, stream), dim=1).reshape(-1)
        head = max(start - LANES * block, 0)
        tail = min(stop - LANES * block, LANES * count)
        yield LANES * block + head - start, words[head:tail]


def check_index(index: Tensor, limit: int) -> None:
    """Refuse positions that are not integers in 0..limit-1; on a CUDA device this waits for the device.

    Raises:
        TypeError: floating, complex or boolean positions.
        ValueError: a position is negative or too large.
    """
    if index.dtype.is_floating_point or index.dtype.is_complex or index.dtype == torch.bool:
        raise TypeError(
            f"index: expected integers, got {index.dtype}; for a boolean mask pass its flat nonzero positions"
        )
    if index.numel() and index.device.type != "meta":
        low, high = (int(x) for x in torch.aminmax(index))
        if low < 0 or high >= limit:
            raise ValueError(f"index: expected positions in 0..2^{limit.bit_length() - 1}-1, got {low}..{high}")


def gather_words(
    seed: int,
    stream: int,
    index: Tensor,  # [n] int64
    per_value: int,
) -> Tensor:  # [n * per_value] int64
    """Return the `per_value` (1 or 2) consecutive words of each value named, one block of work for each."""
    shift = 2 if per_value == 1 else 1
    lanes = torch.stack(philox_blocks(index >> shift, seed, stream), dim=1).reshape(index.numel(), -1, per_value)
    chosen = (index & (LANES // per_value - 1))[:, None, None].expand(-1, 1, per_value)
    return lanes.gather(1, chosen).reshape(-1)


@cache
def _columns(device: torch.device) -> Tensor:  # [8, 848]
    return torch.tensor(columns_by_exponent(), dtype=torch.float64, device=device)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def normal_tab1(
    words: Tensor,  # [2n] int64, (high, low) by turns
) -> Tensor:  # [n] float64
    """Return the normal numbers of pairs of words: the steps of `HalfQuantile`, kept out of compilers.

    A compiler may fuse a product and a sum into one rounding, which changes the last bit.
    """
    high, low = words[0::2], words[1::2]
    f = (((((high & 0x7FFFFFFF) << 21) | (low >> 11)) << 1) | 1).to(torch.float64)
    raw = f.view(torch.int64)
    row = (raw >> MANTISSA_BITS) - FIRST_ROW
    x = (raw & ((1 << MANTISSA_BITS) - 1)).to(torch.float64) * 2.0 ** (1 - MANTISSA_BITS) - 1.0
    columns = _columns(words.device)
    y = columns[TERMS - 1][row]
    for term in range(TERMS - 2, -1, -1):
        y = y * x
        y = y + columns[term][row]
    return y * (1 - ((high >> 30) & 2)).to(torch.float64)
