"""How fast the subset-sum engine is, beside everything else: `python -m experiments.benchmarks.subset_sum`.

Every figure is measured in one process on the same instances: process-CPU microseconds per instance of whole calls
(checks, masks, exact errors), one thread, the fastest of some repetitions, after calls that compile. Every batch that
is timed is compared with another method's answers, and questions are compared like with like: a minimum with a
minimum, any subset within eps with any subset within eps.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch

from experiments.benchmarks import _machine, _peers
from experiments.benchmarks._cases import EXPONENT, Instances, Kind, Method, Question, engine, kernel, on_device
from experiments.benchmarks._measure import LEAST, Agreement, Effort, measure
from experiments.benchmarks._plan import COARSE, EPS, Group, cuda_groups, groups
from experiments.benchmarks._report import deliver, ratios, tables
from experiments.benchmarks._roofline import roofline

__all__ = ["SubsetSumBenchmark", "main", "run"]

_SLOWEST: Final = 8.0  # seconds for all repetitions of one figure; what would take longer is left out
_ANCHORS: Final = ("numba-plain", "torch", "brute")  # to compare with where a question has one method only
_WIDTHS: Final[tuple[tuple[Kind, str], ...]] = (("uniform", "numba:int32"), ("product", "numba:int64"))
_NETWORK: Final = 397_000  # weights of 784-500-10


@dataclass(frozen=True)
class SubsetSumBenchmark:
    """Time the subset-sum engine and its peers; about ten minutes as it stands with --peers."""

    items: tuple[int, ...] = (8, 10, 12, 14, 16, 18, 20, 21, 22, 24, 28, 32)
    """Numbers of items to time."""
    seconds: float = 0.3
    """Least CPU time of one repetition of a figure."""
    repetitions: int = 3
    """Repetitions, of which the fastest counts."""
    peers: bool = False
    """Ask the general solvers too: HiGHS (scipy) and CP-SAT (OR-tools, pip install 'strongticket[peers]')."""
    peer_instances: int = 20
    """Instances for each general solver, question and number of items."""
    peer_seconds: float = 60.0
    """CPU time after which a general solver is asked about no further instance (but about three at least)."""
    device: Literal["cpu", "cuda"] = "cpu"
    """cuda: time the backends for GPUs as well."""
    network: int = _NETWORK
    """Instances of the whole-network figures; 0: leave them out."""
    seed: int = 0
    """Seed of the instances."""
    out: Path | None = None
    """JSON file to write."""

    def __post_init__(self) -> None:
        if not self.items or any(not 1 <= n <= 40 for n in self.items):
            raise ValueError(f"items: expected numbers of items in 1..40, got {self.items}")
        if not self.seconds > 0 or self.repetitions < 1 or self.peer_instances < 1:
            raise ValueError("expected seconds > 0, repetitions >= 1 and peer_instances >= 1")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device: torch finds no CUDA device here: leave --device out")


@dataclass
class _Clock:
    """Says on stderr what was measured and how long it has taken so far."""

    start: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.start:4.0f} s] {text}", file=sys.stderr, flush=True)


def _rows(groups: Sequence[Group], benchmark: SubsetSumBenchmark, clock: _Clock) -> Iterator[dict[str, Any]]:
    """Measure the methods of each group for ascending n, a slow one no further than it is affordable."""
    for group in groups:
        last: dict[str, tuple[int, float]] = {}
        for n in group.items:
            rows = list(_rows_of(group, n, benchmark, last))
            told = (f"{row['method']} {row['us']:.3g}" if "us" in row else f"{row['method']} -" for row in rows)
            clock.say(f"{group.question.text} [{group.kind}], n = {n}: {', '.join(told)} us")
            yield from rows


def _rows_of(
    group: Group, n: int, benchmark: SubsetSumBenchmark, last: dict[str, tuple[int, float]]
) -> Iterator[dict[str, Any]]:
    effort = Effort(benchmark.seconds, benchmark.repetitions)
    instances = Instances(group.kind, n, benchmark.seed)
    agreement = Agreement(f"{group.question.text} [{group.kind}], n = {n}")
    measured = []
    for method in [*_methods(group, n), *(_peers.plain_methods() if group.plain_peers else ())]:
        row = _head(group, n) | {"method": method.name, "clock": method.clock}
        reason = _why_not(method, n, last, group.question, benchmark)
        if reason is None:
            try:
                timing = measure(method, group.question, instances, effort)
            except (ImportError, ValueError) as error:  # not installed, or not made for so many items
                reason = str(error)
        if reason is not None:
            measured.append(row | {"skipped": reason})
            continue
        agreement.add(method.name, timing.facts)
        last[method.name] = (n, timing.us)
        measured.append(
            row | {"us": timing.us, "per_second": 1e6 / timing.us, "batch": timing.batch, "calls": timing.calls}
        )
    _anchor(group, n, instances, agreement)
    verified = agreement.verified
    for row in measured:
        yield row | ({"verified": verified[row["method"]]} if "us" in row else {})


def _head(group: Group, n: int) -> dict[str, Any]:
    question = group.question
    return {
        "kind": group.kind,
        "n": n,
        "question": question.text,
        "objective": question.objective,
        "eps": question.eps,
        "size": question.size(n),
        "targets_per_pool": question.targets_per_pool,
    }


def _methods(group: Group, n: int) -> list[Method]:
    methods = []
    for backend in group.backends:
        try:
            methods.append(engine(backend, group.kind, group.question, n))
        except ImportError as error:
            methods.append(_absent(backend, error))
    return methods


def _absent(backend: str, error: ImportError) -> Method:
    def call(items: Any, targets: Any) -> Any:
        raise error

    return Method(backend, call, np.asarray)


def _why_not(
    method: Method, n: int, last: dict[str, tuple[int, float]], question: Question, benchmark: SubsetSumBenchmark
) -> str | None:
    if n > method.most:
        return f"not asked beyond {method.most} items"
    if method.name in last:
        before, us = last[method.name]
        growth = 2.0 if "brute" in method.name else 2.0**0.5
        least = max(LEAST, question.targets_per_pool or 0)
        seconds = 1e-6 * us * growth ** (n - before) * least * (2 + benchmark.repetitions)
        if seconds > max(_SLOWEST, 20 * benchmark.seconds):
            return f"about {seconds:.0f} s for {least} instances: left out"
    return None


def _anchor(group: Group, n: int, instances: Instances, agreement: Agreement) -> None:
    """Where no two methods of the CPU were timed, compare some of the batch with another backend, untimed."""
    here = [name for name in agreement.facts if not on_device(name)]
    if not agreement.facts or len(here) >= 2:
        return
    facts = max(agreement.facts.values(), key=len)
    for backend in _ANCHORS:
        if backend in here:
            continue
        share = group.question.targets_per_pool or 1
        count = min(len(facts), max(share, 256 if n <= 24 else 16))
        items, targets = instances.first(count)
        try:
            method = engine(backend, group.kind, group.question, n)
            agreement.add(f"{backend} (untimed)", method.facts(method.call(items[: -(-count // share)], targets)))
        except (ImportError, ValueError):
            continue
        return


def _kernels(benchmark: SubsetSumBenchmark, clock: _Clock) -> list[dict[str, Any]]:
    """The kernels of the exact minimum without the door, and the share of the bound that they reach."""
    rows = []
    for kind, backend in _WIDTHS:
        for n in sorted({n for n in benchmark.items if n >= 8}):
            instances = Instances(kind, n, benchmark.seed)
            try:
                method = kernel(backend, n)
                effort = Effort(benchmark.seconds, benchmark.repetitions)
                timing = measure(method, Question("min_error"), instances, effort)
            except (ImportError, ValueError) as error:
                rows.append({"method": backend, "kind": kind, "n": n, "skipped": str(error)})
                continue
            agreement = Agreement(f"kernel, n = {n}", {"kernel": timing.facts})
            _anchor(Group(kind, Question("min_error"), (), ()), n, instances, agreement)
            rows.append(
                {"method": backend, "kind": kind, "n": n, "us": timing.us, "verified": agreement.verified["kernel"]}
            )
        told = [f"n = {row['n']} {row['us']:.3g}" for row in rows if row["method"] == backend and "us" in row]
        clock.say(f"kernel {backend}: {', '.join(told)} us")
    return rows


def _network(benchmark: SubsetSumBenchmark, clock: _Clock) -> list[dict[str, Any]]:
    """All weights of a network in one call."""
    rows = []
    count = benchmark.network
    for n in (21, 24) if count else ():
        for kind, exact in _WIDTHS:
            for question, backend in ((Question("min_error"), exact), (Question("sparsest", EPS), "numba")):
                instances = Instances(kind, n, benchmark.seed)
                row = {"kind": kind, "objective": question.objective, "eps": question.eps, "n": n, "method": backend}
                try:
                    method = engine(backend, kind, question, n)
                    method.call(*instances.first(64))
                except ImportError as error:
                    rows.append(row | {"skipped": str(error)})
                    continue
                given, best = instances.first(count), float("inf")
                for _ in range(benchmark.repetitions):
                    start = time.process_time()
                    method.call(*given)
                    best = min(best, time.process_time() - start)
                rows.append(row | {"instances": count, "cpu_s": best})
                clock.say(f"{count} instances, {question.text} [{kind}], n = {n}: {best:.3g} s")
    return rows


def _start_up(clock: _Clock) -> list[dict[str, Any]]:
    """The first call of fresh processes, after the kernels above were compiled and before."""
    exact, narrow = [(kind, "min_error", backend) for kind, backend in _WIDTHS], ("uniform", "sparsest", "numba")
    rows = _machine.start_up([*exact, narrow], cached=True)
    clock.say("first calls of fresh processes")
    rows += _machine.start_up([exact[0], narrow], cached=False)
    clock.say("first calls with nothing compiled")
    return rows


def _ask_peers(benchmark: SubsetSumBenchmark, clock: _Clock) -> list[dict[str, Any]]:
    """The general solvers, on the first instances of the batches that the engine was timed on."""
    if not benchmark.peers:
        return [{"peer": peer.name, "status": "not asked: give --peers"} for peer in _peers.GENERAL]
    some = [n for n in sorted(set(benchmark.items)) if n in COARSE and n <= 24] or [min(benchmark.items)]
    rows: list[dict[str, Any]] = []
    for peer in _peers.GENERAL:
        if not _peers.installed(peer):
            rows.append({"peer": peer.name, "status": f"not installed: {peer.install}"})
            continue
        for n in some:
            instances = Instances("uniform", n, benchmark.seed)
            exact = _exact(instances, benchmark.peer_instances)
            for task in peer.tasks:
                row = _peers.compare(peer, task, instances, EPS, exact, benchmark.peer_seconds)
                rows.append(row)
                clock.say(f"{peer.name}, {task}, n = {n}: median {row['median_s']:.3g} s of {row['instances']}")
    return rows


def _exact(instances: Instances, count: int) -> Any:  # [count, 2]
    """Least error, and least size within EPS or -1."""
    given = instances.first(count)
    least = engine("auto", instances.kind, Question("min_error"), instances.n)
    sparse = engine("auto", instances.kind, Question("sparsest", EPS), instances.n)
    return np.concatenate([least.facts(least.call(*given)), sparse.facts(sparse.call(*given))[:, 1:2]], axis=1)


def run(benchmark: SubsetSumBenchmark) -> dict[str, Any]:
    """Measure everything, and return it with what it was measured on."""
    clock = _Clock()
    load = _machine.load_average()
    rows = list(_rows(groups(benchmark.items), benchmark, clock))
    kernels = _kernels(benchmark, clock)
    bound = roofline()
    for row in kernels:
        if "us" in row and (limit := bound.microseconds(row["method"], row["n"])) is not None:
            row |= {"bound_us": limit, "fraction": limit / row["us"]}
    network = _network(benchmark, clock)
    started = _start_up(clock)
    peers = _ask_peers(benchmark, clock)
    gpu: dict[str, Any] = {"status": "not measured: give --device cuda where there is a CUDA device"}
    if benchmark.device == "cuda":
        gpu = {
            "device": torch.cuda.get_device_name(),
            "rows": list(_rows(cuda_groups(benchmark.items), benchmark, clock)),
        }
    parameters = {name: value for name, value in asdict(benchmark).items() if name != "out"}
    clock.say("done")
    return {
        "name": "subset_sum",
        "parameters": {**parameters, "items": list(benchmark.items)},
        "units": {"exponent": EXPONENT, "us": "microseconds per instance: process CPU unless clock is wall"},
        "rows": rows,
        "kernels": kernels,
        "roofline": bound.record(),
        "network": network,
        "start_up": started,
        "peers": peers,
        "ratios": ratios(rows, peers),
        "gpu": gpu,
        "environment": {**_machine.machine(), "load_before": load, "load_after": _machine.load_average()},
    }


def main() -> None:
    """Run the benchmark from a terminal."""
    import tyro

    benchmark = tyro.cli(
        SubsetSumBenchmark, prog="python -m experiments.benchmarks.subset_sum", config=(tyro.conf.FlagCreatePairsOff,)
    )
    torch.set_num_threads(1)
    deliver(lambda: run(benchmark), tables, benchmark.out)


if __name__ == "__main__":
    main()
