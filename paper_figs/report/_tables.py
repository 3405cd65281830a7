"""Tables that readers sort by mouse and keyboard, scroll on a phone, and trace to the runs they come from."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from paper_figs.report._html import Markup, Part, anchor, el, number, text
from paper_figs.report._results import Missing, Study, read

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["TABLES", "Cell", "Shown", "comparison", "table"]

_LEADING: Final = re.compile(r"^[+−-]?[0-9][0-9,]*\.?[0-9]*(e[+-]?[0-9]+)?(?![A-Za-z])")


@dataclass(frozen=True)
class Shown:
    """One table of the comparison.

    Attributes:
        name: of the experiment.
        title: heading.
        lead: what is compared, and how to read it.
        keys: columns that name a setting: rows that differ in the seed alone are merged over them; () merges none.
        rename: column titles that say more.
    """

    name: str
    title: str
    lead: str
    keys: tuple[str, ...] = ()
    rename: dict[str, str] = field(default_factory=dict)


TABLES: Final = (
    Shown(
        "comparison",
        "All proofs on one target",
        "One target network, asked of every theorem: the random source that the theorem asks for, the smallest source "
        "found to contain the ticket, what is kept, and the bits of its mask over the limit of information. Where a "
        "theorem's numbers leave room, the two columns of weights lie apart.",
        ("result", "eps"),
        {"asked": "source weights asked for", "suffices": "source weights that suffice"},
    ),
    Shown(
        "grand_comparison",
        "Constructed, found and pruned tickets of the same network",
        "One target network and data set: tickets constructed from proofs, tickets found by search, networks trained "
        "and pruned, iterative magnitude pruning, and the controls beside them; accuracy and what it costs to store.",
    ),
    Shown(
        "proofs",
        "Tickets of a trained network, by each proof",
        "A trained network is approximated inside random ones, by the construction of each proof; how often the ticket "
        "predicts the same, and the largest difference of outputs that is proved.",
        ("data", "target", "proof"),
    ),
    Shown(
        "strict_tickets",
        "Certified tickets",
        "Networks with biases, at several depths: how large the ticket's error is proved to be on the whole domain, "
        "beside the largest that was found.",
        ("data", "model", "objective"),
    ),
    Shown(
        "search_methods",
        "Tickets found by search",
        "The same architecture and density for every search method; beside each ticket a random mask and the ticket's "
        "own mask shuffled within its layers, which is the control.",
    ),
    Shown(
        "search_density",
        "Found tickets by density",
        "Accuracy of found tickets against the fraction of weights kept; random and shuffled masks are the controls.",
    ),
    Shown(
        "pruning_compare",
        "Pruning of trained networks",
        "Trained weights, pruned by each method to the same density: accuracy with the mask alone, with other weights "
        "adjusted where the method does so, and after training again.",
    ),
    Shown(
        "imp",
        "Iterative magnitude pruning",
        "Level by level: the winning ticket, the same mask with fresh weights, and a random mask, with the step of "
        "early stopping and the accuracy there and at the end.",
    ),
    Shown(
        "elastic",
        "Elastic tickets",
        "Winning tickets carried over to deeper and shallower networks, beside those found there and random ones.",
    ),
)


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and what it is sorted by."""

    shown: Part
    key: float | str | None = None


def comparison(store: Store, preset: str) -> tuple[Markup, list[Study]]:
    """Return the tables of the comparison, and the studies that they come from."""
    parts: list[Markup] = []
    studies: list[Study] = []
    for one in TABLES:
        found = read(store, one.name, preset)
        heading = el("h3", one.title, id=anchor("table", one.name))
        if isinstance(found, Missing):
            parts.append(el("section", heading, el("p", one.lead), found.notice("This table")))
            continue
        studies.append(found)
        rows, common = _common(_merged(found.table(), one.keys))
        made = table(rows, f"{one.title} ({found.preset}{common})", rename=one.rename)
        parts.append(el("section", heading, el("p", one.lead), made, found.source()))
    return Markup("".join(parts)), studies


