"""Measure what is promised: `python -m experiments.reliability kill | disk | twice | fuzz | hostile | page`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["COMMANDS", "Disk", "Fuzz", "Hostile", "Kill", "Page", "Twice", "main"]

PROGRAM: Final = "python -m experiments.reliability"


@dataclass(frozen=True)
class Kill:
    """Kill jobs with SIGKILL, start them again, and compare their ends with undisturbed ones, byte for byte."""

    jobs: tuple[str, ...] = ()
    """which jobs; all if left out"""
    random: int = 20
    """kills of each job at moments drawn evenly from the time that it takes"""
    chosen: int = 12
    """kills of each job before, in and after its calls that change files"""
    seed: int = 0
    """of the moments"""
    out: Path | None = None
    """JSON file to write"""


@dataclass(frozen=True)
class Disk:
    """Let the n-th call that changes a file fail, fill disks, and take away permissions."""

    jobs: tuple[str, ...] = ()
    """which jobs; all if left out"""
    calls: int = 40
    """how many calls of each job fail, one at a time, each with ENOSPC and with EIO: all, or so many evenly"""
    out: Path | None = None
    """JSON file to write"""


@dataclass(frozen=True)
class Twice:
    """Start the same thing twice at once."""

    rounds: int = 5
    """how often"""
    seed: int = 0
    """of the delays between the two"""
    out: Path | None = None
    """JSON file to write"""


@dataclass(frozen=True)
class Fuzz:
    """Read damaged and lying files, made from seeds, one file a seed."""

    tickets: int = 20_000
    """ticket files; the full study has 1,000,000"""
    results: int = 4_000
    """files of a results store; the full study has 100,000"""
    checkpoints: int = 2_000
    """checkpoints of training; the full study has 20,000"""
    stages: int = 2_000
    """stages of iterative pruning; the full study has 20,000"""
    seed: int = 0
    """the first seed"""
    jobs: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """processes"""
    out: Path | None = None
    """JSON file to write"""


@dataclass(frozen=True)
class Hostile:
    """Read files made to exhaust the machine, in processes that may take little memory."""

    out: Path | None = None
    """JSON file to write"""


@dataclass(frozen=True)
class Page:
    """Put the figures of these studies into the page that tells them."""

    page: Path = Path("docs/reliability.md")
    """the page"""
    results: Path = Path("results/benchmarks")
    """folder of the files that the studies wrote"""


def _kill(options: Kill) -> dict[str, Any]:
    from experiments.reliability._kill import kill

    return kill(
        _jobs(options.jobs), at_random_moments=options.random, at_chosen_calls=options.chosen, seed=options.seed
    )


def _disk(options: Disk) -> dict[str, Any]:
    from experiments.reliability._disk import disk

    return disk(_jobs(options.jobs), most=options.calls)


def _twice(options: Twice) -> dict[str, Any]:
    from experiments.reliability._twice import twice

    return twice(options.rounds, options.seed)


def _fuzz(options: Fuzz) -> dict[str, Any]:
    from experiments.reliability._fuzz import KINDS, fuzz

    return fuzz({kind: getattr(options, kind) for kind in KINDS}, seed=options.seed, jobs=options.jobs)


def _hostile(options: Hostile) -> dict[str, Any]:
    from experiments.reliability._hostile import hostile

    return hostile()


Command = Kill | Disk | Twice | Fuzz | Hostile
COMMANDS: Final[dict[str, tuple[type[Any], Callable[[Any], dict[str, Any]]]]] = {
    "kill": (Kill, _kill),
    "disk": (Disk, _disk),
    "twice": (Twice, _twice),
    "fuzz": (Fuzz, _fuzz),
    "hostile": (Hostile, _hostile),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the studies; 0 if everything was as promised, 1 if not or if something was not tried, 2 bad usage."""
    import tyro

    options = tyro.extras.subcommand_cli_from_dict(
        {**{name: given for name, (given, _) in COMMANDS.items()}, "page": Page},
        prog=PROGRAM,
        description="Reliability, measured: docs/reliability.md tells what is promised.",
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes,),
    )
    if isinstance(options, Page):
        from experiments.reliability._report import renewed
        from strongticket._files import write_atomically

        print(write_atomically(options.page, renewed(options.page.read_text(encoding="utf-8"), options.results)))
        return 0
    name, work = next((name, work) for name, (given, work) in COMMANDS.items() if type(options) is given)
    try:
        if options.out is not None:
            from strongticket._files import check_writable

            check_writable(options.out)
        return _measured(name, options, work)
    except (ValueError, OSError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2


def _measured(name: str, options: Any, work: Callable[[Any], dict[str, Any]]) -> int:
    from strongticket._files import canonical_json, write_atomically

    load, began = _load(), time.monotonic()
    found = work(options)
    if options.out is not None:
        from experiments.benchmarks._machine import machine

        parameters = json.loads(json.dumps({key: value for key, value in asdict(options).items() if key != "out"}))
        environment = {**machine(), "load_average_before": load, "load_average_after": _load()}
        whole = {"name": f"reliability_{name}", "parameters": parameters, **found, "environment": environment}
        write_atomically(options.out, canonical_json(whole))
        print(f"written to {options.out}")
    good = not found["wrong"] and not found.get("not_done")
    print(f"{name}: {found['wrong']} wrong, {found.get('not_done', 0)} not done, {time.monotonic() - began:.0f} s")
    return 0 if good else 1


def _jobs(names: Sequence[str]) -> list[str]:
    """The names of jobs; all for none.

    Raises:
        ValueError: there is no such job.
    """
    from experiments.reliability._jobs import JOBS

    unknown = [name for name in names if name not in JOBS]
    if unknown:
        raise ValueError(f"no job {unknown[0]!r}; there are {', '.join(JOBS)}")
    return list(names or JOBS)


def _load() -> list[float]:
    return list(os.getloadavg())


if __name__ == "__main__":
    # before anything computes: children are forked, which only a process of one thread may do
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    sys.exit(main())
