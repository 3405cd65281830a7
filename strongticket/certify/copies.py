"""Certify tickets of one layer more than their target, in which every hidden neuron is built several times.

The source's first two layers are product gadgets, the others plain weights between copies (see `burkholz2022most`). Say
which neuron of the target each hidden neuron stands for; that hint is not trusted, and any hint gives a true bound. Let
P_l be the matrix that copies the target's values h_l, M_l the ticket's matrix between two hidden layers, and Q_l the
matrix that takes means over the copies, Q_l P_l = 1. Then

    B_l = M_l - E_l,   E_l = (M_l P_(l-1) - P_l W_l) Q_(l-1),   has   B_l P_(l-1) = P_l W_l:

the network of the B_l computes the target, every hidden value several times, and the ticket is that network with the
small errors E_l. So what certifies product gadgets certifies copies, and nothing is lost between copies of different
errors. The ticket is read from its seed and mask alone, in exact integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from strongticket.certificate import Certificate, Domain
from strongticket.certify._difference import (
    Difference,
    Gap,
    Inputs,
    first_interval,
    length,
    meet,
    plus,
)
from strongticket.certify._matrix import Matrix
from strongticket.certify._rounding import UNIT, Floats, above, gamma, lifted, norm_above, outward, raised
from strongticket.certify.certifier import AbstractCertifier, Bounds, Hybrid, Interval, LayerBound, affine, relu
from strongticket.certify.collapse import StructureError
from strongticket.certify.report import Report, report
from strongticket.models import MLP, Target
from strongticket.models.activations import LEAKY_SLOPE, PerceptronActivation
from strongticket.ticket import Ticket

__all__ = ["SlopeIntervals", "certify_copies", "compare_copies", "examine_copies"]

Integers = NDArray[np.int64]

_SLOP = 1.0 + 64.0 * UNIT
_LIBRARY = 2.0**-44  # what numpy's tanh may be off, absolutely: hundreds of units in the last place
_CUBIC = {"tanh": 1.0 / 3.0, "sigmoid": 1.0 / 48.0}  # |tanh t - t| and |sigmoid t - 1/2 - t/4| <= this times |t|^3
_TINY = 2.0**-1000  # more than what a few products may lose to underflow


def certify_copies(ticket: Ticket, target: Target, domain: Domain, copies: Sequence[ArrayLike]) -> Certificate:
    """Prove how far a ticket of depth L + 1 can be from its target of depth L; see `examine_copies`.

    >>> import torch
    >>> from strongticket.ticket import Mask, Source
    >>> source = Source(MLP((1, 1, 1), activation="tanh"), seed=3)
    >>> ticket = Ticket(source, Mask.full(source.shapes, kept=False))  # computes 0
    >>> target = Target(MLP((1, 1)), {"layers.0.weight": torch.tensor([[0.5]])})
    >>> round(certify_copies(ticket, target, Domain.box(0, 1), []).error, 9)
    0.5
    """
    return examine_copies(ticket, target, domain, copies).maximum


def examine_copies(ticket: Ticket, target: Target, domain: Domain, copies: Sequence[ArrayLike]) -> Report:
    """Prove how far a ticket of depth L + 1 can be from its target of depth L, in both norms and layer by layer.

    With ReLU the report's comparison serves `margins` too. Values of tanh and the sigmoid are numpy's, widened by
    2^-44, which is the one thing that is taken on trust.

    Args:
        ticket: a ticket in an MLP of the target's activation, plain, all parameters random and masked.
        target: the network that it stands for.
        domain: the inputs that the claim covers.
        copies: for each hidden layer of the ticket but the first, which neuron of the target's layer each neuron stands
            for, -1 for constants: neurons that keep no incoming weight. A hint; any gives a true bound.

    Returns:
        A report with certificates of rigor PROVED.

    Raises:
        StructureError: the ticket is not of this kind; the message says where.
        ValueError: target and ticket do not fit, or the hint does not fit the ticket.
    """
    comparison = compare_copies(ticket, target, domain, copies)
    kind = target.architecture.activation
    return report(comparison, domain, Hybrid() if kind == "relu" else SlopeIntervals(kind))


def compare_copies(ticket: Ticket, target: Target, domain: Domain, copies: Sequence[ArrayLike]) -> Difference:
    """Return a network that computes the target in copies, and the ticket's errors in it; see `examine_copies`."""
    reader = _Reader.of(ticket, target, copies)
    gaps = [_first(reader, domain)]
    gaps += [_later(reader, layer) for layer in range(1, target.architecture.depth)]
    return Difference(tuple(gaps), ticket.digest, target.digest, reader.activation)


