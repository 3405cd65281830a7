"""Theorems on strong lottery tickets that can be read, checked step by step, and broken by experiment.

One file per paper. A `Theorem` holds the statement with all its hypotheses, the keys of its bounds, the proof steps
that sympy or exact arithmetic checks, what is argued in words or cited, and a claim: an experiment whose failures must
stay as rare as the theorem says.

>>> import theory
>>> theorem = theory.get("lueker1998exponentially.explicit")
>>> {result.passed for result in theorem.check_steps()}
{True}

On a terminal: `python -m theory list | show KEY | check KEY | compare`. To add a theorem, see `theory/_template.py`;
one that lives elsewhere is made known by `register`, on the terminal by `--load MODULE`.
"""

from __future__ import annotations

import importlib
import pkgutil

from theory._claim import (
    AbstractClaim,
    Outcome,
    Tally,
    Trial,
    check_choice,
    check_factor,
    check_whole,
    in_turn,
)
from theory._draws import Draws
from theory._report import Looseness, Report, Verdict, adjusted
from theory._theorem import Assumption, ProofStep, StepResult, Theorem, falsify, judge, looseness
from theory._tickets import AbstractTicketClaim, fewer
from theory._trials import trial_seeds

__all__ = [
    "AbstractClaim",
    "AbstractTicketClaim",
    "Assumption",
    "Draws",
    "Looseness",
    "Outcome",
    "ProofStep",
    "Report",
    "StepResult",
    "Tally",
    "Theorem",
    "Trial",
    "Verdict",
    "adjusted",
    "all",
    "check_choice",
    "check_factor",
    "check_whole",
    "falsify",
    "fewer",
    "find",
    "forget",
    "get",
    "in_turn",
    "judge",
    "looseness",
    "papers",
    "register",
    "trial_seeds",
]


_registered: dict[str, Theorem] = {}


def papers() -> tuple[str, ...]:
    """Return the keys of the papers that have a file here, sorted."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")))


def _own() -> tuple[Theorem, ...]:
    """Return every theorem that has a file here."""
    return tuple(theorem for paper in papers() for theorem in importlib.import_module(f"{__name__}.{paper}").THEOREMS)


def all() -> tuple[Theorem, ...]:
    """Return every theorem of every paper, and then those that were registered."""
    return (*_own(), *_registered.values())


def register(*theorems: Theorem) -> None:
    """Make theorems of yours known, so that `find`, `get` and the command line see them as they see those here.

    Registering the same theorem again changes nothing, so a module may do it when it is imported.

    Raises:
        TypeError: something else than a theorem.
        ValueError: another theorem has that key.

    >>> from theory._template import THEOREMS
    >>> register(*THEOREMS)
    >>> get("template2026one.nearest") is THEOREMS[0]
    True
    >>> forget("template2026one")
    """
    for theorem in theorems:
        if not isinstance(theorem, Theorem):
            raise TypeError(f"expected theorems, got {type(theorem).__name__}: unpack them, register(*THEOREMS)")
    known = {theorem.key: theorem for theorem in all()}
    for theorem in theorems:
        if known.setdefault(theorem.key, theorem) != theorem:
            raise ValueError(f"there is another theorem {theorem.key!r}: choose another key, or forget it first")
    here = {theorem.key for theorem in _own()}
    _registered.update({theorem.key: theorem for theorem in theorems if theorem.key not in here})


def forget(key: str) -> None:
    """Undo `register` for a theorem, or for all of a paper; theorems that have a file here stay.

    Raises:
        KeyError: nothing of that name was registered.
    """
    found = [theorem.key for theorem in _registered.values() if key in (theorem.key, theorem.paper)]
    if not found:
        raise KeyError(f"no theorem {key!r} was registered; there are {', '.join(_registered) or 'none'}")
    for name in found:
        del _registered[name]


def find(key: str) -> tuple[Theorem, ...]:
    """Return the theorem with this key, or all theorems of a paper when only the paper is named.

    Raises:
        KeyError: there is none; the message lists those that exist.
    """
    found = tuple(theorem for theorem in all() if key in (theorem.key, theorem.paper))
    if not found:
        raise KeyError(f"no theorem {key!r}; there are {', '.join(theorem.key for theorem in all())}")
    return found


def get(key: str) -> Theorem:
    """Return the one theorem with this key.

    Raises:
        KeyError: there is none, or a paper is named that has several.
    """
    found = find(key)
    if len(found) > 1:
        raise KeyError(f"{key!r} names several theorems: {', '.join(theorem.key for theorem in found)}")
    return found[0]
