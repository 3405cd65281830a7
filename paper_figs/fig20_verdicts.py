"""The verdict on every theorem: how often its trials may fail, and the interval of how often they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from experiments.falsification import Falsification, reports
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._presets import first_complete

if TYPE_CHECKING:
    from strongticket.runs import Store
    from theory import Report

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (Falsification.name,)
NAME: Final = "fig20_verdicts"
CAPTION: Final = (
    "Every theorem that makes a claim, tried at the parameters of its claim. Grey: the share of trials that may fail; "
    "mark and line: the share that did, with its exact 99 % interval. A theorem is falsified where so many failures "
    "have a probability of at most one in a million, all claims together (Holm). An interval that reaches beyond the "
    "grey bar only says that there were too few trials to be sure; the numbers on the right are those of the trials."
)
ALT: Final = (
    "A row for each theorem on an axis of failure probabilities, linear near zero and logarithmic beyond. In each row "
    "a grey bar reaches up to what the theorem allows, and a mark with a line shows the measured share and its "
    "interval. The shape of the mark gives the verdict: holds, holds so far, inconclusive, or falsified."
)

_PRESETS: Final = ("default", "quick")
"""The first that is complete; what the last one lacks is named, as it is the cheapest."""
_LINEAR: Final = 1e-3
"""Probabilities below are shown on a linear axis, so that 0 has a place."""
_LOOKS: Final = {
    "HOLDS": ("holds, surely", "C2", "D"),
    "HOLDS_SO_FAR": ("holds so far", "C0", "o"),
    "INCONCLUSIVE": ("inconclusive", "C5", "s"),
    "FALSIFIED": ("falsified", "C1", "X"),
}


def compose(store: Store) -> Any:
    """Read the preset "default" of `falsification`, or "quick" where that is not complete.

    Raises:
        MissingRuns: neither is complete; the message names the command.
    """
    found = reports(first_complete(Falsification, _PRESETS, store))
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 0.75 + 0.155 * len(found)))
        ax = figure.subplots()
        for row, report in enumerate(found):
            _row(ax, row, report)
        ax.set_yticks(range(len(found)), [report.key for report in found], fontsize=6.5)
        ax.set_ylim(len(found) - 0.4, -0.6)
        ax.set_xscale("symlog", linthresh=_LINEAR, linscale=0.5)
        ax.set(xlim=(-0.15 * _LINEAR, 1.0), xlabel="probability that a trial fails")
        ax.set_xticks([0, 1e-3, 1e-2, 1e-1, 1.0], ["0", "0.001", "0.01", "0.1", "1"])
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        _legend(figure, ax, {report.verdict.name for report in found})
        return figure


def _row(ax: Any, row: int, report: Report) -> None:
    _, colour, mark = _LOOKS[report.verdict.name]
    ax.barh(row, report.delta + 0.15 * _LINEAR, left=-0.15 * _LINEAR, height=0.8, color="0.87", zorder=0.5)
    ax.plot([report.low, report.high], [row, row], color=colour, lw=1.4, solid_capstyle="butt")
    ax.plot([report.counted / report.trials], [row], mark, color=colour, ms=4, mec="white", mew=0.4, clip_on=False)
    ax.annotate(
        f"{report.counted:,} / {report.trials:,}", (1.0, row), (4, 0), textcoords="offset points",
        xycoords=ax.get_yaxis_transform(), va="center", fontsize=5.5, color="0.35", annotation_clip=False,
    )  # fmt: skip


def _legend(figure: Any, ax: Any, seen: set[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color="0.87")]
    labels = ["may fail"]
    for name, (words, colour, mark) in _LOOKS.items():
        if name in seen:
            handles.append(Line2D([], [], color=colour, marker=mark, ms=4, mec="white", mew=0.4, lw=1.4))
            labels.append(words)
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    ax.set_title("failures / trials", loc="right", fontsize=6, color="0.35")


draw: Final = Drawing(NAME, compose, ALT)
