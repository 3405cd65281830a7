"""Turn a frozen dataclass of parameters into plain JSON and back, by the declared types of its fields.

The digest of a run is taken over JSON, where 1 and 1.0 are different texts. So a field declared `float` always
becomes a float and one declared `int` always an int, whatever the caller typed; and reading back is strict, so that a
misspelt or missing parameter fails instead of being ignored.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

__all__ = ["from_json", "to_json"]

T = TypeVar("T")


def to_json(record: Any) -> dict[str, Any]:
    """Return every field of a dataclass, defaults included, as JSON values of the declared types.

    Raises:
        TypeError: not a dataclass, a value that does not fit its declared type, or a type that is not supported
            (bool, int, float, str, Literal, X | None, tuples and nested dataclasses are).
        ValueError: a number is NaN or infinite.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Params:
    ...     eps: float = 1
    ...     sizes: tuple[int, ...] = (3, 4)
    >>> to_json(Params())
    {'eps': 1.0, 'sizes': [3, 4]}
    """
    if not dataclasses.is_dataclass(record) or isinstance(record, type):
        raise TypeError(f"expected an instance of a dataclass, got {record!r}")
    hints = _hints(type(record))
    return {
        field.name: _out(getattr(record, field.name), hints[field.name], f"{type(record).__name__}.{field.name}")
        for field in dataclasses.fields(record)
    }


def from_json(cls: type[T], params: Mapping[str, Any]) -> T:
    """Return the dataclass that `to_json` turned into these parameters; every field must be given, and no other.

    Raises:
        TypeError: a value does not fit the declared type of its field.
        ValueError: a field is missing or unknown, or a number is NaN or infinite.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Params:
    ...     eps: float
    ...     sizes: tuple[int, ...]
    >>> from_json(Params, {"eps": 1, "sizes": [3, 4]})
    Params(eps=1.0, sizes=(3, 4))
    """
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"expected a dataclass, got {cls!r}")
    fields = [field.name for field in dataclasses.fields(cls)]
    missing = [name for name in fields if name not in params]
    unknown = [name for name in params if name not in fields]
    if missing or unknown:
        raise ValueError(
            f"parameters of {cls.__name__}: missing {missing or 'none'}, unknown {unknown or 'none'}; "
            f"it has {', '.join(fields)}"
        )
    hints = _hints(cls)
    values = {name: _in(params[name], hints[name], f"{cls.__name__}.{name}") for name in fields}
    return cls(**values)


@lru_cache(maxsize=256)
def _hints(cls: type) -> dict[str, Any]:
    """Declared types of the fields; finding them takes a thousand times as long as using them."""
    return get_type_hints(cls)


def _out(value: Any, kind: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, kind):
            raise TypeError(f"{where}: expected {kind.__name__}, got {value!r}")
        return to_json(value)
    if get_origin(kind) is tuple:
        return [_out(item, inner, where) for item, inner in _members(value, kind, where)]
    return _scalar(value, kind, where, _out)


def _in(value: Any, kind: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise TypeError(f"{where}: expected the parameters of {kind.__name__}, got {value!r}")
        return from_json(kind, value)
    if get_origin(kind) is tuple:
        return tuple(_in(item, inner, where) for item, inner in _members(value, kind, where))
    return _scalar(value, kind, where, _in)


def _members(value: Any, kind: Any, where: str) -> list[tuple[Any, Any]]:
    """Pairs (item, declared type) of a tuple or of the list that stands for it."""
    if not isinstance(value, tuple | list):
        raise TypeError(f"{where}: expected a tuple, got {value!r}")
    inner = get_args(kind)
    if len(inner) == 2 and inner[1] is Ellipsis:
        return [(item, inner[0]) for item in value]
    if len(inner) != len(value):
        raise TypeError(f"{where}: expected {len(inner)} items, got {value!r}")
    return list(zip(value, inner, strict=True))


def _scalar(value: Any, kind: Any, where: str, convert: Any) -> Any:
    origin = get_origin(kind)
    if origin is Literal:
        # by type too: True == 1 == 1.0 in Python, but not in JSON
        if not any(type(value) is type(choice) and value == choice for choice in get_args(kind)):
            raise TypeError(f"{where}: expected one of {', '.join(map(repr, get_args(kind)))}, got {value!r}")
        return value
    if origin is Union or origin is types.UnionType:
        others = [inner for inner in get_args(kind) if inner is not type(None)]
        if len(others) == 1 and len(get_args(kind)) == 2:
            return None if value is None else convert(value, others[0], where)
        raise TypeError(f"{where}: of unions only 'X | None' is supported, not {kind}")
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) + 0.0  # -0.0 becomes 0.0: they are equal, and must have one text
        if not math.isfinite(number):
            raise ValueError(f"{where}: expected a finite number, got {value!r}")
        return number
    if kind in (bool, int, str) and type(value) is kind:
        return value
    if kind in (bool, int, str, float):
        raise TypeError(f"{where}: expected {kind.__name__}, got {value!r} of type {type(value).__name__}")
    raise TypeError(f"{where}: fields of type {kind} are not supported")
