"""How loose each theorem is: the factors by which its bound can be divided before trials contradict it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from experiments import finished
from experiments.looseness import Looseness
from paper_figs._drawing import PAGE, Drawing, style

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (Looseness.name,)
NAME: Final = "fig16_looseness"
CAPTION: Final = (
    "How loose each theorem is: bars reach to the largest factor by which its bound can be divided without being "
    "falsified, crosses mark the factor at which trials falsify it. Tight statements break at two."
)
ALT: Final = (
    "A row for each theorem on a logarithmic axis of factors. Bars end where the theorem is still not falsified; a "
    "cross to the right marks where it is. Tight statements have no bar, the loosest bars reach beyond one hundred."
)
PRESET: Final = "every"


def compose(store: Store) -> Any:
    """Read the preset "every" of `looseness`.

    Raises:
        MissingRuns: it is not complete; the message names the command.
    """
    runs = finished(Looseness, PRESET, store)
    trials = runs[0][0].twin_trials
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 0.6 + 0.17 * len(runs)))
        ax = figure.subplots()
        for row, (_, result) in enumerate(reversed(runs)):
            twins = result["twins"]
            stands, broken = twins["largest_not_falsified"], twins["falsified_at"]
            if stands:
                ax.plot([1.0, stands], [row, row], color="C0", lw=2.2, solid_capstyle="butt")
                ax.plot([stands], [row], "o", color="C0", ms=3.5)
            if broken:
                ax.plot([broken], [row], "x", color="C1", ms=4.5)
            else:
                ax.annotate(" no factor broke it", (stands or 1.0, row), va="center", fontsize=5.5, xytext=(4, 0),
                            textcoords="offset points")  # fmt: skip
        ax.plot([], [], "o-", color="C0", label=f"not falsified by {trials} trials")
        ax.plot([], [], "x", color="C1", ls="none", label="falsified")
        ax.set_yticks(range(len(runs)), [run.theorem for run, _ in reversed(runs)], fontsize=6)
        ax.set(xscale="log", xlabel="bound divided by", ylim=(-0.7, len(runs) - 0.3))
        ax.grid(axis="y", visible=False)
        ax.legend(loc="lower right", fontsize=6)
        return figure


draw: Final = Drawing(NAME, compose, ALT)
