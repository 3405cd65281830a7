"""Axes of accuracy on which 98 % and 99 % are as far apart as 80 % and 90 %."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np

from experiments._search import TITLES, Data

__all__ = ["accuracy_axis", "errors", "fitted_axis", "panel_title"]

_FAR: Final = 4.0  # a factor between errors that calls for a logarithmic axis
_TICKS: Final = (10, 50, 70, 80, 90, 95, 97, 98, 99, 99.5)


def errors(results: Sequence[dict[str, Any]], name: str = "accuracy") -> Any:
    """Return what the accuracies of some results lack to 100 %, in percent: what the axis shows."""
    return np.array([100 * (1 - result[name]) for result in results])


def accuracy_axis(ax: Any, which: Literal["x", "y"], best: float, worst: float = 115.0) -> None:
    """Let an axis show errors from worst to best (in percent), labelled as accuracies that rise."""
    getattr(ax, f"set_{which}scale")("log")
    getattr(ax, f"set_{which}lim")(worst, best)
    ticks = [tick for tick in _TICKS if best <= 100 - tick <= worst]
    ax.minorticks_off()
    getattr(ax, f"set_{which}ticks")([100 - tick for tick in ticks], [f"{tick:g}" for tick in ticks])


def fitted_axis(ax: Any, which: Literal["x", "y"], seen: Sequence[float]) -> None:
    """Let an axis of errors (in percent) just hold those that are seen, labelled as accuracies that rise.

    Errors within a factor of four, and none at all, are shown on a linear axis.
    """
    least, most = min(seen), max(seen)
    if most > _FAR * least > 0:
        accuracy_axis(ax, which, least / 1.4, 1.25 * most)
        return
    room = 0.12 * (most - least) or 0.5
    getattr(ax, f"set_{which}lim")(most + room, least - room)
    getattr(ax, f"{which}axis").set_major_formatter(lambda error, _: f"{100 - error:.3g}")


def panel_title(letter: str, data: Data, rest: str) -> str:
    """Return the title of a panel; names of data sets that have to say something more get a line of their own."""
    name = TITLES[data]
    return f"{letter}   {name},{chr(10) if '(' in name else ' '}{rest}"
