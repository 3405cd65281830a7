"""The commands of `python -m theory`; needs tyro and rich."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import sympy
import tyro
from rich.console import Console
from rich.progress import Progress

import theory
from theory._claim import AbstractClaim, setting
from theory._report import Looseness, Report, Verdict, adjusted
from theory._theorem import StepResult, Theorem, check_all

__all__ = ["run"]

_TWIN_SECONDS = 45.0
_EXIT = {Verdict.HOLDS: 0, Verdict.HOLDS_SO_FAR: 0, Verdict.FALSIFIED: 1, Verdict.INCONCLUSIVE: 3}


@dataclass(frozen=True)
class List:
    """List every theorem and check its proof steps. Exit code: 0, or 1 when a step does not hold."""

    load: tuple[str, ...] = ()
    """Modules of yours to import first: their THEOREMS are known then like those here."""
    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True)
class Show:
    """Show a theorem: statement, hypotheses, formulas, proof steps (checked now), citations, claim.

    Exit code: 0, or 1 when a proof step does not hold.
    """

    key: tyro.conf.Positional[str]
    """Key of a theorem (pensia2020optimal.theorem1), or of a paper for all its theorems (pensia2020optimal)."""
    load: tuple[str, ...] = ()
    """Modules of yours to import first: their THEOREMS are known then like those here."""
    json: bool = False
    """Print JSON instead of text."""


@dataclass(frozen=True)
class Check:
    """Try to break a theorem: draw targets inside its hypotheses, run the construction, count failures.

    Then its bound is made better by factors 2, 4, 8, ..., until such an optimistic twin is falsified: that factor is
    how loose the bound was measured to be.

    Of a paper, every theorem with a claim is tried. Verdicts on several theorems or settings are adjusted for their
    number (Holm): the probability that any true one is called falsified stays below alpha.

    Exit code: 0 holds (so far), 1 falsified, 2 usage, 3 inconclusive.
    """

    key: tyro.conf.Positional[str]
    """Key of a theorem, or of a paper for all its theorems."""
    trials: int = 2000
    """Independent trials; with --sequential the most."""
    sequential: bool = False
    """Stop as soon as the verdict is sure, either way. The level is kept in spite of looking all the time."""
    eps: float | None = None
    """Tolerance, in (0, 1); the claim's own default when not given."""
    delta: float | None = None
    """Failure probability that the theorem is held to, in (0, 1); the claim's own default when not given."""
    seed: int = 0
    """Makes the run reproducible."""
    alpha: float = 1e-6
    """Level: a true theorem is called falsified with at most this probability."""
    factor: float = 1.0
    """Try the optimistic twin, whose bound is better by this factor (>= 1)."""
    looseness: bool = False
    """Only run the optimistic twins, factor 1 first, with --trials each and without limit of time."""
    twins: int = 200
    """Trials of each optimistic twin that is run after the verdict, for a minute at most; 0 for none."""
    set: tuple[str, ...] = ()
    """Further parameters of the claim as name=value, for example --set assignment=column-aware kind=zero.

    A name that is given several values is tried with each of them: --set items=20 items=30."""
    load: tuple[str, ...] = ()
    """Modules of yours to import first: their THEOREMS are known then like those here."""
    json: bool = False
    """Print JSON instead of text."""


@dataclass(frozen=True)
class Compare:
    """Ask every result about one target: the source that its theorem asks for, the one that suffices, what is kept.

    What suffices is measured by each construction itself. Also: the bits that any way needs, and the tolerances at
    which two theorems ask for sources of the same size. A cell that is empty is explained below the table.
    """

    eps: float = 0.01
    """Tolerance of the outputs on the unit ball, in (0, 1)."""
    delta: float = 0.01
    """Failure probability, in (0, 1)."""
    target: str = "lenet"
    """lenet (784-300-100-10), sizes such as 784-500-10 (a network is drawn inside all hypotheses), or a file."""
    normalise: bool = False
    """Divide each layer of a file's network by its norm where that exceeds 1."""
    papers: tuple[str, ...] = ()
    """Papers to ask; all of them if none is named."""
    seconds: float = 60.0
    """CPU time for the measurements of each result; it is looked at now and then, so that slow ones overrun."""
    seed: int = 0
    """Of the target that is drawn, and of the sources."""
    json: Path | None = None
    """File that the comparison is written to as JSON, for figures."""


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Show, tyro.conf.subcommand("show")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
)


