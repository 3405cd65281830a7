"""What the experiments with transfer and elastic tickets share: parts of data sets, and recipes by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from experiments._search import TITLES, Data
from experiments._weak import weak_data

if TYPE_CHECKING:
    from strongticket.training.recipe import Augmentation
    from strongticket.weak import StepRecipe, WeakData

__all__ = ["PARTS", "RECIPES", "PartName", "RecipeName", "recipe_of", "title_of", "weak_part"]

PartName = Literal[
    "digits",
    "digits-a",
    "digits-b",
    "digits-low",
    "digits-high",
    "mnist",
    "mnist-whole",
    "fashion-mnist",
    "fashion-mnist-14",
    "cifar10",
    "cifar10-a",
    "cifar10-b",
]
RecipeName = Literal[
    "digits-adam",
    "digits-sgd",
    "lenet-adam",
    "lenet-sgd",
    "conv-adam",
    "open-lth",
    "small-resnet",
    "resnet",
    "vgg",
    "vgg-adam",
]
HELD_OUT: Final = 0.1
"""Share of a half that is for validation."""
LOW: Final = 6
"""Digits below are the low ones."""


@dataclass(frozen=True)
class Part:
    """A data set or a part of it.

    Attributes:
        data: the whole.
        what: which part, for people; empty for the whole.
    """

    data: Data
    what: str = ""


PARTS: Final[Mapping[PartName, Part]] = MappingProxyType(
    {
        "digits": Part("digits"),
        "digits-a": Part("digits", "half a"),
        "digits-b": Part("digits", "half b"),
        "digits-low": Part("digits", "0 to 5"),
        "digits-high": Part("digits", "6 to 9"),
        "mnist": Part("mnist"),
        "mnist-whole": Part("mnist", "nothing held out"),
        "fashion-mnist": Part("fashion-mnist"),
        "fashion-mnist-14": Part("fashion-mnist", "means of 2x2 pixels"),
        "cifar10": Part("cifar10"),
        "cifar10-a": Part("cifar10", "half a"),
        "cifar10-b": Part("cifar10", "half b"),
    }
)
"""Halves have as many examples of each class (CIFAR-10: 2,500), a tenth of them for validation; both have the test part
of the whole. In "mnist-whole" the validation examples are among those of training, as in codes that hold nothing out:
early stops mean nothing there."""


@dataclass(frozen=True)
class _Recipe:
    """What a recipe is but for its steps; learning rates fall to a tenth at these shares of them."""

    batch_size: int
    lr: float
    optimiser: Literal["adam", "sgd"] = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    falls: tuple[float, ...] = ()
    augmentation: Augmentation = "none"


RECIPES: Final[Mapping[RecipeName, _Recipe]] = MappingProxyType(
    {
        "digits-adam": _Recipe(60, 1.2e-3, "adam"),
        "digits-sgd": _Recipe(60, 0.1),
        "lenet-adam": _Recipe(60, 1.2e-3, "adam"),
        "lenet-sgd": _Recipe(60, 0.1),
        "conv-adam": _Recipe(60, 2e-4, "adam"),
        "open-lth": _Recipe(128, 0.1),
        "small-resnet": _Recipe(64, 0.1, momentum=0.9, weight_decay=1e-4, falls=(0.5, 0.75)),
        "resnet": _Recipe(128, 0.1, momentum=0.9, weight_decay=1e-4, falls=(0.5, 0.75), augmentation="crop-flip"),
        "vgg": _Recipe(512, 0.1, momentum=0.9, weight_decay=1e-4, falls=(0.5, 0.75), augmentation="crop-flip"),
        "vgg-adam": _Recipe(512, 3e-4, "adam", augmentation="crop-flip"),
    }
)
"""lenet-adam, conv-adam: Frankle & Carbin's, for LeNet and Conv-2. open-lth: what facebookresearch/open_lth trains
MNIST with unless told otherwise; Chen et al. (2021) print no recipe for their perceptrons. resnet: theirs for CIFAR-10.
vgg, and the learning rate of vgg-adam: those of the public reproduction of Morcos et al. (2019). The others are
ours."""


def recipe_of(name: RecipeName, steps: int, evaluate_every: int) -> StepRecipe:
    """Return a recipe for so many steps.

    >>> recipe_of("resnet", 56_320, 352).milestones
    (28160, 42240)
    """
    from strongticket.weak import StepRecipe

    own = RECIPES[name]
    return StepRecipe(
        steps,
        own.batch_size,
        own.lr,
        optimiser=own.optimiser,
        momentum=own.momentum,
        weight_decay=own.weight_decay,
        milestones=tuple(round(share * steps) for share in own.falls),
        augmentation=own.augmentation,
        evaluate_every=evaluate_every,
    )


def title_of(part: PartName) -> str:
    """Return what a part is called in tables, what is special about our copy included."""
    title, what = TITLES[PARTS[part].data], PARTS[part].what
    return f"{title}, {what}" if what else title


@lru_cache(maxsize=2)
def weak_part(part: PartName, seed: int) -> WeakData:
    """Return a data set or a part of it, normalised as the whole; the seed says what is in which half."""
    from strongticket.weak import WeakData

    own = PARTS[part]
    whole = weak_data(own.data, seed)
    name = f"{whole.name}, {own.what}" if own.what else whole.name
    if part.endswith("-whole"):
        made = _nothing_held_out(whole)
    elif part.endswith("-14"):
        made = _pooled(whole)
    elif part.endswith(("-a", "-b")):
        made = _half(whole, seed, part.endswith("-b"))
    elif part.endswith(("-low", "-high")):
        made = _classes(whole, *((0, LOW) if part.endswith("-low") else (LOW, 10)))
    else:
        made = whole
    return WeakData(made.train, made.validation, made.test, name)


def _nothing_held_out(whole: WeakData) -> WeakData:
    import torch

    from strongticket.weak import WeakData

    x, y = (torch.cat([whole.train[i], whole.validation[i]]) for i in (0, 1))
    return WeakData((x, y), whole.validation, whole.test)


def _pooled(whole: WeakData) -> WeakData:
    import torch

    from strongticket.weak import WeakData

    parts = [(torch.nn.functional.avg_pool2d(x, 2), y) for x, y in (whole.train, whole.validation, whole.test)]
    return WeakData(parts[0], parts[1], parts[2])


def _half(whole: WeakData, seed: int, second: bool) -> WeakData:
    import torch

    from strongticket import random
    from strongticket.weak import WeakData
    from strongticket.weak.transfer import class_halves

    x, y = (torch.cat([whole.train[i], whole.validation[i]]) for i in (0, 1))
    places = class_halves(y, seed)[second]
    order = torch.from_numpy(random.permutation(seed, "held out of a half", len(places), purpose=random.SPLIT))
    count = round(HELD_OUT * len(places))
    out, rest = places[order[:count]], places[order[count:]]
    return WeakData((x[rest], y[rest]), (x[out], y[out]), whole.test)


def _classes(whole: WeakData, first: int, last: int) -> WeakData:
    from strongticket.weak import WeakData

    parts = []
    for x, y in (whole.train, whole.validation, whole.test):
        chosen = (y >= first) & (y < last)
        parts.append((x[chosen], y[chosen] - first))
    return WeakData(parts[0], parts[1], parts[2])
