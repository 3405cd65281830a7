"""Tables on standard output, progress on standard error; plain text where a terminal or rich is missing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strongticket.training import Epoch

__all__ = ["emit", "epoch_bar", "epoch_text", "progress_bar", "table", "while_read"]


def while_read(run: Callable[[], int]) -> int:
    """Run a command to its exit status; 141 if whoever read its output left early, as `head` does.

    A closed pipe is noticed only when the buffer is flushed, which may be at the very end, and after `SystemExit`.

    Args:
        run: prints, and returns an exit status.
    """
    try:
        try:
            return run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)  # or the interpreter stumbles over what is still in the buffer
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return 141


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


def emit(as_json: bool, value: dict[str, Any], title: str, rows: list[tuple[str, object]]) -> None:
    """Print a result, as JSON or as a table."""
    import json

    if as_json:
        print(json.dumps(value, indent=2, allow_nan=False))
    else:
        table(title, rows)


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


@contextmanager
def epoch_bar(total: int) -> Iterator[Callable[[Epoch], None] | None]:
    """Offer a function (epoch) that draws a search's progress on standard error: bar, accuracy and flips of the mask.

    Without rich it writes a line per epoch; it is None where nobody would see either.
    """
    if not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ModuleNotFoundError:
        yield lambda epoch: print(f"epoch {epoch.number} of {total}: {epoch_text(epoch)}", file=sys.stderr, flush=True)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[state]}"))
    with Progress(TextColumn("epochs"), *columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("epochs", total=total, state="")

        def show(epoch: Epoch) -> None:
            bar.update(row, completed=epoch.number, state=epoch_text(epoch))

        yield show


def epoch_text(epoch: Epoch) -> str:
    """Say in a line how a search stands after an epoch."""
    parts = [f"accuracy {100 * epoch.accuracy:.2f} %"]
    if epoch.validation_accuracy is not None:
        parts.append(f"validation {100 * epoch.validation_accuracy:.2f} %")
    if "flips" in epoch.details:
        parts.append(f"{epoch.details['flips']:,} of the mask flipped")
    return ", ".join(parts)
