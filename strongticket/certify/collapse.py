"""Read what a gadget ticket computes: the small network that its kept random weights add up to.

Nothing is taken on trust from the construction that made the ticket. The mask's structure is checked entry by entry,
and the sums of products are recomputed from the seed, in integers where the source's weights lie on a dyadic grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from strongticket.certify._rounding import UNIT, Floats, gamma
from strongticket.models import MLP
from strongticket.ticket import Ticket

__all__ = [
    "Collapsed",
    "CollapsedLayer",
    "Pair",
    "StructureError",
    "Sums",
    "collapse",
    "read_pair",
    "refuse_unless_gadgets",
]

Numbers = NDArray[Any]  # int64 in units of the grid, or float64 off the grid

_BLOCK = 1 << 22  # kept entries handled at a time
_DENSE = 0.2  # density above which a contiguous stretch of weights is made and picked from
_EXACT = 2**53  # every integer up to here is a float64


class StructureError(ValueError):
    """Say that a ticket is not made of product gadgets, and where it departs from them."""


@final
@dataclass(frozen=True, eq=False)
class Sums:
    """Hold real numbers as float64 with what is known of their error: |true - value| <= slack, slack None is exact.

    Args:
        value: the float64 numbers.
        slack: elementwise error bound; None where every number is exact.
        integers: exact numbers in units of 2^exponent, where the source has a dyadic grid.
        exponent: see integers.
    """

    value: Floats
    slack: Floats | None = None
    integers: NDArray[np.int64] | None = None
    exponent: int | None = None


@final
@dataclass(frozen=True, eq=False)
class CollapsedLayer:
    """One pair of source layers as one layer: z = positive max(x, 0) + negative min(x, 0) + bias.

    Args:
        positive: [outputs, inputs], what acts on the positive part of the input; in a graph coefficients of its basis,
            [outputs, inputs / groups, terms].
        negative: of the same shape, what acts on the negative part; None where inputs cannot be negative.
        bias: [outputs].
        kept: kept entries of the two source layers, biases included.
        dead: source neurons that keep an input but can never fire on these inputs.
        constants: [outputs, terms], coefficients that act on a map of ones (zero padding makes them depend on the
            position); None where the bias says it all.
    """

    positive: Sums
    negative: Sums | None
    bias: Sums
    kept: int
    dead: int
    constants: Sums | None = None


@final
@dataclass(frozen=True, eq=False)
class Collapsed:
    """The network that a gadget ticket computes, of the target's size, exact where the source lies on a grid."""

    sizes: tuple[int, ...]
    layers: tuple[CollapsedLayer, ...]
    ticket_digest: str

    @cached_property
    def exact(self) -> bool:
        """Whether every number is known exactly."""
        return all(
            sums is None or sums.slack is None
            for layer in self.layers
            for sums in (layer.positive, layer.negative, layer.bias)
        )


def collapse(ticket: Ticket, *, nonnegative: bool = False) -> Collapsed:
    """Return the network of half the depth that a gadget ticket computes, checking that it is made of gadgets.

    In every odd source layer a neuron may keep one incoming weight, or its own bias alone, or nothing; the even layers
    are free. Then neuron k is relu(u_k x_i) or relu(b_k), and v relu(u x) is v u x on one side of 0 and nothing on the
    other, so that a pair of layers adds up to one matrix for each sign of its inputs.

    Args:
        ticket: a ticket in an MLP of even depth whose every parameter is random and masked.
        nonnegative: the network's inputs cannot be negative, so that the first layer needs no negative matrix. Inputs
            of later layers never are.

    Returns:
        The network; memory of the kept entries, the matrices and one block.

    Raises:
        StructureError: the ticket is not made of gadgets, the message names the layer and the neuron; or it reads its
            weights as binary, rescaled, signed or multicoated: what is proved here are sums of products of the
            source's own weights, redrawn ones included.

    >>> from strongticket.ticket import Mask, Source
    >>> source = Source(MLP((1, 2, 1)), seed=0)
    >>> ticket = Ticket(source, Mask.full(source.shapes))
    >>> u, v = (source.integers(f"layers.{i}.weight").reshape(-1).astype(int) for i in (0, 1))
    >>> pair = collapse(ticket).layers[0]
    >>> pair.positive.integers.item() == int(u @ (v * (u > 0)))
    True
    >>> pair.negative.integers.item() == int(u @ (v * (u < 0)))
    True
    """
    architecture = ticket.source.architecture
    if not isinstance(architecture, MLP):
        raise StructureError(f"gadget tickets live in an MLP, got {architecture.id}")
    if not architecture.rectified:
        raise StructureError(
            f"product gadgets are made of ReLU neurons, but {architecture.id} has another activation; certify_copies "
            "certifies tickets of one layer more than their target"
        )
    if architecture.depth % 2:
        raise StructureError(
            f"gadgets use pairs of layers, but {architecture.id} has depth {architecture.depth}; a ticket of one layer "
            "more than its target is certified by certify_copies"
        )
    refuse_unless_gadgets(ticket)
    sizes = architecture.sizes[::2]
    layers = tuple(_mlp_pair(ticket, architecture, i, nonnegative or i > 0) for i in range(len(sizes) - 1))
    return Collapsed(sizes, layers, ticket.digest)


