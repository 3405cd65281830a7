"""What all figures share: the style, and files whose bytes depend on what is drawn alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final, get_args

from strongticket._files import write_atomically

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["COLUMN", "DPI", "FORMATS", "PAGE", "STYLE", "Drawing", "Format", "save", "style"]

Format = Literal["pdf", "png", "svg"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
COLUMN: Final = 3.25
"""Width of one column, in inches."""
DPI: Final = 300
"""Pixels per inch of a PNG."""
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


@final
@dataclass(frozen=True)
class Drawing:
    """What a figure's module calls `draw`: composes the figure and writes its files.

    Attributes:
        name: of the files, without their endings.
        compose: makes the matplotlib figure of what a store holds, or raises MissingRuns naming the command.
        alt: what is to be seen, for those who do not see it; goes into every file.
    """

    name: str
    compose: Callable[[Store], Any]
    alt: str

    def __call__(self, store: Store, out: Path, formats: Sequence[Format] = FORMATS) -> list[Path]:
        """Write OUT/NAME.pdf, .png and .svg, or the formats that are asked for, and return their paths.

        Raises:
            MissingRuns: the store lacks results; the message names the command that makes them.
            OSError: the folder cannot be written.
        """
        with style():  # some of it is read only when a figure is written
            return save(self.compose(store), out, self.name, self.alt, formats)


def save(figure: Any, out: Path, name: str, alt: str = "", formats: Sequence[Format] = FORMATS) -> list[Path]:
    """Write a figure's files; the same drawing gives the same bytes.

    Args:
        figure: a matplotlib figure, drawn in the house's style.
        out: folder.
        name: of the files, without their endings.
        alt: what is to be seen: the title of the SVG (what screen readers say), the description of the others.
        formats: endings of the files.

    Raises:
        OSError: the folder cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    kinds: dict[Format, tuple[Any, dict[str, str | None]]] = {
        "pdf": (FigureCanvasPdf, {"CreationDate": None, "ModDate": None, "Title": name, "Subject": alt}),
        "png": (FigureCanvasAgg, {"Software": None, "Description": alt}),
        "svg": (FigureCanvasSVG, {"Date": None, "Creator": None, "Title": alt or name}),
    }
    _lay_out(figure)
    written = []
    for kind in dict.fromkeys(formats):
        canvas, metadata = kinds[kind]
        content = io.BytesIO()
        canvas(figure).print_figure(content, format=kind, metadata=metadata, dpi=DPI)
        written.append(write_atomically(out / f"{name}.{kind}", content.getvalue()))
    return written


def _lay_out(figure: Any) -> None:
    """Find every panel's place once, so that no file depends on which others were written before it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    before = figure.dpi
    figure.set_dpi(DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")
    figure.set_dpi(before)
