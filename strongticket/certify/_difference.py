"""The object that certificates are about: a target, and layer by layer how a collapsed ticket departs from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from strongticket.certificate import Domain
from strongticket.certify._matrix import Matrix
from strongticket.certify._rounding import FLOOR, UNIT, Floats, above, lifted, norm_above, outward, raised
from strongticket.certify.collapse import Collapsed, CollapsedLayer, Sums
from strongticket.models import Target
from strongticket.models.activations import PerceptronActivation

__all__ = ["Difference", "Gap", "Inputs", "cut", "difference", "errors"]

_SPIKES = 32  # entries of one layer's error that may be treated apart
_LARGEST = 2.0**1000  # norm of an input from which no bound is tried
_SPIKE = 6.0  # times the root mean square of the other entries


@final
@dataclass(frozen=True, eq=False)
class Gap:
    """One layer of the target and the ticket's error in it: ticket = target + (error x + offset).

    Where the first layer's inputs are signed, `error` has twice the columns: it acts on (max(x, 0), min(x, 0)).

    Args:
        weight: the target's matrix [outputs, inputs].
        bias: the target's bias [outputs].
        error: ticket minus target [outputs, inputs or 2 inputs].
        offset: ticket's bias minus target's, a column [outputs, 1].
    """

    weight: Matrix
    bias: Floats
    error: Matrix
    offset: Matrix

    @property
    def split(self) -> bool:
        """Whether the error acts on the two halves of the input apart."""
        return bool(self.error.value.shape[1] != self.weight.value.shape[1])

    @cached_property
    def _cut(self) -> tuple[NDArray[np.int64], Matrix]:
        return cut(self.error)

    @property
    def spikes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the few entries of the error that stand out, as where one weight was hard to reach.

        Alone, such an entry would set the norm of the whole matrix; it is better bounded by the one input that it sees.
        """
        rows, columns = np.divmod(self._cut[0], self.error.value.shape[1])
        return rows, columns

    @property
    def rest(self) -> Matrix:
        """The error without its spikes."""
        return self._cut[1]


