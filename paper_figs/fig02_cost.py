"""What a ticket costs: time and memory of the construction against the number of target weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import latest
from experiments.scaling import Scaling
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._seeds import bars

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (Scaling.name,)
NAME: Final = "fig02_cost"
CAPTION: Final = (
    "Time and memory of constructing a strict ticket against the weights of its target, one core. Points are medians "
    "over the seeds, bars reach from the least to the greatest; the dashed line has slope one."
)
ALT: Final = (
    "Two panels on logarithmic axes. Seconds grow in proportion to the weights of the target, for the exact minimum "
    "of the error and, lower, for the sparsest subset within tolerance; memory grows and then levels off."
)
_OBJECTIVES: Final = (("min_error", "exact minimum error", "C0"), ("sparsest", "sparsest within $\\varepsilon$", "C2"))


def compose(store: Store) -> Any:
    """Read the most expensive complete preset of `scaling`.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    _, runs = latest(Scaling, store)
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 2.6))
        time, memory = figure.subplots(1, 2)
        for objective, label, colour in _OBJECTIVES:
            here = [(run, result) for run, result in runs if run.objective == objective]
            if not here:
                continue
            sides = sorted({run.side for run, _ in here})
            weights = np.array([side**2 for side in sides], dtype=float)
            seconds = [_measured(here, side, "seconds") for side in sides]
            space = [_above_start(here, side) for side in sides]
            _line(time, weights, seconds, label, colour)
            _line(memory, weights, space, label, colour)
        _guide(time)
        items = sorted({run.items for run, _ in runs})
        time.set_title(f"a   time, n = {', '.join(map(str, items))} items per weight")
        memory.set_title("b   memory above the start")
        for ax, name in ((time, "seconds"), (memory, "megabytes")):
            ax.set(xscale="log", yscale="log", xlabel="weights of the target", ylabel=name)
        time.legend(loc="upper left")
        return figure


def _measured(runs: list[tuple[Scaling, dict[str, Any]]], side: int, name: str) -> list[float]:
    return [result["measured"][name] for run, result in runs if run.side == side]


def _above_start(runs: list[tuple[Scaling, dict[str, Any]]], side: int) -> list[float]:
    pairs = zip(_measured(runs, side, "peak_bytes"), _measured(runs, side, "start_bytes"), strict=True)
    return [(peak - start) / 1e6 for peak, start in pairs]


def _line(ax: Any, weights: Any, values: list[list[float]], label: str, colour: str) -> None:
    seeds = min(len(each) for each in values)
    bars(ax, weights, values, fmt="o-", capsize=2.5, color=colour, label=f"{label}, {seeds} seeds")


def _guide(ax: Any) -> None:
    """A thin line of slope one: cost proportional to the number of weights."""
    left, right = np.array([2e5, 1e7]), np.array([0.02, 1.0])
    ax.plot(left, right, color="0.5", lw=0.8, ls=(0, (4, 2)))
    ax.annotate("proportional", (2e6, 0.2), xytext=(4, -9), textcoords="offset points", color="0.4", fontsize=7)


draw: Final = Drawing(NAME, compose, ALT)
