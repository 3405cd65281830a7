"""What the experiments with mask searches share: parameters, data, a ticket beside its controls, its trained twin."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args

from experiments._experiment import AbstractExperiment
from experiments._percent import percent
from strongticket.statistics import gain

if TYPE_CHECKING:
    from torch import Tensor

    from strongticket.pruning import Retrained
    from strongticket.search import Found, SearchRecipe
    from strongticket.ticket import AbstractArchitecture, Ticket
    from strongticket.training import Trained

__all__ = [
    "DATA",
    "PLANS",
    "SEEDS",
    "TITLES",
    "AbstractSearch",
    "Data",
    "Parts",
    "Plan",
    "beside_controls",
    "grouped",
    "note",
    "over",
    "parts_of",
    "searched",
    "trained",
    "validation_accuracy",
    "widened",
]

Data = Literal["digits", "mnist", "fashion-mnist", "cifar10"]
DATA: Final[tuple[Data, ...]] = get_args(Data)
TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "digits": "8x8 digits",
        "mnist": "MNIST",
        "fashion-mnist": "Fashion-MNIST",
        "cifar10": "CIFAR-10 (decoded from JPEG copies)",
    }
)
"""Names of the data sets as they are shown; what is special about our copy is part of the name."""
SEEDS: Final = range(5)
DENSE_RATES: Final = (0.01, 0.03, 0.1)
"""Learning rates that the trained twin may choose from, on validation data."""


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


@dataclass(frozen=True)
class AbstractSearch(AbstractExperiment):
    """An experiment with mask searches: what all of them are told, and their presets, one for each data set.

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        model: the network, by name.
        recipe: name of the recipe.
        epochs: passes over the data.
        seed: of everything that is random.
    """

    data: Data
    model: str
    recipe: str
    epochs: int
    seed: int

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick (the digits), digits, mnist, fashion-mnist, cifar10: five seeds each."""
        found: dict[str, Sequence[Self]] = {}
        for data in DATA:
            plan = PLANS[data]
            shared: dict[str, Any] = {"data": data, "model": plan.model, "recipe": plan.recipe}
            found[data] = [cls(**shared, **own, seed=seed) for own in cls.settings(data, plan) for seed in SEEDS]
        return {"quick": found["digits"], **found}

    @classmethod
    @abstractmethod
    def settings(cls, data: Data, plan: Plan) -> Sequence[Mapping[str, Any]]:
        """Return what is compared on a data set: all parameters but data, model, recipe and seed."""

    def network(self) -> AbstractArchitecture:
        """Return the network."""
        from strongticket.models import architecture

        return architecture(self.model)

    def how(self) -> SearchRecipe:
        """Return the recipe, for so many epochs."""
        from strongticket.search import search_recipe

        return search_recipe(self.recipe).changed(epochs=self.epochs)

    def parts(self) -> Parts:
        """Return the data, split by the seed."""
        return parts_of(self.data, self.seed)


def grouped(
    finished: Sequence[tuple[AbstractSearch, dict[str, Any]]], *names: str
) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Return the results of all seeds for each choice of the named parameters, in the order of the runs."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run, result in finished:
        groups.setdefault(tuple(getattr(run, name) for name in names), []).append(result)
    return groups


def beside_controls(results: Sequence[Mapping[str, Any]], name: str = "ticket", margin: float = 0.0) -> dict[str, str]:
    """Return the cells of a table: accuracies of the tickets and of both controls, and what lies between them.

    Args:
        results: of all seeds.
        name: what the tickets are called.
        margin: see `gain`.
    """
    cells = {f"{name} %": percent(results)}
    cells |= {f"{kind} mask %": percent(results, f"{kind}_accuracy") for kind in ("random", "shuffled")}
    ours, theirs = ([result[which] for result in results] for which in ("accuracy", "random_accuracy"))
    return cells | {"over random": str(gain(ours, theirs, margin=margin))}


def over(results: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> str:
    """Return what some tickets have over others of the same seeds."""
    return str(gain(*([result["accuracy"] for result in some] for some in (results, others))))


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
    found = max(every, key=validation_accuracy)  # max returns the first of several
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
        "choices": [{"lr": one.recipe.lr, "validation_accuracy": validation_accuracy(one)} for one in every],
        "validation_accuracy": validation_accuracy(found),
        "best_epoch": found.best_epoch,
        "density": _density(ticket, found),
        "kept": dict(ticket.mask.counts),
        "flips": [epoch.details["flips"] for epoch in found.history],
        "strict": strict,
        "file_bytes": len(dumps(ticket)),
        "accuracy": accuracy(found.module, *parts.test),
        **{f"{name}_accuracy": accuracy(control.module(), *parts.test) for name, control in controls.items()},
        "measured": {"seconds": seconds},
    }


def trained(architecture: AbstractArchitecture, parts: Parts, like: SearchRecipe, seed: int) -> dict[str, Any]:
    """Train the same network's weights, all of them, with the batches and epochs of a search, and test it.

    SGD with Nesterov momentum and a cosine; the learning rate of `DENSE_RATES` and the epoch are chosen by validation.
    """
    from strongticket.training import Recipe, accuracy, train

    started = time.perf_counter()
    every = []
    for lr in DENSE_RATES:
        recipe = Recipe(
            like.epochs, like.batch_size, lr, schedule="cosine", optimiser="sgd", weight_decay=1e-4,
            augmentation=like.augmentation,
        )  # fmt: skip
        every.append(train(architecture, *parts.train, recipe, seed=seed, validation=parts.validation))
    best = max(every, key=validation_accuracy)
    seconds = time.perf_counter() - started
    return {
        "note": parts.note,
        "model": architecture.id,
        "weights": architecture.size,
        "method": "trained",
        "lr": best.recipe.lr,
        "validation_accuracy": validation_accuracy(best),
        "best_epoch": best.best_epoch,
        "density": 1.0,
        "accuracy": accuracy(best.module, *parts.test),
        "measured": {"seconds": seconds},
    }


def validation_accuracy(run: Found | Trained | Retrained) -> float:
    """Return the validation accuracy of the epoch that a run kept, by which alternatives are chosen."""
    return run.history[run.best_epoch - 1].validation_accuracy or 0.0


def _density(ticket: Ticket, found: Found) -> float:
    """Share of the searched weights that is kept; parameters that were not searched (biases) do not count."""
    return sum(ticket.mask.counts[name] for name in found.masks) / sum(mask.numel() for mask in found.masks.values())
