"""Turn the masks and dense values of a ticket into the tensors of its file, and back."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strongticket import random
from strongticket._files import sha256
from strongticket.mask import is_thin
from strongticket.ticket import Mask, Ticket, tensor_bytes
from strongticket.ticketfile.errors import DAMAGED, refuse
from strongticket.ticketfile.gaps import decode_bits, decode_index, encode
from strongticket.ticketfile.header import DTYPES, Entry, Part
from strongticket.ticketfile.numbers import Numbers, decode_numbers, encode_numbers

__all__ = ["encoded", "encoded_reading", "read_dense", "read_mask", "read_numbers", "weights_digest"]

_BLOCK = 1 << 18  # entries looked at together


def encoded(ticket: Ticket, name: str) -> tuple[Entry, bytes]:
    """Return what the file says of one parameter, and its tensor.

    Raises:
        ValueError: a dense tensor of a type that the container does not have.
    """
    if name in ticket.dense:
        return _encoded_dense(name, ticket.dense[name])
    shape, kept = ticket.source.shapes[name], ticket.mask.counts[name]
    plain = -(-math.prod(shape) // 8)
    # a gap takes at least a byte: where bits are sure to win, none are made
    payload = encode(ticket.mask.index_blocks(name, _BLOCK), plain) if kept < plain else None
    encoding: Literal["bits", "gaps"] = "bits" if payload is None else "gaps"
    if payload is None:
        payload = ticket.mask.packed(name).tobytes()
    weights = weights_digest(ticket, name)
    return Entry(name, shape, encoding, len(payload), sha256(payload), kept, weights), payload


def encoded_reading(ticket: Ticket, entry: Entry) -> tuple[Entry, dict[str, bytes]]:
    """Return what version 2 says of one parameter, and the tensors that come with it besides the mask."""
    if entry.dtype is not None:
        return entry, {}
    reading, payloads, records = ticket.reading, {}, {}
    numbers: dict[str, NDArray[Any] | None]
    numbers = {"factors": reading.factors.get(entry.name), "redraws": reading.redraws.get(entry.name)}
    for role, values in numbers.items():
        if values is not None:
            records[role], payloads[f"{entry.name}.{role}"] = encode_numbers(values, sparse=role == "redraws")
    whole = replace(
        entry, kind=reading.kind(entry.name), factors=records.get("factors"), redraws=records.get("redraws")
    )
    return whole, payloads


def _encoded_dense(name: str, value: Tensor) -> tuple[Entry, bytes]:
    dtype = next((code for code, known in DTYPES.items() if known == value.dtype), None)
    if dtype is None:
        held = ", ".join(str(known) for known in DTYPES.values())
        raise ValueError(f"{name} has dtype {value.dtype}, which no ticket file holds; convert it to one of {held}")
    payload = tensor_bytes(value)
    return Entry(name, tuple(value.shape), "dense", len(payload), sha256(payload), dtype=dtype), payload


def read_dense(entry: Entry, payload: bytes) -> Tensor:
    """Return the dense tensor that these bytes hold."""
    dtype = DTYPES[entry.dtype or ""]
    if dtype is torch.bool and payload.translate(None, b"\0\1"):
        refuse(f"the boolean tensor {entry.tensor!r} has bytes other than 0 and 1", DAMAGED)
    flat = torch.frombuffer(bytearray(payload), dtype=dtype) if payload else torch.zeros(0, dtype=dtype)
    return flat.reshape(entry.shape)


def read_mask(entry: Entry, payload: bytes) -> Mask:
    """Return the mask of one parameter that these bytes hold; memory for what is kept, or a bit per entry."""
    shapes = {entry.name: entry.shape}
    data = np.frombuffer(payload, dtype=np.uint8)
    kept, limit = entry.kept or 0, min(entry.size, random.MAX_VALUES)
    try:
        if entry.encoding == "bits":
            mask = Mask.from_packed(shapes, {entry.name: data})
        elif is_thin(kept, entry.size):
            mask = Mask.from_indices(shapes, {entry.name: decode_index(data, kept, limit)})
        else:
            mask = Mask.from_packed(shapes, {entry.name: decode_bits(data, entry.size, limit)})
    except ValueError as error:
        refuse(f"the mask of {entry.name!r} is not valid: {error}", DAMAGED)
    if mask.count != kept:
        refuse(f"the mask of {entry.name!r} keeps {mask.count} entries, its list says {kept}", DAMAGED)
    return mask


def read_numbers(part: Part, payload: bytes) -> NDArray[np.int32]:
    """Return the factors or redraws of one parameter that these bytes hold."""
    record: Numbers | None = getattr(part.entry, part.role)
    assert record is not None
    try:
        values = decode_numbers(record, payload, part.entry.kept or 0)
        if part.role == "factors" and bool((values == 1).all()):
            raise ValueError("they are all 1, which is saved as no factors")
    except ValueError as error:
        refuse(f"the {part.role} of {part.entry.name!r} are not valid: {error}", DAMAGED)
    return values


def weights_digest(ticket: Ticket, name: str) -> str:
    """Return the sha256 of one parameter's kept weights, float32 little-endian by flat index, making no others."""
    state = hashlib.sha256()
    for weights in ticket.weight_blocks(name, _BLOCK):
        state.update(np.ascontiguousarray(weights.numpy(), dtype="<f4").tobytes())
    return state.hexdigest()
