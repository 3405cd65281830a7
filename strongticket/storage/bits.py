"""How many bits a ticket, a mask or a set of weights is, exactly defined: enumerative codes, not file formats.

A code that has N equally long messages is counted as log2 N bits, not rounded up: what an arithmetic coder reaches
within two bits for the whole network. Every count is one that a decoder can be written for: it is told the shapes (by
the name of the architecture, which is paid for) and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln
from torch import Tensor

from strongticket._files import canonical_json
from strongticket.mask import Mask
from strongticket.ticket import AbstractArchitecture, Ticket
from strongticket.ticketfile import dumps

__all__ = [
    "Bits",
    "FileBits",
    "file_bits",
    "float_bits",
    "mask_bits",
    "name_bits",
    "subset_bits",
    "symbol_bits",
    "ticket_bits",
    "word_bits",
]

SEED: Final = 64.0
FLOAT: Final = 32.0
_EXACT: Final = 4096  # sizes up to which binomials are whole numbers


@final
@dataclass(frozen=True)
class Bits:
    """What a network costs to write down, part by part, in bits.

    Attributes:
        seed: of the random network; 0 where there is none.
        recipe: 8 bits for each byte of the canonical JSON that names the architecture and, of a ticket, the laws.
        positions: which weights are kept: log2 C(n, k) + log2(n + 1) for each parameter.
        values: what the kept weights are, if that is not the source's business: 32 bits each, quantised indices with
            their codebooks, or the factors and redraws of a ticket's reading.
        dense: parameters and statistics that are neither masked nor random.

    >>> bits = Bits(seed=64, recipe=8, positions=100)
    >>> bits.total, bits.to_json()["total"]
    (172.0, 172.0)
    """

    seed: float = 0.0
    recipe: float = 0.0
    positions: float = 0.0
    values: float = 0.0
    dense: float = 0.0

    @property
    def total(self) -> float:
        """The sum."""
        return float(self.seed + self.recipe + self.positions + self.values + self.dense)

    def to_json(self) -> dict[str, float]:
        """Return the parts and the total."""
        return {**asdict(self), "total": self.total}


@final
@dataclass(frozen=True)
class FileBits:
    """What a ticket costs as it is really written, in bits.

    Attributes:
        packed: the mask at one bit for each weight of the source.
        header: the header of the ticket file: names, shapes, laws, digests, all in JSON.
        file: the whole file.
    """

    packed: int
    header: int
    file: int

    def to_json(self) -> dict[str, int]:
        """Return the JSON form."""
        return asdict(self)


def _log2_choose(items: int, size: int) -> float:
    if not 0 <= size <= items:
        raise ValueError(f"expected 0 <= kept <= size, got {size} of {items}")
    if items <= _EXACT:
        return math.log2(math.comb(items, size))
    return float(gammaln(items + 1.0) - gammaln(size + 1.0) - gammaln(items - size + 1.0)) / math.log(2.0)


def subset_bits(size: int, kept: int) -> float:
    """Return the bits of one subset of `size` things: log2(size + 1) for how many it has, log2 C(size, kept) for which.

    The enumerative code: the messages (k, number of the subset among those of k things) of every subset are distinct,
    and a subset of k things is one of (size + 1) C(size, k) of equal length. So it never costs more than
    log2(size + 1) beyond the best code that knows k, and a mask kept by coin tosses costs about the binary entropy of
    its density for each weight.

    Raises:
        ValueError: kept outside 0..size.

    >>> subset_bits(3, 0), subset_bits(3, 1) == 2 + math.log2(3)
    (2.0, True)
    """
    return math.log2(size + 1) + _log2_choose(size, kept)


def symbol_bits(counts: ArrayLike) -> float:
    """Return the bits of a word over an alphabet, the counts of its symbols included: `subset_bits` for many symbols.

    A word of n letters whose S symbols occur counts[0], counts[1], ... times is one of n!/(counts[0]! counts[1]! ...);
    the counts are one of C(n + S - 1, S - 1). The sum of the two logarithms is at least n times the entropy of the
    letters: of all C(n + S - 1, S - 1) types, drawing letters by these frequencies makes this type most likely, so its
    probability, n!/(...) 2^(-n H), is at least 1/C(n + S - 1, S - 1).

    Args:
        counts: occurrences of each symbol of the alphabet, 0 included.

    Raises:
        ValueError: no symbol, or a negative count.

    >>> symbol_bits([1, 2]) == subset_bits(3, 1), symbol_bits([5])
    (True, 0.0)
    """
    occurs = np.asarray(counts, dtype=np.int64).reshape(-1)
    if not occurs.size or int(occurs.min()) < 0:
        raise ValueError(f"expected counts >= 0 of at least one symbol, got {counts!r}")
    n = int(occurs.sum())
    words = float(gammaln(n + 1.0) - gammaln(occurs + 1.0).sum()) / math.log(2.0)
    if n <= _EXACT:  # without rounding, as a product of binomials
        words, left = 0.0, n
        for count in occurs[occurs > 0].tolist():
            words, left = words + _log2_choose(left, count), left - count
    return words + _log2_choose(n + occurs.size - 1, occurs.size - 1)


def word_bits(word: NDArray[np.int64]) -> float:
    """Return the bits of a word over 0, 1, ..., its largest letter: `symbol_bits`, also where few of many occur."""
    symbols = int(word.max(initial=-1)) + 1
    if symbols <= 4 * word.size + 1024:
        return symbol_bits(np.bincount(word, minlength=max(1, symbols)))
    # no histogram of all symbols
    counts = np.unique(word, return_counts=True)[1]
    n = word.size
    words = float(gammaln(n + 1.0) - gammaln(counts + 1.0).sum())
    types = float(gammaln(n + symbols + 0.0) - gammaln(n + 1.0) - gammaln(symbols + 0.0))
    return (words + types) / math.log(2.0)


def mask_bits(mask: Mask) -> float:
    """Return the bits of a mask: `subset_bits` of each parameter."""
    shapes, counts = mask.shapes, mask.counts
    return math.fsum(subset_bits(math.prod(shapes[name]), counts[name]) for name in shapes)


def _json_bits(value: Any) -> float:
    return 8.0 * len(canonical_json(value))


def _numbers_bits(values: ArrayLike) -> float:
    """A list of whole numbers: 32 bits for each that occurs, as many for how many these are, and the word over them."""
    found, counts = np.unique(np.asarray(values), return_counts=True)
    return FLOAT * (len(found) + 1) + symbol_bits(counts) if len(found) else FLOAT


def ticket_bits(ticket: Ticket) -> Bits:
    """Return what a ticket is: a seed, the laws of its random network, which weights are kept, how they are read.

    The seed counts 64 bits, though most were not chosen. Factors (signs, coats) and redraw events of the kept weights
    are words over the numbers that occur, see `symbol_bits`; kinds of reading are one byte for each parameter that has
    one. What is dense counts as many bits as its type has. Names and shapes follow from the architecture's.
    """
    recipe = {key: value for key, value in ticket.source.to_json().items() if key != "seed"}
    reading = ticket.reading
    words: list[ArrayLike] = [*reading.factors.values(), *reading.redraws.values()]
    return Bits(
        seed=SEED,
        recipe=_json_bits(recipe) + 8.0 * len(reading.kinds),
        positions=mask_bits(ticket.mask),
        values=math.fsum(_numbers_bits(word) for word in words),
        dense=float(sum(8 * value.element_size() * value.numel() for value in ticket.dense.values())),
    )


def file_bits(ticket: Ticket) -> FileBits:
    """Return the size of a ticket's real file without certificates, of its header, and of its mask as packed bits."""
    file = dumps(Ticket(ticket.source, ticket.mask, ticket.dense, reading=ticket.reading))
    header = int.from_bytes(file[:8], "little")
    return FileBits(packed=ticket.mask.size, header=8 * header, file=8 * len(file))


