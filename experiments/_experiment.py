"""What an experiment is: parameters, presets, a pure function; and how its results are found again."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from strongticket.runs import Spec, Store, from_json

__all__ = ["AbstractExperiment", "MissingRuns", "by_setting", "command", "find", "finished", "latest", "names"]

_NOT_EXPERIMENTS = frozenset({"demo"})  # a show, not a study: it keeps no results


class AbstractExperiment(ABC):
    """The contract of an experiment: a frozen dataclass whose fields are *all* that decides the result of `run`.

    Attributes:
        name: the experiment's name, which is its file's.
        version: raised when the same parameters give another result.
        spread_by: name of the field that says how many processes share a run, where a run can be shared: torchrun then
            calls `run` in all of them. It is a parameter because sums, and so results, may depend on it.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    spread_by: ClassVar[str | None] = None

    @abstractmethod
    def run(self) -> dict[str, Any]:
        """Return the JSON-able result, a function of the fields alone; seeds are fields too."""

    @classmethod
    @abstractmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """Return named lists of parameters, cheapest first: "quick" (a minute), "default" (minutes), maybe "paper"."""

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """Return what a person wants to see of finished runs, a row each; override to combine them."""
        return [{"run": i, **result} for i, (_, result) in enumerate(finished)]

    @classmethod
    def perform(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Run the experiment with these JSON parameters: what workers call."""
        return from_json(cls, params).run()

    @classmethod
    def function(cls) -> str:
        """Return the import path of `perform`."""
        return f"{cls.__module__}:{cls.__qualname__}.perform"

    @property
    def spec(self) -> Spec:
        """Name, version and every parameter, coerced to the declared types."""
        return Spec.of(self.name, self.version, self)

    @classmethod
    def preset(cls, name: str) -> list[Self]:
        """Return the parameters of a preset.

        Raises:
            ValueError: there is no such preset.
        """
        presets = cls.presets()
        if name not in presets:
            raise ValueError(f"experiment {cls.name!r} has no preset {name!r}; it has {', '.join(presets)}")
        return list(presets[name])


E = TypeVar("E", bound=AbstractExperiment)


class MissingRuns(LookupError):
    """A store lacks runs that are needed; the message says how to make them."""


def names() -> list[str]:
    """Return the names of all experiments, sorted.

    >>> "bounds" in names()
    True
    """
    folder = str(Path(__file__).parent)
    files = (found.name for found in pkgutil.iter_modules([folder]) if not found.ispkg)
    return sorted(name for name in files if not name.startswith("_") and name not in _NOT_EXPERIMENTS)


def find(name: str) -> type[AbstractExperiment]:
    """Return the experiment with this name.

    Raises:
        ValueError: there is none, or its file declares none or several; the message says which.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"; perhaps you meant {near[0]!r}" if near else ""
        raise ValueError(f"no experiment {name!r}{hint}; there are {', '.join(names())}")
    module = importlib.import_module(f"experiments.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, AbstractExperiment) and value.__module__ == module.__name__
    ]
    if len(found) != 1 or found[0].name != name:
        raise ValueError(f"experiments/{name}.py must declare one experiment named {name!r}, got {found}")
    return found[0]


def command(experiment: type[AbstractExperiment], preset: str, store: Store) -> str:
    """Return the command that makes the runs of a preset."""
    return f"python -m experiments run {experiment.name} --preset {preset} --results {shlex.quote(str(store.folder))}"


def finished(experiment: type[E], preset: str, store: Store) -> list[tuple[E, dict[str, Any]]]:
    """Return (parameters, result) of every run of a preset, in its order.

    Raises:
        MissingRuns: some are not in the store; the message names the command that makes them.
    """
    runs = experiment.preset(preset)
    collected = store.collect(run.spec for run in runs)
    if collected.missing:
        broken = "".join(f"\n  {damage.reason}" for damage in collected.damaged)
        raise MissingRuns(
            f"{len(collected.missing)} of {len(runs)} runs of {experiment.name!r} (preset {preset!r}, version "
            f"{experiment.version}) are not in {store.folder}; make them with\n"
            f"  {command(experiment, preset, store)}{broken}"
        )
    return list(zip(runs, (record.result for record in collected.records), strict=True))


def latest(experiment: type[E], store: Store) -> tuple[str, list[tuple[E, dict[str, Any]]]]:
    """Return the most expensive preset that is complete in the store, and its runs; what figures draw.

    Raises:
        MissingRuns: none is complete; the message names the command for "default", or the first one there is.
    """
    presets = list(experiment.presets())
    for preset in reversed(presets):
        try:
            return preset, finished(experiment, preset, store)
        except MissingRuns:
            continue
    return "", finished(experiment, "default" if "default" in presets else presets[0], store)


def by_setting(finished: Iterable[tuple[E, dict[str, Any]]]) -> dict[E, list[dict[str, Any]]]:
    """Return the results of all seeds of each setting, keyed by the setting with seed 0, in the order of the runs."""
    groups: dict[E, list[dict[str, Any]]] = {}
    for run, result in finished:
        setting: Any = run  # a dataclass that has a seed
        groups.setdefault(replace(setting, seed=0), []).append(result)
    return groups
