"""A benchmark's result as text and as a file: ratios like with like, tables for a terminal, JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from strongticket._files import canonical_json, check_writable, write_atomically

__all__ = ["deliver", "ratios", "tables"]

Row = Mapping[str, Any]
_PLAIN: Final = ("merge + two pointers", "torch sort + search", "numpy brute force")
_QUESTIONS: Final = {
    "minimum": ("min_error",),
    "within eps": ("first_hit", "sparsest"),  # a sparsest subset within eps is a subset within eps: the faster counts
    "sparsest within eps": ("sparsest",),
}


def deliver(run: Callable[[], dict[str, Any]], text: Callable[[dict[str, Any]], str], out: Path | None) -> None:
    """Run a benchmark, print its tables, and write its result as JSON if a file is named.

    Args:
        run: returns the result.
        text: makes the tables of it.
        out: the file.

    Raises:
        OSError: the file could not be written; said before the benchmark begins.
    """
    if out is not None:
        check_writable(out)
    result = run()
    print(text(result))
    if out is not None:
        write_atomically(out, canonical_json(result) + "\n")
        print(f"written to {out}")


def ratios(rows: Sequence[Row], peers: Sequence[Row]) -> list[dict[str, Any]]:
    """How many times as long each peer takes as the engine, for the same question about the same instances.

    Both are CPU seconds per instance on one thread, the engine's by its fastest backend. Of the general solvers the
    median counts, which their slow instances do not touch; of the rest the mean over the batch.

    >>> common = {"kind": "uniform", "objective": "min_error", "n": 21, "targets_per_pool": None, "eps": None}
    >>> rows = [{**common, "method": "numba:int32", "us": 0.5}, {**common, "method": "numpy brute force", "us": 5e3}]
    >>> [(row["peer"], row["ours"], row["ratio"]) for row in ratios(rows, [])]
    [('numpy brute force', 'numba:int32', 10000.0)]
    """
    alike = [row for row in rows if "us" in row and row["kind"] == "uniform" and row["targets_per_pool"] is None]
    asked = [
        {"peer": row["method"], "task": "minimum", "n": row["n"], "us": row["us"], "eps": None}
        for row in alike
        if row["method"] in _PLAIN
    ] + [
        {**{name: row[name] for name in ("peer", "task", "n", "eps")}, "us": 1e6 * row["median_s"]}
        for row in peers
        if "median_s" in row
    ]
    found = []
    for row in asked:
        engine = [
            our
            for our in alike
            if (our["n"], our["eps"]) == (row["n"], row["eps"])
            and our["objective"] in _QUESTIONS[row["task"]]
            and our["method"] not in _PLAIN
        ]
        if engine:
            best = min(engine, key=lambda our: float(our["us"]))
            names = {"ours": best["method"], "ours_objective": best["objective"], "ours_us": best["us"]}
            found.append({**row, **names, "ratio": row["us"] / best["us"]})
    return sorted(found, key=lambda row: (list(_QUESTIONS).index(row["task"]), row["n"], row["ratio"]))


def tables(result: Mapping[str, Any]) -> str:
    """All that was measured, as text for a terminal."""
    blocks = ["CPU microseconds per instance of whole calls, one thread (- : not measured)", *_grids(result["rows"])]
    if result["gpu"].get("rows"):
        blocks += [f"wall microseconds per instance, {result['gpu']['device']}", *_grids(result["gpu"]["rows"])]
    else:
        blocks += [f"GPU: {result['gpu']['status']}"]
    for title, rows, columns in (
        (_kernel_title(result["roofline"]), "kernels", "method kind n us bound_us fraction"),
        ("a whole network in one call, CPU seconds", "network", "kind objective method n instances cpu_s"),
        (
            "first call of a fresh process, wall seconds (64 instances, n = 21)",
            "start_up",
            "kind objective method cache import_s first_s first_cpu_s second_s skipped",
        ),
        (
            "general solvers, CPU seconds per instance (excess error in units of the values)",
            "peers",
            "peer task n instances median_s mean_s max_s unproved missed beyond_eps excess_median excess_max "
            "excess_size_max status",
        ),
        (
            "times as long as the engine, for the same question about the same instances",
            "ratios",
            "task n peer us ours ours_objective ours_us ratio",
        ),
    ):
        blocks.append(f"{title}\n{_lines(result[rows], columns.split())}")
    return "\n\n".join(blocks)


def _kernel_title(roofline: Row) -> str:
    return f"kernel alone, exact minimum ({roofline.get('status', 'bound: its arithmetic at the rate of this core')})"


def _grids(rows: Sequence[Row]) -> list[str]:
    titles = dict.fromkeys(_title(row) for row in rows)
    return [f"{title}\n{_grid([row for row in rows if _title(row) == title])}" for title in titles]


def _title(row: Row) -> str:
    return f"{row['question']} [{row['kind']}]"


def _grid(rows: Sequence[Row]) -> str:
    """A line for each number of items, a column for each method."""
    names = list(dict.fromkeys(row["method"] for row in rows))
    found = {(row["n"], row["method"]): row for row in rows}
    lines = (
        [str(n), *(_cell(found.get((n, name), {}).get("us")) for name in names)]
        for n in dict.fromkeys(row["n"] for row in rows)
    )
    return _aligned([["n", *names], *lines])


def _lines(rows: Sequence[Row], columns: Iterable[str]) -> str:
    """A line for each row; columns that no row has are left out."""
    shown = [name for name in columns if any(row.get(name) is not None for row in rows)]
    return _aligned([shown, *([_cell(row.get(name)) for name in shown] for row in rows)])


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _aligned(table: Sequence[Sequence[str]]) -> str:
    if not table or not table[0]:
        return "  nothing"
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  " + "  ".join(f"{cell:>{w}}" for cell, w in zip(line, widths, strict=True)) for line in table)
