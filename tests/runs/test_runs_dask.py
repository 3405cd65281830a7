"""The dask backend against a real scheduler and real workers over TCP, which are killed."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.benchmarks._cluster import Cluster, cluster, kill
from strongticket.runs import Dask, Progress, SchedulerLost, Spec, Store, Task, _dask, execute
from strongticket.runs._dask_worker import software
from strongticket.runs._worker import _versions

pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
HERE = Path(__file__).parent
PATH = (HERE, HERE.parents[1])


@pytest.fixture(autouse=True)
def _functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Cluster]:
    _versions.cache_clear()  # the revision of now, as the workers will see it
    with cluster(2, PATH) as started:
        yield started


def counted_specs(folder: Path, count: int, seconds: float) -> list[Spec]:
    return [Spec("counted", 1, {"x": x, "seconds": seconds, "folder": str(folder)}) for x in range(count)]


def begun(folder: Path) -> list[tuple[int, int]]:
    """(x, process id) of every run that was begun."""
    try:
        return [(int(a), int(b)) for a, b in (line.split() for line in (folder / "begun").read_text().splitlines())]
    except FileNotFoundError:
        return []


def test_same_bytes_from_every_backend(two_workers: Cluster, tmp_path: Path) -> None:
    specs = [Spec("mixed", 1, {"x": x, "pair": (1, 2)}) for x in range(40)]
    here, processes, there = (Store(tmp_path / name) for name in ("here", "processes", "there"))
    assert execute(specs, "run_functions:mixed", here).complete
    assert execute(specs, "run_functions:mixed", processes, jobs=2).complete
    states: list[Progress] = []
    summary = execute(specs, "run_functions:mixed", there, scheduler=two_workers.address, progress=states.append)
    assert (summary.complete, summary.done) == (True, 40)
    assert [state.done for state in states] == list(range(41))  # one by one, batches or not
    for spec in specs:
        records = [store.read(spec) for store in (here, processes, there)]
        assert len({record.content for record in records}) == 1
        bodies = [_body(store.path(spec)) for store in (here, processes, there)]
        assert bodies[0] == bodies[1] == bodies[2]


def _body(path: Path) -> list[bytes]:
    """What a file says, without when and where it was made."""
    import json

    body = json.loads(path.read_bytes())
    assert body.pop("seconds") >= 0
    assert body.pop("environment")["python"]
    return [json.dumps(body, sort_keys=True).encode()]


def test_failures_come_from_workers_too(two_workers: Cluster, tmp_path: Path) -> None:
    specs = [Spec("sometimes", 1, {"x": x, "switch": str(tmp_path / "on")}) for x in range(4)]
    summary = execute(specs, "run_functions:sometimes", Store(tmp_path), scheduler=two_workers.address)
    (failure,) = summary.failures
    assert (failure.error, failure.message, failure.attempts) == ("RuntimeError", "the switch is off", 1)
    assert "in sometimes" in failure.traceback


def test_workers_compute_with_one_thread(two_workers: Cluster, tmp_path: Path) -> None:
    spec = Spec("threads", 1, {})
    assert execute([spec], "run_functions:threads", Store(tmp_path), scheduler=two_workers.address).complete
    assert Store(tmp_path).read(spec).result == {"threads": 1}


def test_a_killed_worker_costs_only_what_it_had_in_flight(two_workers: Cluster, tmp_path: Path) -> None:
    specs, killed = counted_specs(tmp_path, 150, 0.02), list[int]()

    def watch(state: Progress) -> None:
        if state.done == 60 and not killed:
            killed.append(begun(tmp_path)[-1][1])
            os.kill(killed[0], signal.SIGKILL)

    store = Store(tmp_path / "store")
    backend = Dask(two_workers.address, batch_s=0.1)
    summary = execute(specs, "run_functions:counted", store, backend=backend, progress=watch)
    assert summary.complete
    assert killed
    times = Counter(x for x, _ in begun(tmp_path))
    again = sum(times.values()) - len(specs)
    assert 1 <= again <= 2 * 5  # two batches of at most 0.1 s / 0.02 s tasks
    assert {pid for x, pid in begun(tmp_path) if times[x] > 1} >= {killed[0]}
    assert store.failures() == ()


def test_a_task_that_kills_its_workers_is_found_out_alone(two_workers: Cluster, tmp_path: Path) -> None:
    specs = [Spec("poison", 1, {"x": x, "poison": x == 11}) for x in range(30)]
    store = Store(tmp_path)
    summary = execute(specs, "run_functions:poison", store, scheduler=two_workers.address)
    (failure,) = summary.failures
    assert (failure.spec, failure.error, failure.attempts) == (specs[11], "WorkerDied", 3)
    assert summary.done == 29
    assert [store.read(spec).result["x"] for spec in specs if not spec.params["poison"]] == [
        x for x in range(30) if x != 11
    ]


def test_scheduler_killed_and_the_same_command_goes_on(tmp_path: Path) -> None:
    specs, store = counted_specs(tmp_path, 50, 0.05), Store(tmp_path / "store")
    with cluster(0, PATH) as doomed:
        doomed.start_worker("--no-nanny")
        assert doomed.scheduler is not None
        scheduler = doomed.scheduler

        def watch(state: Progress) -> None:
            if state.done == 12:
                kill(scheduler)

        with pytest.raises(SchedulerLost, match="what is finished is kept, the same command goes on"):
            execute(specs, "run_functions:counted", store, scheduler=doomed.address, progress=watch)
        kept = store.collect(specs)
        assert 12 <= len(kept.records) < 50
        assert kept.damaged == ()
        doomed.stop()
        doomed.start_scheduler()
        with pytest.raises(SchedulerLost, match=r"no worker was there for 0\.5 s"):
            execute(specs, "run_functions:counted", store, backend=Dask(doomed.address, patience_s=0.5))
        doomed.start_worker("--no-nanny")
        summary = execute(specs, "run_functions:counted", store, scheduler=doomed.address)
    assert (summary.complete, summary.reused) == (True, len(kept.records))
    assert sum(Counter(x for x, _ in begun(tmp_path)).values()) - 50 <= 2 * 5  # what a worker had in flight
    assert not [thread for thread in threading.enumerate() if "write-results" in thread.name]


def test_when_those_who_worked_are_gone_a_refused_worker_does_not_end_it() -> None:
    """A worker that died is started again: only who finds nobody but refused ones from the start gives up at once."""
    session = _dask._Session(Dask("tcp://127.0.0.1:9"), None, [])
    identity = ("tcp://127.0.0.1:1", "folder")
    session._refused, session._worked = {identity: "another numpy"}, time.monotonic()
    with pytest.raises(ValueError, match=r"were refused:\n.*another numpy"):
        session._check_hope({identity: {}})
    session._met = True
    session._check_hope({identity: {}})
    session._worked -= 61.0
    with pytest.raises(SchedulerLost, match=r"for 60 s, but these, which were refused:\n.*another numpy"):
        session._check_hope({identity: {}})


def test_workers_of_another_kind_are_refused(
    two_workers: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Spec("mixed", 1, {"x": 1, "pair": (1, 2)})
    mine = software()
    monkeypatch.setattr(_dask, "software", lambda: {**mine, "numpy": "1.0"})
    with (
        pytest.warns(RuntimeWarning, match=r"is refused.*numpy .* there, 1\.0 here"),
        pytest.raises(ValueError, match=r"all workers of .* were refused"),
    ):
        execute([spec], "run_functions:mixed", Store(tmp_path), scheduler=two_workers.address)
    assert Store(tmp_path).collect([spec]).missing == (spec,)


def test_functions_that_workers_cannot_import_refuse_the_worker(
    two_workers: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def work(params):\n    return {}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(RuntimeWarning, match="No module named 'only_here'"), pytest.raises(ValueError, match="refused"):
        execute([Spec("a", 1, {})], "only_here:work", Store(tmp_path / "s"), scheduler=two_workers.address)


def test_a_closed_iterator_leaves_the_cluster_usable(two_workers: Cluster, tmp_path: Path) -> None:
    specs = counted_specs(tmp_path, 50, 0.01)

    def stop(state: Progress) -> None:
        if state.done == 3:
            raise KeyboardInterrupt

    store = Store(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        execute(specs, "run_functions:counted", store, scheduler=two_workers.address, progress=stop)
    assert len(store.collect(specs).records) >= 3
    assert execute(specs, "run_functions:counted", store, scheduler=two_workers.address).complete


@pytest.mark.parametrize("arguments", [{"backend": "dask"}, {"scheduler": ""}, {"scheduler": "here"}])
def test_without_an_address_it_says_how_to_start_a_cluster(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dask scheduler.*dask worker.*SLURM.*Kubernetes.*SSH"):
        execute([], "run_functions:mixed", Store(tmp_path), **arguments)


def test_where_nobody_answers_it_says_so(tmp_path: Path) -> None:
    backend = Dask("tcp://127.0.0.1:9", patience_s=0.5)
    with pytest.raises(SchedulerLost, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:9"):
        execute([Spec("mixed", 1, {"x": 1, "pair": ()})], "run_functions:mixed", Store(tmp_path), backend=backend)


def test_a_scheduler_is_only_for_dask(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only the backend 'dask' has one"):
        execute([], "run_functions:mixed", Store(tmp_path), backend="processes", scheduler="tcp://127.0.0.1:9")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_a_cluster_behind_tls_is_closed_to_others(tmp_path: Path) -> None:
    from distributed import Security

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run([*make, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    options = ("--tls-ca-file", str(certificate), "--tls-cert", str(certificate), "--tls-key", str(key))
    own = {"tls_ca_file": str(certificate), "tls_client_cert": str(certificate), "tls_client_key": str(key)}
    spec, store = Spec("mixed", 1, {"x": 1, "pair": ()}), Store(tmp_path / "store")
    closed = Cluster(tmp_path, PATH, options)
    try:
        address = closed.start_scheduler(protocol="tls")
        closed.start_worker("--no-nanny")
        with pytest.raises(ValueError, match=r"give a distributed\.Security"):
            next(Dask(address).run([Task("", "", "")]))
        with pytest.raises(SchedulerLost):
            next(Dask(address.replace("tls://", "tcp://"), patience_s=2.0).run([Task("", "", "")]))
        gc.collect()  # what could not connect is closed already, not now, in whatever thread this runs
        trusted = Dask(address, security=Security(**own, require_encryption=True))
        assert execute([spec], "run_functions:mixed", store, backend=trusted).complete
    finally:
        closed.stop()
