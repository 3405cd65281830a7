"""Read what a ticket of attention computes: the merged matrices that its kept random weights add up to, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from strongticket.certify._matrix import Matrix
from strongticket.certify._rounding import UNIT, Floats, above, gamma, raised
from strongticket.certify.collapse import StructureError, Sums
from strongticket.models import Attention, AttentionTarget
from strongticket.ticket import Ticket

__all__ = ["AttentionDifference", "HeadGap", "LayerGap", "collapse_attention", "compare_attention"]

_EXACT = 2**53
_TINY = 2.0**-900  # more than what underflow can take from a sum of products of float32 or float64 weights in use


@final
@dataclass(frozen=True, eq=False)
class CollapsedHead:
    """One head: logits [key side, query side], values [dim, dim]."""

    logits: Sums
    values: Sums


@final
@dataclass(frozen=True, eq=False)
class CollapsedRectified:
    """Two source layers with ReLU between them as one: positive max(x, 0) + negative min(x, 0).

    `negative` is None where inputs cannot be negative.
    """

    positive: Sums
    negative: Sums | None


@final
@dataclass(frozen=True, eq=False)
class CollapsedAttention:
    """The network of the target's size that a ticket of attention computes; embedding and positions are the ticket's.

    Args:
        architecture: of the target's size but for keys and values, which are merged: both are `dim` wide.
        heads: [blocks][heads].
        feeds: [blocks][feed-forward layers].
        head: layers of the classifier.
        given: embedding and positions.
        ticket_digest: of the ticket.
    """

    architecture: Attention
    heads: tuple[tuple[CollapsedHead, ...], ...]
    feeds: tuple[tuple[CollapsedRectified, ...], ...]
    head: tuple[CollapsedRectified, ...]
    given: dict[str, Floats]
    ticket_digest: str


def collapse_attention(ticket: Ticket) -> CollapsedAttention:
    """Return the network that a ticket of attention computes, checking that it is made of products.

    Every unit of Q and V, and every neuron of the odd layers of the feed-forward networks and the head, may keep one
    incoming weight or none; what goes out of them is free. So K'Q, O V and each pair of layers add up to one matrix
    (one for each sign of the inputs, where ReLU stands between the two), in whole units of the source's grid.

    Args:
        ticket: a plain ticket in an `Attention` whose feed-forward networks and head have an even number of layers.

    Raises:
        StructureError: it is not made like this; the message names the parameter and the unit.
    """
    own = ticket.source.architecture
    if not isinstance(own, Attention):
        raise StructureError(f"tickets of attention live in an Attention, got {own.id}")
    if not ticket.plain:
        raise StructureError(
            f"every kept weight is the source's own, but this ticket has a {ticket.reading!r}: nothing is proved of it"
        )
    if set(ticket.dense) != set(own.state):
        raise StructureError(
            f"only {list(own.state)} of a ticket of attention are dense, but {sorted(ticket.dense)} are: nothing is "
            "proved of weights that are not random"
        )
    for what, widths in (("feed-forward networks", own.hidden), ("the head", own.head)):
        if len(widths) % 2 == 0 and (widths or what == "the head"):
            raise StructureError(f"{what} of a ticket are made of pairs of layers, but have {len(widths) + 1}")
    heads, feeds = [], []
    for b in range(own.layers):
        query, key, value, out = (own.name(b, part) for part in ("query", "key", "value", "out"))
        q, k = _first(ticket, query), _matrix(ticket, key)
        v, o = _first(ticket, value), _matrix(ticket, out)
        root, lost = _root(own.key)
        blocks = []
        for h in range(own.heads):
            keys, values = slice(h * own.key, (h + 1) * own.key), slice(h * own.value, (h + 1) * own.value)
            logits = _sum(k[0][keys].T, q[0][keys], q[1] + k[1] - root, f"{key}, head {h}")
            blocks.append(CollapsedHead(_divided(logits, lost), _sum(o[0][:, values], v[0][values], v[1] + o[1], out)))
        heads.append(tuple(blocks))
        names = [own.name(b, f"feed.{i}") for i in range(len(own.hidden) + 1)] if own.hidden else []
        feeds.append(_rectified(ticket, names))
    head = _rectified(ticket, [f"head.{i}.weight" for i in range(len(own.head) + 1)])
    small = Attention(
        own.layers,
        own.dim,
        own.heads,
        own.dim,
        own.dim,
        own.hidden[1::2],
        own.head[1::2],
        patch=own.patch,
        vocabulary=own.vocabulary,
        length=own.length,
        classes=own.classes,
    )
    given = {name: value.numpy().astype(np.float64) for name, value in ticket.dense.items()}
    return CollapsedAttention(small, tuple(heads), tuple(feeds), head, given, ticket.digest)


Grid = tuple[sparse.csr_array, int]
"""A matrix in whole units of 2^exponent, and the exponent."""


def _matrix(ticket: Ticket, name: str) -> Grid:
    try:
        exponent = ticket.source.grid_exponent(name)
    except ValueError as error:
        raise StructureError(f"{name} is on no dyadic grid, so its products have no exact sums: {error}") from error
    shape = ticket.source.shapes[name]
    index = ticket.mask.indices(name)
    weights = ticket.source.integers(name, index).astype(np.int64)
    rows, columns = np.divmod(index, shape[1])
    return sparse.csr_array((weights, (rows, columns)), shape=shape), exponent


def _first(ticket: Ticket, name: str) -> Grid:
    matrix, exponent = _matrix(ticket, name)
    kept = np.diff(matrix.indptr)
    if (kept > 1).any():
        unit = int(np.argmax(kept > 1))
        raise StructureError(
            f"{name}: unit {unit} keeps {int(kept[unit])} incoming weights; a product's unit keeps one"
        )
    return matrix, exponent


def _root(width: int) -> tuple[int, float]:
    """Return j and r with sqrt(width) = 2^j r; r is 1, exactly, for powers of 4."""
    j = (width.bit_length() - 1) // 2
    return j, 1.0 if width == 4**j else math.sqrt(width / 4.0**j)


def _divided(sums: Sums, root: float) -> Sums:
    if root == 1.0:
        return sums
    value = sums.value / root
    slack = np.zeros_like(value) if sums.slack is None else sums.slack
    return Sums(value, slack * (1.0 + 8.0 * UNIT) + np.abs(value) * (8.0 * UNIT))


def _sum(second: sparse.csr_array, first: sparse.csr_array, exponent: int, name: str) -> Sums:
    """Return second @ first exactly: whole numbers times 2^exponent."""
    terms = int(np.bincount(first.indices, minlength=1).max()) if first.nnz else 0
    largest = _largest(second) * _largest(first)
    if terms * largest >= 2**62:
        raise StructureError(f"{name}: {terms} units serve one input, too many to sum their products in 64 bits")
    whole = np.asarray((second @ first).todense(), dtype=np.int64)
    value = np.ldexp(whole.astype(np.float64), exponent)
    inexact = whole.size and int(np.abs(whole).max()) > _EXACT
    return Sums(value, np.abs(value) * (2.0 * UNIT) if inexact else None, whole, exponent)


def _largest(matrix: sparse.csr_array) -> int:
    return int(np.abs(matrix.data).max()) if matrix.nnz else 0


def _rectified(ticket: Ticket, names: list[str]) -> tuple[CollapsedRectified, ...]:
    layers = []
    for i in range(0, len(names), 2):
        (u, low), (v, high) = _first(ticket, names[i]), _matrix(ticket, names[i + 1])
        signed = (np.maximum(u.data, 0), np.minimum(u.data, 0))
        parts = [sparse.csr_array((data, u.indices, u.indptr), shape=u.shape) for data in signed]
        sums = [_sum(v, part, low + high, names[i + 1]) for part in parts]
        layers.append(CollapsedRectified(sums[0], sums[1] if i == 0 else None))
    return tuple(layers)


@final
@dataclass(frozen=True, eq=False)
class HeadGap:
    """One head of the target, and the ticket's error in it: the matrices of logits and of values."""

    logits: Matrix
    values: Matrix
    logits_error: Matrix
    values_error: Matrix


