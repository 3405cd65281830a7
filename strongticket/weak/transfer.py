"""One ticket for many tasks: carry a ticket to other data or another optimiser, and what has to stand beside it.

Morcos, Yu, Paganini & Tian (2019) find tickets on one data set, with one optimiser, and train them on others.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from strongticket import random
from strongticket.mask import Mask
from strongticket.weak.controls import Control
from strongticket.weak.imp import Level, Trunk
from strongticket.weak.scope import kinds
from strongticket.weak.weak_ticket import WeakTicket, controlled, train_ticket

__all__ = ["TRANSFER_ARMS", "Head", "TransferArm", "carried", "class_halves", "head_of", "transfer"]

Head = Literal["auto", "new", "ticket"]
TransferArm = Literal["transferred", "target", "random-layer", "random-global", "reinit"]
TRANSFER_ARMS: Final[Mapping[TransferArm, Control | None]] = MappingProxyType(
    {
        "transferred": Control(),
        "target": None,
        "random-layer": Control("reinit", "layer-shuffle"),
        "random-global": Control("reinit", "global-shuffle"),
        "reinit": Control("reinit"),
    }
)
"""What is trained on the target: the ticket carried over; one found there (None: no control of the first); two random
tickets, of fresh weights under the carried mask, permuted within each layer or over all of them, which levels out the
layers' densities too; and the carried mask itself with fresh weights."""


def head_of(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Return the names of the output layer, the only part that depends on the classes: its matrix and its biases.

    >>> head_of({"fc1.weight": (300, 784), "fc1.bias": (300,), "fc2.weight": (10, 300), "fc2.bias": (10,)})
    ('fc2.weight', 'fc2.bias')
    """
    weight = next((name for name, kind in kinds(shapes).items() if kind == "output"), None)
    if weight is None:
        raise ValueError(f"a network without a matrix has no output layer to replace: it has {', '.join(shapes)}")
    prefix = weight.rpartition(".")[0]
    return tuple(name for name in shapes if name.rpartition(".")[0] == prefix)


def carried(ticket: WeakTicket, target: Trunk, *, head: Head = "auto") -> WeakTicket:
    """Return a ticket for the network of another trunk: the same but for, maybe, its output layer.

    A new output layer is the target's own rewound one, whole: nothing of it was pruned on the source, so nothing is on
    the target. Then the density that counts is the measured one, `WeakTicket.density`.

    Args:
        ticket: found elsewhere.
        target: where it is to be trained; its network differs from the ticket's in the number of classes at most.
        head: the output layer: "auto": new if the classes differ; "new": new in any case; "ticket": the ticket's.

    Raises:
        ValueError: an unknown `head`, or networks that differ in more than the output layer.

    >>> from strongticket.weak import Imp, StepRecipe, WeakData
    >>> x, y = torch.eye(16), torch.arange(16) % 2
    >>> data, recipe = WeakData((x, y), (x, y), (x, y)), StepRecipe(40, 8, 0.01, evaluate_every=20)
    >>> source = Trunk(Imp("mlp-16-12-2+bias", recipe), data)
    >>> target = Trunk(Imp("mlp-16-12-3+bias", recipe, seed=1), data)
    >>> ticket = WeakTicket.of(source, 2)
    >>> ticket.mask.counts, carried(ticket, target).mask.counts
    ({'layers.0.weight': 123, 'layers.1.weight': 20}, {'layers.0.weight': 123, 'layers.1.weight': 36})
    """
    if head not in get_args(Head):
        raise ValueError(f"expected head in {get_args(Head)}, got {head!r}")
    theirs, own = head_of(ticket.network.shapes), head_of(target.network.shapes)
    here, there = _layout(ticket, theirs), {**target.network.shapes, **_state(target)}
    body = {name: shape for name, shape in there.items() if name not in own}
    if wrong := [name for name in {**here, **body} if here.get(name) != body.get(name)]:
        shapes = ", ".join(f"{name}: {here.get(name, 'none')} and {body.get(name, 'none')}" for name in wrong[:3])
        raise ValueError(
            f"{ticket.network.id} and {target.network.id} differ in more than the output layer ({shapes}): a ticket "
            "is carried over between networks for inputs of the same shape, of the same widths and depth"
        )
    differs = [tuple(ticket.values[name].shape) for name in theirs] != [there[name] for name in own]
    if head == "ticket" and (differs or theirs != own):
        raise ValueError(f"the output layers of {ticket.network.id} and {target.network.id} differ: give head='new'")
    new = own if head == "new" or (head == "auto" and differs) else ()  # what is taken from the target
    rewound, whole = target.rewound(), Mask.full(target.shapes)
    values = {name: rewound[name] if name in new else ticket.values[name] for name in there}
    mask = Mask({name: whole[name] if name in new else ticket.mask[name] for name in whole})
    pruned = tuple(name for name in ticket.pruned if name not in new)
    return WeakTicket(target.network, values, mask, pruned)


def transfer(
    source: Trunk, target: Trunk, number: int, arm: TransferArm = "transferred", *, head: Head = "auto", draw: int = 0
) -> Level:
    """Train the ticket of a level of one trunk as another trunk trains, or one of the controls of that.

    Optimiser, schedule, data and batch order are the target's, and it begins at the target's step of rewinding.

    Args:
        source: where the ticket is found.
        target: where it is trained.
        number: level of the source; of the target for the arm "target".
        arm: one of `TRANSFER_ARMS`.
        head: see `carried`.
        draw: number of the random draw of a control.

    Raises:
        ValueError: an unknown arm, or networks that differ in more than the output layer.
    """
    if arm not in TRANSFER_ARMS:
        raise ValueError(f"unknown arm {arm!r}: expected one of {', '.join(TRANSFER_ARMS)}")
    control = TRANSFER_ARMS[arm]
    if control is None:
        return target.level(number)
    ticket = carried(WeakTicket.of(source, number), target, head=head)
    return train_ticket(target, controlled(ticket, Control(control.weights, control.mask, draw), target))


def class_halves(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Split examples into two halves with as many of each class, such as CIFAR-10 a and b, of 2,500 per class.

    Which example is where is a function of (seed, labels). Of a class with an odd number the first half has one more.

    Args:
        labels: [n], int64.
        seed: of the split.

    Returns:
        Two lists of places, rising: disjoint, and together all.

    >>> a, b = class_halves(torch.arange(12) % 3, 0)
    >>> sorted([*a.tolist(), *b.tolist()]) == list(range(12)), (a % 3).bincount().tolist()
    (True, [2, 2, 2])
    """
    if labels.ndim != 1 or labels.dtype != torch.int64 or not len(labels):
        raise ValueError(f"expected labels [n], int64, at least one, got {labels.dtype} {tuple(labels.shape)}")
    first: list[Tensor] = []
    second: list[Tensor] = []
    for label in sorted(set(labels.tolist())):
        places = (labels == label).nonzero()[:, 0].cpu()
        order = random.permutation(seed, f"class halves/{label}", len(places), purpose=random.SPLIT)
        places = places[torch.from_numpy(order)]
        middle = (len(places) + 1) // 2
        first.append(places[:middle])
        second.append(places[middle:])
    return torch.cat(first).sort().values, torch.cat(second).sort().values


def _layout(ticket: WeakTicket, without: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in ticket.values.items() if name not in without}


def _state(trunk: Trunk) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, (shape, _) in trunk.network.state.items()}
