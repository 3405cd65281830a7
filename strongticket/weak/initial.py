"""Where weak tickets begin: a random network by its recipe, with zero biases, and the strict ticket that it is."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from strongticket import random
from strongticket.mask import Mask
from strongticket.source import AbstractArchitecture, Init, Source
from strongticket.ticket import Ticket
from strongticket.weak.scope import counted

__all__ = ["LAWS", "beginning", "derived_seed", "initial_law", "random_source", "strict_ticket"]

LAWS = ("glorot-normal", "kaiming-normal")


def initial_law(architecture: AbstractArchitecture, law: str = "glorot-normal") -> Init:
    """Return the law of the initial weights: normal, with a standard deviation for each layer.

    Args:
        architecture: the network.
        law: "glorot-normal": sqrt(2 / (fan in + fan out)), Frankle & Carbin's; "kaiming-normal": sqrt(2 / fan in).

    Raises:
        ValueError: an unknown law.

    >>> from strongticket.models import architecture
    >>> round(initial_law(architecture("lenet-300-100")).of("layers.2.weight")[1], 6)
    0.13484
    """
    if law not in LAWS:
        raise ValueError(f"expected one of {', '.join(LAWS)}, got {law!r}")
    overrides = []
    for name, shape in counted(architecture.shapes).items():
        field = math.prod(shape[2:])
        fan_in, fan_out = shape[1] * field, shape[0] * field
        variance = 2.0 / (fan_in + fan_out) if law == "glorot-normal" else 2.0 / fan_in
        overrides.append((name, "normal-tab1", float(np.float32(math.sqrt(variance)))))
    return Init("normal-tab1", overrides=tuple(overrides))


def derived_seed(seed: int, name: str, purpose: str) -> int:
    """Return a seed of 64 bits that a named stream of another seed gives.

    >>> derived_seed(0, "a", random.INIT) == derived_seed(0, "b", random.INIT)
    False
    """
    high, low = random.words(seed, name, 0, 2, purpose=purpose).tolist()
    return int((high << 32) | low)


def random_source(architecture: AbstractArchitecture, seed: int, law: str, draw: int | None = None) -> Source:
    """Return the random network that a trunk begins from, or one of the fresh draws of its controls.

    Each has a seed of its own, from the stream of initial weights or from that of redrawn ones, so that no draw shares
    a number with another, nor with the source of a strong ticket of the same seed.

    Args:
        architecture: the network.
        seed: of the trunk.
        law: see `initial_law`.
        draw: number of a fresh draw, from 0; None: the trunk's own.
    """
    own = derived_seed(seed, "weak/initial", random.INIT)
    fresh = None if draw is None else derived_seed(seed, f"weak/reinit/{draw}", random.REINIT)
    return Source(architecture, own if fresh is None else fresh, initial_law(architecture, law))


def beginning(source: Source) -> dict[str, Tensor]:
    """Return the values that training begins from: the source's weights, biases 0, fresh normalisation."""
    shapes = source.architecture.shapes
    weights = {name: source.weight(name) if len(shapes[name]) >= 2 else torch.zeros(shapes[name]) for name in shapes}
    return {**weights, **source.architecture.initial_state()}


def strict_ticket(source: Source, mask: Mapping[str, Tensor]) -> Ticket:
    """Return a mask over weights as a strict ticket of its source: random biases are dropped, so they are 0.

    Its network is the one that a level of a trunk begins from when nothing is rewound.

    Args:
        source: the random network.
        mask: what is kept of its matrices and kernels.

    >>> from strongticket.models import MLP
    >>> source = random_source(MLP((4, 3, 2), bias=True), 0, "glorot-normal")
    >>> ticket = strict_ticket(source, Mask.full(counted(source.shapes)))
    >>> start = beginning(source)
    >>> all(torch.equal(ticket.weight(name), start[name]) for name in start)
    True
    """
    shapes = source.architecture.shapes
    whole = Mask({name: mask[name] if name in mask else torch.zeros(shapes[name], dtype=torch.bool) for name in shapes})
    return Ticket(source, whole, source.architecture.initial_state())
