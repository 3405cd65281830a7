from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongticket import random
from strongticket.random import streams

NAME = "layer.0.weight"
GOLDEN_ORDER = [9, 5, 3, 4, 0, 6, 7, 2, 1, 8]
POSITION = st.integers(0, 2**63 - 100) | st.sampled_from([2**34 - 50, 2**62 - 50])


def literal_words(seed: int, name: str, positions: list[int], purpose: str = "slt-weights/1") -> list[int]:
    """Words by the definition, one at a time, with Python integers."""
    digest = hashlib.sha256(purpose.encode() + b"\x00" + name.encode()).digest()
    stream = int.from_bytes(digest[:8], "little")
    found = []
    for j in positions:
        block = j // 4
        c = [block % 2**32, block >> 32, stream % 2**32, stream >> 32]
        k = [seed % 2**32, seed >> 32]
        for _ in range(10):
            p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
            c = [(p1 >> 32) ^ c[1] ^ k[0], p1 % 2**32, (p0 >> 32) ^ c[3] ^ k[1], p0 % 2**32]
            k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
        found.append(c[j % 4])
    return found


def test_golden_words():
    assert random.stream_id(NAME) == 0x1B781A66299A53D9
    golden = "58874d9d a9825381 a6b62f71 9f329776 a1fbc958 c1ebfe1e 8b34c846 6576d46c"
    assert " ".join(f"{w:08x}" for w in random.words(42, NAME, 0, 8)) == golden
    whole = random.words(42, NAME, 0, 10**6)
    assert whole.dtype == np.uint32
    digest = hashlib.sha256(whole.astype("<u4").tobytes()).hexdigest()
    assert digest == "944aa1a9199d035af53ff9ed002ce155be2f40d5c1c34e880679df206f28dd5c"


@given(
    st.integers(0, 2**64 - 1), st.text(min_size=1), POSITION, st.integers(0, 40), st.sampled_from(list(random.PURPOSES))
)
def test_ranges_and_positions_equal_the_definition(seed, name, start, length, purpose):
    positions = list(range(start, start + length))
    expected = literal_words(seed, name, positions, purpose)
    assert random.words(seed, name, start, start + length, purpose=purpose).tolist() == expected
    shuffled = np.array(positions, np.uint64)[::-1]
    assert random.words_at(seed, name, shuffled, purpose=purpose).tolist() == expected[::-1]


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_slices_equal_the_whole_across_passes_and_carries(seed):
    n = 3 * streams.BLOCKS_AT_ONCE * 4 + 5
    start = 2**34 - n // 2  # block 2^32 lies in the middle: the counter carries
    whole = random.words(seed, NAME, start, start + n)
    spots = np.random.default_rng(0).integers(0, n, 200)
    assert whole[spots].tolist() == literal_words(seed, NAME, (spots + start).tolist())
    for a, b in [(0, n), (1, n - 1), (7, 7), (n // 2 - 1, n // 2 + 2), (65_537, 131_075), (n - 1, n)]:
        np.testing.assert_array_equal(random.words(seed, NAME, start + a, start + b), whole[a:b])
    everywhere = np.arange(start, start + n).reshape(1, -1)
    np.testing.assert_array_equal(random.words_at(seed, NAME, everywhere), whole[None])


def test_far_positions_cost_no_memory():
    tracemalloc.start()
    random.words_at(1, NAME, np.array([0, 10**12, 2**63 - 1], np.uint64))
    random.words(1, NAME, 2**63 - 8, 2**63)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3)])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint64])
def test_the_shape_of_the_index_is_kept(shape, dtype):
    index = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    made = random.words_at(3, NAME, index)
    assert made.shape == shape
    assert made.tolist() == random.words(3, NAME, 0, index.size).reshape(shape).tolist()


def test_an_empty_list_is_an_index():
    assert random.words_at(3, NAME, []).shape == (0,)


def test_purposes_names_and_seeds_give_unrelated_streams():
    made = [random.words(1, NAME, 0, 64, purpose=purpose) for purpose in random.PURPOSES]
    made += [random.words(1, "layer.1.weight", 0, 64), random.words(2, NAME, 0, 64), random.words(1 << 32, NAME, 0, 64)]
    assert len(set(np.concatenate(made).tolist())) == 64 * len(made)
    with pytest.raises(TypeError):
        random.PURPOSES["slt-mine/1"] = "no"  # type: ignore[index]


