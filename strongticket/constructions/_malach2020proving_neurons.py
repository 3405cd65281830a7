"""Neuron-subnetworks: whole neurons of one random depth-2 network stand for a random-features predictor.

A random-features predictor f(x) = (1/k) sum_j a_j relu(<w_j, x>) has its coefficients |a_j| <= C learned and its w_j
random. A neuron-subnetwork g(x) = sum_{j kept} u_j relu(<w_j, x>) has nothing learned but which neurons are kept. With
u_j ~ s U(-1, 1), s = 4C/k, independent of the w_j and so of the a_j, keep neuron j when u_j has the sign of a_j and
|u_j| <= s sqrt(|a_j|/C): the kept u_j has mean a_j/k, and g is an unbiased copy of f. Conversely every such g is a
predictor with |a_j| <= 4C. (Malach et al. 2020, Section 3, by a rule of our own; `bounds.malach2020proving`.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from strongticket.models import MLP
from strongticket.ticket import Init, Mask, Source, Ticket

__all__ = ["RandomFeatures"]

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class RandomFeatures:
    """One random depth-2 ReLU network with a scalar output: predictors on its features, and tickets of its neurons.

    The second layer's law is s U(-1, 1), s = 4 bound/width rounded to float32: part of the source, so that the ticket
    is strict and nothing is scaled afterwards. (Another s only scales the output, whose sign stays.)

    Args:
        dimension: number of inputs.
        width: number k of neurons.
        bound: C, the largest coefficient of a predictor that can be copied, > 0.
        seed: names the random network.
        bias: whether neurons have random biases, U(-1, 1).

    Raises:
        ValueError: a parameter outside its range.

    >>> import torch
    >>> features = RandomFeatures(dimension=2, width=4000, bound=1.0, seed=1)
    >>> ticket = features.prune(np.ones(4000))
    >>> x = np.array([[0.5, 0.5]])
    >>> wanted = float(features.predict(np.ones(4000), x)[0])
    >>> abs(float(ticket.module()(torch.tensor(x).float())[0, 0]) - wanted) < 0.02
    True
    """

    dimension: int
    width: int
    bound: float = 1.0
    seed: int = 0
    bias: bool = False

    def __post_init__(self) -> None:
        if self.dimension < 1 or self.width < 1:
            raise ValueError(f"dimension and width must be at least 1, got {self.dimension} and {self.width}")
        if not 0.0 < self.bound < math.inf:
            raise ValueError(f"bound must be positive and finite, got {self.bound}")

    @property
    def scale(self) -> float:
        """Scale s of the second layer: 4 bound/width rounded to float32."""
        return float(np.float32(4.0 * self.bound / self.width))

    @property
    def reach(self) -> float:
        """Largest coefficient that can be copied without bias: s width/4, which is `bound` up to rounding."""
        return self.scale * self.width / 4.0

    @cached_property
    def source(self) -> Source:
        """The random network: `dimension`-`width`-1, second layer scaled."""
        name = MLP.weight_name(1)
        init = Init("uniform23", overrides=((name, "uniform23", self.scale),))
        return Source(MLP((self.dimension, self.width, 1), self.bias), self.seed, init)

    def __call__(self, inputs: Floats) -> Floats:  # [points, dimension] -> [points, width]
        """Return every feature relu(<w_j, x> + b_j) of every input, in float64."""
        hidden = inputs @ self.source.weight(MLP.weight_name(0)).double().numpy().T
        if self.bias:
            hidden = hidden + self.source.weight(MLP.bias_name(0)).double().numpy()
        return np.asarray(np.maximum(hidden, 0.0))

    def predict(self, coefficients: Floats, inputs: Floats) -> Floats:  # [width], [points, dimension] -> [points]
        """Return f(x) = (1/k) sum_j a_j relu(<w_j, x>): what the pruned network has to copy."""
        return np.asarray(self(inputs) @ coefficients / self.width)

    def fit(self, inputs: Floats, wanted: Floats, *, steps: int = 300) -> Floats:
        """Return the coefficients |a_j| <= bound of least mean squared error, by accelerated projected gradients.

        Args:
            inputs: [points, dimension].
            wanted: [points].
            steps: of the iteration; more come closer to the best predictor.
        """
        features = self(inputs) / self.width
        gain = float(np.linalg.norm(features, 2)) ** 2
        best = ahead = np.zeros(self.width)
        weight = 1.0
        for _ in range(steps if gain > 0 else 0):
            slope = features.T @ (features @ ahead - wanted)
            moved = np.clip(ahead - slope / gain, -self.bound, self.bound)
            following = (1.0 + math.sqrt(1.0 + 4.0 * weight**2)) / 2.0
            ahead, best, weight = moved + (weight - 1.0) / following * (moved - best), moved, following
        return best

    def prune(self, coefficients: Floats) -> Ticket:
        """Return the strict ticket of whole neurons that copies a predictor: unbiased over the second layer's draw.

        Args:
            coefficients: a_j, [width], |a_j| <= bound, chosen without looking at the second layer.

        Raises:
            ValueError: a coefficient beyond the bound, or not one per neuron.
        """
        a = np.asarray(coefficients, dtype=np.float64)
        if a.shape != (self.width,) or not bool((np.abs(a) <= self.bound).all()):
            raise ValueError(f"{self.width} coefficients of magnitude <= {self.bound} are needed, got {a.shape}")
        # u = k 2^-23 s with k an integer: the comparison of signs and sizes is that of the exact unscaled numbers
        u = self.source.weight(MLP.weight_name(1)).double().numpy().reshape(-1)
        kept = (u * a > 0.0) & (np.abs(u) <= self.scale * np.sqrt(np.minimum(np.abs(a) / self.reach, 1.0)))
        masks = {
            MLP.weight_name(0): np.repeat(kept[:, None], self.dimension, axis=1),
            MLP.weight_name(1): kept[None, :],
        }
        if self.bias:
            masks |= {MLP.bias_name(0): kept, MLP.bias_name(1): np.zeros(1, dtype=bool)}
        return Ticket(self.source, Mask(masks))

    def outputs(self, ticket: Ticket, inputs: Floats) -> Floats:  # [points, dimension] -> [points]
        """Return what a ticket of whole neurons computes, in float64 (its module rounds to float32)."""
        weights = {name: ticket.weight(name).double().numpy() for name in self.source.shapes}
        hidden = inputs @ weights[MLP.weight_name(0)].T
        if self.bias:
            hidden = hidden + weights[MLP.bias_name(0)]
        return np.asarray(np.maximum(hidden, 0.0) @ weights[MLP.weight_name(1)][0])