def refuse_unless_gadgets(ticket: Ticket) -> None:
    """Refuse a ticket that has dense parameters or reads its weights in a way of its own."""
    if ticket.dense:
        raise StructureError(
            f"every parameter of a gadget ticket is random and masked, but {list(ticket.dense)} are dense"
        )
    if ticket.reading.kinds or ticket.reading.factors:
        raise StructureError(
            f"every kept weight of a gadget ticket is the source's own, but this ticket has a {ticket.reading!r}: "
            "nothing is proved of binary, rescaled, signed or multicoated weights; compare the outputs of "
            "ticket.module() instead"
        )


def _mlp_pair(ticket: Ticket, mlp: MLP, i: int, nonnegative: bool) -> CollapsedLayer:
    names = (MLP.weight_name(2 * i), MLP.bias_name(2 * i), MLP.weight_name(2 * i + 1), MLP.bias_name(2 * i + 1))
    inputs, hidden, outputs = mlp.sizes[2 * i : 2 * i + 3]
    biased = (mlp.bias, mlp.bias)
    layer = read_pair(ticket, Pair(*names, biased, inputs, hidden, outputs, nonnegative))
    flat = layer.positive, layer.negative
    positive, negative = (None if sums is None else _reshaped(sums, (outputs, inputs)) for sums in flat)
    assert positive is not None
    return replace(layer, positive=positive, negative=negative)


@final
@dataclass(frozen=True, eq=False)
class Pair:
    """Two source layers that make one, by their parameters: [groups hidden, inputs] and [outputs, hidden, terms].

    Args:
        first: name of the odd layer's weight.
        first_bias: name of its bias.
        second: name of the even layer's weight.
        second_bias: name of its bias.
        biased: whether the odd and the even layer have biases.
        inputs: inputs of one group.
        hidden: neurons (or channels) of one group between the two.
        outputs: outputs of all groups.
        nonnegative: the inputs cannot be negative.
        groups: inputs, neurons and outputs of different groups are not connected.
        terms: elements of the even layer's basis; 1 for a matrix.
        keeps_ones: [terms], whether a basis element makes a map of ones of a map of ones.
    """

    first: str
    first_bias: str
    second: str
    second_bias: str
    biased: tuple[bool, bool]
    inputs: int
    hidden: int
    outputs: int
    nonnegative: bool
    groups: int = 1
    terms: int = 1
    keeps_ones: tuple[bool, ...] = (True,)


@final
@dataclass(frozen=True, eq=False)
class _First:
    """An odd layer read: what each neuron computes."""

    # [neurons]: input i of the group if u > 0, inputs + i if u < 0, 2 inputs for a constant; -1 is silent
    column: NDArray[np.int64]
    factor: Numbers  # [neurons]: u or the constant
    grid: tuple[int, int] | None  # exponents of the weights and of the biases
    kept: int
    dead: int


def _draw(ticket: Ticket, name: str, index: NDArray[np.int64]) -> Numbers:
    """Return weights at sorted flat indices: exact integers in grid units, or float64 values off the grid."""
    source = ticket.source
    size = math.prod(source.shapes[name])
    if name in ticket.reading.redraws:
        return _redrawn(ticket, name, index)
    span: slice | None = None
    if index.size and index.size > _DENSE * (int(index[-1]) - int(index[0]) + 1):
        span = slice(int(index[0]), min(int(index[-1]) + 1, size))
    if _grid(ticket, name) is None:
        values = source.weight(name, index if span is None else span).numpy().astype(np.float64)
        return values if span is None else values[index - span.start]
    integers = source.integers(name, index if span is None else span)
    return (integers if span is None else integers[index - span.start]).astype(np.int64)


def _redrawn(ticket: Ticket, name: str, index: NDArray[np.int64]) -> Numbers:
    """Return weights of a parameter that was drawn again in places: each from its own draw."""
    place = np.searchsorted(ticket.mask.indices(name), index)
    drawn = ticket.source.redrawn(name, index, ticket.reading.redraws[name][place]).numpy().astype(np.float64)
    grid = _grid(ticket, name)
    return drawn if grid is None else np.ldexp(drawn, -grid).astype(np.int64)  # exact: a law's values are on its grid


def _grid(ticket: Ticket, name: str) -> int | None:
    try:
        return ticket.source.grid_exponent(name)
    except ValueError:
        return None