def name_bits(architecture: AbstractArchitecture | None) -> float:
    """Return what naming an architecture costs; 0 for none."""
    return 0.0 if architecture is None else _json_bits({"architecture": architecture.id})


def float_bits(
    weights: Mapping[str, Tensor], mask: Mask | None = None, *, architecture: AbstractArchitecture | None = None
) -> Bits:
    """Return what weights cost in float32: 32 bits each, or for each kept one, with the positions of these.

    Args:
        weights: by name.
        mask: what is kept of some of them; the others are written whole.
        architecture: whose name is paid for.

    Raises:
        ValueError: a mask of parameters that are not there, or of other shapes.

    >>> import torch
    >>> float_bits({"w": torch.ones(2, 3)}).total
    192.0
    >>> kept = Mask({"w": torch.tensor([[True, False, False], [False, False, False]])})
    >>> float_bits({"w": torch.ones(2, 3)}, kept).total == 32 + math.log2(7) + math.log2(6)
    True
    """
    counts: dict[str, int] = {name: value.numel() for name, value in weights.items()}
    positions = 0.0
    if mask is not None:
        for name, shape in mask.shapes.items():
            if name not in weights or tuple(weights[name].shape) != shape:
                raise ValueError(f"the mask has {name} of shape {shape}, which the weights do not have")
        counts |= mask.counts
        positions = mask_bits(mask)
    return Bits(recipe=name_bits(architecture), positions=positions, values=FLOAT * sum(counts.values()))
