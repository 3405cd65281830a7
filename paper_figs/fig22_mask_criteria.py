"""Ten ways to cut a trained network: what their masks are worth before the weights are trained, and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from experiments import latest
from experiments._search import TITLES
from experiments.mask_criteria import PUBLISHED, RANDOM, WAYS, Family, MaskCriteria, Untrained
from paper_figs._accuracy import fitted_axis
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._seeds import band, remaining_axis, shared_legend

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (MaskCriteria.name,)
NAME: Final = "fig22_mask_criteria"
CAPTION: Final = (
    "A trained network cut by the criteria of zhou2019deconstructing, on where each weight began and where it ended. "
    "a, b: test accuracy of the mask on the untrained network, on its own random weights, and with all weights of a "
    "layer made one size with their random signs; the dotted line is the best that the paper reports for such a "
    "network (with one size and its own signs). c: after training from the same random weights. Lines are means over "
    "the seeds, bands reach from the least to the greatest."
)
ALT: Final = (
    "Three panels against the share of weights that remain, on a logarithmic axis from all to few, with accuracies on "
    "an axis of errors. Untrained, masks of large final weights are above chance, and those that also drop weights of "
    "another sign than in the beginning are far above all others, most with weights of one size; random masks and the "
    "opposite criteria stay at chance. Trained, masks of large final weights are the most accurate, random ones lie "
    "below them, and those that keep small weights below these."
)
_LOOKS: Final[Mapping[str, tuple[str, str, str]]] = {
    "large-final-same-sign": ("C3", "*", "-"),
    "large-final": ("C0", "o", "-"),
    "magnitude-increase": ("C2", "s", "-"),
    "movement": ("C4", "D", "-"),
    "large-init-large-final": ("C5", "^", "-"),
    "large-init": ("C1", "p", "-"),
    RANDOM: ("0.4", "x", ":"),
    "small-init": ("C1", "v", "--"),
    "small-init-small-final": ("C5", "<", "--"),
    "small-final": ("C0", ">", "--"),
    "large-final-different-sign": ("C3", "+", "--"),
}
"""{criterion: (colour, mark, line)}; lines of opposites have the same colour."""
_PANELS: Final[Sequence[tuple[Untrained | None, str]]] = (
    ("ticket", "a   untrained"),
    ("constant-sign", "b   of one size"),
    (None, "c   trained"),
)


def compose(store: Store) -> Any:
    """Read the most expensive complete preset of `mask_criteria`.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    _, runs = latest(MaskCriteria, store)
    setting, seeds = runs[0][0], len({run.seed for run, _ in runs})
    remain = [100 * row["density"] for row in runs[0][1]["rows"]]
    ticks = [round(percent, 1) for percent in remain[:: -max(1, len(remain) // 5)]]
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 3.1))
        panels = figure.subplots(1, 3)
        for ax, (weights, title) in zip(panels, _PANELS, strict=True):
            family = _way(runs, weights)
            chosen = [(run, result) for run, result in runs if run.family == family]
            fitted_axis(ax, "y", _draw_criteria(ax, chosen, weights))
            remaining_axis(ax, ticks, 1.15 * max(remain))
            ax.set_title(f"{title}, cut {WAYS[family]}")
        if setting.data in PUBLISHED:
            look: dict[str, Any] = {"color": "0.1", "lw": 0.8, "ls": ":", "label": "published: best untrained mask"}
            panels[1].axhline(100.0 - PUBLISHED[setting.data], **look)
        panels[0].set_ylabel("test accuracy (%)")
        said = f"{TITLES[setting.data]}, {setting.model}, {seeds} seeds"
        figure.suptitle(said, x=0.01, ha="left", fontsize=8)
        shared_legend(figure, panels, 4)
        return figure


def _way(runs: Sequence[tuple[MaskCriteria, dict[str, Any]]], weights: Untrained | None) -> Family:
    """How the masks of a panel are cut: as in the paper, if there are such runs."""
    families = {run.family for run, _ in runs if weights is not None or run.trained}
    wanted: Family = "iterative" if weights is None else "one-shot"
    return wanted if wanted in families else families.pop()


def _draw_criteria(
    ax: Any, runs: Sequence[tuple[MaskCriteria, dict[str, Any]]], weights: Untrained | None
) -> list[float]:
    """Draw and return the errors of every criterion in percent: untrained with these weights, or, for None, trained."""
    errors: list[float] = []
    for criterion, (colour, mark, line) in _LOOKS.items():
        seen: dict[float, list[float]] = {}
        for run, result in runs:
            for row in result["rows"] if run.criterion == criterion else ():
                right = row.get("test_at_end") if weights is None else row["untrained"][weights]
                if right is not None:
                    seen.setdefault(100 * row["density"], []).append(100 * (1 - right))
        band(ax, list(seen), list(seen.values()), colour, mark, label=criterion, ls=line)
        errors += [error for of_seeds in seen.values() for error in of_seeds]
    return errors


draw: Final = Drawing(NAME, compose, ALT)
