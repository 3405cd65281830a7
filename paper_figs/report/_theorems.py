"""Every theorem in full: statement, formulas, hypotheses, verdict, information limit, and what its proof rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from paper_figs.report._html import Markup, Part, anchor, el, join, number
from paper_figs.report._mathml import framed, symbol
from paper_figs.report._prose import authors, cite, prose
from paper_figs.report._results import Missing, Study
from paper_figs.report._verdicts import Evidence, badge, panel

if TYPE_CHECKING:
    from strongticket.bounds import Bound
    from theory import StepResult, Theorem

__all__ = ["RELATIONS", "bound_card", "theorems_section"]

RELATIONS: Final = {
    "UPPER": "sufficient",
    "LOWER": "necessary",
    "BUDGET": "sufficient tolerance",
    "TIGHT": "exact",
    "PREDICTION": "prediction, no proof",
}


def theorems_section(
    theorems: Sequence[Theorem],
    found: Evidence,
    steps: Mapping[str, tuple[StepResult, ...]] | None,
    limits: Study | Missing,
    references: Mapping[str, dict[str, str]],
) -> Markup:
    """Return all theorems, by paper.

    Args:
        theorems: all of them.
        found: their trials.
        steps: their proof steps, checked; None if they were not.
        limits: the comparison of all results on one target, for the limit of information.
        references: entries of references.bib.
    """
    parts: list[Markup] = []
    shown: set[str] = set()
    papers = dict.fromkeys(theorem.paper for theorem in theorems)
    for paper in papers:
        own = [theorem for theorem in theorems if theorem.paper == paper]
        cards = [_card(theorem, found, steps, limits, shown) for theorem in own]
        entry = references.get(paper)
        head = el("h3", authors(entry, paper), " ", el("code", paper), id=anchor("paper", paper))
        parts.append(el("section", head, el("p", cite(entry, paper), class_="cite"), *cards))
    return Markup("".join(parts))


def _card(
    theorem: Theorem,
    found: Evidence,
    steps: Mapping[str, tuple[StepResult, ...]] | None,
    limits: Study | Missing,
    shown: set[str],
) -> Markup:
    one = found.judged.get(theorem.key)
    verdict = badge(one.verdict) if one else badge("") if theorem.claim else el("span", "no claim", class_="badge open")
    keys = " ".join(bound.key for bound in theorem.bounds)
    title = prose(theorem.title[:1].upper() + theorem.title[1:])
    return el(
        "article",
        el("header", el("h4", title, id=anchor("theorem", theorem.key)), verdict),
        el("p", el("code", theorem.key), class_="key"),
        el("p", prose(theorem.statement), class_="statement"),
        _hypotheses(theorem),
        el("h5", "Formulas"),
        *(bound_card(bound, shown) for bound in theorem.bounds),
        el("p", el("a", "Move these numbers in the explorer", href="#explorer", data_explore=keys), class_="no-print"),
        el("h5", "Measured against claimed"),
        panel(theorem, found),
        _limit(theorem, limits),
        _proof(theorem, steps),
        class_="card",
    )


def _hypotheses(theorem: Theorem) -> Markup:
    if not theorem.hypotheses:
        return Markup("")
    return Markup(el("h5", "Hypotheses") + el("ul", *(el("li", prose(line)) for line in theorem.hypotheses)))


def bound_card(bound: Bound, shown: set[str]) -> Markup:
    """Return one formula with what it counts, what it says and its conditions; only its first place has its id."""
    first = bound.key not in shown
    shown.add(bound.key)
    conditions = [
        el("li", prose(hypothesis.name), [": ", prose(hypothesis.text)] if hypothesis.text else None)
        for hypothesis in bound.hypotheses
    ]
    counted = f"{len(conditions)} {'condition' if len(conditions) == 1 else 'conditions'}"
    if first:
        about = el(
            "details",
            el("summary", f"{counted}, ", el("code", bound.key)),
            el("ul", *conditions),
            el("p", f"Where it stands: {bound.place}.", class_="source"),
        )
    else:
        about = el("p", el("a", f"{counted} of {bound.key}", href=f"#{anchor('bound', bound.key)}"))
    left_open = [symbol(name) for name in sorted(bound.unspecified)]
    return el(
        "div",
        el(
            "p",
            el("strong", RELATIONS[bound.relation.name], class_="relation", title=bound.relation.value),
            " ",
            prose(bound.quantity),
        ),
        framed(bound),
        el("p", "The paper leaves open: ", join(el("math", one) for one in left_open), ".") if left_open else None,
        about,
        class_="bound",
        id=anchor("bound", bound.key) if first else None,
    )


def _limit(theorem: Theorem, limits: Study | Missing) -> Markup:
    """What is kept of the information limit: mask bits of its tickets over the bits that any mask needs."""
    lower = [bound for bound in theorem.bounds if bound.relation.name == "LOWER"]
    parts: list[Part] = []
    if lower:
        links = join(el("a", bound.key, href=f"#{anchor('bound', bound.key)}") for bound in lower)
        parts.append(el("p", "What nothing can go below: ", links, "."))
    if isinstance(limits, Study):
        found: dict[float, list[float]] = {}
        for run, result in limits.runs:
            for row in result["rows"]:
                if row["key"] == theorem.paper and row["mask_bits"] and result["limit_bits"]:
                    found.setdefault(run.eps, []).append(row["mask_bits"] / result["limit_bits"])
        if found:
            lines = [f"{number(min(v))} to {number(max(v))} at ε = {number(eps)}" for eps, v in sorted(found.items())]
            said = "Tickets of this paper's constructions need, in bits of their mask over the bits that any mask needs"
            parts += [el("p", f"{said}: {'; '.join(lines)}."), limits.source()]
    if not parts:
        return Markup("")
    return Markup(el("h5", "Information limit") + el("div", *parts))


def _proof(theorem: Theorem, steps: Mapping[str, tuple[StepResult, ...]] | None) -> Markup:
    items: list[Markup] = []
    if steps is None:
        count = len(theorem.all_steps())
        said = f"Proof: {count} steps that a machine checks"
        items = [el("li", prose(step.statement)) for _, step in theorem.all_steps()]
    else:
        own = steps[theorem.key]
        said = f"Proof: {sum(step.passed for step in own)} of {len(own)} steps checked by machine hold"
        items = [_step(step) for step in own]
    cited = [el("li", prose(one.statement), f" ({one.citation})") for one in theorem.assumptions]
    return el(
        "details",
        el("summary", said),
        el("p", prose(theorem.status)),
        el("ul", *items, class_="steps") if items else None,
        el("p", "Argued in words or cited:") if cited else None,
        el("ul", *cited) if cited else None,
        el("p", el("code", f"python -m theory check {theorem.key}"), class_="source"),
    )


def _step(result: StepResult) -> Markup:
    word, css = ("holds", "holds") if result.passed else ("fails", "falsified")
    mark = el("span", word, class_=f"badge {css}")
    cases = "" if result.step.general else " (on the cases named)"
    return el("li", mark, " ", prose(result.step.statement), cases, f" {result.error}" if result.error else None)
