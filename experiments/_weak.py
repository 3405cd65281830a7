"""What the experiments with weak tickets share: data as the papers normalise them, and where stages are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from experiments._search import Data, note

if TYPE_CHECKING:
    import torch

    from strongticket.weak import WeakData

__all__ = ["DEVICE", "MOMENTS", "STAGES", "device", "moments_of", "stages_folder", "weak_data"]

STAGES: Final = "STRONGTICKET_STAGES"
"""Variable that names the folder where trained levels are kept, so that runs share them and killed ones go on."""
DEVICE: Final = "STRONGTICKET_DEVICE"
"""Variable that names where weak tickets are trained, such as cuda; the processor unless it is set. Stages of one kind
of device are not those of another, and the environment of a run says which it was."""
MOMENTS: Final[Mapping[Data, tuple[tuple[float, ...], tuple[float, ...]]]] = MappingProxyType(
    {
        "mnist": ((0.1307,), (0.3081,)),
        "fashion-mnist": ((0.2860,), (0.3530,)),
        "cifar10": ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),
    }
)
"""(means, standard deviations) of the channels that inputs are normalised by; no paper prints those it used. For data
without an entry they are those of the training part."""


def stages_folder() -> Path:
    """Return where stages are kept: what STRONGTICKET_STAGES names, or out/stages."""
    return Path(os.environ.get(STAGES) or "out/stages")


def device() -> torch.device | None:
    """Return where to train: what STRONGTICKET_DEVICE names; None, which is where the data are, unless it is set.

    Raises:
        ValueError: there is no such device here.
    """
    import torch

    named = os.environ.get(DEVICE)
    if not named:
        return None
    try:
        found = torch.device(named)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"{DEVICE} names {named!r}, and torch has no such device here ({error}): unset it") from error
    return found


@lru_cache(maxsize=1)
def weak_data(data: Data, seed: int) -> WeakData:
    """Return a data set, normalised; the seed says which training examples are for validation (MNIST: 5,000)."""
    import torch

    from strongticket.data import load
    from strongticket.weak import WeakData

    loaded = load(data, seed=seed)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in moments_of(data, seed))
    parts = [
        ((loaded.images(part) - mean) / std, getattr(loaded, part).labels) for part in ("train", "validation", "test")
    ]
    said = note(data, loaded.note)
    return WeakData(parts[0], parts[1], parts[2], f"{data} ({said})" if said else data)


def moments_of(data: Data, seed: int) -> tuple[list[float], list[float]]:
    """Return (means, standard deviations) of the channels that inputs are normalised by."""
    from strongticket.data import load

    if data in MOMENTS:
        mean, std = MOMENTS[data]
        return list(mean), list(std)
    images = load(data, seed=seed).images("train").double()
    channels: Any = images.transpose(0, 1).flatten(1)
    return channels.mean(1).tolist(), channels.std(1, correction=0).tolist()
