"""Copies: hidden neurons that are built several times, so that plain random weights between them suffice.

Where the layer before has rho copies of neuron i, all within a little of h_i, a sum of some of the rho weights that
lead from them to a neuron acts on h_i as one weight does, and a subset of them comes close to any weight wanted. So
every layer of the target but the first takes one layer of the source. The first takes two: neurons that see one input
each, and products of weights (see `_gadget`). Activations are linear enough for that on each side of 0 (ReLU, leaky
ReLU) or near it (tanh; the sigmoid, up to its value at 0). (Burkholz 2022.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from strongticket.constructions._gadget import WEAKEST, Choice, Pool, spare_neurons, stage
from strongticket.models import MLP
from strongticket.models.activations import LEAKY_SLOPE, PerceptronActivation
from strongticket.ticket import Source

__all__ = ["CURVATURE", "Hidden", "Intercept", "Traits", "cancel_intercepts", "constants_of", "traits_of"]

UNIT: Final = 23  # weights are integers times 2^-23, up to the init's powers of two
CURVATURE: Final = 2.0**-6
"""What the curvature of tanh or the sigmoid may add to a weight of the first layer, per tolerance and unit of |w|."""


@final
@dataclass(frozen=True)
class Traits:
    """What the first pair of layers has to know of an activation s: s(t) = s(0) + slope t + remainder, |remainder| <=
    cubic |t|^3; or two straight halves.

    Args:
        slope: at 0, from above; a power of two.
        fold: what the other half adds: with weights w / fold on both halves, v s(u x) sums to w x.
        cubic: factor of the remainder.
        halves: whether s has a corner at 0, so that signed inputs need neurons of both signs.
        intercept: s(0).
    """

    slope: float
    fold: float
    cubic: float
    halves: bool
    intercept: float

    def contraction(self, size: float, eps: float) -> int:
        """Return k such that weights of at most 2^-k into the first layer leave the remainder below
        eps * CURVATURE * |w| * size for |x| <= size and a weight w."""
        if self.cubic == 0.0 or size == 0.0:
            return 0
        # |v| cubic |u x|^3 = |w| (cubic / slope) (u size)^2 size: relative to |w| size
        square = eps * CURVATURE * self.slope / (self.cubic * size * size)
        return max(0, math.ceil(-math.log2(square) / 2.0))


_TRAITS: Final[dict[PerceptronActivation, Traits]] = {
    "relu": Traits(1.0, 1.0, 0.0, True, 0.0),
    "leaky": Traits(1.0, 1.0 + LEAKY_SLOPE, 0.0, True, 0.0),
    "tanh": Traits(1.0, 1.0, 1.0 / 3.0, False, 0.0),
    "sigmoid": Traits(0.25, 1.0, 1.0 / 48.0, False, 0.5),
}


def traits_of(activation: PerceptronActivation) -> Traits:
    """Return what the first pair of layers has to know of an activation."""
    return _TRAITS[activation]


@final
@dataclass(frozen=True)
class Hidden:
    """One hidden layer of the source that stands for one of the target: its copies, then neurons for constants.

    Args:
        neurons: of the target's layer.
        copies: of each; copy r of neuron j is neuron j * copies + r.
        spare: neurons behind the copies, from which constants are taken.
    """

    neurons: int
    copies: int
    spare: int

    @classmethod
    def of(cls, neurons: int, copies: int, *, bias: bool, activation: PerceptronActivation) -> Hidden:
        """Return a layer with as many constants as copies, where the next layer of the target has a bias."""
        spare = 0
        if bias:  # a sigmoid is 1/2 where nothing is kept; others need a positive bias of their own, which is not rare
            spare = copies if activation == "sigmoid" else copies + spare_neurons(copies)
        return cls(neurons, copies, spare)

    @property
    def width(self) -> int:
        """Neurons of the source's layer."""
        return self.neurons * self.copies + self.spare

    @property
    def stands_for(self) -> NDArray[np.int64]:  # [width]
        """The target's neuron that each neuron is a copy of; -1 for the spare ones."""
        copied = np.repeat(np.arange(self.neurons, dtype=np.int64), self.copies)
        return np.concatenate([copied, np.full(self.spare, -1, dtype=np.int64)])

    def pool(self, source: Source, layer: int) -> Pool:
        """Return the candidates of each input of the next layer: its copies, and the constants as a last column.

        Args:
            source: the random network.
            layer: number of the source's layer whose outputs these neurons are.
        """
        neurons = np.arange(self.neurons * self.copies, dtype=np.int64).reshape(self.neurons, self.copies)
        u = np.full_like(neurons, 1 << UNIT)
        if not self.spare:
            return Pool(neurons, u)
        mlp = source.architecture
        assert isinstance(mlp, MLP)
        own, value = constants_of(source, layer, slice(self.neurons * self.copies, self.width), mlp.activation)
        own, value = own[: self.copies], value[: self.copies]
        row, factor = np.zeros((2, 1, self.copies), dtype=np.int64)
        row[0, : len(own)], factor[0, : len(own)] = own, value
        return Pool(np.concatenate([neurons, row]), np.concatenate([u, factor]))


