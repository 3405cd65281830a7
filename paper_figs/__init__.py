"""Figures: one script each, drawn from a results store and from `strongticket.bounds`; no trial is run here.

`python -m paper_figs` draws all of them. A figure is a module `figNN_name.py` with what `Figure` asks for: `NEEDS`, the
experiments whose results it reads, `CAPTION` and `ALT`, what is said beside it and to those who do not see it,
`compose(store)`, the matplotlib figure, and `draw(store, out)`, which writes that and returns its files.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from paper_figs._drawing import Format
    from strongticket.runs import Store

__all__ = ["Figure", "figure", "names"]


class Figure(Protocol):
    """What a figure's module has.

    Attributes:
        NEEDS: names of the experiments whose results it reads.
        CAPTION: one or a few sentences that stand under it: what is measured, in how many runs, what the spread is.
        ALT: what is to be seen in it, panel by panel, without colours or numbers that other results would change.
    """

    NEEDS: tuple[str, ...]
    CAPTION: str
    ALT: str

    def compose(self, store: Store) -> Any:
        """Return the matplotlib figure of what the store holds; raises MissingRuns naming the command."""

    def draw(self, store: Store, out: Path, formats: Sequence[Format] = ...) -> list[Path]:
        """Write the figure's files (PDF, PNG, SVG) and return their paths; raises MissingRuns naming the command."""


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
