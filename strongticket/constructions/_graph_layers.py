"""The layers of a graph as subset-sum problems: rows of coefficients, half-inputs, pairs of source layers, budgets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray

from strongticket.bounds import HypothesisError
from strongticket.bounds.ferbach2023general import weight_budget
from strongticket.certificate import Domain
from strongticket.constructions._gadget import AbstractPair, HalfInputs
from strongticket.models import Layer
from strongticket.models.bases import AbstractBasis
from strongticket.models.graph import Add, Affine, Graph
from strongticket.models.targets import GraphTarget
from strongticket.ticket import Source

__all__ = ["Coefficients", "GraphPair", "coefficients", "layer_norm", "network_error", "tolerance_for"]

WIDE: Final = 1024  # half-inputs of a layer beyond which its neurons are shared out to windows
WINDOW: Final = 128


@final
@dataclass(frozen=True)
class GraphPair(AbstractPair):
    """One group of one pair of steps of a graph: a pointwise layer and a layer in the target's basis."""

    source: Source
    halves: HalfInputs
    steps: tuple[int, int]
    number: int  # of the group

    @property
    def graph(self) -> Graph:
        """The source's architecture."""
        assert isinstance(self.source.architecture, Graph)
        return self.source.architecture

    @property
    def first(self) -> str:
        """Name of the pointwise layer's weights."""
        return Graph.weight_name(self.steps[0])

    @property
    def second(self) -> str:
        """Name of the second layer's weights."""
        return Graph.weight_name(self.steps[1])

    @property
    def biases(self) -> tuple[str, str] | None:
        """Names of the biases of both layers, if they have any."""
        bias = self.graph.layer(self.steps[0]).bias
        return (Graph.bias_name(self.steps[0]), Graph.bias_name(self.steps[1])) if bias else None

    @property
    def width(self) -> int:
        """Hidden channels of the group."""
        layer = self.graph.layer(self.steps[0])
        return layer.channels_out // layer.groups

    @property
    def outputs(self) -> int:
        """Output channels of the group."""
        layer = self.graph.layer(self.steps[1])
        return layer.channels_out // layer.groups

    @property
    def elements(self) -> int:
        """Size of the basis."""
        return self.graph.layer(self.steps[1]).basis.size

    @property
    def group(self) -> int:
        """Number of the group."""
        return self.number


@final
@dataclass(frozen=True)
class Coefficients:
    """One layer of a target: what each of its coefficients shall be, as rows of subset-sum problems.

    Args:
        step: its step in the target.
        layer: its basis, channels and groups.
        weight: coefficients in float64, exact, [O, I / groups, K].
        bias: [O], or None.
        signed: whether what it reads can be negative.
    """

    step: int
    layer: Affine
    weight: NDArray[np.float64]
    bias: NDArray[np.float64] | None
    signed: bool

    @cached_property
    def halves(self) -> HalfInputs:
        """The half-inputs of each group."""
        return HalfInputs.of(self.weight.shape[1], signed=self.signed, bias=self.bias is not None)

    @property
    def problems(self) -> int:
        """Subset sums: one for each coefficient and half of its input, and one for each bias."""
        halves = self.weight.size * (2 if self.signed else 1)
        return halves + (0 if self.bias is None else self.bias.size)

    @property
    def window(self) -> int | None:
        """Half-inputs that compete for a hidden channel; None for all."""
        return WINDOW if len(self.halves) > WIDE else None

    def magnitudes(self) -> NDArray[np.float64]:
        """Return the absolute values that shall be met, [problems]."""
        weights = np.repeat(np.abs(self.weight.reshape(-1)), 2 if self.signed else 1)
        return weights if self.bias is None else np.concatenate([weights, np.abs(self.bias)])

    def rows(self, group: int) -> Layer:
        """Return a group's coefficients as a layer with a row for each output channel and basis element.

        The bias stands in the row of the element through which a constant passes, and 0 in the others.
        """
        outputs = self.layer.channels_out // self.layer.groups
        own = slice(group * outputs, (group + 1) * outputs)
        rows = self.weight[own].swapaxes(1, 2)  # [outputs, K, inputs]
        weight = np.ascontiguousarray(rows).reshape(-1, rows.shape[2])
        if self.bias is None:
            return Layer(weight, None)
        bias = np.zeros((outputs, self.layer.basis.size))
        bias[:, constant_element(self.layer.basis)] = self.bias[own]
        return Layer(weight, bias.reshape(-1))


