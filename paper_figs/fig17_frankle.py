"""Winning tickets as Frankle and Carbin drew them: early stop and accuracy against the weights that remain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import latest
from experiments._search import TITLES
from experiments.imp import Arm, Imp
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._seeds import band, labelled, published, remaining_axis

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (Imp.name,)
NAME: Final = "fig17_frankle"
CAPTION: Final = (
    "Iterative magnitude pruning as in Frankle and Carbin (2019). a: validation accuracy while tickets of some levels "
    "train, means over the seeds. b, c: step of the least validation loss, and test accuracy there. d, e: how many "
    "times earlier the ticket stops, and how much more accurate it is, than the whole network and than its own mask "
    "with fresh weights, in pairs over the seeds; where fresh weights were drawn several times for a seed, the first "
    "draw is shown. Lines are means, bands reach from the least to the greatest seed; "
    "stars are what section 2 of the paper prints for LeNet-300-100 on MNIST, trained for 50,000 steps; the arrow "
    "says that it prints a lower limit."
)
ALT: Final = (
    "Five panels. Accuracy rises while tickets of different sizes train. Against the share of weights that remain, on "
    "a logarithmic axis from all to few, lines with bands show the early-stopping step and the test accuracy of "
    "winning tickets, of one-shot tickets, and of controls with fresh weights or random masks; two more panels show "
    "the ticket's lead over the whole network and over fresh weights, with stars for published values."
)

_ARMS: Final[Mapping[Arm, tuple[str, str, str]]] = {
    "ticket": ("winning ticket", "C0", "o"),
    "one-shot": ("cut at once", "C2", "s"),
    "same-sign": ("fresh weights, same signs", "C4", "^"),
    "reinit": ("fresh weights", "C1", "v"),
    "random-mask": ("random mask", "C3", "x"),
}
_CURVES: Final = (0, 3, 7, 12, 15)
"""Levels whose training is shown: 100, 51.3, 21.1, 7.0 and 3.6 % remain."""
_LEADS: Final = (("over the whole network", "C0", "o"), ("over fresh weights", "C1", "v"))
_LESS: Final = 38.0
"""Percent that early stopping comes earlier than for the whole network where 21.1 % remain (section 2)."""
_FASTER: Final[Mapping[int, float]] = {7: 1.0 / (1.0 - _LESS / 100.0)}
_FASTER_THAN_FRESH: Final[Mapping[int, float]] = {7: 2.51}
_BETTER: Final[Mapping[int, float]] = {9: 0.3, 15: 0.0}
"""Percentage points at early stop: "more than 0.3" where 13.5 % remain, and back at its level at 3.6 %."""
_BETTER_THAN_FRESH: Final[Mapping[int, float]] = {7: 0.5}
_LOWER_LIMIT: Final = 9

Rows = Mapping[tuple[Arm, int], Mapping[int, Mapping[str, Any]]]


def compose(store: Store) -> Any:
    """Read the most expensive complete preset of `imp`.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    _, runs = latest(Imp, store)
    rows = by_level(runs)
    lenet = runs[0][0].data == "mnist"
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 4.7))
        (curves, stops, right), (faster, better, empty) = figure.subplots(2, 3)
        _curves(curves, rows, runs[0][0])
        _arms(stops, rows, "early_stop", 1.0)
        _arms(right, rows, "test_at_stop", 100.0)
        _lead(faster, rows, lambda one, other: other["early_stop"] / one["early_stop"])
        _lead(better, rows, lambda one, other: 100 * (one["test_at_stop"] - other["test_at_stop"]))
        if lenet:
            _printed(faster, rows, _FASTER, _FASTER_THAN_FRESH)
            _printed(better, rows, _BETTER, _BETTER_THAN_FRESH)
        stops.set(ylabel="early-stopping step", ylim=(0, None))
        right.set_ylabel("test accuracy there (%)")
        faster.set_ylabel("stops how many times earlier")
        better.set_ylabel("more accurate by (% points)")
        seeds = len({run.seed for run, _ in runs})
        titles = (f"{TITLES[runs[0][0].data]}, {seeds} seeds", "learning speed", "accuracy at early stop")
        for ax, letter, title in zip((curves, stops, right), "abc", titles, strict=True):
            ax.set_title(f"{letter}   {title}")
        faster.set_title("d   the ticket's lead: speed")
        better.set_title("e   the ticket's lead: accuracy")
        faster.axhline(1.0, color="0.4", lw=0.7)
        better.axhline(0.0, color="0.4", lw=0.7)
        _legend(empty, stops, faster)
        return figure


