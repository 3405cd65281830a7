"""`Store`: a folder with one file per finished run, which a crash never leaves half-written."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strongticket._files import canonical_json, sha256, write_atomically
from strongticket._version import __version__
from strongticket.runs._read import MAX_BYTES, read_json
from strongticket.runs._spec import Spec

__all__ = [
    "Collected",
    "ConflictingResult",
    "Damage",
    "DamagedRun",
    "Failure",
    "MissingRun",
    "Record",
    "Store",
    "unmeasured",
]

_FORMAT = "strongticket-run/1"
_ABANDONED_S = 3600.0  # a temporary file of this age belongs to no writer that is still alive
_KEY = re.compile(r"[0-9a-f]{64}")
_ASIDE = re.compile(r"[0-9a-f]{64}\.[0-9]+\.json")  # of `set_aside`
_TEMPORARY = re.compile(r"\.[0-9a-f]{64}\.json\.[0-9a-f]{16}\.part")  # of `write_atomically`, and of nobody else


class MissingRun(LookupError):
    """The store has no result of this run: it is work to do."""


class DamagedRun(ValueError):
    """The file of this run is not what was written: truncated, changed or foreign."""


class ConflictingResult(ValueError):
    """The store already holds another result of the same spec, so the function is no function of its spec."""


@dataclass(frozen=True)
class Record:
    """The result of one run, with where it comes from.

    Attributes:
        spec: what was run.
        result: JSON-able result, a function of the spec alone but for the entry "measured", if it has one: times,
            memory and whatever else a machine adds.
        environment: versions and device it was made with; recorded, never part of the key.
        seconds: wall time.
        version: of strongticket.
    """

    spec: Spec
    result: dict[str, Any]
    environment: dict[str, Any]
    seconds: float
    version: str = __version__

    @property
    def content(self) -> str:
        """Spec and result as canonical JSON: what the digest in the file covers."""
        return canonical_json({"spec": self.spec.to_json(), "result": self.result})

    @property
    def claim(self) -> str:
        """The same without what was "measured": what must be equal on every machine and backend."""
        return canonical_json({"spec": self.spec.to_json(), "result": unmeasured(self.result)})


def unmeasured(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result without its entry "measured", which may differ from machine to machine.

    >>> unmeasured({"error": 0.5, "measured": {"seconds": 1.2}})
    {'error': 0.5}
    """
    return {name: value for name, value in result.items() if name != "measured"}


@dataclass(frozen=True)
class Failure:
    """Why a run has no result yet.

    Attributes:
        spec: what was run.
        error: name of the exception, or "WorkerDied".
        message: its text.
        traceback: where it happened, as text; empty when a worker died.
        attempts: how often it was tried, in all executions together.
        environment: versions and device.
    """

    spec: Spec
    error: str
    message: str
    traceback: str
    attempts: int
    environment: dict[str, Any]


