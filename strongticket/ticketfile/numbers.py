"""Store one whole number per kept weight, factors or redraw events, in as few bits each as their range takes.

The numbers from the least one on, leaving 0 out between a negative and a positive one, are counted from 0, and each is
written in `width` bits, low bits first, one after the other; spare bits are zero. Redraw events are 0 for most weights:
for them the tensor begins with the set of those that are not, encoded as a mask's entries are, and only theirs follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np
from numpy.typing import NDArray

from strongticket._files import sha256
from strongticket.reading import LARGEST_FACTOR, LARGEST_REDRAW
from strongticket.ticketfile.gaps import MAX_NUMBER_BYTES, decode_bits, encode

__all__ = ["Numbers", "decode_numbers", "encode_numbers"]

_BLOCK: Final = 1 << 16  # numbers packed or unpacked together, a multiple of 8


@final
@dataclass(frozen=True)
class Numbers:
    """What the header says of one tensor of numbers."""

    bytes: int  # of the tensor
    count: int  # numbers in it
    low: int  # the least of them
    sha256: str  # of the tensor
    where: Literal["all", "bits", "gaps"]  # whose numbers: of all kept weights, or of a set that comes first
    width: int  # bits of each

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dict(vars(self))

    @property
    def packed(self) -> int:
        """Bytes of the numbers themselves."""
        return -(-self.count * self.width // 8)

    def fault(self, what: str, kept: int) -> str | None:
        """Return what cannot be in this record of the factors or redraws of so many kept weights."""
        sparse = what == "redraws"
        low, high = (1, LARGEST_REDRAW) if sparse else (-LARGEST_FACTOR, LARGEST_FACTOR)
        if self.where not in (("bits", "gaps") if sparse else ("all",)):
            return f"are stored for {self.where!r}"
        if not 1 <= self.count <= kept or (not sparse and self.count != kept):
            return f"are {self.count} for {kept} kept weights"
        if not low <= self.low <= high or not self.low:
            return f"begin at {self.low}, outside {low}..{high}"
        if not 1 <= self.width <= (high - low).bit_length():
            return f"have {self.width} bits, not 1 to {(high - low).bit_length()}"
        rest = self.bytes - self.packed
        if self.where == "gaps":
            right = self.count <= rest <= MAX_NUMBER_BYTES * self.count
        else:
            right = rest == (-(-kept // 8) if sparse else 0)
        return None if right else f"cannot be {self.count} of {self.width} bits in {self.bytes} bytes"


def encode_numbers(values: NDArray[np.int8] | NDArray[np.int32], *, sparse: bool) -> tuple[Numbers, bytes]:
    """Return the record and the tensor of some numbers, not all 0; sparse: most of them are 0, none is negative."""
    numbers, where, head = values, "all", b""
    if sparse:
        index = np.flatnonzero(values)
        plain = -(-values.size // 8)
        gaps = encode((index[i : i + _BLOCK] for i in range(0, index.size, _BLOCK)), plain)
        where, numbers = "bits" if gaps is None else "gaps", values[index]
        head = np.packbits(values != 0, bitorder="little").tobytes() if gaps is None else gaps
    low = int(numbers.min())
    width = max(1, _code(int(numbers.max()), low).bit_length())
    parts = [head]
    for start in range(0, numbers.size, _BLOCK):
        wide = numbers[start : start + _BLOCK].astype(np.int64)
        codes = wide - low - ((low < 0) & (wide > 0))
        bits = (codes[:, None] >> np.arange(width)) & 1
        parts.append(np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little").tobytes())
    payload = b"".join(parts)
    return Numbers(len(payload), int(numbers.size), low, sha256(payload), where, width), payload  # type: ignore[arg-type]


def decode_numbers(record: Numbers, payload: bytes, kept: int) -> NDArray[np.int32]:  # [kept]
    """Return the numbers that a tensor holds, 0 where it has none; the record is without `fault`.

    Raises:
        ValueError: the tensor is not the one that these numbers are written as, or a number is out of range.
    """
    data = np.frombuffer(payload, dtype=np.uint8)
    head, tail = data[: data.size - record.packed], data[data.size - record.packed :]
    values = np.zeros(kept, dtype=np.int32)
    if record.where == "all":
        chosen = np.ones(kept, dtype=bool)
    else:
        bits = head if record.where == "bits" else decode_bits(head, kept, kept)
        chosen = np.unpackbits(bits, count=kept, bitorder="little").view(np.bool_)
    index = np.flatnonzero(chosen)
    if index.size != record.count:
        raise ValueError(f"they are of {index.size} weights, {record.count} were announced")
    step = _BLOCK * record.width // 8
    powers = 1 << np.arange(record.width, dtype=np.int64)
    highest = LARGEST_FACTOR if record.where == "all" else LARGEST_REDRAW
    for start in range(0, record.count, _BLOCK):
        count = min(_BLOCK, record.count - start)
        part = tail[start // _BLOCK * step :][:step]
        digits = np.unpackbits(part, count=count * record.width, bitorder="little").reshape(count, record.width)
        numbers = digits @ powers + record.low
        numbers += (record.low < 0) & (numbers >= 0)
        if int(numbers.max()) > highest:
            raise ValueError(f"one of them is {int(numbers.max())}, beyond {highest}")
        values[index[start : start + count]] = numbers
    if encode_numbers(values, sparse=record.where != "all") != (record, payload):
        raise ValueError("they would be saved in another way")
    return values


def _code(value: int, low: int) -> int:
    return value - low - (low < 0 < value)
