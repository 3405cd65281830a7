"""Double descent with random features: test error and norm peak where N = n, and fall again beyond.

Belkin et al. (2019) show it on MNIST, with random Fourier and ReLU features and the least-squares predictor of minimum
norm. Beside it here: labels with noise, which raises the peak; a penalty chosen on validation data, which removes it;
and the kernel that the features tend to.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, final

import numpy as np

from experiments._examples import Examples, few
from experiments._experiment import AbstractExperiment, by_setting
from experiments._search import TITLES, Data

if TYPE_CHECKING:
    from strongticket.weak.features import AbstractFeatures, Fit, Judged

__all__ = ["PENALTIES", "PUBLISHED_COUNTS", "DoubleDescent", "Kind", "by_setting", "mean_curve", "peak_and_descents"]

Kind = Literal["fourier", "relu"]
Route = Literal["qr", "eigen"]
PENALTIES: Final = tuple(float(f"1e{k}") for k in range(-9, 2))
"""Ridge penalties that validation data choose from."""
PUBLISHED_COUNTS: Final = tuple(
    round(1000 * k) for k in (0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20, 40, 60)
)
"""Numbers of features in the paper's figure of random Fourier features, for n = 10,000 examples of MNIST."""
_SHARES: Final = (0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.96, 1.0, 1.04, 1.1, 1.3, 1.6, 2.0, 4.0, 8.0)
"""N/n of our presets."""
SEEDS: Final = range(5)


@final
@dataclass(frozen=True)
class DoubleDescent(AbstractExperiment):
    """Fit random features of every number N on the same n examples, from few to many.

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        kind: "fourier" or "relu".
        bandwidth: of the Gaussian kernel that Fourier features tend to; pixels lie in [0, 1].
        train: n, training examples.
        tests: most test examples.
        noise: share of the training labels that are wrong.
        counts: the numbers N of features, increasing; real ones, so that a complex Fourier feature is two.
        route: how least squares is solved, see `strongticket.weak.features.fit`.
        seed: of features, examples and noise.
    """

    name: ClassVar[str] = "double_descent"
    version: ClassVar[int] = 1

    data: Data
    kind: Kind
    bandwidth: float
    train: int
    tests: int
    noise: float
    counts: tuple[int, ...]
    route: Route
    seed: int

    def __post_init__(self) -> None:
        if not self.counts or list(self.counts) != sorted(set(self.counts)):
            raise ValueError(f"expected increasing numbers of features, got {self.counts}")

    def run(self) -> dict[str, Any]:
        """Return errors, losses and norms for each number of features, and of the kernel they tend to."""
        from strongticket.weak.features import FourierFeatures, ReluFeatures, one_hot

        examples = few(self.data, self.train, self.tests, self.noise, self.seed)
        dimension = examples.inputs.shape[1]
        features: AbstractFeatures = (
            FourierFeatures(dimension, self.bandwidth, self.seed)
            if self.kind == "fourier"
            else ReluFeatures(dimension, self.seed)
        )
        most = self.counts[-1]
        # the features of smaller models are the first ones of the largest
        phi = {
            "train": features(examples.inputs, most),
            "validation": features(examples.validation[0], most),
            "test": features(examples.test[0], most),
        }
        wanted = one_hot(examples.labels, examples.classes)
        rows = [self._row(features, phi, wanted, examples, count) for count in self.counts]
        return {
            "note": examples.note,
            "dimension": dimension,
            "classes": examples.classes,
            "tests": len(examples.test[1]),
            "rows": rows,
            "kernel": _kernel(features, examples, wanted),
        }

    def _row(
        self, features: AbstractFeatures, phi: Mapping[str, Any], wanted: Any, examples: Examples, count: int
    ) -> dict[str, Any]:
        from strongticket.weak.features import fit, judge, one_hot, ridge_path

        scale = features.scale(count)
        parts = {name: part[:, :count] * scale for name, part in phi.items()}

        def judged(found: Fit, name: str) -> Judged:
            labels = {"train": examples.labels, "validation": examples.validation[1], "test": examples.test[1]}[name]
            return judge(found(parts[name]), labels, one_hot(labels, examples.classes))

        found = fit(parts["train"], wanted, route=self.route)
        test = judged(found, "test")
        path = ridge_path(parts["train"], wanted, PENALTIES)
        best = min(range(len(path)), key=lambda i: judged(path[i], "validation").loss)
        tuned = judged(path[best], "test")
        return {
            "count": count,
            "rank": found.rank,
            "norm": found.norm,
            "train_error": judged(found, "train").error,
            "train_loss": found.train_loss,
            "test_error": test.error,
            "test_loss": test.loss,
            "ridge": {
                "penalty": PENALTIES[best],
                "norm": path[best].norm,
                "test_error": tuned.error,
                "test_loss": tuned.loss,
            },
        }

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: 300 digits; default: 1,000 of MNIST; paper: 10,000, at the published numbers of features; 5 seeds."""
        kinds: tuple[Kind, ...] = ("fourier", "relu")

        def runs(data: Data, train: int, bandwidth: float, tests: int) -> list[Self]:
            counts = tuple(2 * round(share * train / 2) for share in _SHARES)
            return [
                cls(data, kind, bandwidth if kind == "fourier" else 0.0, train, tests, noise, counts, "qr", seed)
                for kind, noise, seed in itertools.product(kinds, (0.0, 0.2), SEEDS)
            ]

        paper = [
            cls("mnist", kind, 5.0 if kind == "fourier" else 0.0, 10_000, 10_000, 0.0, PUBLISHED_COUNTS, "eigen", seed)
            for kind, seed in itertools.product(kinds, SEEDS)
        ]
        return {
            "quick": runs("digits", 300, 2.0, 360),
            "default": runs("mnist", 1_000, 5.0, 2_000),
            "paper": paper,
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row for each kind of features and noise: where error and norm peak, and both minima."""
        rows = []
        for setting, results in by_setting(finished).items():
            seen = [peak_and_descents(setting.train, result) for result in results]
            row: dict[str, Any] = {"data": TITLES[setting.data], "features": setting.kind, "noise": setting.noise}
            row |= {"n": setting.train, "seeds": len(results)}
            row["error peaks at N"] = ", ".join(str(value) for value in sorted({one["error_peak"] for one in seen}))
            row["norm peaks at N"] = ", ".join(str(value) for value in sorted({one["norm_peak"] for one in seen}))
            for name, label in (("first", "least before %"), ("peak", "peak %"), ("second", "least after %")):
                row[label] = f"{100 * float(np.mean([one[name] for one in seen])):.1f}"
            row["second below first"] = f"{sum(one['second'] < one['first'] for one in seen)} of {len(seen)}"
            row["largest N, tuned ridge %"] = (
                f"{100 * float(np.mean([result['rows'][-1]['ridge']['test_error'] for result in results])):.1f}"
            )
            row["kernel %"] = f"{100 * float(np.mean([result['kernel']['test_error'] for result in results])):.1f}"
            rows.append(row)
        return rows


