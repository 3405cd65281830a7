"""The figures, drawn anew from the store and put into the page; a missing run is named where its figure would be."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import MissingRuns
from paper_figs import figure, names
from paper_figs.report._html import Markup, anchor, el
from paper_figs.report._results import Missing, Study, Watched, read

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
    watched = Watched(store)
    try:
        written = module.draw(watched, folder, ("svg",))
        if written[0].stat().st_size > _LARGEST:
            written = module.draw(watched, folder, ("png",))
    except MissingRuns as error:
        found = [read(store, needed, preset) for needed in module.NEEDS]
        missing = [one for one in found if isinstance(one, Missing)]
        lines = str(error).splitlines()
        notes = missing or [Missing(name, lines[0].rstrip(";"), " ".join(line.strip() for line in lines[1:]))]
        return Markup("".join(note.notice(el("code", name)) for note in notes)), []
    data = f"data:{_TYPES[written[0].suffix]};base64,{base64.b64encode(written[0].read_bytes()).decode()}"
    studies = [study for needed in module.NEEDS for study in watched.studies(needed)]
    drawn = el("img", src=data, alt=module.ALT, loading="lazy", decoding="async")
    shown = el("figure", el("div", drawn, class_="paper"), el("figcaption", module.CAPTION))
    sources = Markup("".join(study.source() for study in studies))
    return Markup(shown + (sources or _benchmark(store, module))), studies


def _benchmark(store: Store, module: Figure) -> Markup:
    """Where the numbers of a figure without experiments come from: a file of measurements of one machine."""
    path = store.folder / str(getattr(module, "RESULT", ""))
    if not path.is_file():
        return Markup("")
    seen = json.loads(path.read_text(encoding="utf-8")).get("environment", {})
    machine = [f"{name} {seen[name]}" for name in ("python", "torch", "numpy", "numba") if seen.get(name)]
    machine += [str(seen[name]) for name in ("platform", "cpu") if seen.get(name)]
    return el(
        "p",
        "From ",
        el("code", str(path)),
        f" ({', '.join(machine)}; revision {seen.get('revision') or 'unknown'}): ",
        el("code", str(getattr(module, "COMMAND", "")).format(path=path)),
        class_="source",
    )
