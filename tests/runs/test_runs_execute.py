from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from strongticket.runs import (
    AbstractBackend,
    BackendName,
    MissingRun,
    Progress,
    Spec,
    Store,
    Summary,
    environment,
    execute,
)
from strongticket.runs._store import Damage, Failure
from strongticket.runs._worker import Answer
from strongticket.runs._writing import Writing

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(autouse=True)
def _functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))  # workers get the path too


def mixed_specs(count: int = 6) -> list[Spec]:
    return [Spec("mixed", 1, {"x": x, "pair": (1, 2)}) for x in range(count)]


def contents(store: Store, specs: list[Spec]) -> list[str]:
    return [store.read(spec).content for spec in specs]


def test_both_backends_give_the_same_bytes(tmp_path: Path) -> None:
    specs = mixed_specs()
    stores = {}
    for name, jobs in (("in-process", 1), ("processes", 2)):
        backend: BackendName = name  # type: ignore[assignment]
        stores[name] = Store(tmp_path / name)
        summary = execute(specs, "run_functions:mixed", stores[name], jobs=jobs, backend=backend)
        assert summary.complete
        assert (summary.total, summary.reused, summary.done, summary.failures) == (6, 0, 6, ())
    assert contents(stores["in-process"], specs) == contents(stores["processes"], specs)
    assert stores["processes"].read(specs[1]).result["types"] == "list"  # JSON values, whatever the backend
    assert stores["in-process"].read(specs[1]).environment["python"] == environment()["python"]


def test_only_what_is_missing_is_done(tmp_path: Path) -> None:
    store, specs, states = Store(tmp_path), mixed_specs(), list[Progress]()
    execute(specs[:2], "run_functions:mixed", store)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    summary = execute([*specs, *specs], "run_functions:mixed", store, progress=states.append)
    assert (summary.total, summary.reused, summary.done) == (6, 2, 4)
    assert [(state.total, state.reused, state.done, state.failed) for state in states] == [
        (6, 2, done, 0) for done in range(5)
    ]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    again = execute(specs, "run_functions:mixed", store, backend="processes", jobs=2)
    assert (again.reused, again.done, again.complete) == (6, 0, True)


def test_damaged_results_are_reported_kept_and_done_again(tmp_path: Path) -> None:
    store, specs = Store(tmp_path), mixed_specs(3)
    execute(specs, "run_functions:mixed", store)
    whole = contents(store, specs)
    store.path(specs[1]).write_text("torn")
    summary = execute(specs, "run_functions:mixed", store)
    assert (summary.reused, summary.done) == (2, 1)
    assert [damage.path.read_text() for damage in summary.damaged] == ["torn"]
    assert "no JSON of ours" in summary.damaged[0].reason
    assert contents(store, specs) == whole


@pytest.mark.parametrize("backend", ["in-process", "processes"])
def test_failures_are_recorded_and_tried_again(tmp_path: Path, backend: BackendName) -> None:
    store = Store(tmp_path / "store")
    specs = [Spec("sometimes", 1, {"x": x, "switch": str(tmp_path / "on")}) for x in range(4)]
    for attempt in (1, 2):
        summary = execute(specs, "run_functions:sometimes", store, backend=backend)
        assert not summary.complete
        assert summary.done == (3 if attempt == 1 else 0)
        (failure,) = summary.failures
        assert (failure.spec, failure.error, failure.message) == (specs[2], "RuntimeError", "the switch is off")
        assert failure.attempts == attempt
        assert "in sometimes" in failure.traceback
        assert store.failures() == (failure,)
    (tmp_path / "on").touch()
    assert execute(specs, "run_functions:sometimes", store, backend=backend).complete
    assert store.failures() == ()
    assert [store.read(spec).result["x"] for spec in specs] == [0, 1, 2, 3]


@pytest.mark.parametrize(("kind", "error"), [("nan", "ValueError"), ("list", "TypeError"), ("exit", "SystemExit")])
@pytest.mark.parametrize("backend", ["in-process", "processes"])
def test_bad_results_are_failures(tmp_path: Path, kind: str, error: str, backend: BackendName) -> None:
    spec = Spec("bad", 1, {"kind": kind})
    summary = execute([spec], "run_functions:bad", Store(tmp_path), backend=backend)
    assert [failure.error for failure in summary.failures] == [error]


