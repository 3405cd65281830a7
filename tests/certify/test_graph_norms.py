"""Norms and rows of layers in a basis, against the matrix that the layer is, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket.certify import _graph_norms
from strongticket.certify._graph_norms import values_norm
from strongticket.certify._graph_operator import Operator
from strongticket.certify._matrix import Matrix, spectral_norm
from strongticket.models.bases import (
    AbstractBasis,
    Circulant,
    Convolution,
    GroupConvolution,
    MatrixBasis,
    Pointwise,
    Sets,
    dihedral,
)


def written_out(basis: AbstractBasis, weight: np.ndarray, groups: int = 1, absolute: bool = False) -> np.ndarray:
    """The layer as a matrix [O P_out, I P_in], block by block."""
    outputs, inputs, _ = weight.shape
    maps = [m.toarray() for m in basis.matrices()]
    rows, columns = maps[0].shape
    whole = np.zeros((outputs, rows, groups * inputs, columns))
    for o in range(outputs):
        for i in range(inputs):
            to = o // (outputs // groups) * inputs + i
            for k, one in enumerate(maps):
                whole[o, :, to] += (abs(weight[o, i, k]) if absolute else weight[o, i, k]) * (
                    np.abs(one) if absolute else one
                )
    return whole.reshape(outputs * rows, -1)


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    dimensions = draw(st.integers(1, 2))
    sizes = [
        [draw(st.integers(*limits)) for _ in range(dimensions)] for limits in ((1, 3), (1, 3), (0, 2), (5, 6), (1, 2))
    ]
    kernel, stride, padding, positions, dilation = map(tuple, sizes)
    return Convolution(kernel, stride, padding, positions, dilation)


@st.composite
def layers(draw: st.DrawFn) -> tuple[AbstractBasis, np.ndarray, int]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    own = MatrixBasis(rng.integers(-3, 4, (2, 3, 4)) / 4.0)
    fixed = st.sampled_from([Pointwise(), Pointwise((3,)), Circulant(5), Sets(4), GroupConvolution(dihedral(3)), own])
    basis = draw(st.one_of(convolutions(), fixed))
    groups = draw(st.sampled_from([1, 1, 2]))
    shape = (groups * int(rng.integers(1, 4)), int(rng.integers(1, 4)), basis.size)
    return basis, rng.standard_normal(shape) * 2.0 ** rng.integers(-30, 3), groups


@settings(max_examples=150)
@given(layers())
def test_norm_and_rows_are_above_those_of_the_matrix(layer: tuple[AbstractBasis, np.ndarray, int]) -> None:
    basis, weight, groups = layer
    operator = Operator(basis, Matrix(weight), groups)
    whole = written_out(basis, weight, groups)
    norm = np.linalg.norm(whole, 2)
    assert norm * (1 - 1e-12) <= operator.norm <= norm * (1 + 1e-6)  # small: it is written out
    assert operator.holder >= np.linalg.norm(written_out(basis, weight, groups, absolute=True), 2) * (1 - 1e-12)
    rows = np.linalg.norm(whole, axis=1).reshape(operator.rows.shape)
    assert (operator.rows >= rows * (1 - 1e-12)).all()
    if not isinstance(basis, Sets | MatrixBasis):
        assert np.allclose(operator.rows, rows, rtol=1e-9, atol=1e-300)


@settings(max_examples=150)
@given(convolutions(), st.integers(0, 2**32))
def test_frequencies_bound_every_convolution(basis: Convolution, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((int(rng.integers(1, 4)), int(rng.integers(1, 4)), basis.size))
    norm = np.linalg.norm(written_out(basis, weight), 2)
    assert _graph_norms._convolution(basis, weight) >= norm * (1 - 1e-12)
    assert _graph_norms._side_by_side(basis, weight) >= norm * (1 - 1e-12)


@pytest.mark.parametrize("basis", [Circulant(6), Sets(4), GroupConvolution(dihedral(3))])
def test_other_ways_bound_other_bases(basis: AbstractBasis, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.random.default_rng(0).standard_normal((3, 2, basis.size))
    norm = np.linalg.norm(written_out(basis, weight), 2)
    monkeypatch.setattr(_graph_norms, "_WRITTEN_OUT", 0)
    assert norm * (1 - 1e-12) <= values_norm(basis, weight, 1) <= 6 * norm
    if isinstance(basis, Circulant):  # its blocks are all there is
        assert values_norm(basis, weight, 1) <= norm * (1 + 1e-2)


@pytest.mark.parametrize("stride", [1, 2])
def test_frequencies_are_close_on_large_images(stride: int) -> None:
    basis = Convolution(3, stride, 1, (14, 14))
    weight = np.random.default_rng(0).standard_normal((3, 2, 9))
    norm = np.linalg.norm(written_out(basis, weight), 2)
    assert norm <= values_norm(basis, weight, 1) <= 1.1 * norm
    assert _graph_norms._side_by_side(basis, weight) > 1.1 * norm or stride > 1


def test_a_circle_that_wraps_around_would_be_below_the_norm() -> None:
    """The number of places of the circle matters: with fewer, what lies beyond the border is read again."""
    basis = Convolution(3, 1, 1, (2,))
    weight = np.array([[[1.0, 0.0, -1.0]]])
    norm = np.linalg.norm(written_out(basis, weight), 2)
    assert _graph_norms._convolution(basis, weight) >= norm
    assert _graph_norms._by_frequencies(weight, (3,), (2,), (1,), (1,)) < 0.1 * norm


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.integers(-400, 400))
def test_the_norm_of_a_stack_is_its_largest(seed: int, count: int, m: int, n: int, power: int) -> None:
    stack = np.random.default_rng(seed).standard_normal((count, m, n)) * 2.0**power
    stack[0] *= seed % 2
    norms = np.linalg.norm(stack, 2, axis=(1, 2))
    assert norms.max() * (1 - 1e-12) <= spectral_norm(stack) <= norms.max() * 1.35
    assert all(spectral_norm(stack) >= spectral_norm(one) / (1 + 1e-6) for one in stack)


@settings(max_examples=100)
@given(layers(), st.integers(0, 2**32))
def test_enclosures_hold_and_are_those_of_the_matrix(layer: tuple[AbstractBasis, np.ndarray, int], seed: int) -> None:
    basis, weight, groups = layer
    rng = np.random.default_rng(seed)
    slack = rng.random(weight.shape) * 1e-3 if seed % 2 else None
    operator = Operator(basis, Matrix(weight, slack), groups)
    shape = (weight.shape[1] * groups, *basis.inputs)
    low = rng.standard_normal(shape)
    high = low + rng.random(shape) * (seed % 3)
    found = operator.enclose(low, high)
    literal = Matrix(
        written_out(basis, weight, groups),
        None if slack is None else written_out(basis, slack, groups, absolute=True),
    ).enclose(low.reshape(-1), high.reshape(-1))
    tolerance = 1e-12 * np.abs(weight).max()
    for mine, theirs, sign in zip(found, literal, (-1, 1), strict=True):
        wider = sign * (mine.reshape(-1) - theirs)
        assert (wider >= -1e-9 * np.abs(theirs) - tolerance).all()
        if not isinstance(basis, Sets | MatrixBasis):
            assert (wider <= 1e-9 * np.abs(theirs) + tolerance).all()


def test_basis_entries_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="scale the basis"):
        Operator(MatrixBasis([[[2.0**-30]]]), Matrix(np.ones((1, 1, 1))))
    assert math.isfinite(Operator(MatrixBasis([[[0.0, 0.5]]]), Matrix(np.ones((1, 1, 1)))).norm)
