"""Elastic tickets: tickets of another depth beside iterative pruning at each depth, with the published table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from experiments import MissingRuns
from experiments._weak_parts import title_of
from experiments.elastic import ABLATIONS, ARMS, BASELINES, PUBLISHED, Arm, Elastic
from paper_figs._accuracy import fitted_axis
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._presets import first_complete
from paper_figs._seeds import PUBLISHED as STAR
from paper_figs._seeds import band, dots

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (Elastic.name,)
NAME: Final = "fig18_elastic"
CAPTION: Final = (
    "Elastic tickets of chen2021elastic. a: perceptrons with 2, 3 or 4 layers of 300 units; rows are where the ticket "
    "comes from and where it is trained; equal numbers are iterative pruning of the target itself. Stars on MNIST: "
    "table 5 of the paper, whose recipe it does not print. b: one pair of depths beside its ablations and beside what "
    "finds masks before training. c, where the runs are there: residual networks, accuracy against the density that "
    "the target's own ticket has. Small marks are seeds, bars their means, bands reach from the least to the "
    "greatest."
)
ALT: Final = (
    "Rows of dots, one dot for each seed and a bar at their mean, on an axis of test accuracy: in one panel a row for "
    "every pair of source and target depth, grouped by target; in the next a row for the target's own ticket, the "
    "elastic ticket, its ablations with fresh weights or shuffled masks, and tickets found before training. Stars "
    "mark published accuracies on MNIST. A further panel, when drawn, has accuracy against density for residual nets."
)

_SQUARES: Final = ("mlp", "mlp-held-out", "quick")
"""Presets of panel a, the first that is complete."""
_PAIRS: Final = ("mlp-arms", "quick")
"""Presets of panel b, the first that is complete: not always of the data set of panel a."""
_RESIDUAL: Final = ("paper", "fashion")
"""Presets of panel c, the first that is complete; without any there is no such panel."""
_KINDS: Final[Mapping[Arm, tuple[str, str]]] = {
    "imp": ("C0", "o"),
    "elastic": ("C1", "D"),
    **dict.fromkeys(ABLATIONS, ("C5", "d")),
    **dict.fromkeys(BASELINES, ("C2", "s")),
}
_NAMES: Final[Mapping[Arm, str]] = {
    "imp": "iterative pruning",
    "elastic": "elastic ticket",
    "elastic-reinit": "elastic, fresh weights",
    "elastic-random": "elastic, shuffled mask",
    "elastic-random-reinit": "elastic, both",
    "elastic-random-copies": "elastic, copies shuffled",
    "reinit": "own mask, fresh weights",
    "random-layer": "own mask, shuffled",
    "magnitude": "magnitude at the start",
    "snip": "SNIP",
    "grasp": "GraSP",
    "grasp-abs": "GraSP, absolute",
    "synflow": "SynFlow",
}
_GROUPS: Final[Mapping[Arm, str]] = {
    "imp": "iterative pruning",
    "elastic": "elastic ticket",
    "elastic-reinit": "its ablations",
    "snip": "controls and masks found at the start",
}
_LINES: Final[Mapping[Arm, tuple[str, str, str]]] = {
    "imp": ("C0", "o", "-"),
    "elastic": ("C1", "D", "-"),
    "reinit": ("C2", "v", "--"),
    "random-layer": ("C2", "s", ":"),
    "magnitude": ("C3", "^", "-."),
    "snip": ("C4", "P", "--"),
    "synflow": ("C5", "X", ":"),
}

Runs = Sequence[tuple[Elastic, dict[str, Any]]]


def compose(store: Store) -> Any:
    """Read of `elastic` the first complete preset for each panel: see `_SQUARES`, `_PAIRS` and `_RESIDUAL`.

    Raises:
        MissingRuns: not even quick is complete; the message names the command.
    """
    runs = first_complete(Elastic, _SQUARES, store)
    residual: Runs | None = None
    with suppress(MissingRuns):
        residual = first_complete(Elastic, _RESIDUAL, store)
    with style() as figure_class:
        rows = 1 if residual is None else 2
        figure = figure_class(figsize=(PAGE, 0.4 + 2.9 * rows))
        axes = list(figure.subplots(rows, 2, height_ratios=[1.15, 1.0][:rows]).flat)
        _square(axes[0], runs)
        _arms(axes[1], first_complete(Elastic, _PAIRS, store))
        if residual is None:
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=5)
        else:
            _residual(axes[2], residual)
            _legends(axes[3], axes[0], axes[2])
        return figure


def _depth(model: str) -> int:
    """Layers of 300 units."""
    return model.count("-300")


def _ends(runs: Runs, arm: Arm, source: str, target: str) -> list[float]:
    """Errors at the end of training in percent, of all seeds."""
    return [
        100 * (1 - result["rows"][0]["test_at_end"])
        for run, result in runs
        if (run.arm, run.source, run.target) == (arm, source, target)
    ]


def _square(ax: Any, runs: Runs) -> None:
    """Each source depth in each target depth; published beside it where it is MNIST."""
    models = sorted({run.target for run, result in runs if run.arm == "imp"}, key=_depth)
    row, ticks, seen = 0.0, {}, []
    for target in models:
        for source in models:
            arm: Arm = "imp" if source == target else "elastic"
            errors = _ends(runs, arm, source, target)
            dots(ax, errors, row, *_KINDS[arm])
            seen += errors
            if runs[0][0].data.startswith("mnist"):
                at = 100 - PUBLISHED[_depth(source), _depth(target)]
                ax.plot([at], [row], **STAR)
                seen.append(at)
            own = " itself" if source == target else f" from {_depth(source)}"
            ticks[row] = f"{_depth(target)} layers{own}"
            row += 1
        row += 0.5
    ax.set_yticks(list(ticks), list(ticks.values()))
    _accuracies(ax, seen, row - 0.8)
    kept = 100 * next(result["rows"][0]["density"] for run, result in runs if run.arm == "imp")
    ax.set_title(f"a   {title_of(runs[0][0].data)}, {kept:.1f} % remain")
    for arm, words in _GROUPS.items():
        colour, mark = _KINDS[arm]
        ax.plot([], [], mark, color=colour, mfc="white", ms=3, label=words)
    if runs[0][0].data.startswith("mnist"):
        ax.plot([], [], label="published (table 5)", **STAR)


def _arms(ax: Any, runs: Runs) -> None:
    """All arms of the pair of depths that has them."""
    one = next(run for run, _ in runs if run.arm in ABLATIONS)
    ticks, seen = [], []
    for row, arm in enumerate(ARMS):
        source = one.source if arm.startswith("elastic") else one.target
        errors = _ends(runs, arm, source, one.target)
        dots(ax, errors, row, *_KINDS[arm])
        seen += errors
        ticks.append(_NAMES[arm])
    ax.set_yticks(range(len(ticks)), ticks)
    _accuracies(ax, seen, len(ticks) - 0.5)
    seeds = len({run.seed for run, _ in runs})
    # the runs of panel a may be of another data set
    data = title_of(one.data).split(",")[0]
    ax.set_title(f"b   {data}, {_depth(one.target)} layers from {_depth(one.source)}, {seeds} seeds")


def _accuracies(ax: Any, errors: Sequence[float], bottom: float) -> None:
    """Rows downwards, accuracies to the right, all that is seen inside."""
    fitted_axis(ax, "x", errors)
    ax.set_ylim(bottom, -0.7)
    ax.set_xlabel("test accuracy (%)")
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)


def _residual(ax: Any, runs: Runs) -> None:
    """Accuracy against the density of the target's own ticket."""
    one = next(run for run, _ in runs if run.arm == "elastic")
    found: dict[Arm, dict[int, list[float]]] = {}
    densities: dict[int, float] = {}
    for run, result in runs:
        if run.target == one.target and run.source in (one.source, one.target):
            for row in result["rows"]:
                found.setdefault(run.arm, {}).setdefault(row["level"], []).append(100 * row["test_at_end"])
                if run.arm == "imp":
                    densities[row["level"]] = 100 * row["density"]
    for arm, (colour, mark, dash) in _LINES.items():
        if arm in found:
            of_level = found[arm]
            x, label = [densities[level] for level in of_level], _NAMES[arm]
            band(ax, x, list(of_level.values()), colour, mark, ls=dash, label=label)
    ax.set_xscale("log")
    ax.minorticks_off()
    ax.invert_xaxis()
    ticks = [float(f"{density:.2g}") for density in densities.values()]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set(xlabel="weights remaining, own ticket (%)", ylabel="test accuracy (%)")
    depth = [model.removeprefix("resnet").split("x")[0].split("+")[0] for model in (one.source, one.target)]
    seeds = len({run.seed for run, _ in runs})
    ax.set_title(
        f"c   {title_of(one.data).split(' (')[0]}: ResNet-{depth[1]} from {depth[0]}, {seeds} seeds", fontsize=7
    )


def _legends(ax: Any, dots_of: Any, lines_of: Any) -> None:
    """Two legends where there is no panel: of a and b, and of c."""
    ax.set_axis_off()
    look: dict[str, Any] = {"alignment": "left", "borderaxespad": 0.0}
    ax.add_artist(ax.legend(*dots_of.get_legend_handles_labels(), title="a, b", loc="upper left", **look))
    ax.legend(*lines_of.get_legend_handles_labels(), title="c", loc="lower left", **look)


draw: Final = Drawing(NAME, compose, ALT)
