"""Theorems on strong lottery tickets that can be read, checked step by step, and broken by experiment.

One file per paper. A `Theorem` holds the statement with all its hypotheses, the keys of its bounds, the proof steps
that sympy or exact arithmetic checks, what is argued in words or cited, and a claim: an experiment whose failures must
stay as rare as the theorem says.

>>> import theory
>>> theorem = theory.get("lueker1998exponentially.explicit")
>>> {result.passed for result in theorem.check_steps()}
{True}

On a terminal: `python -m theory list | show KEY | check KEY | compare`. To add a theorem, see `theory/_template.py`.
"""

from __future__ import annotations

import importlib
import pkgutil

from theory._claim import AbstractClaim, Outcome, Tally, Trial
from theory._falsify import Looseness, Report, Verdict, adjusted, falsify, judge, looseness, trial_seeds
from theory._theorem import Assumption, ProofStep, StepResult, Theorem

__all__ = [
    "AbstractClaim",
    "Assumption",
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
    "falsify",
    "find",
    "get",
    "judge",
    "looseness",
    "papers",
    "trial_seeds",
]


def papers() -> tuple[str, ...]:
    """Return the keys of the papers that have a file here, sorted."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")))


def all() -> tuple[Theorem, ...]:
    """Return every theorem of every paper."""
    return tuple(theorem for paper in papers() for theorem in importlib.import_module(f"{__name__}.{paper}").THEOREMS)


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
