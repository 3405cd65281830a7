"""How often n random items miss a target: measured, predicted and proved; and the items needed, for each law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import latest
from experiments.items import ENOUGH, EPS, Count, Items, Key, needed, tally
from paper_figs._drawing import PAGE, Drawing, style
from strongticket.bounds.random_subset_sums import coverage_floor, failure_predicted, saddlepoint_failure

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (Items.name,)
NAME: Final = "fig04_law"
CAPTION: Final = (
    "How often random items miss a target. a: frequency of failure against the number of items, with the saddlepoint "
    "prediction as lines and the proved floor in grey; b: predicted over measured; c, d: items needed for two failure "
    "probabilities against the tolerance, for each law of the items. Points are of all seeds together, bars reach "
    "from the least to the greatest seed."
)
ALT: Final = (
    "Four panels. Failure frequencies fall on a logarithmic axis with the number of items, one curve for each "
    "tolerance, on top of their predictions; ratios of prediction and measurement lie near one; the items needed rise "
    "as the tolerance shrinks, nearly together for most laws of the items."
)
DRAWS: Final = 100_000
"""Draws of items behind each predicted frequency: enough to tell wherever a frequency was measured well."""
DELTAS: Final = (1e-2, 1e-4)

_WELL: Final = 100  # failures behind a frequency that predictions are held against
_SURE: Final = 0.05  # largest sampling error, in units of itself, of a prediction that is held against a frequency
_RATIOS: Final = (0.7, 0.8, 0.9, 1, 1.2, 1.4, 1.7)
_SETTING: Final[Mapping[str, Any]] = {"law": "uniform", "averaged": True}
_LAWS: Final[Mapping[Key, tuple[str, str, str]]] = {
    ("uniform", "uniform", None): ("$U(-1,1)$", "C0", "o"),
    ("uniform", "1", None): ("$U(-1,1)$, $z = 1$", "C4", "v"),
    ("normal", "uniform", None): ("$N(0,1)$", "C2", "s"),
    ("product", "uniform", None): ("product $uv$", "C1", "D"),
    ("half_product", "uniform", None): ("$\\max(u,0)\\,v$", "C5", "P"),
    ("hyperbolic", "uniform", None): ("hyperbolic", "C3", "X"),
}


def compose(store: Store) -> Any:
    """Read the most expensive complete preset of `items`.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    import matplotlib as mpl

    _, runs = latest(Items, store)
    found = tally(runs)
    uniform = found["uniform", "uniform", None]
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 4.9))
        left, right = figure.subfigures(1, 2, width_ratios=[1.12, 1])
        law, error = left.subplots(2, 1, sharex=True, height_ratios=[2.1, 1])
        colours = mpl.colormaps["viridis"](np.linspace(0, 0.88, len(EPS)))
        for eps, colour in zip(EPS, colours, strict=True):
            _law(law, error, eps, uniform[eps], colour)
        _floor(law, max(uniform[EPS[0]]))
        _name_left(law, error, seeds=len(next(iter(uniform[EPS[0]].values())).fails))
        panels = right.subplots(2, 1, sharex=True, sharey=True)
        for ax, delta, letter in zip(panels, DELTAS, "cd", strict=True):
            for i, (key, look) in enumerate(_LAWS.items()):
                # side by side: several laws need the same number
                _needed(ax, found[key], delta, 10.0 ** (0.05 * (i - 2.5)), *look)
            ax.set_title(f"{letter}   items for $\\delta = 10^{{{round(np.log10(delta))}}}$")
            ax.set_ylabel("items $n^*$")
        panels[0].set(xscale="log", xlim=(1.8e-1, 5e-7))
        panels[1].set_xlabel("tolerance $\\varepsilon$")
        right.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return figure