@final
@dataclass(frozen=True, eq=False)
class _Reader:
    """A ticket whose kind has been checked, and which neurons of it stand for which of the target.

    Args:
        ticket: the ticket.
        target: the target, of one layer less.
        stands_for: of each layer of the target: the neurons of the ticket's layer that are looked at, and what they
            stand for. The outputs are the last.
        constants: neurons of each hidden layer of the ticket but the first that stand for nothing.
    """

    ticket: Ticket
    target: Target
    stands_for: tuple[tuple[Integers, Integers], ...]
    constants: tuple[Integers, ...]

    @classmethod
    def of(cls, ticket: Ticket, target: Target, copies: Sequence[ArrayLike]) -> _Reader:
        source, wanted = ticket.source.architecture, target.architecture
        if not isinstance(source, MLP):
            raise StructureError(f"tickets of copies live in an MLP, got {source.id}")
        if ticket.dense or not ticket.plain:
            raise StructureError("every parameter of a ticket of copies is random, masked and read plainly")
        if source.activation != wanted.activation and wanted.depth > 1:
            raise ValueError(f"the ticket's activation is {source.activation}, the target's {wanted.activation}")
        ends = (source.depth, source.sizes[0], source.sizes[-1])
        if ends != (wanted.depth + 1, wanted.sizes[0], wanted.sizes[-1]):
            raise ValueError(
                f"a ticket of copies has one layer more than its target and the same inputs and outputs, got "
                f"{source.id} for {wanted.id}"
            )
        if len(copies) != wanted.depth - 1:
            raise ValueError(f"copies are given for {wanted.depth - 1} hidden layers, got {len(copies)}")
        chosen, constants = [], []
        for i, hint in enumerate(copies):
            neurons, own, still = _chosen(ticket, np.asarray(hint), i + 2, wanted.sizes[i + 1])
            chosen.append((neurons, own))
            constants.append(still)
        outputs = np.arange(wanted.sizes[-1], dtype=np.int64)
        return cls(ticket, target, (*chosen, (outputs, outputs)), tuple(constants))

    @property
    def activation(self) -> PerceptronActivation:
        """Of the ticket."""
        architecture = self.ticket.source.architecture
        assert isinstance(architecture, MLP)
        return architecture.activation

    def matrix(self, layer: int) -> tuple[sparse.csr_array, int]:
        """Return the kept weights of one of the ticket's layers as integers, and the exponent of their unit."""
        name = MLP.weight_name(layer)
        index = self.ticket.mask.indices(name)
        shape = self.ticket.source.shapes[name]
        rows, columns = np.divmod(index, shape[1])
        values = self.ticket.source.integers(name, index).astype(np.int64)
        return sparse.csr_array((values, (rows, columns)), shape=shape), self.exponent(name)

    def exponent(self, name: str) -> int:
        """Return the exponent of a parameter's unit."""
        try:
            return self.ticket.source.grid_exponent(name)
        except ValueError as error:
            raise StructureError(f"{name} is not on a dyadic grid, so its sums are not exact: {error}") from error

    def biases(self, layer: int) -> Floats:
        """Return the kept biases of one of the ticket's layers, exact; 0 where none is kept."""
        name = MLP.bias_name(layer)
        size = self.ticket.source.shapes[MLP.weight_name(layer)][0]
        found = np.zeros(size)
        if name in self.ticket.source.shapes:
            index = self.ticket.mask.indices(name)
            found[index] = self.ticket.source.weight(name, index).numpy().astype(np.float64)
        return found


