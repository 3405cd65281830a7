"""The command `python -m theory compare`: a table on the terminal, JSON in a file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from strongticket._files import check_writable, write_atomically
from theory._compare import Comparison, Row, Say, compare, make_setting

__all__ = ["show"]


def show(
    target: str,
    eps: float,
    delta: float,
    *,
    papers: tuple[str, ...],
    seed: int,
    seconds: float,
    normalise: bool,
    file: Path | None,
) -> int:
    """Compare, print, write; returns the exit code."""
    if file is not None:
        check_writable(file)
    setting = make_setting(target, eps, delta, seed=seed, seconds=seconds, normalise=normalise)
    with _bars() as say:
        found = compare(setting, only=papers, say=say)
    _print(found)
    if file is not None:
        write_atomically(file, json.dumps(found.to_json(), indent=2) + "\n")
        print(f"written to {file}")
    return 0


@contextlib.contextmanager
def _bars() -> Iterator[Say | None]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task("")
        yield lambda label, done, total: bars.update(task, description=label, completed=done, total=total)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and value < 10_000_000 else f"{value:.3g}"


def _cells(row: Row, limit: float) -> tuple[str, ...]:
    return (
        row.label,
        _number(row.asked_weights),
        _number(row.asked_items),
        _number(row.measured_weights),
        _number(row.measured_items),
        _number(row.kept),
        "-" if row.mask_bits is None or not limit else f"{row.mask_bits / limit:.2f}",
        _number(row.proved),
        _number(row.seconds),
    )


def _print(found: Comparison) -> None:
    console = Console(highlight=False, width=None if Console().is_terminal else 160)
    console.print(
        f"{found.target}: {found.weights:,} weights; eps = {found.eps:g} on the unit ball "
        f"({found.weight_eps:.3g} per weight), delta = {found.delta:g}, seed {found.seed}",
        markup=False,
    )
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("result", overflow="fold")
    for name in (
        "theorem asks: source weights",
        "candidates",
        "suffices: source weights",
        "candidates",
        "kept",
        "mask bits / limit",
        "proved error",
        "seconds",
    ):
        table.add_column(name, justify="right")
    shown = [row for row in found.rows if row.asked_weights is not None or row.measured_weights is not None]
    for row in shown:
        table.add_row(*_cells(row, found.limit_bits))
    console.print(table)
    console.print(
        f"limit of information: {found.limit_bits:.4g} bits of mask, to meet all weights up to the largest of their "
        "layer within the tolerance per weight (pensia2020optimal.theorem2 by counting, in the max norm)",
        markup=False,
    )
    _print_notes(console, found)
    for one in found.crossings:
        other = one.second if one.smaller_below == one.first else one.first
        console.print(
            f"crossing at eps = {one.eps:.3g} ({one.weights:.3g} source weights): below it {one.smaller_below} asks "
            f"for less than {other}, above it for more; "
            + (
                f"planned there: {one.planned[0]:.3g} and {one.planned[1]:.3g}"
                if one.planned
                else f"of the formulas only: {one.refused}"
            ),
            markup=False,
        )
    if not found.crossings:
        console.print("no two formulas of theorems cross between eps = 1e-12 and 0.5", markup=False)
    applicable = {row.label for row in found.rows if row.asked_weights is not None}
    for label, why in found.uncrossed:
        if label in applicable:
            console.print(f"no formula to cross: {label}: {why}", markup=False)


def _print_notes(console: Console, found: Comparison) -> None:
    for row in found.rows:
        asked, measured = row.why("asked"), row.why("measured")
        if row.asked_weights is None and row.measured_weights is None and asked == measured:
            console.print(f"not applicable: {row.label}: {asked}", markup=False)
            continue
        if row.asked_weights is None:
            console.print(f"{row.label}: the theorem says nothing here: {asked}", markup=False)
        how = "measured" if row.measured_weights is not None else "not measured"
        console.print(f"{row.label}: {how}: {measured}", markup=False)