@final
@dataclass(frozen=True, eq=False)
class LayerGap:
    """One ReLU layer of the target, and the ticket's error in it, [outputs, inputs].

    Where inputs are signed, `error` has twice the columns: it acts on (max(x, 0), min(x, 0)).
    """

    weight: Matrix
    error: Matrix

    @property
    def split(self) -> bool:
        """Whether the error acts on the two halves of the input apart."""
        return bool(self.error.value.shape[1] != self.weight.value.shape[1])


@final
@dataclass(frozen=True, eq=False)
class AttentionDifference:
    """Target and ticket side by side; they share embedding and positions."""

    architecture: Attention
    heads: tuple[tuple[HeadGap, ...], ...]
    feeds: tuple[tuple[LayerGap, ...], ...]
    head: tuple[LayerGap, ...]
    embedding: Floats
    positions: Floats | None
    ticket_digest: str
    target_digest: str


def compare_attention(ticket: Ticket, target: AttentionTarget) -> AttentionDifference:
    """Return target and ticket side by side.

    Raises:
        StructureError: the ticket is not made of products.
        ValueError: ticket and target differ in their sizes, their embedding or their positions.
    """
    if not isinstance(target, AttentionTarget):
        raise TypeError(f"a target is an AttentionTarget, got {type(target).__name__}")
    collapsed, own = collapse_attention(ticket), target.architecture
    small = collapsed.architecture
    for name in ("layers", "dim", "heads", "hidden", "head", "patch", "vocabulary", "length", "classes"):
        if getattr(small, name) != getattr(own, name):
            raise ValueError(
                f"the ticket computes a network of {name} {getattr(small, name)}, the target has {getattr(own, name)}"
            )
    for name, value in collapsed.given.items():
        if not np.array_equal(value, target.exact[name]):
            raise ValueError(f"the ticket's {name} is not the target's, bit for bit: nothing is proved of that")
    heads = [
        tuple(_head_gap(target, b, h, head) for h, head in enumerate(block)) for b, block in enumerate(collapsed.heads)
    ]
    feeds = [
        tuple(_layer_gap(target.exact[own.name(b, f"feed.{i}")], layer) for i, layer in enumerate(feed))
        for b, feed in enumerate(collapsed.feeds)
    ]
    head = tuple(_layer_gap(target.exact[f"head.{i}.weight"], layer) for i, layer in enumerate(collapsed.head))
    given = collapsed.given
    return AttentionDifference(
        own,
        tuple(heads),
        tuple(feeds),
        head,
        given["embedding"],
        given.get("positions"),
        collapsed.ticket_digest,
        target.digest,
    )


