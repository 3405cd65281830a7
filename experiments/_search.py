"""What the experiments with mask searches share: data, a ticket beside its controls, its trained twin, and verdicts."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn

    from strongticket.search import Found, SearchRecipe
    from strongticket.ticket import AbstractArchitecture, Ticket

__all__ = [
    "DATA",
    "PLANS",
    "TITLES",
    "Data",
    "Gain",
    "Parts",
    "Plan",
    "gain",
    "note",
    "parts_of",
    "percent",
    "searched",
    "trained",
    "widened",
]

Data = Literal["digits", "mnist", "fashion-mnist", "cifar10"]
DATA: Final[tuple[Data, ...]] = ("digits", "mnist", "fashion-mnist", "cifar10")
TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "digits": "8x8 digits",
        "mnist": "MNIST",
        "fashion-mnist": "Fashion-MNIST",
        "cifar10": "CIFAR-10 (decoded from JPEG copies)",
    }
)
"""Names of the data sets as they are shown; what is special about our copy is part of the name."""
DENSE_RATES: Final = (0.01, 0.03, 0.1)
"""Learning rates that the trained twin may choose from, on validation data."""
CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Plan:
    """What is searched on a data set: the network, the recipe, and for how many epochs."""

    model: str
    recipe: str
    epochs: int


PLANS: Final[Mapping[Data, Plan]] = MappingProxyType(
    {
        "digits": Plan("mlp-64-256-10", "digits", 40),
        "mnist": Plan("lenet-300-100", "mnist", 6),
        "fashion-mnist": Plan("lenet-300-100", "mnist", 6),
        "cifar10": Plan("conv4x0.25", "ramanujan2020-conv4", 10),
    }
)
"""The searches of the presets. CIFAR-10 gets a tenth of the published epochs and a quarter of the width, for a CPU."""


@dataclass(frozen=True, eq=False)
class Parts:
    """A data set as (images, labels): to search on, to choose by, and to be read once, at the end.

    All but the digits are standardised by the training part, as the recipes ask for; note says what has to be said
    beside every number.
    """

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    note: str


@lru_cache(maxsize=1)
def parts_of(data: Data, seed: int) -> Parts:
    """Return a data set; the seed says which of the training examples are for validation.

    Raises:
        DataError: it is not there, or damaged.
    """
    from strongticket.data import load
    from strongticket.training import standardise

    loaded = load(data, seed=seed)
    images = [loaded.images(part) for part in ("train", "validation", "test")]
    if data != "digits":
        images = list(standardise(*images))
    labels = (loaded.train.labels, loaded.validation.labels, loaded.test.labels)
    train, validation, test = zip(images, labels, strict=True)
    return Parts(train, validation, test, note(data, loaded.note))


def note(data: Data, said: str = "") -> str:
    """Return what has to be said beside the numbers of a data set."""
    jpeg = "images decoded from JPEG copies, not the published pixels" if data == "cifar10" else ""
    return "; ".join(part for part in (jpeg, said) if part)


def widened(architecture: AbstractArchitecture, width: float) -> AbstractArchitecture:
    """Return a network whose hidden layers are wider by a factor.

    Raises:
        ValueError: a network without a width.

    >>> from strongticket.models import MLP
    >>> widened(MLP((784, 300, 100, 10)), 0.25).id
    'mlp-784-75-25-10'
    """
    from strongticket.models import MLP
    from strongticket.models.grammar import AbstractImageArchitecture, scaled

    if isinstance(architecture, MLP):
        first, *hidden, last = architecture.sizes
        return replace(architecture, sizes=(first, *(scaled(size, width) for size in hidden), last))
    if isinstance(architecture, AbstractImageArchitecture):
        return replace(architecture, width=architecture.width * width)
    raise ValueError(f"{architecture.id} has no width to multiply: use an MLP or a network of images")


def searched(
    architecture: AbstractArchitecture, parts: Parts, recipes: Sequence[SearchRecipe], seed: int
) -> dict[str, Any]:
    """Search with each recipe, choose one by validation accuracy, and test its ticket beside its controls.

    Args:
        architecture: the network; its random weights follow the recipe and the seed.
        parts: the data.
        recipes: alternatives, such as learning rates; the first of equally good ones is taken.
        seed: of weights, scores, order, augmentation and controls.

    Returns:
        The numbers as JSON; accuracies are shares of the test data unless they are named after other data.
    """
    from strongticket.search import find, random_mask, shuffled_mask, with_statistics
    from strongticket.ticketfile import dumps
    from strongticket.training import accuracy

    started = time.perf_counter()
    every = [find(architecture, *parts.train, recipe, seed=seed, validation=parts.validation) for recipe in recipes]
    found = max(every, key=_validation_accuracy)  # max returns the first of several
    seconds = time.perf_counter() - started
    ticket = found.ticket
    controls = {
        "random": with_statistics(random_mask(ticket.source, ticket, seed), parts.train[0]),
        "shuffled": with_statistics(shuffled_mask(ticket, seed), parts.train[0]),
    }
    strict = ticket.matches(found.module)
    return {
        "note": parts.note,
        "model": architecture.id,
        "weights": architecture.size,
        "method": found.recipe.method.key,
        "lr": found.recipe.lr,
        "choices": [{"lr": one.recipe.lr, "validation_accuracy": _validation_accuracy(one)} for one in every],
        "validation_accuracy": _validation_accuracy(found),
        "best_epoch": found.best_epoch,
        "density": _density(ticket, found),
        "kept": dict(ticket.mask.counts),
        "flips": [epoch.details["flips"] for epoch in found.history],
        "strict": strict,
        "file_bytes": len(dumps(ticket)),
        "accuracy": accuracy(found.module, *parts.test),
        **{f"{name}_accuracy": _score(control.module(), parts.test) for name, control in controls.items()},
        "measured": {"seconds": seconds},
    }


def trained(architecture: AbstractArchitecture, parts: Parts, like: SearchRecipe, seed: int) -> dict[str, Any]:
    """Train the same network's weights, all of them, with the batches and epochs of a search, and test it.

    SGD with Nesterov momentum and a cosine; the learning rate of `DENSE_RATES` and the epoch are chosen by validation.
    """
    from strongticket.training import Recipe, train

    started = time.perf_counter()
    every = []
    for lr in DENSE_RATES:
        recipe = Recipe(
            like.epochs, like.batch_size, lr, schedule="cosine", optimiser="sgd", weight_decay=1e-4,
            augmentation=like.augmentation,
        )  # fmt: skip
        every.append(train(architecture, *parts.train, recipe, seed=seed, validation=parts.validation))
    best = max(every, key=lambda one: one.history[one.best_epoch - 1].validation_accuracy or 0.0)
    seconds = time.perf_counter() - started
    return {
        "note": parts.note,
        "model": architecture.id,
        "weights": architecture.size,
        "method": "trained",
        "lr": best.recipe.lr,
        "validation_accuracy": best.history[best.best_epoch - 1].validation_accuracy,
        "best_epoch": best.best_epoch,
        "density": 1.0,
        "accuracy": _score(best.module, parts.test),
        "measured": {"seconds": seconds},
    }


def _score(module: nn.Module, test: tuple[Tensor, Tensor]) -> float:
    from strongticket.training import accuracy

    return accuracy(module, *test)


def _validation_accuracy(found: Found) -> float:
    return found.history[found.best_epoch - 1].validation_accuracy or 0.0


def _density(ticket: Ticket, found: Found) -> float:
    """Share of the searched weights that is kept; parameters that were not searched (biases) do not count."""
    return sum(ticket.mask.counts[name] for name in found.masks) / sum(mask.numel() for mask in found.masks.values())


@dataclass(frozen=True)
class Gain:
    """How much better one thing is than another, seed by seed.

    Attributes:
        mean: of the differences.
        low, high: 95 % interval of the true mean: Student's, of the differences of the seeds.
        seeds: how many there are.
        verdict: "better" or "worse" if the interval lies on that side of what was asked for; "open" otherwise.
    """

    mean: float
    low: float
    high: float
    seeds: int
    verdict: Literal["better", "worse", "open"]

    def __str__(self) -> str:
        """In points of accuracy: mean, interval, verdict."""
        if self.seeds == 1:
            return f"{100 * self.mean:+.2f}, one seed"
        return f"{100 * self.mean:+.2f} [{100 * self.low:.2f}, {100 * self.high:.2f}] {self.verdict}"


def gain(ours: Sequence[float], theirs: Sequence[float], *, margin: float = 0.0) -> Gain:
    """Compare two things that were measured with the same seeds.

    Args:
        ours: a number for each seed.
        theirs: the same for what it is held against.
        margin: how much better ours is claimed to be.

    Raises:
        ValueError: not one number of each for every seed.

    >>> gain([0.9, 0.92, 0.91], [0.1, 0.12, 0.13]).verdict, gain([0.9, 0.2], [0.1, 0.8]).verdict
    ('better', 'open')
    """
    from scipy import stats

    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"expected as many numbers of both, at least one, got {len(ours)} and {len(theirs)}")
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    n = len(differences)
    mean = math.fsum(differences) / n
    if n == 1:
        return Gain(mean, -math.inf, math.inf, 1, "open")
    spread = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread
    low, high = mean - reach, mean + reach
    return Gain(mean, low, high, n, "better" if low > margin else "worse" if high < margin else "open")


def percent(results: Sequence[Mapping[str, Any]], name: str = "accuracy") -> str:
    """Return the mean over the seeds, and the least and the most of them, in percent.

    >>> percent([{"accuracy": 0.25}, {"accuracy": 0.75}])
    '50.00 (25.00-75.00)'
    """
    values = [100 * result[name] for result in results]
    return f"{math.fsum(values) / len(values):.2f} ({min(values):.2f}-{max(values):.2f})"
