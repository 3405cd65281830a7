"""Multiply by the Hessian or the Gauss-Newton matrix of the mean loss without making it: double backward passes.

Vectors run over the weights that are left: entries of `problem.start`, parameter after parameter in the order of
`problem.names`, each in C order. `gather` and `scatter` go from tensors by name to such vectors and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from strongticket.pruning._checks import check_whole
from strongticket.pruning.curvature.outputs import check_examples, checked_loss
from strongticket.pruning.problem import Problem, loss_function

__all__ = ["gather", "ggn_product", "gradient", "hessian_product", "live_count", "scatter"]


def live_count(problem: Problem) -> int:
    """Return how many weights are left, the length of vectors here."""
    return problem.start.count


def gather(problem: Problem, tensors: Mapping[str, Tensor]) -> Tensor:  # [live]
    """Return the entries of tensors, one for each of `problem.names`, that are left, as one float64 vector.

    >>> problem = Problem.of(nn.Linear(3, 2), names=["weight"])
    >>> vector = gather(problem, problem.weights)
    >>> vector.shape, bool((scatter(problem, vector)["weight"] == problem.weights["weight"]).all())
    (torch.Size([6]), True)
    """
    parts = [tensors[name].detach()[problem.start[name].to(tensors[name].device)] for name in problem.names]
    return torch.cat([part.reshape(-1).double() for part in parts])


def scatter(problem: Problem, vector: Tensor) -> dict[str, Tensor]:  # [live] -> {name: its shape}
    """Return a vector as a tensor for each of `problem.names`, 0 where nothing is left.

    Raises:
        ValueError: a vector of another length.
    """
    if vector.shape != (live_count(problem),):
        raise ValueError(f"expected a vector over the {live_count(problem)} weights left, got {tuple(vector.shape)}")
    found, first = {}, 0
    for name in problem.names:
        kept = problem.start[name].to(vector.device)
        index = kept.reshape(-1).nonzero().squeeze(1)
        part = vector[first : first + len(index)]
        found[name] = vector.new_zeros(kept.numel()).scatter(0, index, part).reshape(kept.shape)
        first += len(index)
    return found


def gradient(problem: Problem, *, chunk: int = 256) -> Tensor:  # [live], float64
    """Return the gradient of the mean loss in the weights that are left.

    Args:
        problem: any network and loss.
        chunk: examples at a time.

    Raises:
        ValueError: no data, a chunk below 1, a loss that is not finite, or examples that depend on each other.
    """
    check_whole(chunk=chunk)
    module, parameters = _live(problem)
    total = _zeros(parameters)
    for inputs, labels in problem.batches(chunk):
        loss = checked_loss(problem.loss, module(inputs), labels)
        _add(total, _grad(loss, parameters), len(inputs) / len(problem.data[0]))
    return gather(problem, dict(zip(problem.names, total, strict=True)))


def hessian_product(problem: Problem, vector: Tensor, *, chunk: int = 256) -> Tensor:  # [live] -> [live], float64
    """Return the Hessian of the mean loss, restricted to the weights that are left, times a vector.

    Costs about as much as two backward passes.

    Args:
        problem: any network and loss.
        vector: over the weights that are left.
        chunk: examples at a time.

    Raises:
        ValueError: no data, a vector of another length, a chunk below 1, a loss that is not finite, or examples that
            depend on each other.

    >>> data = torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1)
    >>> problem = Problem.of(nn.Linear(2, 1, bias=False), data, loss="squared-error")
    >>> hessian_product(problem, torch.tensor([1.0, 0.0])).tolist()
    [1.0, 2.0]
    """
    check_whole(chunk=chunk)
    module, parameters = _live(problem)
    vectors = _typed(problem, parameters, vector)
    total = _zeros(parameters)
    for inputs, labels in problem.batches(chunk):
        loss = checked_loss(problem.loss, module(inputs), labels)
        slopes = _grad(loss, parameters, create=True)
        _add(total, _grad(slopes, parameters, vectors), len(inputs) / len(problem.data[0]))
    return gather(problem, dict(zip(problem.names, total, strict=True)))


def ggn_product(problem: Problem, vector: Tensor, *, chunk: int = 256) -> Tensor:  # [live] -> [live], float64
    """Return the generalised Gauss-Newton matrix of the mean loss, restricted to what is left, times a vector.

    Args:
        problem: any network and loss.
        vector: over the weights that are left.
        chunk: examples at a time.

    Raises:
        ValueError: no data, a vector of another length, a chunk below 1, a loss that is not finite, or examples that
            depend on each other.
    """
    check_whole(chunk=chunk)
    module, parameters = _live(problem)
    vectors = _typed(problem, parameters, vector)
    total = _zeros(parameters)
    for inputs, labels in problem.batches(chunk):
        outputs = module(inputs)
        checked_loss(problem.loss, outputs.detach(), labels)
        # the derivative of J^T u in u, applied to the vector, is J times the vector: no forward mode is needed
        dummy = torch.zeros_like(outputs, requires_grad=True)
        pushed = _grad(_grad(outputs, parameters, [dummy], create=True), [dummy], vectors)[0]
        curved = _output_product(problem, outputs.detach(), labels, pushed.detach())
        _add(total, _grad(outputs, parameters, [curved]), len(inputs) / len(problem.data[0]))
    return gather(problem, dict(zip(problem.names, total, strict=True)))


def _output_product(problem: Problem, outputs: Tensor, labels: Tensor, vector: Tensor) -> Tensor:
    """Return the Hessian of a batch's mean loss in its outputs times a vector of their shape."""
    if problem.loss == "squared-error":
        return vector / len(outputs)
    if problem.loss == "cross-entropy":
        p = outputs.softmax(1)
        return (p * vector - p * (p * vector).sum(1, keepdim=True)) / len(outputs)
    leaf = outputs.requires_grad_(True)
    slopes = _grad(loss_function(problem.loss)(leaf, labels), [leaf], create=True)
    return _grad(slopes, [leaf], [vector])[0]


def _live(problem: Problem) -> tuple[nn.Module, list[Tensor]]:
    check_examples(problem)
    module = problem.live()
    return module, [module.get_parameter(name) for name in problem.names]


def _typed(problem: Problem, parameters: Sequence[Tensor], vector: Tensor) -> list[Tensor]:
    tensors = scatter(problem, vector)
    return [tensors[name].to(parameter) for name, parameter in zip(problem.names, parameters, strict=True)]


def _zeros(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(parameter, dtype=torch.float64, requires_grad=False) for parameter in parameters]


def _add(total: list[Tensor], parts: Sequence[Tensor], share: float) -> None:
    for one, part in zip(total, parts, strict=True):
        one.add_(part.detach(), alpha=share)


def _grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor] | None = None,
    *,
    create: bool = False,
) -> tuple[Tensor, ...]:
    """Return gradients, zeros where nothing depends on an input (a loss linear in some weights has no second ones)."""
    many = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    weights = [torch.ones_like(one) for one in many] if weights is None else weights
    used = [(one, weight) for one, weight in zip(many, weights, strict=True) if one.requires_grad]
    if not used:
        return tuple(torch.zeros_like(one) for one in inputs)
    return torch.autograd.grad(
        [one for one, _ in used],
        list(inputs),
        [weight for _, weight in used],
        create_graph=create,
        retain_graph=True,
        materialize_grads=True,
    )
