"""The law of absent weights: the dense law times a frozen mask, on every path; its probability; names."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strongticket import random
from strongticket.models import MLP
from strongticket.random.sparse import SHARES, Sparse, family, sparse_law
from strongticket.ticket import Init, Source

NAME = "layer.0.weight"
WORDS = [0, 255, 256, 257, 511, 512, 0x80000000, 0xFFFFFFFF, 0xFFFFFE00, 0x7FFFFEFF]


@given(st.integers(1, SHARES - 1))
def test_values_are_those_of_the_dense_law_where_the_word_says_so(k: int) -> None:
    law = random.law(f"sparse{k}")
    assert isinstance(law, Sparse)
    dense, words = random.UNIFORM23.integers(42, NAME, 0, 999), random.words(42, NAME, 0, 999)
    expected = np.where(words % SHARES < k, dense, 0)
    assert (law.integers(42, NAME, 0, 999) == expected).all()
    assert (law.integers_at(42, NAME, np.arange(998, -1, -1)) == expected[::-1]).all()
    assert (law.values(42, NAME, 0, 999, dtype="float64") == expected * 2.0**-23).all()


@pytest.mark.parametrize("k", [1, 256, 511])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_tensor_path_is_the_same_bit_for_bit(k: int, dtype: str) -> None:
    law = Sparse(k)
    out = np.empty(len(WORDS), dtype)
    law._writer(out.size)(np.array(WORDS, np.uint32), out)
    twin = law._from_tensor(torch.tensor(WORDS, dtype=torch.int64), getattr(torch, dtype))
    assert twin.numpy().tobytes() == out.tobytes()
    assert 0 < np.count_nonzero(out) < len(WORDS)


@pytest.mark.parametrize("k", [1, 100, 511])
def test_the_share_and_the_variance(k: int) -> None:
    law = Sparse(k)
    values = law.values(3, NAME, 0, 10**6, dtype="float64")
    share = np.count_nonzero(values) / 10**6
    assert abs(share - k / 512) < 5 * (k / 512 * (1 - k / 512) / 10**6) ** 0.5
    assert law.variance == Fraction(k, 512) * random.UNIFORM23.variance
    assert values.var() == pytest.approx(float(law.variance), rel=0.02 if k > 1 else 0.2)


def test_sparser_networks_of_one_seed_are_nested() -> None:
    sparse, denser = (Source(MLP((9, 8, 7)), 5, Init(f"sparse{k}")).weights() for k in (60, 200))
    dense = Source(MLP((9, 8, 7)), 5).weights()
    for name, value in sparse.items():
        assert (value[value != 0] == denser[name][value != 0]).all()
        assert (denser[name][denser[name] != 0] == dense[name][denser[name] != 0]).all()


def test_names() -> None:
    assert pickle.loads(pickle.dumps(Sparse(7))).name == "sparse7"
    assert random.law("sparse511") is family("sparse511")
    assert sparse_law(0.5) == "sparse256"
    assert sparse_law(1.0) == "uniform23"
    for name in ("sparse", "sparse0", "sparse512", "sparse07", "sparse7 ", "sparse1000"):
        with pytest.raises(ValueError, match="law: expected one of"):
            random.law(name)


@pytest.mark.parametrize(
    ("probability", "message"),
    [(0.0, "lies in"), (1.5, "lies in"), (float("nan"), "lies in"), (True, "lies in"), (0.1, "51/512 = 0.099609375")],
)
def test_refused_probabilities(probability: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sparse_law(probability)


@pytest.mark.parametrize(("k", "error"), [(0, ValueError), (512, ValueError), (2.0, TypeError), (True, TypeError)])
def test_refused_shares(k: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="k: expected"):
        Sparse(k)
