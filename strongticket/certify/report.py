"""The front door of certification: from a ticket and its target to evidence with a number on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np

from strongticket.certificate import Certificate, Domain, Rigor
from strongticket.certify._difference import Difference, Inputs, difference
from strongticket.certify._graph_difference import GraphDifference, graph_difference
from strongticket.certify._graph_walk import bound_graph
from strongticket.certify.certifier import (
    AbstractCertifier,
    Bounds,
    DifferenceIntervals,
    Hybrid,
    LayerBound,
    OperatorNorms,
)
from strongticket.certify.collapse import collapse
from strongticket.certify.graph_collapse import collapse_graph
from strongticket.models import Target
from strongticket.models.graph import Graph
from strongticket.models.targets import GraphTarget
from strongticket.ticket import Ticket

__all__ = ["Comparison", "Method", "Report", "certify", "compare", "examine"]

Method = Literal["auto", "intervals", "norms", "hybrid"]
Comparison = Difference | GraphDifference
_METHODS: dict[str, AbstractCertifier] = {
    "auto": Hybrid(),
    "intervals": DifferenceIntervals(),
    "norms": OperatorNorms(),
    "hybrid": Hybrid(),
}


@final
@dataclass(frozen=True, eq=False)
class Report:
    """Everything that was proved of a ticket and its target over a domain.

    Args:
        maximum: the certificate of the largest output difference, with the bound of each output.
        euclidean: the certificate of the Euclidean norm of the difference.
        layers: what was proved layer by layer.
        comparison: the two networks side by side, for `margins` and `sample` to go on with.
    """

    maximum: Certificate
    euclidean: Certificate
    layers: tuple[LayerBound, ...]
    comparison: Comparison = field(repr=False)

    @property
    def domain(self) -> Domain:
        """The inputs that it speaks of."""
        return self.maximum.domain

    @property
    def per_output(self) -> tuple[float, ...]:
        """The bound of each output's difference."""
        assert self.maximum.per_output is not None
        return self.maximum.per_output

    def __str__(self) -> str:
        lines = [str(self.maximum), str(self.euclidean)]
        for i, layer in enumerate(self.layers, 1):
            lines.append(
                f"layer {i}: largest weight error {layer.largest_error:.3g}, |E| <= {layer.error_norm:.3g}, "
                f"|W| <= {layer.weight_norm:.3g}, |h| <= {layer.hidden:.3g}, |change| <= {layer.difference:.3g} "
                f"(max {layer.difference_max:.3g})"
            )
        return "\n".join(lines)


def compare(ticket: Ticket, target: Target | GraphTarget, domain: Domain) -> Comparison:
    """Return the network that a ticket computes on a domain beside its target, for several questions about the two.

    Raises:
        StructureError: the ticket is not made of product gadgets.
        TypeError: the target is neither a `Target` nor a `GraphTarget`.
        ValueError: target and ticket differ in their layer sizes or steps.
    """
    if not isinstance(target, Target | GraphTarget):
        raise TypeError(
            f"the target is a Target or a GraphTarget, got {type(target).__name__}: read a module with "
            "Target.from_module or GraphTarget.from_module"
        )
    if isinstance(target, GraphTarget) or isinstance(ticket.source.architecture, Graph):
        wanted = target if isinstance(target, GraphTarget) else GraphTarget.from_target(target)
        return graph_difference(collapse_graph(ticket, nonnegative=domain.nonnegative), wanted)
    return difference(collapse(ticket, nonnegative=domain.nonnegative), target)


