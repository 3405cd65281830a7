"""The grand comparison's constructed tickets: every theorem's construction for fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from scipy import sparse

from experiments._grand import BATCH, Goal, Row, file_of, shape_of
from experiments._timing import timed

if TYPE_CHECKING:
    from torch import Tensor

    from strongticket.certify import Report
    from strongticket.constructions import Construction
    from strongticket.models import Target
    from strongticket.ticket import Ticket

__all__ = ["CONSTRUCTED", "Proof", "constructed", "outputs_of", "thin_outputs"]

DELTA: Final = 0.1  # failure probability that sizes the sources
_WIDE: Final = 50_000  # neurons of a layer up to which all are run
_WHOLE: Final = 10**8  # weights of a source that is made whole for the strict check
_SHUFFLED: Final = 10**7  # places up to which a mask is shuffled, as its control


@dataclass(frozen=True)
class Proof:
    """A construction with its settings.

    Attributes:
        name: of its class.
        options: of the class.
        rounds: "" for a target as it is; else it is rounded to multiples of 2^-b first, with b "any" or "even".
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rounds: Literal["", "any", "even"] = ""


CONSTRUCTED: Final[Mapping[str, Proof]] = MappingProxyType(
    {
        "pensia": Proof("Pensia2020Optimal"),
        "pensia, exact": Proof("Pensia2020Optimal", {"items": 28, "objective": "min_error"}),
        "pensia, own blocks": Proof("Pensia2020Optimal", {"assignment": "fixed"}),
        "pensia, proved size": Proof("Pensia2020Optimal", {"items": "theorem"}),
        "chijiwa, 4 draws": Proof("Pensia2020Optimal", {"draws": 4}),
        "gadhikar, half the edges": Proof("Pensia2020Optimal", {"edges": 0.5}),
        "malach": Proof("Malach2020Proving", {"choose": "first"}),
        "orseau": Proof("Orseau2020Logarithmic"),
        "natale, 3 per weight": Proof("Natale2024Sparsity", {"size": 3}),
        "burkholz, depth L + 1": Proof("Burkholz2022Most"),
        "kumar, rounded": Proof("Kumar2025Quantized", rounds="even"),
        "diffenderfer, rounded": Proof("Diffenderfer2021Multiprize", rounds="any"),
        "sreenivasan, rounded": Proof("Sreenivasan2022Finding", rounds="any"),
    }
)
"""Constructions of tickets in fully connected networks, all on inputs in [0, 1]. Those of the convolutional, residual
and equivariant papers give Pensia et al.'s ticket on such a network. Networks of one bit, and of few, are given a
target rounded to the tolerance. Candidates per weight are as many as are expected to be enough for this target, but
where the name says otherwise."""


def constructed(goal: Goal, method: str, eps: float, seed: int) -> list[Row]:
    """Return the row of one construction at one tolerance per weight, and of its mask shuffled unless that is huge."""
    from strongticket import constructions
    from strongticket.certificate import Domain
    from strongticket.search import shuffled_mask
    from strongticket.storage import covering_bits, ticket_bits

    proof, box = CONSTRUCTED[method], Domain.box(0, 1)
    target, more = _rounded(goal.target, proof, eps)
    options: dict[str, Any] = {"delta": DELTA, "domain": box, "seed": seed, **proof.options, **more}
    if not proof.rounds:
        options["weight_eps"] = eps
    maker = getattr(constructions, proof.name)(**options)
    seconds: dict[str, float] = {}
    with timed(seconds, "making"):
        made: Construction = maker.construct(target)
    ticket = made.best
    with timed(seconds, "certifying"):
        report = _examined(maker, ticket, goal.target)
    layers = [layer.weight for layer in goal.target.layers]
    covering = math.fsum(covering_bits(w.size, float(abs(w).max(initial=0.0)), eps) for w in layers)
    shared: dict[str, Any] = {"setting": {"eps": eps}, "source": shape_of(ticket.source.architecture)}
    shared |= {"kept": ticket.mask.count, "bits": ticket_bits(ticket), "items": made.plan.items}
    strict = Row(
        method, "constructed", "strict", **shared,
        measures=goal.measures(outputs_of(goal, ticket)),
        mse=_mse(goal, target, made, report),
        certified=None if report is None else report.maximum.error,
        seconds=seconds,
        more={
            "unreached": len(made.unreached),
            "covering_bits": covering / goal.size,
            "strict": _strict(ticket),
            "file": file_of(ticket),
            "construction": made.key,
        },
    )  # fmt: skip
    if ticket.mask.size > _SHUFFLED:
        return [strict]
    other = shuffled_mask(ticket, seed)
    control = Row(f"{method}, shuffled", "control", "strict", **shared, measures=goal.measures(outputs_of(goal, other)))
    return [strict, control]