def _chosen(ticket: Ticket, hint: NDArray[Any], layer: int, neurons: int) -> tuple[Integers, Integers, Integers]:
    """Return the copies that are looked at, what they stand for, and the constants, of the inputs of a ticket's layer.

    A copy whose value no neuron uses is left out, unless the target's neuron has no other.
    """
    width = ticket.source.shapes[MLP.weight_name(layer)][1]
    if hint.shape != (width,) or hint.dtype.kind not in "iu":
        raise ValueError(f"copies of hidden layer {layer} are {width} whole numbers, got {hint.dtype} {hint.shape}")
    hint = hint.astype(np.int64)
    if hint.size and (int(hint.min()) < -1 or int(hint.max()) >= neurons):
        ends = f"{hint.min()}..{hint.max()}"
        raise ValueError(f"copies of hidden layer {layer} are numbers in -1..{neurons - 1}, got {ends}")
    used = np.zeros(width, dtype=bool)
    used[ticket.mask.indices(MLP.weight_name(layer)) % width] = True
    served = np.zeros(neurons, dtype=bool)
    served[hint[used & (hint >= 0)]] = True
    looked_at = used & (hint >= 0)
    for neuron in np.flatnonzero(~served):
        own = np.flatnonzero(hint == neuron)
        if not own.size:
            raise ValueError(f"no neuron of hidden layer {layer} stands for neuron {neuron} of the target's")
        looked_at[own[0]] = True
    constants = np.flatnonzero(used & (hint < 0))
    incoming = ticket.mask.indices(MLP.weight_name(layer - 1)) // ticket.source.shapes[MLP.weight_name(layer - 1)][1]
    moving = np.intersect1d(constants, incoming)
    if moving.size:
        raise StructureError(
            f"neuron {int(moving[0])} of hidden layer {layer} is used, keeps incoming weights and stands for nothing"
        )
    chosen = np.flatnonzero(looked_at)
    return chosen, hint[chosen], constants


def _first(reader: _Reader, domain: Domain) -> Gap:
    """Read the first two layers of the ticket, products of weights, beside the target's first."""
    wanted = reader.target.layers[0]
    u, u_unit = reader.matrix(0)
    bias = reader.biases(0)
    counts = np.diff(u.indptr)
    if counts.max(initial=0) > 1:
        raise StructureError(
            f"{MLP.weight_name(0)}: neuron {int(counts.argmax())} keeps {int(counts.max())} incoming weights; it may "
            "keep one"
        )
    both = np.flatnonzero((counts > 0) & (bias != 0))
    if both.size:
        raise StructureError(f"{MLP.bias_name(0)}: neuron {int(both[0])} keeps its bias and an incoming weight")
    v, v_unit = reader.matrix(1)
    rows, own = reader.stands_for[0]
    v = sparse.csr_array(v[rows])
    largest = [int(np.abs(matrix.data).max(initial=0)) for matrix in (u, v)]
    if int(np.diff(v.indptr).max(initial=0)) * largest[0] * largest[1] >= 1 << 62:
        raise StructureError(f"{MLP.weight_name(1)}: a neuron sums too many products for 64 bits")
    kind = reader.activation
    up, down = u.multiply(u > 0), u.multiply(u < 0)
    parts = [_dense(v @ sparse.csr_array(part), u_unit + v_unit) for part in (up, down)]
    plain: Floats = wanted.weight[own]
    change: list[Matrix] = []
    slack: Floats = np.zeros(len(rows))
    if kind in ("relu", "leaky"):
        low = 0.0 if kind == "relu" else LEAKY_SLOPE
        for mine, other in ((parts[0], parts[1]), (parts[1], parts[0])):
            value = mine + low * other - plain
            size = (np.abs(mine) + np.abs(other) + np.abs(plain)) * (8.0 * UNIT)
            change.append(Matrix(value, size + _TINY * (size > 0)))
        if domain.nonnegative:
            change = change[:1]
    else:
        slope = 1.0 if kind == "tanh" else 0.25
        value = (parts[0] + parts[1]) * slope - plain
        size = (np.abs(parts[0]) + np.abs(parts[1]) + np.abs(plain)) * (8.0 * UNIT)
        change.append(Matrix(value, size + _TINY * (size > 0)))
        slack = _curvature(v, v_unit, u, u_unit, domain, _CUBIC[kind])
    error = change[0] if len(change) == 1 else _side_by_side(change)
    silent = np.flatnonzero(counts == 0)
    # under a sigmoid the neurons that keep a weight add its value at 0 too
    still = np.arange(len(counts)) if kind == "sigmoid" else silent
    offset = _offset(reader, 1, v, v_unit, rows, own, still, np.where(counts > 0, 0.0, bias)[still], slack)
    return Gap(Matrix(plain), _copied(wanted.bias, own, len(rows)), error, offset)


