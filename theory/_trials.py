"""Run a claim's trials, with a fixed number of them or until the verdict is sure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from strongticket.statistics import Decision, Evidence, SequentialTest
from theory._claim import AbstractClaim, Tally
from theory._draws import Draws

__all__ = ["looks", "run_trials", "trial_seeds"]

# Seeds per call of the claim's `run`, so that progress can be shown; fewer at first, where a sequential test may stop.
_CHUNK, _FIRST_CHUNK = 50, 5


def trial_seeds(seed: int, trials: int) -> list[int]:
    """Return one 63-bit seed per trial; the first ones do not depend on how many are asked for.

    >>> trial_seeds(0, 2) == trial_seeds(0, 5)[:2]
    True
    """
    return [word >> 1 for word in Draws(seed).bits("trials", trials).tolist()]


def looks(trials: int, *, sequential: bool = False) -> Iterator[int]:
    """Yield the numbers of trials after which the counts are looked at; the last is all of them.

    >>> list(looks(120)), list(looks(120, sequential=True))[:4], list(looks(120, sequential=True))[-3:]
    ([50, 100, 120], [5, 10, 15, 20], [50, 100, 120])
    """
    done = 0
    while done < trials:
        done = min(trials, done + (_FIRST_CHUNK if sequential and done < _CHUNK else _CHUNK))
        yield done


def run_trials(
    claim: AbstractClaim,
    /,
    *,
    trials: int,
    seed: int,
    alpha: float,
    sequential: bool,
    family: int,
    progress: Callable[[int, int], None] | None,
    **params: Any,
) -> tuple[Tally, Evidence | None, float]:
    """Return what the trials said, of a sequential test the evidence at its last look, and the seconds they took.

    The arguments are those of `theory.falsify`.

    Raises:
        ValueError: trials, alpha, seed or family make no sense.
    """
    _check_numbers(trials, seed, alpha, family)
    claim.resolve(**params)
    test = SequentialTest(claim.failure_probability(**params), alpha / family, cap=trials)
    construction = claim.judges_construction(**params)
    started, done = time.perf_counter(), 0
    seeds, tally, evidence = trial_seeds(seed, trials), Tally(0, 0, 0, 0), test.start
    for now in looks(trials, sequential=sequential):
        tally, done = tally + claim.run(seeds[done:now], **params), now
        if progress is not None:
            progress(done, trials)
        if sequential:
            counted = tally.failures + tally.missed * construction
            evidence = test.observe(evidence, trials=done, failures=counted, undecided=tally.undecided)
            if evidence.decision is not Decision.GO_ON:
                break
    return tally, evidence if sequential else None, time.perf_counter() - started


def _check_numbers(trials: int, seed: int, alpha: float, family: int) -> None:
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise ValueError(f"trials must be an integer >= 1, got {trials!r}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must be an integer in 0..2^64-1, got {seed!r}")
    if isinstance(family, bool) or not isinstance(family, int) or family < 1:
        raise ValueError(f"family must be an integer >= 1, got {family!r}")
