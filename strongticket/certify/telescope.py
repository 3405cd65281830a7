"""Prove that a deep ticket *is* a target: whole matrices, multiplied out through every layer whose ReLU does nothing.

Where a neuron is a sum of nonnegative numbers with whole, nonnegative coefficients, its ReLU is the identity, and a
stack of such layers is one matrix. So between the places where a target has its own ReLU, a ticket of many layers
telescopes into one integer matrix for each layer of the target, which is compared with the target's, number by number:
exactly, for every input. Only seed and mask of the ticket are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from strongticket.certify.collapse import StructureError
from strongticket.models import MLP, Target
from strongticket.ticket import Ticket

__all__ = ["telescopes"]

Integers = NDArray[np.int64]

_WIDEST = 1 << 62


def telescopes(
    ticket: Ticket, target: Target, ends: Sequence[int], *, bits: int, scaled: bool = True, nonnegative: bool = False
) -> bool:
    """Decide whether a ticket computes exactly what a target does, on all inputs; True is a proof.

    Args:
        ticket: a plain ticket in an MLP of any depth on dyadic grids.
        target: a ReLU MLP whose numbers are multiples of 2^-bits.
        ends: number of source layers up to each layer of the target; the last is the ticket's depth.
        bits: hidden neurons of the ticket carry the target's times 2^(bits l) behind layer l.
        scaled: the ticket's outputs are the target's; otherwise they are 2^(bits L) times as large.
        nonnegative: inputs cannot be negative. (Otherwise a neuron of the first layer may keep one incoming weight.)

    Returns:
        Whether every output is proved equal. False says that some matrix differs, where it was compared.

    Raises:
        StructureError: a hidden neuron inside a block may be negative, so that its ReLU may matter; or the ticket is no
            plain MLP ticket of this depth; or the target is no ReLU MLP with as many inputs and outputs.
        OverflowError: coefficients leave 62 bits.
    """
    mlp = ticket.source.architecture
    if not isinstance(mlp, MLP) or not ticket.plain or ticket.dense or not mlp.rectified:
        raise StructureError(f"a ticket that telescopes is a plain one in a ReLU MLP, got {ticket.source.to_json()}")
    if not isinstance(target, Target) or not target.architecture.rectified:
        raise StructureError(f"a ticket of ReLU neurons telescopes into a ReLU MLP, got {_named(target)}")
    sizes = target.architecture.sizes
    if (mlp.sizes[0], mlp.sizes[-1]) != (sizes[0], sizes[-1]):
        raise StructureError(
            f"expected a ticket with the target's {sizes[0]} inputs and {sizes[-1]} outputs, got {mlp.id}"
        )
    if len(ends) != len(target.layers) or list(ends) != sorted(set(ends)) or ends[-1] != mlp.depth or ends[0] < 1:
        raise StructureError(f"expected {len(target.layers)} increasing ends up to {mlp.depth}, got {list(ends)}")
    channels, exponent = _first(ticket, mlp, nonnegative)
    same: Integers | None = None  # for each channel the first that is the same number; -1 if it is always 0
    for index, (begin, end) in enumerate(pairwise((1, *ends))):
        wanted = _joined(_wanted(target, index, bits, nonnegative), same)
        for layer in range(begin, end):
            if layer > begin and (channels.nnz and channels.data.min() < 0):
                raise StructureError(f"a neuron of layer {layer - 1} may be negative inside a block of layers")
            weight, power = _weight(ticket, layer)
            channels, exponent = _product(weight, channels), exponent + power
        last = index == len(target.layers) - 1
        # what the ticket computes is channels * 2^exponent; a hidden block must be in whole units
        shift = bits * len(target.layers) if last and scaled else 0
        if exponent + shift != 0:
            return False
        if last:
            return bool((channels.toarray() == wanted).all())
        merged = _merged(channels, wanted)
        if merged is None:
            return False
        channels, same = merged, _same(wanted)
    raise AssertionError("a target has a last layer")


def _named(target: object) -> str:
    return target.architecture.id if isinstance(target, Target) else type(target).__name__


def _weight(ticket: Ticket, layer: int) -> tuple[sparse.csr_array, int]:
    """One layer's kept integers and their exponent; biases behind the first layer may not be kept."""
    name, bias = MLP.weight_name(layer), MLP.bias_name(layer)
    if bias in ticket.mask and ticket.mask.counts[bias]:
        raise StructureError(f"{bias}: a bias is kept behind the first layer")
    return sparse.csr_array(_matrix(ticket, name)), ticket.source.grid_exponent(name)