def coefficients(target: GraphTarget, domain: Domain) -> list[Coefficients]:
    """Return the layers of a target, in order.

    Raises:
        HypothesisError: a layer has a bias, and no element of its basis lets a constant pass.
    """
    graph, found = target.architecture, []
    for step, numbers in zip(graph.affine, target.layers, strict=True):
        layer = graph.layer(step)
        if layer.bias:
            _check_constants(step, layer)
        signed = not graph.nonnegative(layer.sources[0], domain.nonnegative)
        found.append(Coefficients(step, layer, numbers.weight, numbers.bias, signed))
    return found


def constant_element(basis: AbstractBasis) -> int:
    """Return the first basis element that makes 1 everywhere of what is 1 everywhere; -1 if there is none.

    Beyond the border of a convolution are zeros, so only a place of the kernel that never lies there will do.
    """
    passing = (basis.row_sums == 1.0).all(axis=1)
    return int(passing.argmax()) if passing.any() else -1


def _check_constants(step: int, layer: Affine) -> None:
    if constant_element(layer.basis) < 0:
        raise HypothesisError(
            f"step {step} of the target ({layer.text[:60]}) has a bias, which is made of hidden channels that are "
            "constant; but no element of its basis makes 1 everywhere of 1 everywhere. Take the bias away, or use a "
            "basis that has such an element (a convolution: padding below the size of the kernel)"
        )


def layer_norm(layer: Affine, weight: NDArray[np.float64]) -> float:
    """Return a bound of the norm of a layer between maximum norms: the largest sum of |w| that a position takes.

    For convolutions it is the largest l1 norm of an output channel's kernel, where some position sees all of it. Plain
    floating point, for sizing.

    >>> from strongticket.models.bases import Convolution
    >>> layer_norm(Affine(Convolution(3, 1, 1, (8, 8)), 2, 4), np.full((4, 2, 9), 0.25))
    4.5
    """
    ones = torch.ones(1, layer.channels_in, *layer.basis.inputs, dtype=torch.float64)
    sums = layer.basis.absolute().apply(torch.from_numpy(np.abs(weight)), ones, layer.groups)
    return float(sums.max())


def _error_norm(layer: Affine) -> float:
    """Norm of a layer whose coefficients are all 1: what an error per coefficient is multiplied by."""
    return layer.channels_in / layer.groups * float(layer.basis.absolute().row_sums.sum(axis=0).max())


def network_error(target: GraphTarget, weight_eps: float, radius: float) -> float:
    """Bound the error of a network in maximum norm when no coefficient and no bias is off by more than weight_eps.

    Layer by layer err' = a err + e (B + err) + weight_eps, B' = a B + |b|; sums add both; ReLU, pools, flattening and
    padding leave them as they are. Plain floating point, for sizing.

    Args:
        target: the network.
        weight_eps: largest error of a coefficient.
        radius: largest magnitude of an input.
    """
    return _error_at(target, _norms(target), weight_eps, radius)


def _norms(target: GraphTarget) -> dict[int, tuple[float, float, float]]:
    """{step: (norm, norm of an error of 1 per coefficient, largest |bias|)}."""
    found = {}
    for step, numbers in zip(target.architecture.affine, target.layers, strict=True):
        layer = target.architecture.layer(step)
        bias = 0.0 if numbers.bias is None else float(np.abs(numbers.bias).max())
        found[step] = (layer_norm(layer, numbers.weight), _error_norm(layer), bias)
    return found


def _error_at(target: GraphTarget, norms: dict[int, tuple[float, float, float]], eps: float, radius: float) -> float:
    known = [(radius, 0.0)]
    for k, step in enumerate(target.architecture.steps):
        read = [known[source] for source in step.sources]
        size, error = read[0]
        if isinstance(step, Affine):
            norm, unit, bias = norms[k]
            known.append((norm * size + bias, norm * error + eps * unit * (size + error) + (eps if step.bias else 0.0)))
        elif isinstance(step, Add):
            known.append((sum(each[0] for each in read), sum(each[1] for each in read)))
        else:
            known.append((size, error))
    return known[-1][1]


def tolerance_for(target: GraphTarget, network_eps: float, domain: Domain) -> float:
    """Return the tolerance per coefficient that keeps the whole network within network_eps in maximum norm.

    Raises:
        HypothesisError: a layer of norm beyond 1.
    """
    norms = _norms(target)
    for step, (norm, _, _) in norms.items():
        if norm > 1 + 1e-6:
            raise HypothesisError(
                f"step {step} of the target ({target.architecture.layer(step).text[:60]}) has norm {norm:.6g} between "
                "maximum norms (for a convolution, the largest l1 norm of an output channel's kernel); the theorem "
                "speaks of norms <= 1. Rescale the target, or give weight_eps and certify the ticket afterwards"
            )
    corner = min(domain.radius, max(abs(domain.low), abs(domain.high)))
    return weight_budget(lambda e: _error_at(target, norms, e, max(1.0, corner)), network_eps)
