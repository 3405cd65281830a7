"""What happens where a run is computed, in whichever process: find the function, call it, catch what goes wrong."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from strongticket._files import canonical_json, sha256
from strongticket.runs._read import read_json

__all__ = ["Answer", "Function", "address", "environment", "one_thread", "perform", "resolve", "use_one_thread"]

Function = Callable[[dict[str, Any]], dict[str, Any]]
"""Parameters (JSON values; lists where the spec had tuples) -> result, a function of the parameters alone."""

_MOST_TEXT = 1 << 16  # characters of a failure's message, and of its traceback
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Answer:
    """What a worker sends back: the result as canonical JSON, or what went wrong.

    Attributes:
        result: the result's JSON, or None when it failed.
        error: name of the exception, "" when it succeeded.
        message: its text.
        traceback: where it happened.
        seconds: wall time of the function.
        environment: versions and device.
        attempts: how often it was tried.
    """

    result: str | None
    error: str
    message: str
    traceback: str
    seconds: float
    environment: dict[str, Any]
    attempts: int = 1


def address(function: Function | str) -> str:
    """Return the import path "module:function" of a function, checked: workers find functions by it.

    >>> from strongticket.runs.examples import square
    >>> address(square)
    'strongticket.runs.examples:square'

    Raises:
        ValueError: the path leads elsewhere: a lambda, an inner function, or one of an interactive session.
    """
    if isinstance(function, str):
        resolve(function)
        return function
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    path = f"{module}:{name}"
    if module == "__main__" or module is None or "<" in path:
        raise ValueError(f"{path} cannot be found by workers: move the function to the top level of a module")
    if resolve(path) != function:
        raise ValueError(f"{path} leads to another object than the function given; give the path itself")
    return path


def resolve(path: str) -> Function:
    """Return the function with an import path "module:function" or "module:Class.method".

    Raises:
        ValueError: the text is no such path, or nothing callable is there.
        ImportError: the module cannot be imported.
    """
    module, colon, name = path.partition(":")
    if not module or not colon or not name:
        raise ValueError(f"expected an import path 'module:function', got {path!r}")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ValueError(f"module {module!r} has no function {name!r}")
    return found  # type: ignore[no-any-return]


def perform(path: str, params: str) -> Answer:
    """Run one function on parameters given as JSON text; never raises but for an interrupt.

    >>> perform("strongticket.runs.examples:square", '{"x": 3}').result
    '{"square":9}'
    """
    begin = time.perf_counter()
    try:
        result = resolve(path)(json.loads(params))
        if not isinstance(result, dict):
            raise TypeError(f"{path} must return a dictionary, got {type(result).__name__}")
        text = canonical_json(result)
        read_json(text.encode())  # what the store could not read back is refused here, with a traceback
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # such as asyncio's CancelledError: it ends this run, not all of them
        seconds = time.perf_counter() - begin
        trace = "".join(traceback.format_exception(error))
        return Answer(None, type(error).__name__, _short(_said(error)), _short(trace), seconds, environment())
    return Answer(text, "", "", "", time.perf_counter() - begin, environment())


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as another:
        return f"(its text cannot be had: {type(another).__name__})"


def _short(text: str) -> str:
    """Both ends of a text that a note of a failure would have no room for."""
    left = len(text) - _MOST_TEXT
    return text if left <= 0 else f"{text[: _MOST_TEXT // 2]}\n... {left} characters ...\n{text[-_MOST_TEXT // 2 :]}"


def use_one_thread() -> None:
    """Make this process compute with one thread: sums in another order are other numbers."""
    for name in (*_THREAD_VARIABLES, "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread as workers do, and restore the caller's choice afterwards."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    try:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))  # for libraries that the function loads itself
        if torch:
            torch.set_num_threads(1)
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if torch:
            torch.set_num_threads(threads)


def environment() -> dict[str, Any]:
    """Return versions and devices, to be recorded beside a result: never the name of the machine or a path.

    >>> sorted(environment())
    ['cpu', 'cuda', 'numba', 'numpy', 'platform', 'python', 'revision', 'scipy', 'threads', 'torch']
    """
    torch = sys.modules.get("torch")
    # asking for CUDA starts its driver, so only a function that has used it is told which device there is
    cuda = torch is not None and torch.cuda.is_initialized()
    return {
        **_versions(),
        "cuda": torch.cuda.get_device_name() if torch is not None and cuda else None,
        "threads": torch.get_num_threads() if torch is not None else 1,
    }


@lru_cache(maxsize=1)
def _versions() -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}"}
    for name in ("torch", "numpy", "scipy", "numba"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = models[0] if models else platform.processor() or platform.machine()
    return {**found, "cpu": cpu, "revision": _revision(Path(__file__).resolve().parent)}


def _revision(folder: Path) -> str | None:
    """The commit of the checkout that a folder is in, None outside one.

    Where tracked files were changed, + and a digest of them follow: two checkouts have the same revision only if their
    tracked files are the same.
    """
    try:
        head, top = _git(folder, "rev-parse", "HEAD", "--show-toplevel").splitlines()
        changed = _git(Path(top), "diff", "HEAD", "--name-only", "--no-renames", "-z").split("\0")[:-1]
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if not changed:
        return head
    held = {name: _content(Path(top) / name) for name in changed}
    return f"{head}+{sha256(canonical_json(held).encode())[:12]}"


def _git(folder: Path, *arguments: str) -> str:
    command = ("git", "-C", str(folder), *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout


def _content(path: Path) -> str | None:
    """The digest of a file; None if it was removed."""
    try:
        return sha256(path.read_bytes())
    except OSError:
        return None