def _law(law: Any, error: Any, eps: float, counts: Mapping[int, Count], colour: Any) -> None:
    """Measured frequencies with the spread of the seeds, and how far the predictions are from them."""
    seen = {n: count for n, count in counts.items() if count.fail >= ENOUGH}
    rates = np.array([count.rate for count in seen.values()])
    seeds = np.array([[end(count.rates) for count in seen.values()] for end in (min, max)])
    label = f"$10^{{{round(np.log10(eps))}}}$"
    law.errorbar(list(seen), rates, np.abs(seeds - rates), fmt="o", ms=2.6, lw=0.8, color=colour, label=label)
    found = {n: saddlepoint_failure(n, eps, draws=DRAWS, **_SETTING) for n in seen}
    found = {n: estimate for n, estimate in found.items() if estimate.tells}
    law.plot(list(found), [estimate.value for estimate in found.values()], color=colour, lw=0.9)
    well = [n for n, count in seen.items() if count.fail >= _WELL]
    quick = [failure_predicted(n, eps, **_SETTING) / seen[n].rate for n in well]
    error.plot(well, quick, color=colour, lw=0.8, ls=(0, (3, 1.5)))
    well = [n for n in well if n in found and found[n].standard_error <= _SURE * found[n].value]
    ratio = np.array([found[n].value / seen[n].rate for n in well])
    # a seed without failures reaches beyond the panel
    ends = [[found[n].value / max(end(seen[n].rates), 1e-9) for n in well] for end in (max, min)]
    bars = np.abs(np.array(ends) - ratio)
    error.errorbar(well, ratio, bars, fmt="o-", ms=2, lw=0.9, elinewidth=0.5, color=colour)


def _floor(ax: Any, most: int) -> None:
    numbers = np.arange(1, most + 1)
    ends = [[coverage_floor(int(n), eps, **_SETTING) for n in numbers] for eps in (EPS[0], EPS[-1])]
    ax.fill_between(numbers, *ends, color="0.82", lw=0, zorder=0)
    at = min(most, 14)
    ax.annotate(
        "floor, $\\varepsilon = 10^{-1}$ .. $10^{-6}$:\nout of reach (proved)",
        *((at, ends[0][at - 1]), (-88, -30)),
        **{"textcoords": "offset points", "color": "0.35", "fontsize": 7},
        arrowprops={"arrowstyle": "-", "color": "0.6", "lw": 0.6},
    )


def _name_left(law: Any, error: Any, seeds: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MultipleLocator

    law.set(yscale="log", ylim=(2e-6, 1.5), ylabel="frequency of failure")
    law.set_title(f"a   items $U(-1, 1)$, $z \\sim U(-1, 1)$, {seeds} seeds")
    law.legend(title="tolerance $\\varepsilon$", loc="lower left", ncols=2, handletextpad=0.2, columnspacing=0.8)
    error.axhline(1.0, color="0.5", lw=0.6)
    error.set(yscale="log", ylim=(0.6, 2), yticks=_RATIOS, yticklabels=[f"{ratio:g}" for ratio in _RATIOS])
    error.minorticks_off()
    error.xaxis.set_major_locator(MultipleLocator(4))
    error.set(xlabel="items $n$", ylabel="predicted / measured")
    error.set_title("b   error of the predictions")
    looks = (("saddlepoint", "o-"), ("density and floor", "--"))
    handles = [
        Line2D([], [], color="0.3", marker=look[0] if look[0] == "o" else "", ls=look.lstrip("o"), ms=2, lw=0.9)
        for _, look in looks
    ]
    error.legend(handles, [name for name, _ in looks], loc="upper right", ncols=2)


def _needed(ax: Any, of_eps: Mapping[float, Mapping[int, Count]], delta: float, aside: float, *look: str) -> None:
    """n* of all seeds together, and how far down and up the seeds go, where it was reached with enough failures."""
    name, colour, mark = look
    rows = []
    for eps, counts in of_eps.items():
        whole = needed(counts, delta)
        if whole.items is not None and not whole.few:
            each = [n for n in _of_seeds(counts, delta) if n is not None]
            rows.append((eps * aside, whole.items, min(each, default=whole.items), max(each, default=whole.items)))
    if rows:
        places, middle, low, high = np.array(rows).T
        spread = [middle - low, high - middle]
        ax.errorbar(places, middle, spread, fmt=f"{mark}-", mfc="white", capsize=2, color=colour, label=name)


def _of_seeds(counts: Mapping[int, Count], delta: float) -> list[int | None]:
    """n* of each seed alone."""
    seeds = range(len(next(iter(counts.values())).fails))
    return [
        needed({n: Count((each.fails[i],), (each.trials[i],)) for n, each in counts.items()}, delta).items
        for i in seeds
    ]


draw: Final = Drawing(NAME, compose, ALT)
