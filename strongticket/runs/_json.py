"""Read the JSON of a result file, which may be damaged: one clear error, whatever the bytes are."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

__all__ = ["read_json"]

_MAX_DEPTH: Final = 64


def read_json(raw: bytes) -> Any:
    """Return the value of a JSON text without doubled keys, NaN or infinity.

    >>> read_json(b'{"a":[1,2.5]}')
    {'a': [1, 2.5]}

    Raises:
        ValueError: anything else.
    """
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
    except RecursionError:
        raise ValueError(f"the JSON is nested deeper than {_MAX_DEPTH} levels") from None
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [item for inner in level if isinstance(inner, dict | list) for item in _items(inner)]
        if not level:
            return value
    raise ValueError(f"the JSON is nested deeper than {_MAX_DEPTH} levels")


def _items(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("the JSON has a key twice in one object")
    return value


def _float(text: str) -> float:
    value = float(text)
    if value - value != 0.0:  # 1e999 is read as infinity
        raise ValueError(f"the JSON has a number beyond float64: {text[:40]}")
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(f"the JSON has the number {name}, which JSON does not know")
