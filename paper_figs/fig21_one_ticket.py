"""One ticket for many tasks: tickets carried to other data or another optimiser, beside those found there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from experiments import latest
from experiments._weak_parts import title_of
from experiments.one_ticket import Arm, OneTicket
from paper_figs._accuracy import fitted_axis
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._seeds import band, remaining_axis, shared_legend

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (OneTicket.name,)
NAME: Final = "fig21_one_ticket"
CAPTION: Final = (
    "Tickets that were found on one data set, or with one optimiser, and trained on or with another (morcos2019one): "
    "test accuracy at the end of training against the weights that remain, beside tickets that were found on the "
    "target itself and beside fresh weights under the carried mask, whole or permuted. Lines are means over the "
    "seeds, bands reach from the least to the greatest. The paper prints curves of other networks and no table, so "
    "there are no published points."
)
ALT: Final = (
    "One panel for each way from a source to a target. In each, five lines with bands of test accuracy against the "
    "share of weights that remain, from all to few: the carried ticket, the target's own ticket, and three controls "
    "with fresh weights."
)

_LOOKS: Final[Mapping[Arm, tuple[str, str, str, str]]] = {
    "transferred": ("carried ticket", "C0", "o", "-"),
    "target": ("the target's own ticket", "C2", "D", "--"),
    "reinit": ("carried mask, fresh weights", "C1", "v", "-"),
    "random-layer": ("the same, permuted within layers", "C3", "x", "-."),
    "random-global": ("the same, permuted over all", "0.45", "s", ":"),
}


def compose(store: Store) -> Any:
    """Read the most expensive complete preset of `one_ticket`.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    _, runs = latest(OneTicket, store)
    ways = list(dict.fromkeys(run.way for run, _ in runs))
    columns = min(2, len(ways))
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 0.55 + 2.1 * math.ceil(len(ways) / columns)))
        axes = list(figure.subplots(math.ceil(len(ways) / columns), columns, squeeze=False).flat)
        for ax, way, letter in zip(axes, ways, "abcdefgh", strict=False):
            _way(ax, [(run, result) for run, result in runs if run.way == way], letter)
        for ax in axes[len(ways) :]:
            ax.set_axis_off()
        for ax in axes[: len(ways) : columns]:
            ax.set_ylabel("test accuracy (%)")
        shared_legend(figure, axes[: len(ways)], 3)
        return figure


def _way(ax: Any, runs: Sequence[tuple[OneTicket, dict[str, Any]]], letter: str) -> None:
    found: dict[Arm, dict[float, list[float]]] = {}
    for run, result in runs:
        for row in result["rows"]:
            found.setdefault(run.arm, {}).setdefault(100 * row["density"], []).append(100 * (1 - row["test_at_end"]))
    for arm, (label, colour, mark, dash) in _LOOKS.items():
        of_density = found.get(arm, {})
        band(ax, list(of_density), list(of_density.values()), colour, mark, ls=dash, label=label)
    fitted_axis(ax, "y", [error for of in found.values() for errors in of.values() for error in errors])
    remaining_axis(ax, sorted({round(density, 1) for density in found["transferred"]}))
    run = runs[0][0]
    seeds = len({one.seed for one, _ in runs})
    ax.set_title(f"{letter}   {_words(run)}, {seeds} seeds", fontsize=7.5)


def _words(run: OneTicket) -> str:
    """What changes on the way."""
    if run.source_data != run.target_data:
        whole, _, part = title_of(run.source_data).partition(", ")
        other, _, theirs = title_of(run.target_data).partition(", ")
        return f"{whole}: {part} \u2192 {theirs}" if whole == other else f"{whole} \u2192 {other}"
    first, second = ("Adam" if name.endswith("adam") else "SGD" for name in (run.source_recipe, run.target_recipe))
    return f"{title_of(run.source_data)}: {first} \u2192 {second}"


draw: Final = Drawing(NAME, compose, ALT)
