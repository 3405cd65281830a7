"""Optimal brain surgery on a quadratic: what the loss (w - w0)' H (w - w0) / 2 costs when weights must become 0.

These are the formulas of hassibi1992second on plain tensors, for those who bring their own curvature. Nothing here
knows networks; `strongticket.pruning.obs` applies them to one. Deleted weights keep their places: a weight is deleted
when its row and column of the inverse are 0, which is what `obs_delete` leaves behind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from strongticket.pruning._checks import check_whole

__all__ = [
    "SingularCurvature",
    "inverse_by_cholesky",
    "inverse_by_recursion",
    "joint_increase",
    "joint_update",
    "obd_saliencies",
    "obs_delete",
    "obs_order",
    "obs_saliencies",
]


class SingularCurvature(ValueError):
    """A curvature matrix is not positive definite, so that the loss has no minimum to go to; `least` is its least
    eigenvalue."""

    def __init__(self, message: str, least: float) -> None:
        super().__init__(message)
        self.least = least


def obd_saliencies(weights: Tensor, diagonal: Tensor) -> Tensor:  # [...], [...] -> [...]
    """Return h_kk w_k^2 / 2: what deleting a weight costs if no other weight moves (lecun1989optimal).

    Args:
        weights: trained weights, any shape.
        diagonal: second derivatives of the mean loss, in the same shape.

    >>> obd_saliencies(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 3.0]))
    tensor([2.0000, 1.5000])
    """
    if weights.shape != diagonal.shape:
        raise ValueError(f"expected as many second derivatives as weights, got {_shape(diagonal)}, {_shape(weights)}")
    return diagonal * weights.square() / 2


def obs_saliencies(weights: Tensor, inverse: Tensor) -> Tensor:  # [n], [n, n] -> [n]
    """Return w_q^2 / (2 [H^-1]_qq): what deleting a weight costs if all others move to make up for it.

    Args:
        weights: at the minimum of the quadratic.
        inverse: of the Hessian; rows and columns of deleted weights are 0.

    Returns:
        A saliency for each weight; infinity for deleted ones.

    Raises:
        ValueError: shapes do not fit, weights that are not finite, or a diagonal that is negative or not finite.

    >>> inverse = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    >>> obs_saliencies(torch.tensor([1.0, 2.0]), inverse)
    tensor([0.5000, 2.0000])
    """
    _check(weights, inverse)
    diagonal = inverse.diagonal()
    if not bool((diagonal >= 0).all()):
        worst = float(diagonal.min())
        raise ValueError(
            f"the inverse Hessian has {worst:.3g} on its diagonal: it is not positive definite; damp the Hessian"
        )
    # 0/0 of deleted weights is not a saliency
    return torch.where(diagonal > 0, weights.square() / (2 * diagonal), torch.inf)


def obs_delete(weights: Tensor, inverse: Tensor, q: int) -> tuple[Tensor, Tensor]:  # [n], [n, n]
    """Delete one weight, move all others to the minimum that is left, and return (weights, inverse) of what remains.

    Args:
        weights: at the minimum of the quadratic on the weights that are left.
        inverse: of the Hessian on the weights that are left; rows and columns of deleted ones are 0.
        q: which weight goes; counted among all weights.

    Returns:
        The weights after w - w_q / [H^-1]_qq H^-1 e_q, with exact zeros at deleted ones; and the inverse Hessian of
        the survivors, with zeros in the rows and columns of the deleted.

    Raises:
        ValueError: shapes do not fit, or the weight is deleted already.

    >>> obs_delete(torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 0.5], [0.5, 1.0]]), 0)
    (tensor([0.0000, 1.5000]), tensor([[0.0000, 0.0000],
            [0.0000, 0.7500]]))
    """
    _check(weights, inverse)
    if not 0 <= q < len(weights) or not bool(inverse[q, q] > 0):
        raise ValueError(f"weight {q} of {len(weights)} cannot be deleted: it is gone already, or there is none")
    column = inverse[:, q]
    moved = weights - weights[q] / column[q] * column
    left = inverse - torch.outer(column, column / column[q])
    # what is 0 in exact arithmetic shall be 0
    moved[q] = 0
    left[q], left[:, q] = 0, 0
    return moved, left


def joint_increase(weights: Tensor, inverse: Tensor, removed: Sequence[int] | Tensor) -> float:
    """Return w_P' ([H^-1]_PP)^-1 w_P / 2: what deleting a set of weights costs, whatever the order.

    Args:
        weights: at the minimum of the quadratic [n].
        inverse: of the Hessian [n, n].
        removed: indices of the set, or flags [n] that are True for its members; may be empty.

    >>> weights, inverse = torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    >>> round(joint_increase(weights, inverse, [0, 1]), 6)
    2.0
    """
    index, solved = _joint(weights, inverse, removed)
    return float(weights[index] @ solved / 2)


def joint_update(weights: Tensor, inverse: Tensor, removed: Sequence[int] | Tensor) -> Tensor:  # [n]
    """Return the weights w - H^-1_:P ([H^-1]_PP)^-1 w_P: the minimum among those with a set of weights at 0.

    Args:
        weights: at the minimum of the quadratic [n].
        inverse: of the Hessian [n, n].
        removed: indices of the set, or flags [n] that are True for its members; may be empty.

    >>> joint_update(torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 0.5], [0.5, 1.0]]), [0])
    tensor([0.0000, 1.5000])
    """
    index, solved = _joint(weights, inverse, removed)
    moved = weights - inverse[:, index] @ solved
    moved[index] = 0
    return moved


def obs_order(weights: Tensor, inverse: Tensor, steps: int) -> tuple[Tensor, Tensor]:  # [n], [n, n]
    """Delete the weight of least saliency `steps` times, survivors moving each time, literally as the paper says.

    Args:
        weights: at the minimum of the quadratic.
        inverse: of the Hessian.
        steps: how many weights go, 0 to n.

    Returns:
        (order, losses): the weights in the order of their deletion, int64 [steps], and the increase at each step
        [steps]; among equals the lowest index goes first.

    Raises:
        ValueError: more steps than weights, or as `obs_saliencies`.

    >>> obs_order(torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 0.5], [0.5, 1.0]]), 2)
    (tensor([0, 1]), tensor([0.5000, 1.5000]))
    """
    check_whole(least=0, steps=steps)
    _check(weights, inverse)
    if steps > len(weights):
        raise ValueError(f"expected at most {len(weights)} steps, a weight each, got {steps}")
    order: list[int] = []
    losses: list[Tensor] = []
    for _ in range(steps):
        saliencies = obs_saliencies(weights, inverse)
        least = saliencies.min()
        q = int((saliencies == least).nonzero()[0])
        order.append(q)
        losses.append(least)
        weights, inverse = obs_delete(weights, inverse, q)
    empty = weights.new_zeros(0)
    return torch.tensor(order, dtype=torch.int64), torch.stack(losses) if losses else empty


def inverse_by_cholesky(matrix: Tensor, what: str = "the Hessian", *, damping: float = 0.0) -> Tensor:
    """Return the inverse of a positive definite matrix [n, n].

    Args:
        matrix: symmetric.
        what: its name in messages.
        damping: how much of its diagonal is damping, so that messages can name the damping that would do.

    Raises:
        SingularCurvature: it is singular or indefinite; the message names the least eigenvalue.
        ValueError: it is not square or not symmetric, or holds NaN or infinite values.

    >>> inverse_by_cholesky(torch.tensor([[4.0, 2.0], [2.0, 2.0]])).round(decimals=4)
    tensor([[ 0.5000, -0.5000],
            [-0.5000,  1.0000]])
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"expected {what} as a matrix [n, n], got {_shape(matrix)}")
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError(f"{what} holds NaN or infinite values: the loss or its derivatives are not finite there")
    if not matrix.numel():
        return matrix.clone()
    skew = float((matrix - matrix.T).abs_().max())
    if skew > math.sqrt(torch.finfo(matrix.dtype).eps) * float(matrix.abs().max()):
        raise ValueError(f"expected {what} to be symmetric, got entries that differ by {skew:.3g} from their mirrors")
    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info):
        raise _singular(matrix, what, damping)
    inverse = torch.cholesky_inverse(factor)
    if not _is_inverse(matrix, inverse):
        raise _singular(matrix, what, damping)
    return (inverse + inverse.T) / 2


