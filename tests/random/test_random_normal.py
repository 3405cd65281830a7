from __future__ import annotations

import hashlib
import math
import runpy
from importlib.resources import files
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from strongticket.random import normal_table, philox_torch

LAST = 2**52 - 1
MAX_ERROR = 4e-15
"""The promised maximum error."""


def literal(v: int) -> float:
    """The five steps of the law, by frexp and Python floats."""
    f = 2 * v + 1
    m, e = math.frexp(float(f))
    octave = 53 - e
    t = 32 * m - 16
    s = math.floor(t)
    x = 2 * (t - s) - 1
    row = normal_table.table()[16 * octave + s].tolist()
    y = row[7]
    for j in range(6, -1, -1):
        y = y * x
        y = y + row[j]
    return y


def quantile(v: int) -> mp.mpf:
    """The exact quantile of (2v + 1) * 2^-54 to 50 digits."""
    p = mp.ldexp(2 * v + 1, -54)
    z = mp.mpf(float(ndtri(float(p))))
    for _ in range(3):
        z -= (mp.erfc(-z / mp.sqrt(2)) / 2 - p) / mp.npdf(z)
    return z


def edges() -> list[int]:
    """Every segment's edge in every octave, with neighbours on both sides, and both ends."""
    found = {0, 1, LAST - 1, LAST}
    for e in range(54):
        for s in range(16):
            f = (16 + s) * 2**e // 32
            found.update(v for v in range(f // 2 - 2, f // 2 + 2) if 0 <= v <= LAST)
    return sorted(found)


def test_the_table_is_what_its_definition_says():
    shipped = files("strongticket").joinpath("tables", "normal_tab1.bin").read_bytes()
    assert len(shipped) == 848 * 8 * 8
    assert hashlib.sha256(shipped).hexdigest() == normal_table.TABLE_SHA256
    build = runpy.run_path(str(Path(__file__).with_name("build_normal_tab1.py")))["build"]
    np.testing.assert_array_equal(build(), normal_table.table())


def test_a_damaged_table_is_refused(monkeypatch):
    monkeypatch.setattr(normal_table, "TABLE_SHA256", "0" * 64)
    with pytest.raises(RuntimeError, match="damaged"):
        normal_table.table.__wrapped__()


def test_the_table_cannot_be_changed():
    for array in (normal_table.table(), normal_table.columns_by_exponent()):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0.0


@given(st.lists(st.integers(0, LAST) | st.integers(0, 52).map(lambda b: LAST >> b), min_size=1))
def test_reading_the_bits_equals_frexp(vs):
    made = normal_table.HalfQuantile(len(vs))(np.array(vs, np.uint64))
    assert made.tolist() == [literal(v) for v in vs]


def test_error_at_all_segment_edges():
    vs = edges()
    assert len(vs) > 2500
    made = normal_table.HalfQuantile(len(vs))(np.array(vs, np.uint64)).tolist()
    assert made == [literal(v) for v in vs]
    with mp.workdps(50):
        worst = max(abs(quantile(v) - y) for v, y in zip(vs, made, strict=True))
    assert worst <= MAX_ERROR
    assert made[0] == pytest.approx(-8.292361075813595, abs=MAX_ERROR)


def test_error_between_the_nodes():
    vs = np.random.default_rng(5).integers(0, LAST, 500) >> np.random.default_rng(6).integers(0, 52, 500)
    made = normal_table.HalfQuantile(500)(vs.astype(np.uint64)).tolist()
    with mp.workdps(50):
        assert max(abs(quantile(v) - y) for v, y in zip(vs.tolist(), made, strict=True)) <= MAX_ERROR


def test_values_next_to_zero_keep_sign_and_order():
    last = normal_table.HalfQuantile(2000)(np.arange(LAST - 1999, LAST + 1, dtype=np.uint64))
    assert (last < 0).all()
    assert (np.diff(last) > 0).all()


def test_the_variance_is_one_to_1e_14():
    # E[y^2] = 2 * integral of the squared polynomials over p: 8-point Gauss is exact for their degree 14.
    nodes, weights = np.polynomial.legendre.leggauss(8)
    rows = normal_table.table()
    powers = nodes[:, None] ** np.arange(8)
    squares = (rows @ powers.T) ** 2 @ weights  # [848]
    half_widths = np.repeat(0.5 ** (np.arange(53) + 7), 16)
    assert abs(2 * math.fsum(squares * half_widths) - 1) < 1e-14


def test_compilers_leave_the_normal_law_alone():
    words = torch.zeros(4, dtype=torch.int64)
    whole = torch.compile(lambda w: philox_torch.normal_tab1(w), backend="eager", fullgraph=True)
    with pytest.raises(RuntimeError, match="disable"):
        whole(words)
    broken = torch.compile(lambda w: philox_torch.normal_tab1(w) + 0.0, backend="eager")
    assert broken(words).tolist() == [literal(0)] * 2