def _matrix(ticket: Ticket, name: str) -> sparse.csr_array:
    index = ticket.mask.indices(name)
    shape = ticket.source.shapes[name]
    values = ticket.source.integers(name, index).astype(np.int64)
    return sparse.csr_array((values, (index // shape[1], index % shape[1])), shape=shape)


def _first(ticket: Ticket, mlp: MLP, nonnegative: bool) -> tuple[sparse.csr_array, int]:
    """The first layer as nonnegative combinations of channels: halves of inputs, then the constant."""
    name, bias = MLP.weight_name(0), MLP.bias_name(0)
    weight = _matrix(ticket, name)
    if nonnegative:
        if weight.nnz and weight.data.min() < 0:
            raise StructureError(f"{name}: a negative weight is kept")
    else:
        twice = np.flatnonzero(np.diff(weight.indptr) > 1)
        if twice.size:
            raise StructureError(f"{name}: neuron {int(twice[0])} keeps several inputs, which may be negative")
        halves = weight.tocoo()
        columns = 2 * halves.col + (halves.data < 0)
        shape = (weight.shape[0], 2 * weight.shape[1])
        weight = sparse.csr_array((np.abs(halves.data), (halves.row, columns)), shape=shape)
    exponent = ticket.source.grid_exponent(name)
    if not mlp.bias:
        return _with_constant(weight, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)), exponent
    if ticket.source.grid_exponent(bias) != exponent:
        raise StructureError(f"{name} and {bias} are not on one grid")
    kept = ticket.mask.indices(bias)
    values = ticket.source.integers(bias, kept).astype(np.int64)
    if (values < 0).any() or (np.diff(weight.indptr)[kept] > 0).any():
        raise StructureError(f"{bias}: a negative bias is kept, or one beside an incoming weight")
    return _with_constant(weight, kept, values), exponent


def _with_constant(weight: sparse.csr_array, kept: Integers, values: Integers) -> sparse.csr_array:
    """Append what the constant 1 adds to each neuron; a last column of zeros where there are no biases."""
    constant = sparse.csr_array((values, (kept, np.zeros_like(kept))), shape=(weight.shape[0], 1))
    return sparse.csr_array(sparse.hstack([weight, constant]))


def _wanted(target: Target, index: int, bits: int, nonnegative: bool) -> Integers:
    """The target's layer over channels, in units of 2^-bits, with a row that carries the constant on."""
    layer = target.layers[index]
    matrix = np.ldexp(layer.weight, bits)
    if index == 0 and not nonnegative:
        split = np.zeros((matrix.shape[0], 2 * matrix.shape[1]))
        split[:, 0::2], split[:, 1::2] = matrix, -matrix
        matrix = split
    if layer.bias is not None:
        matrix = np.column_stack([matrix, np.ldexp(layer.bias, bits)])
        if index < len(target.layers) - 1:
            carry = np.zeros(matrix.shape[1])
            carry[-1] = 2.0**bits
            matrix = np.vstack([matrix, carry])
    elif index == 0:
        matrix = np.column_stack([matrix, np.zeros(matrix.shape[0])])  # a ticket's constant must not come in
    if (matrix != np.rint(matrix)).any():
        raise StructureError(f"layer {index} of the target is not on the grid 2^-{bits}")
    # sums of a row must not wrap: columns of equal channels are added up
    if np.abs(matrix).max(initial=0.0) * matrix.shape[1] >= _WIDEST:
        raise OverflowError(f"layer {index} of the target leaves 62 bits in units of 2^-{bits}")
    return matrix.astype(np.int64)


def _product(weight: sparse.csr_array, channels: sparse.csr_array) -> sparse.csr_array:
    # in floats, which do not wrap; their rounding is far below what lies between 2^62 and 2^63
    largest = float(abs(channels).astype(np.float64).sum(axis=0).max(initial=0.0)) if channels.nnz else 0.0
    if largest * float(abs(weight).max() if weight.nnz else 0) >= _WIDEST:
        raise OverflowError("coefficients leave 62 bits")
    return sparse.csr_array(weight @ channels)


def _same(wanted: Integers) -> Integers:
    """For each row the first equal one; -1 for a row of zeros."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(row.tobytes(), j) if row.any() else -1 for j, row in enumerate(wanted)])


def _joined(wanted: Integers, same: Integers | None) -> Integers:
    """Add up what acts on equal channels, as two neurons of the target may compute the same number."""
    if same is None:
        return wanted
    joined = np.zeros_like(wanted)
    for j, first in enumerate(same.tolist()):
        if first >= 0:
            joined[:, first] += wanted[:, j]
    return joined


def _merged(found: sparse.csr_array, wanted: Integers) -> sparse.csr_array | None:
    """Neurons behind a block as channels of the next: each must be one of the target's rows, or nothing at all."""
    rows = {row.tobytes(): j for j, row in reversed(list(enumerate(wanted)))}
    dense_of = found.tocsr()
    neurons: list[int] = []
    channel: list[int] = []
    for k in np.flatnonzero(np.diff(dense_of.indptr)).tolist():
        row = np.zeros(wanted.shape[1], dtype=np.int64)
        piece = slice(dense_of.indptr[k], dense_of.indptr[k + 1])
        row[dense_of.indices[piece]] = dense_of.data[piece]
        if not row.any():
            continue
        if row.tobytes() not in rows:
            return None
        neurons.append(k)
        channel.append(rows[row.tobytes()])
    ones = np.ones(len(neurons), dtype=np.int64)
    return sparse.csr_array((ones, (neurons, channel)), shape=(found.shape[0], len(wanted)))
