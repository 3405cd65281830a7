"""Figures: one script each, drawn from a results store and from `strongticket.bounds`; no trial is run here.

`python -m paper_figs` draws all of them. A figure is a module `figNN_name.py` with `NEEDS`, the experiments whose
results it reads, and `draw(store, out)`, which returns the files it wrote.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["Figure", "figure", "names"]


class Figure(Protocol):
    """What a figure's module has."""

    NEEDS: tuple[str, ...]

    def draw(self, store: Store, out: Path) -> list[Path]:
        """Read the store, write the figure's files, return their paths; raises MissingRuns naming the command."""


def names() -> list[str]:
    """Return the names of all figures, in order.

    >>> names()[0]
    'fig01_items'
    """
    files = (found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return sorted(name for name in files if name.startswith("fig"))


def figure(name: str) -> Figure:
    """Return the figure with this name, or the one whose name begins so ("fig01").

    Raises:
        ValueError: there is none, or several.
    """
    found = [known for known in names() if known == name or known.startswith(f"{name}_")]
    if len(found) != 1:
        raise ValueError(f"no figure {name!r}; there are {', '.join(names())}")
    return cast("Figure", importlib.import_module(f"paper_figs.{found[0]}"))
