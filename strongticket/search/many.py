"""Sweeps: many small networks searched in one program, as one network with an extra leading dimension.

One small network leaves most of a device idle: what its step costs is the starting of operations. Here the searches of
several seeds and densities share each operation; every search keeps its own weights, scores, order of the data and
mask, and does what `find` does alone. The results are the same up to rounding, because the product of a batch of
matrices may add in another order than single products do (and convolutions of many networks become one grouped
convolution): the masks agree at first, and where two scores are close one of them may differ later.

Networks that draw noise in training (dropout) are searched at several densities with one seed, where all draw the same,
as each does alone. They are refused with several seeds: the operations of a batch draw from one generator, so that what
a search draws would depend on which others it is batched with, and no seed would have noise of its own.

The gain is what the starting of operations costs. On one core of a CPU it is about twofold for 20 networks of 5,000
weights and little for networks of 20,000.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from strongticket import random
from strongticket.data._dataset import Split, pair_of
from strongticket.search._sweep import Run, Sweep
from strongticket.search.find import Found, resolve, source_of
from strongticket.search.layers import WeightInit
from strongticket.search.methods import AbstractMethod, EdgePopup
from strongticket.search.recipes import SearchRecipe
from strongticket.ticket import AbstractArchitecture
from strongticket.training.checkpoint import Checkpoint
from strongticket.training.data import examples_of
from strongticket.training.dense import keeper_of
from strongticket.training.loop import Epoch, deterministic_noise, thread_count
from strongticket.training.parallel import ALONE

__all__ = ["find_many", "refusal"]


def find_many(
    architecture: AbstractArchitecture | str,
    inputs: Tensor,  # [n, ...] float
    labels: Tensor,  # [n] int64
    recipe: SearchRecipe | str,
    *,
    seeds: Sequence[int] = (0,),
    densities: Sequence[float] | None = None,
    method: AbstractMethod | None = None,
    init: WeightInit | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    validation: tuple[Tensor, Tensor] | Split | None = None,
    progress: Callable[[int, list[Epoch]], None] | None = None,
    threads: int | None = 1,
    device: str | torch.device = "cpu",
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
) -> list[Found]:
    """Search with several seeds and densities at once, by edge-popup with counts per layer.

    Args:
        architecture: the network, or its name; small, because all searches are in memory together.
        inputs: training inputs, as for `find`.
        labels: their classes, from 0.
        recipe: as for `find`; it holds nothing out by itself.
        seeds: one search each.
        densities: one search each, for every seed; None: the recipe's.
        method: see `find`; an `EdgePopup` whose allocation is not "global", without biases and frozen subsets.
        init: see `find`.
        epochs: see `find`.
        batch_size: see `find`.
        lr: see `find`.
        validation: (inputs, labels) to choose each search's epoch by; None or empty: the last one.
        progress: called after each epoch with its number and the records of all searches.
        threads: see `find`.
        device: where to search.
        checkpoint: a folder, or a `Checkpoint` that also says how often; a sweep that was interrupted goes on there,
            and ends with the same bits.

    Returns:
        What was found: for the first seed at each density, for the second seed at each density, and so on.

    Raises:
        ValueError: a method or a network that is not searched in batches (use `find`), or data that do not fit.
        CheckpointError: the checkpoint is of a sweep with other arguments, or damaged.
        TrainingError: the loss of a search became NaN or infinite.

    >>> x = torch.eye(4).repeat(8, 1)
    >>> found = find_many("mlp-4-32-2", x, x.argmax(1) % 2, "digits", seeds=[0, 1], densities=[0.25, 0.5], epochs=5)
    >>> [(one.seed, one.ticket.mask.density) for one in found]
    [(0, 0.25), (0, 0.5), (1, 0.25), (1, 0.5)]
    """
    base = resolve(recipe, method, None, init=init, epochs=epochs, batch_size=batch_size, lr=lr)
    pair = pair_of(validation)
    if base.held_out and (pair is None or not len(pair[1])):
        raise ValueError("searches in batches do not hold data out, each its own: pass validation data")
    if said := refusal(base):
        raise ValueError(f"{said}: call find for each")
    if not seeds or (densities is not None and not densities):
        raise ValueError(f"expected at least one seed and one density, got {list(seeds)} and {densities}")
    with deterministic_noise(), thread_count(threads):
        examples = examples_of(inputs, labels, pair, base, 0)
        runs = []
        for seed, density in itertools.product(seeds, (None,) if densities is None else densities):
            own = base if density is None else base.with_density(density)
            runs.append(Run(source_of(architecture, own, random.check_seed(seed)), own, seed))
        sweep = Sweep(runs, examples, base, torch.device(device))
        start = {"sources": [run.source.digest for run in runs], "seeds": list(seeds), "densities": densities}
        return sweep.run(progress, keeper_of(checkpoint, start, sweep.examples, base, seeds[0], ALONE))


def refusal(recipe: SearchRecipe) -> str:
    """Return why searches with this recipe cannot be made in batches; nothing if they can.

    >>> from strongticket.search.recipes import search_recipe
    >>> refusal(search_recipe("mnist")), refusal(search_recipe("zhou2019-fc"))
    ('', 'searches in batches are those of edge-popup with counts per layer, got bernoulli')
    """
    method = recipe.method
    if not isinstance(method, EdgePopup) or method.allocation == "global":
        said = ", ".join(filter(None, [method.key, getattr(method, "allocation", "")]))
        return f"searches in batches are those of edge-popup with counts per layer, got {said}"
    if method.frozen is not None or method.biases:
        return f"searches in batches are those of all weights and no biases, got {method}"
    if recipe.optimiser.name != "sgd":
        return f"searches in batches move their scores by SGD, got {recipe.optimiser.name}"
    if recipe.autocast == "float16":
        return "searches in batches do not scale losses, which float16 needs"
    return ""
