"""`Spec`: everything that decides the result of a run, and the key made of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from strongticket._files import canonical_json, sha256
from strongticket.runs._fields import to_json

__all__ = ["Spec"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, eq=False)
class Spec:
    """Name one run by everything that decides its result: two specs are equal when their keys are.

    Attributes:
        name: the experiment; letters, digits, "_", "-" and ".", at most 100 characters.
        version: of the experiment's code; raise it when the same parameters give another result, 1 or more.
        params: every parameter, seeds included, as JSON values. Kept as a read-only deep copy (lists as tuples).

    >>> Spec("demo", 1, {"eps": 0.1, "seed": 0}).key[:12]
    '2746ce9d1d6c'
    >>> Spec("demo", 1, {"n": 1}) == Spec("demo", 1, {"n": 1.0})  # give dataclasses to `Spec.of` to settle the types
    False

    Raises:
        TypeError: a value is not JSON (numpy numbers are not: use int(), float(), .tolist()).
        ValueError: a bad name or version, or a number that is NaN or infinite.
    """

    name: str
    version: int
    params: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(f"spec name: expected letters, digits, '_', '-' or '.', got {self.name!r}")
        if isinstance(self.version, bool) or not isinstance(self.version, int) or self.version < 1:
            raise ValueError(f"spec version: expected an int >= 1, got {self.version!r}")
        if not isinstance(self.params, Mapping):
            raise TypeError(f"spec params: expected a mapping, got {self.params!r}; use Spec.of for dataclasses")
        object.__setattr__(self, "params", _frozen(self.params, "params"))

    @classmethod
    def of(cls, name: str, version: int, record: Any) -> Spec:
        """Return the spec of a dataclass of parameters, each coerced to its declared type; see `to_json`."""
        return cls(name, version, to_json(record))

    @classmethod
    def from_json(cls, value: Any) -> Spec:
        """Return the spec that `to_json` wrote.

        Raises:
            ValueError, TypeError: it is something else.
        """
        if not isinstance(value, dict) or set(value) != {"name", "version", "params"}:
            raise ValueError("a spec has exactly the keys name, version and params")
        return cls(value["name"], value["version"], value["params"])

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain dictionaries and lists, which the caller may change."""
        return {"name": self.name, "version": self.version, "params": _thawed(self.params)}

    @cached_property
    def key(self) -> str:
        """sha256 of the canonical JSON of name, version and every parameter, in hexadecimal."""
        return sha256(canonical_json(self.to_json()).encode())

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Spec) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Spec, (self.name, self.version, _thawed(self.params)))

    def __str__(self) -> str:
        return f"{self.name} {self.key[:12]} {canonical_json(_thawed(self.params))}"


def _frozen(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where}: keys must be text, got {key!r}")
        return MappingProxyType({key: _frozen(inner, f"{where}.{key}") for key, inner in value.items()})
    if isinstance(value, tuple | list):
        return tuple(_frozen(inner, f"{where}[{i}]") for i, inner in enumerate(value))
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"{where}: expected a finite number, got {value!r}")
        return value + 0.0  # -0.0 and 0.0 are equal and must have one text
    if value is None or type(value) in (bool, int, str):
        return value
    raise TypeError(
        f"{where}: expected JSON (None, bool, int, float, str, list, dict), got {value!r} of type "
        f"{type(value).__name__}; convert numpy numbers with int() or float()"
    )


def _thawed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thawed(inner) for key, inner in value.items()}
    return [_thawed(inner) for inner in value] if isinstance(value, tuple) else value
