"""Do something in a child process that is killed at a chosen time, and find out how it ended.

Children are forked from a process that has loaded everything and computed nothing (one thread, no pool), so that one
takes milliseconds to start and hundreds of them minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, final

__all__ = ["LIMIT_S", "Child", "End", "How", "run"]

How = Literal["done", "refused", "failed", "killed", "hung"]
LIMIT_S: Final = 300.0  # a child that takes longer hangs
GONE_S: Final = 10.0  # its own workers must have ended by then


@final
@dataclass(frozen=True)
class End:
    """How a child ended.

    Attributes:
        how: "done"; "refused": by an OSError or the exit status 2; "failed": by anything else that it said; "killed";
            "hung": had to be killed after `LIMIT_S`.
        value: what it returned, if it is done.
        message: what it said.
        seconds: wall time.
        survivors: processes that it started and that were still there `GONE_S` after its end.
    """

    how: How
    value: Any
    message: str
    seconds: float
    survivors: int = 0


class Child:
    """A child process at work, in a session of its own.

    Args:
        call: what it does; returns JSON values.
        said: file that gets what it writes to its standard output and error.
    """

    def __init__(self, call: Callable[[], Any], said: Path | None = None) -> None:
        self.began = time.monotonic()
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            os.close(reader)
            _work(call, writer, said)
        os.close(writer)
        self._reader = reader
        self._handle = os.pidfd_open(self.pid)

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not select.select([self._handle], [], [], 0.0)[0]

    def end(self, kill_after: float | None = None) -> End:
        """Wait for its end, or bring it about so many seconds after its start with a signal that cannot be caught."""
        left = LIMIT_S if kill_after is None else max(0.0, self.began + kill_after - time.monotonic())
        answer, late = self._wait(left)
        if late:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        seconds = time.monotonic() - self.began
        os.close(self._handle)
        os.close(self._reader)
        survivors = _survivors(self.pid)
        if late and kill_after is None:
            return End("hung", None, f"no end within {LIMIT_S:.0f} s", seconds, survivors)
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGKILL:
            return End("killed", None, "", seconds, survivors)
        if not answer:  # it became another program, which says all by its exit status
            return End(_meaning(code), None, f"exit status {code}", seconds, survivors)
        found = json.loads(answer)
        return End(found["how"], found["value"], found["message"], seconds, survivors)

    def _wait(self, seconds: float) -> tuple[bytes, bool]:
        """What it answers until it ends, and whether it did not within these seconds."""
        answer, until = b"", time.monotonic() + seconds
        reading = True
        while True:
            handles = [self._handle, self._reader] if reading else [self._handle]
            ready, _, _ = select.select(handles, [], [], max(0.0, until - time.monotonic()))
            if reading and self._reader in ready:
                part = os.read(self._reader, 1 << 16)
                reading, answer = bool(part), answer + part
            elif self._handle in ready:
                return answer, False
            elif not ready:
                return answer, True


def run(call: Callable[[], Any], *, kill_after: float | None = None, said: Path | None = None) -> End:
    """Do something in a child and wait for its end; see `Child`.

    >>> run(lambda: 6 * 7).value
    42
    >>> run(lambda: time.sleep(60), kill_after=0.01).how
    'killed'
    """
    return Child(call, said).end(kill_after)


def _work(call: Callable[[], Any], writer: int, said: Path | None) -> NoReturn:
    write, leave = os.write, os._exit  # as they are before a job has faults installed
    try:
        os.setsid()
        out = os.open(os.devnull if said is None else said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(out, 1)
        os.dup2(out, 2)
        how: How
        value: Any = None
        try:
            how, value, message = "done", call(), ""
        except OSError as error:
            how, message = "refused", f"{type(error).__name__}: {error}"
        except SystemExit as error:
            how, message = _meaning(error.code), f"exit status {error.code}"
        except BaseException as error:
            how, message = "failed", f"{type(error).__name__}: {error}"
        write(writer, json.dumps({"how": how, "value": value, "message": message}).encode())
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        leave(0)


def _meaning(code: object) -> How:
    """What an exit status says."""
    return "done" if not code else "refused" if code == 2 else "failed"


def _survivors(session: int) -> int:
    """How many processes of a session are left after they had time to end; they are killed."""
    until = time.monotonic() + GONE_S
    while (left := _members(session)) and time.monotonic() < until:
        time.sleep(0.005)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def _members(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found