def _kernel(features: AbstractFeatures, examples: Examples, wanted: Any) -> dict[str, Any]:
    """The interpolating function of least norm in the space of the limiting kernel."""
    from scipy import linalg

    from strongticket.weak.features import judge, one_hot

    gram = features.kernel(examples.inputs, examples.inputs)
    values, vectors = linalg.eigh(gram)
    kept = values > np.finfo(np.float64).eps * len(gram) * values[-1]
    basis = vectors[:, kept]
    solved = basis @ ((basis.T @ wanted) / values[kept, None])
    inputs, labels = examples.test
    test = judge(features.kernel(inputs, examples.inputs) @ solved, labels, one_hot(labels, examples.classes))
    norm = float(np.sqrt((solved * (gram @ solved)).sum()))
    return {"rank": int(kept.sum()), "norm": norm, "test_error": test.error, "test_loss": test.loss}


def mean_curve(results: Sequence[Mapping[str, Any]], name: str, *, of: str = "") -> tuple[Any, Any, Any]:
    """Return (mean, least, largest) over the seeds of a number of each row, or of its part `of` ("ridge")."""
    values = np.array([[(row[of] if of else row)[name] for row in result["rows"]] for result in results])
    return values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def peak_and_descents(train: int, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return where test error and norm peak, the peak, and the least test error below and above the threshold.

    The error's peak is looked for beyond half of the threshold alone, as very few features err more still; that of the
    norm everywhere. A side of the threshold that has no row has NaN.

    Args:
        train: n, the training examples, which is the threshold.
        result: of a run; some row has more than n/2 features.

    >>> rows = [{"count": n, "test_error": e, "norm": e} for n, e in ((1, 0.5), (2, 0.3), (4, 0.9), (8, 0.1))]
    >>> peak_and_descents(4, {"rows": rows})
    {'error_peak': 4, 'norm_peak': 4, 'peak': 0.9, 'first': 0.3, 'second': 0.1}
    """
    rows = result["rows"]
    worst = max((row for row in rows if row["count"] > 0.5 * train), key=lambda row: float(row["test_error"]))
    return {
        "error_peak": worst["count"],
        "norm_peak": max(rows, key=lambda row: float(row["norm"]))["count"],
        "peak": worst["test_error"],
        "first": min((row["test_error"] for row in rows if row["count"] < train), default=float("nan")),
        "second": min((row["test_error"] for row in rows if row["count"] > train), default=float("nan")),
    }
