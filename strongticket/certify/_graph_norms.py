"""Upper bounds of the spectral norms of linear layers in a basis, from their coefficients alone, rounding counted.

A convolution with zero padding is part of a circular one. Let every dimension have N places, with N no less than n plus
the zeros that are read at one end; then a place that lies outside of the n inputs is still outside of them modulo N, so
the layer is the circular convolution after filling up with zeros, and of its outputs those at the strided places are
kept (no place twice if N exceeds the last of them). Filling up and dropping do not add to the norm. Where N is a
multiple of the stride s, Fourier's basis splits the strided circular convolution into blocks, one for each coarse
frequency g: the matrices of the s fine frequencies g + a N / s side by side, divided by sqrt(s) for each dimension
(sampling adds up what those frequencies carry). So the norm is at most the largest norm of a block (for stride 1:
Sedghi, Gupta and Long 2019, "The singular values of convolutional layers").

Every other basis has a bound by Cauchy and Schwarz: sum_k W_k (x) B_k = [W_1 ... W_K] times the B_k one above another,
so the norm is at most |[W_1 ... W_K]| sqrt(|sum_k B_k' B_k|); small layers are written out as one matrix.
"""

from __future__ import annotations

import math

import numpy as np

from strongticket.certify._matrix import Matrix, spectral_norm
from strongticket.certify._rounding import UNIT, Floats, above, gamma, norm_above
from strongticket.models.bases import AbstractBasis, Circulant, Convolution, GroupConvolution, Pointwise

__all__ = ["column_sums", "overlap", "values_norm"]

_WRITTEN_OUT = 384  # rows and columns up to which a layer is made a matrix
_WORK = 2e10  # multiplications that the blocks of one layer may cost
_PHASE = 64  # error of a computed exp(-2 pi i x), in units of u


def overlap(basis: AbstractBasis) -> float:
    """Return the largest sum over k of |B_k[p, q]|: how often one output can read one input."""
    if isinstance(basis, Pointwise | Convolution | Circulant | GroupConvolution):
        return 1.0
    total = sum(abs(matrix) for matrix in basis.matrices())
    return float(above(np.asarray(total.toarray().max(initial=0.0)), basis.size))


def column_sums(basis: AbstractBasis) -> Floats:  # [K]
    """Return the largest column sums of the |B_k|: how much each map makes of one input position, over all outputs."""
    if isinstance(basis, Pointwise | Convolution | Circulant | GroupConvolution):
        return np.ones(basis.size)
    sums = [float(np.asarray(abs(matrix).sum(axis=0)).max(initial=0.0)) for matrix in basis.matrices()]
    return above(np.array(sums), math.prod(basis.outputs))


def values_norm(basis: AbstractBasis, weight: Floats, groups: int) -> float:  # weight: [O, I / groups, K]
    """Return an upper bound of the spectral norm of the layer that these exact float64 coefficients make."""
    if not weight.any():
        return 0.0
    runs = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    return max(_group_norm(basis, run) for run in runs)


def _group_norm(basis: AbstractBasis, weight: Floats) -> float:
    if isinstance(basis, Pointwise):
        return spectral_norm(weight[:, :, 0])
    outputs, inputs, _ = weight.shape
    bounds = [_side_by_side(basis, weight)]
    if max(outputs * math.prod(basis.outputs), inputs * math.prod(basis.inputs)) <= _WRITTEN_OUT:
        bounds.append(_written_out(basis, weight))
    elif isinstance(basis, Circulant):
        bounds.append(_by_frequencies(weight, (basis.n,), (basis.n,), (1,), (1,)))
    elif isinstance(basis, Convolution):
        bounds.append(_convolution(basis, weight))
    return min(bounds)


def _side_by_side(basis: AbstractBasis, weight: Floats) -> float:
    """|[W_1 ... W_K]| sqrt(|sum_k B_k' B_k|), with |B_k' B_k| <= |B_k|_1 |B_k|_inf."""
    flat = spectral_norm(np.ascontiguousarray(weight.reshape(len(weight), -1)))
    if isinstance(basis, Convolution):  # sum_k B_k' B_k is diagonal, and counts how often a place is read
        sizes = zip(_of(basis, "kernel"), _of(basis, "stride"), _of(basis, "dilation"), strict=True)
        reads = float(math.prod(math.ceil(k / s) if d == 1 else k for k, s, d in sizes))
    elif isinstance(basis, Circulant | GroupConvolution):
        reads = float(basis.size)
    else:
        rows = [float(np.asarray(abs(matrix).sum(axis=1)).max(initial=0.0)) for matrix in basis.matrices()]
        terms = basis.size + math.prod(basis.inputs) + math.prod(basis.outputs) + 8
        reads = float(above(np.dot(np.array(rows), column_sums(basis)), terms))
    return flat * math.sqrt(reads) * (1.0 + 8.0 * UNIT)


