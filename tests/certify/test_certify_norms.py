"""Rigorous norms and enclosures against exact or independent numbers."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket.certify import _matrix
from strongticket.certify._chains import Chains, Push
from strongticket.certify._difference import Difference, Gap
from strongticket.certify._matrix import Matrix, spectral_norm
from strongticket.certify._rounding import norm_above


def test_spectral_norm_of_hadamard_matrices_is_above_the_exact_value() -> None:
    for n in (2, 4, 64, 256):
        bound = spectral_norm(scipy.linalg.hadamard(n).astype(float))
        assert Fraction(bound) ** 2 >= n
        assert bound <= np.sqrt(n) * (1 + 1e-6)


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (30, 50), (50, 30), (260, 300)])
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e-300, 1e150])
def test_spectral_norm_is_tight_and_not_below(shape: tuple[int, int], scale: float) -> None:
    rng = np.random.default_rng(0)
    plain = rng.standard_normal(shape)
    exact = np.linalg.norm(plain, 2)
    bound = spectral_norm(plain * scale) / scale
    if scale > 1e-150:
        assert exact * (1 - 1e-13) <= bound <= exact * (1 + 1e-3)
    else:  # magnitudes below the floor may be raised to it
        assert exact * (1 - 1e-13) <= bound


def test_spectral_norm_of_special_matrices() -> None:
    assert spectral_norm(np.zeros((4, 5))) == 0.0
    assert spectral_norm(np.zeros((0, 5))) == 0.0
    rank_one = np.outer(np.arange(1.0, 30), np.arange(1.0, 40))
    exact = np.sqrt(sum(i * i for i in range(1, 30)) * sum(i * i for i in range(1, 40)))
    assert exact <= spectral_norm(rank_one) <= exact * (1 + 1e-6)
    assert np.isinf(spectral_norm(np.full((3, 3), np.inf)))
    assert spectral_norm(np.diag([1.0, 1e-170, 1e-300])) >= 1.0


def test_a_wrong_eigenvalue_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(1).standard_normal((40, 60))
    exact = np.linalg.norm(matrix, 2)
    for wrong in (0.0, 0.5, 0.95, 0.9999999):
        monkeypatch.setattr(_matrix, "_largest_eigenvalue", lambda gram, w=wrong: w * exact**2)
        assert spectral_norm(matrix) >= exact


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 1e-320, 1e-160, 1e-9, 1.0]))
def test_enclosure_holds_the_exact_products(seed: int, tiny: float) -> None:
    rng = np.random.default_rng(seed)
    value = rng.standard_normal((3, 6)) * rng.choice([1.0, tiny, 0.0], size=(3, 6))
    slack = np.abs(rng.standard_normal((3, 6))) * rng.choice([0.0, 1e-12])
    matrix = Matrix(value, slack)
    a = rng.standard_normal(6) * rng.choice([1.0, tiny, 0.0], size=6)
    b = rng.standard_normal(6)
    low, high = np.minimum(a, b), np.maximum(a, b)
    least, most = matrix.enclose(low, high)
    for corner in (low, high, np.where(rng.random(6) < 0.5, low, high)):
        true = [[Fraction(v) + s * Fraction(e) for v, s, e in zip(*r, strict=True)] for r in _rows(value, slack, rng)]
        for row, p, q in zip(true, least, most, strict=True):
            product = sum((w * Fraction(x) for w, x in zip(row, corner, strict=True)), Fraction(0))
            assert Fraction(p) <= product <= Fraction(q)
    squares = [sum(Fraction(v) ** 2 for v in row) for row in value]
    assert all(Fraction(bound) ** 2 >= s for bound, s in zip(matrix.rows, squares, strict=True))
    assert Fraction(norm_above(value)) ** 2 >= sum(squares)


def _rows(value: np.ndarray, slack: np.ndarray, rng: np.random.Generator):  # type: ignore[no-untyped-def]
    signs = rng.integers(-1, 2, size=value.shape).tolist()
    return zip(value.tolist(), signs, slack.tolist(), strict=True)


def test_products_of_matrices_hold_the_exact_product() -> None:
    rng = np.random.default_rng(0)
    left, right = Matrix(rng.standard_normal((4, 5))), Matrix(rng.standard_normal((5, 3)))
    product = left @ right
    off = Fraction(0)
    for i in range(4):
        for j in range(3):
            exact = sum(Fraction(a) * Fraction(b) for a, b in zip(left.value[i], right.value[:, j], strict=True))
            off += (exact - Fraction(product.value[i, j])) ** 2
    assert 0 < off <= Fraction(product.drift) ** 2


@settings(max_examples=80)
@given(st.integers(0, 2**32), st.integers(1, 3))
def test_chains_are_above_every_choice_of_slopes_and_below_the_product_of_norms(seed: int, reach: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, size=5)
    gaps = []
    for d_in, d_out in itertools.pairwise(sizes):
        weight, error = rng.standard_normal((d_out, d_in)), rng.standard_normal((d_out, d_in))
        gaps.append(Gap(Matrix(weight), np.zeros(d_out), Matrix(error), Matrix(np.zeros((d_out, 1)))))
    chains = Chains(Difference(tuple(gaps), "", ""), reach)
    for error in range(5):
        matrices = [(g.rest if i == error else g.weight).value for i, g in enumerate(gaps, 1)]
        product = float(np.prod([np.linalg.norm(m, 2) for m in matrices]))
        theta, rows = chains.theta(1, 4, error), chains.theta_rows(1, 4, error)
        assert theta <= product * (1 + 1e-6)
        vector = rng.standard_normal(sizes[1])
        push = Push(chains, vector[:, None], vector[:, None], 2)
        for _ in range(3):
            push.step()
        by_row, length = push.rows[:, 0], push.lengths[0]
        for trial in range(12):
            slopes = [rng.random(m.shape[0]) if trial % 2 else rng.integers(0, 2, m.shape[0]) for m in matrices]
            total, moved = matrices[0], vector
            for k in range(1, 4):
                total = matrices[k] @ (slopes[k - 1][:, None] * total)
                moved = gaps[k].weight.value @ (slopes[k - 1] * moved)
            assert np.linalg.norm(total, 2) <= theta * (1 + 1e-12)
            assert np.all(np.linalg.norm(total, axis=1) <= rows * (1 + 1e-12))
            assert np.all(np.abs(moved) <= by_row * (1 + 1e-12))
            assert np.linalg.norm(moved) <= length * (1 + 1e-12)