def cut(error: Matrix) -> tuple[NDArray[np.int64], Matrix]:
    """Return the flat places of the few entries that stand out of the others, and the numbers without them."""
    value = error.value
    flat = np.abs(value).reshape(-1)
    count = min(_SPIKES, flat.size // 8)
    largest = np.argpartition(flat, flat.size - count)[flat.size - count :] if count else np.zeros(0, np.int64)
    rest = value.copy().reshape(-1)
    rest[largest] = 0.0
    typical = norm_above(rest) / math.sqrt(max(flat.size, 1))
    largest = np.sort(largest[flat[largest] > _SPIKE * typical])
    rest = value.copy().reshape(-1)
    rest[largest] = 0.0
    slack = error.slack
    if slack is not None:
        slack = slack.copy()
        slack.reshape(-1)[largest] = 0.0
    return largest, Matrix(rest.reshape(value.shape), slack) if largest.size else error


@final
@dataclass(frozen=True, eq=False)
class Difference:
    """Target and ticket side by side.

    Args:
        layers: of the two.
        ticket_digest: of the ticket.
        target_digest: of the target.
        activation: of the ticket. With another than ReLU the gaps hold on the domain they were made for, no further.
    """

    layers: tuple[Gap, ...]
    ticket_digest: str
    target_digest: str
    activation: PerceptronActivation = "relu"

    def check_rectified(self, what: str) -> None:
        """Refuse a ticket that is not one of ReLU, for what assumes it."""
        if self.activation != "relu":
            raise ValueError(f"{what} takes ReLU networks, but this ticket's activation is {self.activation}")

    @cached_property
    def inputs(self) -> int:
        """Input dimension."""
        return int(self.layers[0].weight.value.shape[1])

    @cached_property
    def outputs(self) -> int:
        """Output dimension."""
        return int(self.layers[-1].weight.value.shape[0])


def difference(collapsed: Collapsed, target: Target) -> Difference:
    """Return target and ticket side by side.

    Raises:
        ValueError: they do not have the same layer sizes.
    """
    if collapsed.sizes != target.architecture.sizes:
        raise ValueError(
            f"the ticket computes a network of layer sizes {collapsed.sizes}, "
            f"the target has {target.architecture.sizes}"
        )
    if not target.architecture.rectified:
        raise ValueError(f"a gadget ticket computes a ReLU network, but the target is {target.architecture.id}")
    gaps = []
    for layer, wanted in zip(collapsed.layers, target.layers, strict=True):
        bias = np.zeros(wanted.weight.shape[0]) if wanted.bias is None else wanted.bias
        error, column = errors(layer, wanted.weight, bias)
        gaps.append(Gap(Matrix(wanted.weight), bias, error, column))
    return Difference(tuple(gaps), collapsed.ticket_digest, target.digest)


def errors(layer: CollapsedLayer, weight: Floats, bias: Floats) -> tuple[Matrix, Matrix]:
    """Return ticket minus target: of the weights, those for the negative half behind the others, and of the bias."""
    parts = [_minus(layer.positive, weight)]
    if layer.negative is not None:
        parts.append(_minus(layer.negative, weight))
    offset = _minus(layer.bias, bias)
    return _beside(parts), Matrix(offset.value[:, None], None if offset.slack is None else offset.slack[:, None])


def _minus(ticket: Sums, target: Floats) -> Matrix:
    return Matrix(ticket.value - target, ticket.slack)  # the subtraction's rounding is the u |value| that Matrix allows


def _beside(errors: list[Matrix]) -> Matrix:
    if len(errors) == 1:
        return errors[0]
    slack = None
    if any(error.slack is not None for error in errors):
        slack = np.hstack([np.zeros_like(e.value) if e.slack is None else e.slack for e in errors])
    return Matrix(np.hstack([error.value for error in errors]), slack)


@final
@dataclass(frozen=True)
class Inputs:
    """A domain in numbers of one dimension: the box it fits in, and balls about points of its diagonal that hold it."""

    low: float
    high: float
    dimension: int
    norm: float  # no input is longer
    centers: tuple[float, ...]  # t for the point (t, ..., t)
    radii: tuple[float, ...]  # no input is further from that point

    @classmethod
    def of(cls, domain: Domain, dimension: int) -> Inputs:
        """Return the numbers of a domain in a dimension."""
        norm = domain.radius_in(dimension)
        if not norm < _LARGEST:
            raise ValueError(
                f"the bound overflows float64 on {domain}: the norm of its inputs must be below 2^1000, got {norm:g} "
                f"in {dimension} dimensions; give the range that the inputs really have"
            )
        low, high = max(domain.low, -norm), min(domain.high, norm)
        centers = list(dict.fromkeys([0.0, 0.5 * low + 0.5 * high, _best_center(low, high, norm, dimension)]))
        radii = [_radius_about(t, low, high, norm, dimension) for t in centers]
        return cls(low, high, dimension, norm, tuple(centers), tuple(radii))


def _best_center(low: float, high: float, norm: float, dimension: int) -> float:
    """Guess the t for which the ball about (t, ..., t) is smallest."""
    unit = math.frexp(norm)[1]
    low, high, norm = (math.ldexp(x, -unit) for x in (low, high, norm))
    total = low + high
    if total == 0:
        return 0.0
    t = (norm * norm / dimension + low * high) / total
    return math.ldexp(min(max(t, 0.0), total / 2) if total > 0 else max(min(t, 0.0), total / 2), unit)


def _radius_about(t: float, low: float, high: float, norm: float, n: int) -> float:
    """Return a number that |x - (t, ..., t)| does not exceed; relative rounding of its few steps is paid by 1 + 64 u.

    Three bounds: the farthest corner of the box; norm + sqrt(n) |t|; and, as x^2 <= (low + high) x - low high on
    [low, high], sum x >= (|x|^2 + n low high) / s with s = low + high > 0, which gives for 0 <= t <= s / 2
    |x - t|^2 = |x|^2 - 2 t sum x + n t^2 <= norm^2 (1 - 2 t / s) - 2 t n low high / s + n t^2. (Mirrored for s < 0.)

    All in units of a power of two in which the norm lies in [1/2, 1): nothing overflows, and what underflow takes, in
    scaling included, is below 2^-1000 (which the first bound adds) and below u (which the others pay, having the norm
    as a term). The result is raised, so that the scaling back does not round.
    """
    if t == 0:
        return lifted(norm)
    unit = math.frexp(norm)[1]
    t, low, high, norm = (math.ldexp(x, -unit) for x in (t, low, high, norm))
    grow = 1.0 + 64.0 * UNIT
    bounds = [math.sqrt(n) * (max(abs(low - t), abs(high - t)) + 2.0**-1000) * grow]
    bounds.append((norm + math.sqrt(n) * abs(t)) * grow)
    total = low + high
    if total * t > 0 and 2 * abs(t) <= abs(total):
        share = 2 * t / total
        parts = [norm * norm, -norm * norm * share, -share * n * low * high, n * t * t]
        square = math.fsum(parts) + 64.0 * UNIT * sum(map(abs, parts))
        bounds.append(math.sqrt(max(square, 0.0)) * grow)
    radius = min(bounds)
    return math.ldexp(radius, unit) if radius > math.ldexp(FLOOR, -unit) else FLOOR


def first_interval(layer: Gap, inputs: Inputs) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return enclosures of the first layer's target output W x + b and of the ticket's departure, over the box."""
    low = np.full(inputs.dimension, inputs.low)
    high = np.full(inputs.dimension, inputs.high)
    plain = layer.weight.enclose(low, high)
    if not layer.split:
        return shifted(plain, layer.bias), plus(layer.error.enclose(low, high), offset_interval(layer))
    apart = meet(_split_interval(layer.error, inputs), _split_by_length(layer.error, inputs))
    return shifted(plain, layer.bias), plus(apart, offset_interval(layer))


def _split_by_length(error: Matrix, inputs: Inputs) -> tuple[Floats, Floats]:
    """Enclose E+ max(x, 0) + E- min(x, 0) by |x|: of each input one half is 0, so that its larger error counts once."""
    n = inputs.dimension
    rows = Matrix(np.maximum(error.size[:, :n], error.size[:, n:]), None, error.drift).rows
    reach = above(rows * lifted(inputs.norm), 2)
    return -reach, reach


def _split_interval(error: Matrix, inputs: Inputs) -> tuple[Floats, Floats]:
    """Enclose E+ max(x, 0) + E- min(x, 0) over the box: each coordinate is extreme at an end of its range or at 0."""
    n = inputs.dimension
    up, down = max(inputs.high, 0.0), min(inputs.low, 0.0)
    most_up, most_down = lifted(up), lifted(-down)
    right, left = error.value[:, :n] * up, error.value[:, n:] * down
    zero = 0.0 if inputs.low <= 0 <= inputs.high else None
    ends_high = np.maximum(right, left) if inputs.low < 0 < inputs.high else right + left
    ends_low = np.minimum(right, left) if inputs.low < 0 < inputs.high else right + left
    if zero is not None:
        ends_high, ends_low = np.maximum(ends_high, 0.0), np.minimum(ends_low, 0.0)
    else:  # all of one sign: the near end counts too
        near = error.value[:, :n] * inputs.low if inputs.low > 0 else error.value[:, n:] * inputs.high
        ends_high, ends_low = np.maximum(ends_high, near), np.minimum(ends_low, near)
    size = error.size[:, :n] * most_up + error.size[:, n:] * most_down  # of raised factors: 0 only where the terms are
    spread = above(size.sum(axis=1), n) * (2.0 * (n + 8) * UNIT) + 2.0**-900 * size.any(axis=1)
    if error.slack is not None:
        slack = raised(error.slack)
        spread = spread + above((slack[:, :n] * most_up + slack[:, n:] * most_down).sum(axis=1), 2 * n)
    return (
        outward(ends_low.sum(axis=1), spread)[0],
        outward(ends_high.sum(axis=1), spread)[1],
    )


def offset_interval(layer: Gap) -> tuple[Floats, Floats]:
    """Enclose the ticket's departure in the bias."""
    return column_interval(layer.offset)


def column_interval(offset: Matrix) -> tuple[Floats, Floats]:
    """Enclose a column [outputs, 1] of differences; where u |middle| underflows to 0 the subtraction was exact."""
    middle = offset.value[:, 0]
    slack = np.zeros_like(middle) if offset.slack is None else offset.slack[:, 0]
    return outward(middle, (np.abs(middle) * UNIT + slack) * (1.0 + 4.0 * UNIT))


def plus(left: tuple[Floats, Floats], right: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Add two enclosures, outward; where one is exactly zero the other stays as it is."""
    low, high = left[0] + right[0], left[1] + right[1]
    keep = ((left[0] == 0) & (left[1] == 0)) | ((right[0] == 0) & (right[1] == 0))
    return np.where(keep, low, np.nextafter(low, -np.inf)), np.where(keep, high, np.nextafter(high, np.inf))


def shifted(interval: tuple[Floats, Floats], bias: Floats) -> tuple[Floats, Floats]:
    """Add an exact vector to an enclosure, outward."""
    return plus(interval, (bias, bias))


def meet(left: tuple[Floats, Floats], right: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Intersect two enclosures of the same numbers."""
    return np.maximum(left[0], right[0]), np.minimum(left[1], right[1])


def length(interval: tuple[Floats, Floats]) -> float:
    """Return an upper bound of the Euclidean norm of every vector in an enclosure."""
    return norm_above(np.maximum(np.abs(interval[0]), np.abs(interval[1])))
