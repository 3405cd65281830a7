"""HTML that cannot be malformed or injected: elements are made by a function, and every text is escaped in it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

__all__ = ["Markup", "Part", "anchor", "breakable", "el", "join", "number", "text"]

_EMPTY: Final = frozenset({"br", "col", "hr", "img", "input", "link", "meta", "wbr"})


class Markup(str):
    """Text that is HTML already; only this module and files beside it make it."""

    __slots__ = ()


Part: TypeAlias = "str | Markup | Iterable[Part] | None"


def text(part: Part) -> Markup:
    """Return a part as HTML: a string is escaped, markup is kept, None is nothing, parts in a row are joined.

    >>> text(["a < b", Markup("<br>"), None])
    'a &lt; b<br>'
    """
    if part is None:
        return Markup("")
    if isinstance(part, Markup):
        return part
    if isinstance(part, str):
        return Markup(html.escape(part))
    return Markup("".join(text(inner) for inner in part))


def el(tag: str, *children: Part, **attributes: str | int | float | bool | None) -> Markup:
    """Return an element; `class_` is class and `aria_label` is aria-label, None and False leave an attribute out.

    >>> el("a", "x & y", href="#z", class_=None)
    '<a href="#z">x &amp; y</a>'
    """
    made = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        shown = name.rstrip("_").replace("_", "-")
        made.append(f" {shown}" if value is True else f' {shown}="{html.escape(str(value))}"')
    start = f"<{tag}{''.join(made)}>"
    return Markup(start if tag in _EMPTY else f"{start}{text(children)}</{tag}>")


def join(parts: Iterable[Part], between: Part = ", ") -> Markup:
    """Return parts with something between them."""
    return Markup(text(between).join(text(part) for part in parts))


def anchor(*words: str) -> str:
    """Return an id made of letters, digits and "-".

    >>> anchor("theorem", "pensia2020optimal.theorem1")
    'theorem-pensia2020optimal-theorem1'
    """
    return "-".join(re.sub("[^A-Za-z0-9]+", "-", word).strip("-") for word in words)


def number(value: float | None) -> str:
    """Return a number for readers: whole ones with separators, others with four digits; a dash for none.

    >>> number(1234567), number(0.000123456), number(2.5), number(None)
    ('1,234,567', '0.0001235', '2.5', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{int(value):,}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e6 else f"{value:.4g}"


def breakable(key: str) -> Markup:
    """Return a key that may be broken after its dots and underscores, and nowhere else as long as that suffices."""
    return Markup(re.sub("([._])", r"\1<wbr>", text(key)))
