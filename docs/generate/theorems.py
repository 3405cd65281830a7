"""One page per paper: its theorems as the objects in `theory` state them, its formulas as MathML.

MathML, because it needs nothing: browsers set it, no script or font is fetched, and the page is read without a network.
The formula is the very object that the program computes with, set and cited as in the report of `paper_figs`.
"""

from __future__ import annotations

import re
from functools import cache

import theory
from generate.rst import cell, code, escape, indent, inline, paragraphs, table, title
from paper_figs.report._mathml import formula
from paper_figs.report._prose import authors, citations
from strongticket import bounds
from strongticket.bounds import Bound
from theory import Theorem

__all__ = ["index", "page", "papers"]


def papers() -> list[str]:
    """Return the keys of all papers that have a theorem or a formula here.

    >>> "pensia2020optimal" in papers()
    True
    """
    return sorted({*theory.papers(), *bounds.papers()})


@cache
def _references() -> dict[str, dict[str, str]]:
    return citations()


def _citation(paper: str) -> str:
    entry = _references().get(paper, {})
    if not entry:
        return ""
    names = [name.split(",")[0] for name in entry.get("author", "").split(" and ")]
    who = ", ".join(names) if len(names) < 5 else f"{names[0]} et al."
    where = entry.get("journal") or entry.get("booktitle") or ""
    text = escape(f"{who}: {entry.get('title', '')}. {where + ', ' if where else ''}{entry.get('year', '')}.")
    preprint = entry.get("eprint", "")
    return f"{text} `arXiv:{preprint} <https://arxiv.org/abs/{preprint}>`__" if preprint else text


def _short(paper: str) -> str:
    """Who wrote it and when; where that names several papers, with the word by which their keys differ."""
    said = authors(_references().get(paper), paper)
    same = [key for key in papers() if authors(_references().get(key), key) == said]
    return f"{said} ({re.sub('.*[0-9]', '', paper)})" if len(same) > 1 else said


def _bound(bound: Bound) -> str:
    head = f"``{bound.key}`` ({bound.relation.name.lower()}): {cell(bound.quantity)}."
    place = "derived here" if bound.place == "strongticket" else bound.place
    shown = formula(bound.expression, alt=bound.latex(), block=True)
    lines = [head, "", ".. raw:: html", "", indent(f'<div class="formula">{shown}</div>'), ""]
    lines.append(f"Stands in: {cell(place)}. As code: ``{bound.expression}``")
    if bound.hypotheses:
        lines += ["", *(f"- {cell(h.name)}: {cell(h.text)}" for h in bound.hypotheses)]
    if bound.unspecified:
        names = ", ".join(f"``{name}``" for name in sorted(bound.unspecified))
        lines += ["", f"Left open by the paper, and asked for by the program: {names}."]
    return "\n".join([*lines, ""])


def _theorem(theorem: Theorem) -> str:
    lines = [f".. _theorem-{theorem.key}:", "", title(escape(theorem.title[0].upper() + theorem.title[1:]), "-")]
    lines += [f"``{theorem.key}``", "", paragraphs(theorem.statement), ""]
    lines += ["**Hypotheses.**", "", *(f"- {cell(text)}" for text in theorem.hypotheses), ""]
    if theorem.bounds:
        lines += ["**Formulas.**", "", *(_bound(bound) for bound in theorem.bounds)]
    if theorem.steps:
        rows = [(cell(s.name), cell(s.statement), "all values" if s.general else "cases") for s in theorem.steps]
        lines += [
            "**Proof steps that a machine checks.**",
            "",
            table(("step", "what is shown, and how", "covers"), rows),
        ]
    if theorem.lemmas:
        named = ", ".join(_to(lemma) for lemma in theorem.lemmas)
        lines += [f"**Rests on** {named}.", ""]
    if theorem.assumptions:
        lines += ["**Argued in words or cited.**", ""]
        lines += [*(f"- {cell(a.statement)} ({cell(a.citation)})" for a in theorem.assumptions), ""]
    lines += ["**Status.** " + inline(theorem.status), ""]
    if theorem.claim is not None:
        defaults = ", ".join(f"``{name}={value!r}``" for name, value in theorem.claim.defaults.items())
        lines += [f"**Claim, to be falsified.** {cell(theorem.claim.text)}. Parameters: {defaults}.", ""]
        lines.append(code(f"python -m theory check {theorem.key}", "console"))
    return "\n".join(lines)


def page(paper: str) -> str:
    """Return the page of a paper: its theorems, then formulas that no theorem there names."""
    theorems = theory.find(paper) if paper in theory.papers() else ()
    named = {bound.key for theorem in theorems for bound in theorem.bounds}
    lines = [f".. _paper-{paper}:", "", title(escape(_short(paper))), _citation(paper), "", f"Key: ``{paper}``", ""]
    lines += [_theorem(theorem) for theorem in theorems]
    others = [bound for bound in bounds.all() if bound.reference == paper and bound.key not in named]
    if others:
        lines += [title("Further formulas", "-"), *(_bound(bound) for bound in others)]
    return "\n".join(lines)


def index() -> str:
    """Return the page that lists every theorem, with what can be done about it."""
    rows = []
    for theorem in theory.all():
        checked = f"{len(theorem.all_steps())} steps" if theorem.all_steps() else "none"
        tried = "yes" if theorem.claim is not None else "no"
        rows.append((_to(theorem, theorem.title), _link(theorem.paper), checked, tried))
    words = (
        "Each theorem is an object of the package :doc:`theory </api/theory>`: a statement with all its hypotheses, "
        "formulas that refuse values outside of them, proof steps that sympy or exact arithmetic checks, what is cited "
        "instead, and a claim that an experiment tries to break. These pages are printed from those objects."
    )
    tree = [".. toctree::", "   :hidden:", "", *(f"   {paper}" for paper in papers())]
    head = ("theorem", "paper", "checked by machine", "can be falsified")
    return "\n".join([title("Theorems"), words, "", table(head, rows, "44 26 15 15"), "", *tree, ""])


def _to(theorem: Theorem, text: str = "") -> str:
    return f":ref:`{escape(text or theorem.key).replace('<', chr(92) + '<')} <theorem-{theorem.key}>`"


def _link(paper: str) -> str:
    return f":ref:`{escape(_short(paper))} <paper-{paper}>`"
