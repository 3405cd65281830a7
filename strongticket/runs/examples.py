"""Functions small enough to show what `execute` runs: parameters in, a JSON-able dictionary out, nothing else."""

from __future__ import annotations

from typing import Any

__all__ = ["nothing", "square"]


def square(params: dict[str, Any]) -> dict[str, Any]:
    """Return the square of x.

    >>> square({"x": 3})
    {'square': 9}
    """
    return {"square": params["x"] ** 2}


def nothing(params: dict[str, Any]) -> dict[str, Any]:
    """Return an empty result: what is left to measure is the engine itself.

    >>> nothing({"x": 3})
    {}
    """
    return {}
