"""`python -m experiments list | status`: what there is and how far it is, from the store's own files; no daemon."""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments._commands_show import rate, say, show, span
from experiments._experiment import AbstractExperiment, find, names
from strongticket.runs import Failure, Store

if TYPE_CHECKING:
    from experiments._commands_options import List, Status

__all__ = ["Pace", "list_them", "pace", "status"]

_RECENT = 100
_PAUSE_S = 600.0


def list_them(options: List) -> int:
    """List experiments and presets; result files are counted by their names."""
    store, rows = Store(options.results), []
    for name in names():
        experiment, keys = find(name), store.keys(name)
        about = (sys.modules[experiment.__module__].__doc__ or "").strip().split("\n")[0]
        for preset, runs in experiment.presets().items():
            done = sum(run.spec.key in keys for run in runs)
            row = {"name": name, "version": experiment.version, "preset": preset, "runs": len(runs), "done": done}
            rows.append({**row, "about": about})
    show(rows, f"experiments, with what is done in {store.folder}", as_json=options.json)
    return 0


@dataclass(frozen=True)
class Pace:
    """How fast results come in, judged by when their files were written.

    Attributes:
        last_s: seconds since the newest.
        per_second: of the newest ones, before any pause; None if they cannot tell.
        going: whether the next one is not yet long overdue: then somebody is probably at work.
    """

    last_s: float
    per_second: float | None
    going: bool


def pace(written: Sequence[float], now: float) -> Pace | None:
    """Judge by times of writing.

    >>> pace([0.0, 100.0, 110.0, 120.0, 130.0], now=135.0)
    Pace(last_s=5.0, per_second=0.1, going=True)
    >>> pace([0.0, 10.0], now=5000.0).going
    False
    >>> pace([], now=0.0)
    """
    if not written:
        return None
    newest = sorted(written)[-_RECENT:]
    gaps = [after - before for before, after in itertools.pairwise(newest)]
    typical = statistics.median(gaps) if gaps else 0.0
    start = len(gaps)
    while start and gaps[start - 1] <= max(8 * typical, 1.0):
        start -= 1
    took = newest[-1] - newest[start]
    speed = (len(gaps) - start) / took if took > 0 else None
    last = max(0.0, now - newest[-1])
    return Pace(last, speed, speed is not None and last <= max(60.0, min(8 * typical, 6 * _PAUSE_S)))


def status(options: Status) -> int:
    """Show how far everything is; 0 however that is."""
    store = Store(options.results)
    failures = {failure.spec.key: failure for failure in store.failures()}
    rows: list[dict[str, Any]] = []
    begun = {*store.names(), *(failure.spec.name for failure in failures.values())}
    # the presets of others are not asked for: naming them can take longer than all that is read here
    for name in [options.name] if options.name else [name for name in names() if name in begun]:
        rows += _of(find(name), store, failures, options)
    if not rows and not options.json:
        say(f"nothing has been begun in {store.folder}; `list` names the experiments")
        return 0
    show(rows, f"what is done in {store.folder}", as_json=options.json)
    return 0


def _of(
    experiment: type[AbstractExperiment], store: Store, failures: dict[str, Failure], options: Status
) -> list[dict[str, Any]]:
    """A row for each preset of an experiment."""
    keys, rows = store.keys(experiment.name), []
    presets = {
        preset: list({run.spec.key: run.spec for run in runs}.values()) for preset, runs in experiment.presets().items()
    }
    broken: set[str] = set()
    if not options.unread:
        every = {spec.key: spec for specs in presets.values() for spec in specs if spec.key in keys}
        broken = {key for key, spec in every.items() if not store.finished(spec)}
    for preset, specs in presets.items():
        done = [spec for spec in specs if spec.key in keys and spec.key not in broken]
        damaged = sum(spec.key in broken for spec in specs)
        failed = [failures[spec.key] for spec in specs if spec.key in failures and spec.key not in keys]
        if not (options.name or done or damaged or failed):
            continue
        missing = len(specs) - len(done)
        row: dict[str, Any] = {"name": experiment.name, "version": experiment.version, "preset": preset}
        row |= {"runs": len(specs), "done": len(done), "missing": missing, "failed": len(failed), "damaged": damaged}
        seen = pace(_written(store.path(spec) for spec in done), time.time())
        going = seen is not None and seen.going and missing > 0
        speed = seen.per_second if seen is not None and going else None
        row["last"] = f"{span(seen.last_s)} ago" if seen is not None else None
        row["rate"] = rate(speed) if speed else None
        row["left"] = span(missing / speed) if speed else None
        row["last error"] = _newest(store, failed)
        rows.append(row)
    return rows


def _written(paths: Iterable[Path]) -> list[float]:
    """When files were written; those that went away meanwhile are left out."""
    found = []
    for path in paths:
        try:
            found.append(path.stat().st_mtime)
        except OSError:
            continue
    return found


def _newest(store: Store, failed: Sequence[Failure]) -> str | None:
    """The last error, in a line."""

    def when(failure: Failure) -> float:
        return max(_written([store.failure_path(failure.spec)]), default=0.0)

    if not failed:
        return None
    last = max(failed, key=when)
    return f"{last.error}: {last.message}".splitlines()[0][:80]
