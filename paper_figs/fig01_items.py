"""Random items that one weight needs, against the tolerance: theorem, measured, predicted, and what counting allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import latest
from experiments.bounds import Bounds, Group, Law, groups, items_measured, theory
from paper_figs._drawing import PAGE, Drawing, style
from paper_figs._seeds import labelled

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "DELTA", "NEEDS", "compose", "draw"]

NEEDS: Final = (Bounds.name,)
DELTA: Final = 0.01
NAME: Final = "fig01_items"
CAPTION: Final = (
    "Random items that one weight needs to be within a tolerance with probability 0.99: proved sufficient "
    "(lueker1998exponentially, as pensia2020optimal uses it), measured, predicted, and the least that counting "
    "allows. a: items uniform, the column-aware layout; b: products, the paper's blocks. Points are of all seeds "
    "together, bars reach from the least to the greatest seed; the factors lie between proof and measurement."
)
ALT: Final = (
    "Two panels with the number of items for one weight against the tolerance, both axes logarithmic. In each the "
    "theorem's curve lies highest, measured points lie on the predicted curve well below it, and the floor that "
    "counting sets is lowest; factors between theorem and measurement stand in between."
)

_LINES: Final = ("theorem", "predicted", "counted")
_TICKS: Final = (3, 10, 30, 100, 300, 1000, 3000)
_PANELS: Final[Sequence[tuple[Law, str]]] = (
    ("uniform", "a   items $U(-1, 1)$: column-aware, $u \\to 1$"),
    ("half_product", "b   items $\\max(u, 0)\\,v$: the paper's fixed blocks"),
)


def compose(store: Store) -> Any:
    """Read the most expensive complete preset of `bounds`.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    _, runs = latest(Bounds, store)
    found = {(group.law, group.target): group for group in groups(runs)}
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 2.9))
        axes = figure.subplots(1, 2, sharex=True, sharey=True)
        for ax, (law, title) in zip(axes, _PANELS, strict=True):
            _panel(ax, found[law, "edge"])
            ax.set_title(title)
        eps = found["uniform", "edge"].eps
        axes[0].set(xscale="log", xlim=(1.4 * eps[0], eps[-1] / 1.4), yscale="log", ylim=(2, 5000))
        axes[0].set(yticks=_TICKS, yticklabels=[f"{tick:,}" for tick in _TICKS])
        axes[0].set_ylabel(f"items for one weight, $\\delta = {DELTA:g}$")
        handles = labelled(axes[0])
        order = sorted(handles, key=lambda text: ("proved", "measur", "predic", "counti").index(text[:6]))
        figure.legend([handles[text] for text in order], order, loc="outside lower center", ncols=4)
        return figure


def _panel(ax: Any, group: Group) -> None:
    lines = [theory(group.law, group.target, eps, DELTA) for eps in group.eps]
    theorem, predicted, counted = (np.array([line[name] for line in lines]) for name in _LINES)
    measured, spread = _measured(group)
    ax.plot(group.eps, theorem, color="C1", label="proved sufficient, all $|z| \\leq 1/2$")
    ax.errorbar(
        *(group.eps, measured, spread),
        **{"fmt": "o", "mfc": "white", "elinewidth": 1.0, "capsize": 3, "color": "C0", "zorder": 3},
        label=f"measured, $z = 1/2$, {len(group.hits)} seeds",
    )
    ax.plot(group.eps, predicted, color="C2", label="predicted, $z = 1/2$")
    ax.plot(group.eps, counted, color="0.35", ls=(0, (1, 1.2)), label="counting floor, all $|z| \\leq 1/2$")
    ax.set_xlabel("tolerance of the weight, $\\varepsilon$")
    _compare(ax, group.eps, theorem, measured)


def _measured(group: Group) -> tuple[Any, Any]:
    """n* of all seeds together, and how far down and up the seeds go: shapes [eps] and [2, eps]."""
    trials = group.trials * len(group.hits)
    measured = [items_measured(hits, trials, DELTA) for hits in group.pooled()]
    seeds = [[items_measured(hits, group.trials, DELTA) for hits in of_seed] for of_seed in group.hits]
    if None in measured or any(None in of_seed for of_seed in seeds):
        raise ValueError(f"{group.law}: some tolerances were not reached with the items drawn; raise max_items")
    middle, each = np.array(measured, dtype=float), np.array(seeds, dtype=float)
    return middle, np.array([middle - each.min(axis=0), each.max(axis=0) - middle])


def _compare(ax: Any, eps: Sequence[float], theorem: Any, measured: Any) -> None:
    """Say how far the theorem is from the measurement, near both ends."""
    for i in sorted({len(eps) // 6, -1 - len(eps) // 6 + len(eps)}):
        high, low = float(theorem[i]), float(measured[i])
        ax.plot([eps[i], eps[i]], [low * 1.3, high / 1.15], color="0.6", lw=0.6)
        ax.text(
            *(eps[i], (high * low) ** 0.5, f"{high / low:.0f}×"),
            **{"ha": "center", "va": "center", "color": "0.25", "size": 7},
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )


draw: Final = Drawing(NAME, compose, ALT)
