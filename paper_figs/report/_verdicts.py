"""What trials say about each theorem: verdict, interval, p-value, level, and by which factor the bound may shrink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from paper_figs.report._html import Markup, Part, anchor, breakable, el, number
from paper_figs.report._prose import prose
from paper_figs.report._results import Missing, Study, read, read_preset
from paper_figs.report._tables import Cell, table

if TYPE_CHECKING:
    from strongticket.runs import Store
    from theory import StepResult, Theorem

__all__ = ["WORDS", "Evidence", "Judged", "badge", "evidence", "glance", "panel"]

WORDS: Final = {
    "HOLDS_SO_FAR": ("holds so far", "holds"),
    "HOLDS": ("holds", "holds"),
    "FALSIFIED": ("falsified", "falsified"),
    "INCONCLUSIVE": ("inconclusive", "open"),
    "": ("not tested yet", "open"),
}


@dataclass(frozen=True)
class Judged:
    """A theorem's trials.

    Attributes:
        verdict: name of the verdict.
        values: the report's values: trials, failures, missed, undecided, delta, alpha, p_value, low, high, setting.
        study: where they come from.
        runs: keys of the runs.
        repeats: verdicts of the same trials with other seeds.
    """

    verdict: str
    values: Mapping[str, Any]
    study: Study
    runs: tuple[str, ...]
    repeats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """All there is on the theorems.

    Attributes:
        judged: by theorem, the trials that say most.
        twins: by theorem, the table of its optimistic twins, and the study.
        studies: what was read.
        missing: what was not there.
    """

    judged: Mapping[str, Judged]
    twins: Mapping[str, tuple[Mapping[str, Any], Study]]
    studies: tuple[Study, ...]
    missing: tuple[Missing, ...]


def evidence(store: Store, preset: str) -> Evidence:
    """Read the trials of all theorems: those of `falsification`, and where there are none those of `looseness`."""
    judged: dict[str, Judged] = {}
    twins: dict[str, tuple[Mapping[str, Any], Study]] = {}
    missing: list[Missing] = []
    trials, absent = _complete(store, "falsification", preset)
    missing += absent
    loose, absent = _complete(store, "looseness", preset)
    missing += absent
    for study in trials:
        _keep_larger(judged, _falsification(study))
    tested = frozenset(judged)
    for study in loose:
        _keep_larger(judged, {key: one for key, one in _looseness(study).items() if key not in tested})
        for key, rows in _twins(study).items():
            if key not in twins or rows["rows"][0]["trials"] > twins[key][0]["rows"][0]["trials"]:
                twins[key] = (rows, study)
    used = {id(one.study) for one in judged.values()} | {id(study) for _, study in twins.values()}
    return Evidence(judged, twins, tuple(s for s in (*trials, *loose) if id(s) in used), tuple(missing))


def _keep_larger(judged: dict[str, Judged], found: Mapping[str, Judged]) -> None:
    """Add what has more trials than what is there."""
    for key, one in found.items():
        if key not in judged or one.values["trials"] > judged[key].values["trials"]:
            judged[key] = one


def _complete(store: Store, name: str, preset: str) -> tuple[list[Study], list[Missing]]:
    """Every complete preset of an experiment; what is missing if there is none."""
    found = [read_preset(store, name, one) for one in _presets(name)]
    studies = [one for one in found if isinstance(one, Study)]
    absent = read(store, name, preset)
    return studies, [absent] if isinstance(absent, Missing) else []


def _presets(name: str) -> list[str]:
    from experiments import find, names

    return list(find(name).presets()) if name in names() else []


def _looseness(study: Study) -> dict[str, Judged]:
    """The first seed's report of each theorem, with the verdicts of its other seeds."""
    found: dict[str, list[tuple[Mapping[str, Any], str]]] = {}
    for (run, result), record in zip(study.runs, study.records, strict=True):
        found.setdefault(run.theorem, []).append((result["verdict"], record.spec.key))
    return {
        key: Judged(
            reports[0][0]["verdict"],
            reports[0][0],
            study,
            tuple(run for _, run in reports),
            tuple(str(report["verdict"]) for report, _ in reports[1:]),
        )
        for key, reports in found.items()
    }


def _twins(study: Study) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for run, result in study.runs:
        found.setdefault(run.theorem, result["twins"])
    return found


def _falsification(study: Study) -> dict[str, Judged]:
    """The merged report of each theorem at the parameters of its claim, adjusted for all claims of the study."""
    from experiments.falsification import reports

    keys: dict[tuple[str, tuple[str, ...], int], list[str]] = {}
    for (run, _), record in zip(study.runs, study.records, strict=True):
        keys.setdefault((run.theorem, tuple(run.settings), run.seed), []).append(record.spec.key)
    found: dict[str, Judged] = {}
    for ((theorem, settings, _), runs), report in zip(keys.items(), reports(study.runs), strict=True):
        if not settings and theorem not in found:
            found[theorem] = Judged(report.verdict.name, report.to_json(), study, tuple(runs))
    return found


def badge(verdict: str) -> Markup:
    """Return a verdict as a word with a colour."""
    words, css = WORDS.get(verdict, (verdict.lower().replace("_", " "), "open"))
    return el("span", words, class_=f"badge {css}")


def _interval(values: Mapping[str, Any]) -> str:
    """The interval of the failure probability."""
    return f"{number(values['low'])} to {number(values['high'])}"


def _counted(values: Mapping[str, Any]) -> int:
    """How many trials count against what is judged."""
    return int(values["failures"]) + (int(values["missed"]) if values.get("judges_construction", True) else 0)


