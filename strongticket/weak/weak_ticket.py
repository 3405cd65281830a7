"""A ticket that can leave its trunk: mask and rewound weights of a level, to be trained elsewhere or made deeper.

What stands beside such a ticket is here too: its controls, and masks that are found on the rewound weights alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal, Self

from torch import Tensor

from strongticket.mask import Mask
from strongticket.pruning import METHODS, SNIP, AbstractPruner, AbstractScore, GraSP, GraSPAbs, pruner_of
from strongticket.pruning.problem import Mode, Problem
from strongticket.source import AbstractArchitecture
from strongticket.training.checkpoint import digest
from strongticket.weak.controls import Control, control_mask, control_weights
from strongticket.weak.imp import Family, Level, Trunk, WeakData, masked
from strongticket.weak.initial import random_source
from strongticket.weak.scope import counted, level_totals

__all__ = ["AT_START", "WeakTicket", "at_start", "controlled", "train_ticket"]

AtStart = Literal["random", "magnitude", "snip", "grasp", "grasp-abs", "synflow"]
AT_START: Final[Mapping[AtStart, str]] = MappingProxyType(
    {
        "random": "random scores, all layers competing",
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

    Raises:
        ValueError: an unknown method, or more examples per class than there are.
    """
    if method not in AT_START:
        raise ValueError(f"unknown method {method!r}: expected one of {', '.join(AT_START)}")
    whole, values, names = Mask.full(trunk.shapes), trunk.rewound(), tuple(trunk.pruned)
    module = trunk.network.module({name: value.clone() for name, value in values.items()}).to(data.train[0].device)
    start = Mask({name: whole[name] for name in names})
    problem = Problem.of(module, data.train, names=names, seed=trunk.imp.seed, start=start, mode=mode)
    kept = level_totals(trunk.network.shapes, trunk.imp.rule, number)[number] - (whole.size - start.size)
    found = pruner_of(_scorer(method, per_class, batch)).prune(problem, kept / start.size).mask
    mask = Mask({name: found[name] if name in found else whole[name] for name in whole})
    return WeakTicket(trunk.network, values, mask, names)


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


def _scorer(method: AtStart, per_class: int | None, batch: int) -> AbstractPruner | AbstractScore:
    scorer = METHODS[method]()
    if isinstance(scorer, SNIP | GraSP | GraSPAbs):
        return replace(scorer, per_class=per_class, batch=batch)
    return scorer


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
