from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strongticket.random import philox, philox_torch

WORD = st.integers(0, 2**32 - 1)
LONG = st.integers(0, 2**64 - 1) | st.sampled_from([0, 2**32 - 1, 2**32, 2**63, 2**64 - 1])

# Random123's kat_vectors for philox4x32-10: counter, key, output.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def oracle(counter: tuple[int, ...], key: tuple[int, ...]) -> list[int]:
    """Philox4x32-10 word for word in Python integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 % 2**32, (p0 >> 32) ^ c3 ^ k1, p0 % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


def oracle_block(seed: int, stream: int, block: int) -> list[int]:
    counter = (block % 2**32, block >> 32, stream % 2**32, stream >> 32)
    return oracle(counter, (seed % 2**32, seed >> 32))


def in_numpy(seed: int, stream: int, blocks: list[int]) -> list[list[int]]:
    made = philox.Philox(seed, stream, len(blocks)).gather(np.array(blocks, np.uint64))
    return made.reshape(-1, 4).tolist()


def in_torch(seed: int, stream: int, blocks: list[int]) -> list[list[int]]:
    numbers = torch.tensor([b - 2**64 if b >= 2**63 else b for b in blocks])
    return torch.stack(philox_torch.philox_blocks(numbers, seed, stream), dim=1).tolist()


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
def test_the_published_vectors(counter, key, output):
    expected = [int(word, 16) for word in output.split()]
    c0, c1, c2, c3 = counter
    seed, stream, block = key[0] | key[1] << 32, c2 | c3 << 32, c0 | c1 << 32
    assert oracle(counter, key) == expected
    assert in_numpy(seed, stream, [block]) == [expected]
    assert in_torch(seed, stream, [block]) == [expected]


@given(LONG, LONG, st.lists(LONG, min_size=1, max_size=20))
def test_numpy_and_torch_equal_the_literal_transcription(seed, stream, blocks):
    expected = [oracle_block(seed, stream, block) for block in blocks]
    assert in_numpy(seed, stream, blocks) == expected
    assert in_torch(seed, stream, blocks) == expected


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
@pytest.mark.parametrize("first", [0, 2**32 - 3, 2**33 - 1, 2**61 - 9])
def test_runs_carry_into_the_upper_half_of_the_counter(seed, first):
    expected = [word for block in range(first, first + 8) for word in oracle_block(seed, 5, block)]
    assert philox.Philox(seed, 5, 8).run(first, 8).tolist() == expected
    chunks = list(philox_torch.word_chunks(seed, 5, 4 * first, 4 * first + 32, torch.device("cpu")))
    assert [offset for offset, _ in chunks] == [0]
    assert chunks[0][1].tolist() == expected


@pytest.mark.parametrize("module", [philox, philox_torch])
def test_chunks_join_to_the_whole_whatever_their_size(module, monkeypatch):
    monkeypatch.setattr(module, "BLOCKS_AT_ONCE", 3)
    expected = [word for block in range(12) for word in oracle_block(9, 2, block)]
    place = () if module is philox else (torch.device("cpu"),)
    for start in range(9):
        for stop in range(start, 40, 7):
            made = [0] * (stop - start)
            for offset, piece in module.word_chunks(9, 2, start, stop, *place):
                assert offset % 2 == 0 or start % 2 == 1
                made[offset : offset + len(piece)] = piece.tolist()
            assert made == expected[start:stop]


def test_threads_do_not_disturb_each_other():
    def work(seed: int) -> bytes:
        return b"".join(piece.tobytes() for _, piece in philox.word_chunks(seed, 1, 0, 300_000))

    alone = [work(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == alone
