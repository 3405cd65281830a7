"""Ticket files that are well made and lie: read and put together in another way than the library does it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

__all__ = ["canonical", "forge", "pack", "sign", "unpack"]


def canonical(value: Any) -> str:
    """Return JSON as ticket files have it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Any], dict[str, bytes]]:
    """Read a file in another way than the library: (container without metadata, description, payloads)."""
    length = int.from_bytes(data[:8], "little")
    container = json.loads(data[8 : 8 + length])
    slt = json.loads(container.pop("__metadata__")["slt"])
    begin = 8 + length
    return container, slt, {name: data[begin + a : begin + b] for name, (a, b) in _offsets(container).items()}


def _offsets(container: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {name: (entry["data_offsets"][0], entry["data_offsets"][1]) for name, entry in container.items()}


def sign(slt: dict[str, Any]) -> dict[str, Any]:
    """Put the right checksum into a description."""
    body = {key: value for key, value in slt.items() if key != "checksum"}
    return {**body, "checksum": hashlib.sha256(canonical(body).encode()).hexdigest()}


def pack(container: dict[str, Any], text: str, payload: bytes, metadata: dict[str, str] | None = None) -> bytes:
    """Put a file together: container, description, payload."""
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
