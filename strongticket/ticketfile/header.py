"""What the header of a ticket file says, and every check that needs no tensor."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import torch

from strongticket._files import canonical_json, sha256
from strongticket._strict_json import strict_json
from strongticket.models import architecture
from strongticket.reading import KINDS, Kind
from strongticket.ticket import Init, Source
from strongticket.ticketfile.errors import DAMAGED, FOREIGN, NEWER, refuse, short
from strongticket.ticketfile.gaps import MAX_NUMBER_BYTES
from strongticket.ticketfile.numbers import Numbers

__all__ = ["DTYPES", "Entry", "Header", "Part", "container", "header_json", "names", "read_header", "stored"]

FORMAT: Final = "slt-ticket"
PLAIN_VERSION: Final = 1  # of tickets that are their source times a 0/1 mask
VERSION: Final = 2  # of all others, the newest
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
class Part:
    """One tensor of the container."""

    entry: Entry
    role: Literal["mask", "dense", "factors", "redraws"]
    bytes: int
    sha256: str
    dtype: str = "U8"
    shape: tuple[int, ...] | None = None  # None: [bytes]

    @property
    def tensor(self) -> str:
        """Name of the tensor; the endings keep the parts of parameters apart whatever names these have."""
        return f"{self.entry.name}.{self.role}"


@dataclass(frozen=True)
class Entry:
    """One parameter in the list of the header, and so one tensor of the container, or up to three in version 2."""

    name: str
    shape: tuple[int, ...]
    encoding: Literal["bits", "gaps", "dense"]
    bytes: int  # of the tensor
    sha256: str  # of the tensor
    kept: int | None = None  # masked parameters: entries kept
    weights: str | None = None  # masked parameters: sha256 of the kept weights, float32 little-endian, by flat index
    dtype: str | None = None  # dense parameters
    kind: Kind | None = None  # masked parameters in version 2, and so the two that follow
    factors: Numbers | None = None
    redraws: Numbers | None = None

    @property
    def size(self) -> int:
        """Entries of the parameter."""
        return math.prod(self.shape)

    @property
    def tensor(self) -> str:
        """Name of the first tensor: the mask, or the dense values."""
        return self.parts[0].tensor

    @property
    def parts(self) -> list[Part]:
        """The tensors of the parameter."""
        if self.encoding == "dense":
            return [Part(self, "dense", self.bytes, self.sha256, self.dtype or "", self.shape)]
        parts = [Part(self, "mask", self.bytes, self.sha256)]
        if self.factors is not None:
            parts.append(Part(self, "factors", self.factors.bytes, self.factors.sha256))
        if self.redraws is not None:
            parts.append(Part(self, "redraws", self.redraws.bytes, self.redraws.sha256))
        return parts

    @staticmethod
    def keys(encoding: str, version: int) -> list[str]:
        """The keys of the JSON form, sorted."""
        masked = ["kept", "weights"] if version == PLAIN_VERSION else ["kept", "weights", "kind", "factors", "redraws"]
        own = ["dtype"] if encoding == "dense" else masked
        return sorted(["name", "shape", "encoding", "bytes", "sha256", *own])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        keys = self.keys(self.encoding, PLAIN_VERSION if self.kind is None else VERSION)
        value = {key: list(self.shape) if key == "shape" else getattr(self, key) for key in keys}
        return {key: part.to_json() if isinstance(part, Numbers) else part for key, part in value.items()}

    @classmethod
    def from_json(cls, value: Any, name: str, shape: tuple[int, ...], version: int) -> Entry:
        """Read one record of the list, which must be that of parameter `name` of this shape."""
        what = f"parameter {name!r}"
        encoding = value.get("encoding") if isinstance(value, dict) else None
        if encoding not in ("bits", "gaps", "dense"):
            refuse(f"{what} has the encoding {short(encoding)}, not bits, gaps or dense", DAMAGED)
        if sorted(value) != cls.keys(encoding, version):
            refuse(f"{what} has the keys {short(sorted(value))}, expected {cls.keys(encoding, version)}", DAMAGED)
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
        if "kind" in value and not (isinstance(value["kind"], str) and value["kind"] in KINDS):
            refuse(f"{what} is read as {short(value['kind'])}; known are {list(KINDS)}", DAMAGED)
        numbers = {
            key: None if value[key] is None else _numbers(value[key], f"the {key} of {what}")
            for key in ("factors", "redraws")
            if key in value
        }
        entry = cls(**{**value, **numbers, "shape": shape})
        entry._check_sizes()
        return entry

    def _check_sizes(self) -> None:
        what = f"parameter {self.name!r}"
        itemsize = DTYPES[self.dtype or "U8"].itemsize
        exact = {"bits": -(-self.size // 8), "dense": self.size * itemsize}.get(self.encoding, self.bytes)
        if self.bytes != exact:
            form = f"{self.dtype or self.encoding} of shape {list(self.shape)}"
            refuse(f"{what} has {self.bytes} bytes, but {form} takes {exact}", DAMAGED)
        kept = self.kept or 0
        if kept > self.size:
            refuse(f"{what} keeps {kept} entries of {self.size}", DAMAGED)
        if self.encoding == "gaps" and not kept <= self.bytes <= MAX_NUMBER_BYTES * kept:
            refuse(f"{what} cannot have {kept} gaps of 1 to {MAX_NUMBER_BYTES} bytes in {self.bytes} bytes", DAMAGED)
        for key, numbers in (("factors", self.factors), ("redraws", self.redraws)):
            if numbers is not None and (fault := numbers.fault(key, kept)):
                refuse(f"the {key} of {what} {fault[:300]}", DAMAGED)


def _numbers(value: Any, what: str) -> Numbers:
    keys = sorted(field.name for field in fields(Numbers))
    if not isinstance(value, dict) or sorted(value) != keys:
        refuse(f"{what} are {short(value)}, expected the keys {keys}", DAMAGED)
    if not (is_digest(value["sha256"]) and isinstance(value["where"], str)):
        refuse(f"{what} have the sha256 {short(value['sha256'])}, where {short(value['where'])}", DAMAGED)
    for key in ("bytes", "count", "low", "width"):
        if type(value[key]) is not int:
            refuse(f"{what} have {key} {short(value[key])}, not a whole number", DAMAGED)
    return Numbers(**value)


@dataclass(frozen=True)
class Header:
    """A header that passed every check, and what it names."""

    json: dict[str, Any]
    source: Source
    entries: tuple[Entry, ...]


def names(source: Source) -> list[str]:
    """Return what a file of this source lists, in its order: the random parameters, then the state."""
    return [*source.shapes, *source.architecture.state]


def stored(entries: Sequence[Entry]) -> list[Part]:
    """Return the tensors in their order: widest type first, which keeps each of them aligned."""
    return sorted((part for entry in entries for part in entry.parts), key=lambda part: -DTYPES[part.dtype].itemsize)


def header_json(body: Mapping[str, Any], version: int = PLAIN_VERSION) -> str:
    """Return the canonical JSON of everything but the checksum, with the checksum added.

    Raises:
        TypeError, ValueError, RecursionError: the body is not plain finite JSON.
    """
    return _summed({"format": FORMAT, "version": version, "generator": GENERATOR, **body})


def _summed(whole: dict[str, Any]) -> str:
    return canonical_json({**whole, "checksum": sha256(canonical_json(whole).encode())})


def container(entries: Sequence[Entry], text: str) -> bytes:
    """Return the one safetensors header that goes with these parameters and this JSON."""
    header: dict[str, Any] = {"__metadata__": {"slt": text}}
    begin = 0
    for part in stored(entries):
        shape = [part.bytes] if part.shape is None else list(part.shape)
        offsets = [begin, begin + part.bytes]
        header[part.tensor] = {"dtype": part.dtype, "shape": shape, "data_offsets": offsets}
        begin += part.bytes
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
    entries = _entries(inner["parameters"], source, inner["version"])
    expected = container(entries, text)
    if raw != expected:
        refuse(_difference(outer, json.loads(expected)), DAMAGED)
    total = 8 + length + sum(part.bytes for part in stored(entries))
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


def _entries(listed: Any, source: Source, version: int) -> tuple[Entry, ...]:
    state = source.architecture.state
    shapes = {**source.shapes, **{name: shape for name, (shape, _) in state.items()}}
    if not isinstance(listed, list) or len(listed) != len(shapes) or len(listed) > MAX_PARAMETERS:
        number = len(listed) if isinstance(listed, list) else short(listed)
        refuse(f"it lists {number} parameters, its architecture has {len(shapes)} (limit {MAX_PARAMETERS})", DAMAGED)
    pairs = zip(listed, shapes.items(), strict=True)
    entries = tuple(Entry.from_json(value, name, shape, version) for value, (name, shape) in pairs)
    if version != PLAIN_VERSION and all(e.kind in (None, "plain") and len(e.parts) == 1 for e in entries):
        refuse(f"it has version {version}, but a plain ticket is saved as version {PLAIN_VERSION}", DAMAGED)
    for entry in entries:
        dtype = None if entry.dtype is None else str(DTYPES[entry.dtype]).removeprefix("torch.")
        if entry.name in state and dtype != state[entry.name][1]:
            found = f"its list has {entry.name!r} as {dtype or f'a mask of {entry.encoding}'}"
            refuse(f"{found} where the architecture has {state[entry.name][1]} that is not random", DAMAGED)
    return entries


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
