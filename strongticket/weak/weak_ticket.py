"""A ticket that can leave its trunk: mask and rewound weights of a level, to be trained elsewhere or made deeper.

What stands beside such a ticket is here too: its controls, and masks that are found on the rewound weights alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal, Self

from torch import Tensor, nn

from strongticket.mask import Mask
from strongticket.pruning import (
    METHODS,
    SNIP,
    AbstractPruner,
    AbstractScore,
    GraSP,
    GraSPAbs,
    Iterative,
    SynFlow,
    inverted,
    pruner_of,
)
from strongticket.pruning.problem import Mode, Problem
from strongticket.pruning.synflow import SynapticSaliency
from strongticket.source import AbstractArchitecture
from strongticket.training.checkpoint import digest
from strongticket.weak.controls import Control, control_mask, control_weights
from strongticket.weak.imp import Family, Level, Trunk, WeakData, masked
from strongticket.weak.initial import random_source
from strongticket.weak.scope import counted, level_totals

__all__ = ["AT_START", "WeakTicket", "at_start", "controlled", "refilled", "train_ticket"]

AtStart = Literal["random", "random-layer", "magnitude", "snip", "grasp", "grasp-abs", "synflow"]
AT_START: Final[Mapping[AtStart, str]] = MappingProxyType(
    {
        "random": "random scores, all layers competing",
        "random-layer": "random scores, all layers at the same density",
        "magnitude": "the largest of the rewound weights",
        "snip": "SNIP",
        "grasp": "GraSP with the sign of its scores, as published",
        "grasp-abs": "GraSP without it, as in the released code of Chen et al. (2021)",
        "synflow": "SynFlow, 100 rounds",
    }
)
"""Methods that find a mask on the rewound weights, before anything more is trained; {name: what it is}."""


@dataclass(frozen=True, eq=False)
class WeakTicket:
    """Hold what a weak ticket is trained from.

    Attributes:
        network: what it is a subnetwork of.
        values: state dict of the whole network at the step that is rewound to, statistics included.
        mask: what is kept of the counted weights (matrices and kernels).
        pruned: the layers that pruning may take from; controls with random masks leave the others as they are.

    Raises:
        ValueError: values or a mask that are not the network's.
    """

    network: AbstractArchitecture
    values: Mapping[str, Tensor] = field(repr=False)
    mask: Mask
    pruned: tuple[str, ...]

    def __post_init__(self) -> None:
        wanted = {**self.network.shapes, **{name: shape for name, (shape, _) in self.network.state.items()}}
        _same_shapes("values", {name: tuple(value.shape) for name, value in self.values.items()}, wanted)
        _same_shapes("mask", self.mask.shapes, counted(self.network.shapes))
        if unknown := sorted(set(self.pruned) - set(self.mask)):
            raise ValueError(f"{', '.join(unknown)} cannot be pruned: the mask has {', '.join(self.mask)}")

    @classmethod
    def of(cls, trunk: Trunk, number: int, family: Family = "iterative") -> Self:
        """Return the ticket of a level of a trunk, which is made if it is not there.

        Args:
            trunk: the source of the ticket.
            number: of the level; 0: the whole network.
            family: see `Trunk.level`.

        >>> import torch
        >>> from strongticket.weak import Imp, StepRecipe
        >>> x, y = torch.eye(16), torch.arange(16) % 2
        >>> data = WeakData((x, y), (x, y), (x, y))
        >>> trunk = Trunk(Imp("mlp-16-12-2+bias", StepRecipe(40, 8, 0.01, evaluate_every=20)), data)
        >>> WeakTicket.of(trunk, 2).mask.counts
        {'layers.0.weight': 123, 'layers.1.weight': 20}
        """
        return cls(trunk.network, trunk.rewound(), trunk.mask(number, family), tuple(trunk.pruned))

    @property
    def density(self) -> float:
        """Fraction of the counted weights that is kept."""
        return self.mask.density

    @property
    def digest(self) -> str:
        """sha256 of what training begins from: kept values, all that is not masked, and the mask."""
        return digest({"network": self.network.id, "values": masked(self.values, self.mask), "mask": self.mask.digest})

    def module(self) -> nn.Module:
        """Return the subnetwork before it is trained, on the CPU: what is not kept is +0.0."""
        values = masked(self.values, self.mask)
        return self.network.module({name: value.detach().cpu().clone() for name, value in values.items()})


def controlled(ticket: WeakTicket, control: Control, trunk: Trunk) -> WeakTicket:
    """Return a control of a ticket: other weights, another mask, or both.

    Args:
        ticket: it may come from anywhere, but is of the trunk's network.
        control: what is changed.
        trunk: whose law of initial weights and whose seed fresh draws are made with.

    Raises:
        ValueError: a ticket of another network.
    """
    _check_network(ticket, trunk)
    seed = trunk.imp.seed
    mask = control_mask(ticket.mask, control, ticket.pruned, seed)
    fresh = random_source(trunk.network, seed, trunk.imp.law, control.draw)
    return replace(ticket, values=control_weights(ticket.values, mask, control, trunk.source, fresh, seed), mask=mask)


def at_start(
    trunk: Trunk,
    number: int,
    method: AtStart,
    data: WeakData,
    *,
    per_class: int | None = None,
    mode: Mode = "train",
    batch: int = 1024,
    backwards: bool = False,
) -> WeakTicket:
    """Return a ticket with as many weights as a level has, chosen on the rewound weights alone.

    Args:
        trunk: whose rewound weights, scope and seed are used.
        number: of the level with as many weights; how many those are is known without training it.
        method: one of `AT_START`.
        data: the trunk's; training examples are looked at by SNIP and GraSP alone.
        per_class: so many examples of each class are looked at; None: all. Papers take 10, or all.
        mode: "train": normalisation by the moments of the examples, which should then fit into one batch; "eval": by
            the running statistics at the step that is rewound to.
        batch: examples at a time.
        backwards: keep what the method ranks lowest, which no method that found something should survive.

    Raises:
        ValueError: an unknown method, or more examples per class than there are.
    """
    _check_method(method)
    whole, values, names = Mask.full(trunk.shapes), trunk.rewound(), tuple(trunk.pruned)
    start = Mask({name: whole[name] for name in names})
    kept = level_totals(trunk.network.shapes, trunk.imp.rule, number)[number] - (whole.size - start.size)
    pruner = _pruner(method, per_class, batch, backwards)
    found = _found(trunk, values, names, kept, pruner, data, mode)
    return WeakTicket(trunk.network, values, Mask({**whole, **found}), names)


def refilled(
    ticket: WeakTicket,
    parts: Collection[str],
    trunk: Trunk,
    data: WeakData,
    method: AtStart = "snip",
    *,
    per_class: int | None = None,
    mode: Mode = "train",
    batch: int = 1024,
) -> WeakTicket:
    """Return a ticket with some parts made anew: rewound values of a trunk, and a mask that a method finds on them.

    As many weights as before are kept of these parts together, found while all others stand as the ticket has them.
    With `BlockPlan.copies` as parts this is an ablation of elastic tickets: their source's mask on the blocks that
    were there, and SNIP on the others.

    Args:
        ticket: of the trunk's network.
        parts: names of parameters and buffers.
        trunk: whose rewound values these get, and whose seed is used.
        data: the trunk's; see `at_start`.
        method: one of `AT_START`.
        per_class: see `at_start`.
        mode: see `at_start`.
        batch: see `at_start`.

    Raises:
        ValueError: a ticket of another network, an unknown method, or parts without any weight that may be pruned.
    """
    _check_network(ticket, trunk)
    _check_method(method)
    names = tuple(name for name in ticket.pruned if name in parts)
    if not names:
        raise ValueError(f"none of the parts {sorted(parts)[:3]} is among the layers that are pruned: {ticket.pruned}")
    rewound = trunk.rewound()
    values = {name: rewound[name] if name in parts else value for name, value in ticket.values.items()}
    kept = sum(ticket.mask.counts[name] for name in names)
    others = Mask({name: ticket.mask[name] for name in ticket.mask if name not in names})
    around = masked(values, others)
    found = _found(trunk, around, names, kept, _pruner(method, per_class, batch, False), data, mode)
    return replace(ticket, values=values, mask=Mask({**ticket.mask, **found}))


def _found(
    trunk: Trunk,
    values: Mapping[str, Tensor],
    names: tuple[str, ...],
    kept: int,
    pruner: AbstractPruner,
    data: WeakData,
    mode: Mode,
) -> Mask:
    """The mask over some layers, whole so far, that a method finds on these values."""
    module = trunk.network.module({name: value.clone() for name, value in values.items()}).to(data.train[0].device)
    start = Mask.full({name: trunk.shapes[name] for name in names})
    problem = Problem.of(module, data.train, names=names, seed=trunk.imp.seed, start=start, mode=mode)
    return pruner.prune(problem, kept / start.size).mask


def train_ticket(trunk: Trunk, ticket: WeakTicket) -> Level:
    """Train a ticket as the levels of a trunk are trained, from the trunk's step of rewinding on; a stage, made once.

    Args:
        trunk: says data, recipe, seed and where stages are kept.
        ticket: of the trunk's network, wherever it was found.

    Raises:
        ValueError: a ticket of another network.
    """
    _check_network(ticket, trunk)
    return trunk.train(ticket.values, ticket.mask, ticket=ticket.digest)


def _pruner(method: AtStart, per_class: int | None, batch: int, backwards: bool) -> AbstractPruner:
    if method == "synflow":
        rounds = Iterative(SynFlow().rounds)
        return pruner_of(inverted(SynapticSaliency()), schedule=rounds) if backwards else SynFlow()
    scorer = METHODS[method.removesuffix("-layer")]()
    assert isinstance(scorer, AbstractScore)
    if isinstance(scorer, SNIP | GraSP | GraSPAbs):
        scorer = replace(scorer, per_class=per_class, batch=batch)
    return pruner_of(
        inverted(scorer) if backwards else scorer, allocation="layer" if method.endswith("-layer") else "global"
    )


def _check_method(method: str) -> None:
    if method not in AT_START:
        raise ValueError(f"unknown method {method!r}: expected one of {', '.join(AT_START)}")


def _check_network(ticket: WeakTicket, trunk: Trunk) -> None:
    if ticket.network.id != trunk.network.id:
        raise ValueError(
            f"the ticket is one of {ticket.network.id}, and the trunk's network is {trunk.network.id}: carry it over "
            "(`carried`) or change its depth (`elastic`) first"
        )


def _same_shapes(what: str, got: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> None:
    for name in (*wanted, *got):
        if got.get(name) != (None if name not in wanted else tuple(wanted[name])):
            raise ValueError(
                f"the {what} of {name} should have shape {wanted.get(name, 'none: there is no such part')}, got "
                f"{got.get(name, 'nothing')}"
            )
