"""`run --dry-run`: what would run, and how long it may take, judged by runs that have been done."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from experiments._commands_show import print_json, say, show, span
from experiments._experiment import AbstractExperiment
from strongticket._files import canonical_json
from strongticket.runs import Record, Spec, Store

if TYPE_CHECKING:
    from experiments._commands_options import Run

__all__ = ["Estimate", "dry_run", "estimate", "grouped"]

_SEEDS: Final = ("seed", "replicate", "block")  # which decide what happens, hardly how long it takes
_MOST: Final = 2000  # records that others are compared with
_ROWS: Final = 40  # of the table of what would run
_WIDTH: Final = 100


@dataclass(frozen=True)
class Estimate:
    """How long one run may take.

    Attributes:
        spec: what would run.
        seconds: the median of the most similar runs on record; None where there is none.
        differs: names of the parameters in which these differ from it; empty when in the seed alone.
    """

    spec: Spec
    seconds: float | None
    differs: tuple[str, ...] = ()


def estimate(specs: Sequence[Spec], records: Sequence[Record]) -> list[Estimate]:
    """Judge how long runs take by finished runs of the same experiment that share the most parameters with them.

    At least half of the parameters must be equal, seeds apart; otherwise nothing is said.
    """
    chosen = records[:: max(1, len(records) // _MOST)]
    table, codes = _coded([record.spec for record in chosen])
    seconds = np.array([record.seconds for record in chosen])
    found: dict[str, Estimate] = {}
    out = []
    for spec in specs:
        own = _own(spec)
        same = canonical_json(own)
        if same not in found:
            found[same] = _nearest(spec, own, table, codes, seconds)
        out.append(Estimate(spec, found[same].seconds, found[same].differs))
    return out


def _own(spec: Spec) -> dict[str, str]:
    """The parameters that may decide how long it takes, as texts."""
    return {name: canonical_json(value) for name, value in spec.to_json()["params"].items() if name not in _SEEDS}


def _coded(specs: Sequence[Spec]) -> tuple[np.ndarray[Any, Any], dict[str, dict[str, int]]]:
    """Parameters as numbers [records, names], -1 for what a spec lacks; and {name: {value: number}}."""
    each = [_own(spec) for spec in specs]
    codes: dict[str, dict[str, int]] = {name: {} for own in each for name in own}
    table = np.full((len(each), len(codes)), -1)
    for i, own in enumerate(each):
        for j, name in enumerate(codes):
            if name in own:
                table[i, j] = codes[name].setdefault(own[name], len(codes[name]))
    return table, codes


def _nearest(
    spec: Spec,
    own: Mapping[str, str],
    table: np.ndarray[Any, Any],
    codes: Mapping[str, Mapping[str, int]],
    seconds: np.ndarray[Any, Any],
) -> Estimate:
    if not len(table):
        return Estimate(spec, None)
    wanted = np.array([codes[name].get(own.get(name, ""), -2) for name in codes])
    equal = (table == wanted).sum(1)
    best = int(equal.max(initial=0))
    if 2 * best < len(own):
        return Estimate(spec, None)
    near = np.flatnonzero(equal == best)
    first = table[near[0]]
    names = [name for j, name in enumerate(codes) if first[j] != wanted[j] and (first[j] != -1 or name in own)]
    names += [name for name in own if name not in codes]
    return Estimate(spec, statistics.median(seconds[near].tolist()), tuple(names))


def grouped(judged: Sequence[Estimate]) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Return the parameters that all runs share, and a row for each group of runs that differ in the seed alone.

    Rows have the parameters in which runs differ, as JSON, the values of a seed within a group as a range or a list.
    """
    each = [(one, {n: canonical_json(v) for n, v in one.spec.to_json()["params"].items()}) for one in judged]
    names = list(dict.fromkeys(name for _, own in each for name in own))
    values = {name: {own.get(name, "-") for _, own in each} for name in names}
    shared = {name: next(iter(values[name])) for name in names if len(values[name]) == 1}
    seeds = [name for name in _SEEDS if name in names and name not in shared]
    others = [name for name in names if name not in shared and name not in seeds]
    groups: dict[tuple[str, ...], list[tuple[Estimate, dict[str, str]]]] = {}
    for one, own in each:
        groups.setdefault(tuple(own.get(name, "-") for name in others), []).append((one, own))
    rows = []
    for key, members in groups.items():
        known = [one.seconds for one, _ in members if one.seconds is not None]
        first = members[0][0]
        rows.append(
            {
                "run": first.spec.key[:12] if len(members) == 1 else f"{len(members)} runs",
                "takes": span(sum(known)) if known else "unknown",
                "judged by another": ", ".join(first.differs) or ("seed" if known else "-"),
                **{name: _plain(text) for name, text in zip(others, key, strict=True)},
                **{name: _run_of([own.get(name, "-") for _, own in members]) for name in seeds},
            }
        )
    if all(row["judged by another"] == "-" for row in rows):
        rows = [{name: text for name, text in row.items() if name != "judged by another"} for row in rows]
    return shared, rows


