"""Redraws of IteRand on the device of the search: the numbers of the CPU, bit for bit, and nothing is waited for."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from strongticket import random
from strongticket.random import philox_torch
from strongticket.random.streams import check_seed, stream_id
from strongticket.ticket import Source

__all__ = ["redrawn"]


def redrawn(
    source: Source,
    seed: int,
    name: str,
    event: int,
    rate: float,
    weights: Tensor,  # [size] float32
    dropped: Tensor,  # [size] bool
) -> tuple[Tensor, Tensor]:  # [size] float32, [size] bool
    """Return the weights of a parameter after a redraw event, and which of them were drawn anew.

    Args:
        source: the random network.
        seed: of the search, which decides what is drawn anew.
        name: of the parameter.
        event: number of the redraw, from 1.
        rate: share of what is dropped that is drawn anew.
        weights: before the event.
        dropped: what may be drawn anew.
    """
    size, device = weights.numel(), weights.device
    stream = stream_id(f"redraw/{event}/{name}", random.TRIAL)
    again = torch.empty_like(dropped)
    for offset, words in philox_torch.word_chunks(check_seed(seed), stream, 0, size, device):
        again[offset : offset + words.numel()] = words < int(rate * 2**32)
    again &= dropped
    law, scale = source.init.of(name)
    drawn = random.law(law).tensor(
        source.seed, name, event * size, (event + 1) * size, device=device, purpose=random.REINIT
    )
    return torch.where(again, drawn * float(np.float32(scale)), weights), again
