"""Networks of two layers and one output, small enough for second-order everything: training, Jacobians, counting.

Parameters are one vector [W (hidden x inputs), b (hidden), v (hidden), c]: tanh hidden units, a sigmoid output, the
error E = mean (y - t)^2 / 2 + decay |w|^2 / 2. A weight that is deleted is 0 and stays 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Shape", "Task", "descend", "fit", "right"]

Array = npt.NDArray[np.float64]
Kept = npt.NDArray[np.bool_]

_MU: Final = (1e-3, 1e-10, 1e8)  # of Levenberg and Marquardt: at the start, at least, at most
_STALE: Final = (5, 1e-10)  # so many decreases in a row below this share end the training


@dataclass(frozen=True)
class Shape:
    """How many inputs and hidden units a network has."""

    inputs: int
    hidden: int

    @property
    def size(self) -> int:
        """Number of weights, biases included."""
        return self.hidden * (self.inputs + 2) + 1

    def parts(self, weights: Any) -> tuple[Any, Any, Any, Any]:  # [..., size]
        """Return W [..., hidden, inputs], b [..., hidden], v [..., hidden], c [...]."""
        d, h = self.inputs, self.hidden
        first = weights[..., : h * d].reshape(*weights.shape[:-1], h, d)
        return first, weights[..., h * d : h * d + h], weights[..., h * d + h : -1], weights[..., -1]

    def live(self, kept: Kept) -> int:
        """Return how many kept weights can have a say: units without outgoing or incoming weights have none.

        >>> shape = Shape(2, 2)
        >>> shape.live(np.ones(9, dtype=bool))
        9
        >>> shape.live(np.array([1, 1, 0, 0, 0, 0, 1, 1, 1], dtype=bool)) # the second unit has nothing coming in
        4
        """
        first, bias, second, last = self.parts(kept)
        incoming = first.sum(1) + bias
        return int((second & (incoming > 0)) @ (incoming + 1) + last)


@dataclass(frozen=True)
class Task:
    """What a network shall learn.

    Attributes:
        shape: of the network.
        inputs: patterns [p, inputs].
        targets: [p], all of two values with 1/2 between them.
        decay: factor of |w|^2 / 2 in the error.
    """

    shape: Shape
    inputs: Array
    targets: Array
    decay: float = 0.0

    def outputs(self, weights: Array) -> Array:  # [..., size] -> [..., p]
        """Return the output for each pattern."""
        first, bias, second, last = self.shape.parts(weights)
        hidden = np.tanh(self.inputs @ first.swapaxes(-1, -2) + bias[..., None, :])
        return _sigmoid((hidden @ second[..., None])[..., 0] + last[..., None])

    def error(self, weights: Array) -> Array:  # [..., size] -> [...]
        """Return E."""
        misses = self.outputs(weights) - self.targets
        return np.asarray((misses**2).mean(-1) / 2 + self.decay * (weights**2).sum(-1) / 2)

    def jacobian(self, weights: Array) -> tuple[Array, Array]:  # [..., size] -> [..., p, size], [..., p]
        """Return the derivatives of the outputs, and the outputs minus the targets."""
        first, bias, second, last = self.shape.parts(weights)
        hidden = np.tanh(self.inputs @ first.swapaxes(-1, -2) + bias[..., None, :])  # [..., p, hidden]
        outputs = _sigmoid((hidden @ second[..., None])[..., 0] + last[..., None])
        slope = (outputs * (1 - outputs))[..., None]  # [..., p, 1]
        back = slope * second[..., None, :] * (1 - hidden**2)  # [..., p, hidden]
        of_first = (back[..., None] * self.inputs[:, None, :]).reshape(*back.shape[:-1], -1)
        return np.concatenate([of_first, back, slope * hidden, slope], axis=-1), outputs - self.targets

    def hessian(self, weights: Array, damping: float) -> Array:  # [size] -> [size, size]
        """Return J'J/p + max(damping, decay) I: what the optimal brain surgeon takes for the Hessian."""
        slopes, _ = self.jacobian(weights)
        return slopes.T @ slopes / len(self.targets) + max(damping, self.decay) * np.eye(self.shape.size)


def right(task: Task, weights: Array) -> npt.NDArray[np.int64]:  # [..., size] -> [...]
    """Return how many patterns come out on the right side of 1/2."""
    return np.asarray(((task.outputs(weights) > 0.5) == (task.targets > 0.5)).sum(-1), dtype=np.int64)


def descend(
    task: Task, weights: Array, *, rate: float, steps: int, goal: float, every: int = 200
) -> tuple[Array, Array]:
    """Train many networks at once by gradient descent, all patterns in each step.

    Args:
        task: what to learn; its decay is part of the error.
        weights: where to start [nets, size].
        rate: learning rate.
        steps: at most.
        goal: error below which a network is done; looked at now and then.
        every: steps between looks.

    Returns:
        The weights [nets, size] and the errors [nets].
    """
    weights, patterns = weights.copy(), len(task.targets)
    going = np.arange(len(weights))
    for step in range(steps):
        if step % every == 0:
            going = going[task.error(weights[going]) >= goal]
            if not going.size:
                break
        slopes, misses = task.jacobian(weights[going])
        gradient = (slopes * misses[..., None]).sum(1) / patterns + task.decay * weights[going]
        weights[going] -= rate * gradient
    return weights, task.error(weights)


def fit(task: Task, weights: Array, kept: Kept, steps: int, goal: float = 0.0) -> Array:  # [size] -> [size]
    """Train one network by Levenberg and Marquardt's method, its deleted weights staying 0.

    The damping mu grows fourfold while a step fails and falls to a fifth when it succeeds.

    Args:
        task: what to learn.
        weights: where to start.
        kept: False for deleted weights.
        steps: successful steps at most.
        goal: error at which to stop.
    """
    where = np.flatnonzero(kept)
    weights = np.where(kept, weights, 0.0)
    error, mu, stale = float(task.error(weights)), _MU[0], 0
    for _ in range(steps):
        if error <= goal or stale >= _STALE[0] or not where.size:
            break
        slopes, misses = task.jacobian(weights)
        slopes = slopes[:, where]
        gradient = slopes.T @ misses / len(misses) + task.decay * weights[where]
        curvature = slopes.T @ slopes / len(misses)
        while mu <= _MU[2]:
            trial = weights.copy()
            trial[where] -= np.linalg.solve(curvature + (mu + task.decay) * np.eye(where.size), gradient)
            after = float(task.error(trial))
            if after < error:
                break
            mu *= 4
        else:
            break
        stale = stale + 1 if error - after < _STALE[1] * error else 0
        weights, error, mu = trial, after, max(mu / 5, _MU[1])
    return weights


def _sigmoid(values: Array) -> Array:
    # tanh, as exp would overflow far from 0
    return np.asarray(0.5 + 0.5 * np.tanh(values / 2))