def _plain(text: str) -> str:
    """A value without its quotes, where no reader could mistake its end."""
    return text if "," in text or not text.startswith('"') else text.strip('"')


def _run_of(texts: Sequence[str]) -> str:
    """Values of a seed in a few characters.

    >>> _run_of(["0", "1", "2", "1"]), _run_of(["3"]), _run_of(["1", "4", "6"]), _run_of([str(k * k) for k in range(9)])
    ('0..2', '3', '1, 4, 6', '0, ..., 64 (9)')
    """
    found = list(dict.fromkeys(texts))
    if len(found) > 2 and all(text.isdecimal() for text in found):
        numbers = sorted(map(int, found))
        if numbers[-1] - numbers[0] == len(numbers) - 1:
            return f"{numbers[0]}..{numbers[-1]}"
    return ", ".join(found) if len(found) <= 4 else f"{found[0]}, ..., {found[-1]} ({len(found)})"


def _fitting(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows as they are if the table has room for them; otherwise with all parameters in one column, name=value."""
    width = 1 + sum(3 + max(len(name), *(len(row[name]) for row in rows)) for name in rows[0])
    if width <= _WIDTH:
        return rows
    own = [name for name in rows[0] if name in ("run", "takes", "judged by another")]
    return [
        {
            **{name: row[name] for name in own},
            "parameters": ", ".join(f"{name}={text}" for name, text in row.items() if name not in own),
        }
        for row in rows
    ]


def show_groups(judged: Sequence[Estimate], title: str) -> None:
    """Print what would run: groups of runs with what distinguishes them, and once what all have in common."""
    shared, rows = grouped(judged)
    if not rows:
        return
    show(_fitting(rows[:_ROWS]), title, width=_WIDTH)
    if len(rows) > _ROWS:
        say(f"... and {len(rows) - _ROWS} more rows")
    if shared:
        text = ", ".join(f"{name}={value}" for name, value in shared.items())
        print("\n".join(textwrap.wrap(f"all with {text}", _WIDTH, subsequent_indent="  ")))


def dry_run(options: Run, runs: Sequence[AbstractExperiment], store: Store) -> int:
    """Say what would run and how long it may take; nothing is run or written."""
    if options.jobs < 1:
        raise ValueError(f"jobs: expected an int >= 1, got {options.jobs}")
    specs = list({run.spec.key: run.spec for run in runs}.values())
    collected = store.collect(specs)
    judged = estimate(collected.missing, store.records(options.name).records)
    known = [one.seconds for one in judged if one.seconds is not None]
    alike = sum(1 for one in judged if one.seconds is not None and not one.differs)
    at_once = 1 if options.torchrun is not None else options.jobs
    total = sum(known)
    wall = max(total / at_once, max(known, default=0.0)) if known and options.scheduler is None else None
    unknown = len(judged) - len(known)
    if options.json:
        counts = {"total": len(specs), "done": len(specs) - len(judged), "to_run": len(judged), "unknown": unknown}
        each = [{"key": one.spec.key, "seconds": one.seconds, "differs": list(one.differs)} for one in judged]
        print_json({**counts, "compute_seconds": total if known else None, "wall_seconds": wall, "runs": each})
        return 0
    show_groups(judged, f"{options.name}, preset {options.preset}: would run")
    say(f"{len(specs)} runs: {len(specs) - len(judged)} done, {len(judged)} to run")
    for damage in collected.damaged:
        say(f"damaged, to be done again: {damage.reason}")
    if not judged:
        return 0
    if not known:
        say("how long that takes is unknown: no run like these is in the store")
        return 0
    where = "by how many workers the cluster has" if wall is None else f"about {span(wall)} with {at_once} at once"
    where = f"divide {where}" if wall is None else where
    say(
        f"{span(total)} of computing ({alike} judged by runs that differ in the seed alone, {len(known) - alike} by "
        f"similar ones, as long as those took where they were done): {where}"
    )
    if unknown:
        say(f"not counted: {unknown} runs of unknown length")
    return 0
