"""Kill jobs with a signal that cannot be caught, start them again, and compare with a run that nobody disturbed."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, final

from experiments.reliability._child import End, run
from experiments.reliability._faults import MOMENTS, Fault, Moment, install
from experiments.reliability._jobs import JOBS, Job, warm

__all__ = ["Undisturbed", "aims", "kill", "killed_job", "starts"]

KILLS_A_LIFE: Final = 6  # then a job may finish


@final
@dataclass(frozen=True)
class Undisturbed:
    """A job that nobody disturbed.

    Attributes:
        seconds: wall time.
        calls: the calls that changed files, in order; none of a program.
        looks: what its files came to, by path.
    """

    seconds: float
    calls: tuple[str, ...]
    looks: dict[str, str]

    @classmethod
    def of(cls, job: Job, folder: Path) -> Undisturbed:
        """Do a job in a fresh folder.

        Raises:
            RuntimeError: it does not end well, or leaves files that it does not know.
        """
        folder.mkdir()
        end = starts(job, folder)
        if end.how != "done" or job.leftovers(folder):
            raise RuntimeError(f"undisturbed, the job ends with {end} and leaves {job.leftovers(folder)}")
        return cls(end.seconds, tuple(end.value or ()), look(job, folder))


def starts(job: Job, folder: Path, fault: Fault | None = None, kill_after: float | None = None) -> End:
    """Start a job in a child, perhaps with a fault planted or to be killed after so many seconds."""

    def work() -> list[str]:
        seen = [] if job.program else install(folder, fault or Fault())
        job.run(folder)
        return list(seen)

    return run(work, kill_after=kill_after, said=folder.parent / "said")


def look(job: Job, folder: Path) -> dict[str, str]:
    """Return what the files of a job come to, read in a child.

    Raises:
        RuntimeError: one cannot be read.
    """
    end = run(lambda: job.look(folder))
    if end.how != "done":
        raise RuntimeError(f"a file cannot be read: {end.message}")
    return dict(end.value)


def faults_found(job: Job, folder: Path, whole: Undisturbed, *, over: bool) -> list[str]:
    """Return what is not as it should be in the folder of a job that was disturbed, or that is over."""
    try:
        found = look(job, folder)
    except RuntimeError as error:
        return [str(error)]
    wrong = [
        f"{name} is not what it is undisturbed"
        for name, value in found.items()
        if value != whole.looks.get(name) and (over or not (job.rewrites or name.endswith(".jsonl")))
    ]
    if over:
        wrong += [f"{name} is missing" for name in whole.looks if name not in found]
        wrong += [f"{name} is left behind" for name in job.leftovers(folder)]
    return wrong


def killed_job(
    job: Job, name: str, moments: Callable[[Undisturbed], Iterator[tuple[Fault | None, float | None]]], kills: int
) -> dict[str, Any]:
    """Kill a job so often, in as many lives as that takes, and compare every life's end with the undisturbed one.

    Args:
        job: the job.
        name: what it is called in the answer.
        moments: gives for each start a fault that kills, or when to kill, as a share of the time that the whole takes.
        kills: how many in all.
    """
    count, finished, lives, survivors, wrong = 0, 0, 0, 0, list[str]()
    where: Counter[str] = Counter()
    with TemporaryDirectory(prefix="reliability-") as place:
        whole = Undisturbed.of(job, Path(place) / "whole")
        wanted, seconds = moments(whole), whole.seconds
        while count < kills:
            folder = Path(place) / f"life{lives}"
            folder.mkdir()
            lives += 1
            ended, fault = False, None
            for _ in range(min(KILLS_A_LIFE, kills - count)):
                given = next(wanted, None)
                if given is None:
                    kills = count  # every moment that was asked for has had its turn
                    break
                fault, share = given
                fresh = not any(folder.iterdir())
                end = starts(job, folder, fault, None if share is None else share * seconds)
                survivors += end.survivors
                if fresh and end.how == "done":
                    seconds = min(seconds, end.seconds)  # the machine was busier before
                if end.how == "killed":
                    count += 1
                    where["random" if fault is None else f"{fault.moment} {whole.calls[fault.call - 1]}"] += 1
                elif end.how == "done":
                    ended = True  # before it could be killed
                    finished += 1
                else:
                    wrong.append(f"killed {count} times, the next start says: {end.message}")
                wrong += faults_found(job, folder, whole, over=False)
                if ended or fault is not None:
                    break
            last = starts(job, folder)  # the same command again
            if last.how != "done":
                wrong.append(f"the last start says: {last.message}")
            at = "" if fault is None else f" (killed {fault.moment} call {fault.call}, {whole.calls[fault.call - 1]})"
            wrong += [f"{line}{at}" for line in faults_found(job, folder, whole, over=True)]
            shutil.rmtree(folder)
    return {
        "job": name,
        "about": job.about,
        "seconds": seconds,
        "calls": len(whole.calls),
        "lives": lives,
        "kills": count,
        "finished_before_the_kill": finished,
        "where": dict(sorted(where.items())),
        "workers_that_outlived_their_parent": survivors,
        "wrong": len(wrong),
        "what": sorted(set(wrong))[:10],
    }


def at_random(seed: int) -> Callable[[Undisturbed], Iterator[tuple[Fault | None, float | None]]]:
    """Moments drawn evenly from the time that the whole job takes."""

    def moments(whole: Undisturbed) -> Iterator[tuple[Fault | None, float | None]]:
        generator = random.Random(seed)
        while True:
            yield None, generator.random()

    return moments


def aims(calls: Sequence[str], most: int, seed: int = 0) -> list[tuple[int, Moment]]:
    """Return places to kill at, (number of the call, moment), evenly spread; each kind of call in each moment first.

    >>> aims(["open", "write"], 10)
    [(1, 'before'), (1, 'after'), (2, 'before'), (2, 'half'), (2, 'after')]
    """
    generator = random.Random(seed)
    places = [(i, m) for i, call in enumerate(calls, 1) for m in MOMENTS if m != "half" or call == "write"]
    kinds: dict[tuple[str, Moment], list[tuple[int, Moment]]] = {}
    for place in places:
        kinds.setdefault((calls[place[0] - 1], place[1]), []).append(place)
    chosen = {generator.choice(kind) for kind in kinds.values()} if len(places) > most else set(places)
    rest = [place for place in places if place not in chosen]
    more = max(0, most - len(chosen))
    return sorted(chosen | set(generator.sample(rest, min(more, len(rest)))), key=places.index)


def at_calls(most: int, seed: int) -> Callable[[Undisturbed], Iterator[tuple[Fault | None, float | None]]]:
    """Before, in and after the calls that change files."""

    def moments(whole: Undisturbed) -> Iterator[tuple[Fault | None, float | None]]:
        for call, moment in aims(whole.calls, most, seed):
            yield Fault(call, moment=moment), None

    return moments


def kill(names: Sequence[str], *, at_random_moments: int, at_chosen_calls: int, seed: int) -> dict[str, Any]:
    """Kill each of these jobs so often at random moments, and at so many chosen calls; see `killed_job`."""
    warm(names)
    rows, began = [], time.monotonic()
    for name in names:
        job = JOBS[name]
        for kind, moments, kills in (
            ("random", at_random(seed), -(-at_random_moments // 2) if job.program else at_random_moments),
            ("chosen", at_calls(at_chosen_calls, seed), 0 if job.program else at_chosen_calls),
        ):
            if kills:
                try:
                    rows.append({"moments": kind, **killed_job(job, name, moments, kills)})
                except RuntimeError as error:
                    rows.append({"moments": kind, "job": name, "about": job.about, "not_done": str(error)})
                print(summary(rows[-1]), flush=True)
    done = [row for row in rows if "kills" in row]
    totals = {key: sum(row[key] for row in done) for key in ("kills", "lives", "wrong")}
    totals["workers_that_outlived_their_parent"] = sum(row["workers_that_outlived_their_parent"] for row in done)
    return {**totals, "seconds": time.monotonic() - began, "jobs": rows, "not_done": len(rows) - len(done)}


def summary(row: dict[str, Any]) -> str:
    """A row in a line."""
    if "not_done" in row:
        return f"{row['job']:>13} {row['moments']:>7}: not done: {row['not_done']}"
    wrong = "".join(f"\n    {line}" for line in row["what"])
    lives = f"{row['lives']} lives of {row['seconds']:.2f} s"
    return f"{row['job']:>13} {row['moments']:>7}: {row['kills']} kills in {lives}, {row['wrong']} wrong{wrong}"
