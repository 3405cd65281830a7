"""Random features and least squares: the pseudo-inverse is the oracle, thresholds are exact, bad input is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongticket.weak.features import (
    AbstractFeatures,
    FourierFeatures,
    ReluFeatures,
    fit,
    judge,
    one_hot,
    ridge_path,
)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.integers(1, 12), st.integers(0, 2**32))
def test_both_routes_are_the_pseudo_inverse(points: int, count: int, outputs: int, rank: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    inner = min(rank, points, count)
    phi = generator.normal(size=(points, inner)) @ generator.normal(size=(inner, count))
    values = np.linalg.svd(phi, compute_uv=False)
    if values[inner - 1] < 1e-3 * values[0]:
        return  # the routes may then differ on which singular values count
    y = generator.normal(size=(points, outputs))
    expected = np.linalg.pinv(phi, rcond=1e-10) @ y
    found = fit(phi, y)
    assert found.rank == inner
    np.testing.assert_allclose(found.coefficients, expected, atol=1e-8 * np.abs(expected).max())
    assert found.norm == pytest.approx(float(np.linalg.norm(expected)), rel=1e-8)
    misses = phi @ expected - y
    assert found.train_loss == pytest.approx(float((misses**2).sum() / points), abs=1e-10)
    # eigenvalues square the condition number, so that exact rank deficiency needs a margin
    if inner == min(points, count):
        np.testing.assert_allclose(
            fit(phi, y, route="eigen").coefficients, expected, atol=1e-6 * np.abs(expected).max()
        )


@pytest.mark.parametrize("count", [7, 8, 9])
def test_the_threshold_is_exact(count: int) -> None:
    generator = np.random.default_rng(3)
    phi, y = generator.normal(size=(8, count)), generator.normal(size=8)
    found = fit(phi, y)
    assert found.rank == min(8, count)
    assert (found.train_loss < 1e-20) == (count >= 8)


@pytest.mark.parametrize("tiny", [0.0, 1e-18])
@pytest.mark.parametrize(("points", "count"), [(60, 20), (60, 59), (60, 60), (20, 60)])
def test_features_that_are_0_on_all_examples_get_no_coefficient(points: int, count: int, tiny: float) -> None:
    """As some ReLU features are: a rank that counts them gives coefficients of any size."""
    generator = np.random.default_rng(4)
    phi, y = generator.normal(size=(points, count)), generator.normal(size=(points, 2))
    phi[:, count // 2] *= tiny
    found, without = fit(phi, y), fit(np.delete(phi, count // 2, axis=1), y)
    assert found.rank == min(points, count - 1)
    assert np.abs(found.coefficients[count // 2]).max() < 1e-9
    np.testing.assert_allclose(np.delete(found.coefficients, count // 2, axis=0), without.coefficients, atol=1e-9)


def test_repeated_features_are_seen() -> None:
    """The diagonal of R does not show that columns repeat: the least norm is shared between them."""
    generator = np.random.default_rng(0)
    for points, distinct in ((8, 7), (16, 6), (40, 30)):
        half = generator.normal(size=(points, distinct))
        y = generator.normal(size=points)
        found = fit(np.repeat(half, 2, axis=1), y)
        assert found.rank == distinct
        np.testing.assert_allclose(found.coefficients[::2], found.coefficients[1::2], atol=1e-9)
        np.testing.assert_allclose(2 * found.coefficients[::2], fit(half, y).coefficients, atol=1e-8)


@pytest.mark.parametrize("shape", [(6, 3), (3, 6)])
@pytest.mark.parametrize("penalty", [1e-6, 1e-2, 10.0])
def test_ridge_against_augmented_least_squares(shape: tuple[int, int], penalty: float) -> None:
    generator = np.random.default_rng(1)
    phi, y = generator.normal(size=shape), generator.normal(size=(shape[0], 2))
    rows = np.sqrt(shape[0] * penalty) * np.eye(shape[1])
    expected = np.linalg.lstsq(np.vstack([phi, rows]), np.vstack([y, np.zeros((shape[1], 2))]), rcond=None)[0]
    other, found = ridge_path(phi, y, (3.0, penalty))
    np.testing.assert_allclose(found.coefficients, expected, rtol=1e-6, atol=1e-9)
    assert not np.allclose(other.coefficients, expected)


@pytest.mark.parametrize("features", [FourierFeatures(4, 1.5, seed=2), ReluFeatures(4, seed=2)])
def test_features_are_nested_and_tend_to_their_kernel(features: AbstractFeatures) -> None:
    x = np.random.default_rng(0).normal(size=(5, 4))
    few, many = features(x, 6), features(x, 40_000)
    assert np.array_equal(few, many[:, :6])
    scaled = many * features.scale(40_000)
    np.testing.assert_allclose(scaled @ scaled.T, features.kernel(x, x), atol=0.03)
    with pytest.raises(ValueError, match="expected inputs of shape"):
        features(x[:, :3], 6)


def test_literal_features() -> None:
    features = FourierFeatures(2, 2.0, seed=5)
    x = np.array([[0.3, -0.7]])
    from strongticket.random import NORMAL_TAB1

    drawn = NORMAL_TAB1.values(5, "fourier directions", 0, 4, dtype="float64")
    phases = [float(x[0] @ drawn[2 * k : 2 * k + 2]) / 2.0 for k in range(2)]
    expected = [f(phase) for phase in phases for f in (np.cos, np.sin)]
    np.testing.assert_allclose(features(x, 4)[0], expected, atol=1e-14)
    relu = ReluFeatures(2, seed=5)
    drawn = np.asarray(NORMAL_TAB1.values(5, "relu directions", 0, 2, dtype="float64"))
    assert relu(x, 1)[0, 0] == pytest.approx(max(0.0, float(x[0] @ drawn) / float(np.linalg.norm(drawn))))
    with pytest.raises(ValueError, match="even number"):
        features(x, 3)


def test_judging() -> None:
    outputs, labels = np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1])
    found = judge(outputs, labels, one_hot(labels, 2))
    assert found.error == 0.5
    assert found.loss == pytest.approx((0.01 + 0.01 + 0.36 + 0.36) / 2)


def test_refusals() -> None:
    phi, y = np.ones((2, 3)), np.ones(2)
    with pytest.raises(ValueError, match="for the same points"):
        fit(phi, np.ones(3))
    with pytest.raises(ValueError, match="NaN or an infinity"):
        fit(phi * np.nan, y)
    with pytest.raises(ValueError, match="'qr' or 'eigen'"):
        fit(phi, y, route="svd")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="positive and finite"):
        ridge_path(phi, y, (0.0,))
    with pytest.raises(ValueError, match="bandwidth above 0"):
        FourierFeatures(3, 0.0)
    with pytest.raises(ValueError, match="dimension >= 1"):
        ReluFeatures(0)
