from __future__ import annotations

import hashlib
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from strongticket import random
from strongticket.random import NORMAL_TAB1, SIGN, UNIFORM23, philox_torch

NAME = "layer.0.weight"
LAWS = list(random.LAWS.values())
EVERY_LAW = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
GOLDEN = {
    ("sign", "float32"): "6d9c9e1ce0455453f97b7b160572745805e47004dfe59a91c2e4620f9db92052",
    ("uniform23", "float32"): "b57faff1ff312f6220b960073b4e93ae2cdecc02e4f3aa1af3c954daacdde39c",
    ("normal-tab1", "float64"): "20d03a8afd7eb2f58cae9931a7cd8a3f7961a5290d9a130752a860f718b7b202",
    ("normal-tab1", "float32"): "20a9a694ce4743cc18642abf5bba4c6eaf8f90c522f1bd5fc5e820eb28bd32a5",
}


def from_words(law: random.AbstractLaw, words: list[int], dtype: str = "float32") -> list[float]:
    """Values of chosen words, through numpy; the torch path must give the same bits."""
    out = np.empty(len(words) // law.words_per_value, dtype)
    law._writer(out.size)(np.array(words, np.uint32), out)
    if np.dtype(dtype).kind == "f":
        twin = law._from_tensor(torch.tensor(words, dtype=torch.int64), getattr(torch, dtype))
        assert twin.numpy().tobytes() == out.tobytes()
    return out.tolist()


def on_torch(law: random.AbstractLaw, seed: int, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
    """The torch path, which `tensor` takes on every device but the processor."""
    return law._torch_contiguous(seed, NAME, start, stop, "slt-weights/1", torch.device("cpu"), dtype)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()


@pytest.mark.parametrize(("key", "sha"), GOLDEN.items(), ids=lambda key: "-".join(key) if len(key) == 2 else "")
def test_golden_digests_of_a_million_values(key, sha):
    law, dtype = random.law(key[0]), key[1]
    assert digest(law.values(42, NAME, 0, 10**6, dtype=dtype)) == sha
    assert digest(on_torch(law, 42, 0, 10**6, getattr(torch, dtype)).numpy()) == sha


def test_golden_values():
    k = [-2586803, 2720339, 2537007, 2044567, 2227145, 4320255, 734409, -1739051]
    assert UNIFORM23.integers(42, NAME, 0, 8).tolist() == k
    assert SIGN.integers(42, NAME, 0, 8).tolist() == [1, -1, -1, -1, -1, -1, -1, 1]
    normal = ["-0x1.962a27ec20748p-2", "0x1.07fe6d3296953p+0", "0x1.1d0dedce98f49p+0", "0x1.b55e99d123b75p+0"]
    assert [x.hex() for x in NORMAL_TAB1.values(42, NAME, 0, 4, dtype="float64").tolist()] == normal


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1))
def test_grid_laws_follow_their_formula(words):
    k = [2 * (w >> 9) + 1 - 2**23 for w in words]
    signs = [1 - 2 * (w >> 31) for w in words]
    assert from_words(UNIFORM23, words, "int32") == k
    assert from_words(SIGN, words, "int32") == signs
    for dtype in ("float32", "float64"):
        assert from_words(UNIFORM23, words, dtype) == [x * 2.0**-23 for x in k]
        assert from_words(SIGN, words, dtype) == signs


def test_extreme_words_reach_the_support():
    for law in (UNIFORM23, SIGN):
        assert sorted(from_words(law, [0, 2**32 - 1])) == list(law.support)
    # v = 0 with either sign, then v = 2^52 - 1, the value nearest zero.
    low, high, least, most = from_words(
        NORMAL_TAB1, [0, 0, 2**31, 0, 2**31 - 1, 2**32 - 1, 2**32 - 1, 0xFFFFFFFF], "float64"
    )
    assert (low, high) == NORMAL_TAB1.support
    assert -most == least < 0


