"""How weak tickets are trained: recipes counted in steps, as the papers count."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal, Self, final, get_args

from strongticket.training.recipe import Augmentation

__all__ = ["STEP_RECIPES", "StepRecipe"]


@final
@dataclass(frozen=True)
class StepRecipe:
    """Say everything about a training but the network, the data and the seed.

    Unlike `strongticket.training.Recipe` it counts steps (the papers say iterations), its optimisers are the published
    ones, plain, and it says how often validation data are looked at, which is what an early stop is defined by.

    Attributes:
        steps: of the whole training, at least 1. A ticket that is rewound to step r trains steps - r of them.
        batch_size: examples per step, at least 1; the last batch of an epoch may be smaller.
        lr: learning rate, above 0.
        optimiser: "adam" (betas 0.9 and 0.999, eps 1e-8) or "sgd".
        momentum: of "sgd", in [0, 1); heavy-ball, not Nesterov's.
        weight_decay: added to the gradient, as an L2 penalty, of matrices and kernels.
        milestones: steps, rising, at which the learning rate is multiplied by `drop`.
        drop: in (0, 1].
        warmup: steps in which the learning rate rises linearly to `lr`, the first one having lr / warmup; before the
            first milestone.
        dropout: share of the inputs of all linear layers but a first one that is dropped, in [0, 1).
        augmentation: see `strongticket.training.Recipe`; needs images.
        evaluate_every: steps between two looks at the validation data, at least 1; the last step is always followed by
            one.

    >>> recipe = StepRecipe(100, 60, 0.1, optimiser="sgd", milestones=(50, 75), warmup=10)
    >>> [round(recipe.lr_at(step), 4) for step in (0, 9, 10, 49, 50, 75)]
    [0.01, 0.1, 0.1, 0.1, 0.01, 0.001]
    """

    steps: int
    batch_size: int
    lr: float
    _: KW_ONLY
    optimiser: Literal["adam", "sgd"] = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()
    drop: float = 0.1
    warmup: int = 0
    dropout: float = 0.0
    augmentation: Augmentation = "none"
    evaluate_every: int = 100

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        if self.optimiser not in ("adam", "sgd"):
            raise ValueError(f"optimiser must be 'adam' or 'sgd', got {self.optimiser!r}")
        if self.augmentation not in get_args(Augmentation):
            raise ValueError(f"augmentation must be one of {get_args(Augmentation)}, got {self.augmentation!r}")
        for name in ("steps", "batch_size", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.lr < math.inf or not 0 <= self.weight_decay < math.inf or not 0 < self.drop <= 1:
            raise ValueError(
                f"expected lr > 0, weight_decay >= 0 and drop in (0, 1], got {self.lr}, {self.weight_decay} and "
                f"{self.drop}"
            )
        if not (0 <= self.momentum < 1 and 0 <= self.dropout < 1):
            raise ValueError(f"momentum and dropout must lie in [0, 1), got {self.momentum} and {self.dropout}")
        stops = (0, *self.milestones, self.steps)
        if not all(a < b for a, b in pairwise(stops)):
            raise ValueError(f"milestones must rise between 0 and {self.steps} (steps), got {self.milestones}")
        if not 0 <= self.warmup <= stops[1]:
            raise ValueError(f"warmup must end before the first milestone, in 0..{stops[1]}, got {self.warmup}")

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        return self.lr * math.prod(self.drop for milestone in self.milestones if step >= milestone)

    def changed(self, **changes: Any) -> Self:
        """Return the recipe with some fields replaced."""
        return replace(self, **changes)


_RESNET = StepRecipe(
    30_000,
    128,
    0.1,
    optimiser="sgd",
    weight_decay=1e-4,
    milestones=(20_000, 25_000),
    augmentation="crop-flip",
)
_VGG = StepRecipe(
    112_480,
    64,
    0.1,
    optimiser="sgd",
    weight_decay=1e-4,
    milestones=(56_240, 84_360),
    augmentation="crop-flip",
)

STEP_RECIPES: Mapping[str, StepRecipe] = MappingProxyType(
    {
        "lth-lenet": StepRecipe(50_000, 60, 1.2e-3),
        "lth-conv2": StepRecipe(20_000, 60, 2e-4),
        "lth-conv4": StepRecipe(25_000, 60, 3e-4),
        "lth-conv6": StepRecipe(30_000, 60, 3e-4),
        "lth-conv2-dropout": StepRecipe(20_000, 60, 3e-4, dropout=0.5),
        "lth-conv4-dropout": StepRecipe(25_000, 60, 2e-4, dropout=0.5),
        "lth-conv6-dropout": StepRecipe(30_000, 60, 2e-4, dropout=0.5),
        "lth-resnet": _RESNET,
        "lth-resnet-low": _RESNET.changed(lr=0.01),
        "lth-resnet-warm": _RESNET.changed(lr=0.03, warmup=20_000),
        "lth-vgg19": _VGG,
        "lth-vgg19-low": _VGG.changed(lr=0.01),
        "lth-vgg19-warm": _VGG.changed(warmup=10_000),
        "open-lth-lenet": StepRecipe(17_200, 128, 0.1, optimiser="sgd", momentum=0.0),
        "digits": StepRecipe(600, 60, 1.2e-3, evaluate_every=20),
    }
)
"""The recipes of Frankle & Carbin (2019) by network; that of facebookresearch/open_lth for MNIST, 40 epochs; one for
the 8x8 digits. "low" has the paper's lower learning rate, "warm" the one that it warms up. The learning rates of
"dropout" are those of an earlier version of the paper. The weight decay of the SGD recipes is what later codes use; it
was not found in the paper."""
