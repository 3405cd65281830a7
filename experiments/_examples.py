"""What the experiments with least squares share: a few examples of a data set, in float64, labels perhaps noisy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments._search import Data, note

__all__ = ["Examples", "few", "noisy"]

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Examples:
    """A few examples; pixels lie in [0, 1].

    Attributes:
        inputs, labels: to learn from; labels may be noisy.
        validation: (inputs, labels) to choose by.
        test: (inputs, labels), read at the end.
        classes: how many there are.
        note: what has to be said beside the numbers.
    """

    inputs: Floats  # [n, features]
    labels: Labels  # [n]
    validation: tuple[Floats, Labels]
    test: tuple[Floats, Labels]
    classes: int
    note: str


def few(data: Data, count: int, tests: int, noise: float, seed: int) -> Examples:
    """Take training examples at random, the first of the held-out and of the test examples, and spoil labels.

    Args:
        data: the data set.
        count: training examples.
        tests: most test examples; a quarter as many are taken for validation.
        noise: share of the training labels that become another class, each with the same probability.
        seed: of the split, of what is taken and of what is spoilt.

    Raises:
        ValueError: the data set has fewer training examples, or the noise is no share.
        DataError: it is not there.
    """
    from strongticket.data import load
    from strongticket.random import SPLIT, permutation

    loaded = load(data, seed=seed)
    if not 1 <= count <= len(loaded.train):
        raise ValueError(f"{data} has 1 to {len(loaded.train)} training examples to take, got {count}")
    taken = permutation(seed, f"{data} {count} examples", len(loaded.train), purpose=SPLIT)[:count]

    def arrays(part: str, most: int) -> tuple[Floats, Labels]:
        split = getattr(loaded, part).take(most)
        return split.inputs.double().numpy(), split.labels.numpy()

    inputs, labels = arrays("train", len(loaded.train))
    spoilt = noisy(labels[taken], loaded.classes, noise, seed)
    rest = arrays("validation", max(1, tests // 4)), arrays("test", tests)
    return Examples(inputs[taken], spoilt, *rest, loaded.classes, note(data, loaded.note))


def noisy(labels: Labels, classes: int, share: float, seed: int) -> Labels:
    """Return the labels with this share of them (rounded) moved to another class, any with the same probability.

    >>> before = np.zeros(10, dtype=np.int64)
    >>> after = noisy(before, 3, 0.4, seed=0)
    >>> int((after != before).sum()), set(after.tolist()) <= {0, 1, 2}
    (4, True)

    Raises:
        ValueError: a share outside [0, 1].
    """
    from strongticket.random import TRIAL, permutation, words

    if not 0.0 <= share <= 1.0:
        raise ValueError(f"the share of spoilt labels must lie in [0, 1], got {share}")
    chosen = permutation(seed, "spoilt labels", len(labels), purpose=TRIAL)[: round(share * len(labels))]
    shifts = 1 + words(seed, "spoilt into", 0, len(chosen), purpose=TRIAL).astype(np.int64) % (classes - 1)
    spoilt = labels.copy()
    spoilt[chosen] = (labels[chosen] + shifts) % classes
    return spoilt
