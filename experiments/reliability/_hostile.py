"""Files made to exhaust the machine: read in processes that may take little memory, and little time."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from experiments.reliability._child import run
from experiments.reliability._forge import canonical, pack, sign, unpack

__all__ = ["FILES", "hostile", "read_within"]

SPARE_BYTES: Final = {"ticket": 64 << 20, "result": 256 << 20}  # beyond ten times the file
SECONDS: Final = 2.0  # of processor time, and a second for each 10 MB


def _header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


def _tensors(count: int) -> bytes:
    one = '"t%d":{"data_offsets":[0,0],"dtype":"U8","shape":[0]}'
    return _header(("{" + ",".join(one % i for i in range(count)) + "}").encode())


def _honest() -> bytes:
    from experiments.reliability._samples import small_ticket
    from strongticket import ticketfile

    return ticketfile.dumps(small_ticket())


def _changed(change: Callable[[dict[str, Any], dict[str, Any]], None]) -> bytes:
    """A well-made file, checksum and all, whose container or description was changed."""
    container, slt, payloads = unpack(_honest())
    change(container, slt)
    return pack(container, canonical(sign(slt)), b"".join(payloads.values()))


def _entry(**values: Any) -> bytes:
    return _changed(lambda container, slt: slt["parameters"][0].update(values))


def _recipe(name: str) -> bytes:
    def change(container: dict[str, Any], slt: dict[str, Any]) -> None:
        slt["source"]["architecture"] = name

    return _changed(change)


def _offsets(begin: int, end: int) -> bytes:
    def change(container: dict[str, Any], slt: dict[str, Any]) -> None:
        for entry in container.values():
            entry["data_offsets"] = [begin, end]

    return _changed(change)


TICKETS: Final[dict[str, Callable[[], bytes]]] = {
    "a header of 2^60 bytes is announced": lambda: (2**60).to_bytes(8, "little") + b"{}",
    "a header of 2^64 - 1 bytes is announced": lambda: b"\xff" * 8 + b"{}",
    "lists in lists, a million deep": lambda: _header(b"[" * 1_000_000),
    "objects in objects, 200,000 deep": lambda: _header(b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    "the description is a million lists deep": lambda: pack({}, "[" * 1_000_000, b""),
    "a key twice": lambda: _header(b'{"__metadata__":{"slt":"{}","slt":"{}"}}'),
    "NaN": lambda: pack({}, '{"format":NaN}', b""),
    "a number of a million digits": lambda: pack({}, '{"version":' + "9" * 1_000_000 + "}", b""),
    "a number of 10^400": lambda: pack({}, '{"version":1e400}', b""),
    "a million tensors": lambda: _tensors(1_000_000),
    "200,000 tensors": lambda: _tensors(200_000),
    "a million parameters": lambda: _changed(lambda c, slt: slt.update(parameters=[{}] * 1_000_000)),
    "a million certificates": lambda: _changed(lambda c, slt: slt.update(certificates=[{}] * 1_000_000)),
    "a million empty lists": lambda: _header(b"[" + b"[]," * 1_000_000 + b"[]]"),
    "tensors that overlap": lambda: _offsets(0, 8),
    "tensors that end at 2^60": lambda: _offsets(0, 2**60),
    "a shape of 2^60": lambda: _entry(shape=[2**60]),
    "bytes: 2^60": lambda: _entry(bytes=2**60),
    "kept: 2^60": lambda: _entry(kept=2**60),
    "bytes: 10^39": lambda: _entry(bytes=10**39),
    "an architecture of 2^60 neurons": lambda: _recipe(f"mlp-5-{2**60}-3"),
    "an architecture of 10^5 layers": lambda: _recipe("mlp-" + "-".join(["5"] * 100_000)),
    "an architecture of 10^12 weights": lambda: _recipe("mlp-1000000-1000000"),
    "zeros": lambda: bytes(8 << 20),
    "64 MB of one text": lambda: _header(b'{"a":"' + b"x" * (60 << 20) + b'"}'),
}
"""Files that are no tickets, by what is hostile about them."""


def _result(rows: str) -> bytes:
    return ('{"format":"strongticket-run/1","key":"","result":{"rows":' + rows + "}}").encode()


RESULTS: Final[dict[str, Callable[[], bytes]]] = {
    "lists in lists, a million deep": lambda: _result("[" * 1_000_000),
    "a number of 60 million digits": lambda: _result("9" * (60 << 20)),
    "30 million numbers": lambda: _result("[" + "1," * (30 << 20) + "1]"),
    "16 million numbers": lambda: _result("[" + "1," * ((1 << 24) - 64) + "1]"),
    "8 million numbers with a point": lambda: _result("[" + "0.1234," * (8 << 20) + "1]"),
    "8 million objects": lambda: _result("[" + '{"a":1},' * ((1 << 23) - 64) + "1]"),
    "8 million empty lists": lambda: _result("[" + "[]," * ((1 << 23) - 64) + "1]"),
    "a million objects": lambda: _result("[" + '{"a":1},' * ((1 << 20) - 64) + "1]"),
    "3 million objects of 20 bytes": lambda: _result("[" + '{"a":[],"b":[]    },' * 1_000_000 + "1]"),
    "a text of 60 MB": lambda: _result('"' + "x" * (60 << 20) + '"'),
    "70 MB": lambda: _result("[" + "1," * (35 << 20) + "1]"),
    "NaN": lambda: _result("NaN"),
    "a key twice": lambda: _result('{"a":1,"a":2}'),
    "10^400": lambda: _result("1e400"),
}
"""Files that are no results, by what is hostile about them."""

FILES: Final = {"ticket": TICKETS, "result": RESULTS}


def read_within(kind: str, name: str, path: Path) -> dict[str, Any]:
    """Read one of these files in a process that may take ten times its size and `SPARE_BYTES` more.

    Returns:
        What came of it: how the process ended, its error, seconds and megabytes, and whether that is as promised.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(FILES[kind][name]())
    size = path.stat().st_size

    def read() -> dict[str, Any]:
        call, refusal = _reader(kind, path)
        before = _memory()
        limit = before["VmSize"] + 10 * size + SPARE_BYTES[kind]
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        start = time.process_time()
        try:
            call()
            error = ""
        except refusal as refused:
            error = f"{type(refused).__name__}: {refused}"
        seconds = time.process_time() - start
        return {"error": error[:200], "cpu_s": seconds, "peak_bytes": _memory()["VmPeak"] - before["VmSize"]}

    end = run(read)
    found = end.value or {"error": "", "cpu_s": end.seconds, "peak_bytes": 0}
    good = end.how == "done" and bool(found["error"]) and found["cpu_s"] < SECONDS + size / 10e6
    said = {} if end.how == "done" else {"ended": f"{end.how}: {end.message}"}
    return {"kind": kind, "file": name, "bytes": size, **found, **said, "wrong": 0 if good else 1}


