"""The claim of Burkholz 2022 as an experiment: tickets of depth L + 1, by the real construction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np

from theory._claim import AbstractClaim, Outcome, Trial, check_choice, check_factor, in_turn
from theory._draws import Draws
from theory._targets import KINDS, draw_layers
from theory._tickets import SLACK, Matrix, layer_sizes

if TYPE_CHECKING:
    from strongticket.constructions import Burkholz2022Most
    from strongticket.models import Target

__all__ = ["CopiesClaim"]

ACTIVATIONS = ("relu", "leaky")
EXACT_ITEMS = 40
"""Up to this many candidates a weight is one exact problem; beyond, the search by groups may miss a subset."""


@final
class CopiesClaim(AbstractClaim):
    """Depth L + 1 with strongticket's constants: the construction finds, in a random source, a ticket within eps.

    A trial draws one target inside the hypotheses and the source that the bound sizes, and runs the construction. It
    succeeds only when every weight was met and the certificate of `strongticket.certify`, which reads seed and mask
    alone, proves all outputs within eps on |x_i| <= 1. It fails where an output is seen to be off by more, or where
    a weight is not met though all its candidates were one exact problem; beyond 40 candidates that is a miss.

    Parameters: eps (network error), delta, sizes, kind of target ("mixed": each kind in turn), activation ("mixed",
    "relu" or "leaky"), factor (the bound's candidates and copies are divided by it).
    """

    text = (
        "draw a target and a random source one layer deeper; the construction finds a ticket, proved to be within eps "
        "on |x_i| <= 1"
    )
    defaults: Mapping[str, Any] = MappingProxyType(
        {"eps": 0.5, "delta": 0.1, "sizes": "2-2-1", "kind": "mixed", "activation": "mixed", "factor": 1.0}
    )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with `sizes` as a tuple."""
        p = super().resolve(**params)
        p["sizes"] = layer_sizes(p["sizes"])
        check_choice(p, "kind", ("mixed", *KINDS))
        check_choice(p, "activation", ("mixed", *ACTIVATIONS))
        check_factor(p)
        return p

    def describe(self, **params: Any) -> str:
        """Return the parameters in words."""
        p = self.resolve(**params)
        target = to_target(draw_layers("gaussian", p["sizes"], 0), "relu")
        items = _method(target, p, 0).plan(target).items
        return (
            f"targets {'-'.join(map(str, p['sizes']))} ({p['kind']}, {p['activation']}), eps = {p['eps']:g} on "
            f"|x_i| <= 1, candidates and copies like {items} (a Gaussian target's), delta = {p['delta']:g}"
        )

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw target and source, construct, and check the conclusion on what came out."""
        p = self.resolve(**params)
        kind, activation = in_turn(p["kind"], KINDS, seed), in_turn(p["activation"], ACTIVATIONS, seed // len(KINDS))
        target = to_target(draw_layers(kind, p["sizes"], seed), activation)
        trial = _run(target, _method(target, p, seed), p["eps"], seed)
        return Trial(trial.outcome, f"{kind} target, {target.architecture.activation}: {trial.detail}")


def to_target(layers: Sequence[Matrix], activation: str) -> Target:
    """Return the target network with these layers, exactly; one of a single layer has no activation."""
    import torch

    from strongticket.models import Target

    state = {f"{i}.weight": torch.from_numpy(layer.copy()) for i, layer in enumerate(layers)}
    return Target.from_state(state, activation if len(layers) > 1 else "relu")  # type: ignore[arg-type]


def _method(target: Target, p: Mapping[str, Any], seed: int) -> Burkholz2022Most:
    from strongticket.certificate import Domain
    from strongticket.constructions import Burkholz2022Most

    method = Burkholz2022Most(
        network_eps=p["eps"], delta=p["delta"], items="theorem", domain=Domain.box(-1, 1), seed=seed
    )
    if p["factor"] == 1.0:
        return method
    items = tuple(max(1, int(count / p["factor"])) for count in method.plan(target).items)
    return Burkholz2022Most(network_eps=p["eps"], items=items, domain=Domain.box(-1, 1), seed=seed)


def _run(target: Target, method: Burkholz2022Most, eps: float, seed: int) -> Trial:
    from strongticket.certificate import Rigor
    from strongticket.certify import examine_copies

    found = method.construct(target)
    if len(found.unreached):
        exact = all(found.plan.items[layer] <= EXACT_ITEMS for layer in set(found.unreached["layer"].tolist()))
        return Trial(
            Outcome.FAILURE if exact else Outcome.MISSED,
            f"{len(found.unreached)} weights are not met by the candidates",
        )
    draws, d = Draws(seed).inside("inputs"), target.architecture.sizes[0]
    corners = np.where(draws.uniform("corners", (24, d)) < 0, -1.0, 1.0)
    x = np.concatenate([np.eye(d), -np.eye(d), corners, draws.uniform("inside", (8, d))])
    off = float(np.abs(_outputs(target, x) - _outputs(found.best, x)).max())
    if off > eps + SLACK:
        return Trial(Outcome.FAILURE, f"an output is off by {off:.3g}")
    proved = examine_copies(found.best, target, method.domain, method.copies(target)).maximum
    if proved.rigor is not Rigor.PROVED or not off - SLACK <= proved.error <= eps:
        return Trial(Outcome.UNDECIDED, f"outputs are off by {off:.3g}, {proved.rigor.name} is {proved.error:.3g}")
    return Trial(Outcome.SUCCESS, f"outputs proved within {proved.error:.3g}, off by {off:.3g} at most where tried")


def _outputs(network: Any, x: Matrix) -> Matrix:
    """Return the outputs of a target or a ticket in float64."""
    import torch

    with torch.no_grad():
        return np.asarray(network.module().double()(torch.from_numpy(x)).numpy())
