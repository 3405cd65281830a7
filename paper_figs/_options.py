"""The options of `python -m paper_figs`; the only module of this room that needs tyro."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from paper_figs._drawing import FORMATS, Format

__all__ = ["Draw"]


@dataclass(frozen=True)
class Draw:
    """Draw figures from results, as PDF, PNG and SVG; missing results are named, with the command that makes them."""

    names: Positional[tuple[str, ...]] = ()
    """Figures to draw, such as fig01; all of them if none is named."""
    results: Path = Path("results")
    """Folder of the results store, as given to python -m experiments."""
    out: Path = Path("out/figures")
    """Folder that the figures are written to."""
    formats: Annotated[tuple[Format, ...], tyro.conf.arg(name="format")] = FORMATS
    """What is written."""
    list: bool = False
    """Only name the figures and the experiments that they need."""
