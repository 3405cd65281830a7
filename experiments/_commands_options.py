"""What can be asked of `python -m experiments`: one record per command, whose fields and words are its help."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional  # whoever gets here has it: `main` looked

__all__ = ["Clean", "Collect", "Command", "Demo", "List", "Report", "Run", "Status"]


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
    scheduler: str | None = None
    """Address of a dask scheduler, such as tcp://10.0.0.1:8786, whose workers do the runs instead of this machine's."""
    torchrun: int | None = None
    """Spread each run over so many processes by torchrun: for experiments that say they can be."""
    dry_run: bool = False
    """Say what would run and how long it may take, and run nothing."""
    results: Path = Path("results")
    """Folder of the results store."""
    json: bool = False
    """Write JSON instead of a table."""


@dataclass(frozen=True)
class Status:
    """Show what is done, missing, failed and damaged; of what is running now, how fast it goes and the time left."""

    name: Annotated[str, Positional] = ""
    """One experiment with all its presets; else every preset that has been begun."""
    unread: bool = False
    """Count result files without reading them: for stores of 10^5 files; damaged ones count as done."""
    results: Path = Path("results")
    """Folder of the results store."""
    json: bool = False
    """Write JSON instead of a table."""


@dataclass(frozen=True)
class Collect:
    """Write an experiment's parameters, results and their provenance as one table; the JSON files remain the truth.

    A row for each run, or for each of the "rows" that its result has; columns params.*, result.* and row.*, and where
    the numbers come from. Lists, and columns of mixed types, become JSON text.
    """

    name: str
    """Name of the experiment, or of anything else that the store has results of."""
    out: Path | None = None
    """File to write, replaced whole: .parquet (needs pyarrow), .csv or .jsonl. Default: out/NAME.parquet."""
    preset: str | None = None
    """Only the runs of this preset, in its order; else all parameters of the current version."""
    old_versions: bool = False
    """Results of other versions of the experiment too."""
    results: Path = Path("results")
    """Folder of the results store."""


@dataclass(frozen=True)
class Clean:
    """List what is of no more use, and delete it if told so: never a result of an experiment's current version.

    That is: temporary files an hour old, damaged files that were set aside, failures of runs that have finished since,
    and their checkpoints.
    """

    old_versions: bool = False
    """Results and failures of versions before the current one as well."""
    yes: bool = False
    """Delete what is listed."""
    results: Path = Path("results")
    """Folder of the results store."""
    json: bool = False
    """Write JSON instead of a table."""


@dataclass(frozen=True)
class Report:
    """Write the report, one HTML page that needs no network, after doing the runs that it lacks."""

    preset: str = "quick"
    """How large the study behind it is."""
    out: Path = Path("out/report.html")
    """File to write."""
    jobs: int = field(default_factory=_cores)
    """Worker processes, one thread each. Default: all cores."""
    scheduler: str | None = None
    """Address of a dask scheduler, whose workers do the runs instead of this machine's."""
    results: Path = Path("results")
    """Folder of the results store."""


@dataclass(frozen=True)
class Demo:
    """Show the main job on a small network; `demo --help` has its options."""


Command = List | Run | Status | Collect | Clean | Report | Demo