def _written_out(basis: AbstractBasis, weight: Floats) -> float:
    """The norm of the whole matrix [O P_out, I P_in]."""
    maps = np.stack([matrix.toarray() for matrix in basis.matrices()])  # [K, P_out, P_in]

    def whole(numbers: Floats, elements: Floats) -> Floats:
        made = np.tensordot(numbers, elements, 1).swapaxes(1, 2)  # [O, P_out, I, P_in]
        return np.ascontiguousarray(made.reshape(made.shape[0] * made.shape[1], -1))

    size = np.maximum(np.abs(weight), 2.0**-500 * (weight != 0))
    slack = whole(size, np.abs(maps)) * gamma(len(maps) + 8)
    return Matrix(whole(weight, maps), slack).norm


def _of(basis: Convolution, name: str) -> tuple[int, ...]:
    numbers: tuple[int, ...] = getattr(basis, name)
    return numbers


def _convolution(basis: Convolution, weight: Floats) -> float:
    """Bound by the blocks of a circular convolution, if they cost little enough."""
    kernel, stride, padding, dilation = (_of(basis, name) for name in ("kernel", "stride", "padding", "dilation"))
    circle = []
    for n, k, s, p, d, made in zip(basis.positions, kernel, stride, padding, dilation, basis.outputs, strict=True):
        beyond = s * (made - 1) - p + d * (k - 1) - (n - 1)  # places that are read behind the last input
        least = max(n + max(p, beyond, 0), s * (made - 1) + 1)
        circle.append(-(-least // s) * s)
    fine = math.prod(stride)
    sides = sorted((2 * weight.shape[0], 2 * weight.shape[1] * fine))
    coarse = math.prod(circle) // fine // 2 + 1
    if coarse * sides[0] ** 2 * (sides[0] + sides[1]) > _WORK:
        return math.inf
    return _by_frequencies(weight, kernel, tuple(circle), stride, dilation)


def _by_frequencies(
    weight: Floats,  # [O, I, K]
    kernel: tuple[int, ...],
    circle: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> float:
    """Bound the largest norm of a block of the strided circular convolution; blocks g and -g are conjugate."""
    outputs, inputs, terms = weight.shape
    fine = math.prod(stride)
    coarse = tuple(n // s for n, s in zip(circle, stride, strict=True))
    half = (*coarse[:-1], coarse[-1] // 2 + 1)
    frequencies = np.stack(np.meshgrid(*map(np.arange, half), indexing="ij"), -1).reshape(-1, 1, len(half))
    shifts = np.stack(np.meshgrid(*map(np.arange, stride), indexing="ij"), -1).reshape(1, -1, len(half))
    places = np.stack(np.meshgrid(*map(np.arange, kernel), indexing="ij"), -1).reshape(-1, len(half))
    turns = (frequencies + shifts * np.array(coarse))[:, :, None, :] * (places * np.array(dilation))
    angle = 2.0 * math.pi * ((turns % np.array(circle)) / np.array(circle))  # of each dimension, in [0, 2 pi)
    wave = np.exp(-1j * angle).prod(axis=-1) / math.sqrt(fine)  # [g, a, K]
    flat = weight.reshape(outputs * inputs, terms)
    blocks = []
    for part in (wave.real, wave.imag):
        made = (flat @ part.reshape(-1, terms).T).reshape(outputs, inputs, -1, fine)
        blocks.append(np.ascontiguousarray(made.transpose(2, 0, 3, 1)).reshape(-1, outputs, fine * inputs))
    real, imaginary = blocks
    doubled = np.concatenate(  # the real form of a complex matrix has its norm
        [np.concatenate([real, -imaginary], axis=2), np.concatenate([imaginary, real], axis=2)], axis=1
    )
    # each of the two parts of an entry is off by at most this times sum_k |w_k|; so is, with a factor 2, the block
    off = gamma(4 * terms + _PHASE * len(half) + 16)
    sizes = above(np.abs(weight).sum(axis=2), terms)
    lost = 2.0 * off * norm_above(sizes) * (1.0 + 8.0 * UNIT) + 2.0**-900
    return (spectral_norm(doubled) + lost) * (1.0 + 4.0 * UNIT)
