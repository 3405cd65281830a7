"""How fast subset sums are solved: each method against n with the bound of the processor, and ratios like with like."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from experiments import MissingRuns
from paper_figs._drawing import PAGE, Drawing, style

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["ALT", "CAPTION", "COMMAND", "NEEDS", "RESULT", "compose", "draw"]

NEEDS: Final = ()  # no experiment: a benchmark, whose figures depend on the machine
NAME: Final = "fig05_speed"
CAPTION: Final = (
    "Exact subset sums. a: processor time per instance against the number of items, for the engine's kernels, other "
    "methods and general solvers, with the bound of the processor's operations dotted; for the solvers medians, and "
    "lines up to the slowest instance. b: how many times as long as the engine each method takes for the same "
    "question. One machine, one core; ratios carry over, seconds do not."
)
ALT: Final = (
    "Left, curves of microseconds per instance that grow exponentially with the number of items: general solvers "
    "highest, the engine's vector kernels lowest, just above their dotted bounds. Right, bars of ratios on a "
    "logarithmic axis, grouped by question."
)
RESULT: Final = "benchmarks/subset_sum.json"
"""What it is drawn from, in the results folder."""
COMMAND: Final = "python -m experiments.benchmarks.subset_sum --peers --out {path}"
"""What makes it."""
_COMPARED: Final = 21  # the number of items of the published ticket code

_ENGINE: Final = (
    ("uniform", "numba:int32", "vector, 32 bits", "C0", "o"),
    ("product", "numba:int64", "vector, 64 bits", "C4", "o"),
    ("product", "numba-plain", "plain loops", "C2", "s"),
    ("product", "torch", "torch", "C3", "D"),
)
_PEERS: Final = (
    ("merge + two pointers", "merge, two pointers", "0.35", "v"),
    ("torch sort + search", "torch sort, search", "0.5", "^"),
    ("numpy brute force", "numpy, all sums", "0.65", "x"),
)
_GENERAL: Final = (("HiGHS", "C1", "P"), ("CP-SAT", "C5", "X"))
_TASKS: Final = {
    "minimum": "minimum",
    "within eps": "any within $\\varepsilon$",
    "sparsest within eps": "sparsest within $\\varepsilon$",
}


def compose(store: Store) -> Any:
    """Read benchmarks/subset_sum.json of the results.

    Raises:
        MissingRuns: there is no such file, or an old one; the message names the command.
    """
    path = store.folder / RESULT
    result = json.loads(path.read_text()) if path.is_file() else {}
    if "ratios" not in result:  # no file, or one of an older benchmark
        raise MissingRuns(f"not in {path}: {COMMAND.format(path=path)}, about ten minutes")
    with style() as figure_class:
        figure = figure_class(figsize=(PAGE, 3.5))
        speed, ratio = figure.subplots(1, 2, width_ratios=(1.15, 1))
        _speed(speed, result)
        _ratios(ratio, result["ratios"])
        figure.legend(*speed.get_legend_handles_labels(), loc="outside lower center", ncols=5)
        return figure


def _speed(ax: Any, result: Mapping[str, Any]) -> None:
    rows = [row for row in result["rows"] if row["objective"] == "min_error" and row["targets_per_pool"] is None]
    for kind, method, label, colour, mark in _ENGINE:
        _line(ax, [row for row in rows if (row["kind"], row["method"]) == (kind, method)], "us", label, colour, mark)
    for method, label, colour, mark in _PEERS:
        _line(ax, [row for row in rows if row["method"] == method], "us", label, colour, mark)
    for peer, colour, mark in _GENERAL:
        asked = [row for row in result["peers"] if row["peer"] == peer and row.get("task") == "minimum"]
        _line(ax, [{**row, "us": 1e6 * row["median_s"]} for row in asked], "us", f"{peer}, median", colour, mark)
        for row in asked:  # up to the slowest instance
            ax.plot([row["n"]] * 2, [1e6 * row["median_s"], 1e6 * row["max_s"]], color=colour, lw=0.6)
    for _, method, _, colour, _ in _ENGINE[:2]:
        bound = [row for row in result["kernels"] if row["method"] == method and "bound_us" in row]
        _line(ax, bound, "bound_us", f"bound, {method[-2:]} bits", colour, "", ls=(0, (1, 1.2)))
    sizes = sorted({row["n"] for row in rows})
    ticks = [n for n in sizes if n % 4 == 0] or sizes
    ax.set(xticks=ticks, yscale="log", xlabel="items, $n$", ylabel="CPU microseconds per instance, one core")
    ax.set_title("a   exact minimum")


def _line(
    ax: Any, rows: Sequence[Mapping[str, Any]], value: str, label: str, colour: str, mark: str, **how: Any
) -> None:
    points = sorted((row["n"], row[value]) for row in rows if value in row)
    if points:
        ax.plot(*zip(*points, strict=True), marker=mark, color=colour, label=label, ms=3, **({"lw": 1.0} | how))


def _ratios(ax: Any, ratios: Sequence[Mapping[str, Any]]) -> None:
    """A bar for each peer, grouped by the question that both were asked."""
    sizes = {row["n"] for row in ratios}
    n = _COMPARED if _COMPARED in sizes else max(sizes, default=_COMPARED)
    colours = {peer: colour for peer, colour, _ in _GENERAL} | {peer: colour for peer, _, colour, _ in _PEERS}
    place, ticks, names = 0.0, [], []
    for task, words in _TASKS.items():
        bars = [row for row in ratios if row["n"] == n and row["task"] == task]
        if not bars:
            continue
        ticks.append(place)
        names.append(words)
        place += 0.9
        for row in sorted(bars, key=lambda row: -row["ratio"]):
            ax.barh(place, row["ratio"], color=colours[row["peer"]], height=0.75)
            ax.annotate(
                f"{_round(row['ratio'])}×",
                (row["ratio"], place),
                (3, 0),
                textcoords="offset points",
                va="center",
                size=7,
            )
            ticks.append(place)
            names.append(row["peer"])
            place += 1
        place += 0.3
    ax.set_yticks(ticks, names)
    for label in ax.get_yticklabels():
        if label.get_text() in _TASKS.values():
            label.set_fontweight("bold")
    highest = max((row["ratio"] for row in ratios if row["n"] == n), default=1.0)
    ax.set(xscale="log", xlim=(1, 100 * highest), xlabel="times as long as the engine")
    ax.set_ylim(place - 0.6, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.set_title(f"b   like with like, n = {n}")


def _round(ratio: float) -> str:
    """Two digits are all that a timing has.

    >>> _round(1234567.0), _round(34.5), _round(2.345)
    ('1,200,000', '34', '2.3')
    """
    shown = float(f"{ratio:.2g}")
    return f"{shown:,.0f}" if shown >= 10 else f"{shown:g}"


draw: Final = Drawing(NAME, compose, ALT)
