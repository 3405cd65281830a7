"""Diagonals of the curvature of the mean loss, for any network: exact Gauss-Newton, sampled, empirical Fisher, Hessian.

All of them are restricted to `problem.start`: entries outside of it are 0. Sums over examples are kept in float64; what
goes through the network has the network's own type, so give it in float64 to compare digits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from strongticket import random
from strongticket.pruning.curvature.outputs import checked_loss, loss_slopes, output_factor, sampled_factor
from strongticket.pruning.curvature.products import hessian_product, live_count, scatter
from strongticket.pruning.curvature.tape import BUDGET, Tape, Use, sample_rows
from strongticket.pruning.problem import Problem

__all__ = ["fisher_diagonal", "ggn_diagonal", "hutchinson_diagonal", "monte_carlo_diagonal"]

Columns = Callable[[Tensor, Tensor, int], Tensor]
"""(outputs [n, ...], labels, position of the first example) -> [n, outputs, K]: where backward passes start."""


def ggn_diagonal(problem: Problem, *, chunk: int | None = None) -> dict[str, Tensor]:
    """Return the exact diagonal of the generalised Gauss-Newton matrix, one backward pass per output.

    On networks that are piecewise linear in each weight (Linear, Conv, ReLU, pooling; no weight used twice) this is the
    diagonal of the Hessian itself, wherever that exists. Cross-entropy takes one pass less than there are classes.

    Args:
        problem: the network, its data and its loss; any loss that is convex in the outputs.
        chunk: examples at a time; None: what keeps within memory, at most 256.

    Returns:
        {name: float64 of the parameter's shape}, never negative.

    Raises:
        ValueError: no data, outputs or a loss that are not finite, a loss that is not convex in the outputs, or
            examples that depend on each other.

    >>> module = nn.Linear(2, 2, bias=False)
    >>> data = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.zeros(2, 2)
    >>> ggn_diagonal(Problem.of(module, data, loss="squared-error"))["weight"].tolist()
    [[5.0, 2.0], [5.0, 2.0]]
    """
    return _mean_squares(problem, lambda outputs, labels, _: output_factor(problem.loss, outputs, labels), chunk)


def monte_carlo_diagonal(problem: Problem, *, draws: int = 1, chunk: int | None = None) -> dict[str, Tensor]:
    """Return an unbiased estimate of `ggn_diagonal` at one backward pass per draw: labels drawn from the model.

    The draws come from a stream of `problem.seed`, and those of an example depend on its position alone.

    Args:
        problem: see `ggn_diagonal`.
        draws: per example, at least 1; the variance falls as 1 / (draws * examples).
        chunk: examples at a time.

    Returns:
        {name: float64 of the parameter's shape}, never negative.

    Raises:
        ValueError: as `ggn_diagonal`.
    """
    _check_draws(draws)

    def columns(outputs: Tensor, labels: Tensor, first: int) -> Tensor:
        return sampled_factor(problem.loss, outputs, labels, first=first, draws=draws, seed=problem.seed)

    return _mean_squares(problem, columns, chunk)


def fisher_diagonal(problem: Problem, *, chunk: int | None = None) -> dict[str, Tensor]:
    """Return the diagonal of the empirical Fisher matrix: the mean over examples of squared gradients, one pass.

    It is no estimate of the Hessian but near one where the model's own labels would be the given ones; it takes any
    loss.

    Args:
        problem: see `ggn_diagonal`.
        chunk: examples at a time.

    Returns:
        {name: float64 of the parameter's shape}, never negative.

    Raises:
        ValueError: no data, a loss that is not finite, or not the mean of its examples' losses.
    """
    return _mean_squares(
        problem, lambda outputs, labels, _: loss_slopes(problem.loss, outputs, labels)[..., None], chunk
    )


def hutchinson_diagonal(problem: Problem, *, draws: int = 32, chunk: int | None = None) -> dict[str, Tensor]:
    """Return an unbiased estimate of the diagonal of the Hessian of any network: the mean of z * Hz, z random signs.

    The variance of an entry is the sum of the squares of the others in its row of the Hessian, divided by `draws`.

    Args:
        problem: any network and loss.
        draws: Hessian-vector products, at least 1.
        chunk: examples at a time; None: 256.

    Returns:
        {name: float64 of the parameter's shape}, of either sign.

    Raises:
        ValueError: no data, or a loss that is not finite.
    """
    _check_draws(draws)
    size = live_count(problem)
    total = torch.zeros(size, dtype=torch.float64)
    for draw in range(draws):
        values = random.SIGN.values(
            problem.seed, "pruning/hutchinson", draw * size, (draw + 1) * size, purpose=random.SCORES
        )
        signs = torch.from_numpy(values).double()
        product = hessian_product(problem, signs, chunk=256 if chunk is None else chunk)
        total = total.to(product) + signs.to(product) * product
    return scatter(problem, total / draws)


def _check_draws(draws: int) -> None:
    if draws < 1:
        raise ValueError(f"expected at least one draw, got {draws}")


def _mean_squares(problem: Problem, columns: Columns, chunk: int | None) -> dict[str, Tensor]:
    """Return the mean over examples of the sum over columns of squared per-example gradients."""
    tape = Tape(problem, chunk)
    totals = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in problem.weights.items()}
    first = 0
    for inputs, labels in problem.batches(tape.chunk):
        outputs, uses = tape.run(inputs)
        with torch.no_grad():
            checked_loss(problem.loss, outputs.detach(), labels)
            starts = columns(outputs.detach(), labels, first)
        for name, square in _closed_squares(tape, outputs, uses, starts):
            totals[name] += square
        if tape.rest:
            for _, rows in sample_rows(problem, tape.rest, inputs, starts):
                for name, row in rows.items():
                    totals[name] += row.square().sum((0, 1), dtype=torch.float64)
        first += len(inputs)
    for name, total in totals.items():
        total.mul_(problem.start[name].to(total.device)).div_(first)
        if not bool(torch.isfinite(total).all()):
            raise ValueError(f"the curvature of {name} is not finite: its gradients overflow; use float64")
    return totals


def _closed_squares(tape: Tape, outputs: Tensor, uses: list[Use], starts: Tensor) -> Iterator[tuple[str, Tensor]]:
    live = [use for use in uses if use.edge is not None]
    if not live or starts.shape[2] == 0:
        return
    sums = [_squares(use) for use in live]
    edges = [use.edge for use in live if use.edge is not None]
    for column in range(starts.shape[2]):
        slopes = torch.autograd.grad(
            outputs,
            edges,
            starts[:, :, column].reshape(outputs.shape).to(outputs),
            retain_graph=column + 1 < starts.shape[2],
            allow_unused=True,
        )
        for one, slope in zip(sums, slopes, strict=True):
            if slope is not None:
                one.add(slope)
    for use, one in zip(live, sums, strict=True):
        for leaf, name in tape.closed[use.layer].items():
            yield name, one.weight() if leaf == "weight" else one.bias()


def _squares(use: Use) -> _Squares:
    if isinstance(use.layer, nn.Linear):
        return _LinearSquares(use) if use.inputs.ndim == 2 else _SharedSquares(use, _positions(use), last=True)
    return _SharedSquares(use, _patches(use), last=False)


class _Squares(ABC):
    """Sum, over columns and examples, the squared gradients of an example in the weights of one call of a layer."""

    @abstractmethod
    def add(self, slope: Tensor) -> None:
        """Take the gradients in the layer's outputs that one column leads to."""

    @abstractmethod
    def weight(self) -> Tensor:
        """Return the sums of the weights, float64."""

    @abstractmethod
    def bias(self) -> Tensor:
        """Return the sums of the biases, float64."""


@final
class _LinearSquares(_Squares):
    """A linear layer used once per example: the square of a product is the product of squares, so one product is it."""

    def __init__(self, use: Use) -> None:
        self.inputs = use.inputs  # [n, in]
        self.slopes: Tensor | float = 0.0  # [n, out]

    def add(self, slope: Tensor) -> None:
        self.slopes = self.slopes + slope.double().square()

    def weight(self) -> Tensor:
        assert isinstance(self.slopes, Tensor)
        return self.slopes.T @ self.inputs.double().square()

    def bias(self) -> Tensor:
        assert isinstance(self.slopes, Tensor)
        return self.slopes.sum(0)


@final
class _SharedSquares(_Squares):
    """A layer whose weights serve many positions of an example: sum over positions first, then square."""

    def __init__(self, use: Use, patches: Tensor, *, last: bool) -> None:
        weight = use.layer.get_parameter("weight")
        self.patches = patches  # [n, groups, positions, inputs of an output]
        self.last = last  # whether outputs come after positions
        self.shape = weight.shape
        groups = patches.shape[1]
        self.sums = patches.new_zeros(groups, len(weight) // groups, patches.shape[3], dtype=torch.float64)
        self.biases = patches.new_zeros(len(weight), dtype=torch.float64)

    def add(self, slope: Tensor) -> None:  # [n, out, positions...] or [n, positions..., out]
        n, groups, positions, _ = self.patches.shape
        outputs = slope.reshape(n, positions, -1).mT if self.last else slope.reshape(n, -1, positions)
        slopes = outputs.reshape(n, groups, -1, positions)
        step = max(1, BUDGET // max(1, self.sums.numel()))
        for first in range(0, n, step):
            part = slice(first, first + step)
            self.sums += (slopes[part] @ self.patches[part]).square().sum(0, dtype=torch.float64)
        self.biases += outputs.sum(2).square().sum(0, dtype=torch.float64)

    def weight(self) -> Tensor:
        return self.sums.reshape(self.shape)

    def bias(self) -> Tensor:
        return self.biases


def _positions(use: Use) -> Tensor:  # [n, 1, positions, in]
    """A linear layer over extra dimensions, [n, ..., in]: one group, every position an input."""
    return use.inputs.reshape(len(use.inputs), 1, -1, use.inputs.shape[-1])


def _patches(use: Use) -> Tensor:  # [n, groups, positions, inputs of an output]
    """A convolution as a linear layer: for each of its positions, the inputs that the kernel lies on."""
    layer = use.layer
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    inputs = use.inputs
    padding = list(layer._reversed_padding_repeated_twice)
    if any(padding):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        inputs = functional.pad(inputs, padding, mode)
    for axis, (size, step, spread) in enumerate(zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)):
        inputs = inputs.unfold(2 + axis, spread * (size - 1) + 1, step)[..., ::spread]
    n, channels, places = len(inputs), inputs.shape[1], len(layer.kernel_size)
    windows = inputs.reshape(n, layer.groups, channels // layer.groups, *inputs.shape[2:])
    ahead = [0, 1, *range(3, 3 + places), 2, *range(3 + places, 3 + 2 * places)]  # positions before the channels
    return windows.permute(ahead).reshape(n, layer.groups, use.shape[2:].numel(), layer.weight[0].numel())
