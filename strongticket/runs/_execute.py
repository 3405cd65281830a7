"""`execute`: do the runs that a store does not have yet."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from strongticket._files import canonical_json
from strongticket.runs._backends import BACKENDS, AbstractBackend, BackendName, Task
from strongticket.runs._spec import Spec
from strongticket.runs._store import ConflictingResult, Damage, DamagedRun, Failure, MissingRun, Record, Store
from strongticket.runs._worker import Answer, Function, address

__all__ = ["Progress", "Summary", "execute"]


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


def execute(
    specs: Iterable[Spec],
    function: Function | str,
    store: Store,
    *,
    jobs: int = 1,
    backend: BackendName | AbstractBackend | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Do the runs that the store does not have; each result is kept as soon as it is known.

    Stopping in any way (an interrupt, SIGKILL, a full disk) loses only what was being computed: execute the same specs
    again to go on. Failed runs are noted in the store and tried again next time.

    Args:
        specs: the runs; repeated ones are done once.
        function: takes a spec's parameters, returns a JSON-able dictionary that depends on them alone; a function at
            the top level of a module, or its import path "module:function".
        store: where results are, and go.
        jobs: worker processes.
        backend: "in-process" (the default for one job), "processes" (for more), or a backend of your own.
        progress: called with the state at the start and after each run, in this thread.

    Returns:
        What was done; nothing is raised for runs that failed.

    Raises:
        ValueError: an unknown backend, a bad number of jobs, or a function that workers could not find.
        ImportError: the function's module cannot be imported.
        OSError: the store cannot be written.
        KeyboardInterrupt: passed on, after the workers were ended.
    """
    begin = time.perf_counter()
    path = address(function)
    chosen = _backend(backend, jobs)
    todo, damaged = _missing(unique := {spec.key: spec for spec in specs}, store)
    reused, failures, done = len(unique) - len(todo), list[Failure](), 0

    def report() -> None:
        if progress is not None:
            progress(Progress(len(unique), reused, done, len(failures)))

    report()
    if todo:
        store.sweep()
        tasks = [Task(key, path, canonical_json(spec.to_json()["params"])) for key, spec in todo.items()]
        with closing(_generator(chosen, tasks)) as answers:
            for task, answer in answers:
                failure = _keep(unique[task.key], answer, store)
                if failure is None:
                    done += 1
                else:
                    failures.append(failure)
                report()
    return Summary(len(unique), reused, done, tuple(failures), tuple(damaged), time.perf_counter() - begin)


def _backend(backend: BackendName | AbstractBackend | None, jobs: int) -> AbstractBackend:
    if isinstance(backend, AbstractBackend):
        return backend
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"jobs: expected an int >= 1, got {jobs!r}")
    name: Any = backend or ("in-process" if jobs == 1 else "processes")
    if name not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}")
    return BACKENDS[name](jobs)


def _generator(backend: AbstractBackend, tasks: list[Task]) -> Any:
    """The answers as a generator, so that leaving the loop early ends the workers."""
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
            damaged.append(Damage(store.set_aside(spec), str(error)))
            todo[key] = spec
    return todo, damaged


def _keep(spec: Spec, answer: Answer, store: Store) -> Failure | None:
    """Write what a worker answered; the failure, if it is one."""
    error, message, trace = answer.error, answer.message, answer.traceback
    if answer.result is not None:
        try:
            store.write(Record(spec, json.loads(answer.result), answer.environment, answer.seconds))
            store.clear_failure(spec)
            return None
        except ConflictingResult as conflict:
            error, message, trace = "ConflictingResult", str(conflict), ""
    before = store.read_failure(spec)
    attempts = answer.attempts + (before.attempts if before is not None else 0)
    failure = Failure(spec, error, message, trace, attempts, answer.environment)
    store.write_failure(failure)
    return failure