@dataclass(frozen=True)
class Damage:
    """A file of a store that cannot be used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Collected:
    """What a store holds of some runs: their records in the order asked for, and what is not there."""

    records: tuple[Record, ...]
    missing: tuple[Spec, ...]
    damaged: tuple[Damage, ...]


class Store:
    """Keep one file per finished run in a folder, and the failures apart.

    Layout: `runs/NAME/KEY.json` results, `failures/KEY.json` what failed last time, `damaged/` files that were found
    broken, `checkpoints/KEY/` how far a shared run is. Reading changes nothing; every write is whole or not at all.
    Several processes may use one store at once.

    Args:
        folder: made when the first result is written.

    >>> store = Store("results")
    >>> store.read(Spec("demo", 1, {"seed": 0}))
    Traceback (most recent call last):
    ...
    strongticket.runs._store.MissingRun: results has no result of demo ... {"seed":0}
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    def path(self, spec: Spec) -> Path:
        """Return where the result of a run is, or would be."""
        return self.folder / "runs" / spec.name / f"{spec.key}.json"

    def failure_path(self, spec: Spec) -> Path:
        """Return where the failure of a run is, or would be."""
        return self.folder / "failures" / f"{spec.key}.json"

    @property
    def checkpoints(self) -> Path:
        """Where shared runs keep how far they are, each in a folder named by its key."""
        return self.folder / "checkpoints"

    def read(self, spec: Spec) -> Record:
        """Return the result of a run.

        Raises:
            MissingRun: there is none.
            DamagedRun: the file is not what was written; the reason is given.
            OSError: the file cannot be read.
        """
        try:
            record = _read_record(self.path(spec))
        except FileNotFoundError:
            raise MissingRun(f"{self.folder} has no result of {spec}") from None
        if record.spec != spec:
            raise DamagedRun(f"{self.path(spec)} holds another run: {record.spec}")
        return record

    def finished(self, spec: Spec) -> bool:
        """Return whether a run has a result that can be read: one that is damaged is none.

        Raises:
            OSError: the file is there and cannot be read.
        """
        try:
            self.read(spec)
        except (MissingRun, DamagedRun):
            return False
        return True

    def write(self, record: Record) -> Path:
        """Add a result; adding an equal one again changes nothing.

        Raises:
            ConflictingResult: another result of the same spec is there already, which is kept.
            DamagedRun: the file that is there is damaged; `set_aside` it first.
            ValueError, TypeError: the result is not JSON.
            OSError: the folder cannot be written, or the disk is full.
        """
        body = {
            "format": _FORMAT,
            "key": record.spec.key,
            "spec": record.spec.to_json(),
            "result": record.result,
            "sha256": sha256(record.content.encode()),
            "environment": record.environment,
            "seconds": record.seconds,
            "strongticket": record.version,
        }
        text = canonical_json(body) + "\n"
        read_json(text.encode())  # never write what `read` would refuse
        try:
            present = self.read(record.spec)
        except MissingRun:
            return write_atomically(self.path(record.spec), text)
        if present.claim != record.claim:
            raise ConflictingResult(
                f"{self.path(record.spec)} holds another result of {record.spec}; results must depend on the spec "
                "alone, but for their entry 'measured': find what else this one depends on (time, threads, an unseeded "
                "generator), or raise version"
            )
        return self.path(record.spec)

    def set_aside(self, spec: Spec) -> Path:
        """Move the (damaged) file of a run to `damaged/`, so that the run counts as missing; return the new path."""
        folder = self.folder / "damaged"
        folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while (aside := folder / f"{spec.key}.{number}.json").exists():
            number += 1
        return self.path(spec).rename(aside)

    def aside(self) -> tuple[Path, ...]:
        """Return the files that were `set_aside`, sorted."""
        return tuple(path for path in _paths(self.folder / "damaged") if _ASIDE.fullmatch(path.name) and path.is_file())

    def keys(self, name: str) -> frozenset[str]:
        """Return the keys of an experiment's result files without reading any: quick, but damage goes unnoticed."""
        return frozenset(path.stem for path in _paths(self.folder / "runs" / name) if _KEY.fullmatch(path.stem))

    def names(self) -> tuple[str, ...]:
        """Return the experiments that have a folder of results, sorted."""
        try:
            with os.scandir(self.folder / "runs") as entries:
                return tuple(sorted(entry.name for entry in entries if entry.is_dir()))
        except FileNotFoundError:
            return ()

    def leftovers(self) -> tuple[Path, ...]:
        """Return temporary files that killed writers left behind an hour or more ago."""
        folders = [self.folder / "failures", *(self.folder / "runs" / name for name in self.names())]
        found = [path for folder in folders for path in _paths(folder, ".part")]
        return tuple(path for path in found if _TEMPORARY.fullmatch(path.name) and _abandoned(path))

    def collect(self, specs: Iterable[Spec]) -> Collected:
        """Return what there is of these runs, and name what is not; a damaged file counts as missing too."""
        records, missing, damaged = [], [], []
        for spec in specs:
            try:
                records.append(self.read(spec))
            except MissingRun:
                missing.append(spec)
            except DamagedRun as error:
                missing.append(spec)
                damaged.append(Damage(self.path(spec), str(error)))
        return Collected(tuple(records), tuple(missing), tuple(damaged))

    def records(self, name: str) -> Collected:
        """Return every result of an experiment, of any version and parameters, in the order of the keys."""
        records, damaged = [], []
        for path in _files(self.folder / "runs" / name):
            try:
                record = _read_record(path)
                if path != self.path(record.spec):
                    raise DamagedRun(f"{path} holds another run: {record.spec}")
                records.append(record)
            except FileNotFoundError:
                continue  # another process has just set it aside or cleaned it away
            except DamagedRun as error:
                damaged.append(Damage(path, str(error)))
        return Collected(tuple(records), (), tuple(damaged))

    def read_failure(self, spec: Spec) -> Failure | None:
        """Return how a run failed last time, or None: never failed, finished since, or not readable."""
        try:
            return _read_failure(self.failure_path(spec))
        except (OSError, DamagedRun):
            return None

    def failures(self) -> tuple[Failure, ...]:
        """Return what failed and has not finished since, in the order of the keys."""
        found = []
        for path in _files(self.folder / "failures"):
            try:
                found.append(_read_failure(path))
            except (FileNotFoundError, DamagedRun):
                continue  # finished just now, or damaged: a failure is a note to a person, nothing depends on it
        return tuple(found)

    def write_failure(self, failure: Failure) -> Path:
        """Note why a run has no result; the next execution tries again."""
        body = {
            "format": _FORMAT,
            "spec": failure.spec.to_json(),
            "error": failure.error,
            "message": failure.message,
            "traceback": failure.traceback,
            "attempts": failure.attempts,
            "environment": failure.environment,
        }
        return write_atomically(self.failure_path(failure.spec), canonical_json(body) + "\n")

    def clear_failure(self, spec: Spec) -> None:
        """Forget how a run failed: it has a result now."""
        self.failure_path(spec).unlink(missing_ok=True)

    def sweep(self) -> int:
        """Remove the `leftovers`; return how many."""
        swept = 0
        for path in self.leftovers():
            try:
                path.unlink()
                swept += 1
            except OSError:
                continue  # another process sweeps too, or it is not ours to remove; nothing depends on it
        return swept


