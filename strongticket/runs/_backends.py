"""Where runs are computed: in this process, or in several; each backend gives the same results.

A backend gets tasks made of text alone (an import path and JSON), so that one which sends them to other machines
(`strongticket.runs.Dask`) knows no more than these do. Writing results is not its business.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Final, Literal, final, get_args

from strongticket.runs._worker import Answer, environment, one_thread, perform, resolve, use_one_thread

__all__ = [
    "ATTEMPTS",
    "BACKENDS",
    "AbstractBackend",
    "BackendName",
    "InProcess",
    "Processes",
    "Task",
    "check_count",
    "died",
]

_HARMLESS: Final = "strongticket.runs.examples:nothing"

ATTEMPTS: Final = 3
"""How often a task may take its worker down with it before it is given up."""

BackendName = Literal["in-process", "processes", "dask", "torchrun"]

BACKENDS: Final[tuple[BackendName, ...]] = get_args(BackendName)
"""Names of the backends: this process, worker processes of this machine, a dask cluster, one run over several ranks."""


@dataclass(frozen=True)
class Task:
    """One run, as text: what is sent to a worker.

    Attributes:
        key: the run's key.
        function: import path "module:function".
        params: canonical JSON of the parameters.
    """

    key: str
    function: str
    params: str


def check_count(name: str, count: object) -> None:
    """Refuse what is no number of processes.

    Raises:
        ValueError: it is no int, or less than 1.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"{name}: expected an int >= 1, got {count!r}")


class AbstractBackend(ABC):
    """The contract of a backend: answer every task once, in any order, as soon as each answer is known.

    A task whose function raises is answered with its error; a task that kills its worker, after `ATTEMPTS` tries, with
    the error "WorkerDied", and the others are answered as if it had not been there. Closing the iterator early stops
    all work at once.
    """

    @abstractmethod
    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Answer]]:
        """Yield each task with its answer."""


@final
@dataclass(frozen=True)
class InProcess(AbstractBackend):
    """Compute one task after the other in this process: for short work, debuggers and tests."""

    jobs: int = 1

    def __post_init__(self) -> None:
        if self.jobs != 1:
            raise ValueError(f"the backend 'in-process' does one job at a time, got jobs = {self.jobs}")

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Answer]]:
        """Yield each task with its answer, in order."""
        for function in {task.function for task in tasks}:
            resolve(function)  # what its module loads must be loaded before threads are counted
        for task in tasks:
            with one_thread():
                answer = perform(task.function, task.params)
            yield task, answer


@final
@dataclass(frozen=True)
class Processes(AbstractBackend):
    """Compute in worker processes of this machine, one thread each, started afresh (never forked).

    A worker that dies costs only the tasks in flight, two per worker. Which of these killed it cannot be known, so each
    is tried again alone; then the blame is certain.
    """

    jobs: int = 1

    def __post_init__(self) -> None:
        check_count("jobs", self.jobs)

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Answer]]:
        """Yield each task with its answer, as they come.

        Raises:
            ChildProcessError: workers die of anything, so that no task is to blame.
        """
        waiting = deque(tasks)
        suspects: deque[tuple[Task, int]] = deque()  # tasks in flight when a worker died, and how often
        pool, works = _Pool(self.jobs), False
        try:
            while waiting or suspects:
                if suspects:
                    task, deaths = suspects.popleft()
                    answer = pool.alone(task)
                    if answer is None:
                        pool = pool.rebuilt()
                        works = works or pool.tried()
                        deaths += 1
                        if deaths < ATTEMPTS:
                            suspects.appendleft((task, deaths))
                            continue
                    yield task, died(deaths) if answer is None else replace(answer, attempts=deaths + 1)
                    continue
                yield from pool.together(waiting, suspects)
                if suspects:
                    pool = pool.rebuilt()
        except BaseException:
            pool.kill()
            raise
        pool.close()


class _Pool:
    """A `ProcessPoolExecutor` whose workers end when told to, and when this process dies, however it dies."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        context = multiprocessing.get_context("spawn")
        # Only this process holds the writing end: workers see it close when `kill` is called, and when we are gone.
        self._reader, self._writer = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(jobs, context, initializer=_start, initargs=(self._reader,))

    def together(self, waiting: deque[Task], suspects: deque[tuple[Task, int]]) -> Iterator[tuple[Task, Answer]]:
        """Answer waiting tasks until none is left or a worker dies; then those without an answer become suspects."""
        running: dict[Future[Answer], Task] = {}
        while waiting or running:
            try:
                while waiting and len(running) < 2 * self.jobs:  # one at work and one at hand for each worker
                    running[self._executor.submit(perform, waiting[0].function, waiting[0].params)] = waiting[0]
                    waiting.popleft()
            except BrokenProcessPool:
                pass  # the futures below say so too
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            broken = not finished
            for future in finished:
                answer = _answer(future)
                if answer is None:
                    broken = True
                else:
                    yield running.pop(future), answer
            if broken:
                late = [(running.pop(future), _answer(future)) for future in list(running)]
                suspects.extend((task, 1) for task, answer in late if answer is None)
                for task, answer in late:
                    if answer is not None:
                        yield task, answer
                return

    def alone(self, task: Task) -> Answer | None:
        """Answer one task with nothing else running; None when its worker died."""
        try:
            return _answer(self._executor.submit(perform, task.function, task.params))
        except BrokenProcessPool:
            return None

    def rebuilt(self) -> _Pool:
        """Return a fresh pool in place of this broken one."""
        self.kill()
        return _Pool(self.jobs)

    def tried(self) -> bool:
        """Whether a worker lives through a task that does nothing: True, or an error that says what may be wrong.

        Raises:
            ChildProcessError: it died.
        """
        if self.alone(Task("", _HARMLESS, "{}")) is None:
            raise ChildProcessError(
                "worker processes end as soon as they start, whatever the task: the machine is short of memory, or the "
                "program starts them again when they load it; a script must call execute under "
                "`if __name__ == '__main__':`"
            )
        return True

    def kill(self) -> None:
        """End the workers now, in the middle of what they do."""
        self._writer.close()
        self.close()

    def close(self) -> None:
        """Wait for the workers to end, and free what they used."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._writer.close()
        self._reader.close()


def _answer(future: Future[Answer]) -> Answer | None:
    """The answer of a future, waiting for it; None when its worker died."""
    try:
        return future.result()
    except BrokenProcessPool:
        return None


def died(attempts: int, last: str = "") -> Answer:
    """Return the answer of a task that took its worker down with it so often; last: what was heard of the last one."""
    message = f"the worker process died {attempts} times while it ran this task (killed, out of memory, or a crash)"
    message += f"; the last thing it said: {last}" if last else ""
    return Answer(None, "WorkerDied", message, "", 0.0, environment(), attempts)


def _start(alive: Connection) -> None:
    """Prepare a worker: one thread, interrupts left to the parent, and an end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_one_thread()
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()


def _end_with_parent(alive: Connection) -> None:
    try:
        alive.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
