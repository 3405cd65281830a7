"""Plain statements as readers expect them: Greek letters, indices and signs, from text that stays plain in code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from paper_figs.report._html import Markup, Part, el, text

__all__ = ["LETTERS", "authors", "citations", "cite", "prose"]

LETTERS: Final = {
    "eps": "ε", "delta": "δ", "gamma": "γ", "theta": "θ", "alpha": "α", "beta": "β", "eta": "η", "kappa": "κ",
    "sigma": "σ", "tau": "τ", "phi": "φ", "pi": "π", "lambda": "λ",
}  # fmt: skip
"""Greek letters by the names that formulas and plain statements give them."""
_SIGNS: Final = {"&lt;=": "≤", "&gt;=": "≥", "!=": "≠", "-&gt;": "→", "+-": "±", " - ": " − "}
_WORD: Final = re.compile(r"(?<![A-Za-z0-9_.=])(" + "|".join(LETTERS) + r")(?![A-Za-z0-9=]|\.[A-Za-z0-9])(?!_[a-z]{2})")
_BELOW: Final = re.compile(
    r"(?<![A-Za-z0-9_.])([A-Za-zα-ω]_[A-Za-z0-9]+|sum_[A-Za-z0-9](?![A-Za-z0-9])|(?:[A-Za-zα-ω]|sum|max)_\{[^{}]*\})(?![\w.]*\.[a-z])"
)
_ENTRY: Final = re.compile(r"(?:(?<=\])|(?<=\^-1))_(:?[A-Za-z]+)(?![A-Za-z0-9_])")  # [H^-1]_qq, H^-1_:P
_ABOVE: Final = re.compile(r"\^(\{[^{}]*\}|-?\((?:[^()]|\([^()]*\))*\)|-?[A-Za-z0-9]+)")
_ROOT: Final = re.compile(r"(?<![A-Za-z0-9_.])sqrt\(")
_BINARY: Final = re.compile(r"(?<![A-Za-z0-9_.])log2(?![A-Za-z0-9_.])")
_ACCENTS: Final = {
    "'": "\u0301",
    "`": "\u0300",
    '"': "\u0308",
    "^": "\u0302",
    "~": "\u0303",
    "c": "\u0327",
    "v": "\u030c",
}


def prose(plain: str) -> Markup:
    """Return a plain statement as HTML.

    >>> prose("|W_i| <= 1, eps^2 < 2^-m, d_{i-1} (pensia2020optimal.theorem1_width)")
    '|W<sub>i</sub>| ≤ 1, ε<sup>2</sup> &lt; 2<sup>−m</sup>, d<sub>i-1</sub> (pensia2020optimal.theorem1_width)'
    """
    shown: str = text(plain)
    for sign, drawn in _SIGNS.items():
        shown = shown.replace(sign, drawn)
    shown = shown.replace("weight_eps", "ε_w")
    shown = _WORD.sub(lambda found: LETTERS[found[1]], shown)
    shown = _BELOW.sub(_lowered, shown)
    shown = _ENTRY.sub(r"<sub>\1</sub>", shown)
    shown = _BINARY.sub("log<sub>2</sub>", shown)
    shown = _ROOT.sub("√(", shown)
    return Markup(_raised(shown))


def _lowered(found: re.Match[str]) -> str:
    base, _, below = found[1].partition("_")
    return f"{base}<sub>{_bare(below)}</sub>"


def _raised(shown: str) -> str:
    return _ABOVE.sub(lambda found: f"<sup>{_raised(_bare(found[1]).replace('-', '−'))}</sup>", shown)


def _bare(inner: str) -> str:
    return inner[1:-1] if inner[0] in "{(" else inner


def citations() -> dict[str, dict[str, str]]:
    """Return the entries of references.bib by key, each with its fields as plain text."""
    path = Path(__file__).parents[2] / "references.bib"
    found = {}
    for entry in re.split(r"^@\w+\s*\{", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
        key, _, body = entry.partition(",")
        fields = re.findall(r"^\s*(\w+)\s*=\s*\{(.*)\},?\s*$", body, flags=re.M)
        found[key.strip()] = {name.lower(): _plain(value) for name, value in fields}
    return found


def _plain(latex: str) -> str:
    """Return a field of a BibTeX entry without its braces and accents, Greek letters as themselves."""
    import unicodedata

    shown = re.sub(r"\$\\(?:var)?(\w+)\$", lambda m: unicodedata.lookup(f"GREEK SMALL LETTER {m[1].upper()}"), latex)
    shown = re.sub(r"\{?\\([\'`\"^~]|[cv](?=[\s{]))\s*\{?(\w)\}?\}?", lambda m: m[2] + _ACCENTS[m[1]], shown)
    shown = shown.replace("--", "–").replace("\\&", "&").replace("~", " ")
    return unicodedata.normalize("NFC", re.sub(r"[{}]", "", shown))


def authors(entry: dict[str, str] | None, key: str) -> str:
    """Return who wrote it and when, as one says it."""
    if entry is None:
        return key
    names = [name.split(",")[0].strip() for name in entry.get("author", "").split(" and ") if name.strip()]
    who = names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."
    return f"{who} {entry.get('year', '')}"


def cite(entry: dict[str, str] | None, key: str) -> Markup:
    """Return title and place of a paper, with a link to arXiv or the DOI where there is one."""
    if entry is None:
        return el("cite", key)
    where = entry.get("journal") or entry.get("booktitle") or ""
    link = ""
    if entry.get("doi"):
        link = f"https://doi.org/{entry['doi']}"
    elif entry.get("eprint"):
        link = f"https://arxiv.org/abs/{entry['eprint']}"
    shown: list[Part] = [el("cite", entry.get("title", key)), f". {where}" if where else ""]
    if link:
        shown += [" ", el("a", link.removeprefix("https://"), href=link, rel="noreferrer")]
    return el("span", *shown)
