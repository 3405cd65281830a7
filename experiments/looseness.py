"""How loose each theorem is: its verdict, and the factor by which its bound can shrink before it is falsified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from experiments._experiment import AbstractExperiment

__all__ = ["Looseness"]

_THEOREMS = ("lueker1998exponentially.explicit", "pensia2020optimal.theorem1", "pensia2020optimal.theorem2")
_FACTORS = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0, 256.0)


_DOUBLED = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


@final
@dataclass(frozen=True)
class Looseness(AbstractExperiment):
    """Try to falsify a theorem at its default parameters, then its optimistic twins until one is caught.

    Args:
        theorem: key of the theorem.
        trials: trials of the theorem itself.
        twin_trials: trials of each twin.
        factors: the bound is divided by these, in turn.
        seed: of the trials.
    """

    name: ClassVar[str] = "looseness"
    version: ClassVar[int] = 2

    theorem: str = "pensia2020optimal.theorem1"
    trials: int = 2000
    twin_trials: int = 200
    factors: tuple[float, ...] = _FACTORS
    seed: int = 0

    def run(self) -> dict[str, Any]:
        """Return the verdict of the theorem and the table of its twins."""
        import theory

        theorem = theory.get(self.theorem)
        report = theorem.falsify(trials=self.trials, seed=self.seed)
        twins = theorem.looseness(trials=self.twin_trials, seed=self.seed, factors=self.factors)
        seconds = [report.seconds, *(twin.seconds for _, twin in twins.rows)]
        table = twins.to_json()
        table["rows"] = [_plain(row) for row in table["rows"]]
        return {"verdict": _plain(report.to_json()), "twins": table, "measured": {"seconds": seconds}}

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: 200 trials each; every: all theorems, factors doubled; default: 2,000 trials and 5 seeds."""
        import theory

        keys = [theorem.key for theorem in theory.all() if theorem.claim is not None]
        return {
            "quick": [cls(theorem=theorem, trials=200) for theorem in _THEOREMS],
            "every": [cls(theorem=key, trials=200, twin_trials=60, factors=_DOUBLED) for key in keys],
            "default": [cls(theorem=theorem, seed=seed) for theorem in _THEOREMS for seed in range(5)],
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per theorem and seed."""
        return [
            {
                "theorem": run.theorem,
                "seed": run.seed,
                "failures": result["verdict"]["failures"],
                "missed": result["verdict"]["missed"],
                "trials": result["verdict"]["trials"],
                "allowed": result["verdict"]["delta"],
                "verdict": result["verdict"]["verdict"],
                "not falsified up to /": result["twins"]["largest_not_falsified"],
                "falsified at /": result["twins"]["falsified_at"],
                "seconds": sum(result["measured"]["seconds"]),
            }
            for run, result in finished
        ]


_FIELDS = (
    *("key", "params", "trials", "failures", "missed", "undecided", "judges_construction", "delta", "alpha", "p_value"),
    *("low", "high", "verdict", "setting", "examples", "checked", "factor"),
)


def _plain(report: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a report: nothing that depends on the machine, nor what was added to reports since version 2."""
    return {name: value for name, value in report.items() if name in _FIELDS}