def _curvature(
    v: sparse.csr_array, v_unit: int, u: sparse.csr_array, u_unit: int, domain: Domain, cubic: float
) -> Floats:
    """Bound what the remainders of all neurons that see an input add up to: sum of |v| cubic |u x|^3."""
    size = max(abs(domain.low), abs(domain.high))
    reach = np.ldexp(np.abs(np.asarray(u.sum(axis=1)).reshape(-1)).astype(np.float64), u_unit) * size
    cubes = raised(raised(reach) * raised(reach)) * raised(reach)
    weights = np.ldexp(np.asarray(abs(v).astype(np.float64) @ raised(cubes)), v_unit)
    return above(weights * cubic, int(v.shape[1]) + 16)


def _later(reader: _Reader, layer: int) -> Gap:
    """Read a layer of plain weights between copies, beside the target's."""
    wanted = reader.target.layers[layer]
    inputs, meant = reader.stands_for[layer - 1]
    rows, own = reader.stands_for[layer]
    whole, unit = reader.matrix(layer + 1)
    whole = sparse.csr_array(whole[rows])
    between = sparse.csr_array(whole[:, inputs])
    shape = (len(inputs), wanted.weight.shape[1])
    means = sparse.csr_array((np.ones(len(inputs), dtype=np.int64), (np.arange(len(inputs)), meant)), shape=shape)
    total = _dense(between @ means, unit)  # of at most 2^29 numbers of 24 bits: exact
    plain = wanted.weight[own]
    error = total - plain  # one rounding
    spread = error / np.bincount(meant, minlength=shape[1])  # another
    spread, nonzero = spread[:, meant], (error != 0)[:, meant]
    slack = np.abs(spread) * (4.0 * UNIT) + _TINY * nonzero
    matrix = Matrix(_dense(between, unit) - spread, slack)
    constants = reader.constants[layer - 1]
    offset = _offset(
        reader, layer + 1, whole, unit, rows, own, constants, reader.biases(layer)[constants], np.zeros(len(rows))
    )
    return Gap(matrix, _copied(wanted.bias, own, len(rows)), Matrix(spread, slack), offset)


def _offset(
    reader: _Reader,
    layer: int,
    weights: sparse.csr_array,
    unit: int,
    rows: Integers,
    own: Integers,
    constants: Integers,
    biases: Floats,
    slack: Floats,
) -> Matrix:
    """Return what constants and own biases of a ticket's layer add to each row, less the target's bias, as a column."""
    low, high = activate(reader.activation, (biases, biases))
    value, half = 0.5 * low + 0.5 * high, 0.5 * (high - low)
    factors = np.ldexp(np.asarray(weights[:, constants].todense()).astype(np.float64), unit)
    bias = reader.target.layers[layer - 1].bias
    less = np.zeros(len(rows)) if bias is None else bias[own]
    kept = reader.biases(layer)[rows]
    total = factors @ value + kept - less
    size = raised(np.abs(factors)) @ raised(value) + np.abs(kept) + np.abs(less)
    off = size * gamma(len(constants) + 8) + raised(np.abs(factors)) @ raised(half) * 2.0
    return Matrix(total[:, None], ((off + slack) * _SLOP)[:, None])


def _dense(matrix: sparse.csr_array, unit: int) -> Floats:
    """Integers below 2^62 in float64: rounded once where they need more than 53 bits."""
    return np.ldexp(np.asarray(matrix.todense()).astype(np.float64), unit)


def _copied(bias: Floats | None, own: Integers, size: int) -> Floats:
    return np.zeros(size) if bias is None else bias[own]


def _side_by_side(parts: list[Matrix]) -> Matrix:
    slacks = [part.slack for part in parts if part.slack is not None]
    return Matrix(np.hstack([part.value for part in parts]), np.hstack(slacks))


def activate(kind: PerceptronActivation, interval: Interval) -> Interval:
    """Enclose an activation of every number in an interval; all of them rise."""
    low, high = interval
    if kind == "relu":
        return np.maximum(low, 0.0), np.maximum(high, 0.0)
    if kind == "leaky":
        below, beyond = np.nextafter(low * LEAKY_SLOPE, -np.inf), np.nextafter(high * LEAKY_SLOPE, np.inf)
        return np.where(low >= 0, low, below), np.where(high >= 0, high, beyond)
    half, shift = (1.0, 0.0) if kind == "tanh" else (0.5, 0.5)  # the sigmoid is 1/2 + tanh(t/2)/2
    at_low, at_high = (half * np.tanh(half * end) + shift for end in (low, high))
    if kind == "sigmoid":  # exact at 0, where neurons that keep nothing are
        low_off, high_off = (_LIBRARY * (end != 0) for end in (low, high))
    else:
        low_off, high_off = (np.minimum(_LIBRARY, _LIBRARY * np.abs(end)) for end in (low, high))
    return np.maximum(at_low - low_off, shift - half), np.minimum(at_high + high_off, 1.0)


