"""The doors of the report: which runs it wants, and the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongticket._files import check_writable, write_atomically

if TYPE_CHECKING:
    from strongticket.runs import Store

__all__ = ["build", "needs"]

_QUICK: Final = (
    "falsification",
    "looseness",
    "bounds",
    "comparison",
    "proofs",
    "strict_tickets",
    "grand_comparison",
    "search_methods",
    "search_density",
    "search_width",
    "search_inits",
    "imp",
    "elastic",
    "small_obs",
    "scaling",
    "ticket_sparsity",
    "quantized_threshold",
)
"""What a quick report is made of: minutes in all. What takes longer is shown if it is there, and named if it is not."""

_INSTEAD: Final = {("looseness", "quick"): "every"}
"""Of three theorems the table would say little; all of them, with fewer factors, are as quick."""


def needs(preset: str = "quick") -> tuple[tuple[str, str], ...]:
    """Return (experiment, preset) of everything that a report of this preset wants made.

    >>> ("comparison", "quick") in needs("quick")
    True

    Raises:
        ValueError: no experiment has such a preset.
    """
    from experiments import find, names

    there = set(names())
    chosen = _QUICK if preset == "quick" else tuple(names())
    wanted = [(name, _INSTEAD.get((name, preset), preset)) for name in chosen if name in there]
    found = tuple((name, one) for name, one in wanted if one in find(name).presets())
    if not found:
        raise ValueError(f"no experiment has a preset {preset!r}; a report is made of 'quick' or 'default'")
    return found


def build(store: Store, out: Path, *, preset: str = "quick", check_steps: bool = True) -> Path:
    """Write the report as one HTML file, of whatever the store holds, and return its path.

    Each table and figure shows the most expensive preset of its experiment that is complete; what is missing is named
    on the page with the command that makes it. The same store gives the same bytes.

    Args:
        store: where the results are.
        out: the file; a folder stands for `report.html` in it.
        preset: whose commands are named where runs are missing.
        check_steps: check every proof step now, in about half a minute; else the page says how to.

    Raises:
        ValueError: no experiment has such a preset.
        UnsupportedFunctionError: a bound holds a function that the page cannot compute.
        OSError: the file cannot be written.
    """
    from paper_figs.report._page import page

    needs(preset)
    path = out / "report.html" if out.is_dir() or not out.suffix else out
    check_writable(path)
    return write_atomically(path, page(store, preset, check_steps=check_steps))
