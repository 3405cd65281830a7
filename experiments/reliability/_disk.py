"""Let every call that changes a file fail in turn, fill disks, take away permissions: files stay old or new."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, final

from experiments.reliability._child import run
from experiments.reliability._faults import Fault
from experiments.reliability._jobs import JOBS, ROOT, Job, warm
from experiments.reliability._kill import Undisturbed, faults_found, starts
from experiments.reliability._places import PLACES, full_disk, limit_file_size, read_only

__all__ = ["DOORS", "Door", "disk", "doors", "failing_job"]

ERRORS: Final = (errno.ENOSPC, errno.EIO)


def failing_job(job: Job, name: str, most: int) -> dict[str, Any]:
    """Let the n-th call of a job fail, for all n or `most` of them, then do it again undisturbed.

    The job must end well (a call whose failure harms nothing) or be refused by an OSError, its files must be what they
    would be undisturbed or not there, and the same command again must end as if nothing had happened.
    """
    ended: Counter[str] = Counter()
    tried, wrong = 0, list[str]()
    with TemporaryDirectory(prefix="reliability-") as place:
        whole = Undisturbed.of(job, Path(place) / "whole")
        for number in _spread(len(whole.calls), most):
            for error in ERRORS:
                folder = Path(place) / f"{number}-{error}"
                folder.mkdir()
                end = starts(job, folder, Fault(number, error))
                ended[end.how] += 1
                tried += 1
                at = f"{whole.calls[number - 1]} (call {number}) fails with {errno.errorcode[error]}"
                if end.how not in ("done", "refused"):
                    wrong.append(f"{at}: {end.how}: {end.message}")
                wrong += [f"{at}: {line}" for line in faults_found(job, folder, whole, over=False)]
                again = starts(job, folder)
                if again.how != "done":
                    wrong.append(f"{at}: the same command again is {again.how}: {again.message}")
                wrong += [f"{at}, then again: {line}" for line in faults_found(job, folder, whole, over=True)]
                shutil.rmtree(folder)
    return {
        "job": name,
        "about": job.about,
        "calls": len(whole.calls),
        "failed_calls": tried,
        "ended": dict(ended),
        "wrong": len(wrong),
        "what": wrong[:10],
    }


def _spread(count: int, most: int) -> list[int]:
    """Numbers from 1 to `count`: all, or so many of them, evenly."""
    if count <= most:
        return list(range(1, count + 1))
    return sorted({1 + round(i * (count - 1) / (most - 1)) for i in range(most)})


@final
@dataclass(frozen=True)
class Door:
    """A command of ours that writes, given where it cannot.

    Attributes:
        words: of the command line; FOLDER is where it shall write, GIVEN has a target file.
        module: its `main` is called with them.
        written: a file that is there already and that it would replace, by its name in the folder; "" for none.
    """

    words: tuple[str, ...]
    module: str
    written: str = ""


_TICKET: Final = "FOLDER/ticket.slt"
DOORS: Final[tuple[Door, ...]] = (
    Door(
        ("construct", "GIVEN/target.safetensors", "--items", "18", "--out", _TICKET), "strongticket.cli", "ticket.slt"
    ),
    Door(
        ("find", "--data", "digits", "--model", "mlp-64-16-10", "--epochs", "1", "--out", _TICKET),
        "strongticket.cli",
        "ticket.slt",
    ),
    Door(
        ("train", "--data", "digits", "--epochs", "1", "--out", "FOLDER/net.safetensors"),
        "strongticket.cli",
        "net.safetensors",
    ),
    Door(
        ("run", "quantized_threshold", "--preset", "quick", "--jobs", "1", "--results", "FOLDER"),
        "experiments.__main__",
    ),
    Door(("demo", "--model", "mlp-64-8-10", "--trials", "0", "--out", "FOLDER"), "experiments.__main__", "ticket.slt"),
    Door(("fig05", "--out", "FOLDER"), "paper_figs.__main__", "fig05_speed.pdf"),
)


def doors(chosen: Sequence[Door] = DOORS) -> list[dict[str, Any]]:
    """Give each command a place that it cannot write: status 2, a line that says why, no traceback, nothing lost."""
    with TemporaryDirectory(prefix="reliability-") as scratch:
        given = Path(scratch) / "given"
        given.mkdir()
        made = run(lambda: JOBS["construction"].run(given))
        if made.how != "done":
            raise RuntimeError(f"no target to construct: {made.message}")
        return [
            {"command": " ".join(door.words), "place": kind, **_tried(door, kind, Path(scratch))}
            for door in chosen
            for kind in PLACES
        ]


def _tried(door: Door, kind: str, scratch: Path) -> dict[str, Any]:
    folder, said = scratch / "folder", scratch / "said"
    folder.mkdir()
    said.write_bytes(b"")
    if door.written:
        (folder / door.written).write_bytes(b"old")
    words = [w.replace("FOLDER", str(folder)).replace("GIVEN", str(scratch / "given")) for w in door.words]
    before = _content(folder)
    try:
        with contextlib.ExitStack() as stack:
            how = _arranged(kind, folder, stack)
            end = run(lambda: _called(door.module, words, kind), said=said)
            after = {name: value for name, value in _content(folder).items() if name != ".filler"}
    except PermissionError as error:
        return {"not_done": str(error), "wrong": 0}
    finally:
        shutil.rmtree(folder)
    text = said.read_text(errors="replace")
    wrong = []
    if end.how != "done" or end.value != 2:
        wrong.append(f"status {end.value}, {end.how} {end.message}")
    if "Traceback" in text:
        wrong.append("it shows a traceback")
    if not text.strip() or "\u256d" in text:  # the frame around what is said of misspelt options
        wrong.append("it does not say why")
    wrong += [f"{name} was changed" for name in before if after.get(name) != before[name]]
    wrong += [f"{name} is left behind" for name in after if name not in before and not name.endswith(".json")]
    return {"how": how, "says": (text.strip().splitlines() or [""])[-1][-300:], "wrong": len(wrong), "what": wrong}


def _arranged(kind: str, folder: Path, stack: contextlib.ExitStack) -> str:
    if kind == "file size limit":
        return "RLIMIT_FSIZE"
    place: Callable[[Path], contextlib.AbstractContextManager[str]] = full_disk if kind == "full disk" else read_only
    return stack.enter_context(place(folder))


def _called(module: str, words: list[str], kind: str) -> int:
    os.chdir(ROOT)
    main = importlib.import_module(module).main
    if kind == "file size limit":
        limit_file_size()
    try:
        return int(main(words))
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def disk(names: Sequence[str], *, most: int) -> dict[str, Any]:
    """Do both; see `failing_job` and `doors`."""
    names = [name for name in names if not JOBS[name].program]
    warm(names)
    began, rows = time.monotonic(), list[dict[str, Any]]()
    for name in names:
        try:
            rows.append(failing_job(JOBS[name], name, most))
            told = f"{rows[-1]['failed_calls']} calls failed, {rows[-1]['ended']}, {rows[-1]['wrong']} wrong"
        except RuntimeError as error:
            rows.append({"job": name, "not_done": str(error), "wrong": 0, "failed_calls": 0})
            told = f"not done: {error}"
        print("\n    ".join([f"{name:>13}: {told}", *rows[-1].get("what", ())]), flush=True)
    tried = doors()
    for row in tried:
        print(
            "\n    ".join(
                [f"{row['place']}: {row['command']}: {row.get('says', row.get('not_done'))}", *row.get("what", ())]
            )
        )
    return {
        "failed_calls": sum(row["failed_calls"] for row in rows),
        "wrong": sum(row["wrong"] for row in [*rows, *tried]),
        "seconds": time.monotonic() - began,
        "jobs": rows,
        "doors": tried,
        "not_done": sum("not_done" in row for row in [*rows, *tried]),
    }