def _reader(kind: str, path: Path) -> tuple[Callable[[], Any], type[Exception]]:
    if kind == "ticket":
        from strongticket import ticketfile

        ticketfile.loads(_honest())  # loads what reading loads late
        return lambda: ticketfile.load(path), ticketfile.TicketFileError
    from strongticket.runs import DamagedRun, Store
    from strongticket.runs._store import _read_record

    Store(path.parent).collect([])
    return lambda: _read_record(path), DamagedRun


def _memory() -> dict[str, int]:
    """Address space of this process in bytes, now and at its largest; a limit on it is what bounds memory."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmSize", "VmPeak"):
            found[name] = int(value.split()[0]) * 1024
    return found


def hostile() -> dict[str, Any]:
    """Read all of them."""
    from experiments.reliability._jobs import warm

    warm(["tickets", "store"])
    rows, began = [], time.monotonic()
    with TemporaryDirectory(prefix="reliability-") as place:
        for kind, files in FILES.items():
            for name in files:
                rows.append(read_within(kind, name, Path(place) / "file"))
                print(json.dumps(rows[-1]), flush=True)
    return {
        "files": len(rows),
        "wrong": sum(row["wrong"] for row in rows),
        "seconds": time.monotonic() - began,
        "spare_bytes": SPARE_BYTES,
        "rows": rows,
    }