def _head_gap(target: AttentionTarget, block: int, h: int, head: CollapsedHead) -> HeadGap:
    own = target.architecture
    query, key, value, out = (target.exact[own.name(block, part)] for part in ("query", "key", "value", "out"))
    keys, values = slice(h * own.key, (h + 1) * own.key), slice(h * own.value, (h + 1) * own.value)
    logits = _merged(key[keys].T, query[keys], math.sqrt(own.key))
    moved = _merged(out[:, values], value[values], 1.0)
    return HeadGap(logits, moved, _minus(head.logits, logits), _minus(head.values, moved))


def _merged(left: Floats, right: Floats, root: float) -> Matrix:
    """Return left @ right / root with all that was rounded, `root` being one rounding off, as slack."""
    terms = left.shape[1]
    size = above(raised(left) @ raised(right) / root, terms + 4)
    return Matrix(left @ right / root, size * gamma(terms + 8) * (1.0 + 16.0 * UNIT) + _TINY * (size > 0))


def _minus(ticket: Sums, target: Matrix) -> Matrix:
    slack = np.zeros_like(ticket.value) if target.slack is None else target.slack
    slack = slack if ticket.slack is None else (slack + ticket.slack) * (1.0 + 2.0 * UNIT)
    return Matrix(ticket.value - target.value, slack)


def _layer_gap(wanted: NDArray[np.float64], layer: CollapsedRectified) -> LayerGap:
    weight = Matrix(wanted)
    halves = [layer.positive] if layer.negative is None else [layer.positive, layer.negative]
    errors = [_minus(half, weight) for half in halves]
    slack = np.hstack([np.zeros_like(e.value) if e.slack is None else e.slack for e in errors])
    return LayerGap(weight, Matrix(np.hstack([error.value for error in errors]), slack))