def run(args: list[str] | None = None) -> int:
    """Parse the arguments, run the command, return the exit code."""
    command: List | Show | Check | Compare = tyro.cli(Command, prog="python -m theory", args=args)
    try:
        if not isinstance(command, Compare):
            _load(command.load)
        if isinstance(command, List):
            return _list(command)
        if isinstance(command, Compare):
            from theory._compare_cli import show

            return show(
                command.target,
                command.eps,
                command.delta,
                papers=command.papers,
                seed=command.seed,
                seconds=command.seconds,
                normalise=command.normalise,
                file=command.json,
            )
        return _show(command) if isinstance(command, Show) else _check(command)
    except (KeyError, TypeError, ValueError, OSError, ImportError) as error:
        print(f"error: {error.args[0] if error.args else error}", file=sys.stderr)
        return 2


def _load(modules: Sequence[str]) -> None:
    """Make the theorems of these modules known.

    Raises:
        ImportError: there is no such module.
        ValueError: it has no theorems.
    """
    for name in modules:
        before = len(theory.all())
        theorems = getattr(importlib.import_module(name), "THEOREMS", None)
        if theorems is None and len(theory.all()) == before:
            raise ValueError(f"module {name} has no THEOREMS, and registers none: see theory/_template.py")
        theory.register(*(theorems or ()))


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


def _list(command: List) -> int:
    theorems = theory.all()
    checked = check_all(theorems)
    failed = any(not result.passed for results in checked for result in results)
    if command.json:
        _print_json([_row(theorem, results) for theorem, results in zip(theorems, checked, strict=True)])
        return int(failed)
    console = Console(highlight=False)
    for theorem, results in zip(theorems, checked, strict=True):
        claim = "can be tried" if theorem.claim is not None else "nothing to try"
        console.print(theorem.key, style="bold", markup=False)
        console.print(f"    {theorem.title}\n    {_count(theorem, results)}", markup=False, soft_wrap=True)
        console.print(f"    status: {theorem.status}", markup=False, soft_wrap=True)
        console.print(f"    {len(theorem.assumptions)} arguments or citations not checked here; {claim}", markup=False)
    return int(failed)


def _row(theorem: Theorem, results: tuple[StepResult, ...]) -> dict[str, Any]:
    own = [result for result in results if result.theorem == theorem.key]
    return {
        "key": theorem.key,
        "title": theorem.title,
        "bounds": list(theorem.bound_keys),
        "steps": len(own),
        "steps_on_cases_only": sum(not result.step.general for result in own),
        "lemmas": {lemma.key: len(lemma.steps) for lemma in theorem.lemmas},
        "failed_steps": [f"{result.theorem}: {result.step.name}" for result in results if not result.passed],
        "assumptions": len(theorem.assumptions),
        "claim": theorem.claim is not None,
        "status": theorem.status,
    }


def _count(theorem: Theorem, results: tuple[StepResult, ...]) -> str:
    """What the check of the steps found, in one line."""
    failed = [result.step.name for result in results if not result.passed]
    if failed:
        return f"{len(failed)} of {len(results)} proof steps FAILED: {', '.join(failed)}"
    if not results:
        return "cited: no proof step to check"
    general = sum(step.general for step in theorem.steps)
    cases = len(theorem.steps) - general
    text = f"{len(theorem.steps)} proof steps of its own, checked now: {general} in general, {cases} on cases"
    return text + "".join(f"; + {len(lemma.steps)} of {lemma.key}" for lemma in theorem.lemmas)


