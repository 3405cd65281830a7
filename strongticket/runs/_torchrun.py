"""Compute one large run over several processes: torchrun starts them, this starts torchrun again when one is lost.

The run's function is called with the same parameters in every process, inside a process group of torch (gloo; nccl for
tensors on GPUs), and shares its work as `strongticket.training.parallel` does. torchrun's own --max-restarts is not
used: with gloo it sometimes waits for ever for a process that is gone. Here the whole job is ended and begun again, and
a run that keeps checkpoints in the folder that STRONGTICKET_CHECKPOINTS names goes on from there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, final

from strongticket._files import canonical_json
from strongticket.runs._backends import ATTEMPTS, AbstractBackend, Task, check_count, died
from strongticket.runs._rank import ANSWER, CHECKPOINTS, FAILED, TASK
from strongticket.runs._worker import Answer

__all__ = ["Torchrun", "checkpoint_folder"]

_LOOK_S: Final = 0.1
_GRACE_S: Final = 5.0


def checkpoint_folder() -> Path | None:
    """Return where a shared run keeps its checkpoints, None outside one: what is there is found again after a restart.

    >>> checkpoint_folder() is None
    True
    """
    folder = os.environ.get(CHECKPOINTS)
    return Path(folder) if folder else None


@final
@dataclass(frozen=True)
class Torchrun(AbstractBackend):
    """Compute one run after the other, each over several processes of this machine, one thread each.

    Args:
        processes: that share a run.
        checkpoints: a folder; each run gets one of its own in it, named by its key. None: checkpoints last as long as
            this execution.
        patience_s: a job that has neither ended nor changed its checkpoints for so long is ended and begun again.
        collective_s: how long a process waits for the others before it gives up.
    """

    processes: int = 1
    checkpoints: Path | None = None
    patience_s: float = 3600.0
    collective_s: float = 600.0

    def __post_init__(self) -> None:
        check_count("processes", self.processes)
        if not (self.patience_s > 0 and self.collective_s > 0):
            raise ValueError(f"expected patience_s, collective_s > 0, got {self.patience_s} and {self.collective_s}")

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Answer]]:
        """Yield each task with its answer, in order."""
        for task in tasks:
            with TemporaryDirectory(prefix="strongticket-") as scratch:
                yield task, self._answer(task, Path(scratch))

    def _answer(self, task: Task, scratch: Path) -> Answer:
        kept = (scratch if self.checkpoints is None else self.checkpoints.absolute()) / task.key
        kept.mkdir(parents=True, exist_ok=True)
        body = {"function": task.function, "params": task.params, "parent": os.getpid(), "processes": self.processes}
        (scratch / TASK).write_text(canonical_json({**body, "collective_s": self.collective_s}))
        said = ""
        for attempt in range(1, ATTEMPTS + 1):
            said = self._job(scratch, kept)
            try:
                answer = Answer(**json.loads((scratch / ANSWER).read_text()))
            except FileNotFoundError:
                continue
            return replace(answer, attempts=attempt)
        return died(ATTEMPTS, said)

    def _job(self, scratch: Path, kept: Path) -> str:
        """Run the job once, to whatever end; return the end of what it said."""
        for mark in scratch.glob(f"*{FAILED}"):  # of the attempt before
            mark.unlink()
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "0"]
        command += ["--nproc-per-node", str(self.processes), "-m", "strongticket.runs._rank", str(scratch)]
        path = os.pathsep.join(place for place in sys.path if place)  # functions are found there as they are here
        environment = {**os.environ, CHECKPOINTS: str(kept), "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        with (scratch / "said.txt").open("w+b") as log:
            job = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
            try:
                ending = self._watch(job, kept)
            finally:
                _end(job)
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2000))
            return f"{ending}{log.read().decode(errors='replace').strip()}"

    def _watch(self, job: subprocess.Popen[bytes], kept: Path) -> str:
        """Wait for the end of the job, or for too long a silence."""
        alive, state = time.monotonic(), _state(kept)
        while job.poll() is None:
            time.sleep(_LOOK_S)
            if time.monotonic() - alive > self.patience_s:
                now = _state(kept)
                if now == state:
                    return f"ended after {self.patience_s:g} s without a new checkpoint; "
                alive, state = time.monotonic(), now
        return ""


def _state(folder: Path) -> list[tuple[str, int]]:
    """What is in a folder and when it was written."""
    found = []
    for path in folder.rglob("*"):
        with suppress(OSError):  # it was renamed this moment
            found.append((str(path), path.stat().st_mtime_ns))
    return sorted(found)


def _end(job: subprocess.Popen[bytes]) -> None:
    """End torchrun, which ends its processes; they end by themselves if it cannot."""
    if job.poll() is None:
        job.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            job.wait(_GRACE_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(job.pid, signal.SIGKILL)
    job.wait()