@EVERY_LAW
@pytest.mark.parametrize("seed", [0, 2**64 - 1])
@pytest.mark.parametrize("start", [0, 2**32 - 17, 2**34 - 33_333, 2**61, 2**62 - 70_007])
def test_slices_gathers_and_torch_equal_the_whole(law, seed, start):
    n = 70_007
    whole = law.values(seed, NAME, start, start + n, dtype="float64")
    for a, b in [(1, 2), (3, 65_537), (n // 2, n), (5, 5)]:
        np.testing.assert_array_equal(law.values(seed, NAME, start + a, start + b, dtype="float64"), whole[a:b])
    index = np.random.default_rng(1).permutation(n)[:20_000].reshape(100, 200)
    gathered = law.values_at(seed, NAME, start + index, dtype="float64")
    np.testing.assert_array_equal(gathered, whole[index])
    np.testing.assert_array_equal(law.values_at(seed, NAME, start + index), whole[index].astype(np.float32))
    assert on_torch(law, seed, start, start + n, torch.float64).numpy().tobytes() == whole.tobytes()
    positions = torch.from_numpy(start + index)
    again = law._torch_gathered(seed, NAME, positions, "slt-weights/1", torch.float64)
    np.testing.assert_array_equal(again.numpy(), gathered)
    if law.grid_exponent is not None:
        k = law.integers(seed, NAME, start, start + n)
        assert k.dtype == np.int32
        np.testing.assert_array_equal(k * 2.0**law.grid_exponent, whole)
        np.testing.assert_array_equal(law.integers_at(seed, NAME, start + index), k[index])


@EVERY_LAW
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_hold_the_bits_of_the_arrays(law, dtype):
    purpose = "slt-trial/1"
    name = str(dtype).removeprefix("torch.")
    made = law.tensor(5, NAME, 3, 1000, dtype=dtype, purpose=purpose)
    expected = law.values(5, NAME, 3, 1000, dtype=name, purpose=purpose)
    assert made.dtype == dtype
    np.testing.assert_array_equal(made.numpy(), expected)
    index = torch.arange(3, 1000).flip(0)
    np.testing.assert_array_equal(law.tensor_at(5, NAME, index, dtype=dtype, purpose=purpose).numpy(), expected[::-1])
    assert law.tensor(5, NAME, 0, 7, device="meta").shape == (7,)
    assert law.tensor_at(5, NAME, index.to("meta")).shape == index.shape
    assert not np.array_equal(law.values(5, NAME, 3, 1000, dtype=name), expected)


@EVERY_LAW
def test_torch_passes_join(law, monkeypatch):
    whole = law.values(5, NAME, 0, 1001, dtype="float64")
    monkeypatch.setattr(philox_torch, "BLOCKS_AT_ONCE", 7)
    np.testing.assert_array_equal(on_torch(law, 5, 1, 1001, torch.float64).numpy(), whole[1:])
    gathered = law._torch_gathered(5, NAME, torch.arange(1001), "slt-weights/1", torch.float64)
    np.testing.assert_array_equal(gathered.numpy(), whole)


@EVERY_LAW
def test_values_follow_the_law(law):
    n = 1_000_000
    x = law.values(2024, "moments", 0, n, dtype="float64")
    variance = float(law.variance)
    assert abs(x.mean()) < 4 * math.sqrt(variance / n)
    if law in (UNIFORM23, NORMAL_TAB1):  # hyperbolic laws: see test_hyperbolic_law.py
        spread = math.sqrt(((x**2 - variance) ** 2).mean())
        assert abs((x**2).mean() - variance) < 4 * spread / math.sqrt(n)
        exact = stats.norm() if law is NORMAL_TAB1 else stats.uniform(-1, 2)
        assert stats.kstest(x[:100_000], exact.cdf).pvalue > 1e-3
        fourth = 3.0 if law is NORMAL_TAB1 else 0.2
        assert abs((x**4).mean() - fourth) < 4 * (x**4).std() / math.sqrt(n)
    for lag in (1, 2, 3, 4, 1024):
        assert abs((x[lag:] * x[:-lag]).mean()) < 4.5 * variance / math.sqrt(n - lag)
    for other in (law.values(2025, "moments", 0, n), law.values(2024, "moment", 0, n)):
        assert abs((x * other).mean()) < 4 * variance / math.sqrt(n)
    assert law.support[0] <= x.min() < x.max() <= law.support[1]


def test_every_bit_of_uniform23_is_fair():
    n = 1_000_000
    upper = (UNIFORM23.integers(7, "bits", 0, n) + 2**23 - 1) >> 1  # 23 random bits
    for bit in range(23):
        assert abs(((upper >> bit) & 1).sum() - n / 2) < 4.5 * math.sqrt(n / 4)


def test_the_exact_facts_of_the_grid_laws():
    # The 2^m odd integers below 2^m in size have mean square (4^m - 1) / 3; checked whole for small m, then for 23.
    for m in range(1, 12):
        assert Fraction(sum(k * k for k in range(1 - 2**m, 2**m, 2)), 2**m) == Fraction(4**m - 1, 3)
    assert UNIFORM23.variance == Fraction(4**23 - 1, 3) / 4**23
    for law in (UNIFORM23, SIGN):
        x = law.values(3, NAME, 0, 10_000)
        assert law.grid_exponent is not None
        scaled = x.astype(np.float64) * 2.0**-law.grid_exponent
        assert (scaled == np.round(scaled)).all()
        assert np.abs(scaled).max() < 2**law.bits
    assert (UNIFORM23.integers(3, NAME, 0, 10_000) % 2 == 1).all()


def test_products_of_uniform23_sum_exactly_in_float64():
    a, b = (UNIFORM23.values(3, name, 0, 128, dtype="float64") for name in "ab")
    ka, kb = (UNIFORM23.integers(3, name, 0, 128).tolist() for name in "ab")
    assert Fraction(float(np.abs(a * b).sum())) == Fraction(sum(abs(x * y) for x, y in zip(ka, kb, strict=True)), 4**23)


def test_laws_are_named_values():
    for law in LAWS:
        assert random.law(law.name) is law
        assert pickle.loads(pickle.dumps(law)) == law
    assert len(set(LAWS)) == len(LAWS) >= 5
    with pytest.raises(ValueError, match=r"expected one of uniform23, sign, normal-tab1, .*, got 'normal'"):
        random.law("normal")
    with pytest.raises(AttributeError):
        UNIFORM23.name = "mine"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: NORMAL_TAB1.integers(1, NAME, 0, 1), TypeError, "no coarse grid"),
        (lambda: NORMAL_TAB1.integers_at(1, NAME, [0]), TypeError, "no coarse grid"),
        (lambda: SIGN.values(1, NAME, 0, 1, dtype=np.int32), TypeError, "int32"),
        (lambda: SIGN.values(1, NAME, 0, 1, dtype=np.float16), TypeError, "float16"),
        (lambda: SIGN.tensor(1, NAME, 0, 1, dtype=torch.bfloat16), TypeError, "bfloat16"),
        (lambda: SIGN.values(1, NAME, 0, 2**62 + 1), ValueError, "2\\^62"),
        (lambda: SIGN.values_at(1, NAME, 2**62), ValueError, "2\\^62"),
        (lambda: SIGN.values(1, NAME, 0, 1, purpose="x"), ValueError, "purpose"),
        (lambda: SIGN.tensor_at(1, NAME, torch.tensor([0.5])), TypeError, "float32"),
        (lambda: SIGN._torch_gathered(1, NAME, torch.tensor([-1]), "slt-trial/1", torch.float32), ValueError, "-1"),
        (lambda: SIGN._torch_gathered(1, NAME, torch.tensor([True]), "slt-trial/1", torch.float32), TypeError, "bool"),
    ],
)
def test_bad_requests_are_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()
