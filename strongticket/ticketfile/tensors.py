"""Turn the masks and dense values of a ticket into the tensors of its file, and back."""

from __future__ import annotations

import hashlib
import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from strongticket import random
from strongticket._files import sha256
from strongticket.mask import is_thin
from strongticket.ticket import Mask, Source, Ticket, tensor_bytes
from strongticket.ticketfile.errors import DAMAGED, refuse
from strongticket.ticketfile.gaps import decode_bits, decode_index, encode
from strongticket.ticketfile.header import DTYPES, Entry

__all__ = ["encoded", "read_dense", "read_mask", "weights_digest"]

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
    weights = weights_digest(ticket.source, ticket.mask, name)
    return Entry(name, shape, encoding, len(payload), sha256(payload), kept, weights), payload


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


def weights_digest(source: Source, mask: Mask, name: str) -> str:
    """Return the sha256 of one parameter's kept weights, float32 little-endian by flat index, making no others.

    (A block of which more than a quarter is kept is drawn whole, which costs less than picking entries.)
    """
    state = hashlib.sha256()
    for index in mask.index_blocks(name, _BLOCK):
        first, beyond = int(index[0]), int(index[-1]) + 1
        if 4 * index.size > beyond - first:
            weights = source.weight(name, slice(first, beyond)).numpy()[index - first]
        else:
            weights = source.weight(name, index).numpy()
        state.update(np.ascontiguousarray(weights, dtype="<f4").tobytes())
    return state.hexdigest()
