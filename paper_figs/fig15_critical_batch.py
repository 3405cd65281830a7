"""The critical batch size of kernel least squares, and the descent of tickets against the theory of interpolation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import latest
from experiments import prune_then_descend as descents
from experiments._search import TITLES
from experiments.critical_batch import GOAL, CriticalBatch, by_setting, cost
from paper_figs._drawing import PAGE, Drawing, style
from strongticket.bounds import get

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (CriticalBatch.name, descents.PruneThenDescend.name)
NAME: Final = "fig15_critical_batch"
CAPTION: Final = (
    "a, b: examples and steps that SGD on kernel least squares needs, against the batch size, with the critical batch "
    "of ma2018power; c, d: training loss of tickets, whole networks and random masks, and of their twins with a "
    "frozen kernel, medians over the seeds; e: quasi-convexity along the path; f: measured and guaranteed rates, one "
    "mark for each seed. Bands reach from the least to the greatest seed."
)
ALT: Final = (
    "Six panels. The examples needed stay level up to the critical batch size and grow in proportion beyond; steps "
    "fall and level off there. Training losses fall along with those of twins whose kernel is frozen; the ratio that "
    "measures quasi-convexity stays positive; guaranteed rates lie orders of magnitude below the measured ones."
)
_LOOKS: Final[Mapping[descents.MaskName, tuple[str, str, str]]] = {
    "ticket": ("ticket", "C0", "o"),
    "dense": ("whole network", "C1", "v"),
    "random": ("random mask", "C2", "s"),
}

Descents = Mapping[descents.PruneThenDescend, Sequence[dict[str, Any]]]


def compose(store: Store) -> Any:
    """Read the most expensive complete preset of both experiments.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    batches = by_setting(latest(CriticalBatch, store)[1])
    found = descents.by_setting(latest(descents.PruneThenDescend, store)[1])
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 7.0))
        top, bottom = np.reshape(figure.subplots(3, 2), (2, 3))
        _costs(top[0], batches)
        _steps(top[1], batches)
        for ax, base, title in (
            (top[2], "edge-popup", "c   edge-popup"),
            (bottom[0], "constructed", "d   constructed"),
        ):
            _losses(ax, {setting: results for setting, results in found.items() if setting.base == base}, title)
        _quasar(bottom[1], found)
        _rates(bottom[2], found)
        for ax in (*top, bottom[0], bottom[1]):
            place = "lower left" if ax in (top[2], bottom[0], bottom[1]) else "best"
            columns = 2 if ax is bottom[1] else 1
            ax.legend(fontsize=6.5, handlelength=2.2, labelspacing=0.3, columnspacing=1.0, loc=place, ncols=columns)
        return figure


def _costs(ax: Any, settings: Mapping[CriticalBatch, Sequence[dict[str, Any]]]) -> None:
    """Examples to the goal at the safe step, as multiples of batch 1."""
    for i, (setting, results) in enumerate(settings.items()):
        reached = [m for m in setting.batches if all(cost(result, m) is not None for result in results)]
        values = np.array([[cost(result, m) for m in reached] for result in results], dtype=np.float64)
        look = {"ms": 2.5, "color": f"C{i}", "label": f"n = {setting.train:,}"}
        ax.plot(reached, values.mean(axis=0), "os"[i % 2] + "-", **look)
        ax.fill_between(reached, values.min(axis=0), values.max(axis=0), color=f"C{i}", alpha=0.15, lw=0)
    setting, results = list(settings.items())[-1]
    middle = float(np.mean([result["lambda_1"] for result in results])), float(np.mean([r["beta"] for r in results]))
    m = np.array(setting.batches, dtype=np.float64)
    worth = get("ma2018power.worth").curve(m=m, l1=middle[0], beta=middle[1])
    ax.plot(m, m / worth, "--", color="0.35", lw=0.9, label="by the step sizes (theory)")
    critical = [result["critical_batch"] for result in results]
    ax.axvspan(min(critical), max(critical), color="C4", alpha=0.3, lw=0, label="$m^*=\\beta/\\lambda_1+1$")
    ax.set(xscale="log", yscale="log", xlabel="batch size m", ylabel=f"examples to loss {GOAL:g}, relative")
    ax.set_title(f"a   kernel least squares, {TITLES[setting.data]}")


def _steps(ax: Any, settings: Mapping[CriticalBatch, Sequence[dict[str, Any]]]) -> None:
    """Steps to the goal for each multiple of the safe step size; only where all seeds reach it."""
    setting, results = list(settings.items())[-1]
    for i, multiple in enumerate(setting.multiples):
        batches, steps = [], []
        for m in setting.batches:
            rows = [
                row for result in results for row in result["rows"] if (row["batch"], row["multiple"]) == (m, multiple)
            ]
            if all(row["outcome"] == "reached" for row in rows):
                batches.append(m)
                steps.append(float(np.mean([row["steps"] for row in rows])))
        beyond = " (bound: 2)" if multiple > 2 else ""
        ax.plot(
            batches,
            steps,
            "ov^s"[i % 4],
            ls="-",
            ms=2.5,
            lw=0.9,
            color=f"C{i}",
            label=f"{multiple:g} x safe step{beyond}",
        )
    critical = [result["critical_batch"] for result in results]
    ax.axvspan(min(critical), max(critical), color="C4", alpha=0.3, lw=0)
    ax.set(xscale="log", yscale="log", xlabel="batch size m", ylabel=f"steps to loss {GOAL:g}")
    ax.set_title(f"b   step sizes, n = {setting.train:,}")