def _show(command: Show) -> int:
    theorems = theory.find(command.key)
    checked = check_all(theorems)
    failed = any(not result.passed for results in checked for result in results)
    if command.json:
        _print_json([_describe(theorem, results) for theorem, results in zip(theorems, checked, strict=True)])
        return int(failed)
    console = Console(highlight=False)
    for theorem, results in zip(theorems, checked, strict=True):
        _show_one(console, theorem, results)
    return int(failed)


def _describe(theorem: Theorem, results: tuple[StepResult, ...]) -> dict[str, Any]:
    return {
        "key": theorem.key,
        "title": theorem.title,
        "statement": theorem.statement,
        "hypotheses": list(theorem.hypotheses),
        "status": theorem.status,
        "bounds": [
            {
                "key": bound.key,
                "quantity": bound.quantity,
                "relation": bound.relation.name,
                "expression": str(bound.expression),
                "latex": bound.latex(),
                "hypotheses": [{"name": h.name, "text": h.text} for h in bound.hypotheses],
                "unspecified": sorted(bound.unspecified),
                "place": bound.place,
            }
            for bound in theorem.bounds
        ],
        "steps": [
            {
                "theorem": result.theorem,
                "name": result.step.name,
                "statement": result.step.statement,
                "general": result.step.general,
                "passed": result.passed,
                "error": result.error,
            }
            for result in results
        ],
        "assumptions": [{"statement": a.statement, "citation": a.citation} for a in theorem.assumptions],
        "claim": None
        if theorem.claim is None
        else {"text": theorem.claim.text, "defaults": dict(theorem.claim.defaults)},
    }


def _show_one(console: Console, theorem: Theorem, results: tuple[StepResult, ...]) -> None:
    def say(text: str, **options: Any) -> None:
        console.print(text, markup=False, **options)

    say(f"{theorem.key}: {theorem.title}", style="bold")
    say(theorem.statement)
    say("\nHypotheses", style="bold")
    for hypothesis in theorem.hypotheses:
        say(f"  - {hypothesis}")
    for bound in theorem.bounds:
        say(f"\n{bound.key} ({bound.relation.name}, {bound.relation.value})", style="bold")
        say(f"  {bound.quantity}")
        # printed as it is: wrapping would destroy the two-dimensional formula
        print("\n" + "\n".join("    " + line for line in sympy.pretty(bound.expression, wrap_line=False).splitlines()))
        print(f"\n  LaTeX: {bound.latex()}")
        say("  for " + "; ".join(hypothesis.name for hypothesis in bound.hypotheses))
        if bound.unspecified:
            say(f"  left open by the paper: {', '.join(sorted(bound.unspecified))}")
        say(f"  place: {bound.place}")
    say("\nStatus", style="bold")
    say(theorem.status)
    for key in dict.fromkeys(result.theorem for result in results):
        own = "Proof steps, checked now" if key == theorem.key else f"Steps of {key}, which the proof rests on"
        say(f"\n{own}", style="bold")
        for result in results:
            if result.theorem == key:
                _show_step(say, result)
    if theorem.assumptions:
        say("\nArgued in words or cited, not checked here", style="bold")
        for assumption in theorem.assumptions:
            say(f"  - {assumption.statement} [{assumption.citation}]")
    if theorem.claim is not None:
        say("\nClaim", style="bold")
        say(f"  {theorem.claim.text}")
        say(f"  by default: {theorem.claim.describe()}")
        parameters = ", ".join(f"{name}={value}" for name, value in theorem.claim.defaults.items())
        say(f"  parameters: {parameters}\n  try to break it: python -m theory check {theorem.key}")
    say("")


def _show_step(say: Callable[..., None], result: StepResult) -> None:
    mark = ("ok      " if result.step.general else "ok cases") if result.passed else "FAILED  "
    say(f"  {mark} {result.step.name}: {result.step.statement}", style=None if result.passed else "bold red")
    if result.error:
        say(f"           {result.error}")