def test_a_task_that_kills_its_worker_is_reported_and_the_others_finish(tmp_path: Path) -> None:
    store = Store(tmp_path)
    specs = [Spec("poison", 1, {"x": x, "poison": x in (3, 8)}) for x in range(14)]
    summary = execute(specs, "run_functions:poison", store, jobs=2)
    assert [failure.spec.params["x"] for failure in sorted(summary.failures, key=lambda f: f.spec.params["x"])] == [
        3,
        8,
    ]
    assert {(failure.error, failure.attempts) for failure in summary.failures} == {("WorkerDied", 3)}
    assert summary.done == 12
    assert [store.read(spec).result["x"] for spec in specs if not spec.params["poison"]] == [
        x for x in range(14) if x not in (3, 8)
    ]


def test_a_worker_that_is_killed_once_costs_nothing(tmp_path: Path) -> None:
    specs = [Spec("once", 1, {"x": x, "folder": str(tmp_path)}) for x in range(6)]
    summary = execute(specs, "run_functions:once", Store(tmp_path / "store"), jobs=2)
    assert summary.complete
    assert (tmp_path / "killed").exists()


def test_a_function_that_is_no_function_of_its_spec_is_found_out(tmp_path: Path) -> None:
    store, spec = Store(tmp_path), Spec("impure", 1, {})
    execute([spec], "run_functions:impure", store)
    first = store.read(spec)

    class Late(AbstractBackend):
        """Answers what another execution has answered in the meantime."""

        def run(self, tasks):  # type: ignore[no-untyped-def]
            from strongticket.runs import perform

            store.write(first)
            for task in tasks:
                yield task, perform(task.function, task.params)

    store.path(spec).unlink()
    summary = execute([spec], "run_functions:impure", store, backend=Late())
    assert [failure.error for failure in summary.failures] == ["ConflictingResult"]
    assert store.read(spec) == first


def test_runs_compute_with_one_thread_and_the_caller_keeps_its_own(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for backend in ("in-process", "processes"):
            spec = Spec("threads", 1, {"backend": backend})
            execute([spec], "run_functions:threads", Store(tmp_path), backend=backend)  # type: ignore[arg-type]
            assert Store(tmp_path).read(spec).result == {"threads": 1}
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("function", ["run_functions", "run_functions:absent", ":x", lambda params: {}])
def test_functions_that_workers_could_not_find_are_refused(tmp_path: Path, function: object) -> None:
    with pytest.raises(ValueError):
        execute([Spec("a", 1, {})], function, Store(tmp_path))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_bad_backends_are_refused(tmp_path: Path) -> None:
    function = "strongticket.runs.examples:square"
    with pytest.raises(ValueError, match="in-process, processes, dask, torchrun"):
        execute([], function, Store(tmp_path), backend="threads")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one job at a time"):
        execute([], function, Store(tmp_path), backend="in-process", jobs=2)
    for jobs in (0, -1, True, 1.5):
        with pytest.raises(ValueError, match="jobs"):
            execute([], function, Store(tmp_path), jobs=jobs)  # type: ignore[arg-type]


SCRIPT = """
import signal
import sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs are born without
sys.path.insert(0, {here!r})
from strongticket.runs import Spec, Store, execute
from test_specs import specs
if __name__ == "__main__":
    execute(specs({folder!r}), "run_functions:slow", Store(Path({folder!r}) / "store"), jobs={jobs})
"""


def slow_specs(folder: Path) -> list[Spec]:
    return [Spec("slow", 1, {"x": x, "seconds": 0.1, "folder": str(folder)}) for x in range(12)]


def start(tmp_path: Path, jobs: int) -> subprocess.Popen[bytes]:
    """Execute the slow specs in another process, as a user's script does, in a process group of its own."""
    (tmp_path / "test_specs.py").write_text(
        "from strongticket.runs import Spec\n"
        "def specs(folder):\n"
        '    return [Spec("slow", 1, {"x": x, "seconds": 0.1, "folder": folder}) for x in range(12)]\n'
    )
    (tmp_path / "script.py").write_text(SCRIPT.format(here=str(HERE), folder=str(tmp_path), jobs=jobs))
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
        stderr=subprocess.PIPE,
    )


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def running(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_half_way_and_resumed_equals_undisturbed(tmp_path: Path, jobs: int, how: signal.Signals) -> None:
    specs, store = slow_specs(tmp_path), Store(tmp_path / "store")
    process = start(tmp_path, jobs)
    wait_for(lambda: len(store.records("slow").records) >= 3)
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # what Ctrl-C does: everyone in the terminal's group gets it
    else:
        process.kill()
    _, errors = process.communicate(timeout=20)
    assert process.returncode not in (0, None)
    workers = [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]
    assert len(workers) == jobs
    wait_for(lambda: not any(map(running, workers)), 5.0)  # nobody goes on working for a parent that is gone
    if how is signal.SIGINT:
        assert b"KeyboardInterrupt" in errors
        assert errors.count(b"Traceback") <= 2  # workers leave the interrupt to the parent
    kept = store.records("slow")
    assert 3 <= len(kept.records) < len(specs)
    assert kept.damaged == ()
    summary = execute(specs, "run_functions:slow", store)
    assert (summary.complete, summary.reused) == (True, len(kept.records))
    undisturbed = Store(tmp_path / "undisturbed")
    execute(specs, "run_functions:slow", undisturbed, jobs=2)
    assert contents(store, specs) == contents(undisturbed, specs)


def test_a_full_disk_loses_nothing_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, specs = Store(tmp_path), mixed_specs()
    write, written, one = Store.write, list[Spec](), threading.Lock()

    def full(self: Store, record: object) -> Path:
        with one:  # results are written in threads
            if len(written) == 3:
                raise OSError(28, "No space left on device")
            written.append(record.spec)  # type: ignore[attr-defined]
        return write(self, record)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(OSError, match="No space"):
        execute(specs, "run_functions:mixed", store, jobs=2)
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(HERE))
    collected = store.collect(specs)
    assert (len(collected.records), len(collected.missing)) == (3, 3)
    assert execute(specs, "run_functions:mixed", store).reused == 3
    with pytest.raises(MissingRun):
        store.read(Spec("mixed", 2, {}))


