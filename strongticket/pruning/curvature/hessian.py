"""Dense curvature matrices of small problems: Hessian, generalised Gauss-Newton and outer products of gradients.

Rows and columns run over the weights that are left (entries of `problem.start`), in the order of
`strongticket.pruning.curvature.products.gather`, which turns weights into vectors that fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from strongticket.pruning._checks import check_whole
from strongticket.pruning.curvature.outputs import check_examples, checked_loss, loss_slopes, output_factor
from strongticket.pruning.curvature.products import live_count, scatter
from strongticket.pruning.curvature.tape import BUDGET, Tape, sample_rows
from strongticket.pruning.problem import Problem

__all__ = ["MAX_DENSE", "fisher_matrix", "ggn_matrix", "hessian_diagonal", "hessian_matrix"]

MAX_DENSE = 5000
"""Weights that a dense matrix is made for: 5,000 make 200 MB."""
_ROWS = 64


def hessian_matrix(problem: Problem, *, chunk: int | None = None) -> Tensor:  # [live, live], float64, symmetric
    """Return the Hessian of the mean loss, restricted to the weights that are left, for dense OBS and as an oracle.

    Args:
        problem: any network and loss, with at most 5,000 weights left.
        chunk: examples at a time; None: what keeps within memory, at most 256.

    Raises:
        ValueError: no data, too many weights, a chunk below 1, a loss or Hessian that is not finite, or examples that
            depend on each other.

    >>> from torch import nn
    >>> data = torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1)
    >>> hessian_matrix(Problem.of(nn.Linear(2, 1, bias=False), data, loss="squared-error")).tolist()
    [[1.0, 2.0], [2.0, 4.0]]
    """
    check_dense(problem)
    check_whole(chunk=chunk)
    check_examples(problem)
    module = problem.live()
    each = _saved(problem, module)
    chunk = chunk or max(1, min(256, BUDGET // each))
    step = max(1, min(_ROWS, BUDGET // (min(chunk, len(problem.data[0])) * each)))
    parameters = [module.get_parameter(name) for name in problem.names]
    total = torch.zeros(live_count(problem), live_count(problem), dtype=torch.float64, device=parameters[0].device)
    for inputs, labels in problem.batches(chunk):
        loss = checked_loss(problem.loss, module(inputs), labels)
        slopes = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
        flat = torch.cat(
            [slope[problem.start[name].to(slope.device)] for name, slope in zip(problem.names, slopes, strict=True)]
        )
        share = len(inputs) / len(problem.data[0])
        if flat.requires_grad:  # a loss that is linear in all weights has no second derivatives
            for first in range(0, len(flat), step):
                rows = slice(first, min(first + step, len(flat)))
                total[rows] += share * _second(problem, flat, parameters, rows)
    return _checked(total.add_(total.T.clone()).mul_(0.5))


def _saved(problem: Problem, module: nn.Module) -> int:
    """Return how many numbers a second backward pass holds for an example and a vector: about all it saves, thrice."""
    kept, weights = 0, {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += 0 if tensor.untyped_storage().data_ptr() in weights else tensor.numel()
        return tensor

    inputs, labels = problem.data
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), torch.enable_grad():
        checked_loss(problem.loss, module(inputs[:1]), labels[:1])
    return 3 * max(1, kept)


def _second(problem: Problem, flat: Tensor, parameters: Sequence[Tensor], which: slice) -> Tensor:
    """Return some rows of the Hessian of a batch."""
    at = torch.arange(which.start, which.stop, device=flat.device)
    units = flat.new_zeros(len(at), len(flat)).scatter_(1, at[:, None], 1.0)
    try:
        rows = torch.autograd.grad(flat, parameters, units, retain_graph=True, is_grads_batched=True, allow_unused=True)
    except (RuntimeError, NotImplementedError):  # an operation that cannot be batched
        made = [torch.autograd.grad(flat, parameters, one, retain_graph=True, materialize_grads=True) for one in units]
        rows = tuple(torch.stack(one) for one in zip(*made, strict=True))
    found = {
        name: parameter.new_zeros(len(units), *parameter.shape) if row is None else row
        for name, parameter, row in zip(problem.names, parameters, rows, strict=True)
    }
    return _live_columns(problem, found)


def ggn_matrix(problem: Problem, *, chunk: int | None = None) -> Tensor:  # [live, live], float64
    """Return the generalised Gauss-Newton matrix of the mean loss, restricted to the weights that are left.

    Args:
        problem: any network, a loss that is convex in its outputs, and at most 5,000 weights left.
        chunk: examples at a time.

    Raises:
        ValueError: no data, too many weights, a loss that is not finite or not convex in the outputs, or examples
            that depend on each other.
    """
    return _outer(problem, fisher=False, chunk=chunk)


def fisher_matrix(problem: Problem, *, chunk: int | None = None) -> Tensor:  # [live, live], float64
    """Return the mean over examples of outer products of their gradients, over the weights that are left.

    Args:
        problem: any network and loss, with at most 5,000 weights left.
        chunk: examples at a time.

    Raises:
        ValueError: no data, too many weights, a loss that is not finite, or examples that depend on each other.
    """
    return _outer(problem, fisher=True, chunk=chunk)


def hessian_diagonal(problem: Problem, *, chunk: int | None = None) -> dict[str, Tensor]:
    """Return the exact diagonal of the Hessian of a small problem, by its dense matrix.

    Args:
        problem: any network and loss, with at most 5,000 weights left.
        chunk: examples at a time; None: what keeps within memory.

    Raises:
        ValueError: see `hessian_matrix`.
    """
    return scatter(problem, hessian_matrix(problem, chunk=chunk).diagonal())


def check_dense(problem: Problem) -> None:
    """Refuse problems that are too large for a dense matrix.

    Raises:
        ValueError: naming what to use instead.
    """
    if live_count(problem) > MAX_DENSE:
        raise ValueError(
            f"a dense matrix takes at most {MAX_DENSE:,} weights, got {live_count(problem):,}: use diagonals "
            "(ggn_diagonal, fisher_diagonal, hutchinson_diagonal), products (hessian_product, ggn_product), "
            "a low-rank Fisher matrix or single layers"
        )


def _outer(problem: Problem, *, fisher: bool, chunk: int | None) -> Tensor:
    check_dense(problem)
    tape = Tape(problem, chunk)  # refuses networks whose examples depend on each other
    size = live_count(problem)
    total = torch.zeros(size, size, dtype=torch.float64, device=problem.data[0].device)
    for inputs, labels in problem.batches(tape.chunk):
        with torch.no_grad():
            outputs = problem.module(inputs)
            checked_loss(problem.loss, outputs, labels)
            columns = (
                loss_slopes(problem.loss, outputs, labels)[..., None]
                if fisher
                else output_factor(problem.loss, outputs, labels)
            )
        for _, rows in sample_rows(problem, problem.names, inputs, columns):
            flat = {name: row.flatten(0, 1) for name, row in rows.items()}
            made = _live_columns(problem, flat)
            total += made.T @ made
    return _checked(total / len(problem.data[0]))


def _live_columns(problem: Problem, rows: dict[str, Tensor]) -> Tensor:  # {name: [m, shape]} -> [m, live], float64
    parts = [rows[name].detach()[:, problem.start[name].to(rows[name].device)] for name in problem.names]
    return torch.cat(parts, 1).double()


def _checked(matrix: Tensor) -> Tensor:
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError("the curvature is not finite: the network's derivatives overflow; use float64")
    return matrix
