"""Save, load and describe ticket files."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from numpy.typing import NDArray
from torch import Tensor

from strongticket._files import canonical_json, sha256, write_atomically
from strongticket.certificate import Certificate
from strongticket.models import architecture
from strongticket.ticket import AbstractArchitecture, Mask, Reading, Source, Ticket
from strongticket.ticketfile.errors import DAMAGED, FOREIGN, TicketFileError, blame, refuse, short
from strongticket.ticketfile.header import (
    PLAIN_VERSION,
    VERSION,
    Entry,
    container,
    header_json,
    names,
    read_header,
    stored,
)
from strongticket.ticketfile.tensors import (
    encoded,
    encoded_reading,
    read_dense,
    read_mask,
    read_numbers,
    weights_digest,
)

__all__ = ["MAX_FILE_BYTES", "describe", "dumps", "load", "loads", "save"]

MAX_FILE_BYTES: Final = 4 << 30


def save(path: str | os.PathLike[str], ticket: Ticket, *, provenance: Mapping[str, Any] | None = None) -> Path:
    """Write a ticket to a file, whole or not at all; equal tickets with equal provenance give equal bytes.

    Args:
        path: where the file goes; its folder is made if it is missing.
        ticket: what to save; its certificates go with it.
        provenance: where it came from, anything that JSON holds; `describe` gives it back.

    Returns:
        The path written.

    Raises:
        ValueError: a ticket that could not be loaded again: an architecture without a readable name, certificates of
            another ticket, a provenance that JSON cannot hold.
        OSError: the file cannot be written; an earlier one is then untouched.
    """
    return write_atomically(path, dumps(ticket, provenance=provenance))


def load(path: str | os.PathLike[str], *, verify: bool = True, max_bytes: int = MAX_FILE_BYTES) -> Ticket:
    """Read a ticket file, believing nothing in it that can be checked.

    Args:
        path: the file.
        verify: regenerate the kept weights (and no others) and compare their digests. Without it everything else is
            still checked: structure, limits, checksum, masks, digests.
        max_bytes: larger files are refused unread.

    Raises:
        TicketFileError: the file is damaged, truncated, foreign, of a newer version, too large, or lies.
        OSError: no such file, or it cannot be read.
    """
    with blame(path), _opened(path) as (stream, size):
        return _read(stream, size, verify=verify, max_bytes=max_bytes)


def dumps(ticket: Ticket, *, provenance: Mapping[str, Any] | None = None) -> bytes:
    """Return the bytes that `save` writes.

    >>> from strongticket.models import MLP
    >>> source = Source(MLP((4, 3)), seed=1)
    >>> ticket = Ticket(source, Mask.full(source.shapes))
    >>> loads(dumps(ticket)) == ticket
    True

    Raises:
        ValueError: see `save`.
    """
    _check_architecture(ticket.source)
    pairs = [encoded(ticket, name) for name in names(ticket.source)]
    entries = [entry for entry, _ in pairs]
    payloads = {entry.tensor: payload for entry, payload in pairs}
    if not ticket.plain:
        read = [encoded_reading(ticket, entry) for entry in entries]
        entries = [entry for entry, _ in read]
        payloads |= {tensor: payload for _, more in read for tensor, payload in more.items()}
    body = {
        "source": ticket.source.to_json(),
        "parameters": [entry.to_json() for entry in entries],
        "certificates": [_certificate_json(ticket, certificate) for certificate in ticket.certificates],
        "ticket": ticket.digest,
        "provenance": None if provenance is None else dict(provenance),
    }
    try:
        text = header_json(body, PLAIN_VERSION if ticket.plain else VERSION)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the provenance of a ticket file must be plain finite JSON: {error}") from error
    header = container(entries, text)
    parts = [len(header).to_bytes(8, "little"), header, *(payloads[part.tensor] for part in stored(entries))]
    size = sum(len(part) for part in parts)
    try:
        read_header(io.BytesIO(b"".join(parts[:2])), size, size)  # what could not be read again is not written
    except TicketFileError as error:
        raise ValueError(f"this ticket is not saved, because its file could not be read again: {error}") from error
    return b"".join(parts)


def loads(data: bytes, *, verify: bool = True, name: str = "<bytes>", max_bytes: int = MAX_FILE_BYTES) -> Ticket:
    """Return the ticket in the bytes of a ticket file, as `load` does; `name` is what errors call them.

    Raises:
        TicketFileError: see `load`.
    """
    with blame(name):
        return _read(io.BytesIO(data), len(data), verify=verify, max_bytes=max_bytes)


def describe(path: str | os.PathLike[str], *, max_bytes: int = MAX_FILE_BYTES) -> dict[str, Any]:
    """Return what a ticket file says of itself, reading its header only: cheap, and checked only as far as that goes.

    Returns:
        The header's JSON (format, version, generator, source, parameters, certificates, ticket, provenance, checksum)
        with file (the path), bytes (of the file), size and kept (entries of masked parameters) and density added.

    Raises:
        TicketFileError: the header is damaged, foreign, of a newer version, or inconsistent.
        OSError: no such file, or it cannot be read.
    """
    with blame(path), _opened(path) as (stream, size):
        header = read_header(stream, size, max_bytes)
    masked = [entry for entry in header.entries if entry.kept is not None]
    entries, kept = sum(entry.size for entry in masked), sum(entry.kept or 0 for entry in masked)
    density = kept / entries if entries else 0.0
    return {**header.json, "file": os.fspath(path), "bytes": size, "size": entries, "kept": kept, "density": density}


def _read(stream: BinaryIO, size: int, *, verify: bool, max_bytes: int) -> Ticket:
    header = read_header(stream, size, max_bytes)
    source = header.source
    masks: dict[str, Mask] = {}
    dense: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, NDArray[Any]]] = {"factors": {}, "redraws": {}}
    for part in stored(header.entries):
        entry, payload = part.entry, stream.read(part.bytes)
        if len(payload) != part.bytes or sha256(payload) != part.sha256:
            refuse(f"the sha256 of its tensor {part.tensor!r} does not fit", DAMAGED)
        if part.role == "dense":
            dense[entry.name] = read_dense(entry, payload)
        elif part.role == "mask":
            masks[entry.name] = read_mask(entry, payload)
        else:
            numbers[part.role][entry.name] = read_numbers(part, payload)
    mask = Mask.merge(*(masks[name] for name in source.shapes if name in masks))
    dense = {name: dense[name] for name in names(source) if name in dense}
    try:
        reading = Reading({entry.name: entry.kind or "plain" for entry in header.entries}, **numbers)
        ticket = Ticket(source, mask, dense, reading=reading)
    except ValueError as error:
        refuse(f"it does not hold together: {short(error)}", DAMAGED)
    if ticket.digest != header.json["ticket"]:
        refuse(f"it holds ticket {ticket.digest}, but says that it is {header.json['ticket']}", DAMAGED)
    ticket = _certified(ticket, header.json["certificates"])
    if verify:
        for entry in header.entries:
            _verify(ticket, entry)
    return ticket


def _verify(ticket: Ticket, entry: Entry) -> None:
    if entry.weights is not None and weights_digest(ticket, entry.name) != entry.weights:
        fault = f"the weights of {entry.name!r} made from seed {ticket.source.seed} are not those it was saved with"
        refuse(fault, "it was edited, or random weights go wrong on this machine: run the tests of strongticket.random")


def _certified(ticket: Ticket, records: list[Any]) -> Ticket:
    try:
        certified = ticket.with_certificates(*(Certificate.from_json(record) for record in records))
    except (ValueError, TypeError, OverflowError) as error:
        refuse(f"a certificate in it is not valid: {short(error)}", DAMAGED)
    saved = [certificate.to_json() for certificate in certified.certificates]
    if canonical_json(saved) != canonical_json(records):
        refuse(f"its certificates {short(records)} would be saved as {short(saved)}", DAMAGED)
    return certified


def _certificate_json(ticket: Ticket, certificate: Certificate) -> dict[str, Any]:
    if certificate.ticket_digest != ticket.digest:
        raise ValueError(f"a certificate of ticket {certificate.ticket_digest} cannot go with ticket {ticket.digest}")
    return Certificate.from_json(certificate.to_json()).to_json()  # checks it, and writes 1 and 1.0 alike


def _check_architecture(source: Source) -> None:
    wanted = source.architecture
    try:
        found = architecture(wanted.id)
        same = found.id == wanted.id and _looks(found) == _looks(wanted)
    except ValueError:
        same = False
    if not same:
        raise ValueError(
            f"the architecture {wanted.id!r} cannot be read back by its name, so no file could hold its tickets; "
            "use one that strongticket.models.architecture knows, or tell it of yours with strongticket.models.register"
        )


def _looks(architecture: AbstractArchitecture) -> list[object]:
    parts = (architecture.shapes, architecture.state, architecture.aliases)
    return [list(part.items()) for part in parts]


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device could be read for ever
        refuse("it is a folder, a pipe or a device", FOREIGN)
    with path.open("rb") as stream:
        yield stream, os.fstat(stream.fileno()).st_size