def constants_of(
    source: Source, layer: int, among: slice, activation: PerceptronActivation
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return neurons that keep no weight and are constants, and what they are in units of 2^-23, rounded.

    Under a sigmoid every neuron is: 1/2 where it keeps nothing. Otherwise those are whose own bias is large enough.
    """
    neurons = np.arange(among.start, among.stop, dtype=np.int64)
    if activation == "sigmoid":
        return neurons, np.full_like(neurons, 1 << (UNIT - 1))
    bias = source.integers(MLP.bias_name(layer), among).astype(np.int64)
    large = bias >= WEAKEST * 2.0**UNIT
    value = bias[large]
    if activation == "tanh":
        value = np.rint(np.ldexp(np.tanh(np.ldexp(value.astype(np.float64), -UNIT)), UNIT)).astype(np.int64)
    return neurons[large], value


@final
@dataclass(frozen=True)
class Intercept:
    """The neurons behind the candidates of the first pair that cancel what the sigmoid is at 0.

    Args:
        start: the first of them.
        coarse: how many serve to come near.
        fine: how many serve for the exact subset.
    """

    start: int
    coarse: int
    fine: int

    @property
    def stop(self) -> int:
        """One behind the last."""
        return self.start + self.coarse + self.fine


def cancel_intercepts(
    v: NDArray[np.int32],  # [rows, width]
    kept: NDArray[np.bool_],  # [rows, width]
    wanted: NDArray[np.int64],  # [rows]
    intercept: Intercept,
    choose: Choice,
    seconds: dict[str, float],
) -> NDArray[np.int64]:
    """Keep more entries of each row, so that all that are kept sum up to what is wanted, and return what is left.

    Large entries are taken in turn as long as they fit, from the coarse part; the rest is a subset of the fine part.
    """
    with stage(seconds, "solve"):
        left = wanted - np.where(kept, v, 0).sum(axis=1, dtype=np.int64)
        coarse = slice(intercept.start, intercept.start + intercept.coarse)
        useful = np.maximum(v[:, coarse].astype(np.int64) * np.where(left < 0, -1, 1)[:, None], 0)
        order = np.argsort(-useful, axis=1, kind="stable")
        taken = np.zeros(useful.shape, dtype=bool)
        rest = np.abs(left)
        rows = np.arange(len(v))
        for place in order.T:
            value = useful[rows, place]
            fits = (value <= rest) & (value > 0)
            taken[rows, place] = fits
            rest = rest - np.where(fits, value, 0)
        bits, error = choose(v[:, coarse.stop : intercept.stop].astype(np.int64), np.where(left < 0, -rest, rest))
    with stage(seconds, "mask"):
        kept[:, coarse] = taken
        packed = bits.astype("<i8").view(np.uint8).reshape(-1, 8)
        kept[:, coarse.stop : intercept.stop] = np.unpackbits(packed, axis=1, count=intercept.fine, bitorder="little")
    return error
