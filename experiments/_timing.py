"""How long the stages of a run take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["timed"]


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note the wall-clock seconds of a stage.

    >>> seconds = {}
    >>> with timed(seconds, "sum"):
    ...     total = sum(range(10))
    >>> seconds["sum"] >= 0.0
    True
    """
    started = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - started
