"""Start the same thing twice at once: the ends must be those of one, and nothing may be lost."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from experiments.reliability._child import Child, End
from experiments.reliability._jobs import JOBS, Job, warm
from experiments.reliability._kill import Undisturbed, faults_found

__all__ = ["TOGETHER", "twice", "twice_of"]

TOGETHER: Final = ("construction", "tickets", "store", "stages", "collect", "figure", "command")
"""Jobs that two processes may do in one folder; a checkpoint's folder is promised to one run only."""


def twice_of(job: Job, whole: Undisturbed, place: Path, delay: float, watch: bool) -> list[str]:
    """Start a job twice in one folder, the second after so many seconds; what is not as it should be.

    Args:
        job: the job.
        whole: the job undisturbed.
        place: where the folder is made.
        delay: seconds between the two starts.
        watch: read all files all along, too.
    """
    folder = place / "both"
    folder.mkdir()
    wrong: list[str] = []
    try:
        first = Child(lambda: job.run(folder), place / "said")
        time.sleep(delay)
        second = Child(lambda: job.run(folder), place / "said")
        while watch and (first.running() or second.running()):
            wrong += [f"while both are at work: {line}" for line in faults_found(job, folder, whole, over=False)]
        ends: list[End] = [first.end(), second.end()]
        wrong += [f"one of the two is {end.how}: {end.message}" for end in ends if end.how != "done"]
        return wrong + faults_found(job, folder, whole, over=True)
    finally:
        shutil.rmtree(folder)


def twice(rounds: int, seed: int, names: Sequence[str] = TOGETHER) -> dict[str, Any]:
    """Do each job twice at once, so often; see `twice_of`."""
    warm(names)
    generator, rows, began = random.Random(seed), list[dict[str, Any]](), time.monotonic()
    for name in names:
        job, wrong = JOBS[name], list[str]()
        row: dict[str, Any] = {"job": name, "about": job.about, "rounds": rounds}
        with TemporaryDirectory(prefix="reliability-") as place:
            try:
                whole = Undisturbed.of(job, Path(place) / "whole")
            except RuntimeError as error:
                rows.append({**row, "not_done": str(error), "wrong": 0})
                print(f"{name:>13}: not done: {error}", flush=True)
                continue
            for i in range(rounds):
                delay = 0.0 if i % 2 == 0 else generator.uniform(0.0, whole.seconds)
                wrong += twice_of(job, whole, Path(place), delay, watch=job.rewrites)
        rows.append({**row, "wrong": len(wrong), "what": sorted(set(wrong))[:10]})
        print("\n    ".join([f"{name:>13}: {rounds} rounds, {len(wrong)} wrong", *rows[-1]["what"]]), flush=True)
    return {
        "rounds": sum(row["rounds"] for row in rows if "not_done" not in row),
        "wrong": sum(row["wrong"] for row in rows),
        "seconds": time.monotonic() - began,
        "jobs": rows,
        "not_done": sum("not_done" in row for row in rows),
    }
