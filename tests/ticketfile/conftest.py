"""A small ticket with every kind of parameter, and a forger: files that are well made and lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from strongticket import ticketfile
from strongticket.certificate import Certificate, Domain, Rigor
from strongticket.models import MLP
from strongticket.ticket import Init, Mask, Reading, Source, Ticket


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


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


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Any], dict[str, bytes]]:
    """Read a file in another way than the library: (container without metadata, description, payloads)."""
    length = int.from_bytes(data[:8], "little")
    container = json.loads(data[8 : 8 + length])
    slt = json.loads(container.pop("__metadata__")["slt"])
    begin = 8 + length
    return container, slt, {name: data[begin + a : begin + b] for name, (a, b) in offsets(container).items()}


def offsets(container: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {name: tuple(entry["data_offsets"]) for name, entry in container.items()}


def sign(slt: dict[str, Any]) -> dict[str, Any]:
    body = {key: value for key, value in slt.items() if key != "checksum"}
    return {**body, "checksum": hashlib.sha256(canonical(body).encode()).hexdigest()}


def pack(container: dict[str, Any], text: str, payload: bytes, metadata: dict[str, str] | None = None) -> bytes:
    header = canonical({"__metadata__": {"slt": text, **(metadata or {})}, **container}).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + payload


def forge(data: bytes, change: Callable[[dict[str, Any], dict[str, Any], dict[str, bytes]], None]) -> bytes:
    """Let `change` edit (container, description, payloads), then make every checksum and offset fit again."""
    container, slt, payloads = unpack(data)
    order = sorted(payloads, key=lambda name: (container[name]["data_offsets"], len(payloads[name])))
    change(container, slt, payloads)
    begin = 0
    for name in order:
        entry = next((e for e in slt["parameters"] if name in (f"{e['name']}.mask", f"{e['name']}.dense")), None)
        for role in ("factors", "redraws"):  # version 2: a record within the parameter's
            named = next((e for e in slt["parameters"] if name == f"{e['name']}.{role}"), None)
            entry = entry if named is None else named[role]
        size = len(payloads[name])
        if entry is not None:
            entry["sha256"] = hashlib.sha256(payloads[name]).hexdigest()
            if size != container[name]["data_offsets"][1] - container[name]["data_offsets"][0]:
                entry["bytes"] = size
        container[name]["data_offsets"] = [begin, begin + size]
        if container[name]["dtype"] == "U8" and len(container[name]["shape"]) == 1:
            container[name]["shape"] = [size]
        begin += size
    return pack(container, canonical(sign(slt)), b"".join(payloads[name] for name in order))


@pytest.fixture(scope="session")
def ticket() -> Ticket:
    return small_ticket()


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


@pytest.fixture(scope="session")
def read() -> Ticket:
    return read_ticket()


@pytest.fixture(scope="session")
def read_data(read: Ticket) -> bytes:
    return ticketfile.dumps(read, provenance={"by": "a test", "numbers": [1, 2.5, None, True]})


@pytest.fixture(scope="session")
def data(ticket: Ticket) -> bytes:
    return ticketfile.dumps(ticket, provenance={"by": "a test", "numbers": [1, 2.5, None, True]})


class Forger:
    """The functions above, for test modules (which cannot import each other)."""

    canonical = staticmethod(canonical)
    unpack = staticmethod(unpack)
    sign = staticmethod(sign)
    pack = staticmethod(pack)
    forge = staticmethod(forge)


@pytest.fixture(scope="session")
def forger() -> type[Forger]:
    return Forger
