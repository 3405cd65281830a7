"""`python -m experiments run`: do what is missing of a preset, or say how much that is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from experiments._commands_estimate import dry_run
from experiments._commands_show import print_json, rate, say, show, span
from experiments._experiment import AbstractExperiment, find, names
from strongticket.runs import Progress, Store, Summary, Torchrun, execute

if TYPE_CHECKING:
    from experiments._commands_options import Run

__all__ = ["make", "run", "spread"]

_LINE_S = 30.0  # between two lines about the progress where nobody sees a bar


def run(options: Run) -> int:
    """Run a preset; 0 when all is done, 1 if some runs failed."""
    experiment, store = find(options.name), Store(options.results)
    runs = spread(experiment, experiment.preset(options.preset), options.torchrun)
    if options.torchrun is not None and options.scheduler is not None:
        raise ValueError("give --torchrun or --scheduler: torchrun spreads runs over processes of this machine")
    if options.dry_run:
        return dry_run(options, runs, store)
    summary = make(
        options.name,
        options.preset,
        runs,
        store,
        jobs=options.jobs,
        scheduler=options.scheduler,
        torchrun=options.torchrun,
    )
    if not summary.complete:
        return 1
    collected = store.collect(one.spec for one in runs)
    rows = experiment.table(list(zip(runs, (record.result for record in collected.records), strict=True)))
    if options.json:
        counts = {"total": summary.total, "reused": summary.reused, "done": summary.done, "seconds": summary.seconds}
        keys = [one.spec.key for one in runs]
        print_json({"name": options.name, "preset": options.preset, **counts, "keys": keys, "table": rows})
    else:
        show(rows, f"{options.name}, preset {options.preset}")
    return 0


def make(
    name: str,
    preset: str,
    runs: Sequence[AbstractExperiment],
    store: Store,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    torchrun: int | None = None,
) -> Summary:
    """Do the runs that the store lacks, showing how it goes, and say what was done; for the means see `Run`."""
    backend = None if torchrun is None else Torchrun(torchrun, store.checkpoints)
    with progress_of(f"{name} {preset}") as progress:
        summary = execute(
            [one.spec for one in runs],
            type(runs[0]).function(),
            store,
            jobs=jobs,
            backend=backend,
            scheduler=scheduler,
            progress=progress,
        )
    _tell(summary, store)
    return summary


def spread(
    experiment: type[AbstractExperiment], runs: Sequence[AbstractExperiment], processes: int | None
) -> list[AbstractExperiment]:
    """Return the runs as runs of so many processes; the number is a parameter, for sums depend on it.

    Raises:
        ValueError: the experiment cannot be spread, or its runs have to be and no number was given.
    """
    field = experiment.spread_by
    if field is None:
        if processes is None:
            return list(runs)
        able = [name for name in names() if find(name).spread_by is not None]
        raise ValueError(
            f"experiment {experiment.name!r} does not share a run between processes: leave out --torchrun, for --jobs "
            f"does many runs at once. Those that can be spread: {', '.join(able) or 'none'}"
        )
    if processes is not None:
        if processes < 1:
            raise ValueError(f"torchrun: expected a number of processes >= 1, got {processes}")
        return list(dict.fromkeys(replace(run, **{field: processes}) for run in runs))  # type: ignore[type-var]
    wanted = sorted({getattr(run, field) for run in runs} - {1})
    if wanted:
        raise ValueError(f"some of these runs are shared by {wanted} processes: do them with --torchrun {wanted[0]}")
    return list(runs)


def _tell(summary: Summary, store: Store) -> None:
    """Say what was done, and what went wrong."""
    for damage in summary.damaged:
        say(f"damaged result moved to {damage.path} and done again: {damage.reason}")
    for failure in summary.failures:
        say(f"failed (attempt {failure.attempts}): {failure.spec}\n  {failure.error}: {failure.message}")
        say(f"  traceback: {store.failure_path(failure.spec)}")
    failed = f", {len(summary.failures)} failed: the same command tries them again" if summary.failures else ""
    say(
        f"{summary.total} runs: {summary.done} done in {summary.seconds:.1f} s, {summary.reused} were in "
        f"{store.folder}{failed}"
    )


@contextmanager
def progress_of(title: str) -> Iterator[Callable[[Progress], None]]:
    """Show on standard error how runs go: a bar on a terminal, a line every half minute elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines(title).show
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[pace]}"))
    with Bar(TextColumn("{task.description}"), *columns, console=Console(stderr=True)) as bar:
        row, pace = bar.add_task(title, total=None, pace=""), _Pace()

        def draw(state: Progress) -> None:
            # what was there already is no measure of how long the rest takes
            text = pace.text(state)
            bar.update(row, total=state.total - state.reused, completed=state.done + state.failed, pace=text)

        yield draw


class _Pace:
    """Rate and time left, of this execution alone; the rate is that of the last minute or so."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []

    def text(self, state: Progress) -> str:
        """Return rate, time left and failures."""
        count, now = state.done + state.failed, time.monotonic()
        if not self._marks or now - self._marks[-1][0] >= 1.0:
            self._marks = [*self._marks[-60:], (now, count)]
        then, before = self._marks[0]
        parts = []
        if count > before and now > then:
            speed = (count - before) / (now - then)
            left = state.total - state.reused - count
            parts = [rate(speed), *([f"{span(left / speed)} left"] if left else [])]
        return ", ".join([*parts, *([f"{state.failed} failed"] if state.failed else [])])


class _Lines:
    """Progress where nobody sees a bar, such as the log of a cluster's job."""

    def __init__(self, title: str) -> None:
        self._title, self._pace, self._last = title, _Pace(), time.monotonic()

    def show(self, state: Progress) -> None:
        """Say how it goes, now and then."""
        text = self._pace.text(state)
        if time.monotonic() - self._last >= _LINE_S:
            self._last = time.monotonic()
            count = state.done + state.failed
            say(f"{self._title}: {count} of {state.total - state.reused}{', ' if text else ''}{text}")
