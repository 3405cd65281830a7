"""What all figures share: the style, and files whose bytes depend on what is drawn alone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from strongticket._files import write_atomically

__all__ = ["COLUMN", "PAGE", "STYLE", "save", "style"]

COLUMN: Final = 3.25
"""Width of one column, in inches."""
PAGE: Final = 6.75
"""Width of the page, in inches."""
STYLE: Final = Path(__file__).with_name("strongticket.mplstyle")


@contextmanager
def style() -> Iterator[Any]:
    """Draw in the house's style, without a display; yields matplotlib's Figure class."""
    import matplotlib as mpl
    import matplotlib.style
    from matplotlib.figure import Figure

    # a Figure of its own, not pyplot: no window, no backend, no global state
    with mpl.rc_context():
        mpl.rcdefaults()
        matplotlib.style.use(STYLE)
        yield Figure


def save(figure: Any, out: Path, name: str) -> list[Path]:
    """Write OUT/NAME.pdf and OUT/NAME.png; the same drawing gives the same bytes.

    Raises:
        OSError: the folder cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    written = []
    for kind, canvas, metadata in (
        ("pdf", FigureCanvasPdf, {"CreationDate": None, "ModDate": None, "Title": name}),
        ("png", FigureCanvasAgg, {"Software": None}),
    ):
        content = io.BytesIO()
        canvas(figure).print_figure(content, format=kind, metadata=metadata, dpi=300)
        written.append(write_atomically(out / f"{name}.{kind}", content.getvalue()))
    return written