def _rounded(target: Target, proof: Proof, eps: float) -> tuple[Target, dict[str, int]]:
    """Round the target so finely that no weight changes by more than eps, and say what grid that takes."""
    from strongticket.models.quantized import quantise

    if not proof.rounds:
        return target, {}
    bits = max(1, math.ceil(math.log2(1.0 / eps) - 1.0))
    bits += bits % 2 if proof.rounds == "even" else 0
    reach = 0.5 if proof.rounds == "even" else 1.0
    own = {"source_bits": bits // 2} if proof.rounds == "even" else {"bits": bits}
    return quantise(target, bits, rescale=False, reach=reach).target, own


def _mse(goal: Goal, target: Target, made: Construction, report: Report | None) -> float | None:
    """Mean squared change of a weight of the target: of the ticket's collapsed weights, where these are a network's.

    Where a weight has copies it is that of the subset sums for all of them. A ticket of long paths is the rounded
    target, unless something was not reached.
    """
    if report is None:
        return None if len(made.unreached) else goal.mse_of(target.weights)
    sizes = [layer.weight.size for layer in goal.target.layers]
    gaps = getattr(report.comparison, "layers", ())
    if [gap.error.value.size for gap in gaps] == sizes:
        changes = [float(np.square(gap.error.value).mean()) for gap in gaps]
    else:
        changes = [layer.rms_error**2 for layer in made.layers]
    return math.fsum(n * change for n, change in zip(sizes, changes, strict=True)) / goal.size


def _examined(maker: Any, ticket: Ticket, target: Target) -> Report | None:
    from strongticket.certify import StructureError, examine, examine_copies

    try:
        if hasattr(maker, "copies"):
            return examine_copies(ticket, target, maker.domain, maker.copies(target))
        return examine(ticket, target, maker.domain)
    except StructureError:  # Sreenivasan et al.'s tickets are no gadgets: each edge is a path of its own
        return None


def outputs_of(goal: Goal, ticket: Ticket) -> Tensor:
    """Return what a ticket makes of the test part; of a very wide one, only the neurons that something comes of run."""
    from strongticket.models import sparse_module

    if shape_of(ticket.source.architecture)["width"] <= _WIDE:
        return goal.outputs_of(sparse_module(ticket))
    return thin_outputs(ticket, goal.pixels[0])


def thin_outputs(
    ticket: Ticket,
    inputs: Tensor,  # [batch, features]
) -> Tensor:  # [batch, outputs]
    """Return the outputs of a ticket in a ReLU network without biases, leaving out neurons that nothing is made of.

    These add only zeros to the sums of the others, so the network is the ticket's own; it may differ in rounding.
    """
    from strongticket.models import MLP

    mlp = ticket.source.architecture
    if not isinstance(mlp, MLP) or mlp.bias or not mlp.rectified:
        raise ValueError(f"expected a ticket in a ReLU network without biases, got one in {mlp.id}")
    layers = []
    for i in range(mlp.depth):
        rows, columns = np.divmod(ticket.mask.indices(MLP.weight_name(i)), mlp.sizes[i])
        values = ticket.kept_weights(MLP.weight_name(i)).numpy()
        layers.append(sparse.csr_array((values, (rows, columns)), shape=(mlp.sizes[i + 1], mlp.sizes[i])))
    for i in range(mlp.depth - 1):
        used = np.unique(layers[i + 1].indices)
        layers[i], layers[i + 1] = layers[i][used], layers[i + 1][:, used]
    found = []
    for batch in torch.split(inputs, BATCH):
        hidden = batch.numpy().T
        for i, layer in enumerate(layers):
            hidden = layer @ (np.maximum(hidden, 0.0) if i else hidden)
        found.append(torch.from_numpy(np.ascontiguousarray(hidden.T)))
    return torch.cat(found)


def _strict(ticket: Ticket) -> bool:
    from strongticket.ticketfile import dumps, loads

    wide = ticket.source.architecture.size > _WHOLE  # reading the file has regenerated the kept weights anyway
    return loads(dumps(ticket)) == ticket and (wide or ticket.matches(ticket.module()))
