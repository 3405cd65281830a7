"""Bound how far a perturbation can travel through ReLU layers: operator norms of chains of matrices.

For matrices M_n ... M_1 with diagonal S_k between them, entries in [0, 1] (the slopes of ReLU between any two points),
write S = (I + T) / 2 with |T| <= 1. Expanding every S gives 2^(n-1) products, each broken at the T's into stretches of
plain matrix products, hence

    |M_n S_(n-1) M_(n-1) ... S_1 M_1| <= 2^-(n-1) * sum over the ways to break, of the product of the stretches' norms

(Combettes and Pesquet 2020, "Lipschitz certificates for layered network structures driven by averaged activation
operators"). It is never above the product of the norms |M_n| ... |M_1|, and far below it where the layers' largest
singular vectors do not line up. The sum obeys a recursion over the last break: theta_b = sum over a of
2^-(b-a) c_(a-1) |M_b ... M_a|, c_0 = 1, c_k = theta_k / 2.
"""

from __future__ import annotations

from typing import final

import numpy as np

from strongticket.certify._difference import Difference
from strongticket.certify._matrix import Matrix
from strongticket.certify._rounding import UNIT, Floats, above, norm_above, raised

__all__ = ["Chains"]

_SLOP = 1.0 + 64.0 * UNIT  # pays for the few roundings of one step of a recursion over at most some dozens of layers


@final
class Chains:
    """Norms of all chains W_b S ... S W_a, and of those in which the error E_i, less its spikes, replaces one W_i.

    Layers are counted from 1. Stretches longer than `reach` matrices are not multiplied out: the product of the norms
    of two parts stands for them.
    """

    def __init__(self, difference: Difference, reach: int = 3) -> None:
        self.layers = difference.layers
        self.depth = len(self.layers)
        self.reach = reach
        self._products: dict[tuple[int, int, int], Matrix] = {}
        self._norms: dict[tuple[int, int, int], float] = {}
        self._rows: dict[tuple[int, int, int], Floats] = {}
        self._thetas: dict[tuple[int, int, int], float] = {}

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
            if b - a < self.reach:
                bound = self._product(a, b, error).norm
            else:
                bound = np.inf
            for m in range(a, b):
                bound = min(bound, self.norm(a, m, error) * self.norm(m + 1, b, error) * _SLOP)
            self._norms[key] = bound
        return self._norms[key]

    def rows(self, a: int, b: int, error: int = 0) -> Floats:
        """Return bounds of the row norms of M_b ... M_a, no slopes between."""
        if not a <= error <= b:
            error = 0
        key = (a, b, error)
        if key not in self._rows:
            bound = self._product(a, b, error).rows if b - a < self.reach else np.full(self._height(b), np.inf)
            for m in range(a, b):
                bound = np.minimum(bound, self.norm(a, m, error) * self.rows(m + 1, b, error) * _SLOP)
            self._rows[key] = bound
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
            total = self.norm(a, b, error) * 0.5 ** (b - a)
            for k in range(a + 1, b + 1):  # the last break is below M_k
                total += 0.5 ** (b - k + 1) * self.norm(k, b, error) * self.theta(a, k - 1, error) * _SLOP
            self._thetas[key] = total * _SLOP
        return self._thetas[key]

    def theta_rows(self, a: int, b: int, error: int = 0) -> Floats:
        """Return bounds of the row norms of M_b S M_(b-1) S ... S M_a over all slopes."""
        total = self.rows(a, b, error) * 0.5 ** (b - a)
        for k in range(a + 1, b + 1):
            total = total + 0.5 ** (b - k + 1) * self.rows(k, b, error) * (self.theta(a, k - 1, error) * _SLOP)
        bounded: Floats = total * _SLOP
        return bounded

    def columns(self, vectors: Floats, a: int, b: int) -> tuple[Floats, Floats]:  # [d, n]
        """Bound W_b S ... W_a S v over all slopes, for each column v of outputs of layer a - 1.

        Returns:
            Bounds of each coordinate's magnitude [outputs, n], and of each Euclidean norm [n].
        """
        size = raised(vectors)
        lengths = above(np.sqrt((size * size).sum(axis=0)), len(size))
        if b < a:
            return size, lengths
        thetas = [lengths]  # of v, W_a S v, W_(a+1) S W_a S v ...
        stretch = Matrix(vectors)
        rows = size
        for k in range(a, b + 1):
            stretch = self.layers[k - 1].weight @ stretch  # W_k ... W_a v without slopes
            straight = np.abs(stretch.value) + stretch.error
            rows = 0.5 ** (k - a + 1) * straight
            total = 0.5 ** (k - a + 1) * above(np.sqrt((raised(straight) ** 2).sum(axis=0)), len(straight))
            for m in range(a, k + 1):  # the last break is below W_m
                share = 0.5 ** (k - m + 1) * thetas[m - a] * _SLOP
                total = total + self.norm(m, k) * share
                rows = rows + self.rows(m, k)[:, None] * share
            thetas.append(total * _SLOP)
        return rows * _SLOP, thetas[-1]

    def vector(self, low: Floats, high: Floats, a: int, b: int) -> tuple[Floats, float]:
        """Bound W_b S ... W_a S v over all slopes and all low <= v <= high.

        Returns:
            A bound of each coordinate's magnitude, and one of the Euclidean norm.
        """
        if b < a:
            size = np.maximum(np.abs(low), np.abs(high))
            return size, norm_above(size)
        middle = 0.5 * low + 0.5 * high
        rest = norm_above(np.maximum(high - middle, middle - low) * (1.0 + 4.0 * UNIT))
        rows, lengths = self.columns(middle[:, None], a, b)
        rows = rows[:, 0] + self.theta_rows(a, b) * rest
        return rows * _SLOP, (float(lengths[0]) + self.theta(a, b) * rest) * _SLOP
