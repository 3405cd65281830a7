"""Fischer et al. 2021, "Lottery tickets with nonzero biases": tickets carry over to sources of any scale.

A ticket in a source with weights U(-1, 1) is a ticket of the same mask in a source whose layers are multiplied by
positive numbers, provided that the biases of each layer are multiplied by the product so far. (Constant neurons for
biases of the target are part of every construction here: see `_gadget`.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from strongticket.models import MLP
from strongticket.ticket import Init, Ticket

__all__ = ["with_gains"]


def with_gains(ticket: Ticket, gains: Sequence[float]) -> Ticket:
    """Return the same mask on the same random network with layer l multiplied by gains[l]: a strict ticket again.

    Its outputs are the product of all gains times as large, exactly; in float32 too, where nothing overflows or becomes
    subnormal.

    Args:
        ticket: a ticket in an MLP of ReLU, without dense values.
        gains: a positive power of two for each layer, so that no weight is rounded.

    Raises:
        TypeError: no ticket in a ReLU MLP, one with dense values, or gains that are no numbers.
        ValueError: gains of another number or kind, or a scale beyond what sources have.

    >>> import torch
    >>> from strongticket.ticket import Mask, Source
    >>> source = Source(MLP((2, 3, 1), bias=True), seed=1)
    >>> ticket = Ticket(source, Mask.full(source.shapes))
    >>> x = torch.tensor([[0.5, -0.25]])
    >>> bool(with_gains(ticket, (0.5, 8.0)).module()(x) == 4 * ticket.module()(x))
    True
    """
    mlp = ticket.source.architecture
    if not isinstance(mlp, MLP) or not mlp.rectified or ticket.dense:
        dense = f" with dense {sorted(ticket.dense)}" if ticket.dense else ""
        raise TypeError(f"gains are for tickets in a ReLU MLP without dense values, got {mlp.id}{dense}")
    if not all(isinstance(g, int | float) and not isinstance(g, bool) for g in gains):
        raise TypeError(f"gains are numbers, one for each layer, got {list(gains)}")
    if len(gains) != mlp.depth or not all(g > 0 and math.isfinite(g) and math.frexp(g)[0] == 0.5 for g in gains):
        raise ValueError(f"expected {mlp.depth} positive powers of two, got {list(gains)}")
    overrides, product = [], 1.0
    for layer, gain in enumerate(gains):
        product *= gain
        for name, factor in ((MLP.weight_name(layer), gain), (MLP.bias_name(layer), product)):
            if name in mlp.shapes:
                law, scale = ticket.source.init.of(name)
                overrides.append((name, law, scale * factor))
    init = Init(ticket.source.init.law, ticket.source.init.scale, tuple(overrides))
    return Ticket(replace(ticket.source, init=init), ticket.mask, reading=ticket.reading)
