"""The law of few bits: golden digests, every path equal, exactly uniform, never zero."""

from __future__ import annotations

import hashlib
import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strongticket import random
from strongticket.models import MLP
from strongticket.random import philox_torch
from strongticket.random.quantized import MOST_BITS, Quantized, family
from strongticket.ticket import Init, Source

NAME = "layer.0.weight"
GOLDEN = {
    1: (
        "0d8476b2b7a4df66926164c8002741e8a4029d49d5df6cd29277bbe44a7f3c07",
        [-1, 1, 1, 1, 1, 2, 1, -1],
    ),
    4: (
        "04732e881c8027f64d7cc122500d2daf4a11fdfeb0151f1f51fc6d52fc43a3b1",
        [-5, 6, 5, 4, 5, 9, 2, -4],
    ),
    7: (
        "712e3ec38a8ab348c0d82bd16a43c623da18e46711e420899e4aca579f99da42",
        [-40, 42, 39, 32, 34, 66, 12, -27],
    ),
    11: (
        "56bb793da417f42ebab5f530fcaa891e3101def20cf05ab81c6bc12e79d8e239",
        [-632, 665, 620, 500, 544, 1055, 180, -425],
    ),
    23: (
        "18fe5bbe481b39b5f687ad5641a8cbe42a1341b2c3ad8df8d103c8a62f5cc660",
        [-2586803, 2720340, 2537008, 2044568, 2227146, 4320255, 734409, -1739052],
    ),
}


def from_words(law: Quantized, words: list[int], dtype: str) -> list[float]:
    out = np.empty(len(words), dtype)
    law._writer(out.size)(np.array(words, np.uint32), out)
    if np.dtype(dtype).kind == "f":
        twin = law._from_tensor(torch.tensor(words, dtype=torch.int64), getattr(torch, dtype))
        assert twin.numpy().tobytes() == out.tobytes()
    return out.tolist()


@pytest.mark.parametrize("k", GOLDEN)
def test_golden_digests_of_a_million_values(k: int) -> None:
    law = Quantized(k)
    sha, first = GOLDEN[k]
    values = law.values(42, NAME, 0, 10**6)
    assert hashlib.sha256(values.astype("<f4").tobytes()).hexdigest() == sha
    assert law.integers(42, NAME, 0, 8).tolist() == first
    torch_path = law._torch_contiguous(42, NAME, 0, 10**6, random.WEIGHTS, torch.device("cpu"), torch.float32)
    assert torch_path.numpy().tobytes() == values.tobytes()


@given(st.integers(1, MOST_BITS), st.lists(st.integers(0, 2**32 - 1), min_size=1))
def test_words_become_values_by_the_definition(k: int, words: list[int]) -> None:
    numbers = [j for j in range(-(2**k), 2**k + 1) if j] if k < 8 else None
    for word, j in zip(words, from_words(Quantized(k), words, "int32"), strict=True):
        place = word >> (31 - k)
        assert j == (numbers[place] if numbers else place - 2**k + (place >= 2**k))
        assert 1 <= abs(j) <= 2**k
    for dtype in ("float32", "float64"):
        assert from_words(Quantized(k), words, dtype) == [j / 2**k for j in from_words(Quantized(k), words, "int32")]


@pytest.mark.parametrize("k", range(1, 9))
def test_each_value_has_as_many_words_as_every_other(k: int) -> None:
    words = [place << (31 - k) | rest for place in range(2 ** (k + 1)) for rest in (0, 2 ** (31 - k) - 1)]
    drawn = from_words(Quantized(k), words, "int32")
    assert sorted(drawn) == sorted(2 * [j for j in range(-(2**k), 2**k + 1) if j])


@pytest.mark.parametrize("k", [1, 5, MOST_BITS])
def test_slices_gathers_and_torch_equal_the_whole(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    law, start, n = Quantized(k), 2**34 - 333, 5_001
    whole = law.values(7, NAME, start, start + n, dtype="float64")
    np.testing.assert_array_equal(law.values(7, NAME, start + 3, start + n, dtype="float64"), whole[3:])
    index = np.random.default_rng(0).permutation(n).reshape(3, -1)
    np.testing.assert_array_equal(law.values_at(7, NAME, start + index), whole[index].astype(np.float32))
    np.testing.assert_array_equal(law.integers_at(7, NAME, start + index) * 2.0**-k, whole[index])
    monkeypatch.setattr(philox_torch, "BLOCKS_AT_ONCE", 7)
    on_torch = law._torch_gathered(7, NAME, torch.from_numpy(start + index), random.WEIGHTS, torch.float64)
    np.testing.assert_array_equal(on_torch.numpy(), whole[index])


@pytest.mark.parametrize("k", range(1, 11))
def test_the_promises_of_the_law(k: int) -> None:
    law, most = Quantized(k), 2**k
    assert law.grid_exponent == -k
    assert law.support == (-1.0, 1.0)
    assert law.variance == Fraction(sum(j * j for j in range(1, most + 1)), most) / most**2
    assert max(int(j).bit_length() for j in range(most)) == law.bits  # 2^k itself is one bit
    counts = np.bincount(law.integers(3, "chi", 0, 200_000) + most, minlength=2 * most + 1)
    assert counts[most] == 0
    expected = 200_000 / (2 * most)
    chi = float(((np.delete(counts, most) - expected) ** 2 / expected).sum())
    assert abs(chi - (2 * most - 1)) < 5 * (2 * (2 * most - 1)) ** 0.5


def test_the_family_is_known_by_name() -> None:
    for k in (1, 9, MOST_BITS):
        law = random.law(f"quantized{k}")
        assert law == Quantized(k) == pickle.loads(pickle.dumps(law))
        assert law.name == f"quantized{k}" == pickle.loads(pickle.dumps(law)).name
        assert law is family(f"quantized{k}")
    assert len({Quantized(3), Quantized(3), Quantized(4)}) == 2
    for name in ("quantized", "quantized0", "quantized24", "quantized04", "quantized4 "):
        with pytest.raises(ValueError, match="law: expected one of"):
            random.law(name)


def test_bad_bits_are_refused() -> None:
    for k in (0, -1, MOST_BITS + 1):
        with pytest.raises(ValueError, match=r"k: expected 1\.\.23"):
            Quantized(k)
    for bad in (4.0, True, "4"):
        with pytest.raises(TypeError, match="k: expected an int"):
            Quantized(bad)  # type: ignore[arg-type]


def test_sources_draw_it() -> None:
    source = Source(MLP((3, 5, 2)), 1, Init("quantized6"))
    assert source.grid_exponent("layers.0.weight") == -6
    weights = source.weight("layers.0.weight")
    np.testing.assert_array_equal(source.integers("layers.0.weight") / 64, weights.numpy())
    assert (weights != 0).all()
