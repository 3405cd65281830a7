"""What the experiments with pruning share: one random network, trained, searched in, pruned and trained again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from experiments._search import Data, Parts, parts_of, validation_accuracy

if TYPE_CHECKING:
    from torch import Tensor, nn

    from strongticket.mask import Mask
    from strongticket.pruning import Retrained
    from strongticket.search import Found
    from strongticket.source import Source

Pair = tuple["Tensor", "Tensor"]

__all__ = ["PLANS", "Dense", "Plan", "accuracy_of", "dense_of", "popup", "retrained", "source_of", "trained_again"]


@dataclass(frozen=True)
class Plan:
    """How networks are made on a data set.

    Attributes:
        model: the network, by name.
        recipe: of the mask search, by name.
        epochs: of training and of searching.
        retrain_epochs: of training after pruning.
        search_lrs: learning rates of the scores that each search chooses from on validation data, as training does.
    """

    model: str
    recipe: str
    epochs: int
    retrain_epochs: int
    search_lrs: tuple[float, ...]


PLANS: Final[Mapping[Data, Plan]] = MappingProxyType(
    {
        "digits": Plan("mlp-64-256-10", "digits", 40, 20, (0.4, 1.6)),
        "mnist": Plan("lenet-300-100", "mnist", 5, 2, (0.4, 1.6)),
    }
)
"""The same network for all arms. The learning rates of searches are those of `experiments.search_methods`."""
RATES: Final = (0.03, 0.1)
"""Learning rates that training, before and after pruning, may choose from on validation data."""


@dataclass(frozen=True, eq=False)
class Dense:
    """A network that was trained from the weights of a source, none left out."""

    module: nn.Module
    lr: float
    validation_accuracy: float
    test_accuracy: float


def source_of(data: Data, seed: int) -> Source:
    """Return the random network that all arms of a seed share: its weights are the signed constant."""
    from strongticket.models import architecture
    from strongticket.search import search_recipe

    plan = PLANS[data]
    return search_recipe(plan.recipe).source(architecture(plan.model), seed)


@lru_cache(maxsize=4)
def dense_of(data: Data, seed: int, order: int | None = None) -> Dense:
    """Train the source of a seed: SGD, cosine; learning rate and epoch are chosen on validation data.

    Args:
        data: data set.
        seed: of the source, and of the data order unless `order` is given.
        order: another seed of the data order.
    """
    from strongticket.training import Recipe, train

    plan, parts, source = PLANS[data], parts_of(data, seed), source_of(data, seed)
    start = source.architecture.module(source.weights())
    every = []
    for lr in RATES:
        recipe = Recipe(plan.epochs, 128, lr, schedule="cosine", optimiser="sgd", weight_decay=1e-4)
        every.append(
            train(start, *parts.train, recipe, seed=seed if order is None else order, validation=parts.validation)
        )
    best = max(every, key=validation_accuracy)
    return Dense(best.module, best.recipe.lr, validation_accuracy(best), accuracy_of(best.module, parts))


@lru_cache(maxsize=16)
def popup(data: Data, seed: int, density: float, scores: int | None = None) -> Found:
    """Find a ticket in the source of a seed by edge-popup, every layer at the same density.

    The learning rate is chosen on validation data.

    Args:
        data: data set.
        seed: of the source, and of scores and data order unless `scores` is given.
        density: fraction kept.
        scores: another seed of scores and data order.
    """
    from strongticket.search import find, search_recipe

    plan, parts = PLANS[data], parts_of(data, seed)
    recipe = search_recipe(plan.recipe).with_density(density).changed(epochs=plan.epochs)
    source, seed = source_of(data, seed), seed if scores is None else scores
    every = [
        find(source, *parts.train, recipe.changed(lr=lr), seed=seed, validation=parts.validation)
        for lr in plan.search_lrs
    ]
    return max(every, key=validation_accuracy)


def retrained(module: nn.Module, mask: Mask, data: Data, seed: int) -> dict[str, Any]:
    """Train under a mask, the learning rate and the epoch chosen on validation data, and test."""
    plan, parts = PLANS[data], parts_of(data, seed)
    best = trained_again(module, mask, parts.train, parts.validation, plan.retrain_epochs, seed)
    return {"retrained": accuracy_of(best.module, parts), "retrain_lr": best.recipe.lr}


def trained_again(module: nn.Module, mask: Mask, train: Pair, validation: Pair, epochs: int, seed: int) -> Retrained:
    """Train under a mask; the learning rate, of `RATES`, and the epoch are chosen on validation data."""
    from strongticket.pruning import train_held
    from strongticket.training import Recipe

    every = []
    for lr in RATES:
        recipe = Recipe(epochs, 128, lr, schedule="cosine", optimiser="sgd", weight_decay=1e-4)
        every.append(train_held(module, mask, *train, recipe, seed=seed, validation=validation))
    return max(every, key=validation_accuracy)


def accuracy_of(module: nn.Module, parts: Parts) -> float:
    """Return the share of the test data that a network gets right."""
    from strongticket.training import accuracy

    return accuracy(module, *parts.test)
