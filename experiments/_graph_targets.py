"""Trained convolutional and residual networks, the targets of graph tickets: made once, then read from a folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongticket._files import canonical_json, sha256, write_atomically
from strongticket.training import Recipe

if TYPE_CHECKING:
    from torch import nn

    from strongticket.data import Dataset

__all__ = ["RECIPES", "TrainedNetwork", "trained_network"]

FOLDER: Final = Path("out") / "targets"

RECIPES: Final = {
    "lenet5+bias": Recipe(3, 128, lr=2e-3, weight_decay=0.05, schedule="cosine", max_weight=1.0),
    "conv2+1x28x28+bias": Recipe(2, 128, lr=1e-3, weight_decay=0.05, schedule="cosine", max_weight=1.0),
    "conv4+1x28x28+bias": Recipe(2, 128, lr=1e-3, weight_decay=0.05, schedule="cosine", max_weight=1.0),
    "resnet8x0.5+affine+bias": Recipe(12, 128, lr=5e-3, weight_decay=0.05, schedule="cosine", augmentation="crop-flip"),
}
"""How each target is trained; few epochs of one thread, as the accuracy of a target is not what is studied."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network in evaluation mode, with its data."""

    module: nn.Module
    data: Dataset


def trained_network(data: str, model: str, *, seed: int) -> TrainedNetwork:
    """Train a network, or read it where an equal training has left it.

    Training is a function of (data, model, recipe, seed), so the file is a shortcut that changes no result. It lies in
    out/targets, which git ignores, under the digest of all that made it.

    Args:
        data: data set of images, read from STRONGTICKET_DATA.
        model: one of `RECIPES`.
        seed: of the training, and of the split of the data.

    Raises:
        ValueError: no recipe for this model.
    """
    import io

    import torch

    from strongticket.data import load
    from strongticket.models import architecture
    from strongticket.training import train

    if model not in RECIPES:
        raise ValueError(f"there is no recipe for {model!r}; there are recipes for {', '.join(RECIPES)}")
    loaded, recipe, network = load(data, seed=seed), RECIPES[model], architecture(model)
    note = {"data": data, "pixels": loaded.note, "model": model, "recipe": asdict(recipe), "seed": seed}
    path = FOLDER / f"{model}-{sha256(canonical_json(note).encode())[:16]}.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        values = {name: state[name] for name in (*network.shapes, *network.state)}
        return TrainedNetwork(network.module(values).eval(), loaded)
    made = train(
        network,
        loaded.images("train"),
        loaded.train.labels,
        recipe,
        seed=seed,
        validation=(loaded.images("validation"), loaded.validation.labels),
    )
    held = io.BytesIO()
    torch.save(made.module.state_dict(), held)
    write_atomically(path, held.getvalue())
    return TrainedNetwork(made.module, loaded)
