"""What a figure shows, as numbers and words: for tests that hold it still, and for those who want the data drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["contents", "legend_over_data", "overlaps", "texts"]


def contents(figure: Any) -> dict[str, Any]:
    """Return panels, lines, bands, bars, texts and legends of a figure as JSON, numbers to nine digits.

    It depends on what is drawn alone: not on fonts, resolution, or the machine.

    Args:
        figure: a matplotlib figure.
    """
    return {
        "size": [_short(inches) for inches in figure.get_size_inches()],
        "panels": [_panel(ax) for ax in figure.axes],
        "legends": [_legend(legend) for legend in figure.legends],
    }


def _panel(ax: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "title": ax.get_title(loc="left") or ax.get_title() or ax.get_title(loc="right"),
        "x": _axis(ax, "x"),
        "y": _axis(ax, "y"),
        "lines": [_line(line) for line in ax.lines],
        "bands": [_points(path.vertices) for one in ax.collections for path in one.get_paths()],
        "bars": [[_short(value) for value in bar.get_bbox().bounds] for bar in ax.patches if hasattr(bar, "get_bbox")],
        "texts": [[text.get_text(), *map(_short, np.atleast_1d(np.array(text.xy, dtype=float)))] if hasattr(text, "xy")
                  else [text.get_text(), *map(_short, text.get_position())] for text in ax.texts],
        "insets": [_panel(inset) for inset in ax.child_axes],
    }  # fmt: skip
    if ax.get_legend() is not None:
        whole["legend"] = _legend(ax.get_legend())
    return {name: value for name, value in whole.items() if value}


def _axis(ax: Any, which: str) -> dict[str, Any]:
    ends = getattr(ax, f"get_{which}lim")()
    found = {"label": getattr(ax, f"get_{which}label")(), "scale": getattr(ax, f"get_{which}scale")()}
    return {**found, "from": _short(ends[0]), "to": _short(ends[1])}


def _line(line: Any) -> dict[str, Any]:
    look = {"marker": str(line.get_marker()), "dash": str(line.get_linestyle()), "colour": str(line.get_color())}
    label = str(line.get_label())
    own = {} if label.startswith("_") else {"label": label}
    return {**own, **look, "x": _numbers(line.get_xdata()), "y": _numbers(line.get_ydata())}


def _legend(legend: Any) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def _numbers(values: Any) -> list[Any]:
    return [_short(value) for value in np.atleast_1d(np.asarray(values, dtype=np.float64))]


def _points(vertices: Any) -> list[list[Any]]:
    return [_numbers(vertices[:, 0]), _numbers(vertices[:, 1])]


def _short(value: Any) -> float | str:
    """Nine digits; what JSON has no number for, as a word."""
    number = float(f"{float(value):.9g}")
    return number if np.isfinite(number) else str(number)


def texts(figure: Any) -> Iterator[tuple[str, Any]]:
    """Yield (text, box in pixels) of all that can be read in a figure that was drawn once.

    Legends count as one text each, with the box of the whole.
    """
    renderer = figure.canvas.get_renderer()
    for ax in _all_axes(figure):
        x, y = ax.xaxis, ax.yaxis
        labels = [tick.label1 for axis in (x, y) for tick in _shown_ticks(axis)]
        for text in (*ax.texts, ax.title, ax._left_title, ax._right_title, x.label, y.label, *labels):
            if ax.axison or text in ax.texts:
                yield from _box(text, renderer)
        if ax.get_legend() is not None:
            yield "legend", ax.get_legend().get_window_extent(renderer)
    for legend in figure.legends:
        yield "legend", legend.get_window_extent(renderer)


def _box(text: Any, renderer: Any) -> Iterator[tuple[str, Any]]:
    if text.get_visible() and text.get_text().strip():
        yield text.get_text(), text.get_window_extent(renderer)


def _all_axes(figure: Any) -> Iterator[Any]:
    for ax in figure.axes:
        yield ax
        yield from ax.child_axes


def _shown_ticks(axis: Any) -> list[Any]:
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [tick for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_visible()]


def overlaps(figure: Any, slack: float = 1.0) -> list[str]:
    """Return what is wrong with the places of the texts: two that overlap, or one that leaves the figure.

    Args:
        figure: a matplotlib figure that was drawn once, on a canvas of Agg.
        slack: pixels that boxes may share: they are a little larger than the letters.
    """
    whole, found = figure.bbox, list(texts(figure))
    wrong = [
        f"{words!r} leaves the figure"
        for words, box in found
        if box.x0 < -slack or box.y0 < -slack or box.x1 > whole.x1 + slack or box.y1 > whole.y1 + slack
    ]
    for i, (words, box) in enumerate(found):
        for others, other in found[:i]:
            wide = min(box.x1, other.x1) - max(box.x0, other.x0)
            high = min(box.y1, other.y1) - max(box.y0, other.y0)
            if wide > slack and high > slack:
                wrong.append(f"{words!r} and {others!r} overlap")
    return wrong


def legend_over_data(figure: Any) -> list[str]:
    """Return the lines of data that have points below the legend of their panel."""
    renderer, wrong = figure.canvas.get_renderer(), []
    for ax in figure.axes:
        if ax.get_legend() is None:
            continue
        box = ax.get_legend().get_window_extent(renderer)
        for line in ax.lines:
            if line.get_transform() == ax.transData and len(line.get_xdata()):
                at = ax.transData.transform(np.column_stack([_float(line.get_xdata()), _float(line.get_ydata())]))
                inside = (at[:, 0] > box.x0) & (at[:, 0] < box.x1) & (at[:, 1] > box.y0) & (at[:, 1] < box.y1)
                if inside.any():
                    wrong.append(f"{ax.get_title(loc='left')!r}: legend over {line.get_label()!r}")
    return wrong


def _float(values: Any) -> Any:
    return np.atleast_1d(np.asarray(values, dtype=np.float64))