def certify(ticket: Ticket, target: Target | GraphTarget, domain: Domain, *, method: Method = "auto") -> Certificate:
    """Prove how far a ticket can be from its target: an upper bound on the largest output difference over a domain.

    The ticket is read from its seed and mask alone. Weights on the dyadic grid are summed exactly, and whatever
    floating point rounds afterwards is counted upward, so the number is PROVED.

    Args:
        ticket: a ticket made of product gadgets, in an MLP or a graph; its mask's structure is checked.
        target: the network that it stands for: a `Target`, or a `GraphTarget` for a ticket in a graph.
        domain: the inputs that the claim covers.
        method: "auto" and "hybrid" carry intervals and norms together; "intervals" and "norms" use one kind alone.

    Returns:
        A certificate in the max norm; `examine` gives both norms and the layers.

    Raises:
        StructureError: the ticket is not made of product gadgets; the message names the layer and the neuron.
        ValueError: target and ticket differ in their layer sizes, or the method is unknown.

    >>> import torch
    >>> from strongticket.models import MLP
    >>> from strongticket.ticket import Mask, Source
    >>> source = Source(MLP((1, 1, 1)), seed=3)
    >>> u, v = (float(source.weight(f"layers.{i}.weight")) for i in (0, 1))
    >>> ticket = Ticket(source, Mask.full(source.shapes))
    >>> target = Target(MLP((1, 1)), {"layers.0.weight": torch.tensor([[u * v]], dtype=torch.float64)})
    >>> sided = Domain.box(0, 1) if u > 0 else Domain.box(-1, 0)
    >>> certify(ticket, target, sided).error  # the one neuron computes exactly u v x on its side of 0
    0.0
    """
    return examine(ticket, target, domain, method=method).maximum


def examine(ticket: Ticket, target: Target | GraphTarget, domain: Domain, *, method: Method = "auto") -> Report:
    """Prove how far a ticket can be from its target, in both norms and layer by layer; see `certify`.

    Raises:
        StructureError: the ticket is not made of product gadgets.
        ValueError: target and ticket differ in their layer sizes, or the method is unknown.

    >>> import torch
    >>> from strongticket.models import MLP
    >>> from strongticket.ticket import Mask, Source
    >>> source = Source(MLP((1, 2, 2)), seed=0)
    >>> empty = Ticket(source, Mask.full(source.shapes, kept=False))  # computes 0
    >>> target = Target(MLP((1, 2)), {"layers.0.weight": torch.tensor([[0.25], [-0.5]])})
    >>> found = examine(empty, target, Domain.box(0, 1))
    >>> [round(bound, 9) for bound in found.per_output], round(found.euclidean.error, 3)
    ([0.25, 0.5], 0.559)
    """
    if method not in _METHODS:
        raise ValueError(f"the method of a certificate is one of {list(_METHODS)}, got {method!r}")
    return report(compare(ticket, target, domain), domain, _METHODS[method])


def report(comparison: Comparison, domain: Domain, certifier: AbstractCertifier) -> Report:
    """Bound a comparison over a domain with one certifier."""
    inputs = Inputs.of(domain, comparison.inputs)
    with np.errstate(over="ignore", invalid="ignore"):
        bounds: Bounds
        if isinstance(comparison, GraphDifference):
            kinds = not isinstance(certifier, OperatorNorms), not isinstance(certifier, DifferenceIntervals)
            bounds = bound_graph(comparison, inputs, intervals=kinds[0], norms=kinds[1])
        else:
            bounds = certifier.bound(comparison, inputs)
    if not (np.isfinite(bounds.per_output).all() and np.isfinite(bounds.l2)):
        raise ValueError(
            f"the bound by {certifier.name} overflows float64 on {domain}: the weights or the domain are too large"
        )
    per_output = tuple(float(value) for value in bounds.per_output)
    largest = min(max(per_output), bounds.l2)

    def certificate(norm: Literal["max", "l2"], error: float) -> Certificate:
        return Certificate(
            norm=norm,
            domain=domain,
            error=error,
            rigor=Rigor.PROVED,
            method=certifier.name,
            ticket_digest=comparison.ticket_digest,
            target_digest=comparison.target_digest,
            per_output=per_output if norm == "max" else None,
        )

    return Report(certificate("max", largest), certificate("l2", bounds.l2), bounds.layers, comparison)
