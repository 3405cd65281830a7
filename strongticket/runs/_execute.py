"""`execute`: do the runs that a store does not have yet."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from strongticket._files import canonical_json
from strongticket.runs._backends import (
    BACKENDS,
    AbstractBackend,
    BackendName,
    InProcess,
    Processes,
    Task,
    check_count,
)
from strongticket.runs._spec import Spec
from strongticket.runs._store import Damage, DamagedRun, Failure, MissingRun, Record, Store
from strongticket.runs._worker import Answer, Function, address
from strongticket.runs._writing import Writing

__all__ = ["Progress", "Summary", "execute"]

_LONGEST = 120  # characters of a failure in a summary's line


@dataclass(frozen=True)
class Progress:
    """How far an execution is; given to the caller's `progress` at the start and after every run.

    Attributes:
        total: distinct runs asked for.
        reused: were in the store at the start.
        done: finished now.
        failed: failed now.
    """

    total: int
    reused: int
    done: int
    failed: int


@dataclass(frozen=True)
class Summary:
    """What an execution did.

    Attributes:
        total: distinct runs asked for.
        reused: were in the store already.
        done: finished now.
        failures: failed now; they are tried again by the next execution.
        damaged: files found broken; they were set aside and their runs done again.
        seconds: wall time.
    """

    total: int
    reused: int
    done: int
    failures: tuple[Failure, ...]
    damaged: tuple[Damage, ...]
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether the store now has every run that was asked for."""
        return self.reused + self.done == self.total

    def __str__(self) -> str:
        """Say in one line how it went; of failures the number, and the first one without its traceback.

        >>> print(Summary(9, 2, 7, (), (), 1.26))
        9 runs: 7 done in 1.3 s, 2 reused
        """
        parts = [f"{self.total} runs: {self.done} done in {self.seconds:.1f} s, {self.reused} reused"]
        if self.damaged:
            parts.append(f"{len(self.damaged)} found damaged and done again")
        if self.failures:
            first = self.failures[0]
            said = " ".join(f"{first.error}: {first.message}".split())  # on one line
            said = said if len(said) <= _LONGEST else f"{said[: _LONGEST - 3]}..."
            parts.append(f"{len(self.failures)} failed, first {said}")
        return ", ".join(parts)


def execute(
    specs: Iterable[Spec],
    function: Function | str,
    store: Store,
    *,
    jobs: int = 1,
    backend: BackendName | AbstractBackend | None = None,
    scheduler: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Do the runs that the store does not have; each result is kept as soon as it is known.

    Stopping in any way (an interrupt, SIGKILL, a full disk) loses only what was being computed, and of runs shorter
    than a tenth of a second the last few that were being written: execute the same specs again to go on. Failed runs
    are noted in the store and tried again next time.

    Args:
        specs: the runs; repeated ones are done once.
        function: takes a spec's parameters, returns a JSON-able dictionary that depends on them alone; a function at
            the top level of a module, or its import path "module:function".
        store: where results are, and go.
        jobs: worker processes of this machine; of "torchrun", the processes that share one run.
        backend: "in-process" (the default for one job), "processes" (for more), "dask" (given a scheduler), "torchrun"
            (one run after the other, each over several processes), or a backend of your own.
        scheduler: address of a dask scheduler, such as "tcp://host:8786"; its workers do the runs, see `Dask`.
        progress: called with the state at the start and whenever a run's result is safe on the disk, in this thread.

    Returns:
        What was done; nothing is raised for runs that failed.

    Raises:
        ValueError: an unknown backend, a bad number of jobs, or a function that workers could not find.
        ImportError: the function's module cannot be imported.
        OSError: the store cannot be written, or the scheduler is gone (ConnectionError).
        KeyboardInterrupt: passed on, after the workers were ended.
    """
    begin = time.perf_counter()
    path = address(function)
    chosen = _backend(backend, jobs, scheduler)
    todo, damaged = _missing(unique := {spec.key: spec for spec in specs}, store)
    reused, failures, done = len(unique) - len(todo), list[Failure](), 0

    def report() -> None:
        if progress is not None:
            progress(Progress(len(unique), reused, done, len(failures)))

    report()
    if todo:
        store.sweep()
        tasks = [Task(key, path, canonical_json(spec.to_json()["params"])) for key, spec in todo.items()]
        with (
            Writing(lambda spec, answer: _keep(spec, answer, store)) as writing,
            closing(_written(chosen, tasks, unique, writing)) as outcomes,
        ):
            for failure in outcomes:
                if failure is None:
                    done += 1
                else:
                    failures.append(failure)
                report()
    return Summary(len(unique), reused, done, tuple(failures), tuple(damaged), time.perf_counter() - begin)


def _backend(backend: BackendName | AbstractBackend | None, jobs: int, scheduler: str | None) -> AbstractBackend:
    check_count("jobs", jobs)
    if scheduler is not None and backend not in (None, "dask"):
        raise ValueError(f"scheduler: only the backend 'dask' has one, not {backend!r}")
    if isinstance(backend, AbstractBackend):
        return backend
    name: Any = backend or ("dask" if scheduler is not None else "in-process" if jobs == 1 else "processes")
    if name == "dask":
        from strongticket.runs._dask import Dask

        return Dask(scheduler or "")
    if name == "torchrun":
        from strongticket.runs._torchrun import Torchrun

        return Torchrun(jobs)
    if name not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}")
    return InProcess(jobs) if name == "in-process" else Processes(jobs)


def _written(
    backend: AbstractBackend, tasks: list[Task], specs: dict[str, Spec], writing: Writing
) -> Generator[Failure | None, None, None]:
    """For each answer that has become safe its failure or None; leaving the loop early ends the workers."""
    with closing(_generator(backend, tasks)) as answers:
        for task, answer in answers:
            yield from writing.give(specs[task.key], answer)
    yield from writing.rest()


def _generator(backend: AbstractBackend, tasks: list[Task]) -> Generator[tuple[Task, Answer], None, None]:
    """The answers as a generator: leaving the loop early closes it, and with it the backend's, which ends the workers.

    A backend of somebody's own may return an iterator that cannot be closed.
    """
    yield from backend.run(tasks)


def _missing(specs: dict[str, Spec], store: Store) -> tuple[dict[str, Spec], list[Damage]]:
    """The runs to do; damaged files are set aside."""
    todo, damaged = {}, []
    for key, spec in specs.items():
        try:
            store.read(spec)
        except MissingRun:
            todo[key] = spec
        except DamagedRun as error:
            todo[key] = spec
            try:
                damaged.append(Damage(store.set_aside(spec), str(error)))
            except FileNotFoundError:
                continue  # another execution has just done so
    return todo, damaged


def _keep(spec: Spec, answer: Answer, store: Store) -> Failure | None:
    """Write what a worker answered; the failure, if it is one."""
    error, message, trace = answer.error, answer.message, answer.traceback
    if answer.result is not None:
        try:
            store.write(Record(spec, json.loads(answer.result), answer.environment, answer.seconds))
            store.clear_failure(spec)
            return None
        except ValueError as refused:  # another result of this spec is there, or the file could not be read back
            error, message, trace = type(refused).__name__, str(refused), ""
    before = store.read_failure(spec)
    attempts = answer.attempts + (before.attempts if before is not None else 0)
    failure = Failure(spec, error, message, trace, attempts, answer.environment)
    store.write_failure(failure)
    return failure
