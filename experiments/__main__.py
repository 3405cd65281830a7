"""Run experiments from a terminal: `python -m experiments list | run NAME | demo`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strongticket.runs import Progress, Store, Summary

__all__ = ["List", "Run", "main"]

PROGRAM = "python -m experiments"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class List:
    """List the experiments, their presets, and how many of their runs are done."""

    results: Path = Path("results")
    """Folder of the results store."""
    json: bool = False
    """Write JSON instead of a table."""


@dataclass(frozen=True)
class Run:
    """Run an experiment. Runs that the results folder has are not done again: running again is resuming."""

    name: str
    """Name of the experiment; `list` shows them."""
    preset: str = "default"
    """Which of its lists of parameters: quick (about a minute), default (minutes), ..."""
    jobs: int = field(default_factory=_cores)
    """Worker processes, one thread each; the results do not depend on it. Default: all cores."""
    results: Path = Path("results")
    """Folder of the results store."""
    json: bool = False
    """Write JSON instead of a table."""


@dataclass(frozen=True)
class _Demo:
    """Show the main job on a small network; `demo --help` has its options."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 1 some runs failed, 2 bad usage, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        import rich  # noqa: F401
        import tyro

        if given[:1] == ["demo"]:
            # its options live in its own module, which the help of the others need not load
            demo = importlib.import_module("experiments.demo")
            return int(demo.main(tyro.cli(demo.Demo, args=given[1:], prog=f"{PROGRAM} demo", config=_config())))
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "tyro"):
            raise
        print(f"the command needs {error.name}: pip install 'strongticket[cli]'", file=sys.stderr)
        return 2
    options = _parse(given)
    try:
        return _list(options) if isinstance(options, List) else _run(options)
    except (ValueError, OSError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return 130


def _config() -> tuple[Any, ...]:
    import tyro

    return (tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalRequiredArgs)


def _parse(given: list[str]) -> List | Run:
    import tyro

    commands: dict[str, Callable[..., Any]] = {"list": List, "run": Run, "demo": _Demo}
    options: List | Run = tyro.extras.subcommand_cli_from_dict(
        commands,
        prog=PROGRAM,
        description="Experiments with strong lottery tickets; draw their results with python -m paper_figs.",
        args=given,
        config=_config(),
    )
    return options


def _list(options: List) -> int:
    from experiments import find, names
    from strongticket.runs import Store

    store, rows = Store(options.results), []
    for name in names():
        experiment = find(name)
        for preset, runs in experiment.presets().items():
            done = len(store.collect(run.spec for run in runs).records)
            row = {"name": name, "version": experiment.version, "preset": preset, "runs": len(runs), "done": done}
            rows.append({**row, "about": (sys.modules[experiment.__module__].__doc__ or "").strip().split("\n")[0]})
    _show(rows, f"experiments, with what is done in {store.folder}", as_json=options.json)
    return 0


def _run(options: Run) -> int:
    from experiments import find, finished
    from strongticket.runs import Store, execute

    experiment, store = find(options.name), Store(options.results)
    runs = experiment.preset(options.preset)
    with _progress(f"{options.name} {options.preset}") as progress:
        summary = execute(
            [run.spec for run in runs], experiment.function(), store, jobs=options.jobs, progress=progress
        )  # fmt: skip
    _report(summary, store)
    if not summary.complete:
        return 1
    rows = experiment.table(finished(experiment, options.preset, store))
    if options.json:
        counts = {"total": summary.total, "reused": summary.reused, "done": summary.done, "seconds": summary.seconds}
        keys = [run.spec.key for run in runs]
        _print_json({"name": options.name, "preset": options.preset, **counts, "keys": keys, "table": rows})
    else:
        _show(rows, f"{options.name}, preset {options.preset}", as_json=False)
    return 0


def _report(summary: Summary, store: Store) -> None:
    """Say on stderr what was done, and what went wrong."""

    def say(text: str) -> None:
        print(text, file=sys.stderr)

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
def _progress(title: str) -> Iterator[Callable[[Progress], None] | None]:
    """A bar on stderr where that is a terminal; nothing otherwise."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Bar(
        TextColumn("{task.description}"), *columns, TextColumn("{task.fields[failed]}"), console=Console(stderr=True)
    ) as bar:
        row = bar.add_task(title, total=None, failed="")

        def show(state: Progress) -> None:
            failed = f"{state.failed} failed" if state.failed else ""
            # what was there already is no measure of how long the rest takes
            bar.update(row, total=state.total - state.reused, completed=state.done + state.failed, failed=failed)

        yield show


def _show(rows: list[dict[str, Any]], title: str, *, as_json: bool) -> None:
    if as_json:
        _print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in columns:
        table.add_column(name, justify="left" if any(isinstance(row.get(name), str) for row in rows) else "right")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2, allow_nan=False))


if __name__ == "__main__":
    from strongticket.cli.output import while_read

    sys.exit(while_read(main))
