"""All mask searches side by side, seed by seed, beside their controls; and the laws of the weights they search in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from experiments import finished
from experiments._search import grouped
from experiments.search_inits import SearchInits
from experiments.search_methods import SearchMethods
from paper_figs._accuracy import accuracy_axis, errors, panel_title
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._presets import complete
from paper_figs._seeds import shared_legend

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (SearchMethods.name, SearchInits.name)
NAME: Final = "fig07_methods"
CAPTION: Final = (
    "Searches for strong tickets side by side, above: methods, with the density of what they find; below: laws of the "
    "random weights. A dot for each seed, a bar at the mean; random and shuffled masks are the controls. CIFAR-10, "
    "where it is drawn, is decoded from JPEG copies."
)
ALT: Final = (
    "Panels of rows with dots on an axis of test accuracy, one column for each data set: a row for each search method "
    "with the trained network last, and a row for each law of the weights. Controls lie at chance, far left of all "
    "tickets."
)


def compose(store: Store) -> Any:
    """Draw the data sets whose presets are complete.

    Raises:
        MissingRuns: no data set is complete; the message names the command.
    """
    at_hand = complete((SearchMethods, SearchInits), store)
    columns, blocks = min(2, len(at_hand)), math.ceil(len(at_hand) / 2)  # a block: methods above inits
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 4.4 * blocks))
        axes = figure.subplots(2 * blocks, columns, squeeze=False, height_ratios=[1.1, 1] * blocks)
        letters = iter("abcdefghijkl")
        for i, data in enumerate(at_hand):
            above, below = axes[2 * (i // columns) : 2 * (i // columns) + 2, i % columns]
            best = min(
                _methods(above, finished(SearchMethods, data, store), next(letters)),
                _inits(below, finished(SearchInits, data, store), next(letters)),
            )
            for ax in (above, below):
                accuracy_axis(ax, "x", best / 1.5)
            above.tick_params(labelbottom=False)
            below.set_xlabel("test accuracy (%)")
            if i % columns:
                for ax in (above, below):
                    ax.tick_params(labelleft=False)
        if len(at_hand) % columns:
            for ax in axes[-2:, -1]:
                ax.set_axis_off()
        shared_legend(figure, [axes[0][0]], 4)
        return figure


def _methods(ax: Any, runs: Sequence[tuple[SearchMethods, dict[str, Any]]], letter: str) -> float:
    groups = {name: results for (name,), results in grouped(runs, "method").items()}
    best = min(
        _row(ax, row, results, "C2" if name == "trained" else "C0")
        for row, (name, results) in enumerate(groups.items())
    )
    searches = {name: results for name, results in groups.items() if name != "trained"}
    worst = max(errors(results).max() for results in searches.values())
    empty = math.sqrt(worst * min(errors(results, "random_accuracy").min() for results in searches.values()))
    for row, results in enumerate(searches.values()):
        density = sum(result["density"] for result in results) / len(results)
        ax.text(empty, row, f"$d = {density:.2f}$", va="center", ha="center", color="0.4", fontsize=6)
    _rows(ax, ["all weights trained" if name == "trained" else name for name in groups])
    run, seeds = runs[0][0], len({one.seed for one, _ in runs})
    ax.set_title(panel_title(letter, run.data, f"{run.epochs} epochs, {seeds} seeds, $d$: density"))
    return best


def _inits(ax: Any, runs: Sequence[tuple[SearchInits, dict[str, Any]]], letter: str) -> float:
    groups = grouped(runs, "init", "scaled")
    best = min(_row(ax, row, results, "C0") for row, results in enumerate(groups.values()))
    _rows(ax, [f"{init}, scaled" if scaled else init for init, scaled in groups])
    run = runs[0][0]
    ax.set_title(f"{letter}   edge-popup, density {run.density:g}, {run.epochs} epochs")
    return best


def _row(ax: Any, row: int, results: Sequence[dict[str, Any]], colour: str) -> float:
    """A dot for each seed and a bar at their mean; return the least error in percent."""
    for name, mark, grey in (("random_accuracy", "v", "C1"), ("shuffled_accuracy", "s", "C4")):
        if name in results[0]:
            label = f"{name.split('_')[0]} mask"
            ax.plot(
                errors(results, name), [row] * len(results), mark, ms=2.5, mew=0, alpha=0.6, color=grey, label=label
            )
    seen = errors(results)
    label = "trained" if colour == "C2" else "ticket"
    ax.plot(seen, [row] * len(seen), "o", ms=3, mew=0, alpha=0.6, color=colour, label=label)
    ax.plot([seen.mean()] * 2, [row - 0.35, row + 0.35], color=colour, lw=1.2)
    return float(seen.min())


def _rows(ax: Any, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")


draw: Final = Drawing(NAME, compose, ALT)