def _paths(folder: Path, suffix: str = ".json") -> list[Path]:
    """Files of a folder by the end of their names, sorted; 10^5 of them take a tenth of a second."""
    try:
        with os.scandir(folder) as entries:
            return [folder / name for name in sorted(entry.name for entry in entries if entry.name.endswith(suffix))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in _paths(folder) if not path.name.startswith("."))


def _abandoned(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED_S
    except FileNotFoundError:
        return False  # its writer is alive and has just renamed it


def _read_object(path: Path, keys: set[str]) -> dict[str, Any]:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):  # a folder cannot be read, and a pipe for ever
        raise DamagedRun(f"{path} is no file")
    if about.st_size > MAX_BYTES:
        raise DamagedRun(f"{path} is larger than any result: {about.st_size} bytes")
    try:
        body = read_json(path.read_bytes())
    except ValueError as error:
        raise DamagedRun(f"{path} is no JSON of ours: {error}") from error
    if not isinstance(body, dict) or body.get("format") != _FORMAT:
        raise DamagedRun(f"{path} is not of the format {_FORMAT}")
    if set(body) != keys:
        raise DamagedRun(f"{path} has other keys than {', '.join(sorted(keys))}")
    return body


def _read_spec(path: Path, body: dict[str, Any]) -> Spec:
    try:
        return Spec.from_json(body["spec"])
    except (ValueError, TypeError) as error:
        raise DamagedRun(f"{path} holds no spec: {error}") from error


def _read_record(path: Path) -> Record:
    keys = {"format", "key", "spec", "result", "sha256", "environment", "seconds", "strongticket"}
    body = _read_object(path, keys)
    spec = _read_spec(path, body)
    types = {"result": dict, "environment": dict, "seconds": float | int, "strongticket": str}
    wrong = [name for name, kind in types.items() if not isinstance(body[name], kind)]
    if wrong:
        raise DamagedRun(f"{path} has values of the wrong type under {', '.join(wrong)}")
    record = Record(spec, body["result"], body["environment"], float(body["seconds"]), body["strongticket"])
    if body["key"] != spec.key or body["sha256"] != sha256(record.content.encode()):
        raise DamagedRun(f"{path} was changed after it was written: its digests do not match its content")
    return record


def _read_failure(path: Path) -> Failure:
    body = _read_object(path, {"format", "spec", "error", "message", "traceback", "attempts", "environment"})
    types = {"error": str, "message": str, "traceback": str, "attempts": int, "environment": dict}
    wrong = [name for name, kind in types.items() if not isinstance(body[name], kind)]
    if wrong:
        raise DamagedRun(f"{path} has values of the wrong type under {', '.join(wrong)}")
    return Failure(_read_spec(path, body), **{name: body[name] for name in types})
