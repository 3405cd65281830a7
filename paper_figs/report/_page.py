"""The page itself: sections in order, navigation, styles and scripts inside, and a policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paper_figs import names as figure_names
from paper_figs.report._explorer import explorer_script, explorer_section
from paper_figs.report._figures import figures_section
from paper_figs.report._glossary import glossary
from paper_figs.report._html import Markup, anchor, el, number
from paper_figs.report._prose import citations
from paper_figs.report._provenance import provenance_section
from paper_figs.report._results import read
from paper_figs.report._tables import TABLES, comparison
from paper_figs.report._theorems import bound_card, theorems_section
from paper_figs.report._verdicts import Evidence, evidence, glance

if TYPE_CHECKING:
    from strongticket.bounds import Bound
    from strongticket.runs import Store
    from theory import StepResult, Theorem

__all__ = ["page"]

_HERE: Final = Path(__file__).parent
_TITLE: Final = "Strong lottery tickets: theorems, measured"
_SECTIONS: Final = (
    ("verdicts", "Verdicts at a glance"),
    ("theorems", "Theorems"),
    ("explorer", "Explorer"),
    ("comparison", "Comparison"),
    ("figures", "Figures"),
    ("provenance", "Provenance"),
    ("glossary", "Glossary"),
)


def page(store: Store, preset: str, *, check_steps: bool) -> str:
    """Return the whole page as HTML."""
    import theory
    from strongticket import bounds

    theorems = theory.all()
    formulas = bounds.all()
    steps = _checked(theorems) if check_steps else None
    trials = evidence(store, preset)
    limits = read(store, "comparison", preset)
    tables, table_studies = comparison(store, preset)
    figures, figure_studies = figures_section(store, preset)
    inside = {
        "verdicts": Markup(_summary(theorems, trials, steps) + glance(theorems, trials, steps) + _sources(trials)),
        "theorems": Markup(
            theorems_section(theorems, trials, steps, limits, citations()) + _other_formulas(theorems, formulas)
        ),
        "explorer": explorer_section(formulas),
        "comparison": tables,
        "figures": figures,
        "provenance": Markup(
            el("p", "Every number above comes from one of these studies. A run is a function of its parameters alone; "
               "its key is the sha256 of experiment, version and every parameter, and names its file in the results.")
            + provenance_section([*trials.studies, *table_studies, *figure_studies])
        ),
        "glossary": glossary(),
    }  # fmt: skip
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    script = _script(explorer_script(formulas))
    body = _body(inside, theorems)
    return _document(style, script, body)


def _checked(theorems: Sequence[Theorem]) -> Mapping[str, tuple[StepResult, ...]]:
    from theory._theorem import check_all

    return dict(zip((theorem.key for theorem in theorems), check_all(theorems), strict=True))


def _script(data: str) -> str:
    files = [(_HERE / name).read_text(encoding="utf-8") for name in ("double.js", "explorer.js", "page.js")]
    return "\n".join((files[0], data, *files[1:]))


def _hash(content: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() + "'"


def _document(style: str, script: str, body: Markup) -> str:
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = [
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="description", content="Theorems on strong lottery tickets, what trials say of them, and how "
           "constructed, found and pruned tickets compare."),
        el("title", _TITLE),
        # an icon of its own, so that no browser asks the server for one
        el("link", rel="icon", href="data:,"),
        el("style", Markup(style)),
    ]  # fmt: skip
    for content in (style, script):
        if "</style" in content or "</script" in content or "<!--" in content:
            raise ValueError("the page's own styles and scripts must not hold what ends their elements")
    shown = el("html", el("head", *head), el("body", body, el("script", Markup(script))), lang="en")
    return f"<!DOCTYPE html>\n{shown}\n"


def _body(inside: Mapping[str, Markup], theorems: Sequence[Theorem]) -> Markup:
    sections = [
        el("section", el("h2", title, id=name), inside[name], aria_labelledby=name, class_=f"part {name}")
        for name, title in _SECTIONS
    ]
    head = el(
        "header",
        el("h1", _TITLE),
        el(
            "p",
            "A strong lottery ticket is a subnetwork of a random network that computes what is wanted, with no weight "
            "trained. This page holds what is claimed about such tickets, what trials say of each claim, and what "
            "tickets cost beside found and pruned networks.",
            class_="lead",
        ),
        class_="top",
    )
    skip = el("a", "Skip to the content", href="#content", class_="skip")
    main = el("main", head, *sections, id="content", tabindex="-1")
    return Markup(skip + el("div", _navigation(theorems), main, class_="frame") + _foot())


def _navigation(theorems: Sequence[Theorem]) -> Markup:
    inner = {
        "theorems": [(anchor("paper", paper), paper) for paper in dict.fromkeys(one.paper for one in theorems)],
        "comparison": [(anchor("table", one.name), one.title) for one in TABLES],
        "figures": [(anchor("figure", name), name.replace("_", " ", 1)) for name in figure_names()],
    }
    items = []
    for name, title in _SECTIONS:
        below = [el("li", el("a", said, href=f"#{place}")) for place, said in inner.get(name, [])]
        more = el("details", el("summary", f"in {title}"), el("ul", *below)) if below else None
        items.append(el("li", el("a", title, href=f"#{name}"), more))
    contents = el("details", el("summary", "Contents"), el("ul", *items), open=True, class_="contents")
    return el("nav", contents, aria_label="Contents", class_="no-print")


def _foot() -> Markup:
    from strongticket._version import __version__

    return el(
        "footer",
        el("p", f"Made by strongticket {__version__}: ", el("code", "python -m experiments report"), ". One file, no "
           "network: everything is inside."),
    )  # fmt: skip


def _summary(
    theorems: Sequence[Theorem], trials: Evidence, steps: Mapping[str, tuple[StepResult, ...]] | None
) -> Markup:
    verdicts = [one.verdict for one in trials.judged.values()]
    claims = sum(theorem.claim is not None for theorem in theorems)
    tiles = [
        (number(len(theorems)), "theorems"),
        (f"{len(verdicts)} of {claims}", "claims tested"),
        (number(sum(verdict.startswith("HOLDS") for verdict in verdicts)), "hold so far"),
        (number(verdicts.count("FALSIFIED")), "falsified"),
        (number(verdicts.count("INCONCLUSIVE")), "inconclusive"),
    ]
    if steps is not None:
        unique = {(result.theorem, result.step): result.passed for own in steps.values() for result in own}
        tiles.append((f"{sum(unique.values())} of {len(unique)}", "proof steps hold, checked when this page was made"))
    shown = [el("li", el("strong", value), " ", el("span", said)) for value, said in tiles]
    return el("ul", *shown, class_="tiles")


def _sources(trials: Evidence) -> Markup:
    missing = [one.notice("These trials") for one in trials.missing]
    return Markup("".join([*missing, *(study.source() for study in trials.studies)]))


def _other_formulas(theorems: Sequence[Theorem], formulas: Sequence[Bound]) -> Markup:
    """Formulas that no theorem here rests on; the explorer has them too."""
    used = {bound.key for theorem in theorems for bound in theorem.bounds}
    rest = [bound for bound in formulas if bound.key not in used]
    if not rest:
        return Markup("")
    cards = [bound_card(bound, set()) for bound in rest]
    return el("section", el("h3", "Other formulas", id="other-formulas"), el("div", *cards, class_="card"))
