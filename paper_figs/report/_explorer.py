"""The explorer: every bound as a live function of its symbols, and the data that its script reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from paper_figs.report._html import Markup, anchor, el
from paper_figs.report._javascript import javascript_bound
from paper_figs.report._mathml import framed, symbol
from paper_figs.report._prose import prose
from paper_figs.report._symbols import control, controls
from paper_figs.report._theorems import RELATIONS

if TYPE_CHECKING:
    from strongticket.bounds import Bound

__all__ = ["VIEWS", "explorer_script", "explorer_section"]

VIEWS: Final = (
    (
        "Width of the source, as the theorems ask",
        "eps",
        (
            "pensia2020optimal.theorem1_width",
            "malach2020proving.theorem2_1_width",
            "sreenivasan2022finding.theorem_width",
            "diffenderfer2021multiprize.theorem_width",
        ),
    ),
    (
        "Candidates per weight, with every constant",
        "weight_eps",
        (
            "pensia2020optimal.explicit_items",
            "malach2020proving.paper_items",
            "malach2020proving.pair_items",
            "malach2020proving.product_items",
            "burkholz2022most.explicit_copies",
        ),
    ),
    (
        "What no source can go below",
        "width",
        (
            "pensia2020optimal.theorem2_parameters",
            "kumar2025quantized.theorem3_parameters",
            "natale2024sparsity.theorem5_parameters",
        ),
    ),
    (
        "Random subset sums: enough and necessary",
        "eps",
        ("lueker1998exponentially.explicit_items", "lueker1998exponentially.counting_floor"),
    ),
    (
        "Double descent of Gaussian features",
        "belkin2020two.p",
        ("belkin2020two.risk_below", "belkin2020two.risk_above"),
    ),
    ("What a batch is worth", "ma2018power.m", ("ma2018power.worth", "ma2018power.critical_batch")),
)
"""Comparisons to begin with: title, control on the horizontal axis, bounds."""


def explorer_section(found: Sequence[Bound]) -> Markup:
    """Return the explorer's controls, empty results, and the formulas it shows, as templates."""
    return el(
        "div",
        el("noscript", el("p", "The explorer computes with a script, which this browser does not run.")),
        el(
            "p",
            "Choose bounds and move their symbols. Values are those of the Python library, computed here with 31 "
            "digits; where a hypothesis fails, it is named and no number is shown. Constants that a paper leaves open "
            "are yours to choose.",
        ),
        el("div", _views(), _chooser(found), class_="no-print"),
        el(
            "div",
            _plot(),
            _inputs(),
            el("div", el("h3", "Values", id="explorer-values"), el("div", id="values", class_="values"),
               class_="value-side"),
            class_="bench",
        ),
        el("p", "", id="spoken", role="status", aria_live="polite", class_="unseen"),
        _templates(found),
        id="explorer-body",
    )  # fmt: skip


def _views() -> Markup:
    made = [el("button", title, type="button", data_view=str(i)) for i, (title, _, _) in enumerate(VIEWS)]
    return el("div", el("p", "Begin with a comparison:", id="views-label"),
              el("div", *made, class_="views", role="group", aria_labelledby="views-label"))  # fmt: skip


def _chooser(found: Sequence[Bound]) -> Markup:
    groups: list[Markup] = []
    for paper in dict.fromkeys(bound.reference for bound in found):
        lines = [
            el(
                "label",
                el("input", type="checkbox", value=bound.key, name="bound"),
                el("span", el("b", bound.key.partition(".")[2].replace("_", " ")), " ", prose(bound.quantity)),
            )
            for bound in found
            if bound.reference == paper
        ]
        groups.append(el("fieldset", el("legend", paper), *lines))
    search = el("label", "Find a bound ", el("input", type="search", id="find", autocomplete="off"))
    return el(
        "details",
        el("summary", "Choose bounds (eight at most)", id="chooser-title"),
        el("p", search),
        el("div", *groups, class_="chooser", role="group", aria_labelledby="chooser-title", tabindex="0"),
        el("p", el("button", "Clear all", type="button", id="clear")),
        id="chooser",
    )


def _inputs() -> Markup:
    return el(
        "div",
        el(
            "label",
            el("input", type="checkbox", id="tied", checked=True),
            el("span", "one width for all layers of the target"),
            id="tied-label",
            hidden=True,
        ),
        el("div", id="controls"),
        class_="inputs no-print",
    )


def _plot() -> Markup:
    axis = el("label", "Horizontal axis ", el("select", id="axis"))
    logarithmic = el("label", el("input", type="checkbox", id="log", checked=True), el("span", "logarithmic values"))
    return el(
        "div",
        el("div", axis, logarithmic, class_="plot-options no-print"),
        el("div", id="plot", class_="plot"),
        class_="plot-side",
    )


def _templates(found: Sequence[Bound]) -> Markup:
    return Markup(
        "".join(
            el(
                "template",
                framed(bound),
                el("p", RELATIONS[bound.relation.name], ": ", prose(bound.quantity), class_="about"),
                id=anchor("math", bound.key),
            )
            for bound in found
        )
        + "".join(
            el("template", el("math", symbol(name)), id=f"symbol-{name}")
            for name in sorted({name for bound in found for name in (*bound.symbols, *bound.conditions)})
        )
    )  # fmt: skip


def explorer_script(found: Sequence[Bound]) -> str:
    """Return the script's data and the bounds as functions; every bound must be computable on the page.

    Raises:
        UnsupportedFunctionError: one is not; bound and function are named.
    """
    data = {
        "bounds": {bound.key: _described(bound) for bound in found},
        "controls": {
            one.id: {
                "symbol": one.symbol,
                "start": one.start,
                "low": one.low,
                "high": one.high,
                "whole": one.whole,
                "log": one.scale == "log" and one.low > 0,
                "role": one.role,
            }
            for one in controls(found)
        },
        "views": [{"axis": axis, "bounds": list(keys)} for _, axis, keys in VIEWS],
    }
    functions = ",\n".join(javascript_bound(bound) for bound in found)
    return f"const DATA={_json(data)};\nconst BOUNDS={{\n{functions}\n}};\n"


def _described(bound: Bound) -> dict[str, Any]:
    return {
        "math": anchor("math", bound.key),
        "symbols": {name: control(bound, name).id for name in bound.symbols},
        "conditions": {name: control(bound, name).id for name in bound.conditions},
        "open": sorted(bound.unspecified),
        "hypotheses": [
            {"name": h.name, "text": h.text, "needs": sorted(symbol.name for symbol in h.relation.free_symbols)}
            for h in bound.hypotheses
        ],
    }


def _json(value: Any) -> str:
    """JSON for a script: nothing in it can end the element."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).replace("<", "\\u003c")
