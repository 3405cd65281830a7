"""The gallery: each figure of `paper_figs` as it lies in docs/figures, with what it shows and how it is made."""

from __future__ import annotations

from pathlib import Path

import paper_figs
from generate.rst import code, escape, inline, title

__all__ = ["page"]

_FIGURES = Path(__file__).resolve().parents[1] / "figures"


def _source(figure: paper_figs.Figure) -> str:
    """What a figure is drawn from."""
    if figure.NEEDS:
        kind = "experiment" if len(figure.NEEDS) == 1 else "experiments"
        return f"From the {kind} {', '.join(f'``{name}``' for name in figure.NEEDS)}."
    # a benchmark: a file of measurements of one machine, see `paper_figs.report`
    made = getattr(figure, "COMMAND", "").format(path=f"results/{getattr(figure, 'RESULT', '')}")
    return f"From a benchmark, ``{made}``."


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
        figure = paper_figs.figure(name)
        head = (figure.__doc__ or name).split("\n")[0].rstrip(".")
        lines += [f".. _{name}:", "", title(escape(head), "-")]
        if (_FIGURES / f"{name}.png").is_file():
            lines += [f".. image:: figures/{name}.png", f"   :alt: {figure.ALT}", f"   :target: _images/{name}.png", ""]
        else:
            lines += ["Not drawn yet.", ""]
        lines += [inline(figure.CAPTION), "", _source(figure), ""]
        lines.append(code(f"python -m paper_figs {name.split('_')[0]}", "console"))
    return "\n".join(lines)
