"""The fewest bits with which any code at all can approximate weights so well: what a random codebook is held against.

A strong lottery ticket is a random codebook: seed and laws fix a list of networks, one for each mask, and the mask is
the number of the entry. Three limits, each a statement of its own: for all targets of a box (`covering_bits`, proved),
for weights drawn from a normal law (`gaussian_bits`, Shannon), and for weights drawn from the law that the target's own
weights have (`RateDistortion`, a proved lower bound of Shannon's function of that law).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, final

import numpy as np
from scipy.ndimage import maximum_filter1d
from torch import Tensor

from strongticket.models import Target
from strongticket.storage._levels import Floats

__all__ = ["RateDistortion", "covering_bits", "gaussian_bits", "water_level"]

_LN2: Final = math.log(2.0)
_ROUNDS: Final = 400
_FINE: Final = 8.0  # grid points in the standard deviation that a slope stands for
_MOST_POINTS: Final = 1 << 14
_CUT: Final = 40.0  # kernels end where they are e^-40
_ENOUGH: Final = 1e-4  # nats for each weight: the iteration stops when 20 rounds gain less


def covering_bits(size: int, radius: float, eps: float) -> float:
    """Return log2 of the number of networks that a list must have so that every target of a box is within eps of one.

    *Statement.* Let N be the least number of points such that every w in [-radius, radius]^size is within eps of one of
    them in each coordinate. Then N = ceil(radius/eps)^size, which is at least (radius/eps)^size.

    *Proof.* Let m = ceil(radius/eps). Enough: m intervals of length 2 eps cover [-radius, radius], and the m^size
    points whose coordinates are midpoints of these intervals serve. Needed: if m = 1, one point. Else take the m
    numbers -radius + 2 radius j/(m - 1), j = 0..m-1. Neighbours are 2 radius/(m - 1) > 2 eps apart, because
    m - 1 < radius/eps.
    Of the m^size points with such coordinates any two differ in some coordinate by more than 2 eps, so no point is
    within eps of both, and each needs an entry of the list of its own.

    So masks on one random network can serve all targets of the box only if there are N of them: their bits are at least
    this, whatever the law of the network, and so is the length in bits of any other code that serves all.

    Args:
        size: number of weights.
        radius: largest magnitude of a weight of the targets, at least 0.
        eps: tolerance of each weight, above 0.

    >>> covering_bits(3, 1.0, 0.25), covering_bits(3, 1.0, 1.0)
    (6.0, 0.0)
    """
    if size < 0 or not (0.0 <= radius < math.inf) or not (0.0 < eps < math.inf):
        raise ValueError(f"expected size >= 0, radius >= 0 and eps > 0, got {size}, {radius} and {eps}")
    return size * math.log2(max(1, math.ceil(Fraction(radius) / Fraction(eps))))


def water_level(sizes: Sequence[int], variances: Sequence[float], mse: float) -> float:
    """Return the level theta at which layers with distortion min(theta, variance) have this mean squared error.

    Args:
        sizes: weights of each layer.
        variances: of each layer.
        mse: above 0; at or beyond the mean variance the level is the largest variance.

    >>> water_level([1, 1], [4.0, 1.0], 1.5)
    2.0
    """
    total = sum(sizes)
    _check_layers(sizes, variances)
    if not total or not mse > 0.0:
        raise ValueError(f"expected at least one weight and mse > 0, got {total} and {mse}")
    wanted, pairs = mse * total, sorted(zip(variances, sizes, strict=True))
    under, above = 0.0, total
    for variance, size in pairs:
        if under + variance * above >= wanted:
            return (wanted - under) / above
        under, above = under + variance * size, above - size
    return pairs[-1][0]


def _check_layers(sizes: Sequence[int], variances: Sequence[float]) -> None:
    if (
        len(sizes) != len(variances)
        or not all(n >= 0 for n in sizes)
        or not all(0.0 <= v < math.inf for v in variances)
    ):
        raise ValueError(f"expected as many sizes as variances, and none negative or NaN, got {sizes} and {variances}")


def gaussian_bits(sizes: Sequence[int], variances: Sequence[float], mse: float) -> float:
    """Return Shannon's limit for independent normal weights: sum of n/2 log2(variance/D), by reverse water-filling.

    *Statement.* Let weights be independent, those of layer l normal with variance v_l. Any code whose mean squared
    error over all weights is at most D on average needs on average at least the sum over layers of n_l/2 log2(v_l/D_l)
    bits, where D_l = min(theta, v_l) and theta is such that the mean of the D_l is D; long codes come as close as one
    likes (Shannon 1959). Of all laws with these variances the normal ones need most. So for weights of another law this
    is no lower bound: it says what those cost that are no more regular than noise of their size. See `RateDistortion`.

    Args:
        sizes: weights of each layer.
        variances: of each layer.
        mse: mean squared error of a weight; 0 needs infinitely many bits.

    >>> gaussian_bits([10], [1.0], 0.25), gaussian_bits([1, 1], [4.0, 1.0], 1.5), gaussian_bits([5], [1.0], 2.0)
    (10.0, 0.5, 0.0)
    """
    _check_layers(sizes, variances)
    if mse == 0.0:
        return math.inf if any(n and v > 0.0 for n, v in zip(sizes, variances, strict=True)) else 0.0
    level = water_level(sizes, variances, mse)
    return math.fsum(n / 2.0 * math.log2(v / level) for n, v in zip(sizes, variances, strict=True) if v > level > 0.0)


@final
@dataclass(frozen=True, eq=False)
class RateDistortion:
    """Bound from below the bits that weights with the law of these weights cost at a mean squared error.

    *Statement.* Let the weights of layer l be drawn independently and uniformly from the n_l numbers that it has. A
    code, which may know these numbers, that gives back all weights with a mean squared error of at most D on average
    uses at least `bits(D)` bits on average. And for these very weights: if they are given back as v with mean squared
    error D, and the message has at least as many bits as the sum over layers of n_l times the entropy of an entry of v
    drawn at random (so it is with the codes of `storage.codes`, see `symbol_bits`), it has at least `bits(D)` bits.

    *Proof.* Let (W, V) be a weight and what it becomes. The bits are at least the sum of the mutual informations
    I(W; V); so is n H(V) >= n I(W; V). For any slope s >= 0 and any function a(w) > 0 with c at least
    Z(y) = E a(W) exp(-s (W - y)^2) for every real y, I(W; V) >= E log a(W) - log c - s E (W - V)^2: the difference of
    the two sides is E [log c - log Z(V)], plus the relative entropy of the law of W given V to the one with density
    a(w) exp(-s (w - V)^2)/Z(V) (the dual of Shannon's function, Csiszar 1974). Adding up the layers with one s gives
    sum n_l (E log a_l - log c_l) - s n D for any choice of a_l. They are chosen by Blahut's iteration, which makes this
    the largest such number, Shannon's function itself; where it is stopped early, the bound is a little smaller but as
    valid. Two things are done on a grid. First, each weight W is moved at random to one of the two grid points beside
    it, W', with E(W' | W) = W: I(W; V) >= I(W'; V) by data processing, and E (W' - V)^2 = E (W - V)^2 + E (W' - W)^2,
    as W' - W has mean 0 whatever W and V are. Second, the second derivative of Z is at least -2 s Z, so that around its
    maximum Z(y + t) >= Z(y) cos(t sqrt(2 s)) (Sturm): the maximum over a grid of spacing h, divided by
    cos(h sqrt(2 s)/2), is no smaller than the true one, and beyond the ends of the grid Z falls. Rounding of float64 is
    not accounted for.

    Only slopes 2^(k/2) with whole k are tried, so where few bits are needed the bound is somewhat too small: of the
    0.71 bits of a coin at D = 0.19 it finds 0.70, of 0.278 at D = 0.64 it finds 0.257, of 0.03 at D = 0.96 none.
    Where sqrt(D) is far below the spacing of the finest grid (2^14 points), the bound stays correct but falls behind.

    Args:
        layers: the weights of each layer, flat, sorted.

    >>> import torch
    >>> coin = RateDistortion.of({"w": torch.tensor([-1.0, 1.0] * 50)})
    >>> round(coin.bits(1e-4)), coin.bits(1.0)  # a coin has one bit; at its variance, nothing need be said
    (100, 0.0)
    """

    layers: tuple[Floats, ...]
    _lines: dict[int, tuple[float, float]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, weights: Mapping[str, Tensor] | Target) -> RateDistortion:
        """Read the weights of a network, each parameter as a layer with a law of its own.

        Raises:
            ValueError: no weights, or some that are not finite.
        """
        tensors = weights.weights if isinstance(weights, Target) else weights
        flat = [value.detach().cpu().double().numpy().reshape(-1) for value in tensors.values()]
        if not sum(value.size for value in flat) or not all(np.isfinite(value).all() for value in flat):
            raise ValueError("expected at least one weight, and all of them finite")
        return cls(tuple(np.sort(value) for value in flat if value.size))

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(value.size for value in self.layers)

    @property
    def variances(self) -> tuple[float, ...]:
        """Of each layer."""
        return tuple(float(value.var()) for value in self.layers)

    def gaussian(self, mse: float) -> float:
        """Return `gaussian_bits` for layers of these sizes and variances."""
        return gaussian_bits([value.size for value in self.layers], self.variances, mse)

    def bits(self, mse: float) -> float:
        """Return the lower bound for a mean squared error of a weight, at least 0.

        Raises:
            ValueError: a negative error.
        """
        if not mse >= 0.0:
            raise ValueError(f"expected a mean squared error >= 0, got {mse}")
        if mse >= self._spread:
            return 0.0
        finest = self._finest
        place = finest if mse == 0.0 else min(finest, math.ceil(2.0 * math.log2(1.0 / (2.0 * mse))))
        best, step = self._bound(place, mse), -1
        if place < finest and (above := self._bound(place + 1, mse)) > best:
            place, best, step = place + 1, above, 1
        while place + step <= finest and best > 0.0:  # concave in the slope: beyond the first fall there is no rise
            if (other := self._bound(place + step, mse)) <= best:
                break
            place, best = place + step, other
        return max(0.0, best) / _LN2

    def _bound(self, place: int, mse: float) -> float:
        height, moved = self._line(place)
        return float(height - self.size * 2.0 ** (place / 2.0) * (mse + moved))

    @property
    def _spread(self) -> float:
        """Mean squared error of saying nothing but each layer's mean."""
        return math.fsum(value.size * variance for value, variance in zip(self.layers, self.variances, strict=True)) / (
            self.size
        )

    @property
    def _finest(self) -> int:
        """Number of the steepest slope for which no layer has too many grid points."""
        widest = max(float(value[-1] - value[0]) for value in self.layers) or 1.0
        return math.floor(2.0 * math.log2(0.5 * (_MOST_POINTS / (_FINE * widest)) ** 2))

    def _line(self, place: int) -> tuple[float, float]:
        """Sum of n (E ln a - ln c) for the slope 2^(place/2), and the mean square of what the grid moves."""
        if place not in self._lines:
            slope = 2.0 ** (place / 2.0)
            found = [_height(value, slope) for value in self.layers]
            height = math.fsum(value.size * one[0] for value, one in zip(self.layers, found, strict=True))
            moved = math.fsum(value.size * one[1] for value, one in zip(self.layers, found, strict=True))
            self._lines[place] = height, moved / self.size
        return self._lines[place]


def _height(value: Floats, slope: float) -> tuple[float, float]:
    """E ln a(W') - ln c for one layer, and the mean square of W' - W."""
    width = float(value[-1] - value[0])
    if width == 0.0:
        return 0.0, 0.0
    steps = math.ceil(width * _FINE * math.sqrt(2.0 * slope)) + 1
    law, moved = _on_grid(value, width / steps, steps + 1)
    spacing = width / steps
    reach = min(steps, math.ceil(math.sqrt(_CUT / slope) / spacing))
    kernel = np.exp(-slope * np.square(np.arange(-reach, reach + 1) * spacing))
    seen = law > 0.0
    said, weight, best = law, np.zeros_like(law), -math.inf  # `said`: the law of what weights become
    near = 2 * math.ceil(2.0 * _FINE) + 1
    between = math.cos(spacing * math.sqrt(slope / 2.0))
    for turn in range(_ROUNDS):
        weight[seen] = law[seen] / _blurred(said, kernel)[seen]
        cover = _blurred(weight, kernel)
        said = said * cover
        if turn % 20 == 19:
            # where c is too large, the weights that make it so are made smaller, not all of them
            eased = weight / np.maximum(maximum_filter1d(cover, near), 1e-300)
            # what the cut of the kernel leaves out is at most the last term
            most = float(_blurred(eased, kernel).max()) + math.exp(-_CUT) * float(eased.sum())
            height = float(law[seen] @ np.log(eased[seen] / law[seen])) - math.log(most / between)
            if height < best + _ENOUGH:
                return max(best, height), moved
            best = height
    return best, moved


def _on_grid(value: Floats, spacing: float, points: int) -> tuple[Floats, float]:
    """The law of weights moved to grid points beside them, and the mean square of the moves."""
    place = np.clip((value - value[0]) / spacing, 0.0, points - 1)
    index = np.minimum(place.astype(np.int64), points - 2)
    share = place - index
    law = np.bincount(index, 1.0 - share, points) + np.bincount(index + 1, share, points)
    return law / value.size, float((share * (1.0 - share)).mean()) * spacing**2


def _blurred(values: Floats, kernel: Floats) -> Floats:
    reach = len(kernel) // 2
    return np.asarray(np.convolve(values, kernel)[reach : reach + len(values)])