def inverse_by_recursion(
    columns: Tensor | Iterable[Tensor], damping: float, count: int | None = None
) -> Tensor:  # [m, n] -> [n, n]
    """Return (damping I + (1/count) sum of x x')^-1 over the columns x, one after the other, as hassibi1992second does.

    Args:
        columns: derivatives of the outputs, or of the losses, a row each; or several such matrices one after the other,
            of which only one is held.
        damping: above 0: the recursion starts from its inverse.
        count: of examples, P in the paper; the number of columns if None. An example of several outputs has several.

    Raises:
        ValueError: no damping, or columns that are not finite or not floating-point.
        SingularCurvature: the damping is too small for the recursion, whose rounding errors it does not outweigh.

    >>> inverse_by_recursion(torch.tensor([[1.0, 0.0]]), 1.0)
    tensor([[0.5000, 0.0000],
            [0.0000, 1.0000]])
    """
    if not 0 < damping < math.inf:
        raise ValueError(f"the recursion starts from I / damping: expected a damping above 0, got {damping}")
    check_whole(count=count)
    if isinstance(columns, Tensor):
        columns, count = (columns,), max(1, len(columns)) if count is None else count
    if count is None:
        raise ValueError("expected a count of examples beside columns that come in parts")
    matrix = inverse = torch.zeros(0)
    for part in columns:
        if part.ndim != 2 or not part.is_floating_point() or not bool(torch.isfinite(part).all()):
            raise ValueError(f"expected finite floating-point columns [m, n], got {part.dtype} {_shape(part)}")
        if not inverse.numel():
            matrix = damping * torch.eye(part.shape[1], dtype=part.dtype, device=part.device)
            inverse = torch.eye(part.shape[1], dtype=part.dtype, device=part.device) / damping
        matrix.addmm_(part.T, part, alpha=1 / count)
        for x in part:
            moved = inverse @ x
            inverse.addr_(moved, moved / (count + x @ moved), alpha=-1)
    if inverse.numel() and not _is_inverse(matrix, inverse):
        raise _singular(matrix, "the sum of outer products that the recursion inverts", damping)
    return inverse


