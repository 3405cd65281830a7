"""Bound how far a perturbation can travel through ReLU layers: operator norms of chains of matrices.

For matrices M_n ... M_1 with diagonal S_k between them, entries in [0, 1] (the slopes of ReLU between any two points),
write S = (I + T) / 2 with |T| <= 1. Expanding every S gives 2^(n-1) products, each broken at the T's into stretches of
plain matrix products, hence

    |M_n S_(n-1) M_(n-1) ... S_1 M_1| <= 2^-(n-1) * sum over the ways to break, of the product of the stretches' norms

(Combettes and Pesquet 2020, "Lipschitz certificates for layered network structures driven by averaged activation
operators"). It is never above the product of the norms |M_n| ... |M_1|, and far below it where the layers' largest
singular vectors do not line up. The sum obeys a recursion over the last break: theta_b = sum over a of
2^-(b-a) c_(a-1) |M_b ... M_a|, c_0 = 1, c_k = theta_k / 2.

Chains of more than SPAN layers are cut, and the bounds of the parts multiplied, so that the work is a constant for each
pair of layers. Every norm, row and theta here is raised (see `_rounding`), and 2^-SPAN times two of them is normal.
"""

from __future__ import annotations

from typing import final

import numpy as np

from strongticket.certify._difference import Difference
from strongticket.certify._matrix import Matrix
from strongticket.certify._rounding import (
    UNIT,
    Floats,
    columns_above,
    gamma,
    growth,
    lifted,
    raised,
)

__all__ = ["SPAN", "Chains", "Push"]

SPAN = 16  # layers whose breaks are all expanded
_STEP = growth(4 * SPAN)  # pays for one sum over at most SPAN + 1 terms of at most three factors
_SMALLEST = 2.0**-960  # more than what a product of a matrix and a vector may lose to underflow


@final
class Chains:
    """Norms of all chains W_b S ... S W_a, and of those in which the error E_i, less its spikes, replaces one W_i.

    Layers are counted from 1. Stretches longer than `reach` matrices are not multiplied out: the product of the norms
    of two parts stands for them.
    """

    def __init__(self, difference: Difference, reach: int = 3) -> None:
        self.layers = difference.layers
        self.depth = len(self.layers)
        self.reach = min(reach, SPAN)
        self._products: dict[tuple[int, int, int], Matrix] = {}
        self._norms: dict[tuple[int, int, int], float] = {}
        self._rows: dict[tuple[int, int, int], Floats] = {}
        self._thetas: dict[tuple[int, int, int], float] = {}
        self._theta_rows: dict[tuple[int, int, int], Floats] = {}

    def _product(self, a: int, b: int, error: int) -> Matrix:
        """M_b ... M_a, where M_error is the error's matrix and the others are the target's."""
        if not a <= error <= b:
            error = 0
        key = (a, b, error)
        if key not in self._products:
            if a == b:
                layer = self.layers[a - 1]
                self._products[key] = layer.rest if error else layer.weight
            elif error == a:  # grow downward from what other errors share
                self._products[key] = self._product(a + 1, b, 0) @ self._product(a, a, error)
            else:
                self._products[key] = self._product(b, b, error) @ self._product(a, b - 1, error)
        return self._products[key]

    def norm(self, a: int, b: int, error: int = 0) -> float:
        """Return a bound of |M_b ... M_a|, no slopes between."""
        if not a <= error <= b:
            error = 0
        key = (a, b, error)
        if key not in self._norms:
            bound = self._product(a, b, error).norm if b - a < self.reach else np.inf
            for m in range(a, b):
                bound = min(bound, self.norm(a, m, error) * self.norm(m + 1, b, error) * _STEP)
            self._norms[key] = lifted(bound)
        return self._norms[key]

    def rows(self, a: int, b: int, error: int = 0) -> Floats:
        """Return bounds of the row norms of M_b ... M_a, no slopes between."""
        if not a <= error <= b:
            error = 0
        key = (a, b, error)
        if key not in self._rows:
            bound = self._product(a, b, error).rows if b - a < self.reach else np.full(self._height(b), np.inf)
            for m in range(a, b):
                bound = np.minimum(bound, self.rows(m + 1, b, error) * (self.norm(a, m, error) * _STEP))
            self._rows[key] = raised(bound)
        return self._rows[key]

    def _height(self, layer: int) -> int:
        return int(self.layers[layer - 1].weight.value.shape[0])

    def theta(self, a: int, b: int, error: int = 0) -> float:
        """Return a bound of |M_b S M_(b-1) S ... S M_a| over all slopes; 1 for the empty chain b = a - 1."""
        if b < a:
            return 1.0
        if not a <= error <= b:
            error = 0
        key = (a, b, error)
        if key not in self._thetas:
            if b - a >= SPAN:
                total = self.theta(a, b - SPAN, error) * self.theta(b - SPAN + 1, b, error)
            else:
                total = self.norm(a, b, error) * 0.5 ** (b - a)
                for k in range(a + 1, b + 1):  # the last break is below M_k
                    total += 0.5 ** (b - k + 1) * self.norm(k, b, error) * self.theta(a, k - 1, error)
            self._thetas[key] = lifted(total * _STEP)
        return self._thetas[key]

    def theta_rows(self, a: int, b: int, error: int = 0) -> Floats:
        """Return bounds of the row norms of M_b S M_(b-1) S ... S M_a over all slopes."""
        if not a <= error <= b:
            error = 0
        if b - a >= SPAN:  # not kept: there are as many as pairs of layers
            cut = b - SPAN
            return raised(self.theta_rows(cut + 1, b, error) * (self.theta(a, cut, error) * _STEP))
        key = (a, b, error)
        if key not in self._theta_rows:
            total = self.rows(a, b, error) * 0.5 ** (b - a)
            for k in range(a + 1, b + 1):
                total = total + self.rows(k, b, error) * (0.5 ** (b - k + 1) * self.theta(a, k - 1, error))
            self._theta_rows[key] = raised(total * _STEP)
        return self._theta_rows[key]


