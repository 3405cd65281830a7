"""A mean or median and the range of its seeds; and what the panels of figures share: axes of weights, legends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PUBLISHED",
    "band",
    "bars",
    "density_axis",
    "dots",
    "labelled",
    "published",
    "remaining_axis",
    "shared_legend",
]

PUBLISHED: Final = {"marker": "*", "ms": 7, "color": "0.1", "mec": "0.1", "mew": 0.6, "ls": "", "zorder": 4}
"""How published points look, in every figure."""


def band(
    ax: Any,
    x: Sequence[float] | NDArray[Any],
    values: Sequence[Sequence[float]] | NDArray[Any],
    colour: str,
    mark: str,
    *,
    shade: float = 0.18,
    **look: Any,
) -> None:
    """Draw the mean of the seeds with a band from the least to the greatest.

    Args:
        ax: where.
        x: places.
        values: at each place, one number of each seed.
        colour: of line and band.
        mark: of the means.
        shade: how dark the band is, from 0 to 1.
        look: more of the line, its label among them.
    """
    seen = [np.asarray(of_seeds, dtype=np.float64) for of_seeds in values]
    order = np.argsort(np.asarray(x, dtype=np.float64))
    at = np.asarray(x, dtype=np.float64)[order]
    low, middle, high = (np.array([end(seen[i]) for i in order]) for end in (np.min, np.mean, np.max))
    ax.fill_between(at, low, high, color=colour, alpha=shade, lw=0)
    ax.plot(at, middle, marker=mark, color=colour, **{"ms": 3.2, "lw": 1.1, "mfc": "white", **look})


def bars(ax: Any, x: Sequence[float], values: Sequence[Sequence[float]], **look: Any) -> None:
    """Draw the median of the seeds at each place, with a bar from the least to the greatest."""
    middle = np.array([np.median(of_seeds) for of_seeds in values])
    spread = np.array([middle - [min(each) for each in values], [max(each) for each in values] - middle])
    ax.errorbar(x, middle, spread, mfc="white", **look)


def dots(
    ax: Any, values: Sequence[float], row: float, colour: str, mark: str, *, high: float = 0.3, **look: Any
) -> None:
    """Draw a dot for each seed in a row, a line from the least to the greatest, and a bar at their mean.

    The bar reaches as `high` above the row as below it.
    """
    seen = np.asarray(values, dtype=np.float64)
    ax.plot([seen.min(), seen.max()], [row, row], color=colour, lw=0.9, alpha=0.6)
    ax.plot(seen, [row] * len(seen), mark, ms=3, mew=0.6, mfc="white", color=colour, **look)
    ax.plot([seen.mean()] * 2, [row - high, row + high], color=colour, lw=1.4)


def published(ax: Any, x: Sequence[float], y: Sequence[float], paper: str, **look: Any) -> None:
    """Draw what a paper prints, as stars."""
    ax.plot(list(x), list(y), **{**PUBLISHED, "label": f"published: {paper}", **look})


def density_axis(ax: Any, ticks: Sequence[float]) -> None:
    """Let the x axis show densities, from few weights kept to many."""
    ax.set_xscale("log")
    ax.minorticks_off()
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xlabel("density")


def remaining_axis(ax: Any, ticks: Sequence[float], left: float = 118.0) -> None:
    """Let the x axis show the weights that remain, in percent, from all to few, as papers on lottery tickets do."""
    ax.set_xscale("log")
    ax.set_xlim(left, min(ticks) / 1.18)
    ax.minorticks_off()
    ax.set_xticks(list(ticks), [f"{tick:g}" for tick in ticks])
    ax.set_xlabel("weights remaining (%)")


def labelled(*axes: Any) -> dict[str, Any]:
    """Return what a legend of these panels shows: each label once, in order of first appearance, with its line."""
    found: dict[str, Any] = {}
    for ax in axes:
        found |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    return found


def shared_legend(figure: Any, axes: Sequence[Any], columns: int) -> None:
    """Put one legend for all panels below them; each label stands there once."""
    handles = labelled(*axes)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)
