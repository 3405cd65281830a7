"""From random features to tickets: neurons kept of a wide random network are a random-features predictor.

malach2020proving: keeping whole neurons of a random depth-2 network is as good as learning coefficients of its random
features, and no better. So both sides are shown on the same features, at equal N: the minimum-norm predictor of
belkin2019reconciling, and the strict ticket of neurons that copies it without any trained weight. What the copy costs
is C B sqrt(8/(3N)), C the largest coefficient times N: at the threshold coefficients explode and no mask can copy them,
far beyond it they are small and the ticket comes close.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, final

import numpy as np

from experiments._examples import few
from experiments._experiment import AbstractExperiment, by_setting
from experiments._search import TITLES, Data
from experiments.double_descent import PUBLISHED_COUNTS
from strongticket.bounds import get

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NeuronsAndFeatures", "by_setting"]

SEEDS: Final = range(5)


@final
@dataclass(frozen=True)
class NeuronsAndFeatures(AbstractExperiment):
    """Fit random ReLU features of every number N, copy each fit by keeping neurons, and test both.

    Two classes: the lower half of the labels is -1, the upper half +1.

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        train: n, training examples.
        tests: most test examples.
        counts: the numbers N of neurons, increasing.
        seed: of the random networks and of the examples.
    """

    name: ClassVar[str] = "neurons_and_features"
    version: ClassVar[int] = 1

    data: Data
    train: int
    tests: int
    counts: tuple[int, ...]
    seed: int

    def __post_init__(self) -> None:
        if not self.counts or list(self.counts) != sorted(set(self.counts)) or self.counts[0] < 1:
            raise ValueError(f"expected increasing numbers of neurons, got {self.counts}")

    def run(self) -> dict[str, Any]:
        """Return errors of predictor and ticket, and how far apart they are beside the theorem."""
        from strongticket.constructions._malach2020proving_neurons import RandomFeatures
        from strongticket.weak.features import fit

        examples = few(self.data, self.train, self.tests, 0.0, self.seed)
        wanted, right = (_signs(labels, examples.classes) for labels in (examples.labels, examples.test[1]))
        rows = []
        for count in self.counts:
            # features first, to learn the bound that the second layer's law needs: they are the same for every bound
            features = RandomFeatures(examples.inputs.shape[1], count, 1.0, self.seed)
            phi, seen = features(examples.inputs) / count, features(examples.test[0])
            found = fit(phi, wanted)
            coefficients = found.coefficients[:, 0]
            largest = float(np.abs(coefficients).max())
            source = replace(features, bound=largest * (1.0 + 1e-12))
            ticket = source.prune(coefficients)
            predicted, got = seen @ coefficients / count, source.outputs(ticket, examples.test[0])
            size = float(np.sqrt((seen**2).mean(axis=0)).max())
            kept = int(ticket.mask["layers.1.weight"].sum())
            rows.append(
                {
                    "count": count,
                    "rank": found.rank,
                    "norm": found.norm,
                    "largest": largest,
                    "kept": kept,
                    "train_loss": found.train_loss,
                    "predictor_error": float((np.sign(predicted) != right).mean()),
                    "ticket_error": float((np.sign(got) != right).mean()),
                    "apart": float(np.sqrt(((predicted - got) ** 2).mean())),
                    "allowed": get("malach2020proving.random_features_error")(C=largest, B=size, k=count),
                }
            )
        return {"note": examples.note, "tests": len(right), "rows": rows}

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: 100 digits; default: 300 digits, more neurons; mnist: 1,000 of MNIST; paper: 10,000; five seeds each.

        paper: n and N of the random features of belkin2019reconciling. Nobody has published tickets beside them.
        """

        def runs(data: Data, train: int, tests: int, counts: Sequence[int]) -> list[Self]:
            return [cls(data, train, tests, tuple(counts), seed) for seed in SEEDS]

        shares = (0.2, 0.4, 0.7, 0.9, 1.0, 1.1, 1.3, 2, 4, 10, 30, 100)
        return {
            "quick": runs("digits", 100, 360, [round(100 * share) for share in (*shares, 300)]),
            "default": runs("digits", 300, 360, [round(300 * share) for share in shares]),
            "mnist": runs("mnist", 1_000, 2_000, [round(1_000 * share) for share in shares[:-2]]),
            "paper": runs("mnist", 10_000, 10_000, PUBLISHED_COUNTS),
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row for each number of neurons."""
        rows = []
        for setting, results in by_setting(finished).items():
            for i, count in enumerate(setting.counts):
                every = [result["rows"][i] for result in results]

                def mean(name: str, every: Sequence[Mapping[str, Any]] = every) -> float:
                    return float(np.mean([one[name] for one in every]))

                row: dict[str, Any] = {"data": TITLES[setting.data], "n": setting.train, "N": count}
                row |= {"seeds": len(every), "kept": mean("kept"), "C": mean("largest")}
                row["predictor error %"] = 100 * mean("predictor_error")
                row["ticket error %"] = 100 * mean("ticket_error")
                row |= {"apart (rms)": mean("apart"), "allowed on average": mean("allowed")}
                rows.append(row)
        return rows


def _signs(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    return np.where(2 * labels >= classes, 1.0, -1.0)
