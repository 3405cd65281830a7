"""Networks of integer weights: quantise a target, run target and ticket in integer arithmetic, where equal is equal.

A layer is integers times a power of two, and inputs are integers with a *unit*, the integer that stands for 1 (255 for
pixels). A layer multiplies the unit by its own, so nothing is ever rounded: outputs of two networks can be compared
exactly. (The setting of Kumar and Natale 2025, kumar2025quantized.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from strongticket.models.mlp import MLP, check_rectified
from strongticket.models.targets import Target
from strongticket.ticket import Ticket

__all__ = [
    "IntegerLayer",
    "Kept",
    "Quantised",
    "accuracy_kept",
    "integer_layers",
    "integer_outputs",
    "quantise",
    "unequal_outputs",
]

MOST_BITS = 23
_EXACT = 1 << 53  # float64 adds and multiplies integers exactly as long as no partial sum goes beyond
_WIDEST = 1 << 62
_THIN = 0.02  # density below which a layer is multiplied as a sparse matrix
_AT_ONCE = 1 << 24  # hidden values held at a time


@final
@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """One affine layer in integers: weights and biases are these times 2^-bits.

    Args:
        weight: as a sparse matrix, [outputs, inputs].
        bias: [outputs], or None.
        bits: of the grid.
    """

    weight: sparse.csr_array
    bias: NDArray[np.int64] | None
    bits: int


@final
@dataclass(frozen=True, eq=False)
class Quantised:
    """A target whose every number is a multiple of 2^-bits in [-1, 1], and how it was made.

    Args:
        target: the quantised network; its float32 or float64 numbers are exact.
        bits: of the grid.
        factors: power of two that each layer was multiplied by before rounding.
        largest_change: the largest change of a number by rounding, in units of the quantised network; at most
            2^-(bits + 1).
        clipped: numbers outside [-1, 1], which became -1 or 1.
    """

    target: Target
    bits: int
    factors: tuple[float, ...]
    largest_change: float
    clipped: int

    @property
    def scale(self) -> float:
        """What the outputs are multiplied by, compared with the network that was quantised; positive."""
        return math.prod(self.factors)

    @property
    def layers(self) -> tuple[IntegerLayer, ...]:
        """The layers in integers."""
        return integer_layers(self.target)


def quantise(target: Target, bits: int, *, rescale: bool = True, reach: float = 1.0) -> Quantised:
    """Round every number of a network to the nearest multiple of 2^-bits, so that it can be met exactly.

    A ReLU network whose layers are multiplied by positive numbers (and its biases by the products so far) computes the
    same function times a positive number, so `rescale` spends the grid where the weights are: each layer is multiplied
    by the largest power of two that keeps its weights and biases within `reach`.

    Args:
        target: the network.
        bits: multiples of 2^-bits, 1..23; b bits behind the point are 2^(b+1) + 1 numbers in [-1, 1].
        rescale: multiply layers by powers of two first; otherwise numbers outside [-reach, reach] are clipped.
        reach: largest magnitude, a multiple of 2^-bits in (0, 1].

    Raises:
        TypeError: not a Target, or bits is not an int.
        ValueError: bits or reach outside their range, or a target that is no ReLU network.

    >>> import torch
    >>> target = Target.from_state({"0.weight": torch.tensor([[0.3, -0.11]])})
    >>> found = quantise(target, 3)
    >>> found.target.layers[0].weight.tolist(), found.factors, found.layers[0].weight.toarray().tolist()
    ([[0.625, -0.25]], (2.0,), [[5, -2]])
    """
    if not isinstance(target, Target):
        raise TypeError(f"a target is a strongticket.Target, got {type(target).__name__}: use Target.from_module")
    if isinstance(bits, bool) or not isinstance(bits, int):
        raise TypeError(f"bits: expected an int in 1..{MOST_BITS}, got {bits!r}")
    check_rectified(target.architecture, "quantise")
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"bits: expected 1..{MOST_BITS}, got {bits}")
    most = Fraction(reach) * 2**bits
    if not (0 < most <= 2**bits and most.denominator == 1):
        raise ValueError(f"reach: expected a multiple of 2^-{bits} in (0, 1], got {reach}")
    limit = int(most)
    weights: dict[str, torch.Tensor] = {}
    factors: list[float] = []
    largest, clipped, product = 0.0, 0, 1.0
    for i, layer in enumerate(target.layers):
        bias = np.zeros(0) if layer.bias is None else layer.bias * product
        factor = _factor(layer.weight, bias, float(reach)) if rescale else 1.0
        product *= factor
        for name, values in ((MLP.weight_name(i), layer.weight * factor), (MLP.bias_name(i), bias * factor)):
            if name not in target.weights:
                continue
            scaled = np.ldexp(values, bits)
            whole = np.clip(np.rint(scaled), -limit, limit)
            inside = np.abs(values) <= reach
            clipped += int(np.count_nonzero(~inside))
            largest = max(largest, float(np.abs(scaled - whole)[inside].max(initial=0.0)))
            weights[name] = torch.from_numpy(np.ldexp(whole, -bits).astype(np.float32))
        factors.append(factor)
    return Quantised(
        Target(target.architecture, weights), bits, tuple(factors), math.ldexp(largest, -bits), clipped
    )  # fmt: skip


def _factor(weight: NDArray[np.float64], bias: NDArray[np.float64], reach: float) -> float:
    """The largest power of two that keeps everything within reach; 1 for a layer of zeros."""
    largest = max(float(np.abs(weight).max(initial=0.0)), float(np.abs(bias).max(initial=0.0)))
    if largest == 0.0:
        return 1.0
    power = math.floor(math.log2(reach / largest))
    while math.ldexp(largest, power) > reach:  # the logarithm was rounded
        power -= 1
    return math.ldexp(1.0, power)


def integer_layers(network: Target | Ticket) -> tuple[IntegerLayer, ...]:
    """Read the layers of a target or a ticket as integers; of a ticket, from its seed and mask alone.

    Raises:
        TypeError: neither a target nor a plain ticket in an MLP.
        ValueError: numbers off the dyadic grid, or with more than 23 bits; an activation other than ReLU.
    """
    if isinstance(network, Target):
        check_rectified(network.architecture, "integer arithmetic")
        return tuple(_of_target(layer.weight, layer.bias) for layer in network.layers)
    if not isinstance(network, Ticket) or not isinstance(network.source.architecture, MLP):
        raise TypeError(f"expected a Target, or a Ticket in an MLP, got {type(network).__name__}")
    if network.dense or not network.plain:
        raise TypeError("a ticket in integers is its source times a mask, without dense values or readings")
    check_rectified(network.source.architecture, "integer arithmetic")
    return tuple(_of_ticket(network, i) for i in range(network.source.architecture.depth))


def _of_target(weight: NDArray[np.float64], bias: NDArray[np.float64] | None) -> IntegerLayer:
    both = weight.reshape(-1) if bias is None else np.concatenate([weight.reshape(-1), bias])
    for bits in range(MOST_BITS + 1):
        scaled = np.ldexp(both, bits)
        if (scaled == np.rint(scaled)).all():
            rows = sparse.csr_array(np.ldexp(weight, bits).astype(np.int64))
            return IntegerLayer(rows, None if bias is None else np.ldexp(bias, bits).astype(np.int64), bits)
    raise ValueError(f"a weight of the target is no multiple of 2^-{MOST_BITS}: quantise the target first")


def _of_ticket(ticket: Ticket, i: int) -> IntegerLayer:
    source, mlp = ticket.source, ticket.source.architecture
    assert isinstance(mlp, MLP)
    name, bias_name = MLP.weight_name(i), MLP.bias_name(i)
    bits = -source.grid_exponent(name)
    if not 0 <= bits <= MOST_BITS or (mlp.bias and source.grid_exponent(bias_name) != -bits):
        raise ValueError(f"weights and biases of layer {i} are not on one grid of at most {MOST_BITS} bits")
    index = ticket.mask.indices(name)
    rows, columns = np.divmod(index, mlp.sizes[i])
    values = source.integers(name, index).astype(np.int64)
    weight = sparse.csr_array((values, (rows, columns)), shape=(mlp.sizes[i + 1], mlp.sizes[i]))
    bias = None
    if mlp.bias:
        kept = ticket.mask.indices(bias_name)
        bias = np.zeros(mlp.sizes[i + 1], dtype=np.int64)
        bias[kept] = source.integers(bias_name, kept)
    return IntegerLayer(weight, bias, bits)


def integer_outputs(
    layers: Sequence[IntegerLayer],
    inputs: ArrayLike,  # [batch, features]
    unit: int,
    *,
    reset: int | None = None,
    every: int = 1,
) -> tuple[NDArray[np.int64], int]:  # [batch, outputs]
    """Run a ReLU network in integers, with no rounding anywhere (but the resets, where asked for).

    Args:
        layers: of `integer_layers`.
        inputs: integers; x stands for x / unit.
        unit: the integer that stands for 1, 1..2^31: 255 for pixels.
        reset: after each `every` layers, round every value down to a multiple of 2^-reset: the precision gamma to
            which the theorem's networks cut their layer outputs. It keeps integers small in deep networks.
        every: 1 for a target, 2 for a ticket whose layers come in pairs.

    Returns:
        Outputs and their unit: the real output is output / unit.

    Raises:
        TypeError: inputs that are not integers.
        ValueError: shapes that do not fit, a unit or reset outside its range.
        OverflowError: some value may leave 62 bits; nothing is ever wrapped around.

    >>> import torch
    >>> layers = integer_layers(Target.from_state({"0.weight": torch.tensor([[0.5, -0.25]])}))
    >>> outputs, unit = integer_outputs(layers, [[3, 1]], 1)
    >>> outputs.tolist(), unit
    ([[5]], 4)
    """
    x = np.asarray(inputs)
    if x.dtype.kind not in "iu":
        raise TypeError(f"inputs are integers in units of 1/{unit}, got dtype {x.dtype}: use np.rint(x * unit)")
    features = layers[0].weight.shape[1]
    if x.ndim != 2 or x.shape[1] != features:
        raise ValueError(f"expected inputs [batch, {features}], got shape {x.shape}")
    if not 1 <= unit <= 1 << 31:
        raise ValueError(f"unit: expected 1..2^31, got {unit}")
    if (reset is not None and not 0 <= reset <= 30) or every < 1:
        raise ValueError(f"expected reset in 0..30 and every >= 1, got {reset} and {every}")
    widest = max(layer.weight.shape[0] for layer in layers)
    step = max(1, _AT_ONCE // max(widest, features))
    parts = [_run(layers, x[i : i + step].astype(np.int64), unit, reset, every) for i in range(0, len(x), step)]
    if not parts:
        return np.zeros((0, layers[-1].weight.shape[0]), dtype=np.int64), _final_unit(layers, unit, reset, every)
    return np.concatenate([part for part, _ in parts]), parts[0][1]


def _final_unit(layers: Sequence[IntegerLayer], unit: int, reset: int | None, every: int) -> int:
    for i, layer in enumerate(layers, 1):
        unit = unit << layer.bits
        if reset is not None and i % every == 0:
            unit = 1 << reset
    return unit


def _run(
    layers: Sequence[IntegerLayer], x: NDArray[np.int64], unit: int, reset: int | None, every: int
) -> tuple[NDArray[np.int64], int]:
    for i, layer in enumerate(layers, 1):
        if i > 1:
            x = np.maximum(x, 0)
        x = _product(layer.weight, x)
        if layer.bias is not None and layer.bias.any():
            shift = [int(b) * unit for b in layer.bias.tolist()]
            if max(map(abs, shift)) + int(np.abs(x).max(initial=0)) >= _WIDEST:
                raise OverflowError(f"the biases of layer {i} leave 62 bits: give reset, the precision of the outputs")
            x = x + np.array(shift, dtype=np.int64)
        unit <<= layer.bits
        if reset is not None and i % every == 0:
            whole, part = np.divmod(x, unit)
            if unit << reset >= _WIDEST or int(np.abs(whole).max(initial=0)) << reset >= _WIDEST:
                raise OverflowError(f"layer {i} leaves 62 bits when it is cut to 2^-{reset}: use a smaller reset")
            x, unit = (whole << reset) + (part << reset) // unit, 1 << reset
    return x, unit


def _product(weight: sparse.csr_array, x: NDArray[np.int64]) -> NDArray[np.int64]:  # [batch, outputs]
    """Return x W^T exactly, by float64 products that never leave 53 bits; x is cut into parts where they would."""
    longest = int(abs(weight).sum(axis=1).max()) if weight.nnz else 0
    largest = int(np.abs(x).max(initial=0))
    if longest * largest >= _WIDEST or longest >= 1 << 50:
        raise OverflowError(
            f"sums of up to {longest} * {largest} leave 62 bits: give reset, the precision of the layer outputs"
        )
    step = (_EXACT // max(longest, 1)).bit_length() - 1  # bits of x that one product can hold
    thin = weight.nnz < _THIN * math.prod(weight.shape)
    matrix: Any = weight.astype(np.float64) if thin else weight.toarray().astype(np.float64)
    total = np.zeros((len(x), weight.shape[0]), dtype=np.int64)
    place, rest = 0, x
    while True:
        low = rest if largest >> place < 1 << step else rest & ((1 << step) - 1)
        values = low.astype(np.float64)
        part = np.ascontiguousarray((matrix @ values.T).T) if thin else values @ matrix.T
        total += part.astype(np.int64) << place
        if low is rest:
            return total
        rest, place = rest >> step, place + step


def unequal_outputs(
    target: Target,
    ticket: Ticket,
    inputs: ArrayLike,  # [batch, features]
    unit: int,
    *,
    reset: int | None = None,
) -> int:
    """Return how many outputs of a target and a ticket of twice its depth differ, in integer arithmetic.

    Args:
        target, ticket: the two networks; of the ticket, seed and mask are all that is read.
        inputs, unit: see `integer_outputs`.
        reset: precision of the outputs of each layer of the target, and of each second one of the ticket.

    Raises:
        ValueError: the ticket does not have twice the target's depth.
        OverflowError: see `integer_outputs`.
    """
    ours, theirs = integer_layers(target), integer_layers(ticket)
    if len(theirs) != 2 * len(ours):
        raise ValueError(f"expected a ticket of {2 * len(ours)} layers for a target of {len(ours)}, got {len(theirs)}")
    left, left_unit = integer_outputs(ours, inputs, unit, reset=reset)
    right, right_unit = integer_outputs(theirs, inputs, unit, reset=reset, every=2)
    if right_unit < left_unit:
        left, left_unit, right, right_unit = right, right_unit, left, left_unit
    ratio, rest = divmod(right_unit, left_unit)
    assert rest == 0  # units are the inputs' unit times powers of two, or one power of two
    whole, part = np.divmod(right, ratio)
    return int(np.count_nonzero((part != 0) | (whole != left)))


@final
@dataclass(frozen=True)
class Kept:
    """What quantising kept of a network, on labelled data.

    Args:
        accuracy: of the network given, in float32.
        quantised: of the quantised network, in integers.
        equal: share of equal predictions.
    """

    accuracy: float
    quantised: float
    equal: float


def accuracy_kept(
    target: Target,
    quantised: Quantised,
    inputs: NDArray[np.int64],  # [batch, features]
    labels: NDArray[np.int64],  # [batch]
    unit: int,
) -> Kept:
    """Return how well a network classifies before and after it was quantised, the latter in integer arithmetic."""
    with torch.no_grad():
        before = target.module()(torch.from_numpy((inputs / unit).astype(np.float32))).argmax(1).numpy()
    after = integer_outputs(quantised.layers, inputs, unit)[0].argmax(axis=1)
    shares = (np.mean(before == labels), np.mean(after == labels), np.mean(before == after))
    return Kept(*(float(share) for share in shares))