def slopes(kind: PerceptronActivation, interval: Interval) -> Interval:
    """Enclose the slopes of an activation between any two points of an interval."""
    low, high = interval
    if kind in ("relu", "leaky"):
        least = 0.0 if kind == "relu" else LEAKY_SLOPE
        return np.where(low >= 0, 1.0, least), np.where(high <= 0, least, 1.0)
    half = 1.0 if kind == "tanh" else 0.5
    steepest = half * half
    far = np.maximum(np.abs(low), np.abs(high))
    near = np.where((low <= 0) & (high >= 0), 0.0, np.minimum(np.abs(low), np.abs(high)))
    gentle, steep = (steepest * (1.0 - np.tanh(half * t) ** 2) for t in (far, near))
    return np.maximum(gentle - 4.0 * _LIBRARY, 0.0), np.minimum(steep + 4.0 * _LIBRARY, steepest)


@final
@dataclass(frozen=True)
class SlopeIntervals(AbstractCertifier):
    """Carry an interval for every neuron of the target and for its difference to the ticket's, and the norm of that.

    Args:
        activation: of both networks.
    """

    activation: PerceptronActivation
    name: ClassVar[str] = "difference intervals and norms, by slopes"

    def bound(self, difference: Difference, inputs: Inputs) -> Bounds:
        """Return upper bounds on |target - ticket| over the inputs."""
        rows: list[LayerBound] = []
        depth = len(difference.layers)
        hidden = ticket = change = (np.zeros(0), np.zeros(0))
        plain = moved = change
        drift = 0.0
        for i, gap in enumerate(difference.layers):
            if i == 0:
                plain, moved = first_interval(gap, inputs)
                added = lifted(gap.error.norm) * lifted(inputs.norm)
            else:
                plain, moved = affine(gap, hidden, ticket, change)
                added = lifted(gap.error.norm) * lifted(length(ticket))
            far = gap.weight.norm * drift + added + gap.offset.frobenius
            drift = lifted(min(far * _SLOP, length(moved)))
            moved = meet(moved, (np.full_like(moved[0], -drift), np.full_like(moved[0], drift)))
            if i + 1 < depth:
                hidden, ticket, change = self._through(plain, moved)
                most = float(slopes(self.activation, _hull(plain, plus(plain, moved)))[1].max(initial=0.0))
                drift = lifted(min(drift * most * _SLOP, length(change)))
            shown, gone = (plain, moved) if i + 1 == depth else (hidden, change)
            rows.append(_row(gap, length(shown), drift, gone))
        per_output = np.maximum(np.abs(moved[0]), np.abs(moved[1]))
        return Bounds(per_output, min(drift, norm_above(per_output)), tuple(rows))

    def _through(self, plain: Interval, moved: Interval) -> tuple[Interval, Interval, Interval]:
        """Carry enclosures of z and z' - z through the activation: those of h, h' and h' - h."""
        if self.activation == "relu":
            return relu(plain, moved)
        other = plus(plain, moved)
        hidden, ticket = activate(self.activation, plain), activate(self.activation, other)
        least, most = slopes(self.activation, _hull(plain, other))
        low = np.where(moved[0] >= 0, moved[0] * least, moved[0] * most)
        high = np.where(moved[1] >= 0, moved[1] * most, moved[1] * least)
        pad = np.maximum(np.abs(low), np.abs(high)) * (4.0 * UNIT) + _TINY * (moved[0] != moved[1])
        change = outward(low, pad)[0], outward(high, pad)[1]
        apart = np.nextafter(ticket[0] - hidden[1], -np.inf), np.nextafter(ticket[1] - hidden[0], np.inf)
        return hidden, ticket, meet(change, apart)


def _hull(left: Interval, right: Interval) -> Interval:
    return np.minimum(left[0], right[0]), np.maximum(left[1], right[1])


def _row(gap: Gap, hidden: float, drift: float, gone: Interval) -> LayerBound:
    largest = max(float(gap.error.size.max(initial=0.0)), float(gap.offset.size.max(initial=0.0)))
    change = float(np.maximum(np.abs(gone[0]), np.abs(gone[1])).max(initial=0.0))
    return LayerBound(largest, gap.error.norm, gap.weight.norm, hidden, drift, change)
