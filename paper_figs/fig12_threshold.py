"""Random integers that one weight needs to be met exactly: measured failures beside the sharp threshold.

Needs the experiment `quantized_threshold`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments import latest
from experiments.quantized_threshold import Group, QuantizedThreshold, groups, items_at
from paper_figs._drawing import PAGE, Drawing, style
from strongticket import bounds
from strongticket.bounds.kumar2025quantized import failure_predicted

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "NEEDS", "compose", "draw"]

NEEDS: Final = (QuantizedThreshold.name,)
NAME: Final = "fig12_threshold"
CAPTION: Final = (
    "Random integers that meet a target exactly. a: frequency that no subset does, against the number of items; b: "
    "items at which it falls below a half and a hundredth, against the precision; c: the same for products. Points "
    "are of all seeds together, bars reach from the least to the greatest seed, lines are predicted "
    "(kumar2025quantized, borgs2001phase)."
)
ALT: Final = (
    "Three panels. Failure frequencies fall steeply beyond a number of items that grows with the precision, on their "
    "predicted curves; that number grows linearly with the bits of precision; for products of random integers "
    "measured failures lie above the prediction, more so in the paper's blocks."
)
LEAST: Final = 1e-4
DELTAS: Final = (0.5, 0.01)
_SHOWN: Final = (4, 7, 11, 15)


def compose(store: Store) -> Any:
    """Read the most expensive complete preset of `quantized_threshold`.

    Raises:
        MissingRuns: no preset is complete; the message names the command.
    """
    _, runs = latest(QuantizedThreshold, store)
    found = groups(runs)
    plain = [group for group in found if group.kind == "plain"]
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 2.9))
        axes = figure.subplots(1, 3)
        shown = [group for group in plain if group.bits in _SHOWN]
        for i, group in enumerate(shown):
            _failures(axes[0], group, f"C{i}", f"$M = {_power(group.bits)}$", fmt="o", line="-")
        axes[0].set_title("a   plain items, $t = M/2$")
        _threshold(axes[1], plain)
        axes[1].set_title("b   items against precision")
        products = [group for group in found if group.kind != "plain" and group.bits == 4]
        weights = sorted({group.target for group in products})
        for group in products:
            name = f"$w \\approx {_share(group)}$" if group.kind == "odd" else None
            fmt, line = ("o", "-") if group.kind == "odd" else ("s", ":")
            _failures(axes[2], group, f"C{weights.index(group.target)}", name, fmt=fmt, line=line)
        axes[2].set_title("c   products, $M = 16$")
        for ax in (axes[0], axes[2]):
            ax.set(yscale="log", ylim=(LEAST, 1.5), xlabel="items $n$")
        axes[0].set_ylabel("no subset meets the target")
        axes[0].plot([], [], color="0.35", lw=1.0, label="predicted")
        axes[2].plot([], [], color="0.35", ls="", marker="s", ms=3.2, mfc="white", label="paper's blocks")
        axes[1].set_ylim(top=30)  # room for the legend
        axes[2].set_ylim(top=60)
        axes[2].minorticks_off()
        axes[2].set_yticks([10.0**power for power in range(-4, 1)])
        for ax, place in zip(axes, ("lower left", "upper left", "upper right"), strict=True):
            ax.legend(loc=place, handlelength=1.4)
        return figure


def _power(bits: int) -> str:
    return str(1 << bits) if bits < 12 else f"2^{{{bits}}}"


def _share(group: Group) -> str:
    share = round((1 << 2 * group.bits) / group.target)
    return "1" if share == 1 else f"1/{share}"


def _failures(ax: Any, group: Group, color: str, name: str | None, *, fmt: str, line: str) -> None:
    """Frequency of failure with the spread of its seeds, and the prediction as a line."""
    pooled, seeds = np.array(group.pooled()), np.array(group.of_seeds())
    seen = pooled >= LEAST
    n = np.array(group.items)[seen]
    spread = [pooled[seen] - seeds[seen].min(axis=1), seeds[seen].max(axis=1) - pooled[seen]]
    ax.errorbar(
        *(n, pooled[seen], spread),
        **{"fmt": fmt, "ms": 3.2, "mfc": "white", "elinewidth": 0.8, "capsize": 1.5, "color": color, "zorder": 3},
        label=name,
    )
    predicted = [group.predicted(int(m)) for m in group.items]
    ax.plot(group.items, predicted, color=color, ls=line, lw=1.0)


def _threshold(ax: Any, plain: list[Group]) -> None:
    """Where the failure frequency crosses a level, against log2 M, with predictions and the transition."""
    bits = [group.bits for group in plain]
    for i, delta in enumerate(DELTAS):
        measured = [items_at(group.items, group.pooled(), delta) for group in plain]
        ax.plot(
            *(bits, [math.nan if x is None else x for x in measured]),
            **{"ls": "", "marker": "o", "ms": 3.2, "mfc": "white", "color": f"C{i}", "zorder": 3},
            label=f"failing {delta:g}",
        )
        lines = []
        for group in plain:
            half = 1 << group.bits - 1
            shares = [failure_predicted(n, half, 1 << group.bits) for n in group.items]
            lines.append(items_at(group.items, shares, delta))
        ax.plot(bits, [math.nan if x is None else x for x in lines], color=f"C{i}", lw=1.0)
    n = np.arange(2, 24)
    at = bounds.get("kumar2025quantized.transition_bits").curve(n=n)
    inside = (at >= min(bits)) & (at <= max(bits))
    ax.plot(at[inside], n[inside], color="0.35", ls=(0, (1, 1.2)), label="one subset expected")
    ax.set(xlabel="$\\log_2 M$", ylabel="items $n$")


draw: Final = Drawing(NAME, compose, ALT)
