"""The hyperbolic laws: frozen bits, exact probabilities of cells and octaves, equal devices."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from strongticket import random
from strongticket.models import MLP
from strongticket.random.hyperbolic import CELLS, HYPERBOLIC8, HYPERBOLIC16, AbstractHyperbolic, thresholds
from strongticket.ticket import Init, Source

NAME = "layer.0.weight"
BOTH = pytest.mark.parametrize("law", [HYPERBOLIC16, HYPERBOLIC8], ids=lambda law: law.name)
GOLDEN = {
    "hyperbolic16": "7b071123563f722ee67557490a353d05ee0ecf4fb544ecd21c5ddacac70f562d",
    "hyperbolic8": "56491040e57fd5d31feb5ff955d6be5ff17197a59206da42706d9c1e1eca03bc",
}
TABLES = {
    27: "66f38daceaefe4060ce7824da23857b34005736e889c778d98f6e5c2daaaab37",
    28: "9257c2a58fa77cd167ef8da81c60a3201b7a26a579fc7f685fed50923273f54c",
}


def literal(law: AbstractHyperbolic, word: int) -> int:
    """The rule in words, one word at a time."""
    bits = 31 - law.octave_bits
    sign, octave, f = word >> 31, (word >> bits) % law.octaves, word % 2**bits
    starts = thresholds(bits)
    cell = max(m for m in range(CELLS) if starts[m] <= f)
    return (1 - 2 * sign) * (CELLS + cell) * 2 ** (law.octaves - 1 - octave)


def made(law: AbstractHyperbolic, words: list[int]) -> list[int]:
    out = np.empty(len(words), np.int32)
    law._writer(out.size)(np.array(words, np.uint32), out)
    for dtype in (torch.float32, torch.float64):
        twin = law._from_tensor(torch.tensor(words, dtype=torch.int64), dtype)
        assert (twin.double().numpy() == out * 2.0**law.grid_exponent).all()
    return out.tolist()


@BOTH
@given(words=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=30))
def test_values_follow_the_rule(law: AbstractHyperbolic, words: list[int]) -> None:
    assert made(law, words) == [literal(law, word) for word in words]


@BOTH
def test_the_seams_of_cells_and_octaves(law: AbstractHyperbolic) -> None:
    bits = 31 - law.octave_bits
    starts = thresholds(bits)
    f = sorted({min(max(t + step, 0), 2**bits - 1) for t in starts for step in (-1, 0, 1)})
    octaves = {0, 1, law.octaves - 1}
    words = [sign << 31 | octave << bits | x for sign in (0, 1) for octave in octaves for x in f]
    assert made(law, words) == [literal(law, word) for word in words]
    assert max(made(law, words)) * 2.0**law.grid_exponent == law.support[1]
    assert min(map(abs, made(law, words))) * 2.0**law.grid_exponent == 2.0**-law.octaves


@pytest.mark.parametrize("bits", [27, 28])
def test_the_table_is_frozen_and_exact(bits: int) -> None:
    table = thresholds(bits)
    assert hashlib.sha256(",".join(map(str, table)).encode()).hexdigest() == TABLES[bits]
    assert (table[0], table[CELLS], len(table)) == (0, 2**bits, CELLS + 1)
    for m in range(1, CELLS):
        assert abs(table[m] - 2**bits * math.log2(1 + m / CELLS) - 0.5) < 0.51
    # one compare finds the cell only if no cell is shorter than a slot
    assert min(np.diff(table)) > 2**bits // 512


@pytest.mark.parametrize("bits", [1, 4, 6])
def test_thresholds_equal_exact_powers(bits: int) -> None:
    # t is the least integer with 2^(t / 2^bits) >= x, that is 2^t >= x^(2^bits), in whole numbers
    for m, t in enumerate(thresholds(bits)):
        x = Fraction(CELLS + m, CELLS) ** (2**bits)
        assert 2**t >= x
        assert t == 0 or 2 ** (t - 1) < x


@BOTH
def test_golden_digests_of_a_million_values(law: AbstractHyperbolic) -> None:
    values = law.values(42, NAME, 0, 10**6)
    assert hashlib.sha256(values.astype("<f4").tobytes()).hexdigest() == GOLDEN[law.name]
    twin = law._torch_contiguous(42, NAME, 0, 10**6, random.WEIGHTS, torch.device("cpu"), torch.float32)
    assert twin.numpy().tobytes() == values.tobytes()


def test_golden_values() -> None:
    assert HYPERBOLIC16.integers(42, NAME, 0, 8).tolist() == [
        4272,
        -297984,
        -935936,
        -1953792,
        -622592,
        -38656,
        -5521408,
        3288,
    ]
    assert HYPERBOLIC8.integers(42, NAME, 0, 8).tolist() == [1480, -12352, -10944, -31616, -8896, -2224, -53120, 648]


@BOTH
def test_the_variance_is_that_of_the_cells(law: AbstractHyperbolic) -> None:
    bits = 31 - law.octave_bits
    starts = thresholds(bits)
    total = Fraction(0)
    for octave in range(law.octaves):
        for m in range(CELLS):
            value = Fraction(CELLS + m, 2 * CELLS) / 2**octave
            total += Fraction(starts[m + 1] - starts[m], law.octaves << bits) * value**2
    assert law.variance == total
    x = law.values(2024, "moments", 0, 10**6, dtype="float64") ** 2
    assert abs(x.mean() - float(total)) < 4 * x.std() / 1000


@BOTH
def test_magnitudes_are_logarithmically_uniform(law: AbstractHyperbolic) -> None:
    x = law.values(7, "log", 0, 400_000, dtype="float64")
    assert abs((x > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(len(x))
    # spread evenly inside their cells, the logarithms are uniform
    inside = random.UNIFORM23.values(8, "inside", 0, len(x), dtype="float64") / 2 + 0.5
    k = np.abs(x)
    cell = 2.0 ** (np.frexp(k)[1] - 9.0)
    share = -np.log2(k + inside * cell) / law.octaves
    assert stats.kstest(share, "uniform").pvalue > 1e-3
    octaves = np.bincount(-np.frexp(k)[1], minlength=law.octaves)
    assert stats.chisquare(octaves).pvalue > 1e-3


@BOTH
def test_values_have_nine_bits_on_their_grid(law: AbstractHyperbolic) -> None:
    k = np.abs(law.integers(3, NAME, 0, 10_000).astype(np.int64))
    odd = k // (k & -k)
    assert odd.max() < 2**law.bits
    assert k.max() < 2 ** (8 + law.octaves)
    assert (law.values(3, NAME, 0, 10_000).astype(np.float64) == law.values(3, NAME, 0, 10_000, dtype="float64")).all()


def test_a_source_of_hyperbolic_weights_is_on_its_grid() -> None:
    source = Source(MLP((3, 4)), 1, Init("hyperbolic16", 4.0))
    name = MLP.weight_name(0)
    assert source.grid_exponent(name) == -22
    assert (source.weight(name).double().numpy() == source.integers(name) * 2.0**-22).all()