def answer(seconds: float) -> Answer:
    return Answer("{}", "", "", "", seconds, {})


def test_short_answers_are_written_side_by_side_and_never_too_many_at_once() -> None:
    running, most, one, go = 0, [0], threading.Lock(), threading.Event()

    def keep(spec: Spec, answer: Answer) -> None:
        nonlocal running
        with one:
            running += 1
            most[0] = max(most[0], running)
        go.wait(10)
        with one:
            running -= 1

    spec, given, told = Spec("a", 1, {}), 0, 0
    with Writing(keep) as writing:
        for _ in range(15):  # nobody waits for these
            told += len(list(writing.give(spec, answer(0.001))))
            given += 1
        assert told == 0
        threading.Timer(0.05, go.set).start()
        for _ in range(30):  # but 16 are the most that a kill could cost
            told += len(list(writing.give(spec, answer(0.001))))
            given += 1
            assert given - told < 16
        told += len(list(writing.rest()))
    assert (told, running) == (45, 0)
    assert 2 <= most[0] <= 8


def test_a_long_answer_is_safe_before_anything_else_happens() -> None:
    kept: list[float] = []

    def keep(spec: Spec, answer: Answer) -> None:
        time.sleep(0.02)
        kept.append(answer.seconds)

    with Writing(keep) as writing:
        list(writing.give(Spec("a", 1, {}), answer(0.001)))
        assert len(list(writing.give(Spec("a", 1, {}), answer(5.0)))) >= 1
        assert sorted(kept) == [0.001, 5.0]


def test_what_could_not_be_written_is_raised_and_the_rest_is_kept() -> None:
    kept: list[float] = []

    def keep(spec: Spec, answer: Answer) -> None:
        if answer.seconds == 0.0:
            raise OSError(28, "No space left on device")
        time.sleep(0.02)
        kept.append(answer.seconds)

    with Writing(keep) as writing:
        list(writing.give(Spec("a", 1, {}), answer(0.01)))
        with pytest.raises(OSError, match="No space"):
            list(writing.give(Spec("a", 1, {}), answer(0.0))) or list(writing.rest())
    assert kept == [0.01]


def test_null_runs_do_not_wait_for_the_disk_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, at_once, most, one = os.fsync, [0], [0], threading.Lock()

    def slow(handle: int) -> None:
        with one:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        time.sleep(0.005)
        with one:
            at_once[0] -= 1

    monkeypatch.setattr(os, "fsync", slow)
    specs = [Spec("nothing", 1, {"x": x}) for x in range(60)]
    assert execute(specs, "strongticket.runs.examples:nothing", Store(tmp_path)).complete
    assert most[0] >= 4
    assert sync is not os.fsync


def test_a_summary_says_in_one_line_what_happened(tmp_path: Path) -> None:
    spec = mixed_specs()[0]
    failure = Failure(spec, "ValueError", "bad\n  luck", "Traceback (most recent call last)", 1, {})
    text = str(Summary(9, 2, 6, (failure, failure), (Damage(tmp_path, "torn"),), 0.44))
    assert (
        text
        == "9 runs: 6 done in 0.4 s, 2 reused, 1 found damaged and done again, 2 failed, first ValueError: bad luck"
    )
    far = str(Summary(1, 0, 0, (replace(failure, message="x" * 5000),), (), 0.0))
    assert len(far) < 200
    assert far.endswith("xxx...")
    assert "\n" not in text + far
    assert "Traceback" not in text + far
