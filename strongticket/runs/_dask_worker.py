"""What a dask worker is asked to call; all that goes there and comes back is text. Nothing here needs dask."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict
from typing import Any

from strongticket._files import canonical_json
from strongticket._version import __version__
from strongticket.runs._worker import Answer, environment, perform, resolve, use_one_thread

__all__ = ["answers_of", "introduce", "perform_batch", "software"]

_DECIDES = ("revision", "torch", "numpy", "scipy", "numba")
_ONE_AT_A_TIME = threading.Lock()  # runs set torch's threads and noise for their process; a worker may have threads


def software() -> dict[str, Any]:
    """Return what must be equal on all workers: other versions may give other last bits, other revisions other results.

    >>> sorted(software())
    ['numba', 'numpy', 'revision', 'scipy', 'strongticket', 'torch']
    """
    here = environment()
    return {"strongticket": __version__, **{name: here[name] for name in _DECIDES}}


def introduce(functions: list[str]) -> str:
    """Prepare this worker, and return as JSON what it runs and which of the functions it cannot import.

    >>> json.loads(introduce(["strongticket.runs.examples:square", "nowhere:x"]))["errors"]
    ["nowhere:x: ModuleNotFoundError: No module named 'nowhere'"]
    """
    use_one_thread()
    errors = []
    for function in functions:
        try:
            resolve(function)
        except Exception as error:
            errors.append(f"{function}: {type(error).__name__}: {error}")
    use_one_thread()  # of torch too, which may have been loaded just now
    return canonical_json({"software": software(), "errors": errors})


def perform_batch(text: str, seconds: float) -> str:
    """Run tasks one after the other, until all are done or the time is over; at least one is done.

    Args:
        text: JSON list of (import path, JSON parameters).
        seconds: no task is begun after that time.

    Returns:
        JSON list of the answers, as many as there was time for.

    >>> [answer.result for answer in answers_of(perform_batch('[["strongticket.runs.examples:nothing", "{}"]]', 1.0))]
    ['{}']
    """
    with _ONE_AT_A_TIME:
        begin, answers = time.perf_counter(), list[dict[str, Any]]()
        for function, params in json.loads(text):
            answers.append(asdict(perform(function, params)))
            if time.perf_counter() - begin >= seconds:
                break
    return canonical_json(answers)


def answers_of(text: str) -> list[Answer]:
    """Return the answers that `perform_batch` wrote.

    Raises:
        ValueError, TypeError: it is something else.
    """
    return [Answer(**fields) for fields in json.loads(text)]
