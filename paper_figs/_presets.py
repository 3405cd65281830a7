"""Which presets of an experiment a figure draws, where it is not the most expensive one that is complete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from experiments import AbstractExperiment, MissingRuns, finished
from experiments._search import DATA, Data

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["complete", "first_complete"]

E = TypeVar("E", bound=AbstractExperiment)


def first_complete(
    experiment: type[E], presets: Sequence[str], store: Store, *, named: str = ""
) -> list[tuple[E, dict[str, Any]]]:
    """Return the runs of the first of these presets that is complete in the store.

    Args:
        experiment: whose runs.
        presets: from the one that is liked best to the cheapest.
        store: where they are looked for.
        named: the preset whose command is named where none is complete; else the last.

    Raises:
        MissingRuns: none is complete.
    """
    for preset in presets:
        try:
            return finished(experiment, preset, store)
        except MissingRuns:
            continue
    return finished(experiment, named or presets[-1], store)


def complete(experiments: Sequence[type[AbstractExperiment]], store: Store) -> list[Data]:
    """Return the data sets whose presets are complete in the store, for all of the experiments.

    Raises:
        MissingRuns: there is none; the message names the command for the digits.
    """
    found: list[Data] = []
    for data in DATA:
        # in one question, so that a store that is watched is not told of what is left undrawn
        wanted = [run.spec for experiment in experiments for run in experiment.preset(data)]
        if not store.collect(wanted).missing:
            found.append(data)
    if not found:
        for experiment in experiments:
            finished(experiment, DATA[0], store)
    return found
