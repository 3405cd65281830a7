"""`python -m experiments report`: do the runs that the report wants made, then have it written."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from experiments._commands_run import make, spread
from experiments._commands_show import say
from experiments._experiment import find
from strongticket._files import check_writable
from strongticket.runs import Store

if TYPE_CHECKING:
    from experiments._commands_options import Report

__all__ = ["report"]


def report(options: Report) -> int:
    """Write the report; 0 when all its runs are there, 1 if some failed, which the page then says."""
    check_writable(options.out)
    written = importlib.import_module("paper_figs.report")  # which is above this room, so it is asked for by name
    store, complete = Store(options.results), True
    for name, preset in written.needs(options.preset):
        experiment = find(name)
        runs = spread(experiment, experiment.preset(preset), None)
        say(f"{name}, preset {preset}:")
        complete &= make(name, preset, runs, store, jobs=options.jobs, scheduler=options.scheduler).complete
    path = written.build(store, options.out, preset=options.preset)
    say(f"report -> {path}")
    return 0 if complete else 1
