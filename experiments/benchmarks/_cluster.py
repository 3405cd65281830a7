"""A dask cluster as one starts it by hand: a scheduler and workers in processes of their own, over TCP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

__all__ = ["Cluster", "cluster"]


@dataclass(eq=False)
class Cluster:
    """A scheduler and its workers.

    Attributes:
        folder: of their files.
        path: folders that the workers import from.
        options: more arguments of scheduler and workers alike.
    """

    folder: Path
    path: Sequence[Path]
    options: Sequence[str] = ()
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    address: str = ""

    def start_scheduler(self, port: int = 0, protocol: str = "tcp") -> str:
        """Start the scheduler and return its address."""
        told = self.folder / "scheduler.json"
        told.unlink(missing_ok=True)
        where = ("--host", f"{protocol}://127.0.0.1", "--port", str(port))
        until = ("--idle-timeout", "300")  # it ends by itself, and its workers with it, if nobody ends it
        self.scheduler = self._start("scheduler", *where, *until, "--no-dashboard", "--scheduler-file", str(told))
        end = time.monotonic() + 60
        while not self.address or not told.exists():
            if self.scheduler.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the scheduler did not start: {self.said('scheduler')}")
            time.sleep(0.05)
            with suppress(OSError, ValueError):  # it is written while we read
                self.address = json.loads(told.read_text())["address"]
        return self.address

    def start_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker with one thread, which its nanny starts again when it dies."""
        number = len(self.workers)
        own = ("--nthreads", "1", "--nworkers", "1", "--no-dashboard", "--death-timeout", "60")
        place = ("--local-directory", str(self.folder / f"worker-{number}"))
        worker = self._start("worker", self.address, *own, *place, *options)
        self.workers.append(worker)
        return worker

    def said(self, what: str) -> str:
        """Return what scheduler or workers wrote."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob(f"{what}*.log")))

    def stop(self) -> None:
        """End all of them now, children too."""
        for process in [*self.workers, *([self.scheduler] if self.scheduler is not None else [])]:
            kill(process)

    def _start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        places = os.pathsep.join([*map(str, self.path), os.environ.get("PYTHONPATH", "")])
        log: IO[bytes]
        with (self.folder / f"{what}-{time.monotonic_ns()}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments, *self.options],
                env={**os.environ, "PYTHONPATH": places.strip(os.pathsep), "OMP_NUM_THREADS": "1"},
                cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children now."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def cluster(workers: int = 2, path: Sequence[Path] = ()) -> Iterator[Cluster]:
    """Offer a cluster of this machine, on free ports; nothing of it is left afterwards.

    Args:
        workers: processes, one thread each.
        path: folders that they import from, beside those of PYTHONPATH.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        started = Cluster(Path(folder), path)
        try:
            started.start_scheduler()
            for _ in range(workers):
                started.start_worker()
            yield started
        finally:
            started.stop()
