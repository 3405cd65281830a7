"""How close a strict ticket is to its target, and how sure that is: found, proved, and what would matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import latest
from experiments.strict_tickets import StrictTickets
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._seeds import shared_legend

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (StrictTickets.name,)
NAME: Final = "fig03_certificates"
CAPTION: Final = (
    "Largest difference between an output of the target and of its strict ticket, in units of the target's logit "
    "range: on the test set, found by gradient ascent in the whole input box, and proved for the whole box. Marks are "
    "medians over the seeds, bars reach from the least to the greatest."
)
ALT: Final = (
    "A row for every network and data set on a logarithmic axis of output differences. In each row the mark for the "
    "test set is leftmost, the difference found by search follows, and the proved bound is rightmost; a dashed line "
    "marks one percent of the logit range."
)
_MARKS: Final = (
    ("largest_logit_change", "on the test set", "o", "C4"),
    ("sampled_error_box", "found in $[0,1]^d$ by gradient ascent", "s", "C0"),
    ("proved_error_box", "proved on all of $[0,1]^d$", "D", "C1"),
)


def compose(store: Store) -> Any:
    """Read the most expensive complete preset of `strict_tickets`.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    _, runs = latest(StrictTickets, store)
    kinds = list(dict.fromkeys((run.data, run.model, run.objective) for run, _ in runs))
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 0.9 + 0.3 * len(kinds)))
        ax = figure.subplots()
        for row, kind in enumerate(kinds):
            results = [result for run, result in runs if (run.data, run.model, run.objective) == kind]
            _row(ax, row, results)
        ax.set(xscale="log", xlabel="largest difference of an output, in units of the target's logit range")
        ax.axvline(0.01, color="0.5", lw=0.8, ls=(0, (4, 2)), label="1 % of the logit range")
        ax.set_yticks(range(len(kinds)), [_name(kind) for kind in kinds])
        ax.set_ylim(len(kinds) - 0.5, -0.5)
        ax.grid(visible=False, axis="y")
        shared_legend(figure, [ax], 4)
        seeds = len(runs) // len(kinds)
        ax.set_title(f"strict tickets of trained networks, {seeds} seed{'s' if seeds > 1 else ''} each")
        return figure


def _row(ax: Any, row: int, results: list[dict[str, Any]]) -> None:
    for name, label, mark, colour in _MARKS:
        sizes = np.array([result[name] / result["logit_range"] for result in results])
        ax.plot([sizes.min(), sizes.max()], [row, row], color=colour, lw=2.5, alpha=0.35, solid_capstyle="round")
        ax.plot(np.median(sizes), row, mark, color=colour, ms=4.5, mec="white", mew=0.4, zorder=3, label=label)


def _name(kind: tuple[str, str, str]) -> str:
    data, model, objective = kind
    sizes = model.removeprefix("mlp-").removesuffix("+bias")
    named = {"784-256-128-128-64-32-10": "depth 6", "lenet-300-100": "LeNet-300-100"}.get(sizes, sizes)
    goal = "exact" if objective == "min_error" else "sparsest"
    title = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10 (from JPEG copies)"}.get(
        data, data
    )
    return f"{title} {named}, {goal}"


draw: Final = Drawing(NAME, compose, ALT)
