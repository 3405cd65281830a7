"""Make one chosen call to the operating system fail, or be the last thing that a process does.

The calls by which a process changes files (open for writing, write, fsync, rename, unlink, mkdir, close) are counted in
the order they come; a `Fault` names one of them. Installed in a process that is about to do a job and then end, nothing
is put back. What compiled code does by itself is not seen: kills at random moments are for that.
"""

from __future__ import annotations

import builtins
import io
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, final, get_args

__all__ = ["MOMENTS", "Fault", "Moment", "install"]

Moment = Literal["before", "half", "after"]
MOMENTS: Final[tuple[Moment, ...]] = get_args(Moment)


@final
@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Attributes:
        call: number of the call, from 1; 0: none, calls are only counted.
        error: errno that it fails with; 0: the process is killed at it.
        moment: of a kill: before the call, after it, or, in a write, when half of it is written. A write that fails
            does so when half of it is written, any other call before it did anything.
    """

    call: int = 0
    error: int = 0
    moment: Moment = "before"

    def __post_init__(self) -> None:
        if self.call < 0 or self.moment not in MOMENTS:
            raise ValueError(f"expected call >= 0 and a moment of {', '.join(MOMENTS)}, got {self}")


def install(folder: Path, fault: Fault) -> list[str]:
    """Watch the calls of this process that change files in a folder, from now on.

    Calls that are told a path count if that is in the folder; those that are told a handle always count.

    Returns:
        The names of the calls seen so far, which grows as they come.
    """
    watch = _Watch(str(folder.resolve()), fault)
    for name in ("mkdir", "replace", "rename", "unlink", "rmdir"):
        setattr(os, name, watch.told_a_path(name, getattr(os, name)))
    os.remove = os.unlink
    for name in ("fsync", "close"):
        setattr(os, name, watch.told_a_handle(name, getattr(os, name)))
    os.open = watch.opening(os.open)
    os.fdopen = watch.streaming(os.fdopen)
    io.open = builtins.open = watch.opening_by_mode(builtins.open)
    return watch.seen


class _Watch:
    def __init__(self, folder: str, fault: Fault) -> None:
        self.folder, self.fault, self.seen, self.lock = folder, fault, list[str](), threading.Lock()

    def around(self, name: str, call: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Do a call, unless it is the one that fails or is not survived."""
        with self.lock:
            self.seen.append(name)
            number = len(self.seen)
        if number != self.fault.call:
            return call()
        if half is not None and (self.fault.error or self.fault.moment == "half"):
            half()
        if self.fault.error:
            raise OSError(self.fault.error, os.strerror(self.fault.error))
        if self.fault.moment == "after":
            call()
        os.kill(os.getpid(), signal.SIGKILL)

    def told_a_path(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *more: Any, **options: Any) -> Any:
            if not self._within(path):
                return original(path, *more, **options)
            return self.around(name, lambda: original(path, *more, **options))

        return call

    def told_a_handle(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda handle: self.around(name, lambda: original(handle))

    def opening(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, flags: int, *more: Any, **options: Any) -> Any:
            if not (flags & (os.O_WRONLY | os.O_RDWR) and self._within(path)):
                return original(path, flags, *more, **options)
            return self.around("open", lambda: original(path, flags, *more, **options))

        return call

    def opening_by_mode(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
            if not (set(mode) & set("wax+") and self._within(path)):
                return original(path, mode, *more, **options)
            return self.around("open", lambda: original(path, mode, *more, **options))

        return call

    def streaming(self, original: Callable[..., Any]) -> Callable[..., Any]:
        watch = self

        class Stream(io.FileIO):
            def write(self, data: Any) -> int:
                raw, whole = bytes(data), super().write
                return int(watch.around("write", lambda: whole(raw), lambda: whole(raw[: len(raw) // 2])))

        def call(handle: int, mode: str = "r", *more: Any, **options: Any) -> Any:
            if mode != "wb":
                return original(handle, mode, *more, **options)
            return self.around("fdopen", lambda: Stream(handle, "w"))

        return call

    def _within(self, path: Any) -> bool:
        if isinstance(path, int):
            return False
        return str(Path(os.fsdecode(path)).absolute()).startswith(self.folder)
