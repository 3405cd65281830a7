"""Read JSON that a stranger wrote: without what Python lets pass, and without what would exhaust the machine."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

__all__ = ["MAX_DEPTH", "MAX_ITEMS", "strict_json"]

MAX_ITEMS = 1 << 18  # a Python object each: bounds the memory that a text can ask for
MAX_CONTAINERS = 1 << 20  # lists and objects, which take up to 200 bytes of memory each
BYTES_PER_CONTAINER = 20  # of text: a longer text may have one for each so many
MAX_DEPTH = 64
MAX_NUMBER = 40  # characters; 2^64 has 20 digits, a double at most 24 characters


def strict_json(raw: bytes, *, max_items: int = MAX_ITEMS) -> Any:
    """Return the value of a JSON text, refusing doubled keys, NaN, endless numbers, deep nesting and very many items.

    >>> strict_json(b'{"a":[1,2.5]}')
    {'a': [1, 2.5]}

    Raises:
        ValueError: anything else than strict JSON within the limits of this module.
    """
    containers = raw.count(b"[") + raw.count(b"{")
    items = raw.count(b",") + containers
    if items > max_items:
        raise ValueError(f"the JSON has {items} items, more than the limit of {max_items}")
    most = max(MAX_CONTAINERS, len(raw) // BYTES_PER_CONTAINER)
    if containers > most:
        raise ValueError(f"the JSON has {containers} lists and objects, more than the limit of {most}")
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except RecursionError:
        raise ValueError(f"the JSON is nested deeper than the limit of {MAX_DEPTH}") from None
    level, depth = [value], 0
    while level := [item for inner in level if isinstance(inner, dict | list) for item in _items(inner)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"the JSON is nested deeper than the limit of {MAX_DEPTH}")
    return value


def _items(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("the JSON has a key twice in one object")
    return value


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER:
        raise ValueError(f"the JSON has a number of {len(text)} digits, more than the limit of {MAX_NUMBER}")
    return int(text)


def _float(text: str) -> float:
    if len(text) > MAX_NUMBER or not math.isfinite(float(text)):
        raise ValueError(f"the JSON has the number {text[:MAX_NUMBER]}, which is too long or too large")
    return float(text)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"the JSON has the number {name}, which JSON does not know")
