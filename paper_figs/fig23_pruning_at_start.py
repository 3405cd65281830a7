"""Pruning before training beside its sanity checks: which weights, or only how many of each layer, were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from experiments import latest
from experiments._weak_parts import title_of
from experiments.pruning_at_start import CHECKS, METHODS, Check, Method, PruningAtStart
from paper_figs._accuracy import fitted_axis
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._seeds import dots, shared_legend

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (PruningAtStart.name,)
NAME: Final = "fig23_pruning_at_start"
CAPTION: Final = (
    "Test accuracy of what each method keeps of a network before it is trained, and of its sanity checks: its mask "
    "shuffled within the layers, its mask with fresh weights, its lowest scores kept. All have as many weights as "
    "iterative pruning, which trains before it prunes. Marks are seeds, bars their means. A method whose shuffled "
    "mask is as good has found how many weights each layer keeps, and no more."
)
ALT: Final = (
    "A panel for each share of weights that is kept, a row for each method, accuracies on an axis of errors. Iterative "
    "pruning lies to the right of its shuffled masks and fresh weights, most where few weights are kept; the methods "
    "that prune before training lie among theirs, signed GraSP to their left. Inverted scores of SynFlow are at chance "
    "everywhere, those of the others lie to the left where few weights are kept."
)
_LOOKS: Final[Mapping[Check, tuple[str, str]]] = {
    "none": ("C0", "o"),
    "shuffle": ("C1", "s"),
    "reinit": ("C2", "v"),
    "invert": ("0.5", "x"),
}
_STEP: Final = 0.19  # rows between two checks of a method


def compose(store: Store) -> Any:
    """Read the most expensive complete preset of `pruning_at_start`.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    _, runs = latest(PruningAtStart, store)
    setting, seeds = runs[0][0], len({run.seed for run, _ in runs})
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 3.6))
        panels = figure.subplots(1, len(setting.levels), sharey=True)
        for ax, level in zip(panels, setting.levels, strict=True):
            fitted_axis(ax, "x", _rows(ax, runs, level))
            ax.set_xlabel("test accuracy (%)")
            ax.grid(axis="y", visible=False)
        first = panels[0]
        first.set_yticks(range(len(METHODS)), METHODS)
        first.set_ylim(len(METHODS) - 0.4, -0.6)
        figure.suptitle(f"{title_of(setting.data)}, {setting.model}, {seeds} seeds", x=0.01, ha="left", fontsize=8)
        shared_legend(figure, panels, len(CHECKS))
        return figure


def _rows(ax: Any, runs: Sequence[tuple[PruningAtStart, dict[str, Any]]], level: int) -> list[float]:
    """Draw the errors at a level, in percent, and return them."""
    found: dict[tuple[Method, Check], list[float]] = {}
    for run, result in runs:
        row = next(row for row in result["rows"] if row["level"] == level)
        found.setdefault((run.method, run.check), []).append(100 * (1 - row["test_at_end"]))
        ax.set_title(f"{100 * row['density']:.1f} % of the weights kept")
    for (method, check), errors in found.items():
        colour, mark = _LOOKS[check]
        place = METHODS.index(method) + _STEP * (list(_LOOKS).index(check) - 1.5)
        dots(ax, errors, place, colour, mark, high=0.4 * _STEP, label=CHECKS[check])
    return [error for errors in found.values() for error in errors]


draw: Final = Drawing(NAME, compose, ALT)