@final
class Push:
    """Bounds of W_b S ... W_a S v over all slopes and low <= v <= high, for b = a - 1, a, a + 1 and so on, in turn.

    Columns v are treated apart. An object starts at b = a - 1, where the bounds are of v; `step` adds a layer.

    Args:
        chains: norms of the layers' chains.
        low: [outputs of layer a - 1, columns].
        high: of the same shape.
        a: the first layer to go through.
    """

    def __init__(self, chains: Chains, low: Floats, high: Floats, a: int) -> None:
        self._chains = chains
        self._first, self._last = a, a - 1
        self._value: Floats = 0.5 * low + 0.5 * high  # W_b ... W_a v without slopes, v the middle
        self._off = np.zeros(low.shape[1])  # what the columns of it may be off, in l2
        self._rest = columns_above(np.maximum(high - self._value, self._value - low) * (1.0 + 4.0 * UNIT))
        self._size = columns_above(self._value)
        self._lengths = [self._size]  # bounds for the middle: of v, W_a S v, W_(a+1) S W_a S v and so on
        self.rows: Floats = np.maximum(np.abs(low), np.abs(high))  # [outputs of layer b, columns]
        self.lengths: Floats = columns_above(self.rows)  # [columns]

    def step(self) -> None:
        """Go through one more layer."""
        chains, a = self._chains, self._first
        b = self._last = self._last + 1
        if b - a >= SPAN:
            before = self._lengths[b - a + 1 - SPAN] * _STEP
            rows = chains.theta_rows(b - SPAN + 1, b)[:, None] * before
            lengths = chains.theta(b - SPAN + 1, b) * before
        else:
            rows, lengths = self._expanded(a, b)
        self._lengths.append(raised(lengths))
        if self._rest.any():
            rows = rows + chains.theta_rows(a, b)[:, None] * self._rest
            lengths = lengths + chains.theta(a, b) * self._rest
        self.rows, self.lengths = raised(rows * _STEP), raised(lengths * _STEP)

    def _expanded(self, a: int, b: int) -> tuple[Floats, Floats]:
        """Sum over the last break, for the middle."""
        chains = self._chains
        self._straighten(b)
        half = 0.5 ** (b - a + 1)
        rows = half * raised(np.abs(self._value) + self._off)
        lengths = half * (self._size + self._off)
        for m in range(a, b + 1):  # the last break is below W_m
            share = 0.5 ** (b - m + 1) * self._lengths[m - a]
            rows = rows + chains.rows(m, b)[:, None] * share
            lengths = lengths + chains.norm(m, b) * share
        return rows * _STEP, lengths * _STEP

    def _straighten(self, b: int) -> None:
        """Multiply by W_b, whose own error and the product's rounding are counted in l2."""
        weight = self._chains.layers[b - 1].weight
        lost = (weight.error + gamma(weight.value.shape[1] + 2) * weight.frobenius) * self._size
        lost = lost + np.where(self._size > 0, _SMALLEST, 0.0)
        self._off = raised((self._chains.norm(b, b) * self._off + lost) * _STEP)
        self._value = weight.value @ self._value
        self._size = columns_above(self._value)
