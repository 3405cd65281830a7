"""What a store holds of an experiment, with where each number comes from; what is missing is named with its command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from experiments import MissingRuns, command, find, finished, latest
from paper_figs.report._html import Markup, Part, anchor, el
from strongticket.data.digits import DIGITS_NOTE
from strongticket.runs import Store

if TYPE_CHECKING:
    from experiments import AbstractExperiment
    from strongticket.runs import Collected, Record, Spec

__all__ = ["Missing", "Study", "Watched", "read", "read_preset"]

_JPEG: Final = "CIFAR-10 images decoded from JPEG copies, not the published pixels"


@dataclass(frozen=True)
class Study:
    """The runs of one preset: all of them, or those that a figure draws.

    Attributes:
        experiment: its class.
        preset: which.
        runs: (parameters, result) of each run.
        records: the same runs as the store holds them: keys, environments, seconds.
        command: what makes them.
        of: how many runs the preset has.
    """

    experiment: type[AbstractExperiment]
    preset: str
    runs: Sequence[tuple[Any, dict[str, Any]]]
    records: tuple[Record, ...]
    command: str
    of: int

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

    @property
    def counted(self) -> str:
        """How many runs, in words."""
        count = len(self.records)
        return f"{count} of {self.of} runs" if count < self.of else f"{count} {'run' if count == 1 else 'runs'}"

    def source(self) -> Markup:
        """Return one line: which runs the numbers above come from, with a link to all there is to know of them."""
        return el(
            "p",
            "From ",
            el("a", f"{self.name}, preset {self.preset}, version {self.experiment.version}", href=f"#{self.anchor}"),
            f" ({self.counted}",
            f"; {notes}" if (notes := "; ".join(self.notes())) else "",
            "): ",
            el("code", self.command),
            class_="source",
        )

    def notes(self) -> tuple[str, ...]:
        """Return what has to be said beside the numbers: the data they rest on, where those are not the published.

        What holds for some of the data sets says for which. Where results are older than the note, it is added.
        """
        said: dict[str, set[str]] = {}
        every: set[str] = set()
        for run, result in self.runs:
            named = {str(value) for value in (*vars(run).values(), result.get("target"))}
            data = str(getattr(run, "data", ""))
            note = str(result.get("note") or "")
            if not note and data == "digits":
                note = DIGITS_NOTE
            if "JPEG" not in note and any("cifar" in value.lower() for value in named):
                note = "; ".join(part for part in (_JPEG, note) if part)
            every.add(data)
            if note:
                said.setdefault(note, set()).add(data)
        return tuple(
            note if whose == every or "" in whose else f"{', '.join(sorted(whose))}: {note}"
            for note, whose in said.items()
        )

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


class Watched(Store):
    """A store that remembers which runs were asked for and all there: what a figure draws."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.folder)
        self._seen: dict[str, set[str]] = {}

    def collect(self, specs: Iterable[Spec]) -> Collected:
        """Return what there is of these runs, see `Store.collect`."""
        found = super().collect(specs)
        if not found.missing:
            for record in found.records:
                self._seen.setdefault(record.spec.name, set()).add(record.spec.key)
        return found

    def studies(self, name: str) -> list[Study]:
        """Return the runs of an experiment that were collected, by the presets that they belong to."""
        experiment, left = find(name), set(self._seen.get(name, ()))
        presets = {one: {run.spec.key: run for run in experiment.preset(one)} for one in experiment.presets()}
        studies = []
        while left:
            # whole presets first, and of those the largest; what no preset has was never a preset's
            covered = {one: left & set(keys) for one, keys in presets.items()}
            one = max(presets, key=lambda one: (len(covered[one]) == len(presets[one]), len(covered[one])))
            if not covered[one]:
                break
            left -= covered[one]
            chosen = [run for key, run in presets[one].items() if key in covered[one]]
            records = super().collect(run.spec for run in chosen).records
            runs = [(run, record.result) for run, record in zip(chosen, records, strict=True)]
            made = command(experiment, one, self)
            studies.append(Study(experiment, one, runs, records, made, len(presets.pop(one))))
        return studies


def read(store: Store, name: str, preset: str) -> Study | Missing:
    """Return the most expensive complete preset of an experiment, or what is missing, with the command for `preset`."""
    try:
        experiment = find(name)
    except ValueError as error:
        return Missing(name, str(error), "")
    try:
        shown, runs = latest(experiment, store)
    except MissingRuns:
        return _missing(experiment, preset, store)
    return _study(experiment, shown, runs, store)


def read_preset(store: Store, name: str, preset: str) -> Study | Missing:
    """Return one preset of an experiment, or what is missing of it."""
    try:
        experiment = find(name)
        runs = finished(experiment, preset, store)
    except MissingRuns:
        return _missing(experiment, preset, store)
    except ValueError as error:
        return Missing(name, str(error), "")
    return _study(experiment, preset, runs, store)


def _study(
    experiment: type[AbstractExperiment], preset: str, runs: Sequence[tuple[Any, dict[str, Any]]], store: Store
) -> Study:
    """All runs of a preset, with their records."""
    records = store.collect(run.spec for run, _ in runs).records
    return Study(experiment, preset, runs, records, command(experiment, preset, store), len(runs))


def _missing(experiment: type[AbstractExperiment], preset: str, store: Store) -> Missing:
    presets = experiment.presets()
    chosen = preset if preset in presets else next(iter(presets))
    runs = experiment.preset(chosen)
    absent = len(store.collect(run.spec for run in runs).missing)
    reason = f"{absent} of {len(runs)} runs of {experiment.name} (preset {chosen}) are not in the results folder"
    return Missing(experiment.name, reason, command(experiment, chosen, store))
