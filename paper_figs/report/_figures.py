"""The figures, drawn anew from the store and put into the page; a missing run is named where its figure would be."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import MissingRuns
from paper_figs import figure, names
from paper_figs.report._html import Markup, anchor, el
from paper_figs.report._results import Missing, Study, read

if TYPE_CHECKING:
    from paper_figs import Figure
    from strongticket.runs import Store

__all__ = ["figures_section"]

_LARGEST = 900_000
"""Bytes of a vector drawing; a larger one is shown as pixels."""
_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


def figures_section(store: Store, preset: str) -> tuple[Markup, list[Study]]:
    """Return all figures, and the studies that they show."""
    parts: list[Markup] = []
    studies: dict[str, Study] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names():
            module = figure(name)
            title = (module.__doc__ or name).splitlines()[0]
            head = el("h3", title.removesuffix("."), id=anchor("figure", name))
            shown, sources = _figure(store, preset, name, module, Path(folder))
            for study in sources:
                studies.setdefault(study.anchor, study)
            parts.append(el("section", head, shown))
    return Markup("".join(parts)), list(studies.values())


def _figure(store: Store, preset: str, name: str, module: Figure, folder: Path) -> tuple[Markup, list[Study]]:
    found = [read(store, needed, preset) for needed in module.NEEDS]
    missing = [one for one in found if isinstance(one, Missing)]
    try:
        written = module.draw(store, folder, ("svg",))
        if written[0].stat().st_size > _LARGEST:
            written = module.draw(store, folder, ("png",))
    except MissingRuns as error:
        lines = str(error).splitlines()
        notes = missing or [Missing(name, lines[0].rstrip(";"), " ".join(line.strip() for line in lines[1:]))]
        return Markup("".join(note.notice(el("code", name)) for note in notes)), []
    data = f"data:{_TYPES[written[0].suffix]};base64,{base64.b64encode(written[0].read_bytes()).decode()}"
    caption = _said(module, "CAPTION")
    studies = [one for one in found if isinstance(one, Study)]
    drawn = el("img", src=data, alt=_said(module, "ALT"), loading="lazy", decoding="async")
    shown = el("figure", el("div", drawn, class_="paper"), el("figcaption", caption))
    return Markup(shown + "".join(study.source() for study in studies)), studies


def _said(module: Figure, what: str) -> str:
    """A figure's own words, or its first line."""
    said = str(getattr(module, what, "") or "")
    return said if said and not said.startswith("TODO") else (module.__doc__ or "").splitlines()[0]
