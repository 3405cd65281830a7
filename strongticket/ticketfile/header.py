"""What the header of a ticket file says, and every check that needs no tensor."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import torch

from strongticket._files import canonical_json, sha256
from strongticket._strict_json import strict_json
from strongticket.models import architecture
from strongticket.ticket import Init, Source
from strongticket.ticketfile.errors import DAMAGED, FOREIGN, NEWER, refuse, short
from strongticket.ticketfile.gaps import MAX_NUMBER_BYTES

__all__ = ["DTYPES", "Entry", "Header", "container", "header_json", "read_header", "stored"]

FORMAT: Final = "slt-ticket"
VERSION: Final = 1
GENERATOR: Final = "philox4x32-10/slt-weights/1"

MAX_HEADER_BYTES: Final = 64 << 20
MAX_PARAMETERS: Final = 4096

_KEYS = ["certificates", "checksum", "format", "generator", "parameters", "provenance", "source", "ticket", "version"]
DTYPES: Final[Mapping[str, torch.dtype]] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Entry:
    """One parameter in the list of the header, and so one tensor of the container."""

    name: str
    shape: tuple[int, ...]
    encoding: Literal["bits", "gaps", "dense"]
    bytes: int  # of the tensor
    sha256: str  # of the tensor
    kept: int | None = None  # masked parameters: entries kept
    weights: str | None = None  # masked parameters: sha256 of the kept weights, float32 little-endian, by flat index
    dtype: str | None = None  # dense parameters

    @property
    def size(self) -> int:
        """Entries of the parameter."""
        return math.prod(self.shape)

    @property
    def tensor(self) -> str:
        """Name of the tensor; the endings keep a mask and another parameter's values apart whatever names they have."""
        return f"{self.name}.{'dense' if self.encoding == 'dense' else 'mask'}"

    @property
    def itemsize(self) -> int:
        """Bytes of one item of the tensor."""
        return 1 if self.dtype is None else DTYPES[self.dtype].itemsize

    @staticmethod
    def keys(encoding: str) -> list[str]:
        """The keys of the JSON form, sorted."""
        own = ["dtype"] if encoding == "dense" else ["kept", "weights"]
        return sorted(["name", "shape", "encoding", "bytes", "sha256", *own])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {key: list(self.shape) if key == "shape" else getattr(self, key) for key in self.keys(self.encoding)}

    @classmethod
    def from_json(cls, value: Any, name: str, shape: tuple[int, ...]) -> Entry:
        """Read one record of the list, which must be that of parameter `name` of this shape."""
        what = f"parameter {name!r}"
        encoding = value.get("encoding") if isinstance(value, dict) else None
        if encoding not in ("bits", "gaps", "dense"):
            refuse(f"{what} has the encoding {short(encoding)}, not bits, gaps or dense", DAMAGED)
        if sorted(value) != cls.keys(encoding):
            refuse(f"{what} has the keys {short(sorted(value))}, expected {cls.keys(encoding)}", DAMAGED)
        if value["name"] != name or canonical_json(value["shape"]) != canonical_json(list(shape)):
            given = f"{short(value['name'])} of shape {short(value['shape'])}"
            refuse(f"its list has {given} where the architecture has {name!r} of shape {list(shape)}", DAMAGED)
        for key in ("sha256", "weights"):
            if key in value and not is_digest(value[key]):
                refuse(f"the {key} of {what} is {short(value[key])}, not a sha256", DAMAGED)
        for key in ("bytes", "kept"):
            if key in value and not (type(value[key]) is int and value[key] >= 0):
                refuse(f"the {key} of {what} is {short(value[key])}, not a whole number >= 0", DAMAGED)
        if encoding == "dense" and not (isinstance(value["dtype"], str) and value["dtype"] in DTYPES):
            refuse(f"{what} has the dtype {short(value['dtype'])}; known are {list(DTYPES)}", DAMAGED)
        entry = cls(**{**value, "shape": shape})
        entry._check_sizes()
        return entry

    def _check_sizes(self) -> None:
        what = f"parameter {self.name!r}"
        exact = {"bits": -(-self.size // 8), "dense": self.size * self.itemsize}.get(self.encoding, self.bytes)
        if self.bytes != exact:
            form = f"{self.dtype or self.encoding} of shape {list(self.shape)}"
            refuse(f"{what} has {self.bytes} bytes, but {form} takes {exact}", DAMAGED)
        kept = self.kept or 0
        if kept > self.size:
            refuse(f"{what} keeps {kept} entries of {self.size}", DAMAGED)
        if self.encoding == "gaps" and not kept <= self.bytes <= MAX_NUMBER_BYTES * kept:
            refuse(f"{what} cannot have {kept} gaps of 1 to {MAX_NUMBER_BYTES} bytes in {self.bytes} bytes", DAMAGED)


@dataclass(frozen=True)
class Header:
    """A header that passed every check, and what it names."""

    json: dict[str, Any]
    source: Source
    entries: tuple[Entry, ...]


def stored(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries in the order of their tensors: widest type first, which keeps each of them aligned."""
    return sorted(entries, key=lambda entry: -entry.itemsize)


def header_json(body: Mapping[str, Any]) -> str:
    """Return the canonical JSON of everything but the checksum, with the checksum added.

    Raises:
        TypeError, ValueError, RecursionError: the body is not plain finite JSON.
    """
    return _summed({"format": FORMAT, "version": VERSION, "generator": GENERATOR, **body})


def _summed(whole: dict[str, Any]) -> str:
    return canonical_json({**whole, "checksum": sha256(canonical_json(whole).encode())})


def container(entries: Sequence[Entry], text: str) -> bytes:
    """Return the one safetensors header that goes with these parameters and this JSON."""
    header: dict[str, Any] = {"__metadata__": {"slt": text}}
    begin = 0
    for entry in stored(entries):
        shape = list(entry.shape) if entry.dtype is not None else [entry.bytes]
        offsets = [begin, begin + entry.bytes]
        header[entry.tensor] = {"dtype": entry.dtype or "U8", "shape": shape, "data_offsets": offsets}
        begin += entry.bytes
    raw = canonical_json(header).encode()
    return raw + b" " * (-len(raw) % 8)


def read_header(stream: BinaryIO, size: int, max_bytes: int) -> Header:
    """Read and check everything before the tensors; nothing is allocated that the file's size does not warrant.

    Args:
        stream: the file, at its beginning; afterwards at its first tensor.
        size: bytes of the whole file.
        max_bytes: largest size accepted.

    Raises:
        TicketFileError: without the file's name; see `errors.blame`.
    """
    if size > max_bytes:
        refuse(f"it has {size} bytes, the limit is {max_bytes}", "raise max_bytes if you trust it")
    if size < 10:
        refuse(f"it has {size} bytes, too few for any ticket", f"it is truncated or no ticket file: {FOREIGN}")
    length = int.from_bytes(stream.read(8), "little")
    if length > min(MAX_HEADER_BYTES, size - 8):
        fault = f"it announces a header of {length} bytes in a file of {size} (limit {MAX_HEADER_BYTES})"
        refuse(fault, f"it is truncated or no safetensors file: {FOREIGN}")
    raw = stream.read(length)
    outer = _json(raw, "its safetensors header")
    metadata = outer.get("__metadata__") if isinstance(outer, dict) else None
    text = metadata.get("slt") if isinstance(metadata, dict) else None
    if not isinstance(outer, dict) or not isinstance(text, str):
        refuse("there is no ticket in it (no metadata key 'slt')", FOREIGN)
    inner = _json(text.encode("utf-8", "replace"), "its ticket description")
    _check_head(inner, text)
    source = _source(inner["source"])
    entries = _entries(inner["parameters"], source)
    expected = container(entries, text)
    if raw != expected:
        refuse(_difference(outer, json.loads(expected)), DAMAGED)
    total = 8 + length + sum(entry.bytes for entry in entries)
    if size != total:
        refuse(f"it has {size} bytes where its header makes {total}", DAMAGED)
    return Header(inner, source, entries)


def _check_head(header: Any, text: str) -> None:
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else header
        refuse(f"its format is {short(found)}, expected {FORMAT!r}", FOREIGN)
    version = header.get("version")
    if type(version) is not int or version < 1:
        refuse(f"its format version is {short(version)}, expected {VERSION}", DAMAGED)
    if version > VERSION:
        refuse(f"its format version is {version}, and this strongticket reads up to {VERSION}", NEWER)
    if sorted(header) != _KEYS:
        refuse(f"its description has the keys {short(sorted(header))}, expected {_KEYS}", DAMAGED)
    body = {key: value for key, value in header.items() if key != "checksum"}
    if _summed(body) != text:
        refuse("the checksum of its description does not fit", DAMAGED)
    if header["generator"] != GENERATOR:
        refuse(f"its weights are made by {short(header['generator'])}, here there is {GENERATOR!r}", NEWER)
    if not (header["provenance"] is None or isinstance(header["provenance"], dict)):
        refuse(f"its provenance is {short(header['provenance'])}, neither an object nor null", DAMAGED)
    if not isinstance(header["certificates"], list):
        refuse(f"its certificates are {short(header['certificates'])}, not a list", DAMAGED)
    if not is_digest(header["ticket"]):
        refuse(f"its ticket digest is {short(header['ticket'])}, not a sha256", DAMAGED)


def _source(recipe: Any) -> Source:
    try:
        init = recipe["init"]
        overrides = tuple((name, law, scale) for name, law, scale in init["overrides"])
        with np.errstate(all="ignore"):  # a scale beyond float32 is refused by Init, not by a warning
            made = Init(init["law"], init["scale"], overrides)
            source = Source(architecture(recipe["architecture"]), recipe["seed"], made)
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
        fault = f"its source cannot be made ({type(error).__name__}: {short(error)})"
        refuse(fault, f"{DAMAGED}, or, if it was written by a newer strongticket, {NEWER}")
    if canonical_json(source.to_json()) != canonical_json(recipe):
        refuse(f"its source {short(recipe)} would be saved as {short(source.to_json())}", DAMAGED)
    return source


def _entries(listed: Any, source: Source) -> tuple[Entry, ...]:
    shapes = source.shapes
    if not isinstance(listed, list) or len(listed) != len(shapes) or len(listed) > MAX_PARAMETERS:
        number = len(listed) if isinstance(listed, list) else short(listed)
        refuse(f"it lists {number} parameters, its architecture has {len(shapes)} (limit {MAX_PARAMETERS})", DAMAGED)
    pairs = zip(listed, shapes.items(), strict=True)
    return tuple(Entry.from_json(value, name, shape) for value, (name, shape) in pairs)


def _difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    for name in sorted(set(found) | set(expected)):
        if found.get(name) != expected.get(name):
            return f"its header has {short(name)} as {short(found.get(name))}, expected {short(expected.get(name))}"
    return "its safetensors header is not in canonical form"


def _json(raw: bytes, what: str) -> Any:
    try:
        return strict_json(raw)
    except ValueError as error:
        refuse(f"{what} is not strict JSON ({short(error)})", f"it is damaged or no ticket file: {FOREIGN}")


def is_digest(value: Any) -> bool:
    """Whether this is a sha256 in hexadecimal."""
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None
