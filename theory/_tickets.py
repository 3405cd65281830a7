"""What claims about constructions share: a target, its ticket, and whether the theorem's conclusion holds on it."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from theory._claim import AbstractClaim, Outcome, Trial, check_choice, check_factor, in_turn
from theory._draws import Draws
from theory._targets import KINDS, draw_layers

if TYPE_CHECKING:
    from strongticket.constructions import Construction
    from strongticket.models import Target

__all__ = [
    "AbstractTicketClaim",
    "Matrix",
    "Place",
    "effective_weights",
    "fewer",
    "forward",
    "judge",
    "layer_sizes",
    "signed_problems",
    "to_target",
    "unmet",
]

Matrix = npt.NDArray[np.float64]

Place = tuple[int, int, int, int]
"""One weight of the target: layer, row, input, and the half of the input (+1 or -1)."""

SLACK = 1e-12
"""For the rounding of matrix products in float64."""


def layer_sizes(value: Any) -> tuple[int, ...]:
    """Return numbers of neurons, inputs first, from text or numbers.

    >>> layer_sizes("3-3-2")
    (3, 3, 2)
    """
    sizes = tuple(int(x) for x in value.split("-")) if isinstance(value, str) else tuple(int(x) for x in value)
    if len(sizes) < 2 or any(size < 1 for size in sizes):
        raise ValueError(f"sizes needs at least two positive layer sizes such as 3-3-2, got {value!r}")
    return sizes


def signed_problems(sizes: Sequence[int]) -> int:
    """Return the number of subset-sum problems where inputs have both signs: two for each weight of the first layer.

    >>> signed_problems((3, 3, 2))
    24
    """
    weights = [a * b for a, b in pairwise(sizes)]
    return sum(weights) + weights[0]


def to_target(layers: Sequence[Matrix]) -> Target:
    """Return the target network with these layers, exactly."""
    import torch

    from strongticket.models import Target

    return Target.from_state({f"{i}.weight": torch.from_numpy(layer.copy()) for i, layer in enumerate(layers)})


def effective_weights(construction: Construction) -> list[Matrix]:
    """Return the ticket's weights without dead neurons, each regenerated alone from seed and index.

    Of a pair of source layers, hidden neurons without outgoing weight are left out; nothing else of the source is made,
    which may be large.
    """
    ticket, matrices = construction.best, []
    names = list(ticket.source.shapes)
    for first, second in zip(names[::2], names[1::2], strict=True):
        (_, d_in), (d_out, width) = ticket.source.shapes[first], ticket.source.shapes[second]
        u, v = ticket.mask.indices(first), ticket.mask.indices(second)
        used = np.unique(v % width)
        matrix, outer = np.zeros((len(used), d_in)), np.zeros((d_out, len(used)))
        place = np.searchsorted(used, u // d_in)
        known = used[np.minimum(place, len(used) - 1)] == u // d_in if len(used) else np.zeros(len(u), dtype=bool)
        matrix[place[known], u[known] % d_in] = ticket.source.weight(first, u[known]).double().numpy()
        outer[v // width, np.searchsorted(used, v % width)] = ticket.source.weight(second, v).double().numpy()
        matrices += [matrix, outer]
    return matrices


def unmet(construction: Construction, layers: Sequence[Matrix], weights: Sequence[Matrix], eps: float) -> list[Place]:
    """Return the weights that the construction reports as unreached, and those that are off whatever it reports."""
    places = {(int(u["layer"]), int(u["row"]), int(u["input"]), int(u["sign"])) for u in construction.unreached}
    for i, layer in enumerate(layers):
        first, second = weights[2 * i], weights[2 * i + 1]
        halves = {1: second @ np.maximum(first, 0.0)}
        if i == 0:  # later layers see nonnegative inputs only
            halves[-1] = second @ np.minimum(first, 0.0)
        for sign, half in halves.items():
            off = np.argwhere(np.abs(half - layer) > eps + SLACK)
            places |= {(i, int(row), int(column), sign) for row, column in off}
    return sorted(places)


def forward(matrices: Sequence[Matrix], x: Matrix) -> Matrix:  # [batch, d_0] -> [batch, d_L]
    """Return the outputs of a ReLU network without biases."""
    for matrix in matrices[:-1]:
        x = np.maximum(x @ matrix.T, 0.0)
    return x @ matrices[-1].T


def judge(
    construction: Construction, layers: Sequence[Matrix], weights: Sequence[Matrix], eps: float, seed: int
) -> Trial:
    """Prove on the ticket that outputs are within eps on the unit ball, or find an input that contradicts it."""
    from strongticket.certificate import Domain, Rigor
    from strongticket.certify import StructureError, examine

    draws, d = Draws(seed).inside("inputs"), layers[0].shape[1]
    x = np.concatenate([np.eye(d), np.linalg.svd(layers[0])[2], draws.normal("directions", (24, d))])
    x = np.concatenate([x, -x]) / np.linalg.norm(np.concatenate([x, x]), axis=1, keepdims=True)
    found = float(np.linalg.norm(forward(layers, x) - forward(weights, x), axis=1).max())
    if found > eps + SLACK:
        return Trial(Outcome.FAILURE, f"an output is off by {found:.3g}")
    try:
        proved = examine(construction.best, to_target(layers), Domain.ball(1)).euclidean
    except StructureError as error:
        return Trial(Outcome.UNDECIDED, f"nothing can be proved of the ticket: {error}")
    if proved.rigor is not Rigor.PROVED or not found - SLACK <= proved.error <= eps:
        return Trial(Outcome.UNDECIDED, f"outputs are off by {found:.3g}, {proved.rigor.name} is {proved.error:.3g}")
    return Trial(Outcome.SUCCESS, f"outputs proved within {proved.error:.3g}, off by {found:.3g} at most where tried")


class AbstractTicketClaim(AbstractClaim):
    """A claim that a construction finds, in a random source, a ticket whose outputs are within eps on the unit ball.

    A trial draws one target inside the hypotheses, takes the source that the bound sizes, and runs the construction. It
    succeeds only when a ticket came out and the conclusion was checked on it: every weight of the target against the
    ticket's weights, regenerated from seed and mask; and the certificate of `strongticket.certify`, proved from the
    ticket and the target alone. Where a weight is not met, `not_met` says what that shows.

    Parameters of every such claim: eps (network error), sizes, kind of target ("mixed": each kind in turn), items
    (None: by the bound), factor (the bound's items are divided by it). `resolve` of a subclass adds `weight_eps`.
    """

    by_bound = ("items",)

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, checked, with `sizes` as a tuple and the number of subset-sum `problems`."""
        p = super().resolve(**params)
        p["sizes"] = layer_sizes(p["sizes"])
        check_choice(p, "kind", ("mixed", *KINDS))
        check_factor(p)
        p["problems"] = signed_problems(p["sizes"])
        return p

    def draw(self, kind: str, p: Mapping[str, Any], seed: int) -> list[Matrix]:
        """Draw the layers of a target inside the hypotheses."""
        return draw_layers(kind, p["sizes"], seed)

    @abstractmethod
    def construct(self, layers: Sequence[Matrix], p: Mapping[str, Any], seed: int) -> Construction:
        """Run the construction in the source that the bound sizes."""

    @abstractmethod
    def not_met(
        self, construction: Construction, layers: Sequence[Matrix], places: Sequence[Place], p: Mapping[str, Any]
    ) -> Trial:
        """Say what it shows that these weights are not met."""

    def conclude(
        self,
        construction: Construction,
        layers: Sequence[Matrix],
        weights: Sequence[Matrix],
        p: Mapping[str, Any],
        seed: int,
    ) -> Trial:
        """Check the conclusion on a ticket whose weights meet the target's."""
        return judge(construction, layers, weights, p["eps"], seed)

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw target and source, construct, and check the conclusion on what came out."""
        p = self.resolve(**params)
        kind = in_turn(p["kind"], KINDS, seed)
        layers = self.draw(kind, p, seed)
        construction = self.construct(layers, p, seed)
        weights = effective_weights(construction)
        places = unmet(construction, layers, weights, p["weight_eps"])
        if places:
            trial = self.not_met(construction, layers, places, p)
        else:
            trial = self.conclude(construction, layers, weights, p, seed)
        return Trial(trial.outcome, f"{kind} target: {trial.detail}")


def fewer(needed: int, p: Mapping[str, Any], least: int = 1) -> int:
    """Return the number of items to use: what is given, or what the bound asks for over the factor."""
    return int(p["items"]) if p["items"] is not None else max(least, math.floor(needed / p["factor"]))