def _is_inverse(matrix: Tensor, inverse: Tensor) -> bool:
    """Whether a computed inverse is one, and of a matrix that is not singular but for rounding.

    What is noise is seen by the condition number, of the matrix with a diagonal of ones: units of the weights are not
    what makes a matrix singular.
    """
    scale = matrix.diagonal().clamp_min(0).sqrt()
    rows = float((matrix.abs() @ (1 / scale) / scale).max())
    condition = rows * float((inverse.abs() @ scale * scale).max())
    ones = (matrix * inverse).sum(1)
    return condition * torch.finfo(matrix.dtype).eps < 0.01 and bool(((ones - 1).abs() < 0.01).all())


def _singular(matrix: Tensor, what: str, damping: float = 0.0) -> SingularCurvature:
    eigenvalues = torch.linalg.eigvalsh(matrix)
    least, most = float(eigenvalues[0]), float(eigenvalues[-1])
    # `_is_inverse` sums the rows of n entries of matrix and inverse
    enough = max(0.0, -least) + max(200 * len(matrix) * torch.finfo(matrix.dtype).eps * abs(most), 1e-11)
    return SingularCurvature(
        f"expected {what} to be positive definite, got eigenvalues from {least:.3g} to {most:.3g}: take a damping of "
        f"{_rounded_up(damping + enough)} or more, or a curvature that is never negative (ggn, outer-product), damped "
        "a little",
        least,
    )


def _rounded_up(value: float) -> str:
    """Return a positive number by one digit, not below it."""
    unit = 10.0 ** math.floor(math.log10(value))
    return f"{math.ceil(value / unit) * unit:.0e}"


def _joint(weights: Tensor, inverse: Tensor, removed: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
    """The set as indices, and ([H^-1]_PP)^-1 w_P."""
    _check(weights, inverse)
    given = torch.as_tensor(removed, device=weights.device)
    if given.dtype == torch.bool:
        if given.shape != weights.shape:
            raise ValueError(f"expected flags {_shape(weights)} of the weights that go, got {_shape(given)}")
        given = given.nonzero()[:, 0]
    if given.numel() and (given.is_floating_point() or given.is_complex()):
        raise ValueError(f"expected indices as whole numbers, or flags, got {given.dtype}")
    index = given.reshape(-1).long()
    places = index.tolist()
    if len(set(places)) != len(places) or not all(0 <= place < len(weights) for place in places):
        raise ValueError(f"expected different indices from 0 to {len(weights) - 1}, got {places}")
    if not len(index):
        return index, weights.new_zeros(0)
    block = inverse[index][:, index]
    factor, info = torch.linalg.cholesky_ex(block)
    if int(info):
        raise _singular(block, "the inverse Hessian on the weights that go")
    return index, torch.cholesky_solve(weights[index].unsqueeze(1), factor).squeeze(1)


def _check(weights: Tensor, inverse: Tensor) -> None:
    if weights.ndim != 1 or inverse.shape != (len(weights), len(weights)):
        raise ValueError(
            f"expected weights [n] and an inverse Hessian [n, n], got {_shape(weights)} and {_shape(inverse)}"
        )
    if not bool(torch.isfinite(weights).all()):
        raise ValueError("the weights hold NaN or infinite values")


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)