def _losses(ax: Any, settings: Descents, title: str) -> None:
    """Training loss over the steps, and that of the twin with a frozen kernel: medians over the seeds."""
    for setting, results in settings.items():
        label, colour, mark = _LOOKS[setting.mask]
        for name, look in (("curve", "-"), ("frozen", ":")):
            steps = [at for at, _ in results[0][name]]
            values = np.array(
                [[loss for _, loss in result[name]] for result in results if len(result[name]) == len(steps)]
            )
            shown = [max(at, 0.7) for at in steps]
            style = {"marker": mark, "ms": 2.5, "mfc": "white", "label": label} if look == "-" else {}
            ax.plot(shown, np.median(values, axis=0), ls=look, color=colour, lw=1.0, **style)
            if look == "-":
                ax.fill_between(shown, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.12, lw=0)
    ax.plot([], [], ":", color="0.35", lw=1.0, label="kernel frozen at the start")
    ax.set(xscale="log", yscale="log", xlabel="steps", ylabel="training loss")
    ax.set_ylim(bottom=ax.get_ylim()[0] / 9)  # room for the legend
    ax.set_title(f"{title}: SGD, mask held")


def _quasar(ax: Any, settings: Descents) -> None:
    """<gradient, w - w_T> over the loss along the path: 2 on a quadratic, above 0 where it is quasi-convex."""
    for setting, results in settings.items():
        label, colour, mark = _LOOKS[setting.mask]
        steps = [max(at, 0.7) for at, _ in results[0]["curve"]][:-1]
        values = np.array(
            [[np.nan if value is None else value for value in result["path"]["quasar"]] for result in results],
            dtype=np.float64,
        )
        known = np.atleast_1d(~np.isnan(values).all(axis=0))  # at the height of the end the ratio says nothing
        steps, values = [at for at, there in zip(steps, known, strict=True) if there], values[:, known]
        dash = "-" if setting.base == "constructed" else "--"
        look = {"marker": mark, "ms": 2.5, "mfc": "white"}
        ax.plot(steps, np.nanmedian(values, axis=0), ls=dash, color=colour, lw=1.0, **look)
    ax.axhline(2.0, color="0.6", lw=0.6)
    ax.axhline(0.0, color="0.35", lw=0.9)
    ax.set(xscale="log", xlabel="steps", ylabel="$\\langle\\nabla L, w-w_T\\rangle\\,/\\,(L-L_T)$", ylim=(-1.7, None))
    for base, dash in (("constructed", "-"), ("edge-popup", "--")):
        if any(setting.base == base for setting in settings):
            ax.plot([], [], color="0.35", ls=dash, lw=1.0, label=base)
    for mask in dict.fromkeys(setting.mask for setting in settings):
        label, colour, mark = _LOOKS[mask]
        ax.plot([], [], mark, color=colour, mfc="white", ms=2.5, label=label)
    ax.set_title("e   quasi-convexity along the path")


def _rates(ax: Any, settings: Descents) -> None:
    """1 - loss factor per step: measured, of the frozen twin, guaranteed; a dot for each seed."""
    names = []
    for row, (setting, results) in enumerate(settings.items()):
        label, *_ = _LOOKS[setting.mask]
        names.append(f"{setting.base},\n{label}")
        for name, mark, colour in (("rate", "o", "C0"), ("frozen_rate", "x", "C1"), ("guaranteed_rate", "|", "0.35")):
            shown = [1.0 - result[name] for result in results]
            shift = {"rate": -0.12, "frozen_rate": 0.12, "guaranteed_rate": 0.0}[name]
            ax.plot(shown, [row + shift] * len(shown), mark, ms=3, color=colour, alpha=0.8)
    handles = [
        ax.plot([], [], mark, color=colour, ms=3)[0] for mark, colour in (("o", "C0"), ("x", "C1"), ("|", "0.35"))
    ]
    ax.legend(handles, ["measured", "frozen kernel", "guaranteed by $\\lambda_k$"], fontsize=6.5, loc="lower left")
    ax.set_yticks(range(len(names)), names, fontsize=5.8)
    ax.set_ylim(len(names) + 1.7, -0.5)  # room for the legend
    ax.set(xscale="log", xlabel="1 - factor per step")
    ax.set_title("f   rates")


draw: Final = Drawing(NAME, compose, ALT)
