"""Read the JSON of a result file, which may be damaged."""

from __future__ import annotations

from typing import Any, Final

from strongticket._strict_json import strict_json

__all__ = ["MAX_BYTES", "read_json"]

MAX_BYTES: Final = 64 << 20
MAX_ITEMS: Final = 1 << 24  # results may hold long tables


def read_json(raw: bytes) -> Any:
    """Return the value of a JSON text without doubled keys, NaN or infinity.

    >>> read_json(b'{"a":[1,2.5]}')
    {'a': [1, 2.5]}

    Raises:
        ValueError: anything else.
    """
    if len(raw) > MAX_BYTES:
        raise ValueError(
            f"the JSON has {len(raw)} bytes, more than the limit of {MAX_BYTES}: write large things to a file, and "
            "return its digest"
        )
    return strict_json(raw, max_items=MAX_ITEMS)