def _first(ticket: Ticket, pair: Pair) -> _First:
    """Read an odd layer and check that no neuron keeps more than one incoming entry."""
    neurons, inputs, name = pair.groups * pair.hidden, pair.inputs, pair.first
    index = ticket.mask.indices(name)
    neuron, served = index // inputs, index % inputs
    twice = np.flatnonzero(neuron[1:] == neuron[:-1])
    if twice.size:
        k = int(neuron[twice[0]])
        count = int(np.count_nonzero(neuron == k))
        raise StructureError(f"{name}: neuron {k} keeps {count} incoming weights; a gadget neuron keeps one")
    draws = _draw(ticket, name, index)
    factor = np.zeros(neurons, dtype=draws.dtype)
    column = np.full(neurons, -1, dtype=np.int64)
    factor[neuron] = draws
    column[neuron] = np.where(draws > 0, served, inputs + served)
    if pair.nonnegative:
        column[neuron[draws < 0]] = -1
    column[neuron[draws == 0]] = -1
    kept, grid = index.size, _grid(ticket, name)
    bias_grid: int | None = 0
    if pair.biased[0]:
        bias_name = pair.first_bias
        constant = ticket.mask.indices(bias_name)
        both = np.intersect1d(constant, neuron)
        if both.size:
            raise StructureError(
                f"{bias_name}: neuron {int(both[0])} keeps its bias and an incoming weight; one may be kept"
            )
        bias_grid = _grid(ticket, bias_name)
        biases = _draw(ticket, bias_name, constant)
        if (grid is None) != (bias_grid is None):
            raise StructureError(f"{name} and {bias_name} are not both on a dyadic grid")
        factor[constant] = biases
        column[constant] = np.where(biases > 0, 2 * inputs, -1)
        kept += constant.size
    exponents = None if grid is None or bias_grid is None else (grid, bias_grid)
    return _First(column, factor, exponents, kept, kept - int(np.count_nonzero(column >= 0)))


def read_pair(ticket: Ticket, pair: Pair) -> CollapsedLayer:
    """Return what two source layers add up to: coefficients [outputs, inputs, terms] for each sign of the inputs.

    Raises:
        StructureError: a neuron of the odd layer keeps more than one entry, or the two are not on one kind of grid.
    """
    inputs, name = pair.inputs, pair.second
    first = _first(ticket, pair)
    second, grid = _grid(ticket, name), first.grid
    if (grid is None) != (second is None):
        raise StructureError(f"{pair.first} and {name} are not both on a dyadic grid")
    sums, slack = _accumulate(ticket, pair, first)
    kept = first.kept + ticket.mask.counts[name]
    halves = (slice(0, inputs), slice(inputs, 2 * inputs))
    if grid is None or second is None:
        read = [Sums(sums[:, half].astype(np.float64), slack[:, half]) for half in halves]
        constant, unit, own_unit = Sums(sums[:, -1].astype(np.float64), slack[:, -1]), 0, 0
    else:
        unit, own_unit = grid[1] + second, 0
        read = [_exact(sums[:, half], grid[0] + second) for half in halves]
        constant = _exact(sums[:, -1], unit)
    bias, constants = _constants(constant, pair)
    if pair.biased[1]:
        own = ticket.mask.indices(pair.second_bias)
        kept += own.size
        own_grid = _grid(ticket, pair.second_bias)
        if (own_grid is None) != (second is None):
            raise StructureError(f"{name} and {pair.second_bias} are not both on a dyadic grid")
        own_unit = own_grid or 0
        bias = _with_own(bias, unit, own, _draw(ticket, pair.second_bias, own), own_unit)
    return CollapsedLayer(read[0], None if pair.nonnegative else read[1], bias, kept, first.dead, constants)


def _constants(sums: Sums, pair: Pair) -> tuple[Sums, Sums | None]:
    """Split what constant neurons add, [outputs, terms], into a bias and what zero padding makes uneven."""
    outputs = pair.outputs
    even = all(ones or not sums.value[:, k].any() for k, ones in enumerate(pair.keeps_ones))
    if pair.terms == 1 and even:
        return _reshaped(sums, (outputs,)), None
    if sums.integers is not None and sums.exponent is not None:
        whole = sums.integers
        even = even and int(np.abs(whole).max(initial=0)) < 2**62 // pair.terms
        return _exact(whole.sum(axis=1) if even else np.zeros(outputs, np.int64), sums.exponent), None if even else sums
    silent = Sums(np.zeros(outputs), None if sums.slack is None else np.zeros(outputs))
    return silent, sums if sums.value.any() or (sums.slack is not None and sums.slack.any()) else None


