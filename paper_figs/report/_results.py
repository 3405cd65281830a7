"""What a store holds of an experiment, with where each number comes from; what is missing is named with its command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments import MissingRuns, find, finished, latest
from experiments._experiment import command
from paper_figs.report._html import Markup, Part, anchor, el

if TYPE_CHECKING:
    from experiments import AbstractExperiment
    from strongticket.runs import Record, Store

__all__ = ["Missing", "Study", "read", "read_preset"]


@dataclass(frozen=True)
class Study:
    """The complete runs of one preset.

    Attributes:
        experiment: its class.
        preset: which.
        runs: (parameters, result) of each run.
        records: the same runs as the store holds them: keys, environments, seconds.
        command: what makes them.
    """

    experiment: type[AbstractExperiment]
    preset: str
    runs: Sequence[tuple[Any, dict[str, Any]]]
    records: tuple[Record, ...]
    command: str

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.experiment.name

    @property
    def anchor(self) -> str:
        """Where its provenance stands on the page."""
        return anchor("provenance", self.name, self.preset)

    def table(self) -> list[dict[str, Any]]:
        """Return the rows that the experiment shows of these runs."""
        return self.experiment.table(self.runs)

    def source(self) -> Markup:
        """Return one line: which runs the numbers above come from, with a link to all there is to know of them."""
        count = len(self.records)
        return el(
            "p",
            "From ",
            el("a", f"{self.name}, preset {self.preset}, version {self.experiment.version}", href=f"#{self.anchor}"),
            f" ({count} {'run' if count == 1 else 'runs'}",
            f"; {notes}" if (notes := "; ".join(self.notes())) else "",
            "): ",
            el("code", self.command),
            class_="source",
        )

    def notes(self) -> tuple[str, ...]:
        """Return what has to be said beside the numbers: the data they rest on, where those are not the published."""
        values = {str(value) for run, _ in self.runs for value in vars(run).values()}
        values |= {str(result.get("target")) for _, result in self.runs}
        said = dict.fromkeys(str(result["note"]) for _, result in self.runs if result.get("note"))
        if any("cifar" in value.lower() for value in values) and not any("JPEG" in note for note in said):
            said["CIFAR-10 images decoded from JPEG copies, not the published pixels"] = ""
        return tuple(said)

    def environments(self) -> list[tuple[str, str, int]]:
        """Return (revision, environment in words, runs) of the records, most frequent first."""
        counted = Counter((str(r.environment.get("revision") or "unknown"), _words(r)) for r in self.records)
        return [(revision, words, count) for (revision, words), count in sorted(counted.items(), key=_frequent)]


def _frequent(entry: tuple[tuple[str, str], int]) -> tuple[int, tuple[str, str]]:
    return -entry[1], entry[0]


def _words(record: Record) -> str:
    seen = record.environment
    parts = [f"strongticket {record.version}"]
    parts += [f"{name} {seen[name]}" for name in ("python", "torch", "numpy", "scipy", "numba") if seen.get(name)]
    parts += [str(seen[name]) for name in ("platform", "cpu", "cuda") if seen.get(name)]
    threads = seen.get("threads")
    return ", ".join([*parts, f"{threads} {'thread' if threads == 1 else 'threads'}"] if threads else parts)


@dataclass(frozen=True)
class Missing:
    """Runs that the store lacks.

    Attributes:
        name: of the experiment.
        reason: what is missing.
        command: what makes it; "" if nothing here can.
    """

    name: str
    reason: str
    command: str

    def notice(self, what: Part = "These numbers") -> Markup:
        """Return what stands in the place of the numbers."""
        how: Part = [" Make them with ", el("code", self.command), "."] if self.command else ""
        return el("p", el("strong", "Not made yet. "), what, f": {self.reason}.", how, class_="missing")


def read(store: Store, name: str, preset: str) -> Study | Missing:
    """Return the most expensive complete preset of an experiment, or what is missing, with the command for `preset`."""
    try:
        experiment = find(name)
    except ValueError as error:
        return Missing(name, str(error), "")
    try:
        shown, _ = latest(experiment, store)
    except MissingRuns:
        return _missing(experiment, preset, store)
    return read_preset(store, name, shown)


def read_preset(store: Store, name: str, preset: str) -> Study | Missing:
    """Return one preset of an experiment, or what is missing of it."""
    try:
        experiment = find(name)
        runs = finished(experiment, preset, store)
    except MissingRuns:
        return _missing(experiment, preset, store)
    except ValueError as error:
        return Missing(name, str(error), "")
    records = store.collect(run.spec for run, _ in runs).records
    return Study(experiment, preset, runs, records, command(experiment, preset, store))


def _missing(experiment: type[AbstractExperiment], preset: str, store: Store) -> Missing:
    presets = experiment.presets()
    chosen = preset if preset in presets else next(iter(presets))
    runs = experiment.preset(chosen)
    absent = len(store.collect(run.spec for run in runs).missing)
    reason = f"{absent} of {len(runs)} runs of {experiment.name} (preset {chosen}) are not in the results folder"
    return Missing(experiment.name, reason, command(experiment, chosen, store))
