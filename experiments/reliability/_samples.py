"""Small tickets that between them have everything that a ticket file can have."""

from __future__ import annotations

import numpy as np
import torch

from strongticket.certificate import Certificate, Domain, Rigor
from strongticket.models import MLP
from strongticket.ticket import Init, Mask, Reading, Source, Ticket

__all__ = ["read_ticket", "small_ticket", "tiny_ticket"]


def small_ticket() -> Ticket:
    """bits: layers.0.weight; gaps: layers.1.weight; dense: layers.1.bias; nothing kept: layers.2.bias."""
    source = Source(
        MLP((5, 4, 40, 3), bias=True), 2**64 - 3, Init("uniform23", 0.5, (("layers.0.bias", "sign", 0.25),))
    )
    index = {
        "layers.0.weight": np.array([0, 1, 3, 5, 8, 9, 13, 19]),
        "layers.0.bias": np.array([2]),
        "layers.1.weight": np.array([0, 1, 149, 159]),
        "layers.2.weight": np.arange(120),
    }
    shapes = {name: shape for name, shape in source.shapes.items() if name != "layers.1.bias"}
    dense = {"layers.1.bias": torch.arange(40, dtype=torch.float32) / 7}
    ticket = Ticket(source, Mask.from_indices(shapes, index), dense)
    claim = Certificate("max", Domain.box(0, 1), 0.125, Rigor.PROVED, "by hand", ticket.digest, "0" * 64)
    return ticket.with_certificates(claim)


def read_ticket() -> Ticket:
    """binary and redrawn (bits): layers.1.weight; signed: layers.0.weight; coats, redrawn (gaps), rescaled:
    layers.2.weight; nothing kept and binary: layers.2.bias."""
    ticket = small_ticket()
    generator = np.random.default_rng(0)
    redraws = {
        "layers.1.weight": [0, 0, 300, 0],
        "layers.2.weight": [0] * 5 + [1] + [0] * 3 + [4] + [0] * 109 + [2],
    }
    factors = {
        "layers.0.weight": [1, -1, 1, 1, -1, -1, 1, 1],
        "layers.2.weight": generator.integers(1, 4, 120),
    }
    reading = Reading(
        {"layers.1.weight": "binary", "layers.2.weight": "rescaled", "layers.2.bias": "binary"},
        {name: np.array(values) for name, values in factors.items()},
        {name: np.array(values) for name, values in redraws.items()},
    )
    read = Ticket(ticket.source, ticket.mask, ticket.dense, reading=reading)
    claim = Certificate("max", Domain.box(0, 1), 0.125, Rigor.PROVED, "by hand", read.digest, "0" * 64)
    return read.with_certificates(claim)


def tiny_ticket() -> Ticket:
    """The smallest file: two weights, one kept."""
    source = Source(MLP((2, 1)), 7)
    return Ticket(source, Mask.from_indices(source.shapes, {"layers.0.weight": np.array([1])}))
