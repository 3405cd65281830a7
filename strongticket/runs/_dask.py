"""Compute on a dask cluster that is there already: its scheduler's address is all that is needed.

Start one by hand, on any machines that can reach each other, in the folder that experiments are imported from::

    dask scheduler --host 10.0.0.1 --port 8786
    PYTHONPATH=. dask worker tcp://10.0.0.1:8786 --nthreads 1 --nworkers 16     # on each machine

or by dask's own deployments: `dask ssh`, dask-jobqueue (SLURM, PBS, SGE), dask-kubernetes. A worker computes with one
thread, so start as many workers as there are cores.

Whoever reaches the port of a scheduler can run code on all machines: on a network that is not your own, encrypt and
authenticate with TLS. Give the address as tls://..., and certificates by `security` or by dask's own settings, such as
the variables DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ...__TLS__CLIENT__CERT and ...__TLS__CLIENT__KEY.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any, Final, final

from strongticket.runs._backends import ATTEMPTS, AbstractBackend, Task, died
from strongticket.runs._dask_worker import answers_of, introduce, perform_batch, software
from strongticket.runs._worker import Answer

__all__ = ["Dask", "SchedulerLost"]

_HELP: Final = (
    "start one with `dask scheduler`, and workers, in the folder of the experiments, with "
    "`PYTHONPATH=. dask worker ADDRESS --nthreads 1 --nworkers CORES`; or by dask's deployments for SLURM "
    "(dask-jobqueue), Kubernetes (dask-kubernetes) or SSH (`dask ssh`). Then give its address, such as "
    "tcp://10.0.0.1:8786"
)
_LOOK_S: Final = 0.5  # between two looks at which workers there are
_MOST_TASKS: Final = 64  # of a batch: what a killed worker can cost
_MOST_TEXT: Final = 1 << 20
_SHORT_S: Final = 1.0  # tasks that are shorter are worth having at hand; longer ones would wait while others idle


class SchedulerLost(ConnectionError):
    """The scheduler is gone, or there are no workers; what is finished is kept, the same command goes on."""


@final
@dataclass(frozen=True)
class Dask(AbstractBackend):
    """Compute on the workers of a dask scheduler.

    A worker has at most two batches: one at work and, if tasks are short, one at hand. When it dies, these alone are
    done again, each task alone on a worker, so that one which kills its worker is known for certain. Workers whose
    strongticket, revision, torch, numpy, scipy or numba is another than here are refused: one study must not mix what
    may differ in the last bit, or in more.

    Args:
        scheduler: its address.
        security: a `distributed.Security` for tls:// addresses; None: what dask's configuration says.
        batch_s: how long a batch of short tasks should take: what is finished is heard of that late at most.
        patience_s: how long to wait for the scheduler, and for workers when there are none.
    """

    scheduler: str
    security: Any = None
    batch_s: float = 0.25
    patience_s: float = 60.0

    def __post_init__(self) -> None:
        if not isinstance(self.scheduler, str) or ":" not in self.scheduler:
            raise ValueError(f"the backend 'dask' needs the address of a scheduler, got {self.scheduler!r}: {_HELP}")
        if not (self.batch_s > 0 and self.patience_s > 0):
            raise ValueError(f"expected batch_s > 0 and patience_s > 0, got {self.batch_s} and {self.patience_s}")

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Answer]]:
        """Yield each task with its answer, as they come; workers finish what they are at when this is closed early.

        Raises:
            ImportError: distributed is not installed.
            SchedulerLost: no scheduler answers, it went away, or no worker came.
            ValueError: all workers there are were refused; says why.
        """
        try:
            from distributed import Client
        except ModuleNotFoundError as error:
            raise ImportError("the backend 'dask' needs distributed: pip install 'strongticket[cluster]'") from error
        # two steps, so that a client that could not connect can be closed: left to the garbage collector, it closes
        # itself in whatever thread that runs in, which may be the one it waits for
        client: Any = Client.__new__(Client)
        try:
            self._connect(client)
            yield from _Session(self, client, tasks).answers()
        finally:
            _close(client)

    def _connect(self, client: Any) -> None:
        try:
            client.__init__(
                self.scheduler, security=self.security, timeout=min(self.patience_s, 30.0), set_as_default=False
            )
        except TypeError as error:  # what a tls:// address without certificates comes to
            raise ValueError(
                f"{self.scheduler} cannot be spoken to ({error}); for tls:// give a distributed.Security, or set "
                "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ...__TLS__CLIENT__CERT and ...__TLS__CLIENT__KEY"
            ) from error
        except (OSError, ValueError) as error:
            raise SchedulerLost(f"no dask scheduler answers at {self.scheduler} ({error}): {_HELP}") from error


def _close(client: Any) -> None:
    """Close a client, whatever has become of its scheduler."""
    with suppress(Exception):
        client.close(timeout=5)
    with suppress(Exception):
        client.status = "closed"  # if that failed, the garbage collector must not try again


@dataclass(eq=False)
class _Batch:
    """Tasks that are sent together.

    Attributes:
        tasks: in the order in which they are done.
        deaths: how often a worker died of, or with, the single task of this batch; 0 for work that is not suspected.
        future: of dask; the answers as text.
    """

    tasks: list[Task]
    deaths: int = 0
    future: Any = None


@dataclass(eq=False)
class _Worker:
    """A worker process.

    Attributes:
        address: where.
        hello: the future of `introduce`, until it is heard.
        batches: what it has to do, in order.
    """

    address: str
    hello: Any
    ready: bool = False
    batches: list[_Batch] = field(default_factory=list)


class _Session:
    """One execution on a cluster: who has what to do."""

    def __init__(self, settings: Dask, client: Any, tasks: Sequence[Task]) -> None:
        self._settings, self._client = settings, client
        self._waiting, self._suspects = deque(tasks), deque[_Batch]()
        self._functions = sorted({task.function for task in tasks})
        self._here = software()
        self._workers: dict[tuple[str, str], _Worker] = {}
        self._refused: dict[tuple[str, str], str] = {}
        self._heard: SimpleQueue[Any] = SimpleQueue()
        self._mean_s: float | None = None
        self._looked = self._worked = -math.inf
        self._met = False  # anybody who could work

    def answers(self) -> Iterator[tuple[Task, Answer]]:
        """Yield each task with its answer."""
        self._worked = time.monotonic()
        try:
            while self._waiting or self._suspects or any(worker.batches for worker in self._workers.values()):
                yield from self._look()
                self._hand_out()
                with suppress(Empty):
                    future = self._heard.get(timeout=_LOOK_S)
                    yield from self._hear(future)
        finally:
            batches = [batch.future for worker in self._workers.values() for batch in worker.batches]
            hellos = [worker.hello for worker in self._workers.values() if worker.hello is not None]
            self._forget([*batches, *hellos])

    def _forget(self, futures: list[Any]) -> None:
        if futures and self._client.status == "running":
            with suppress(Exception):
                self._client.cancel(futures, force=True)

    def _send(self, address: str, function: Any, *arguments: Any) -> Any:
        """A call on one worker; `_heard` gets its future when it is over, however that is."""
        future = self._client.submit(
            function, *arguments, workers=[address], allow_other_workers=False, pure=False, retries=0
        )
        future.add_done_callback(self._heard.put)
        return future

    def _look(self) -> Iterator[tuple[Task, Answer]]:
        """See who came and who went, now and then; the tasks of those who went become suspects."""
        if self._client.status != "running":
            raise self._lost("it went away")
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        try:
            there = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, AttributeError) as error:  # an AttributeError when the connection broke this moment
            raise self._lost(str(error)) from error
        self._looked = time.monotonic()
        # a worker that was restarted may have the address of the one that died, but not its folder
        present = {(address, str(about.get("local_directory"))): about for address, about in there.items()}
        for identity in [identity for identity in self._workers if identity not in present]:
            yield from self._bury(self._workers.pop(identity))
        for identity, about in present.items():
            if identity not in self._workers and identity not in self._refused:
                if about.get("nthreads", 1) > 1:
                    warnings.warn(
                        f"the dask worker {identity[0]} has {about['nthreads']} threads, of which one is used: start "
                        "workers with --nthreads 1, as many as there are cores (--nworkers)",
                        RuntimeWarning,
                        stacklevel=2,
                    )
                self._workers[identity] = _Worker(identity[0], self._send(identity[0], introduce, self._functions))
        self._check_hope(present)

    def _check_hope(self, present: dict[tuple[str, str], Any]) -> None:
        """Give up when nobody is there who could work.

        Raises:
            ValueError: all who are there were refused.
            SchedulerLost: nobody has been there for too long.
        """
        if self._workers:
            self._worked = time.monotonic()
            return
        why = "".join(f"\n  {address}: {self._refused[address, folder]}" for address, folder in present)
        if why and not self._met:  # otherwise those who worked may be started again, as those that died are
            raise ValueError(f"all workers of {self._settings.scheduler} were refused:{why}")
        if time.monotonic() - self._worked > self._settings.patience_s:
            others = f", but these, which were refused:{why}\n" if why else ""
            raise self._lost(f"no worker was there for {self._settings.patience_s:g} s{others}")

    def _lost(self, why: str) -> SchedulerLost:
        left = len(self._waiting) + sum(len(batch.tasks) for batch in self._suspects)
        left += sum(len(batch.tasks) for worker in self._workers.values() for batch in worker.batches)
        return SchedulerLost(
            f"lost the dask cluster at {self._settings.scheduler} ({why}) with {left} runs to go; what is finished is "
            f"kept, the same command goes on from there once scheduler and workers are back: {_HELP}"
        )

    def _bury(self, worker: _Worker) -> Iterator[tuple[Task, Answer]]:
        """Suspect the tasks of a worker that died; answer the one that has killed enough of them."""
        batches, worker.batches = worker.batches, []
        self._forget([batch.future for batch in batches])
        for batch in batches:
            yield from self._suspect(batch)

    def _suspect(self, batch: _Batch, heard: str = "") -> Iterator[tuple[Task, Answer]]:
        if batch.deaths + 1 >= ATTEMPTS:
            yield batch.tasks[0], died(batch.deaths + 1, heard)
        else:
            self._suspects.extend(_Batch([task], batch.deaths + 1) for task in batch.tasks)

    def _hand_out(self) -> None:
        """Give work to those who have none, and to those who will soon be done; suspects to those who have none."""
        ready = [worker for worker in self._workers.values() if worker.ready]
        depth = 2 if self._mean_s is not None and self._mean_s < _SHORT_S else 1
        for most in range(1, depth + 1):  # everybody gets something before anybody gets more
            for worker in ready:
                if self._suspects:
                    if not worker.batches:
                        self._give(worker, self._suspects.popleft())
                elif self._waiting and len(worker.batches) < most and not any(one.deaths for one in worker.batches):
                    self._give(worker, _Batch(self._next(len(ready))))

    def _next(self, workers: int) -> list[Task]:
        """The tasks of the next batch: of known length, and not so many that others have nothing to do at the end."""
        wanted = 1 if self._mean_s is None else int(self._settings.batch_s / max(self._mean_s, 1e-6))
        count = max(1, min(wanted, _MOST_TASKS, math.ceil(len(self._waiting) / (2 * workers))))
        batch = [self._waiting.popleft()]
        size = len(batch[0].params)
        while self._waiting and len(batch) < count and (size := size + len(self._waiting[0].params)) < _MOST_TEXT:
            batch.append(self._waiting.popleft())
        return batch

    def _give(self, worker: _Worker, batch: _Batch) -> None:
        text = json.dumps([[task.function, task.params] for task in batch.tasks])
        batch.future = self._send(worker.address, perform_batch, text, self._settings.batch_s)
        worker.batches.append(batch)

    def _hear(self, future: Any) -> Iterator[tuple[Task, Answer]]:
        """Take what came back: answers, an introduction, or what is left of a worker."""
        for identity, worker in list(self._workers.items()):
            if worker.hello is future:
                self._meet(identity, worker)
                return
            for batch in worker.batches:
                if batch.future is future:
                    yield from self._take(worker, batch)
                    return
        # otherwise it was given up already: its worker was gone

    def _take(self, worker: _Worker, batch: _Batch) -> Iterator[tuple[Task, Answer]]:
        text, error = self._text(batch.future)
        if text is None and error is None:
            if batch.future.status in ("cancelled", "lost") and self._client.status == "running":
                worker.batches.remove(batch)  # the scheduler was started again, or another client cancelled it
                if batch.deaths:
                    self._suspects.append(batch)
                else:
                    self._waiting.extendleft(reversed(batch.tasks))
            return  # otherwise its worker is on the way out, which the next look will tell
        worker.batches.remove(batch)
        if text is None:
            yield from self._suspect(batch, error or "")
            return
        batch.future.release()  # or its answers would be lost, and done again, with their worker
        answers = answers_of(text)
        self._waiting.extendleft(reversed(batch.tasks[len(answers) :]))
        mean = sum(answer.seconds for answer in answers) / len(answers)
        self._mean_s = mean if self._mean_s is None else (self._mean_s + mean) / 2
        for task, answer in zip(batch.tasks, answers, strict=False):
            yield task, replace(answer, attempts=batch.deaths + 1)

    def _meet(self, identity: tuple[str, str], worker: _Worker) -> None:
        """Accept a worker, or refuse it."""
        text, error = self._text(worker.hello)
        if text is None and error is None:
            del self._workers[identity]  # gone; if it is there again, the next look asks it again
            return
        worker.hello = None
        why = error
        if text is not None:
            said = json.loads(text)
            there = said["software"]
            pairs = [(name, there.get(name), own) for name, own in self._here.items()]
            other = [f"{name} {theirs} there, {own} here" for name, theirs, own in pairs if theirs != own]
            why = "; ".join([*other, *said["errors"]])
        if not why:
            worker.ready = self._met = True
            return
        self._refused[identity] = why
        del self._workers[identity]
        warnings.warn(
            f"the dask worker {identity[0]} is refused, for its results might differ: {why}. Give it the same code and "
            "versions (constraints.txt), PYTHONPATH, and start it again",
            RuntimeWarning,
            stacklevel=2,
        )

    def _text(self, future: Any) -> tuple[str | None, str | None]:
        """(what a call returned, what went wrong); neither when its worker is gone, or the scheduler."""
        if future.status == "error":
            error = future.exception(timeout=30)
            return None, f"{type(error).__name__}: {error}"
        if future.status != "finished":
            return None, None
        try:
            return str(future.result(timeout=30)), None
        except Exception:  # a large result on a slow line, or a worker that died before it gave it away
            if future.status == "finished":
                self._heard.put(future)
            return None, None
