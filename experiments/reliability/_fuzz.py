"""Read a million damaged and lying files: each is refused by the documented error, in little time and memory."""

from __future__ import annotations

import functools
import json
import multiprocessing
import random
import resource
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, final, get_args

from experiments.reliability._forge import canonical, unpack
from experiments.reliability._mutate import damaged, lie, lying
from strongticket._files import sha256

__all__ = ["KINDS", "Kind", "Reader", "fuzz", "one", "reader"]

Kind = Literal["tickets", "results", "checkpoints", "stages"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
LIMIT_S: Final = 0.05  # of processor time for a file
SPARE_BYTES: Final[dict[Kind, int]] = {
    "tickets": 1 << 19,
    "results": 1 << 18,
    "checkpoints": 1 << 19,
    "stages": 1 << 19,
}
TRACED: Final = 50  # of so many files one is read with its memory watched
CHUNK: Final = 2_000


@final
@dataclass(frozen=True)
class Reader:
    """How a kind of file is made, broken and read.

    Attributes:
        samples: honest files.
        lies: gives a well-made file that lies, its digests right.
        read: reads a file; whether it was accepted. Errors that are not documented pass through.
        right: whether an accepted file may be: told the file, the honest one it was made of, and whether it lies.
    """

    samples: tuple[bytes, ...]
    lies: Callable[[random.Random, bytes], bytes] | None
    read: Callable[[bytes], Any]
    right: Callable[[Any, bytes, bytes, bool], bool]


@functools.cache
def reader(kind: Kind) -> Reader:
    """Return the reader of a kind of file; its honest files are made once."""
    return {"tickets": _tickets, "results": _results, "checkpoints": _checkpoints, "stages": _stages}[kind]()


def _tickets() -> Reader:
    from experiments.reliability._samples import read_ticket, small_ticket, tiny_ticket
    from strongticket import ticketfile

    tickets = (tiny_ticket(), small_ticket(), read_ticket())
    provenance = {"by": "a test", "numbers": [1, 2.5, None, True]}
    samples = tuple(ticketfile.dumps(ticket, provenance=provenance) for ticket in tickets)
    of = dict(zip(samples, tickets, strict=True))

    def read(data: bytes) -> Any:
        try:
            return ticketfile.loads(data)
        except ticketfile.TicketFileError:
            return None

    def right(found: Any, data: bytes, honest: bytes, lies: bool) -> bool:
        # what is accepted is the honest file of the ticket that it gives (a changed provenance, say)
        again = ticketfile.dumps(found, provenance=unpack(data)[1]["provenance"])
        return bool(found == of[honest]) and again == data and lies

    return Reader(samples, lying, read, right)


def _results() -> Reader:
    from strongticket.runs import DamagedRun, Record, Spec, Store

    place = TemporaryDirectory(prefix="reliability-")
    store = Store(place.name)
    spec = Spec("study", 1, {"eps": 0.1, "net": {"sizes": [3, 4], "name": "a"}, "seed": 0})
    result = {"rows": [{"x": 1, "y": 0.25, "ok": True}, {"x": 2, "y": -1e-9, "ok": None}], "measured": {"s": 1.5}}
    path = store.write(Record(spec, result, {"numpy": "2.4", "cuda": None}, 0.5))
    whole = store.read(spec).content

    def lies(generator: random.Random, data: bytes) -> bytes:
        body = lie(generator, json.loads(data))
        if isinstance(body, dict) and isinstance(body.get("spec"), dict) and "result" in body:
            text = canonical({"spec": body["spec"], "result": body["result"]})
            body = {**body, "sha256": sha256(text.encode())}
            if generator.random() < 0.5:
                body["key"] = sha256(canonical(body["spec"]).encode())
        return canonical(body).encode()

    def read(data: bytes, keep: TemporaryDirectory[str] = place) -> Any:  # keep: until the reader is gone
        path.write_bytes(data)
        try:
            return store.read(spec)
        except DamagedRun:
            return None

    def right(found: Any, data: bytes, honest: bytes, lies: bool) -> bool:
        if found.spec != spec:
            return False
        # a lie with a right digest is a well-made file of another result: then it is what the file says
        return bool(found.content == whole) if not lies else bool(found.result == json.loads(data)["result"])

    return Reader((path.read_bytes(),), lies, read, right)


def _checkpoints() -> Reader:
    import torch

    from strongticket.training import CheckpointError
    from strongticket.training.checkpoint import Checkpoint, Keeper, digest

    place = TemporaryDirectory(prefix="reliability-")
    keeper = Keeper(Checkpoint(place.name), {"seed": 0, "lr": 0.1}, torch.device("cpu"))
    state = {"history": [{"number": 1, "loss": 0.5}], "module": {"w": torch.arange(12.0).reshape(3, 4)}, "best": None}
    keeper.save(state)
    data = keeper.path.read_bytes()
    whole = digest(state)

    def read(data: bytes, keep: TemporaryDirectory[str] = place) -> Any:
        keeper.path.write_bytes(data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return keeper.load()
        except CheckpointError:
            return None

    return Reader((data,), None, read, lambda found, data, honest, lies: digest(found) == whole)


def _stages() -> Reader:
    import torch

    from strongticket.runs import Spec
    from strongticket.training.checkpoint import digest
    from strongticket.weak.stages import Stage, Stages, _bytes

    place = TemporaryDirectory(prefix="reliability-")
    stages, spec = Stages(place.name), Spec("demo", 1, {"seed": 0})
    whole = Stage({"x": 1, "curve": [[1, 0.5], [2, 0.25]]}, {"w": torch.arange(12.0).reshape(3, 4)})
    data = _bytes(spec, whole)
    path = stages.path(spec)
    path.parent.mkdir(parents=True)

    def read(data: bytes, keep: TemporaryDirectory[str] = place) -> Any:
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return stages.read(spec)  # None: it was set aside

    def right(found: Any, data: bytes, honest: bytes, lies: bool) -> bool:
        return digest([found.record, found.tensors]) == digest([whole.record, whole.tensors])

    return Reader((data,), None, read, right)


def one(kind: Kind, seed: int) -> tuple[bytes, bytes, bool]:
    """Return the file of a seed, the honest one it was made of, and whether it is a well-made lie."""
    how = reader(kind)
    generator = random.Random(seed)
    honest = how.samples[seed % len(how.samples)]
    lies = how.lies if how.lies is not None and generator.random() < 0.5 else None
    while True:  # some changes undo each other, or put a value in its own place
        made = damaged(generator, honest, generator.choice(how.samples)) if lies is None else lies(generator, honest)
        if made not in how.samples:
            return made, honest, lies is not None


def chunk(kind: Kind, first: int, count: int) -> dict[str, Any]:
    """Read the files of so many seeds; counts, and the seeds that anything is wrong with."""
    how = reader(kind)
    for sample in how.samples:
        if how.read(sample) is None:
            raise RuntimeError(f"an honest file of {kind} is refused")
    counts: Counter[str] = Counter()
    wrong: list[dict[str, Any]] = []
    slowest, slow, largest, began = 0.0, 0, 0.0, time.process_time()
    for seed in range(first, first + count):
        data, honest, lies = one(kind, seed)
        start = time.process_time()
        fault, found = _read(how, data)
        seconds = time.process_time() - start
        if seconds > LIMIT_S:  # was it the file, or the machine?
            slow += 1
            seconds = min(seconds, *(_seconds(how, data) for _ in range(3)))
        slowest = max(slowest, seconds)
        if not fault and seconds > LIMIT_S:
            fault = f"{seconds:.3f} s"
        if not fault and found is not None and not how.right(found, data, honest, lies):
            fault = "accepted, and wrong"
        counts["refused" if found is None else "accepted"] += 1
        if seed % TRACED == 0:
            over = _memory(how, data) - SPARE_BYTES[kind]
            largest = max(largest, over / max(1, len(data)))
            fault = fault or (f"{over} bytes beyond the spare ones" if over > 10 * len(data) else "")
        if fault:
            wrong.append({"kind": kind, "seed": seed, "fault": fault})
    return {
        "counts": dict(counts),
        "wrong": wrong,
        "slowest_s": slowest,
        "measured_again": slow,
        "memory_per_byte": largest,
        "cpu_s": time.process_time() - began,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _read(how: Reader, data: bytes) -> tuple[str, Any]:
    try:
        return "", how.read(data)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}", None


def _seconds(how: Reader, data: bytes) -> float:
    start = time.process_time()
    _read(how, data)
    return time.process_time() - start


def _memory(how: Reader, data: bytes) -> int:
    """Bytes that Python and numpy take on the way; torch's own are in the peak of the process."""
    tracemalloc.start()
    try:
        _read(how, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def fuzz(counts: dict[Kind, int], *, seed: int, jobs: int) -> dict[str, Any]:
    """Read so many files of each kind, in some processes; see `chunk`."""
    rows = []
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_start) as pool:
        for kind, count in counts.items():
            if not count:
                continue
            began = time.monotonic()
            firsts = range(seed, seed + count, CHUNK)
            sizes = [min(CHUNK, seed + count - first) for first in firsts]
            parts = list(pool.map(chunk, [kind] * len(sizes), firsts, sizes))
            rows.append(_together(kind, parts, time.monotonic() - began))
            print(json.dumps(rows[-1]), flush=True)
    return {"files": sum(row["files"] for row in rows), "wrong": sum(row["wrong"] for row in rows), "kinds": rows}


def _together(kind: Kind, parts: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part["counts"])
    wrong = [fault for part in parts for fault in part["wrong"]]
    return {
        "kind": kind,
        "files": counts["refused"] + counts["accepted"],
        **counts,
        "wrong": len(wrong),
        "what": wrong[:50],
        "slowest_s": max(part["slowest_s"] for part in parts),
        "measured_again": sum(part["measured_again"] for part in parts),
        "memory_per_byte_beyond_spare": max(part["memory_per_byte"] for part in parts),
        "spare_bytes": SPARE_BYTES[kind],
        "peak_bytes_of_a_process": max(part["peak_bytes"] for part in parts),
        "cpu_s": sum(part["cpu_s"] for part in parts),
        "seconds": seconds,
    }


def _start() -> None:
    import torch

    torch.set_num_threads(1)
