"""Trained and pruned, found untrained, constructed: accuracy against density, and what their masks have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import latest
from experiments._search import TITLES
from experiments.pruning_compare import Arm, PruningCompare
from experiments.pruning_overlap import PruningOverlap
from paper_figs._accuracy import accuracy_axis, errors
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._seeds import band, density_axis, labelled

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (PruningCompare.name, PruningOverlap.name)
NAME: Final = "fig09_pruning"
CAPTION: Final = (
    "Trained and pruned, found untrained, and constructed subnetworks of LeNet-300-100 on MNIST: accuracy of the mask "
    "alone (a), with the method's update (b) and trained again (c) against the weights kept; how much masks of the "
    "same random weights have in common (d); and what masks of trained weights are worth on the random ones (e). "
    "Means over the seeds, bands from the least to the greatest."
)
ALT: Final = (
    "Three panels of accuracy against the share of weights kept, one line for each pruning method, with the trained "
    "network as a dotted line and constructed tickets as stars at the right of the first; below, a panel of the "
    "overlap of masks against density, above chance everywhere, and one of accuracies on random weights."
)
_TICKS: Final = (0.02, 0.05, 0.1, 0.3, 0.5)
_BEYOND: Final = 1.0
"""Densities from here on are of masks on a wider network than the one that was trained: they get room of their own."""
_COLUMNS: Final = {"mask_only": "mask only", "updated": "and the method's update", "retrained": "and trained again"}
_ARMS: Final[dict[Arm, tuple[str, str, str]]] = {
    "random": ("0.6", "v", "-"),
    "magnitude, layer": ("C1", "s", "-"),
    "obd": ("C4", "^", "-"),
    "exact-obs": ("C2", "D", "-"),
    "exact-obs, global": ("C2", "d", "--"),
    "network-obs, 10 stages": ("C3", "P", "-"),
    "edge-popup": ("C0", "o", "-"),
    "random, untrained": ("C0", "x", "--"),
}
"""Colour, mark and line of the arms that are drawn; the others are in the table."""
_PAIRS: Final = {
    "popup/magnitude": ("C1", "D", "found and trained"),
    "popup/popup": ("C0", "o", "found twice"),
    "magnitude/magnitude": ("C2", "s", "trained twice"),
}
_ON_RANDOM: Final = {
    "popup on random": ("C0", "o", "mask that was searched for"),
    "magnitude on random": ("C1", "s", "mask of trained weights"),
    "chance on random": ("0.6", "v", "random mask"),
}


def compose(store: Store) -> Any:
    """Draw the largest presets that are complete.

    Raises:
        MissingRuns: none is complete; the message names the command.
    """
    compared = latest(PruningCompare, store)[1]
    overlaps = latest(PruningOverlap, store)[1]
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 4.6))
        axes = figure.subplots(2, 3, height_ratios=[1.15, 1])
        best = min(
            _column(ax, compared, column, f"{letter}   {title}")
            for ax, letter, (column, title) in zip(axes[0], "abc", _COLUMNS.items(), strict=True)
        )
        for ax in axes[0]:
            accuracy_axis(ax, "y", best / 1.5)
        seeds = len({run.seed for run, _ in compared})
        axes[0][0].set_ylabel(f"test accuracy (%), {TITLES[compared[0][0].data]}, {seeds} seeds")
        _overlap(axes[1][0], overlaps)
        _on_random(axes[1][1], overlaps)
        axes[1][2].axis("off")
        both = labelled(axes[0][0], axes[0][2])
        axes[1][2].legend(list(both.values()), list(both), loc="center", fontsize=6)
        return figure


def _column(ax: Any, runs: Sequence[tuple[PruningCompare, dict[str, Any]]], column: str, title: str) -> float:
    """Error against density of each arm, seed by seed; return the least."""
    best = 100.0
    for arm, (colour, mark, line) in _ARMS.items():
        rows = [result["rows"] for run, result in runs if run.arm == arm]
        if not rows or rows[0][0][column] is None:
            continue
        densities = [row["density"] for row in rows[0]]
        seen = np.array([errors(one, column) for one in rows])  # [seeds, densities]
        best = min(best, float(seen.min()))
        band(ax, densities, seen.T, colour, mark, ls=line, ms=3, lw=1, mfc=colour, shade=0.15, label=arm)
    dense = [100 * (1 - result["dense"]) for _, result in runs]
    ax.axhline(sum(dense) / len(dense), color="k", lw=0.8, ls=":", label="all weights trained")
    again = [result["rows"][0] for run, result in runs if run.arm == "dense, retrained"]
    if column == "retrained" and again:
        mean = float(errors(again, column).mean())
        ax.axhline(mean, color="k", lw=0.8, ls="-.", label="all weights trained, twice")
        best = min(best, mean)
    made = [result["rows"][0] for run, result in runs if run.arm == "constructed"]
    if column == "mask_only" and made:
        places = [row["density"] for row in made]
        label = "constructed, on a wider network"
        ax.plot(places, errors(made, column), "*", color="C5", ms=5, label=label)
        density_axis(ax, (*_TICKS[::2], float(f"{sum(places) / len(places):.2g}")))
        ax.axvspan(_BEYOND, 2 * max(places), color="0.93", lw=0, zorder=0)
        ax.set_xlim(right=2 * max(places))
    else:
        density_axis(ax, _TICKS)
    ax.set_xlabel("kept / weights trained")
    ax.set_title(title)
    return best


def _overlap(ax: Any, runs: Sequence[tuple[PruningOverlap, dict[str, Any]]]) -> None:
    densities = sorted({run.density for run, _ in runs})
    for pair, look in _PAIRS.items():
        _band(ax, densities, [[r["iou"][pair] for run, r in runs if run.density == d] for d in densities], *look)
    expected = [next(r["chance"]["popup/magnitude"] for run, r in runs if run.density == d) for d in densities]
    ax.plot(densities, expected, color="k", lw=0.8, ls=":", label="chance")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylabel("masks' intersection over union")
    density_axis(ax, _TICKS)
    ax.set_title("d   masks of the same weights")
    ax.legend(fontsize=5.5)


def _on_random(ax: Any, runs: Sequence[tuple[PruningOverlap, dict[str, Any]]]) -> None:
    densities = sorted({run.density for run, _ in runs})
    for name, look in _ON_RANDOM.items():
        values = [[100 * r["accuracy"][name] for run, r in runs if run.density == d] for d in densities]
        _band(ax, densities, values, *look)
    ax.set_ylim(-35, 100)  # room for the legend
    ax.set_yticks(range(0, 101, 20))
    ax.set_ylabel("test accuracy (%)")
    density_axis(ax, _TICKS)
    ax.set_title("e   masks on the random weights")
    ax.legend(fontsize=5.5, loc="lower right")


def _band(ax: Any, xs: Sequence[float], values: Sequence[Sequence[float]], *look: str) -> None:
    colour, mark, label = look
    band(ax, xs, values, colour, mark, label=label)


draw: Final = Drawing(NAME, compose, ALT)
