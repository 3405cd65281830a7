"""Count what a network costs to write down: tickets, quantised and sparse weights, and the least that any code needs.

>>> import torch
>>> from strongticket.models import MLP
>>> from strongticket.ticket import Mask, Source, Ticket
>>> source = Source(MLP((16, 8, 4)), seed=1)
>>> half = {name: torch.arange(16 * 8 if "0" in name else 8 * 4).view(shape) % 2 == 0
...         for name, shape in source.shapes.items()}
>>> bits = ticket_bits(Ticket(source, Mask(half)))
>>> bits.seed, round(bits.positions, 1)  # 160 places, half of them kept
(64.0, 165.4)
"""

from strongticket.storage.bits import (
    Bits,
    FileBits,
    file_bits,
    float_bits,
    mask_bits,
    subset_bits,
    symbol_bits,
    ticket_bits,
)
from strongticket.storage.codes import (
    CODES,
    Approximation,
    Code,
    at_budget,
    entropy_coded,
    kmeans_quantised,
    sparse_float,
    sparse_quantised,
    uniform_quantised,
)
from strongticket.storage.limits import RateDistortion, covering_bits, gaussian_bits, water_level

__all__ = [
    "CODES",
    "Approximation",
    "Bits",
    "Code",
    "FileBits",
    "RateDistortion",
    "at_budget",
    "covering_bits",
    "entropy_coded",
    "file_bits",
    "float_bits",
    "gaussian_bits",
    "kmeans_quantised",
    "mask_bits",
    "sparse_float",
    "sparse_quantised",
    "subset_bits",
    "symbol_bits",
    "ticket_bits",
    "uniform_quantised",
    "water_level",
]