def _settings(command: Check) -> list[dict[str, Any]]:
    """The parameters that are given, for each combination of their values."""
    values: dict[str, list[Any]] = {}
    for text in command.set:
        name, value = setting(text)
        values.setdefault(name, []).append(value)
    for name in ("eps", "delta"):
        if getattr(command, name) is not None:
            values[name] = [getattr(command, name)]
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


@contextlib.contextmanager
def _progress(title: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task(title)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _check(command: Check) -> int:
    theorems = [theorem for theorem in theory.find(command.key) if theorem.claim is not None]
    if not theorems:
        raise ValueError(f"{command.key} has no claim to try; python -m theory show {command.key} checks its steps")
    if command.twins < 0:
        raise ValueError(f"--twins must be at least 0, got {command.twins}")
    asked = [(theorem, params) for theorem in theorems for params in _settings(command)]
    for theorem, params in asked:
        _claim(theorem).resolve(**params)  # refuses wrong parameters of the last before the first is run
    if command.looseness:
        tables = [_twins(theorem, command, params, trials=command.trials) for theorem, params in asked]
        _print_found(command, tables)
        # the question is whether the bound itself, factor 1, stands
        return _code(table.rows[0][1].verdict for table in tables)
    reports = adjusted([_report(theorem, command, params, len(asked)) for theorem, params in asked])
    found: list[Report | Looseness] = []
    for (theorem, params), report in zip(asked, reports, strict=True):
        new: list[Report | Looseness] = [report, *_after(report, theorem, command, params)]
        if not command.json:
            _print_found(command, new)
        found += new
    if command.json:
        _print_found(command, found)
    return _code(report.verdict for report in reports)


def _code(verdicts: Iterable[Verdict]) -> int:
    """Falsified outranks inconclusive, which outranks holds."""
    return max((_EXIT[verdict] for verdict in verdicts), key=[0, 3, 1].index)


def _print_found(command: Check, found: Sequence[Report | Looseness]) -> None:
    if command.json:
        _print_json([one.to_json() for one in found])
        return
    for one in found:
        print(one.text())


def _claim(theorem: Theorem) -> AbstractClaim:
    assert theorem.claim is not None
    return theorem.claim


def _level(command: Check) -> dict[str, Any]:
    return {"seed": command.seed, "alpha": command.alpha, "sequential": command.sequential}


def _report(theorem: Theorem, command: Check, params: dict[str, Any], family: int) -> Report:
    """Run a theorem's claim."""
    chosen = _claim(theorem).optimistic(command.factor, **params) if command.factor != 1.0 else params
    with _progress(theorem.key, command.json) as progress:
        return theory.falsify(
            theorem, trials=command.trials, progress=progress, family=family, **_level(command), **chosen
        )


def _twins(theorem: Theorem, command: Check, params: dict[str, Any], **options: Any) -> Looseness:
    return theory.looseness(theorem, **options, **_level(command), **params)


def _after(report: Report, theorem: Theorem, command: Check, params: dict[str, Any]) -> tuple[Looseness, ...]:
    """Run the optimistic twins, if the theorem itself stands and there are any."""
    if command.twins == 0 or command.factor != 1.0 or report.verdict is Verdict.FALSIFIED:
        return ()
    factors = tuple(2.0**k for k in range(1, 9))
    trials = min(command.twins, command.trials)
    try:
        table = _twins(theorem, command, params, factors=factors, trials=trials, seconds=_TWIN_SECONDS)
    except ValueError:  # a claim whose twin says nothing
        return ()
    stands = report.verdict in (Verdict.HOLDS, Verdict.HOLDS_SO_FAR)
    whole = replace(
        table,
        rows=((1.0, report), *table.rows),
        largest_not_falsified=max(table.largest_not_falsified, 1.0 if stands else 0.0),
    )
    return (whole,)
