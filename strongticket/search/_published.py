"""The settings of published mask searches, as papers or released code give them, and what could not be followed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from strongticket.search._recipe import SearchRecipe
from strongticket.search.methods import (
    AbstractMethod,
    Bernoulli,
    Biprop,
    CubicRamp,
    EdgePopup,
    GemMiner,
    IteRand,
    Levels,
    Multicoated,
    SignedSupermask,
    Threshold,
)
from strongticket.search.optimiser import ScoreOptimiser

__all__ = ["published"]

_HEAVY = ScoreOptimiser(weight_decay=5e-4)
_FREE = ScoreOptimiser(weight_decay=0.0)
_OWN_IMAGES = "Crops and flips of large images are yours to make: the recipe takes images as they are."

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


def published() -> dict[str, SearchRecipe]:
    """Return the recipes of papers by name, "AUTHORyear-network"."""
    families = (
        _ramanujan2020, _zhou2019, _chijiwa2021, _diffenderfer2021, _sreenivasan2022, _koster2022, _okoshi2022,
        _wortsman2020, _fischer2022, _lopez2021,
    )  # fmt: skip
    return {name: recipe for family in families for name, recipe in family().items()}


def _on_imagenet(recipe: SearchRecipe, architecture: str, **changes: Any) -> SearchRecipe:
    """The recipe for large images that these papers share, after hidden-networks: SGD with momentum 0.875."""
    said = f"{_OWN_IMAGES} {recipe.deviations}"
    settings: dict[str, Any] = {
        "batch_size": 256,
        "lr": 0.256,
        "warmup": 5,
        "label_smoothing": 0.1,
        "augmentation": "none",
        "optimiser": ScoreOptimiser(momentum=0.875, weight_decay=2.0**-15),
        "data": "imagenet",
        **changes,
    }
    return replace(recipe, architecture=architecture, deviations=said, **settings)


def _ramanujan2020() -> dict[str, SearchRecipe]:
    """ramanujan2020whats: edge-popup with the signed Kaiming constant, not scaled."""
    paper, density = "ramanujan2020whats", "The density is an argument of the released code; 0.5 here."
    recipes = {
        "ramanujan2020-fc": _published(
            paper, "lenet-300-100", EdgePopup(0.5), density, augmentation="none", data="mnist"
        ),
        "ramanujan2020-resnet18": _published(
            paper, "resnet18-cifar", EdgePopup(0.5), density, optimiser=_HEAVY, batch_size=256
        ),
        "ramanujan2020-mnist": _published(
            paper,
            "conv2+1x28x28",
            EdgePopup(0.5),
            "The one-file example has a network of its own: convolutions of 32 and 64 channels, one pooling, a hidden "
            "layer of 128, and dropout.",
            epochs=14, batch_size=64, optimiser=_HEAVY, init="kaiming-normal", augmentation="none", data="mnist",
        ),
    }  # fmt: skip
    for depth in (2, 4, 6, 8):
        recipes[f"ramanujan2020-conv{depth}"] = _published(paper, f"conv{depth}", EdgePopup(0.5), density)
    large = _published(paper, "", EdgePopup(0.3))
    for name, architecture in (("resnet50", "resnet50"), ("resnet101", "resnet101"), ("wrn50", "wide-resnet50")):
        recipes[f"ramanujan2020-{name}"] = _on_imagenet(large, architecture)
    return recipes


def _zhou2019() -> dict[str, SearchRecipe]:
    """zhou2019deconstructing: Bernoulli masks, with the learning rate of the comparison in ramanujan2020whats."""
    note = (
        "Learning rate, batches and schedule are those of the comparison in ramanujan2020whats (the example of the "
        "paper's code is 2,000 epochs of plain SGD at 100). The ticket is the last step's sample; the paper averages "
        "the accuracies of ten, which Searcher.ticket(draw=0), ... give one by one."
    )
    own = {"lr": 200.0, "optimiser": _FREE, "init": "xavier-constant"}
    paper, recipes = "zhou2019deconstructing", {}
    for ending, method in (("", Bernoulli()), ("-rescaled", Bernoulli(rescale=True))):
        recipes[f"zhou2019-fc{ending}"] = _published(
            paper, "lenet-300-100", method, note, augmentation="none", data="mnist", **own
        )
        for depth in (2, 4, 6):
            recipes[f"zhou2019-conv{depth}{ending}"] = _published(paper, f"conv{depth}", method, note, **own)
    return recipes


def _chijiwa2021() -> dict[str, SearchRecipe]:
    """chijiwa2021pruning: IteRand, and edge-popup on the scores themselves; validated on training data, as there."""
    paper, signed = "chijiwa2021pruning", EdgePopup(0.5, score_transform="identity")
    own: dict[str, Any] = {"held_out": 0.1, "augmentation": "resized-crop-flip"}
    recipes = {
        "chijiwa2021-conv6": _published(paper, "conv6", IteRand(0.5), lr=0.3, **own),
        "chijiwa2021-conv6-signed": _published(paper, "conv6", signed, lr=0.3, **own),
    }
    for depth in (18, 34):
        net, other = f"resnet{depth}-cifar", replace(signed, density=0.4)
        recipes[f"chijiwa2021-resnet{depth}"] = _published(paper, net, IteRand(0.4), optimiser=_HEAVY, **own)
        recipes[f"chijiwa2021-resnet{depth}-signed"] = _published(paper, net, other, optimiser=_HEAVY, **own)
    note = f"{_OWN_IMAGES} The released code adds five last epochs at a learning rate of 1e-5 to these 100."
    for depth in (34, 50, 101):
        recipes[f"chijiwa2021-imagenet-resnet{depth}"] = _published(
            paper, f"resnet{depth}", IteRand(0.3, period=1000, rate=0.1), note,
            warmup=5, held_out=0.01, augmentation="none", data="imagenet",
        )  # fmt: skip
    return recipes


def _diffenderfer2021() -> dict[str, SearchRecipe]:
    """diffenderfer2021multiprize: binary weights (MPT-1/32), and binary activations too (MPT-1/1)."""
    paper = "diffenderfer2021multiprize"
    note = (
        "The density is an argument of the released code. That code scales by 1 / sqrt(1 - density): "
        "compat_scale_bug=True does so too."
    )
    own: dict[str, Any] = {"init": "kaiming-normal", "scaled": True}
    recipes = {
        "diffenderfer2021-resnet18": _published(
            paper, "resnet18-cifar", Biprop(0.2), note, optimiser=_HEAVY, batch_size=256, **own
        ),
        "diffenderfer2021-resnet18-binary": _published(
            paper, "resnet18-cifar+sign", Biprop(0.2), note,
            optimiser=ScoreOptimiser("adam", weight_decay=5e-4), batch_size=256, **own,
        ),
        "diffenderfer2021-vgg-small-binary": _published(
            paper, "vgg-smallx1.25+sign", Biprop(0.25),
            f"{note} There, only the convolutions before poolings are normalised, and a ReLU stands before the last "
            "layer.",
            lr=2e-4, optimiser=ScoreOptimiser("adam", weight_decay=1e-4), **own,
        ),
        "diffenderfer2021-conv4-global": _published(
            paper, "conv4", Biprop(0.1, "global", annealing=CubicRamp(share=0.1, steps=10)),
            f"{note} Exactly the density is kept, where the code's strict comparison with a threshold keeps one more "
            "or, of tied scores, fewer (nothing at all at density 1).",
            **own,
        ),
    }  # fmt: skip
    for depth in (2, 4, 6, 8):
        recipes[f"diffenderfer2021-conv{depth}"] = _published(paper, f"conv{depth}", Biprop(0.1), note, **own)
        recipes[f"diffenderfer2021-conv{depth}-binary"] = _published(
            paper, f"conv{depth}+sign", Biprop(0.1), note, optimiser=ScoreOptimiser("adam", weight_decay=1e-4), **own
        )
    return recipes


def _sreenivasan2022() -> dict[str, SearchRecipe]:
    """sreenivasan2022rare: Gem-Miner, pruned every 5 epochs, and the edge-popup with iterations beside it."""
    paper = "sreenivasan2022rare"
    note = "The weights are not fine-tuned after the search (a strong ticket has none that are trained)."
    recipes = {}
    for ending, density, penalty in (("", 0.0059, 1e-4), ("-0.0144", 0.0144, 1e-4), ("-0.0372", 0.0372, 3e-5)):
        method = GemMiner(density, stages=29, penalty=penalty, unflag=True)
        recipes[f"sreenivasan2022-resnet20{ending}"] = _published(
            paper, "resnet20", method, note, epochs=150, optimiser=_FREE
        )
    recipes["sreenivasan2022-resnet20-edge-popup"] = _published(
        paper, "resnet20", EdgePopup(0.0059, "global", annealing=Levels(29, dense_first=True)),
        f"{note} The density falls one epoch later than in the released code, and no further than the target in the "
        "last epoch. That code scales by 1 / sqrt(1 - density): compat_scale_bug=True does so too.",
        epochs=150, batch_size=256, optimiser=_HEAVY, scaled=True,
    )  # fmt: skip
    tiny = f"{note} {_OWN_IMAGES}"
    recipes["sreenivasan2022-vgg16-tiny"] = _published(
        paper, "vgg16-200+3x64x64", GemMiner(0.05, stages=39, penalty=1e-6, unflag=True),
        f"{tiny} Density and penalty are arguments of the released code (its penalties are 1e-6 and 5e-6); its network "
        "may differ from this VGG-16.",
        epochs=200, lr=0.01, optimiser=ScoreOptimiser("adam"), augmentation="none", data="tiny-imagenet",
    )  # fmt: skip
    recipes["sreenivasan2022-resnet18-tiny"] = _published(
        paper, "resnet18-cifar-200+3x64x64", GemMiner(0.05, stages=19, penalty=1e-6, unflag=True),
        f"{tiny} Its network may differ from this ResNet-18.",
        epochs=200, batch_size=256, lr=0.01, optimiser=ScoreOptimiser("adam"), augmentation="none",
        data="tiny-imagenet",
    )  # fmt: skip
    return recipes


def _koster2022() -> dict[str, SearchRecipe]:
    """koster2022signing: signed supermasks on ELU networks, whose weights have the gain sqrt(2) sqrt(1.5)."""
    recipes = {}
    for depth, lr, decay in ((2, 0.05, 5e-4), (4, 0.05, 5e-4), (6, 0.05, 5e-4), (8, 0.005, 3e-4)):
        slope = round(decay * (1 - 0.9) / lr, 12)
        note = (
            f"Weight decay is decoupled there ({decay} of a score per step); {slope:g} in the slope shrinks a score at "
            f"rest as much: {lr} * {slope:g} / (1 - 0.9). Whether images are augmented is not known."
        )
        if depth == 8:
            note += " Of Conv-8 other released configurations have a learning rate of 0.05 and a decay of 5e-4."
        recipes[f"koster2022-conv{depth}"] = _published(
            "koster2022signing", f"conv{depth}+elu", SignedSupermask(0.4), note,
            lr=lr, schedule="staircase", decay=0.96, decay_epochs=10, augmentation="none", gain=math.sqrt(1.5),
            optimiser=ScoreOptimiser(momentum=0.9, nesterov=True, weight_decay=slope),
        )  # fmt: skip
    return recipes


def _okoshi2022() -> dict[str, SearchRecipe]:
    """okoshi2022multicoated: three coats on a signed constant scaled by the density of the first."""
    note = "The densities are those of the released ImageNet example; those of the CIFAR runs are not in the code."
    method = Multicoated((0.3, 0.0788, 0.0315))
    small = _published("okoshi2022multicoated", "resnet18-cifar", method, note, scaled=True)
    plain = "Optimiser and schedule are those of edge-popup on ImageNet."
    large = _published("okoshi2022multicoated", "", method, plain, scaled=True)
    return {"okoshi2022-resnet18": small, "okoshi2022-resnet50": _on_imagenet(large, "resnet50")}


def _wortsman2020() -> dict[str, SearchRecipe]:
    """wortsman2020supermasks: SupSup, one mask per task; each recipe searches the mask of one of them."""
    paper, adam = "wortsman2020supermasks", ScoreOptimiser("adam")
    return {
        "wortsman2020-cifar100": _published(
            paper, "resnet18-cifarx0.3125-5", EdgePopup(0.5, "supsup"),
            "One task of twenty. There the number in the allocation is one of 1, 2, 4, ..., 32 (32 here), the script "
            "that runs the configuration makes 250 epochs of its 100, and the ResNet-18 has 20 channels at first.",
            lr=1e-3, schedule="constant", optimiser=adam, augmentation="none", data="cifar100",
        ),
        "wortsman2020-imagenet": _published(
            paper, "resnet50-10", EdgePopup(0.08),
            f"One task of a hundred. {_OWN_IMAGES} The configuration gives Erdos-Renyi allocation and the number 8, "
            "which are read as a density of 8 % of each layer here.",
            lr=1e-3, batch_size=256, warmup=5, optimiser=adam, augmentation="none", data="imagenet",
        ),
        "wortsman2020-mnist": _published(
            paper, "mlp-784-1024-1024-10", Threshold(0.0),
            "One task of 250. There the steps are 1,000, in the third epoch, and all tasks share 500 outputs.",
            epochs=2, lr=1e-4, schedule="constant", optimiser=ScoreOptimiser("rmsprop"), augmentation="none",
            data="mnist",
        ),
    }  # fmt: skip


def _fischer2022() -> dict[str, SearchRecipe]:
    """fischer2022plant: edge-popup with biases, and a density that falls level by level (PlantNSeek)."""
    note = (
        "Convolutions have biases there, right before normalisation, where all they do is to compete with the "
        "weights; here the last layer alone has. Biases are drawn like the weights of their layer; there as 0, or "
        "with standard deviations that fall from layer to layer. The schedule (five epochs of warm-up, then a cosine "
        "over ten) begins anew at each level there. The density is an argument of the released code."
    )
    recipe = _published(
        "fischer2022plant", "resnet18-cifar+bias", EdgePopup(0.5, levels=10, biases=True), note,
        lr=0.01, warmup=5, optimiser=_HEAVY, init="kaiming-normal", augmentation="none",
    )  # fmt: skip
    return {"fischer2022-resnet18": recipe}


def _lopez2021() -> dict[str, SearchRecipe]:
    """lopez2021hidden: hidden-fold networks; only their unfolded counterparts can be searched here."""
    note = (
        "The paper's networks are folded: blocks of a stage share their weights, over several stages. No architecture "
        "here does that, so these are its unfolded networks (HNN). The released code holds a tenth of the data out."
    )
    paper, method = "lopez2021hidden", EdgePopup(0.3)
    small = _published(
        paper, "resnet50-cifar-100", method, note,
        epochs=200, batch_size=256, optimiser=_HEAVY, scaled=True, held_out=0.1, data="cifar100",
    )  # fmt: skip
    return {"lopez2021-resnet50": small}
