"""Try to falsify every theorem that makes a claim: thousands of trials in blocks, verdicts adjusted for their number.

One run is one block of trials of one claim. Trial i of a study has the i-th seed of `theory.falsify`, so that the
blocks of a claim together are one call of it, whoever ran them and in whatever order.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, final

from experiments._experiment import AbstractExperiment

if TYPE_CHECKING:
    from theory import Report

__all__ = ["ALPHA", "Falsification", "reports"]

ALPHA: Final = 1e-6
"""With at most this probability any true theorem of a table is called falsified."""

# Trials of these last 4-35 and over 100 ms where they were timed; it decides how many there are, in what blocks.
_SLOW: Final = frozenset(
    {
        "belkin2019reconciling.nested",
        "burkholz2022convolutional.residual",
        "dacunha2022proving.theorem",
        "diffenderfer2021multiprize.tickets",
        "ferbach2023general.theorem1",
        "gadhikar2023random.tickets",
        "hassibi1992second.joint",
        "hassibi1992second.recursion",
        "kumar2025quantized.theorem1",
        "lecun1989optimal.recursion",
        "lecun1989optimal.saliency",
        "ma2018power.optimal",
        "malach2020proving.neurons",
        "malach2020proving.one_product",
        "malach2020proving.theorem2_1",
        "natale2024sparsity.theorem3",
        "orseau2020logarithmic.hyperbolic",
        "orseau2020logarithmic.uniform",
        "otsuka2025attention.theorem11",
        "otsuka2025attention.theorem3",
        "otsuka2025partially.locked",
        "pensia2020optimal.theorem1",
        "sreenivasan2022finding.tickets",
    }
)
_SLOWEST: Final = frozenset({"belkin2020two.gaussian", "burkholz2022most.depth"})
# These allow nearly every trial to fail, so that fewer could not contradict them among so many claims.
_LENIENT: Final = frozenset({"gadhikar2023random.floor", "natale2024sparsity.theorem2"})


@final
@dataclass(frozen=True)
class Falsification(AbstractExperiment):
    """A block of the trials of a claim.

    Attributes:
        theorem: key of a theorem with a claim.
        settings: parameters of the claim as name=value; its defaults otherwise.
        block: trials block * trials .. (block + 1) * trials - 1 of the study are run, 0 first.
        trials: in each block.
        seed: of the study, 0..2^64-1.
    """

    name: ClassVar[str] = "falsification"
    version: ClassVar[int] = 1

    theorem: str = "pensia2020optimal.theorem1"
    settings: tuple[str, ...] = ()
    block: int = 0
    trials: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.block < 0 or self.trials < 1 or not 0 <= self.seed < 1 << 64:
            raise ValueError(
                f"expected block >= 0, trials >= 1 and 0 <= seed < 2^64, got {self.block}, {self.trials}, {self.seed}"
            )

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: 200 trials per claim, 40 of slow ones; pensia: 10,000 of one; default: 2,000, 400 of the slowest."""
        import theory

        keys = [theorem.key for theorem in theory.all() if theorem.claim is not None]
        slow = _SLOW | _SLOWEST
        return {
            "quick": [
                run
                for key in keys
                for run in cls.study(key, 1, 40 if key in slow else 1500 if key in _LENIENT else 200)
            ],
            "pensia": cls.study("pensia2020optimal.theorem1", 100, 100),
            "default": [
                run
                for key in keys
                for run in cls.study(key, *((16, 25) if key in _SLOWEST else (20, 100) if key in slow else (2, 1000)))
            ],
        }

    @classmethod
    def study(
        cls, theorem: str, blocks: int, trials: int, *, settings: tuple[str, ...] = (), seed: int = 0
    ) -> list[Self]:
        """Return the runs of a claim's study: so many blocks of so many trials each.

        >>> [run.block for run in Falsification.study("lueker1998exponentially.explicit", blocks=3, trials=10)]
        [0, 1, 2]
        """
        return [cls(theorem, settings, block, trials, seed) for block in range(blocks)]

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the claim that are set."""
        from theory._claim import setting

        return dict(map(setting, self.settings))

    def run(self) -> dict[str, Any]:
        """Return the counts of the block, and examples of its trials that did not succeed."""
        import theory
        from theory import trial_seeds

        claim = theory.get(self.theorem).claim
        if claim is None:
            raise ValueError(f"{self.theorem} has no claim to falsify; python -m theory list shows those that have")
        params = self.params
        claim.resolve(**params)
        seeds = trial_seeds(self.seed, (self.block + 1) * self.trials)[self.block * self.trials :]
        started = time.perf_counter()
        tally = claim.run(seeds, **params)
        return {
            "failures": tally.failures,
            "missed": tally.missed,
            "undecided": tally.undecided,
            "examples": list(tally.examples),
            "measured": {"seconds": time.perf_counter() - started},
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per claim: its trials, interval and p-value, and the verdict among all claims of the table."""
        from strongticket.statistics import benjamini_hochberg

        found = reports(finished)
        shares = benjamini_hochberg([report.p_value for report in found])
        return [
            {
                "theorem": report.key + "".join(f" {setting}" for setting in study.settings),
                "seed": study.seed,
                "trials": report.trials,
                "failures": report.failures,
                "missed": report.missed,
                "undecided": report.undecided,
                "allowed": report.delta,
                "low 99%": report.low,
                "high 99%": report.high,
                "p": report.p_value,
                "p Holm": report.p_adjusted,
                "p BH": share,
                "level": report.alpha,
                "verdict": report.verdict.name,
                "seconds": report.seconds,
            }
            for study, report, share in zip(_studies(finished), found, shares, strict=True)
        ]


def reports(finished: Iterable[tuple[Falsification, dict[str, Any]]], *, alpha: float = ALPHA) -> tuple[Report, ...]:
    """Return the report of each claim from its blocks, adjusted for the number of claims by Holm's method.

    Whatever blocks there are count; which of them are finished does not depend on what came out of them.

    Args:
        finished: runs with their results; one claim may have several settings, seeds and sizes of blocks.
        alpha: with at most this probability any true claim is called falsified.

    Raises:
        ValueError: a block is given twice.
    """
    import theory
    from theory import Tally, adjusted, judge

    found = []
    for study, blocks in _studies(finished).items():
        tally, seconds = Tally(0, 0, 0, 0), 0.0
        for _, result in sorted(blocks.items()):
            counts = (result["failures"], result["missed"], result["undecided"])
            tally += Tally(study.trials, *counts, tuple(result["examples"]))
            seconds += result.get("measured", {}).get("seconds", 0.0)
        found.append(judge(theory.get(study.theorem), tally, alpha=alpha, seconds=seconds, **study.params))
    return adjusted(found)


def _studies(
    finished: Iterable[tuple[Falsification, dict[str, Any]]],
) -> dict[Falsification, dict[int, dict[str, Any]]]:
    """The results of each claim by their blocks, in the order in which the claims appear first."""
    studies: dict[Falsification, dict[int, dict[str, Any]]] = {}
    for run, result in finished:
        blocks = studies.setdefault(replace(run, block=0), {})
        if run.block in blocks:
            raise ValueError(f"block {run.block} of {run.theorem} {' '.join(run.settings)} is given twice")
        blocks[run.block] = result
    return studies
