"""Experiments: one file each, declaring its parameters; `python -m experiments list` names them.

An experiment is a frozen dataclass of parameters with a pure `run`. What it takes to run thousands of them, stop, go
on, and read the results back is `strongticket.runs`; nothing of it is repeated here.
"""

from __future__ import annotations

from experiments._experiment import AbstractExperiment, MissingRuns, command, find, finished, latest, names

__all__ = ["AbstractExperiment", "MissingRuns", "command", "find", "finished", "latest", "names"]
