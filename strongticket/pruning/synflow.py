"""SynFlow: prune before training, without data, and never a whole layer before the others."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from strongticket.mask import Mask
from strongticket.pruning._checks import check_whole
from strongticket.pruning.abstract import AbstractPruner, AbstractScore, Pruned
from strongticket.pruning.problem import Problem
from strongticket.pruning.schedules import Iterative
from strongticket.pruning.shares import check_allocation
from strongticket.pruning.structures import AbstractStructure, NofM, Unstructured
from strongticket.selection import Allocation
from strongticket.selection.largest import check_density

__all__ = ["SynFlow", "SynapticSaliency", "synaptic_flow"]


@final
@dataclass(frozen=True)
class SynapticSaliency(AbstractScore):
    """Rank weights by |w dR/d|w||, where R is the flow through the network: one round of `SynFlow`.

    In a network without normalisation and shortcuts R is 1' |W_L| ... |W_1| 1, the sum over all paths of the product
    of their weights, and the score of a weight is the part of R that goes through it. So the scores of each layer add
    up to R, and those into a unit to those out of it: Tanaka, Kunin, Yamins & Ganguli (2020).

    R is what the network makes of an input of ones, summed, once its weights have become absolute, what is added rather
    than multiplied (biases, running means) is 0, and activations are the identity, as ReLU is on such a network. Batch
    normalisation is in evaluation mode. Everything is computed in float64, since R of a deep network overflows float32
    or vanishes in it.

    Args:
        input_shape: shape of one input, without the batch; None: that of the problem's data, or as many numbers as the
            first linear layer takes.

    >>> net = nn.Sequential(nn.Linear(3, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    >>> scores = SynapticSaliency().score(Problem.of(net))
    >>> bool(torch.isclose(scores["0.weight"].sum(), scores["2.weight"].sum()))
    True
    """

    input_shape: tuple[int, ...] | None = None
    key: ClassVar[str] = "synaptic-saliency"

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return |w dR/d|w||, float64.

        Raises:
            ValueError: no input shape is known, or the outputs do not double with the inputs (layer normalisation,
                attention).
        """
        return synaptic_flow(problem, self.input_shape)[1]


@final
@dataclass(frozen=True)
class SynFlow(AbstractPruner):
    """Prune by synaptic saliency in many rounds, each keeping the same fraction: density d^(k/rounds) after round k.

    The rounds are the method: the scores of a layer add up to R whatever its size, so one round with all layers
    competing empties large layers first, and with many rounds no layer empties while others have weights to lose. A
    layer that is empty all the same (a shortcut beside a path that carries the flow can be) is named in
    `Pruned.stats["empty"]` and, if there were weights enough for all layers, in a RuntimeWarning.

    Args:
        rounds: at least 1; 100 in the paper.
        allocation: how layers share the density; the paper's is "global".
        structure: what goes together; `NofM` has one density, which is reached in one round.
        input_shape: see `SynapticSaliency`.

    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))
    >>> SynFlow().prune(Problem.of(net), 0.01).mask.count
    21
    """

    rounds: int = 100
    allocation: Allocation = "global"
    structure: AbstractStructure = field(default_factory=Unstructured)
    input_shape: tuple[int, ...] | None = None
    key: ClassVar[str] = "synflow"

    def __post_init__(self) -> None:
        check_whole(rounds=self.rounds)
        check_allocation(self.allocation)

    def path(self, problem: Problem, densities: Sequence[float]) -> tuple[Pruned, ...]:
        """Return the network pruned to each density, each by rounds of its own.

        Raises:
            ValueError: a density outside [0, 1], or see `SynapticSaliency.score`.
        """
        for density in densities:
            check_density(density)
        flow = _Flow(problem, self.input_shape)
        flow.check()
        return tuple(self._pruned(problem, flow, density) for density in densities)

    def start_density(self, problem: Problem) -> float:
        """Return the density of what is left to prune, of the entries of the structure."""
        return self.structure.density(problem.start)

    def _pruned(self, problem: Problem, flow: _Flow, density: float) -> Pruned:
        schedule = Iterative(1 if isinstance(self.structure, NofM) else self.rounds)
        mask = problem.start
        for step in schedule.densities(self.start_density(problem), density):
            _, scores = flow.at(mask)
            mask = self.structure.select(scores, mask, step, self.allocation)
        empty = [name for name, count in mask.counts.items() if not count]
        if empty and mask.count >= len(mask):
            warnings.warn(
                f"SynFlow left no weight in {', '.join(empty)}: keep more, or leave these out with `names`",
                RuntimeWarning,
                stacklevel=4,
            )
        weights = {name: weight * mask[name].to(weight.device) for name, weight in problem.weights.items()}
        stats = {"allocation": self.allocation, "structure": self.structure.key, "rounds": self.rounds, "empty": empty}
        return Pruned(mask, weights, problem.module, None, False, self.key, stats)


def synaptic_flow(problem: Problem, input_shape: tuple[int, ...] | None = None) -> tuple[float, dict[str, Tensor]]:
    """Return R and the synaptic saliency of each weight, in float64; see `SynapticSaliency`."""
    flow = _Flow(problem, input_shape)
    flow.check()
    return flow.at(problem.start)


class _Flow:
    """The network with absolute weights, in float64, and its input of ones."""

    def __init__(self, problem: Problem, input_shape: tuple[int, ...] | None) -> None:
        self._module = _positive(problem)
        self._names = problem.names
        self._whole = {name: self._module.get_parameter(name).detach().clone() for name in problem.names}
        shape = _input_shape(problem) if input_shape is None else tuple(input_shape)
        self._ones = torch.ones((1, *shape), dtype=torch.float64, device=self._whole[problem.names[0]].device)

    def check(self) -> None:
        """Refuse networks that no flow goes through in proportion.

        Raises:
            ValueError: see `SynapticSaliency.score`.
        """
        with torch.no_grad():
            once, twice = float(self._module(self._ones).sum()), float(self._module(2.0 * self._ones).sum())
        if not math.isfinite(twice) or abs(twice - 2.0 * once) > 1e-9 * abs(twice):
            raise ValueError(
                f"SynFlow needs a network whose outputs double with its inputs once biases are gone: they sum to "
                f"{once:.6g} for ones and to {twice:.6g} for twos; use another score for networks with layer "
                "normalisation or attention"
            )

    def at(self, mask: Mask) -> tuple[float, dict[str, Tensor]]:
        """Return R and the scores with the weights that a mask keeps."""
        parameters = [self._module.get_parameter(name) for name in self._names]
        for name, parameter in zip(self._names, parameters, strict=True):
            parameter.data = self._whole[name] * mask[name].to(parameter.device)
        outputs = self._module(self._ones).sum()
        slopes = torch.autograd.grad(outputs, parameters, materialize_grads=True)
        found = zip(self._names, parameters, slopes, strict=True)
        return float(outputs.detach()), {name: (weight.detach() * slope).abs() for name, weight, slope in found}


def _positive(problem: Problem) -> nn.Module:
    """A float64 copy of the network with absolute weights, without anything that is added, and linear."""
    module = problem.live().double().eval()
    with torch.no_grad():
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            if value.is_floating_point():
                added = name.rpartition(".")[2] in ("bias", "running_mean")
                value.copy_(torch.zeros_like(value) if added else value.abs())
    for part in list(module.modules()):
        for name, child in part.named_children():
            if type(child) in _ACTIVATIONS:
                setattr(part, name, nn.Identity())
    return module


_ACTIVATIONS = frozenset(
    (
        *(nn.CELU, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid, nn.Mish),
        *(nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Tanh),
    )
)


def _input_shape(problem: Problem) -> tuple[int, ...]:
    if problem.inputs is not None:
        return tuple(problem.inputs.shape[1:])
    first = next((part for part in problem.module.modules() if isinstance(part, nn.Linear | nn.Conv2d)), None)
    if isinstance(first, nn.Linear):
        return (first.in_features,)
    raise ValueError("SynFlow looks at no data but must know the shape of an input: give data, or input_shape")