def by_level(runs: Sequence[tuple[Imp, dict[str, Any]]]) -> Rows:
    """Return {(arm, level): {seed: row}}, of the first draw of each control."""
    found: dict[tuple[Arm, int], dict[int, Mapping[str, Any]]] = {}
    for run, result in runs:
        if run.draw == 0:
            for row in result["rows"]:
                found.setdefault((run.arm, row["level"]), {})[run.seed] = row
    return found


def _remain(rows: Rows, level: int) -> float:
    """Percent of the weights that remain at a level."""
    of_level = next(of_seeds for (_, number), of_seeds in rows.items() if number == level)
    return 100.0 * float(next(iter(of_level.values()))["density"])


def _ticks(rows: Rows) -> list[float]:
    levels = sorted({level for _, level in rows})
    shown = [level for level in _CURVES if level in levels] if set(_CURVES) <= set(levels) else levels[::4]
    return [round(_remain(rows, level), 1) for level in shown]


def _curves(ax: Any, rows: Rows, run: Imp) -> None:
    """Mean validation accuracy over the steps of training, the tickets of some levels."""
    levels = [level for level in (_CURVES if run.data == "mnist" else (0, 4, 8, 12, 16)) if ("ticket", level) in rows]
    shades = np.linspace(0.0, 0.72, len(levels))
    for level, shade, dash in zip(levels, shades, ("-", "--", "-.", (0, (4, 1, 1, 1, 1, 1)), ":"), strict=False):
        of_seeds = rows["ticket", level].values()
        steps = next(iter(of_seeds))["curve"]["step"]
        mean = np.mean([row["curve"]["accuracy"] for row in of_seeds], axis=0)
        ax.plot(steps, 100 * mean, color=str(shade), ls=dash, lw=1.0, label=f"{_remain(rows, level):.1f} % remain")
    last = np.mean([row["curve"]["accuracy"] for row in rows["ticket", 0].values()], axis=0)
    ax.set(xlabel="training step", ylabel="validation accuracy (%)", ylim=(100 * float(last[0]) - 1.5, None))
    ax.legend(fontsize=6, loc="lower right")


def _arms(ax: Any, rows: Rows, name: str, scale: float) -> None:
    for arm, (label, colour, mark) in _ARMS.items():
        levels = sorted(level for one, level in rows if one == arm)
        if levels:
            values = [[scale * row[name] for row in rows[arm, level].values()] for level in levels]
            band(ax, [_remain(rows, level) for level in levels], values, colour, mark, label=label)
    remaining_axis(ax, _ticks(rows))


def _lead(ax: Any, rows: Rows, of: Callable[[Mapping[str, Any], Mapping[str, Any]], float]) -> None:
    """The ticket beside the whole network and beside its mask with fresh weights, in pairs over the seeds."""
    tickets = sorted(level for arm, level in rows if arm == "ticket" and level)
    fresh = [level for level in tickets if ("reinit", level) in rows]
    others: tuple[Sequence[tuple[Arm, int]], ...] = ([("ticket", 0)] * len(tickets), [("reinit", one) for one in fresh])
    for (label, colour, mark), levels, beside in zip(_LEADS, (tickets, fresh), others, strict=True):
        pairs = [(rows["ticket", level], rows[other]) for level, other in zip(levels, beside, strict=True)]
        values = [[of(mine[seed], theirs[seed]) for seed in sorted(mine) if seed in theirs] for mine, theirs in pairs]
        band(ax, [_remain(rows, level) for level in levels], values, colour, mark, label=label)
    remaining_axis(ax, _ticks(rows))


def _printed(ax: Any, rows: Rows, *claims: Mapping[int, float]) -> None:
    """Stars for what the paper prints; an arrow where it prints a lower limit."""
    for claim, (_, colour, _) in zip(claims, _LEADS, strict=True):
        published(ax, [_remain(rows, level) for level in claim], list(claim.values()), "section 2", mfc=colour)
        if _LOWER_LIMIT in claim:
            at = (_remain(rows, _LOWER_LIMIT), claim[_LOWER_LIMIT])
            arrow = {"arrowstyle": "-|>", "color": "0.1", "lw": 0.8, "shrinkA": 2, "shrinkB": 0}
            ax.annotate("", xy=(at[0], at[1] + 0.16), xytext=at, arrowprops=arrow)


def _legend(ax: Any, arms: Any, leads: Any) -> None:
    """Two legends where there is no panel: of b and c, and of d and e."""
    ax.set_axis_off()
    look: dict[str, Any] = {"fontsize": 6.5, "alignment": "left", "borderaxespad": 0.0}
    ax.add_artist(ax.legend(*arms.get_legend_handles_labels(), title="b, c", loc="upper left", **look))
    handles = labelled(leads)
    ax.legend(list(handles.values()), list(handles), title="d, e: the ticket's lead", loc="lower left", **look)


draw: Final = Drawing(NAME, compose, ALT)
