"""How the commands print: tables for people, JSON for programs, times and sizes as one says them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

__all__ = ["print_json", "rate", "say", "show", "size", "span"]


def say(text: str) -> None:
    """Tell a person, on standard error."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """Print for a program, on standard output."""
    print(json.dumps(value, indent=2, allow_nan=False))


def show(rows: Sequence[Mapping[str, Any]], title: str, *, as_json: bool = False, width: int | None = None) -> None:
    """Print rows as a table, or as JSON; a width that is given is kept, by breaking cells."""
    if as_json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in columns:
        justify: Literal["left", "right"] = "left" if any(isinstance(row.get(name), str) for row in rows) else "right"
        table.add_column(name, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    Console(width=width or (None if sys.stdout.isatty() else 160)).print(table)


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))


def span(seconds: float) -> str:
    """Return a length of time in words.

    >>> [span(seconds) for seconds in (0.04, 7.2, 600, 20_000, 400_000)]
    ['0.0 s', '7.2 s', '10 min', '5.6 h', '4.6 days']
    """
    for most, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < most:
            value = seconds / unit
            return f"{value:.0f} {name}" if value >= 10 else f"{value:.1f} {name}"
    return f"{seconds / 86_400:.1f} days"


def rate(per_second: float) -> str:
    """Return how fast runs go by.

    >>> rate(12.34), rate(0.5), rate(0.001)
    ('12.3/s', '30.0/min', '3.6/h')
    """
    for least, unit, name in ((1.0, 1, "s"), (1 / 60, 60, "min")):
        if per_second >= least:
            return f"{per_second * unit:.1f}/{name}"
    return f"{per_second * 3600:.1f}/h"


def size(count: int) -> str:
    """Return a number of bytes in words.

    >>> size(900), size(20_000)
    ('900 B', '20.0 kB')
    """
    for power, name in ((9, "GB"), (6, "MB"), (3, "kB")):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {name}"
    return f"{count} B"
