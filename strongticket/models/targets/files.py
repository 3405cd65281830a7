"""One door for target files of every kind."""

from __future__ import annotations

import os

from strongticket.models.targets._numbers import read_numbers
from strongticket.models.targets.attention import AttentionTarget
from strongticket.models.targets.graph import GraphTarget
from strongticket.models.targets.mlp import Target

__all__ = ["load_target"]


def load_target(path: str | os.PathLike[str]) -> Target | GraphTarget | AttentionTarget:
    """Read a target file of any kind; a state dict without a note is read as an MLP.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be read.
    """
    _, note = read_numbers(path, "an MLP, a graph or a network of attention", "")
    kind = str(note.get("architecture", "")).partition("-")[0]
    if kind == "attention":
        return AttentionTarget.load(path)
    return GraphTarget.load(path) if kind == "graph" else Target.load(path)
