"""The report: one HTML page with every theorem, its verdict, an explorer of the bounds, tables, figures, provenance.

`python -m experiments report` makes the runs that `needs` names, then calls `build`. The page is one file and asks
the network for nothing: formulas are MathML, figures are inside, the explorer is made from `strongticket.bounds`.

>>> from paper_figs.report import needs
>>> needs("quick")[0][1]
'quick'
"""

from __future__ import annotations

from paper_figs.report._build import build, needs

__all__ = ["build", "needs"]