@pytest.mark.parametrize(
    ("seed", "error", "text"),
    [
        (-1, ValueError, "got -1"),
        (2**64, ValueError, "got 18446744073709551616"),
        (True, TypeError, "got True of type bool"),
        (1.0, TypeError, "of type float"),
        ("1", TypeError, "of type str"),
        (None, TypeError, "NoneType"),
        (np.int64(3), TypeError, "use int"),
    ],
)
def test_bad_seeds_are_refused(seed, error, text):
    for call in (
        lambda: random.check_seed(seed),
        lambda: random.words(seed, NAME, 0, 1),
        lambda: random.words_at(seed, NAME, [0]),
        lambda: random.permutation(seed, NAME, 3),
        lambda: random.UNIFORM23.values(seed, NAME, 0, 1),
        lambda: random.NORMAL_TAB1.values_at(seed, NAME, [0]),
    ):
        with pytest.raises(error, match=text):
            call()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: random.stream_id(""), ValueError, "empty"),
        (lambda: random.stream_id(b"x"), TypeError, "bytes"),
        (lambda: random.stream_id("x", "slt-weights/2"), ValueError, "slt-weights/2"),
        (lambda: random.words(1, NAME, 0, 1, purpose="weights"), ValueError, "purpose"),
        (lambda: random.words(1, NAME, -1, 1), ValueError, "start=-1"),
        (lambda: random.words(1, NAME, 2, 1), ValueError, "start=2, stop=1"),
        (lambda: random.words(1, NAME, 0, 2**63 + 1), ValueError, "2\\^63"),
        (lambda: random.words(1, NAME, 0, 1.0), TypeError, "float"),
        (lambda: random.words_at(1, NAME, [-1]), ValueError, "-1..-1"),
        (lambda: random.words_at(1, NAME, np.array([2**63], np.uint64)), ValueError, "9223372036854775808"),
        (lambda: random.words_at(1, NAME, [0.5]), TypeError, "float64"),
        (lambda: random.words_at(1, NAME, np.array([])), TypeError, "float64"),
        (lambda: random.words_at(1, NAME, [True]), TypeError, "flatnonzero"),
        (lambda: random.permutation(1, NAME, -1), ValueError, "stop=-1"),
    ],
)
def test_bad_requests_are_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_streams_must_differ(monkeypatch):
    assert random.check_streams(["a", "b"]) == {"a": random.stream_id("a"), "b": random.stream_id("b")}
    assert random.check_streams([]) == {}
    with pytest.raises(ValueError, match="'a' twice"):
        random.check_streams(["a", "b", "a"])
    monkeypatch.setattr(streams, "stream_id", lambda name, purpose: len(name))
    assert random.check_streams(["a", "bb"]) == {"a": 1, "bb": 2}
    with pytest.raises(ValueError, match=r"'c' and 'a' share the stream 0x0+1"):
        random.check_streams(["a", "bb", "c"])


@given(st.integers(0, 2**64 - 1), st.integers(0, 300))
def test_permutation_sorts_the_keys(seed, n):
    words = random.words(seed, "epoch 1", 0, 2 * n, purpose="slt-order/1").tolist()
    keys = [words[2 * i] * 2**32 + words[2 * i + 1] for i in range(n)]
    made = random.permutation(seed, "epoch 1", n)
    assert made.dtype == np.int64
    assert made.tolist() == sorted(range(n), key=keys.__getitem__)


def test_permutation_is_frozen_and_depends_on_everything():
    assert random.permutation(0, "epoch 0", 10).tolist() == GOLDEN_ORDER
    others = [
        random.permutation(1, "epoch 0", 10),
        random.permutation(0, "epoch 1", 10),
        random.permutation(0, "epoch 0", 10, purpose="slt-split/1"),
    ]
    assert all(order.tolist() != GOLDEN_ORDER for order in others)


def test_permutation_puts_every_element_everywhere():
    n, trials = 6, 3000
    counts = np.zeros((n, n))
    for trial in range(trials):
        counts[np.arange(n), random.permutation(trial, "p", n)] += 1
    chi = ((counts - trials / n) ** 2 / (trials / n)).sum()  # (n - 1)^2 = 25 degrees of freedom
    assert 5 < chi < 70


def test_permutation_breaks_ties_by_the_low_word_then_by_position(monkeypatch):
    few = np.random.default_rng(0).integers(0, 3, 4000, dtype=np.uint32)  # at most 9 different keys
    monkeypatch.setattr(streams, "words", lambda *args, **kwargs: few)
    high, low = few[0::2].tolist(), few[1::2].tolist()
    expected = sorted(range(2000), key=lambda i: (high[i], low[i], i))
    assert random.permutation(0, "ties", 2000).tolist() == expected
