"""GraSP: prune before training so that the gradient keeps its strength."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from strongticket.pruning._checks import check_whole
from strongticket.pruning._scoring import scoring_problem
from strongticket.pruning.abstract import AbstractScore
from strongticket.pruning.gradient import mean_gradient
from strongticket.pruning.problem import Loss, Problem, loss_function

__all__ = ["GraSP", "GraSPAbs", "hessian_gradient"]


@final
@dataclass(frozen=True)
class GraSP(AbstractScore):
    """Rank weights by w (Hg), sign included: Wang, Zhang & Grosse (2020).

    Without the weight w the squared norm of the gradient changes by about -2 w (Hg): a weight with a large positive
    w (Hg) is needed for the gradient flow and stays; one with a large negative one goes, and the gradient becomes
    stronger. So the *signed* score matters; the form with absolute values, which some comparisons call by the same
    name, is `GraSPAbs`.

    g and H are those of the loss with logits divided by a temperature. Published code adds up H g over two halves of
    the scoring set with the g of both: the same numbers as here, times a constant.

    Args:
        per_class: so many examples of each class are the scoring set (the paper takes 10), drawn by a stream of the
            problem's seed; None: all examples.
        temperature: what the outputs are divided by, above 0; 200 in the published code. It keeps a random network's
            softmax from being saturated.
        batch: examples at a time; the score depends on it only through batch normalisation and the last bits.

    >>> x, y = torch.eye(8), torch.arange(8) % 2
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> problem = Problem.of(net, (x, y))
    >>> signed, absolute = GraSP().score(problem)["0.weight"], GraSPAbs().score(problem)["0.weight"]
    >>> bool((signed < 0).any()), torch.equal(signed.abs(), absolute)
    (True, True)
    """

    per_class: int | None = None
    temperature: float = 200.0
    batch: int = 1024
    key: ClassVar[str] = "grasp"

    def __post_init__(self) -> None:
        _check(self.per_class, self.temperature, self.batch)

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return w (Hg).

        Raises:
            ValueError: there are no data, a class has too few examples, or the loss is NaN or infinite.
        """
        return _scores(problem, self.per_class, self.temperature, self.batch)


@final
@dataclass(frozen=True)
class GraSPAbs(AbstractScore):
    """Rank weights by |w (Hg)|: what Chen et al. (2021) and others compare with under the name of GraSP.

    Another method than `GraSP`: it keeps the weights whose removal changes the gradient most, in either direction.

    Args:
        per_class: see `GraSP`.
        temperature: see `GraSP`.
        batch: see `GraSP`.
    """

    per_class: int | None = None
    temperature: float = 200.0
    batch: int = 1024
    key: ClassVar[str] = "grasp-abs"

    def __post_init__(self) -> None:
        _check(self.per_class, self.temperature, self.batch)

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return |w (Hg)|; see `GraSP.score`."""
        scores = _scores(problem, self.per_class, self.temperature, self.batch)
        return {name: score.abs() for name, score in scores.items()}


def hessian_gradient(problem: Problem, *, batch: int = 1024) -> dict[str, Tensor]:
    """Return Hg, the Hessian of the mean loss times its gradient, both over all examples and over what is left.

    Two passes over the data: one for g, one for the gradient of g'(w) g with the second g held fixed. Half the
    gradient of |g(w)|^2 is the same vector.

    Args:
        problem: a network and its data.
        batch: examples at a time, at least 1.

    Raises:
        ValueError: there are no data, or the loss, its gradient or Hg is NaN or infinite.
    """
    fixed = mean_gradient(problem, batch=batch)
    module, loss = problem.live(), loss_function(problem.loss)
    parameters = [module.get_parameter(name) for name in problem.names]
    sums = {name: torch.zeros_like(value) for name, value in fixed.items()}
    count = len(problem.data[1])
    for inputs, labels in problem.batches(batch):
        value = loss(module(inputs), labels)
        if not value.requires_grad:
            break  # the loss depends on none of the parameters
        slopes = torch.autograd.grad(value, parameters, create_graph=True, materialize_grads=True)
        along = sum((slope * fixed[name]).sum() for name, slope in zip(problem.names, slopes, strict=True))
        if not isinstance(along, Tensor) or not along.requires_grad:
            continue  # a loss that is linear in all weights has no second derivatives
        products = torch.autograd.grad(along, parameters, allow_unused=True)
        for total, product in zip(sums.values(), products, strict=True):
            if product is not None:
                total += product * (len(labels) / count)
    for name, total in sums.items():
        if not bool(torch.isfinite(total).all()):
            raise ValueError(f"Hg is NaN or infinite at {name}: no score follows from it; look at weights and inputs")
        total *= problem.start[name].to(total.device)
    return sums


def _scores(problem: Problem, per_class: int | None, temperature: float, batch: int) -> dict[str, Tensor]:
    few = scoring_problem(problem, per_class)
    few = replace(few, loss=_tempered(few.loss, temperature))
    product = hessian_gradient(few, batch=batch)
    return {name: weight * product[name] for name, weight in problem.weights.items()}


def _tempered(loss: Loss, temperature: float) -> Loss:
    plain = loss_function(loss)
    return lambda outputs, labels: plain(outputs / temperature, labels)


def _check(per_class: int | None, temperature: float, batch: int) -> None:
    check_whole(per_class=per_class, batch=batch)
    if not 0 < temperature < math.inf:
        raise ValueError(f"expected a finite temperature above 0, got {temperature}")
