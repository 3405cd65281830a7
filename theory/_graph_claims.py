"""The claim of theorems on layers in a basis: the real construction, on small networks of every kind they speak of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import torch

from strongticket.bounds import pensia2020optimal as bounds
from theory._claim import AbstractClaim, Outcome, Trial, check_choice, check_factor, in_turn
from theory._draws import Draws
from theory._tickets import SLACK, fewer

if TYPE_CHECKING:
    from strongticket.constructions import Construction
    from strongticket.constructions._graph import AbstractGraphConstruction
    from strongticket.models.graph import Graph
    from strongticket.models.targets import GraphTarget

__all__ = ["COEFFICIENTS", "NETWORKS", "GraphTicketClaim", "draw_target", "network"]

COEFFICIENTS: Final = ("gaussian", "extreme", "even", "zero")


def _chain(shape: tuple[int, ...], *steps: Any) -> Graph:
    from strongticket.models.graph import Graph

    return Graph(shape, steps)


def _plain() -> Graph:
    from strongticket.models.bases import Convolution, Pointwise
    from strongticket.models.graph import Affine, Flatten, MaxPool, Rectify

    conv = Affine(Convolution(3, 1, 1, (4,)), 1, 2)
    return _chain((1, 4), conv, Rectify(), MaxPool((2,)), Flatten(), Affine(Pointwise(), 4, 2))


def _strided() -> Graph:
    from strongticket.models.bases import Convolution
    from strongticket.models.graph import Affine, Rectify

    first, second = Convolution(2, 2, 1, (4, 4)), Convolution(2, 1, 0, (3, 3))
    return _chain((1, 4, 4), Affine(first, 1, 1), Rectify(), Affine(second, 1, 2))


def _grouped() -> Graph:
    from strongticket.models.bases import Convolution, Pointwise
    from strongticket.models.graph import Affine, Rectify

    conv = Affine(Convolution(3, 1, 1, (3,)), 2, 2, groups=2)
    return _chain((2, 3), conv, Rectify(), Affine(Pointwise((3,)), 2, 1))


def _circulant() -> Graph:
    from strongticket.models.bases import Circulant
    from strongticket.models.graph import Affine, Rectify

    return _chain((1, 4), Affine(Circulant(4), 1, 2), Rectify(), Affine(Circulant(4), 2, 1))


def _group() -> Graph:
    from strongticket.models.bases import GroupConvolution, dihedral
    from strongticket.models.graph import Affine, Rectify

    basis = GroupConvolution(dihedral(3))
    return _chain((1, 6), Affine(basis, 1, 1), Rectify(), Affine(basis, 1, 1))


def _sets() -> Graph:
    from strongticket.models.bases import Sets
    from strongticket.models.graph import Affine, Rectify

    return _chain((2, 3), Affine(Sets(3), 2, 2), Rectify(), Affine(Sets(3), 2, 1))


def _dense() -> Graph:
    from strongticket.models.bases import Pointwise
    from strongticket.models.graph import Affine, Rectify

    return _chain((3,), Affine(Pointwise(), 3, 3), Rectify(), Affine(Pointwise(), 3, 2))


def _identity() -> Graph:
    from strongticket.models.bases import Convolution
    from strongticket.models.graph import Add, Affine, Rectify

    layer = Affine(Convolution(2, 1, 0, (3,)), 1, 1)
    conv = Affine(Convolution(3, 1, 1, (2,)), 1, 1)
    return _chain((1, 3), layer, Rectify(), conv, Rectify(), conv, Add((5, 2)), Rectify())


def _projection() -> Graph:
    from strongticket.models.bases import Convolution
    from strongticket.models.graph import Add, Affine, Rectify

    branch = (Affine(Convolution(3, 2, 1, (4,)), 1, 1), Rectify(), Affine(Convolution(3, 1, 1, (2,)), 1, 1))
    return _chain((1, 4), *branch, Affine(Convolution(1, 2, 0, (4,)), 1, 1, reads=0), Add((3, 4)), Rectify())


NETWORKS: Final[Mapping[str, Callable[[], Graph]]] = MappingProxyType(
    {
        "plain": _plain,
        "strided": _strided,
        "grouped": _grouped,
        "circulant": _circulant,
        "group": _group,
        "sets": _sets,
        "dense": _dense,
        "identity": _identity,
        "projection": _projection,
    }
)


def network(name: str) -> Graph:
    """Return a small network, by name."""
    return NETWORKS[name]()


def draw_target(name: str, kind: str, seed: int) -> GraphTarget:
    """Draw coefficients, each layer scaled to norm 1 between maximum norms (zeros stay zero).

    Args:
        name: one of `NETWORKS`.
        kind: "gaussian"; "extreme" (one coefficient per output channel, as large as it can be); "even" (all of one
            magnitude, signs drawn); "zero".
        seed: of the trial.
    """
    from strongticket.constructions._graph_layers import layer_norm
    from strongticket.models.graph import Graph
    from strongticket.models.targets import GraphTarget

    graph, weights = network(name), {}
    for step in graph.affine:
        layer, draws = graph.layer(step), Draws(seed).inside(f"step {step}")
        shape = layer.weight_shape
        if kind == "gaussian":
            drawn = draws.normal("entries", shape)
        else:
            signs = 2.0 * draws.below("signs", 2, int(np.prod(shape))).reshape(shape) - 1.0
            place = draws.below("places", shape[1] * shape[2], shape[0])
            chosen = np.arange(shape[1] * shape[2]).reshape(1, *shape[1:]) == place[:, None, None]
            drawn = {"extreme": np.where(chosen, signs, 0.0), "even": signs, "zero": np.zeros(shape)}[kind]
        norm = layer_norm(layer, drawn)
        # a hair below 1, so that rounding cannot break the hypothesis
        scaled = drawn / norm * (1.0 - 1e-10) if norm > 0 else drawn
        weights[Graph.weight_name(step)] = torch.from_numpy(scaled)
    return GraphTarget(graph, weights)


@final
class GraphTicketClaim(AbstractClaim):
    """The theorem with our numbers, by the real construction: it finds, in a random source, a ticket within eps.

    A trial draws a target inside the hypotheses and takes the source that the bound sizes. It succeeds only when a
    ticket came out, its outputs - of the masked random network, run in float64 - are within eps where tried, and a
    certificate proves them within eps for all inputs in [-1, 1]. A coefficient that is not met makes the trial a
    failure where one exact problem holds all its candidates; else the construction missed, whatever exists.

    Args:
        networks: which of `NETWORKS` the theorem speaks of.
        method: makes the construction.

    Parameters: eps (network error), delta, network and kind of coefficients ("mixed": each in turn), assignment,
    objective, items (per coefficient; None: by the bound), factor (the bound's items are divided by it).
    """

    text = (
        "draw a target of norm <= 1 and a random source; the construction finds a ticket, proved to be within eps in "
        "maximum norm for inputs in [-1, 1]"
    )
    by_bound = ("items",)

    def __init__(self, networks: tuple[str, ...], method: Callable[[], type[AbstractGraphConstruction]]) -> None:
        self.networks, self.method = networks, method
        self.defaults: Mapping[str, Any] = MappingProxyType(
            {
                "eps": 0.1,
                "delta": 0.01,
                "network": "mixed",
                "kind": "mixed",
                "assignment": "fixed",
                "objective": "sparsest",
                "items": None,
                "factor": 1.0,
            }
        )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked."""
        p = super().resolve(**params)
        check_factor(p)
        check_choice(p, "network", ("mixed", *self.networks))
        check_choice(p, "kind", ("mixed", *COEFFICIENTS))
        check_choice(p, "assignment", ("fixed", "column-aware"))
        return p

    def describe(self, **params: Any) -> str:
        """Return the parameters in words, with the items of each network."""
        p = self.resolve(**params)
        names = self.networks if p["network"] == "mixed" else (p["network"],)
        counts = ", ".join(f"{name} {self.items(name, p)}" for name in names)
        return (
            f"eps = {p['eps']:g} in maximum norm on [-1, 1], coefficients {p['kind']}, delta = {p['delta']:g}; items "
            f"per coefficient ({p['assignment']}): {counts}"
        )

    def items(self, name: str, p: Mapping[str, Any]) -> int:
        """Return the candidates per coefficient that the bound asks for, over the factor; or those given."""
        if p["items"] is not None:
            return int(p["items"])
        plan = self.construction(p, 0, 1).plan(_largest(name))
        return fewer(_needed(sum(plan.problems), plan.weight_eps[0], p["delta"], p["assignment"]), p)

    def construction(self, p: Mapping[str, Any], seed: int, items: int) -> AbstractGraphConstruction:
        """Return the construction with these parameters."""
        return self.method()(
            network_eps=p["eps"],
            delta=p["delta"],
            items=items,
            assignment=p["assignment"],
            objective=p["objective"],
            seed=seed,
        )

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw target and source, construct, and check the conclusion on what came out."""
        from strongticket.constructions.pensia2020optimal import EXACT_ITEMS

        p = self.resolve(**params)
        name = in_turn(p["network"], self.networks, seed)
        kind = in_turn(p["kind"], COEFFICIENTS, seed // len(self.networks))
        target, items = draw_target(name, kind, seed), self.items(name, p)
        construction = self.construction(p, seed, items).construct(target)
        if len(construction.unreached):
            outcome = Outcome.FAILURE if items <= EXACT_ITEMS else Outcome.MISSED
            trial = Trial(outcome, f"{len(construction.unreached)} coefficients are not met")
        else:
            trial = _judge(construction, target, p["eps"], seed)
        return Trial(trial.outcome, f"{name} network, {kind} coefficients: {trial.detail}")


@cache
def _needed(problems: int, weight_eps: float, delta: float, assignment: bounds.Assignment) -> int:
    """The bound's items for coefficients of magnitude 1 at most."""
    from strongticket.constructions.pensia2020optimal import WEAKEST_ITEM

    return bounds.items_for_network(
        problems, weight_eps, delta, mode="theorem", assignment=assignment, u_min=WEAKEST_ITEM
    )


@cache
def _largest(name: str) -> GraphTarget:
    """A target of the largest norms that the hypotheses allow, which sizes the source for all of them."""
    return draw_target(name, "even", 0)


def _judge(construction: Construction, target: GraphTarget, eps: float, seed: int) -> Trial:
    """Prove the conclusion on the ticket, or find an input that contradicts it."""
    from strongticket.certificate import Domain, Rigor
    from strongticket.certify import StructureError, certify
    from strongticket.models import sparse_module

    size = int(np.prod(target.architecture.inputs))
    x = Draws(seed).uniform("inputs", (4, size))
    points = torch.from_numpy(np.concatenate([x, -x, np.sign(x), -np.sign(x)]))
    gap = sparse_module(construction.best).double()(points) - target.module().double()(points)
    found = float(gap.abs().max())
    if found > eps + SLACK:
        return Trial(Outcome.FAILURE, f"an output is off by {found:.3g}")
    try:
        proved = certify(construction.best, target, Domain.box(-1, 1))
    except StructureError as error:
        return Trial(Outcome.UNDECIDED, f"nothing can be proved of the ticket: {error}")
    if proved.rigor is not Rigor.PROVED or not found - SLACK <= proved.error <= eps:
        return Trial(Outcome.UNDECIDED, f"outputs are off by {found:.3g}, {proved.rigor.name} is {proved.error:.3g}")
    return Trial(Outcome.SUCCESS, f"outputs proved within {proved.error:.3g}, off by {found:.3g} at most where tried")
