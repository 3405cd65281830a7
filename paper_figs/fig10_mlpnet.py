"""The public 784-40-20-10 network, pruned without retraining: accuracy against density, first and second order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import latest
from experiments.mlpnet import TARGETS, Method, MlpNet, by_method
from paper_figs._accuracy import accuracy_axis, errors
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._seeds import band, density_axis, published, shared_legend

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (MlpNet.name,)
NAME: Final = "fig10_mlpnet"
CAPTION: Final = (
    "The public 784-40-20-10 network pruned without retraining: accuracy of the mask alone (a) and with the method's "
    "updated weights (b) against the density. Means over the seeds, bands from the least to the greatest. Stars: the "
    "published column for magnitude, which is reproduced exactly."
)
ALT: Final = (
    "Two panels of test accuracy against density. All methods stay at the dense network's accuracy at half of the "
    "weights and fall as fewer are kept; methods that compute their curvature anew in stages stay highest, random "
    "masks are at chance."
)
_TICKS: Final = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_LOOKS: Final[Mapping[Method, tuple[str, str]]] = {
    "random": ("0.75", "."),
    "magnitude": ("C1", "v"),
    "obd": ("C2", "s"),
    "obd, 16 rounds": ("C2", "d"),
    "woodfisher": ("C4", "^"),
    "woodfisher, joint": ("C5", "D"),
    "network-obs, 1 stage": ("C0", "o"),
    "network-obs, 15 stages": ("C3", "P"),
    "network-obs, 15 stages each": ("0.35", "X"),
}


def compose(store: Store) -> Any:
    """Read the most expensive preset that is complete.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    _, runs = latest(MlpNet, store)
    methods = by_method(runs)
    dense = float(errors([runs[0][1]], "dense_accuracy")[0])
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 2.9))
        left, right = figure.subplots(1, 2, sharey=True)
        least = min(_lines(left, methods, "mask_accuracy"), _lines(right, methods, "accuracy"))
        for ax in (left, right):
            ax.axhline(dense, color="k", lw=0.8, ls=":", label="dense")
            density_axis(ax, _TICKS)
        weights, column = runs[0][1]["weights"], TARGETS["magnitude"]
        places = [count / weights for count in column]
        published(
            left, places, [100 - value for value in column.values()], "magnitude (benbaki2023chita)", mfc="none", ms=8
        )
        accuracy_axis(left, "y", least / 1.2, 95.0)
        left.set_ylabel("test accuracy (%), MNIST")
        seeds = {len(results) for results in methods.values()}
        left.set_title(f"a   mask only ({min(seeds)} seeds)")
        right.set_title("b   and the method's update")
        shared_legend(figure, [left, right], 3)
        return figure


def _lines(ax: Any, methods: Mapping[Method, Sequence[dict[str, Any]]], name: str) -> float:
    """Error against density: mean and range over the seeds; return the least error."""
    least = 100.0
    for method, (colour, mark) in _LOOKS.items():
        results = methods.get(method, [])
        if not results or (name == "accuracy" and not any(row["updated"] for row in results[0]["densities"])):
            continue
        densities = [row["kept"] / results[0]["weights"] for row in results[0]["densities"]]
        seen = np.array([errors(result["densities"], name) for result in results])  # [seeds, densities]
        least = min(least, float(seen.min()))
        band(ax, densities, seen.T, colour, mark, ms=3, lw=1, mfc=colour, shade=0.15, label=method)
    return least


draw: Final = Drawing(NAME, compose, ALT)
