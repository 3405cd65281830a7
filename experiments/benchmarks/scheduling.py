"""What the engine of experiments costs per run: `python -m experiments.benchmarks.scheduling`.

Runs that do nothing, each with a result that is safe on the disk before it counts as done, by each backend: in this
process, in worker processes, and on a dask cluster of this machine (a scheduler and workers in processes of their own,
over TCP). Start-up is apart: it is the time until the first of two warm-up runs for each worker is done. Then come the
second execution, which finds everything done, and the two commands that look at a store; the disk's own part is
measured as the time of one durable write after the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

from experiments.benchmarks._cluster import cluster
from experiments.benchmarks._machine import load_average, machine
from experiments.benchmarks._report import deliver
from strongticket._files import write_atomically
from strongticket.runs import Spec, Store, execute

__all__ = ["SchedulingBenchmark", "main", "run", "table"]

BackendName = Literal["in-process", "processes", "dask"]
_FUNCTION = "strongticket.runs.examples:nothing"
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class SchedulingBenchmark:
    """Time runs that do nothing, from being asked for to being safe on the disk."""

    tasks: tuple[int, ...] = (1_000, 10_000)
    """Runs of one execution."""
    backends: tuple[BackendName, ...] = get_args(BackendName)
    """Where they are done."""
    workers: int = 2
    """Worker processes."""
    rounds: int = 3
    """Executions of each kind, each into a new store; the least time counts, all are kept."""
    folder: Path | None = None
    """Where the stores are made, for the disk matters; the folder of temporary files if not given."""
    out: Path | None = None
    """JSON file to write."""


@contextmanager
def _means(backend: BackendName, workers: int) -> Iterator[dict[str, Any]]:
    """The arguments of `execute` for a backend."""
    if backend == "dask":
        with cluster(workers, [_ROOT]) as started:
            yield {"scheduler": started.address}
    else:
        yield {"backend": backend, "jobs": workers if backend == "processes" else 1}


def _specs(count: int, name: str = "nothing") -> list[Spec]:
    return [Spec(name, 1, {"number": number}) for number in range(count)]


def _once(count: int, means: dict[str, Any], workers: int, folder: Path | None) -> dict[str, float]:
    """Seconds of one execution in a new store: from the start to the first result, all of it, and once more."""
    with TemporaryDirectory(dir=folder) as place:
        store, marks, start = Store(place), list[float](), time.perf_counter()

        def mark(_: object) -> None:
            marks.append(time.perf_counter() - start)

        summary = execute(_specs(count), _FUNCTION, store, progress=mark, **means)
        if summary.done != count:
            raise RuntimeError(f"{count - summary.done} of {count} runs failed: {summary.failures[:1]}")
        total, start = time.perf_counter() - start, time.perf_counter()
        reused = execute(_specs(count), _FUNCTION, store).reused
        again, start = time.perf_counter() - start, time.perf_counter()
        names = len(store.keys("nothing"))
        counted = time.perf_counter() - start
        if not reused == names == count:
            raise RuntimeError(f"of {count} runs {reused} were read and {names} counted")
    first = marks[min(2 * workers, len(marks) - 1)]  # by then all workers have loaded what they need
    done = count - min(2 * workers, len(marks) - 1)
    return {"total_s": total, "start_s": first, "task_ms": 1e3 * (total - first) / max(done, 1),
            "again_ms": 1e3 * again / count, "names_ms": 1e3 * counted / count}  # fmt: skip


def _durable_ms(folder: Path | None, count: int = 100) -> float:
    """Milliseconds of a durable write when one waits for the other."""
    with TemporaryDirectory(dir=folder) as place:
        start = time.perf_counter()
        for number in range(count):
            write_atomically(Path(place) / f"{number}.json", "x" * 1000)
        return 1e3 * (time.perf_counter() - start) / count


def run(benchmark: SchedulingBenchmark) -> dict[str, Any]:
    """Time everything, and return the rows with what they were measured on."""
    load, rows = load_average(), []
    for backend in benchmark.backends:
        with _means(backend, benchmark.workers) as means:
            for count in benchmark.tasks:
                rounds = [_once(count, means, benchmark.workers, benchmark.folder) for _ in range(benchmark.rounds)]
                best = {name: min(one[name] for one in rounds) for name in rounds[0]}
                whole = [1e3 * one["total_s"] / count for one in rounds]
                row = {"backend": backend, "tasks": count, **best, "task_with_start_ms": min(whole)}
                rows.append({**row, "rounds": rounds})
    parameters = {key: value for key, value in asdict(benchmark).items() if key not in ("out", "folder")}
    return {
        "name": "scheduling",
        "parameters": parameters,
        "rows": rows,
        "durable_write_ms": _durable_ms(benchmark.folder),
        "environment": {**machine("distributed"), "load_average": load},
    }


def table(result: dict[str, Any]) -> str:
    """The rows as text."""
    names = ("task_ms", "task_with_start_ms", "start_s", "total_s", "again_ms", "names_ms")
    lines = [f"{'backend':>12} {'tasks':>8} " + " ".join(f"{name:>18}" for name in names)]
    lines += [
        f"{row['backend']:>12} {row['tasks']:>8} " + " ".join(f"{row[name]:>18.4g}" for name in names)
        for row in result["rows"]
    ]
    return "\n".join([*lines, f"one durable write after the other: {result['durable_write_ms']:.3g} ms each"])


def main() -> None:
    """Run the benchmark from a terminal."""
    import tyro

    benchmark = tyro.cli(SchedulingBenchmark, prog="python -m experiments.benchmarks.scheduling")
    deliver(lambda: run(benchmark), table, benchmark.out)


if __name__ == "__main__":
    main()
