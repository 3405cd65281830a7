"""The figures of docs/reliability.md, from the files that the studies wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["BEGIN", "END", "STUDIES", "figures", "renewed"]

BEGIN: Final = "<!-- figures: python -m experiments.reliability page -->"
END: Final = "<!-- end of the figures -->"
STUDIES: Final = ("kill", "disk", "twice", "fuzz", "hostile")


def figures(folder: Path) -> str:
    """Return the tables as Markdown; a study that was not run is said to be missing.

    Args:
        folder: has the files `reliability_*.json`.
    """
    parts = []
    for name in STUDIES:
        path = folder / f"reliability_{name}.json"
        if not path.exists():
            parts.append(f"### {name}\n\nNot measured: `{path.name}` is missing.")
            continue
        found = json.loads(path.read_bytes())
        parts.append(f"### {name}\n\n{_place(found['environment'])}\n\n{_TABLES[name](found)}")
    return "\n\n".join(parts) + "\n"


def renewed(page: str, folder: Path) -> str:
    """Return a page with the figures between its two marks made anew.

    Raises:
        ValueError: it has not both marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has not both marks, {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{figures(folder)}\n{END}{after}"


def _place(machine: dict[str, Any]) -> str:
    load = " to ".join(f"{machine[key][0]:.1f}" for key in ("load_average_before", "load_average_after"))
    versions = f"Python {machine['python']}, torch {machine['torch']}, numpy {machine['numpy']}"
    revision, plus, _ = (machine["revision"] or "unknown").partition("+")
    changed = " with changes" if plus else ""
    cores = f"{machine['cores']} cores of {machine['cpu']}"
    return f"Revision `{revision[:12]}`{changed}, {versions}, {cores}, load average {load}."


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines: list[Sequence[object]] = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _kill(found: dict[str, Any]) -> str:
    names = ("about", "moments", "kills", "lives", "finished_before_the_kill", "wrong")
    rows = [[row.get(name, "not done") for name in names] for row in found["jobs"]]
    left = found["workers_that_outlived_their_parent"]
    total = f"{found['kills']} kills in {found['lives']} lives, {found['wrong']} wrong"
    table = _table(["job", "moments", "kills", "lives", "ended before a kill", "wrong"], rows)
    return f"{table}\n\n{total}; worker processes that outlived their parent: {left}."


def _disk(found: dict[str, Any]) -> str:
    jobs = [
        [
            row["about"] if "about" in row else row["job"],
            row.get("calls", "not done"),
            row["failed_calls"],
            row.get("ended", {}).get("refused", 0),
            row.get("ended", {}).get("done", 0),
            row["wrong"],
        ]
        for row in found["jobs"]
    ]
    doors = [[f"`{row['command']}`", row["place"], row.get("how", "not done"), row["wrong"]] for row in found["doors"]]
    first = _table(["job", "its calls", "calls failed", "refused", "harmless", "wrong"], jobs)
    return f"{first}\n\n{_table(['command', 'place', 'how', 'wrong'], doors)}"


def _twice(found: dict[str, Any]) -> str:
    rows: list[list[object]] = [
        [row["about"], "not done" if "not_done" in row else row["rounds"], row["wrong"]] for row in found["jobs"]
    ]
    return _table(["job", "rounds", "wrong"], rows)


def _fuzz(found: dict[str, Any]) -> str:
    rows: list[list[object]] = [
        [
            row["kind"],
            f"{row['files']:,}",
            f"{row['refused']:,}",
            f"{row['accepted']:,}",
            row["wrong"],
            f"{1e3 * row['slowest_s']:.1f}",
            f"{row['cpu_s']:.0f}",
        ]
        for row in found["kinds"]
    ]
    return _table(["kind", "files", "refused", "accepted, rightly", "wrong", "slowest, ms", "CPU s"], rows)


def _hostile(found: dict[str, Any]) -> str:
    rows: list[list[object]] = [
        [
            f"{row['kind']}: {row['file']}",
            f"{row['bytes']:,}",
            f"{row['peak_bytes'] / 1e6:.0f}",
            f"{row['cpu_s']:.2f}",
            row["wrong"],
        ]
        for row in found["rows"]
    ]
    return _table(["file", "bytes", "memory, MB", "CPU s", "wrong"], rows)


_TABLES: Final = {"kill": _kill, "disk": _disk, "twice": _twice, "fuzz": _fuzz, "hostile": _hostile}
