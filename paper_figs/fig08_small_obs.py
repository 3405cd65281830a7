"""Brain surgery on small networks: XOR without one weight, and how few weights MONK's problems need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import latest
from experiments.small_obs import METHODS, PUBLISHED, Method, Problem, SmallOBS, by_setting, share
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._seeds import shared_legend

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (SmallOBS.name,)
NAME: Final = "fig08_small_obs"
CAPTION: Final = (
    "Brain surgery on small networks. a: share of XOR networks that are right at once, or can be trained again, after "
    "one weight is deleted, with 95 % intervals; b: distribution of the error then; c: weights left on MONK's "
    "problems, small marks are seeds, bars medians. Dashed and dotted lines: weights after and before OBS as "
    "hassibi1992second reports them (90, 76 and 62 % removed)."
)
ALT: Final = (
    "Three panels. OBS leaves nearly all XOR networks right at once, magnitude fewer than half and OBD hardly any; "
    "its errors are the smallest. On MONK's problems rows of dots show the weights left by three methods, with and "
    "without retraining, beside lines for the published numbers."
)
_LOOKS: Final[Mapping[Method, tuple[str, str, str]]] = {
    "magnitude": ("magnitude", "v", "C1"),
    "obd": ("OBD", "s", "C2"),
    "obs": ("OBS", "o", "C0"),
}


def compose(store: Store) -> Any:
    """Read the most expensive preset that is complete.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    _, runs = latest(SmallOBS, store)
    settings = by_setting(runs)
    xor = {setting: results for setting, results in settings.items() if setting.problem == "xor"}
    monks = {setting: results for setting, results in settings.items() if setting.problem != "xor"}
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 2.5))
        shares, errors, weights = figure.subplots(1, 3, width_ratios=[1, 1, 1.35])
        _shares(shares, xor)
        _errors(errors, next(iter(xor)), next(iter(xor.values())))
        _weights(weights, monks)
        shared_legend(figure, [shares, weights], 5)
        return figure


def _shares(ax: Any, settings: Mapping[SmallOBS, Sequence[dict[str, Any]]]) -> None:
    """How many networks are right after the deletion, and how many can learn XOR again, with 95 % intervals."""
    names = []
    for row, (name, (setting, results)) in enumerate(
        (name, item) for name in ("correct", "trainable") for item in settings.items()
    ):
        names.append(f"{'right at once' if name == 'correct' else 'trainable'},\n{_targets(setting)}")
        for shift, method in zip((-0.2, 0.0, 0.2), METHODS, strict=True):
            label, mark, colour = _LOOKS[method]
            value, low, high = share([flag for result in results for flag in result["methods"][method][name]])
            ax.plot([100 * low, 100 * high], [row + shift] * 2, color=colour, lw=1)
            ax.plot(100 * value, row + shift, mark, mfc="white", color=colour, label=label)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    counts = " and ".join(str(sum(result["trained"] for result in results)) for results in settings.values())
    ax.set(xlim=(-3, 103), xlabel=f"share of {counts} nets (%)")
    ax.set_title("a   XOR, one weight deleted")


def _errors(ax: Any, setting: SmallOBS, results: Sequence[dict[str, Any]]) -> None:
    """The distribution of the error after the deletion."""
    for method in METHODS:
        _, mark, colour = _LOOKS[method]
        seen = np.sort([error for result in results for error in result["methods"][method]["errors"]])
        ax.step(seen, 100 * np.arange(1, len(seen) + 1) / len(seen), where="post", color=colour,
                marker=mark, markevery=0.15, ms=3, mfc="white")  # fmt: skip
    ax.set_xscale("log")
    ax.set(ylim=(0, 101), xlabel="error, not retrained", ylabel="nets below (%)")
    ax.set_title(f"b   XOR, {_targets(setting)}")


def _targets(setting: SmallOBS) -> str:
    return f"targets {setting.low:g}, {setting.high:g}"


def _weights(ax: Any, settings: Mapping[SmallOBS, Sequence[dict[str, Any]]]) -> None:
    """Weights left, a dot for each seed and a bar at the median."""
    names: list[str] = []
    rows: dict[Problem, list[int]] = {}
    for row, (setting, results) in enumerate(settings.items()):
        names.append(f"{setting.problem.upper()},\n{'retrained' if setting.refit else 'not retrained'}")
        rows.setdefault(setting.problem, []).append(row)
        for shift, method in zip((-0.22, 0.0, 0.22), METHODS, strict=True):
            _, mark, colour = _LOOKS[method]
            left = [result["methods"][method]["weights"] for result in results if result["trained"]]
            ax.plot(left, [row + shift] * len(left), mark, ms=2.5, mew=0, alpha=0.5, color=colour)
            if left:
                ax.plot([np.median(left)] * 2, [row + shift - 0.1, row + shift + 0.1], color=colour, lw=1.5)
    for problem, places in rows.items():
        before, after = PUBLISHED[problem]
        ends = [min(places) - 0.45, max(places) + 0.45]
        ax.plot([after] * 2, ends, color="0.35", lw=0.8, ls="--", label="published: OBS (hassibi1992second)")
        ax.plot([before] * 2, ends, color="0.35", lw=0.8, ls=":", label="published: before it")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set(xlim=(0, 61), xlabel="weights left")
    most = max(len(results) for results in settings.values())
    ax.set_title(f"c   MONK's problems, {most} seeds")


draw: Final = Drawing(NAME, compose, ALT)
