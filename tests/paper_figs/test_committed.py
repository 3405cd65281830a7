"""Figures of the results that are kept with the code: nothing overlaps, nothing hides the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from experiments import MissingRuns
from paper_figs import figure, names
from paper_figs._artists import contents, legend_over_data, overlaps
from paper_figs._drawing import COLUMN, PAGE, style
from strongticket.runs import Store

RESULTS = Path(__file__).parents[2] / "results"
SLOW = {"fig04_law"}  # half a minute of predictions


@pytest.mark.parametrize("name", [name for name in names() if name not in SLOW])
def test_figures_of_kept_results_can_be_read(name: str) -> None:
    with style():
        try:
            drawn = figure(name).compose(Store(RESULTS))
        except MissingRuns:
            pytest.skip("its results are not kept")
        canvas: Any = FigureCanvasAgg(drawn)
        canvas.draw()
        assert drawn.get_size_inches()[0] in (COLUMN, PAGE)
        assert overlaps(drawn) == []
        assert legend_over_data(drawn) == []
        assert any(panel.get("lines") or panel.get("bars") for panel in contents(drawn)["panels"])