def _merged(rows: Sequence[dict[str, Any]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows with the same keys as one: medians over the seeds with the range, and how many seeds."""
    if not keys or not rows or "seed" not in rows[0]:
        return list(rows)
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    merged = []
    for values, group in groups.items():
        whole: dict[str, Any] = dict(zip(keys, values, strict=True)) | {"seeds": len({one["seed"] for one in group})}
        for name in group[0]:
            if name not in whole and name != "seed":
                whole[name] = _spread([one.get(name) for one in group])
        merged.append(whole)
    return merged


def _common(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """Take out columns that say the same in every row, of several; what they say goes into the caption."""
    if len(rows) < 2:
        return rows, ""
    shared = [
        name
        for name, value in rows[0].items()
        if value is not None and not isinstance(value, Cell | float) and all(row.get(name) == value for row in rows)
    ]
    said = "".join(f"; {name}: {number(v) if isinstance(v := rows[0][name], int) else v}" for name in shared)
    return [{name: value for name, value in row.items() if name not in shared} for row in rows], said


def _spread(values: Sequence[Any]) -> Any:
    found = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(found) != sum(value is not None for value in values):
        return ", ".join(dict.fromkeys(str(value) for value in values))
    if not found:
        return None
    middle = statistics.median(found)
    if min(found) == max(found):
        return Cell(number(middle), middle)
    missing = "" if len(found) == len(values) else f", {len(found)} of {len(values)}"
    return Cell(f"{number(middle)} ({number(min(found))} to {number(max(found))}{missing})", middle)


def table(rows: Sequence[dict[str, Any]], caption: Part, *, rename: dict[str, str] | None = None) -> Markup:
    """Return a sortable table in a region of its own that scrolls.

    Args:
        rows: one dictionary each; the columns are their names in order of first appearance. Values may be `Cell`s.
        caption: what it is.
        rename: titles of columns.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    numeric = {name for name in columns if _is_numeric([row.get(name) for row in rows])}
    titles = rename or {}
    head = [
        el(
            "th",
            el("button", titles.get(name, name), el("span", "", class_="arrow", aria_hidden="true"), type="button"),
            scope="col",
            class_="number" if name in numeric else None,
            aria_sort="none",
        )
        for name in columns
    ]
    cells = [[_cell(row.get(name), i == 0, name in numeric) for i, name in enumerate(columns)] for row in rows]
    body = [el("tr", *line) for line in cells]
    shown = el("caption", el("span", caption))
    label = re.sub("<[^>]*>", "", text(caption))
    made = el("table", shown, el("thead", el("tr", *head)), el("tbody", *body), class_="sortable")
    return el("div", made, class_="scroll", role="region", aria_label=Markup(label), tabindex="0")


def _key(value: Any) -> float | str | None:
    """What a cell is sorted by: a number, or the number that its text begins with, or its text."""
    if isinstance(value, Cell):
        return value.key
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and (found := _LEADING.match(value.strip())):
        return float(found[0].replace(",", "").replace("−", "-"))
    return str(value) if value not in (None, "") else None


def _is_numeric(values: Sequence[Any]) -> bool:
    keys = [_key(value) for value in values]
    return any(key is not None for key in keys) and all(key is None or not isinstance(key, str) for key in keys)


def _cell(value: Any, first: bool, numeric: bool) -> Markup:
    key = _key(value)
    if isinstance(value, Cell):
        shown = value.shown
    elif isinstance(value, dict):
        shown = ", ".join(f"{name} {number(inner) if isinstance(inner, int | float) else inner}"
                          for name, inner in value.items())  # fmt: skip
    elif value is None or isinstance(value, int | float):
        shown = number(value)
    else:
        shown = str(value) or "–"
    sort = f"{key:.12g}" if isinstance(key, float | int) and numeric else None
    css = "number" if numeric else None
    return (
        el("th", shown, scope="row", data_key=sort, class_=css) if first else el("td", shown, data_key=sort, class_=css)
    )
