"""Tables on standard output, progress on standard error; plain text where a terminal or rich is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar", "table"]


def table(title: str, rows: list[tuple[str, object]]) -> None:
    """Print a title and aligned rows; nothing is cut, long values go on in their column."""
    import shutil
    import textwrap

    width = max((len(name) for name, _ in rows), default=0) + 2
    room = max(40, shutil.get_terminal_size((120, 24)).columns - width)
    print(title)
    for name, value in rows:
        lines = []
        for line in str(value).splitlines() or [""]:
            lines += textwrap.wrap(line.strip(), room, break_long_words=False, break_on_hyphens=False) or [""]
        print(f"{name:<{width}}{lines[0]}")
        for line in lines[1:]:
            print(" " * width + line)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None] | None]:
    """Offer a function (stage, done, total) that draws a bar on standard error; None where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import Progress, TaskID
    except ModuleNotFoundError:
        yield None
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield show
