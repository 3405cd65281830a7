"""The grand comparison: constructed, found, pruned and trained subnetworks, by bits and by what they keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import latest
from experiments._search import TITLES
from experiments.grand_comparison import GrandComparison, by_place
from paper_figs._accuracy import accuracy_axis
from paper_figs._drawing import PAGE, Drawing, style

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (GrandComparison.name,)
NAME: Final = "fig19_grand_comparison"
CAPTION: Final = (
    "One trained target for each seed, and what proofs construct, searches find and prunings leave of it. a: test "
    "accuracy against the bits that each costs to write down, per weight of the target, beside codes of the target's "
    "own weights; b: bits against the error of the weights, for all that approximates them, above the least that any "
    "code needs (rate-distortion limit for weights of the target's law, computed at each mark's error); c: test "
    "accuracy against the weights kept per weight of the target; beyond 1 the network is wider than the target. A "
    "mark for each method and setting: the mean of the seeds, with a line from the least to the greatest. Dotted: the "
    "target. CIFAR-10, where it is drawn, is decoded from JPEG copies."
)
ALT: Final = (
    "Three scatter plots on logarithmic axes, one shape of mark for each family. In the first, accuracy against bits "
    "per weight, found tickets take the fewest bits and constructed tickets the accuracy of the target at many more. "
    "In the second, bits against the error of the weights, all marks lie above the line of the rate-distortion limit. "
    "In the third, accuracy against weights kept, constructed tickets lie beyond one, all others below it."
)

_LOOKS: Final[Mapping[str, tuple[str, str, str]]] = {
    "constructed": ("constructed tickets", "C0", "o"),
    "found": ("found tickets", "C2", "s"),
    "pruned": ("pruned and trained again", "C1", "^"),
    "iterative": ("weak tickets", "C3", "D"),
    "dense": ("codes of the target's weights", "0.2", "P"),
    "control": ("controls", "0.6", "v"),
}
_LEAST_ERRORS: Final = 0.5
"""In percent: accuracies above 99.5 % are drawn there."""


_BEHIND: Final = 1.2
"""Where the limit for normal weights exceeds that for the target's law by more, the latter is not drawn."""


@dataclass(frozen=True)
class _Place:
    """A method at a setting, over the seeds."""

    family: str
    state: str
    bits: float
    kept: float
    errors: Any
    rms: float | None
    limit: float | None
    normal: float | None


def compose(store: Store) -> Any:
    """Read the most expensive complete preset of `grand_comparison`.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    _, runs = latest(GrandComparison, store)
    places = _places(runs)
    targets = [100 * (1 - result["target"]["accuracy"]) for _, result in runs]
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 3.1))
        by_bits, distortion, by_kept = figure.subplots(1, 3)
        for ax, name in ((by_bits, "bits"), (by_kept, "kept")):
            _accuracies(ax, places, name)
            ax.axhline(float(np.mean(targets)), color="0.2", lw=0.8, ls=":", zorder=0.8)
            least = min(float(np.mean(targets)), *(float(place.errors.mean()) for place in places))
            accuracy_axis(ax, "y", max(least, _LEAST_ERRORS) / 1.5)
        _distortion(distortion, places)
        by_bits.set(ylabel="test accuracy (%)", xlabel="bits per weight of the target")
        by_kept.set(ylabel="test accuracy (%)", xlabel="kept per weight of the target")
        right = by_kept.get_xlim()[1]
        by_kept.axvspan(1.0 + 1e-9, right, color="0.93", lw=0, zorder=0)
        by_kept.set_xlim(right=right)
        run, seeds = runs[0][0], len({one.seed for one, _ in runs})
        by_bits.set_title(f"a   {TITLES[run.data].split(' (')[0]}, {seeds} seed{'s' if seeds > 1 else ''}")
        distortion.set_title(f"b   {run.model}")
        by_kept.set_title("c   weights kept")
        _legend(figure, distortion, places)
        return figure


def _places(runs: Sequence[tuple[GrandComparison, dict[str, Any]]]) -> list[_Place]:
    found = []
    for (_, family, _, state, _), group in by_place(runs).items():
        rows = [row for row, _ in group]
        mse = [row["mse"] for row in rows]
        limits: list[Any] = [row["limit"] for row in rows if row["limit"]]
        found.append(
            _Place(
                family,
                state,
                float(np.mean([row["bits"]["per_weight"] for row in rows])),
                float(np.mean([row["kept_per_weight"] for row in rows])),
                np.array([max(100 * (1 - row["accuracy"]), _LEAST_ERRORS) for row in rows]),
                float(np.sqrt(np.mean(mse))) if all(mse) else None,
                *(
                    float(np.mean([limit[name] for limit in limits])) if len(limits) == len(rows) else None
                    for name in ("empirical", "gaussian")
                ),
            )
        )
    return found


def _accuracies(ax: Any, places: Sequence[_Place], name: str) -> None:
    """A mark for each method and setting; what was pruned only in its last state."""
    for family, (_, colour, mark) in reversed(list(_LOOKS.items())):
        for place in places:
            if place.family == family and _shown(place, name):
                x, errors = getattr(place, name), place.errors
                ax.plot([x, x], [errors.min(), errors.max()], color=colour, lw=0.6, alpha=0.5)
                ax.plot(x, errors.mean(), mark, color=colour, ms=3, mfc="white", mew=0.8)
    ax.set_xscale("log")


def _shown(place: _Place, name: str) -> bool:
    """Pruned networks in their last state; codes that keep all or most weights have no place among weights kept."""
    return place.state == "trained" if place.family == "pruned" else place.family != "dense" or name == "bits"


def _distortion(ax: Any, places: Sequence[_Place]) -> None:
    """Bits against the root mean square of the weights' errors, above the limit."""
    known = [place for place in places if place.rms and place.limit is not None and place.family != "control"]
    for place in known:
        _, colour, mark = _LOOKS[place.family]
        ax.plot(place.rms, place.bits, mark, color=colour, ms=3, mfc="white", mew=0.8)
    line = sorted(
        # where errors are finer than the grid that it is computed on, the limit stays true and says little
        (place.rms, place.limit)
        for place in known
        if place.limit and place.normal and place.normal < _BEHIND * place.limit
    )
    ax.plot(*zip(*line, strict=True), color="0.2", lw=1.0, ls="--", zorder=1)
    ax.set(xscale="log", yscale="log", ylabel="bits per weight of the target", xlabel="error of a weight (rms)")
    ax.minorticks_off()


def _legend(figure: Any, ax: Any, places: Sequence[_Place]) -> None:
    seen = {place.family for place in places}
    for family, (words, colour, mark) in _LOOKS.items():
        if family in seen:
            ax.plot([], [], mark, color=colour, ms=3, mfc="white", mew=0.8, label=words)
    ax.plot([], [], color="0.2", lw=1.0, ls="--", label="rate-distortion limit")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4)


draw: Final = Drawing(NAME, compose, ALT)
