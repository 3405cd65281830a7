"""What each theorem asks for and what suffices: source weights against eps, and mask bits over the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from experiments import latest
from experiments.comparison import Comparison
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._seeds import bars

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (Comparison.name,)
NAME: Final = "fig13_comparison"
CAPTION: Final = (
    "Theorems side by side on one target. a: weights of the random network that each asks for (dashed) and that "
    "suffice (solid) against the tolerance; b: bits of the ticket's mask over the information limit. Medians over the "
    "seeds, bars from the least to the greatest; vertical lines, where there are any: the tolerances at which "
    "constructions change places."
)
ALT: Final = (
    "Two panels against the tolerance, logarithmic. Left, the networks that theorems ask for lie above those that "
    "suffice, by many orders of magnitude for the oldest one. Right, the bits of all masks lie a few times to an "
    "order of magnitude above the limit of one."
)
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "d", "<", ">")
"""One for each line: those of one paper share a colour, and grey paper shows none."""

Runs = list[tuple[Comparison, dict[str, Any]]]


def compose(store: Store) -> Any:
    """Read the most expensive complete preset of `comparison`.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    _, runs = latest(Comparison, store)
    labels = list(dict.fromkeys(_label(row) for _, result in runs for row in result["rows"]))
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 4.2))
        sizes, bits = figure.subplots(1, 2)
        papers = list(dict.fromkeys(label.partition(",")[0] for label in labels))
        for label in labels:
            paper = label.partition(",")[0]
            look = {"color": f"C{papers.index(paper)}", "marker": _MARKERS[labels.index(label) % len(_MARKERS)]}
            _line(sizes, runs, label, "asked_weights", look | {"ls": "--"}, None)
            _line(sizes, runs, label, "measured_weights", look, label)
            _line(bits, runs, label, "bits", look, None)
        for eps in sorted({one["eps"] for _, result in runs for one in result["crossings"] if one["planned"]}):
            sizes.axvline(eps, color="0.7", lw=0.6)
        sizes.plot([], [], "--", color="0.4", label="asked for by the theorem")
        sizes.set(xscale="log", yscale="log", xlabel="$\\varepsilon$", ylabel="weights of the source")
        seeds = len({run.seed for run, _ in runs})
        sizes.set_title(f"a   {runs[0][1]['weights']} target weights, {seeds} seeds")
        bits.axhline(1.0, color="0.5", lw=0.8)
        bits.set(xscale="log", yscale="log", xlabel="$\\varepsilon$", ylabel="bits of the mask / limit")
        bits.set_title("b   information")
        figure.legend(loc="outside lower center", ncols=2, fontsize=6)
        return figure


def _label(row: dict[str, Any]) -> str:
    return ", ".join(filter(None, (row["key"], row["variant"])))


def _value(result: dict[str, Any], row: dict[str, Any], cell: str) -> float | None:
    if cell != "bits":
        found: float | None = row[cell]
        return found
    return row["mask_bits"] / result["limit_bits"] if row["mask_bits"] and result["limit_bits"] else None


def _line(ax: Any, runs: Runs, label: str, cell: str, look: dict[str, str], name: str | None) -> None:
    """Medians over the seeds, with the range; places without a number are left out."""
    found: dict[float, list[float]] = {}
    for run, result in runs:
        for row in result["rows"]:
            value = _value(result, row, cell) if _label(row) == label else None
            if value is not None:
                found.setdefault(run.eps, []).append(value)
    if not found:
        return
    places = sorted(found)
    bars(ax, places, [found[eps] for eps in places], ms=3, lw=1, capsize=2, label=name, **look)


draw: Final = Drawing(NAME, compose, ALT)
