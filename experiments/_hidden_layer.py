"""One hidden layer of ReLUs, squared error, full-batch gradient descent with momentum: what belkin2019 widens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Descended", "Net", "descend", "glorot", "widened"]

MOMENTUM: Final = 0.95
_LOOK: Final = 50
"""Epochs between two looks at the training error."""


@dataclass(frozen=True, eq=False)
class Net:
    """Weights and biases: float32 tensors, first and second layer, a bias as each matrix's last row."""

    first: Tensor  # [inputs + 1, hidden]
    second: Tensor  # [hidden + 1, outputs]

    @property
    def hidden(self) -> int:
        """Number of hidden units."""
        return int(self.first.shape[1])

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.first.numel() + self.second.numel()

    def __call__(self, inputs: Tensor) -> Tensor:  # [n, inputs] -> [n, outputs]
        """Return the outputs."""
        hidden = (inputs @ self.first[:-1] + self.first[-1]).relu_()
        return hidden @ self.second[:-1] + self.second[-1]


@dataclass(frozen=True, eq=False)
class Descended:
    """A trained network: the net, epochs done, and squared error (sum over outputs) and share of errors in training."""

    net: Net
    epochs: int
    loss: float
    error: float


def glorot(inputs: int, hidden: int, outputs: int, seed: int) -> Net:
    """Draw uniform weights in +-sqrt(6/(fan-in + fan-out)); biases are 0.

    >>> net = glorot(4, 3, 2, seed=0)
    >>> net.size == (4 + 1) * 3 + (3 + 1) * 2
    True
    """
    import torch

    from strongticket.random import INIT, UNIFORM23

    def layer(name: str, rows: int, columns: int) -> Tensor:
        drawn = UNIFORM23.values(seed, f"{name} {rows} {columns}", 0, rows * columns, dtype="float32", purpose=INIT)
        weights = torch.zeros(rows + 1, columns)
        weights[:-1] = torch.from_numpy(_plain(drawn)).view(rows, columns) * math.sqrt(6.0 / (rows + columns))
        return weights

    return Net(layer("first", inputs, hidden), layer("second", hidden, outputs))


def widened(net: Net, hidden: int, seed: int, variance: float = 0.01) -> Net:
    """Return a wider network that begins with a trained one; weights of new units are N(0, variance), biases too.

    Raises:
        ValueError: fewer units than there are.
    """
    import torch

    from strongticket.random import INIT, NORMAL_TAB1

    new = hidden - net.hidden
    if new < 0:
        raise ValueError(f"a network of {net.hidden} units cannot be reused in one of {hidden}")

    def drawn(name: str, shape: tuple[int, int]) -> Tensor:
        values = NORMAL_TAB1.values(seed, f"{name} {hidden}", 0, math.prod(shape), dtype="float32", purpose=INIT)
        return torch.from_numpy(_plain(values)).view(shape) * math.sqrt(variance)

    first = torch.cat([net.first, drawn("new first", (net.first.shape[0], new))], dim=1)
    second = torch.cat([net.second[:-1], drawn("new second", (new, net.second.shape[1])), net.second[-1:]])
    return Net(first, second)


def descend(
    net: Net,
    inputs: Tensor,  # [n, inputs]
    wanted: Tensor,  # [n, outputs]
    *,
    rate: float,
    epochs: int,
    decay: float = 1.0,
    decay_every: int = 500,
    until_right: bool = False,
) -> Descended:
    """Train by full-batch gradient descent with momentum on half the squared error (sum over outputs, mean over n).

    Args:
        net: where to start; it is not changed.
        inputs: the examples.
        wanted: what the outputs should be; the largest is the class.
        rate: step size.
        epochs: most steps.
        decay: the rate is multiplied by it every `decay_every` steps.
        decay_every: see `decay`.
        until_right: stop when every example is classified correctly.

    Raises:
        ValueError: the loss became NaN or infinite.
    """
    import torch

    n = len(inputs)
    x = torch.cat([inputs, torch.ones(n, 1)], dim=1)
    one, two = net.first.clone(), net.second.clone()
    moved_one, moved_two = torch.zeros_like(one), torch.zeros_like(two)
    hidden = torch.ones(n, net.hidden + 1)
    labels, done = wanted.argmax(1), 0
    with torch.no_grad():
        for epoch in range(epochs):
            hidden[:, :-1] = (x @ one).relu_()
            outputs = hidden @ two
            if until_right and epoch % _LOOK == 0 and bool((outputs.argmax(1) == labels).all()):
                break
            misses = (outputs - wanted).div_(n)
            back = (misses @ two[:-1].T).mul_(hidden[:, :-1] > 0)
            step = rate * decay ** (epoch // decay_every)
            moved_two.mul_(MOMENTUM).add_(hidden.T @ misses, alpha=-step)
            moved_one.mul_(MOMENTUM).add_(x.T @ back, alpha=-step)
            two += moved_two
            one += moved_one
            done = epoch + 1
        found = Net(one, two)
        outputs = found(inputs)
        loss = float((outputs - wanted).square().sum(1).mean())
        if not math.isfinite(loss):
            raise ValueError(f"the loss became {loss} by step {done}: lower the rate {rate:g}")
        return Descended(found, done, loss, float((outputs.argmax(1) != labels).double().mean()))


def _plain(values: Any) -> NDArray[np.float32]:
    return np.asarray(values, dtype=np.float32)
