"""Controls that stand beside every ticket: masks that know nothing, with the same number of weights in each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.reading import Reading
from strongticket.ticket import Mask, Source, Ticket

__all__ = ["random_mask", "shuffled_mask", "with_statistics"]


def random_mask(source: Source, counts: Mapping[str, int] | Ticket, seed: int) -> Ticket:
    """Return a ticket that keeps random weights of a source: so many of each parameter.

    Its normalisation statistics, if it has any, are those before training: see `with_statistics`.

    Args:
        source: the random network.
        counts: weights kept of each of its parameters; or a ticket, whose counts are taken, and the kinds (binary,
            rescaled) as which its weights are read. Of its factors (signs, coats) it has none: see `shuffled_mask`.
        seed: of the choice.

    Raises:
        ValueError: a parameter without a count, or a count that it does not have.

    >>> from strongticket.models import MLP
    >>> ticket = random_mask(Source(MLP((4, 3, 2)), seed=0), {"layers.0.weight": 5, "layers.1.weight": 6}, seed=1)
    >>> ticket.mask.counts
    {'layers.0.weight': 5, 'layers.1.weight': 6}
    """
    wanted = dict(counts.mask.counts if isinstance(counts, Ticket) else counts)
    shapes = source.shapes
    if wanted.keys() != shapes.keys():
        raise ValueError(f"expected one count for each of {list(shapes)}, got {list(wanted)}")
    indices = {}
    for name, shape in shapes.items():
        size = math.prod(shape)
        if not 0 <= wanted[name] <= size:
            raise ValueError(f"{name} has {size} weights, so its count lies in 0..{size}, got {wanted[name]}")
        indices[name] = random.permutation(seed, f"random mask/{name}", size, purpose=random.TRIAL)[: wanted[name]]
    reading = Reading(counts.reading.kinds) if isinstance(counts, Ticket) else Reading()
    return Ticket(source, Mask.from_indices(shapes, indices), source.architecture.initial_state(), reading=reading)


def shuffled_mask(ticket: Ticket, seed: int) -> Ticket:
    """Return a ticket whose mask is another one's, permuted at random within each parameter; all else is the same.

    Factors (signs, coats) and redraw events move with the places that they belong to.

    Args:
        ticket: whose mask is shuffled.
        seed: of the permutations.

    >>> from strongticket.models import MLP
    >>> ticket = random_mask(Source(MLP((4, 3, 2)), seed=0), {"layers.0.weight": 5, "layers.1.weight": 6}, seed=1)
    >>> shuffled_mask(ticket, seed=1).mask.counts == ticket.mask.counts
    True
    """
    indices: dict[str, Any] = {}
    factors: dict[str, Any] = {}
    redraws: dict[str, Any] = {}
    for name, shape in ticket.mask.shapes.items():
        places = random.permutation(seed, f"shuffled mask/{name}", math.prod(shape), purpose=random.TRIAL)
        indices[name] = places[ticket.mask.indices(name)]
        rising = indices[name].argsort()
        for new, old in ((factors, ticket.reading.factors), (redraws, ticket.reading.redraws)):
            if name in old:
                new[name] = old[name][rising]
    mask = Mask.from_indices(ticket.mask.shapes, indices)
    return Ticket(ticket.source, mask, ticket.dense, reading=Reading(ticket.reading.kinds, factors, redraws))


def with_statistics(ticket: Ticket, inputs: Tensor, *, batch_size: int = 128) -> Ticket:
    """Return a ticket whose batch normalisation has the mean statistics of batches of training inputs.

    A random or shuffled mask has other activations than the ticket it stands beside: with that one's statistics, or
    with none, it would be measured unfairly. A ticket without batch normalisation comes back as it is.

    Args:
        ticket: the mask to measure.
        inputs: training inputs, never those of the test.
        batch_size: inputs per batch, at least 2; a smaller last batch is left out.

    Raises:
        ValueError: there is not one whole batch.
    """
    module = ticket.module()
    layers = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    layers = [layer for layer in layers if layer.track_running_stats]
    if not layers:
        return ticket
    if not 2 <= batch_size <= len(inputs):
        raise ValueError(f"expected a batch_size in 2..{len(inputs)} (the inputs), got {batch_size}")
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.train()
    with torch.no_grad():
        for batch in torch.split(inputs, batch_size):
            if len(batch) == batch_size:
                module(batch)
    state = module.state_dict()
    return replace(ticket, dense={name: state[name] for name in ticket.dense}, certificates=())
