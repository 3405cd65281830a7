"""The gallery: each figure of `paper_figs` as it lies in docs/figures, with what it shows and how it is made."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import paper_figs
from generate.rst import code, escape, inline, title

__all__ = ["page"]

_FIGURES = Path(__file__).resolve().parents[1] / "figures"


def _caption(name: str) -> tuple[str, str, str]:
    """Heading, caption and alternative text of a figure."""
    module = importlib.import_module(f"paper_figs.{name}")
    first = (inspect.getdoc(module) or name).split("\n")[0].rstrip(".")
    caption = getattr(module, "CAPTION", "")
    return first, caption, getattr(module, "ALT", "") or caption or first


def page() -> str:
    """Return the page of all figures; those that have not been drawn yet are named with their commands."""
    lines = [
        title("Gallery"),
        "Drawn by ``python -m paper_figs`` from a results store; nothing is trained or constructed to draw. A figure "
        "whose runs are missing names the command that makes them. Curves of theory come from the same formulas that "
        "size the constructions.",
        "",
    ]
    for name in paper_figs.names():
        head, caption, alt = _caption(name)
        lines += [f".. _{name}:", "", title(escape(head), "-")]
        if (_FIGURES / f"{name}.png").is_file():
            alt = " ".join(alt.split())
            lines += [f".. image:: figures/{name}.png", f"   :alt: {alt}", f"   :target: _images/{name}.png", ""]
        else:
            lines += ["Not drawn yet.", ""]
        if caption:
            lines += [inline(" ".join(caption.split())), ""]
        needs = ", ".join(f"``{need}``" for need in paper_figs.figure(name).NEEDS)
        short = name.split("_")[0]
        lines += [f"From the experiments {needs}.", "", code(f"python -m paper_figs {short}", "console")]
    return "\n".join(lines)
