"""Conformance checks of pruning methods: what every score and every pruner promises, tried on networks that break them.

>>> from strongticket.pruning import Magnitude
>>> check_score(Magnitude())
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from strongticket.mask import Mask
from strongticket.pruning import AbstractPruner, AbstractScore, Problem, Pruned, ScorePruner, pruner_of
from strongticket.pruning.saliency import scores_of
from strongticket.selection import kept_count
from strongticket.testing._promises import elsewhere, must, undrawn
from strongticket.training import TrainingError, initialise

__all__ = ["check_pruner", "check_score"]

DENSITIES = (1.0, 0.77, 0.5, 0.1, 0.0)
NO_DENSITIES = (-0.1, 1.1, math.nan, math.inf)


@dataclass(frozen=True)
class _Case:
    """A network and the data that a method may look at."""

    name: str
    module: nn.Module
    data: tuple[Tensor, Tensor]

    def problem(self, seed: int = 0, start: Mask | None = None) -> Problem:
        return Problem.of(self.module, self.data, seed=seed, start=start)


def check_score(score: AbstractScore, *, seed: int = 0) -> None:
    """Check what every score promises: one finite saliency per weight, a function of the problem, which stays as it is.

    It is tried on a small network, on one with dead inputs and a dead unit, on one whose weights are all of one
    magnitude, on one with a layer of a single row, and on convolutions; then `check_pruner` tries the pruner that it
    makes.

    Args:
        score: with its settings.
        seed: of the networks, their data, and what the score draws.

    Raises:
        AssertionError: saying what was promised and what was found.

    >>> class Rows(AbstractScore):
    ...     key = "rows"
    ...     def score(self, problem):
    ...         return {name: w.sum(1) for name, w in problem.weights.items()}
    >>> check_score(Rows())
    Traceback (most recent call last):
    ...
    AssertionError: rows on plain: rows gave saliencies {'0.weight': (6,), ...
    """
    for case in _cases(seed):
        with _named(score.key, case):
            _check_saliencies(score, case, seed)
    check_pruner(ScorePruner(score), seed=seed)


def check_pruner(method: AbstractPruner | AbstractScore | str, *, nested: bool = True, seed: int = 0) -> None:
    """Check what every pruner of single weights promises, on the networks of `check_score`.

    Exactly as many weights are kept as a density says, 1 and 0 among them, also where saliencies tie; the others are 0;
    survivors keep their values unless the method says that it moves them; what was pruned before stays so; the network
    that was given is left alone; the result is a function of the arguments, whatever torch's own generator has
    drawn, and nothing is drawn from that; several densities at once are what each is alone; and densities
    that are none, and losses that are NaN, are refused.

    Args:
        method: a pruner, a score or the name of a method.
        nested: whether masks of falling densities lie in each other.
        seed: of the networks, their data, and what the method draws.

    Raises:
        AssertionError: saying what was promised and what was found.

    >>> check_pruner("magnitude")
    """
    pruner = pruner_of(method)
    name = pruner.score.key if isinstance(pruner, ScorePruner) else pruner.key
    for case in _cases(seed):
        with _named(name, case):
            _check_path(pruner, case, nested, seed)
            _check_start(pruner, case, seed)
    with _named(name, case):
        _check_refusals(pruner, case)


def _cases(seed: int) -> list[_Case]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(24, 5, generator=generator)
    labels = (inputs @ torch.randn(5, 3, generator=generator)).argmax(1)
    plain = initialise(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)), seed)
    dead = initialise(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)), seed)
    dead.get_parameter("0.bias").data[2] = -100.0  # this unit never is active
    tied = initialise(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)), seed)
    for name in ("0.weight", "2.weight"):
        weight = tied.get_parameter(name)
        weight.data = torch.where(weight >= 0, 0.25, -0.25)
    narrow = initialise(nn.Sequential(nn.Linear(5, 1), nn.Tanh(), nn.Linear(1, 3)), seed)
    kernels = nn.Sequential(nn.Conv2d(1, 3, 2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(27, 3))
    images = inputs[:, :4].reshape(24, 1, 2, 2)
    quiet = torch.cat([torch.zeros(24, 2), inputs[:, 2:]], 1)  # two inputs are always 0
    return [
        _Case("plain", plain, (inputs, labels)),
        _Case("dead inputs and a dead unit", dead, (quiet, labels)),
        _Case("weights of one magnitude", tied, (inputs, labels)),
        _Case("a layer of one row", narrow, (inputs, labels)),
        _Case("convolutions", initialise(kernels, seed), (images, labels)),
    ]


@contextmanager
def _named(method: str, case: _Case) -> Iterator[None]:
    """Say in every failure whose it is, and that the network given and torch's generator are as before."""
    before, modes = _values(case.module), _modes(case.module)
    try:
        with undrawn("Problem.seed"):
            yield
            after = _values(case.module)
            must(before.keys() == after.keys(), "the network that was given has other parameters than before")
            changed = [name for name in before if not torch.equal(before[name], after[name])]
            must(not changed, f"the network that was given has changed: {', '.join(changed)}")
            same = _modes(case.module) == modes
            must(same, "the network that was given has another mode, or other needs of gradients")
    except Exception as error:
        raise AssertionError(f"{method} on {case.name}: {error}") from error


def _values(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _modes(module: nn.Module) -> list[object]:
    parameters = [(name, value.requires_grad, value.grad is None) for name, value in module.named_parameters()]
    return [*(part.training for part in module.modules()), *parameters]


def _check_saliencies(score: AbstractScore, case: _Case, seed: int) -> None:
    problem = case.problem(seed)
    before = _values(problem.module)
    found = scores_of(score, problem)
    must(list(found) == list(problem.names), f"saliencies come as {list(found)}, expected {list(problem.names)}")
    must(all(value.is_floating_point() for value in found.values()), "saliencies are floating-point numbers")
    must(not any(value.requires_grad for value in found.values()), "saliencies need no gradients: detach them")
    after = _values(problem.module)
    must(all(torch.equal(before[name], after[name]) for name in before), "the network of the problem has changed")
    with elsewhere():
        again = score.score(case.problem(seed))
    same = all(torch.equal(found[name], again[name]) for name in found)
    must(same, "the same problem has other saliencies the second time")
    told, increases = score.score_and_increase(case.problem(seed))
    must(all(torch.equal(told[n], found[n]) for n in found), "score and score_and_increase give other saliencies")
    if increases is not None:
        shapes = {name: tuple(value.shape) for name, value in increases.items()}
        must(shapes == problem.shapes, f"increases have the shapes {shapes}, expected {problem.shapes}")
        finite = all(bool(value.isfinite().all()) for value in increases.values())
        must(finite, "increases are NaN or infinite")
    must(increases is not None or not score.is_increase, "is_increase is set, and no increases are given")


def _check_path(pruner: AbstractPruner, case: _Case, nested: bool, seed: int) -> None:
    problem = case.problem(seed)
    densities = (*DENSITIES[:-1], 1 / problem.size, 0.0)
    path = pruner.path(problem, densities)
    must(len(path) == len(densities), f"{len(path)} results for {len(densities)} densities")
    for density, pruned in zip(densities, path, strict=True):
        _check_pruned(pruned, problem, case, kept_count(density, problem.size), f"density {density:.3g}")
    for more, less in pairwise(path) if nested else ():
        must((more.mask & less.mask) == less.mask, "masks of falling densities do not lie in each other")
    with elsewhere():
        again = pruner.path(case.problem(seed), densities)[2]
    must(again.mask == path[2].mask, "the same problem has another mask the second time")
    equal = all(torch.equal(again.weights[name], path[2].weights[name]) for name in path[2].weights)
    must(equal, "the same problem has other weights the second time")
    alone = pruner.prune(case.problem(seed), densities[2])
    must(alone.mask == path[2].mask, "a density alone has another mask than among others")
    must(problem.seed == seed and problem.start.count == problem.size, "the problem has changed")


def _check_pruned(pruned: Pruned, problem: Problem, case: _Case, count: int, at: str) -> None:
    must(tuple(pruned.mask) == problem.names, f"{at}: the mask is of {list(pruned.mask)}, not of {list(problem.names)}")
    must(pruned.mask.count == count, f"{at}: {pruned.mask.count} weights are kept, expected exactly {count}")
    module, masked = pruned.module(), pruned.module(updated=False)
    for name in problem.names:
        kept, value, given = pruned.mask[name], pruned.weights[name], case.module.get_parameter(name).detach()
        must(value.shape == given.shape, f"{at}: {name} has the shape {tuple(value.shape)}, not {tuple(given.shape)}")
        must(bool(value.isfinite().all()), f"{at}: {name} holds NaN or infinite weights")
        for weights in (value, module.get_parameter(name), masked.get_parameter(name)):
            must(not bool(weights[~kept].any()), f"{at}: {name} is not 0 outside of the mask")
        if not pruned.updated:
            must(torch.equal(value[kept], given[kept]), f"{at}: survivors of {name} have moved, and updated is False")
    finite = pruned.predicted_increase is None or math.isfinite(pruned.predicted_increase)
    must(finite, f"{at}: the predicted increase is {pruned.predicted_increase}")


def _check_start(pruner: AbstractPruner, case: _Case, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed + 1)
    shapes = case.problem().shapes
    start = Mask({name: torch.rand(shape, generator=generator) < 0.6 for name, shape in shapes.items()})
    problem = case.problem(seed, start)
    for density in (0.9, 0.3, 0.0):
        pruned = pruner.prune(problem, density)
        count = min(start.count, kept_count(density, problem.size))
        at = f"density {density} after an earlier pruning"
        must(pruned.mask.count == count, f"{at}: {pruned.mask.count} weights are kept, expected {count}")
        must((pruned.mask & start) == pruned.mask, f"{at}: weights that were gone are kept again")
        back = [name for name in start if bool(pruned.weights[name][~start[name]].any())]
        must(not back, f"{at}: weights of {', '.join(back)} that were gone are not 0")


def _check_refusals(pruner: AbstractPruner, case: _Case) -> None:
    problem = case.problem()
    for density in NO_DENSITIES:
        must(_refuses(lambda d=density: pruner.prune(problem, d)), f"the density {density} is not refused")  # type: ignore[misc]
    inputs, labels = case.data
    for what, wild in (("NaN", torch.full_like(inputs, math.nan)), ("huge", torch.full_like(inputs, 3e38))):
        try:
            pruned = pruner.prune(replace(problem, inputs=wild, labels=labels), 0.5)
        except (ValueError, RuntimeError, TrainingError):
            continue
        finite = all(bool(value.isfinite().all()) for value in pruned.weights.values())
        must(finite and pruned.mask.count == kept_count(0.5, problem.size), f"{what} inputs lead to NaN weights")
        unmoved = pruner.prune(problem, 0.5).mask == pruned.mask or what == "huge"
        must(unmoved, "NaN inputs lead to another mask, and are not refused")


def _refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except ValueError:
        return True
    return False