def _reshaped(sums: Sums, shape: tuple[int, ...]) -> Sums:
    slack = None if sums.slack is None else sums.slack.reshape(shape)
    integers = None if sums.integers is None else sums.integers.reshape(shape)
    return Sums(sums.value.reshape(shape), slack, integers, sums.exponent)


def _accumulate(ticket: Ticket, pair: Pair, first: _First) -> tuple[Numbers, Floats]:
    """Return the sums of kept v_jk u_k, [outputs, 2 inputs + 1, terms], and their error bounds (empty if exact)."""
    exact = first.grid is not None
    outputs, columns, terms = pair.outputs, 2 * pair.inputs + 1, pair.terms
    served = first.column + columns * (np.arange(first.column.size) // pair.hidden)
    served = served[first.column >= 0]
    most = int(np.bincount(served, minlength=1).max()) if served.size else 0
    sums = np.zeros((outputs, columns, terms), dtype=np.int64 if exact else np.float64)
    sizes = np.zeros((outputs if not exact else 0, columns, terms))
    for index in ticket.mask.index_blocks(pair.second, _BLOCK):
        row, neuron, term = _places(index, pair)
        column = first.column[neuron]
        used = column >= 0
        draws = _draw(ticket, pair.second, index)
        if not used.all():
            row, neuron, column, draws = row[used], neuron[used], column[used], draws[used]
            term = term if isinstance(term, int) else term[used]
        if not row.size:
            continue
        start, stop = int(row[0]), int(row[-1]) + 1
        key = ((row - start) * columns + column) * terms + term
        shape = (stop - start, columns, terms)
        length = math.prod(shape)
        if exact:
            assert first.factor.dtype == np.int64
            sums[start:stop] += _integer_sums(key, draws, first.factor[neuron], length, most).reshape(shape)
        else:
            product = draws * first.factor[neuron]  # exact: two float32 significands fit in one float64
            sums[start:stop] += np.bincount(key, weights=product, minlength=length).reshape(shape)
            sizes[start:stop] += np.bincount(key, weights=np.abs(product), minlength=length).reshape(shape)
    slack = sizes * (2.0 * gamma(most + 8) * (1.0 + 2.0 * gamma(most + 8)))
    return sums, slack


def _places(
    index: NDArray[np.int64], pair: Pair
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64] | int]:
    """Return the output, the neuron and the basis element of flat places in the even layer's weight."""
    term: NDArray[np.int64] | int = 0
    if pair.terms > 1:
        index, term = np.divmod(index, pair.terms)
    row, neuron = np.divmod(index, pair.hidden)
    if pair.groups > 1:
        neuron = neuron + row // (pair.outputs // pair.groups) * pair.hidden
    return row, neuron, term


def _integer_sums(key: NDArray[np.int64], left: Numbers, right: Numbers, length: int, terms: int) -> NDArray[np.int64]:
    """Return exact integer sums of left * right by key, at most `terms` to a key."""
    largest = int(np.abs(left).max()) * int(np.abs(right).max())
    if terms * largest < _EXACT:  # then every partial sum is an integer that float64 holds
        return np.bincount(key, weights=left * right, minlength=length).astype(np.int64)
    if terms * largest >= 2**62 or terms >= 2**24:
        raise ValueError(f"{terms} neurons serve one input, too many to sum their products exactly in 64 bits")
    product = left.astype(np.int64) * right.astype(np.int64)
    high = np.bincount(key, weights=product >> 28, minlength=length).astype(np.int64)
    low = np.bincount(key, weights=product & ((1 << 28) - 1), minlength=length).astype(np.int64)
    return (high << 28) + low


def _exact(integers: Numbers, exponent: int) -> Sums:
    whole = integers.astype(np.int64)
    value = np.ldexp(whole.astype(np.float64), exponent)
    slack = None
    if whole.size and int(np.abs(whole).max()) > _EXACT:
        slack = np.abs(value) * (2.0 * UNIT)
    return Sums(value, slack, whole, exponent)


def _with_own(bias: Sums, unit: int, place: NDArray[np.int64], own: Numbers, own_unit: int) -> Sums:
    """Add the even layer's own kept biases to the constants."""
    if bias.integers is None:
        value = bias.value.copy()
        value[place] += own
        slack = np.zeros_like(value) if bias.slack is None else bias.slack
        return Sums(value, (slack + np.abs(value) * UNIT) * (1.0 + 4.0 * UNIT))
    low = min(unit, own_unit)
    exact = [int(k) << (unit - low) for k in bias.integers]
    for j, k in zip(place.tolist(), own.tolist(), strict=True):
        exact[j] += int(k) << (own_unit - low)
    if max(map(abs, exact), default=0) < 2**62:
        return _exact(np.array(exact, dtype=np.int64), low)
    value = np.array([math.ldexp(k, low) for k in exact])  # int -> float rounds once
    return Sums(value, np.abs(value) * (2.0 * UNIT))
