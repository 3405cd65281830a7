"""Named recipes: the settings of published mask searches, one name each, with what could not be followed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from types import MappingProxyType
from typing import Any, final

from strongticket.search.layers import WEIGHT_INITS, WeightInit, random_source
from strongticket.search.methods import (
    AbstractMethod,
    AbstractTopK,
    Bernoulli,
    Biprop,
    EdgePopup,
    GemMiner,
    IteRand,
    Multicoated,
    SignedSupermask,
)
from strongticket.search.searcher import ScoreOptimiser
from strongticket.ticket import AbstractArchitecture, Source
from strongticket.training.recipe import AbstractRecipe

__all__ = ["SEARCH_RECIPES", "SearchRecipe", "search_recipe"]


@final
@dataclass(frozen=True)
class SearchRecipe(AbstractRecipe):
    """Say how to search for a ticket: the random network, the method, how scores move, how the data are gone through.

    Attributes:
        method: how scores choose; see `strongticket.search.methods`.
        optimiser: how scores move.
        init: law of the frozen weights.
        scaled: scale them by 1 / sqrt(density), see `random_source`.
        compat_scale_bug: scale them as the released code of some papers does, see `random_source`.
        architecture: name of the network that the recipe was published for; None for any.
        data: name of the data set that it was published for; empty for any.
        paper: key in the bibliography; empty for recipes of our own.
        deviations: what of the publication could not be followed, or is not known.
    """

    _: KW_ONLY
    method: AbstractMethod = field(default_factory=EdgePopup)
    optimiser: ScoreOptimiser = field(default_factory=ScoreOptimiser)
    init: WeightInit = "signed-constant"
    scaled: bool = False
    compat_scale_bug: bool = False
    architecture: str | None = None
    data: str = ""
    paper: str = ""
    deviations: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init not in WEIGHT_INITS:
            raise ValueError(f"expected an init in {WEIGHT_INITS}, got {self.init!r}")
        if self.compat_scale_bug and not self.scaled:
            raise ValueError("compat_scale_bug says how weights are scaled wrongly, so scaled must be True")
        if self.scaled and self.density is None:
            raise ValueError(f"weights cannot be scaled by the density: {self.method.key} has none that is given")

    @property
    def density(self) -> float | None:
        """The density that the method aims at; None where it comes out of the search."""
        if isinstance(self.method, AbstractTopK | GemMiner):
            return self.method.density
        return self.method.densities[0] if isinstance(self.method, Multicoated) else None

    def with_density(self, density: float) -> SearchRecipe:
        """Return the recipe with another density.

        Raises:
            ValueError: the method has no single density that is given.

        >>> search_recipe("digits").with_density(0.1).density
        0.1
        """
        if not isinstance(self.method, AbstractTopK | GemMiner):
            raise ValueError(f"{self.method.key} has no single density to set: change its method instead")
        return replace(self, method=replace(self.method, density=density))

    def source(self, architecture: AbstractArchitecture, seed: int) -> Source:
        """Return the random network to search in."""
        return random_source(
            architecture,
            seed,
            self.init,
            density=self.density if self.scaled else None,
            allocation=self.method.allocation if isinstance(self.method, AbstractTopK) else "layer",
            compat_scale_bug=self.compat_scale_bug,
        )


_BLIND = (
    "The released code reports the best epoch on the test set: here it is the best on validation data, or the last. "
    "It standardises the channels of the images: use strongticket.training.standardise."
)


def _published(
    paper: str, architecture: str, method: AbstractMethod, deviations: str = "", **changes: Any
) -> SearchRecipe:
    """What the small experiments of these papers share: 100 epochs of SGD at batch 128, cosine set per epoch."""
    settings: dict[str, Any] = {
        "epochs": 100,
        "batch_size": 128,
        "lr": 0.1,
        "schedule": "cosine",
        "per": "epoch",
        "augmentation": "crop-flip",
        "optimiser": ScoreOptimiser(weight_decay=1e-4),
        "data": "cifar10",
        **changes,
    }
    said = " ".join(part for part in (deviations, _BLIND) if part)
    return SearchRecipe(**settings, paper=paper, architecture=architecture, method=method, deviations=said)


def _ramanujan2020() -> dict[str, SearchRecipe]:
    """ramanujan2020whats: edge-popup with the signed Kaiming constant, not scaled."""
    paper, density = "ramanujan2020whats", "The density is an argument of the released code; 0.5 here."
    heavy = ScoreOptimiser(weight_decay=5e-4)
    recipes = {
        "ramanujan2020-fc": _published(
            paper, "lenet-300-100", EdgePopup(0.5), density, augmentation="none", data="mnist"
        ),
        "ramanujan2020-resnet18": _published(
            paper, "resnet18-cifar", EdgePopup(0.5), density, optimiser=heavy, batch_size=256
        ),
    }
    for depth in (2, 4, 6, 8):
        recipes[f"ramanujan2020-conv{depth}"] = _published(paper, f"conv{depth}", EdgePopup(0.5), density)
    return recipes


def _zhou2019() -> dict[str, SearchRecipe]:
    """zhou2019deconstructing: Bernoulli masks, with the learning rate of the comparison in ramanujan2020whats."""
    note = (
        "Learning rate, batches and schedule are those of the comparison in ramanujan2020whats (the example of the "
        "paper's code is 2,000 epochs of plain SGD at 100). Dynamic weight rescaling is off, because what it finds is "
        "no plain ticket: method=Bernoulli(rescale=True) has it. Evaluation uses the last step's mask, not ten draws."
    )
    own = {"lr": 200.0, "optimiser": ScoreOptimiser(weight_decay=0.0), "init": "xavier-constant"}
    recipes = {
        "zhou2019-fc": _published(
            "zhou2019deconstructing", "lenet-300-100", Bernoulli(), note, augmentation="none", data="mnist", **own
        )
    }
    for depth in (2, 4, 6):
        recipes[f"zhou2019-conv{depth}"] = _published(
            "zhou2019deconstructing", f"conv{depth}", Bernoulli(), note, **own
        )
    return recipes


def _chijiwa2021() -> dict[str, SearchRecipe]:
    """chijiwa2021pruning: IteRand, validated on a tenth of the training data as the released code does."""
    note = "Images are padded and cropped; the released code also rescales the crops at random."
    own = {"held_out": 0.1}
    heavy = ScoreOptimiser(weight_decay=5e-4)
    return {
        "chijiwa2021-conv6": _published("chijiwa2021pruning", "conv6", IteRand(0.5), note, lr=0.3, **own),
        "chijiwa2021-resnet18": _published(
            "chijiwa2021pruning", "resnet18-cifar", IteRand(0.4), note, optimiser=heavy, **own
        ),
        "chijiwa2021-resnet34": _published(
            "chijiwa2021pruning", "resnet34-cifar", IteRand(0.4), note, optimiser=heavy, **own
        ),
    }


def _diffenderfer2021() -> dict[str, SearchRecipe]:
    """diffenderfer2021multiprize: MPT-1/32, binary weights and real activations, scaled Kaiming normal."""
    note = (
        "The density is an argument of the released code. That code scales by 1 / sqrt(1 - density): "
        "compat_scale_bug=True does so too."
    )
    own = {"init": "kaiming-normal", "scaled": True}
    heavy = ScoreOptimiser(weight_decay=5e-4)
    recipes = {
        "diffenderfer2021-resnet18": _published(
            "diffenderfer2021multiprize", "resnet18-cifar", Biprop(0.2), note, optimiser=heavy, batch_size=256, **own
        )
    }
    for depth in (2, 4, 6, 8):
        recipes[f"diffenderfer2021-conv{depth}"] = _published(
            "diffenderfer2021multiprize", f"conv{depth}", Biprop(0.1), note, **own
        )
    return recipes


def _sreenivasan2022() -> dict[str, SearchRecipe]:
    """sreenivasan2022rare: Gem-Miner, pruned every 5 epochs down to a density of 0.0059."""
    note = (
        "The weights are not fine-tuned after the search (a strong ticket has none that are trained), and surviving "
        "scores are not set to 1 at its end."
    )
    method, plain = GemMiner(0.0059, stages=29, penalty=1e-4), ScoreOptimiser(weight_decay=0.0)
    recipe = _published("sreenivasan2022rare", "resnet20", method, note, epochs=150, optimiser=plain)
    return {"sreenivasan2022-resnet20": recipe}


def _koster2022() -> dict[str, SearchRecipe]:
    """koster2022signing: signed supermasks; settings of the released configurations of Conv-4 and Conv-8."""
    note = (
        "Activations are ReLU instead of ELU, and the weights lack the factor sqrt(1.5) that ELU asks for. Weight "
        "decay is decoupled there (5e-4 of a score per step); 1e-3 in the slope shrinks a score at rest as much: "
        "0.05 * 1e-3 / (1 - 0.9). Whether images are augmented is not known."
    )
    return {
        f"koster2022-conv{depth}": _published(
            "koster2022signing", f"conv{depth}", SignedSupermask(0.4), note,
            lr=0.05, schedule="staircase", decay=0.96, decay_epochs=10, augmentation="none",
            optimiser=ScoreOptimiser(momentum=0.9, nesterov=True, weight_decay=1e-3),
        )
        for depth in (4, 8)
    }  # fmt: skip


def _okoshi2022() -> dict[str, SearchRecipe]:
    """okoshi2022multicoated: three coats on a signed constant scaled by the density of the first."""
    note = "The densities are those of the released ImageNet example; those of the CIFAR runs are not in the code."
    method = Multicoated((0.3, 0.0788, 0.0315))
    return {"okoshi2022-resnet18": _published("okoshi2022multicoated", "resnet18-cifar", method, note, scaled=True)}


SEARCH_RECIPES: Mapping[str, SearchRecipe] = MappingProxyType(
    {
        "digits": SearchRecipe(40, 64, lr=0.3, schedule="cosine", optimiser=ScoreOptimiser(weight_decay=1e-4)),
        "mnist": SearchRecipe(6, 128, lr=0.4, schedule="cosine", optimiser=ScoreOptimiser(weight_decay=1e-4)),
        **_ramanujan2020(),
        **_zhou2019(),
        **_chijiwa2021(),
        **_diffenderfer2021(),
        **_sreenivasan2022(),
        **_koster2022(),
        **_okoshi2022(),
    }
)
"""Recipes by name: those of papers, "AUTHORyear-network", and two of our own for small MLPs: "digits" for the 8x8
digits (seconds), "mnist" for standardised MNIST and Fashion-MNIST (minutes), both edge-popup at density 0.5.

The learning rates of our own were chosen by validation accuracy: of 0.03, 0.1, 0.3 and 1 on the digits (mlp-64-256-10),
of 0.1, 0.4 and 0.8 on MNIST (lenet-300-100).
"""


def search_recipe(recipe: SearchRecipe | str) -> SearchRecipe:
    """Return a recipe by its name.

    Raises:
        ValueError: an unknown name.

    >>> search_recipe("ramanujan2020-conv4").paper
    'ramanujan2020whats'
    """
    if isinstance(recipe, SearchRecipe):
        return recipe
    if recipe not in SEARCH_RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}: expected one of {', '.join(SEARCH_RECIPES)}")
    return SEARCH_RECIPES[recipe]
