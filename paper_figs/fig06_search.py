"""What searched subnetworks of random networks achieve, against their density and against the width of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import finished
from experiments._search import TITLES, Data, grouped
from experiments.search_density import SearchDensity
from experiments.search_width import SearchWidth
from paper_figs._accuracy import accuracy_axis, errors, panel_title
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._presets import complete
from paper_figs._seeds import band, shared_legend

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (SearchDensity.name, SearchWidth.name)
NAME: Final = "fig06_search"
CAPTION: Final = (
    "Edge-popup (ramanujan2020whats): test accuracy against the density of the mask and against the width of the "
    "network, beside masks shuffled within layers, random masks and the same network trained. Lines are means over "
    "the seeds, bands reach from the least to the greatest. The paper prints its curves for CIFAR-10 without a table; "
    "the star is another search for untrained subnetworks (koster2022signing). CIFAR-10, where it is drawn, is "
    "decoded from JPEG copies."
)
ALT: Final = (
    "A row of two panels for each data set. Left, accuracy rises with density, is highest at middle to high densities "
    "and falls to chance where all random weights are kept, always below the line of the trained network. Right, "
    "accuracy rises with the width. Shuffled and random masks stay at chance everywhere."
)
_KINDS: Final = (
    ("accuracy", "ticket: edge-popup, no weight trained", "o", "C0"),
    ("shuffled_accuracy", "its mask, shuffled in each layer", "s", "C4"),
    ("random_accuracy", "random mask, as many weights in each layer", "v", "C1"),
)
_PUBLISHED: Final[Mapping[Data, tuple[float, float]]] = {"mnist": (0.0377, 97.48), "cifar10": (0.0291, 77.40)}
"""(density, test accuracy in percent) that koster2022signing reports for a fully connected network and for Conv-4."""


def compose(store: Store) -> Any:
    """Draw the data sets whose presets are complete.

    Raises:
        MissingRuns: no data set is complete; the message names the command.
    """
    at_hand = complete((SearchDensity, SearchWidth), store)
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 0.55 + 2.0 * len(at_hand)))
        axes = figure.subplots(len(at_hand), 2, squeeze=False, sharey="row")
        letters = iter("abcdefgh")
        for (density, width), data in zip(axes, at_hand, strict=True):
            best = _density(density, finished(SearchDensity, data, store), next(letters))
            _width(width, finished(SearchWidth, data, store), next(letters), data)
            _twin(width, finished(SearchDensity, data, store))
            if data in _PUBLISHED:
                _published(density, *_PUBLISHED[data])
            accuracy_axis(density, "y", best / 1.6)
            density.set_ylabel("test accuracy (%)")
        for ax, name in zip(axes[-1], ("density: fraction of the weights kept", "width factor"), strict=True):
            ax.set_xlabel(name)
        shared_legend(figure, axes[:, 0], 2)
        return figure


def _density(ax: Any, runs: Sequence[tuple[SearchDensity, dict[str, Any]]], letter: str) -> float:
    """Draw accuracy against density; return the trained network's error in percent."""
    places = {density: results for (density,), results in grouped(runs, "density").items()}
    model, twin = runs[0][0].model, places.pop(None)
    _lines(ax, places)
    low, high = errors(twin).min(), errors(twin).max()
    ax.axhspan(low, high, color="C2", alpha=0.25, lw=0)
    ax.axhline(errors(twin).mean(), color="C2", lw=1, label="all weights of the network trained")
    ax.set(xlim=(0, 1.02), xticks=np.linspace(0, 1, 6))
    ax.set_title(panel_title(letter, runs[0][0].data, f"{model}, {len(twin)} seeds and their range"))
    return float(low)


def _published(ax: Any, density: float, accuracy: float) -> None:
    label = "published: signed supermask (koster2022signing)"
    ax.plot(density, 100 - accuracy, "*", ms=6, color="0.35", ls="", label=label)


def _twin(ax: Any, runs: Sequence[tuple[SearchDensity, dict[str, Any]]]) -> None:
    """Mark the trained network, which has width factor 1."""
    seen = errors([result for run, result in runs if run.density is None])
    ax.vlines(1, seen.min(), seen.max(), color="C2", lw=3, alpha=0.25)
    ax.plot(1, seen.mean(), "D", mfc="white", color="C2")


def _width(ax: Any, runs: Sequence[tuple[SearchWidth, dict[str, Any]]], letter: str, data: Data) -> None:
    places = {width: results for (width,), results in grouped(runs, "width").items()}
    _lines(ax, places)
    run = runs[0][0]
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(places), [f"x{width:g}" for width in places])
    ax.minorticks_off()
    ax.tick_params(labelleft=True)
    ax.set_title(f"{letter}   {TITLES[data].split(' (')[0]}, density {run.density:g}, {run.epochs} epochs")


def _lines(ax: Any, places: dict[float, list[dict[str, Any]]]) -> None:
    """Mean of the seeds, with a band from the worst to the best."""
    look: dict[str, Any] = {"ms": None, "lw": None, "shade": 0.2}  # of the style
    for name, label, mark, colour in _KINDS:
        band(ax, list(places), [errors(one, name) for one in places.values()], colour, mark, label=label, **look)


draw: Final = Drawing(NAME, compose, ALT)
