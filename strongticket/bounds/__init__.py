"""Formulas of papers as objects that know their hypotheses: one file per paper, and the only home of each formula.

A `Bound` is found by its key, the paper's key and a name:

>>> from strongticket import bounds
>>> bound = bounds.get("pensia2020optimal.theorem2_parameters")
>>> round(bound(d=10, eps=0.01), 1)
563.4
>>> bound.relation
<Relation.LOWER: 'necessary: nothing smaller can do'>

Importing this package is cheap: papers are found when they are asked for, and sympy is loaded by the first formula
that is used.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from types import ModuleType

from strongticket.bounds._bound import Bound, Formula, Hypothesis, HypothesisError, Relation, Unspecified

__all__ = [
    "Bound",
    "Formula",
    "Hypothesis",
    "HypothesisError",
    "Relation",
    "Unspecified",
    "all",
    "get",
    "papers",
]

_PAPER = re.compile("[a-z]+[0-9]{4}[a-z]+")  # first author, year, first word of the title


def papers() -> tuple[str, ...]:
    """Return the keys of the papers that have a file here, sorted.

    >>> "lueker1998exponentially" in papers()
    True
    """
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__) if _PAPER.fullmatch(found.name)))


def _paper(key: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{key}")


def all() -> tuple[Bound, ...]:
    """Return every bound of every paper, for tables and for tests that must hold for each of them."""
    return tuple(bound for paper in papers() for bound in _paper(paper).BOUNDS)


def get(key: str) -> Bound:
    """Return the bound with this key, `"<paper>.<name>"`.

    Raises:
        KeyError: there is no such paper or no such bound; the message lists those that exist.
    """
    paper, _, _ = key.partition(".")
    if paper not in papers():
        raise KeyError(f"no paper {paper!r} among the bounds; there are {', '.join(papers())}")
    found: dict[str, Bound] = {bound.key: bound for bound in _paper(paper).BOUNDS}
    if key not in found:
        raise KeyError(f"no bound {key!r}; {paper} has {', '.join(sorted(found))}")
    return found[key]