def _shrinks(rows: Mapping[str, Any] | None) -> Cell:
    """By which factor the bound may be divided before trials contradict it."""
    if rows is None:
        return Cell("–", None)
    stands, broken = rows["largest_not_falsified"], rows["falsified_at"]
    if broken is None:
        return Cell(f"{number(stands)} or more", float(stands))
    if not stands:
        return Cell(f"below {number(broken)}", 0.0)
    return Cell(f"{number(stands)} to {number(broken)}", float(stands))


def glance(theorems: Sequence[Theorem], found: Evidence, steps: Mapping[str, tuple[StepResult, ...]] | None) -> Markup:
    """Return the table of all verdicts."""
    rows = []
    for theorem in theorems:
        one = found.judged.get(theorem.key)
        link = el("a", breakable(theorem.key), href=f"#{anchor('theorem', theorem.key)}")
        row: dict[str, Any] = {"theorem": Cell([link, el("span", prose(theorem.title))], theorem.key)}
        if one is None:
            said = "no claim to test" if theorem.claim is None else "not tested yet"
            row["verdict"] = Cell(el("span", said, class_="badge open"), said)
            row |= dict.fromkeys(("failed", "allowed", "99 % interval", "p", "p, adjusted"))
        else:
            values, counted = one.values, _counted(one.values)
            row["verdict"] = Cell(badge(one.verdict), WORDS.get(one.verdict, (one.verdict, ""))[0])
            row |= {
                "failed": Cell(f"{number(counted)} of {number(values['trials'])}", counted / values["trials"]),
                "allowed": Cell(number(values["delta"]), values["delta"]),
                "99 % interval": Cell(_interval(values), values["high"]),
                "p": Cell(number(values["p_value"]), values["p_value"]),
                "p, adjusted": Cell(number(values.get("p_adjusted")), values.get("p_adjusted")),
            }
        row["bound may shrink by"] = _shrinks(found.twins[theorem.key][0] if theorem.key in found.twins else None)
        if steps is not None:
            own = steps[theorem.key]
            held = sum(step.passed for step in own)
            row["steps that hold"] = Cell(f"{held} of {len(own)}" if own else "–", float(held))
        rows.append(row)
    if not any(one.values.get("family", 1) > 1 for one in found.judged.values()):
        rows = [{name: value for name, value in row.items() if name != "p, adjusted"} for row in rows]
    caption = (
        "Every theorem and its verdict. Failed: trials that count against the claim; allowed: the failure probability "
        "that it claims; p, adjusted: by Holm's method for all claims of the study; bound may shrink by: the largest "
        "factor that trials did not contradict, to the smallest that they did."
    )
    return table(rows, caption)


def panel(theorem: Theorem, found: Evidence) -> Markup:
    """Return what trials say of one theorem: measured against claimed."""
    one = found.judged.get(theorem.key)
    if theorem.claim is None:
        return el("p", "This theorem has no claim that an experiment could contradict.")
    parts: list[Part] = [el("p", el("strong", "The claim. "), prose(theorem.claim.text))]
    if one is None:
        reason = found.missing[0] if found.missing else Missing("falsification", "its trials are missing", "")
        parts.append(reason.notice("The verdict"))
    else:
        parts.append(_facts(one))
    if theorem.key in found.twins:
        parts.append(_twin_table(theorem, *found.twins[theorem.key]))
    return el("div", *parts)


def _facts(one: Judged) -> Markup:
    values = one.values
    judged = "the construction's finding it" if values.get("judges_construction", True) else "that it exists"
    missed = f", {number(values['missed'])} missed by the construction" if values["missed"] else ""
    undecided = f", {number(values['undecided'])} undecided" if values["undecided"] else ""
    facts: list[tuple[str, Part]] = [
        ("Verdict", badge(one.verdict)),
        ("Trials", f"{number(values['trials'])}: {number(values['failures'])} failed{missed}{undecided}"),
        ("Claimed", f"failure probability at most {number(values['delta'])}"),
        ("Measured", f"{number(_counted(values) / values['trials'])}, 99 % interval {_interval(values)}"),
        ("p-value", f"{number(values['p_value'])}, falsified at {number(values['alpha'])} or less"),
        ("Judged", judged),
    ]
    if values.get("family", 1) > 1:
        family = f"by Holm's method for the {values['family']} claims of the study"
        facts.append(("Adjusted", f"{number(values['p_adjusted'])}, {family}"))
    if values.get("setting"):
        facts.append(("Setting", prose(str(values["setting"]))))
    if one.repeats:
        same = sum(verdict == one.verdict for verdict in one.repeats)
        facts.append(("Other seeds", f"{same} of {len(one.repeats)} say the same"))
    shown = el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in facts), class_="facts")
    keys = ", ".join(key[:12] for key in one.runs[:5]) + (" …" if len(one.runs) > 5 else "")
    return el("div", shown, el("p", "Runs ", el("code", keys), class_="source"), one.study.source())


def _twin_table(theorem: Theorem, twins: Mapping[str, Any], study: Study) -> Markup:
    rows = [
        {
            "bound divided by": row["factor"],
            "counted against it": _counted(row),
            "trials": row["trials"],
            "99 % interval": Cell(_interval(row), row["high"]),
            "allowed": Cell(number(row["delta"]), row["delta"]),
            "p": Cell(number(row["p_value"]), row["p_value"]),
            "verdict": Cell(badge(row["verdict"]), row["verdict"]),
        }
        for row in twins["rows"]
    ]
    shrunk = _shrinks(twins)
    ended = f" The list ended: {twins['ended']}." if twins.get("ended") else ""
    return el(
        "details",
        el("summary", "How loose: the bound may be divided by ", el("strong", shrunk.shown)),
        el("p", f"The same claim with the bound divided by a factor, until trials contradict it.{ended}"),
        table(rows, f"Optimistic twins of {theorem.key}"),
        study.source(),
    )
