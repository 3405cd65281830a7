"""Percentages of several seeds, as tables of experiments show them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["percent"]


def percent(results: Sequence[Mapping[str, Any]], name: str = "accuracy") -> str:
    """Return the mean over the seeds, and the least and the most of them, in percent.

    >>> percent([{"accuracy": 0.25}, {"accuracy": 0.75}])
    '50.00 (25.00-75.00)'
    """
    values = [100 * result[name] for result in results]
    return f"{math.fsum(values) / len(values):.2f} ({min(values):.2f}-{max(values):.2f})"
