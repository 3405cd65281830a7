"""Find a ticket: a random network, data and a recipe go in, a mask that was searched for comes out."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.data._dataset import Split
from strongticket.models import architecture as architecture_of
from strongticket.search.layers import WeightInit
from strongticket.search.methods import AbstractMethod, AbstractTopK, Bernoulli, GemMiner, SignedTopK, Threshold
from strongticket.search.recipes import SearchRecipe, search_recipe
from strongticket.search.searcher import Searcher, blank
from strongticket.ticket import AbstractArchitecture, Source, Ticket
from strongticket.training.checkpoint import Checkpoint
from strongticket.training.data import check_fit, examples_of
from strongticket.training.dense import finished, keeper_of
from strongticket.training.log import Log
from strongticket.training.loop import Epoch, Loop, TrainingError, deterministic_noise, thread_count
from strongticket.training.parallel import Group, Parallel

__all__ = ["Found", "find"]


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found and how it came about.

    Attributes:
        ticket: the source and the mask, how kept weights are read, and the statistics of normalisation. Of masks that
            are drawn it is the last draw.
        module: the network that was found, in evaluation mode, without gradients, on the device of the search.
        masks: what each searched weight is multiplied by, per parameter, on the CPU.
        history: one record per epoch; `details` has the mask's flips since the epoch before, the weights kept and the
            threshold of the scores per layer, and the density.
        best_epoch: number of the epoch whose mask this is: of those at whose end the method had come to its density.
        recipe: what was done.
        source: the random network.
        seed: of scores, order and augmentation, and of the weights if an architecture was given.
    """

    ticket: Ticket
    module: nn.Module
    masks: Mapping[str, Tensor]
    history: tuple[Epoch, ...]
    best_epoch: int
    recipe: SearchRecipe
    source: Source
    seed: int


def find(
    network: AbstractArchitecture | Source | str,
    inputs: Tensor,  # [n, ...] float
    labels: Tensor,  # [n] int64
    recipe: SearchRecipe | str,
    *,
    method: AbstractMethod | None = None,
    density: float | None = None,
    init: WeightInit | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    validation: tuple[Tensor, Tensor] | Split | None = None,
    names: tuple[str, ...] | None = None,
    keep: tuple[str, ...] = (),
    progress: Callable[[Epoch], None] | None = None,
    threads: int | None = 1,
    device: str | torch.device = "cpu",
    channels_last: bool = False,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    parallel: Parallel = "auto",
) -> Found:
    """Search for a subnetwork of a random network that classifies; no weight changes.

    The result is a pure function of the arguments on one kind of processor and one version of torch. Test data have no
    place here: the epoch is chosen by validation accuracy, or it is the last one; statistics of normalisation come
    from training batches alone. Of a density that falls on the way (annealing, Gem-Miner) only epochs at the end of it
    can be chosen, so that the ticket has the density that was asked for.

    Args:
        network: an architecture or its name, whose weights then follow the recipe and the seed; or a source, as it is.
        inputs: training inputs, finite, one example per row.
        labels: their classes, from 0.
        recipe: a `SearchRecipe`, or the name of one of `SEARCH_RECIPES`; the arguments below replace parts of it.
        method: how scores choose.
        density: fraction kept, for methods that have one.
        init: law of the weights; without effect on a source.
        epochs: passes over the data.
        batch_size: examples per step.
        lr: learning rate of the scores.
        seed: of the weights, the scores, the order and the augmentation (streams of their own): 0 to 2^64 - 1.
        validation: (inputs, labels) or a `Split` to choose the epoch by; None: what the recipe holds out. Never test
            data.
        names: parameters to search; all matrices and kernels if None.
        keep: other random parameters that are kept whole; the rest of these is dropped.
        progress: called with each epoch's record as soon as it is over.
        threads: threads of torch while searching, at least 1; None leaves torch's setting.
        device: where to search.
        channels_last: hold kernels and images in that memory format, which GPUs prefer.
        checkpoint: a folder, or a `Checkpoint` that also says how often; a search that was interrupted goes on there.
        log: a JSONL file that gets each epoch's record; overwritten by a new search.
        tensorboard: folder of event files; needs TensorBoard.
        parallel: see `strongticket.training.parallel`.

    Returns:
        The ticket with the history of the search.

    Raises:
        ValueError: data, network or settings that do not fit.
        CheckpointError: the checkpoint is of a search with other arguments, or damaged.
        TrainingError: the loss became NaN or infinite.

    >>> from strongticket.models import MLP
    >>> x = torch.eye(4).repeat(8, 1)
    >>> found = find(MLP((4, 32, 2)), x, x.argmax(1) % 2, "digits", density=0.25, epochs=20, batch_size=8)
    >>> found.ticket.mask.counts, found.history[-1].accuracy
    ({'layers.0.weight': 32, 'layers.1.weight': 16}, 1.0)
    """
    resolved = resolve(recipe, method, density, init=init, epochs=epochs, batch_size=batch_size, lr=lr)
    random.check_seed(seed)
    source = source_of(network, resolved, seed)
    group = Group.of(parallel)
    place = group.device(device) or torch.device("cpu")
    with deterministic_noise(), thread_count(threads):
        examples = examples_of(inputs, labels, validation, resolved, seed)
        module = blank(source)
        check_fit(module, examples)
        check_last_batch(module, len(examples.labels), resolved.batch_size)
        examples = examples.to(place)
        module = module.to(place)
        if channels_last:
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        searcher = Searcher(
            source, resolved.method, seed=seed, module=module, optimiser=resolved.optimiser, names=names, keep=keep
        )
        start = {"source": source.digest, "names": names, "keep": list(keep), "channels_last": channels_last}
        loop = Loop(
            module,
            searcher,
            examples,
            resolved,
            seed=seed,
            snapshot=lambda: copy.deepcopy({"module": module.state_dict(), "searcher": searcher.state_dict()}),
            observer=MaskObserver(searcher),
            progress=progress,
            keeper=keeper_of(checkpoint, start, examples, resolved, seed, group),
            log=Log(log, tensorboard) if group.first else None,
            group=group,
            first_choice=first_choice(resolved),
        )
        loop.run()
    if loop.best is not None:
        module.load_state_dict(loop.best["module"])
        searcher.load_state_dict(loop.best["searcher"])
    return found_by(searcher, loop.history, loop.best_epoch, resolved, seed)


def check_last_batch(module: nn.Module, count: int, batch_size: int) -> None:
    """Refuse a last batch of one example where batch normalisation would have to take its variance."""
    flat = any(isinstance(part, nn.BatchNorm1d) for part in module.modules())
    if flat and count % batch_size == 1:
        raise ValueError(
            f"{count} examples in batches of {batch_size} leave a last one of a single example, which batch "
            "normalisation cannot take: choose another batch_size"
        )


def resolve(
    recipe: SearchRecipe | str, method: AbstractMethod | None, density: float | None, **changes: Any
) -> SearchRecipe:
    """Return the recipe with what the caller replaces in it."""
    resolved = search_recipe(recipe).changed(method=method, **changes)
    return resolved if density is None else resolved.with_density(density)


def first_choice(recipe: SearchRecipe) -> int:
    """Return the number of the first epoch at whose end the method has come to its density.

    >>> from strongticket.search.methods import EdgePopup
    >>> digits = search_recipe("digits")
    >>> digits.epochs, first_choice(digits), first_choice(digits.changed(method=EdgePopup(0.1, levels=4)))
    (40, 1, 30)
    """
    method, epochs = recipe.method, recipe.epochs
    for number in range(1, epochs):
        share = number / epochs
        if isinstance(method, AbstractTopK):
            there = method.density_at(share) == method.density_at(1.0)
        elif isinstance(method, GemMiner):
            there = not method.unflag and method.prunings(0.0, share) == method.stages
        else:
            there = True
        if there:
            return number
    return epochs


def source_of(network: AbstractArchitecture | Source | str, recipe: SearchRecipe, seed: int) -> Source:
    """Return the random network to search in."""
    if isinstance(network, Source):
        return network
    return recipe.source(architecture_of(network) if isinstance(network, str) else network, seed)


def found_by(searcher: Searcher, history: list[Epoch], best_epoch: int, recipe: SearchRecipe, seed: int) -> Found:
    """Return the result of a search that is over; the searcher's module comes to rest."""
    masks = {name: mask.cpu() for name, mask in searcher.masks().items()}
    module = finished(searcher.module)
    return Found(searcher.ticket(), module, masks, tuple(history), best_epoch, recipe, searcher.source, seed)


class MaskObserver:
    """Watch the mask of a search from epoch to epoch.

    Args:
        searcher: what is watched.
    """

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self._before = self._look()

    def _look(self) -> dict[str, Tensor]:
        return {name: mask.to(torch.int8) for name, mask in self._searcher.masks().items()}

    def observe(self) -> dict[str, Any]:
        """Return what happened to the mask since the last look."""
        try:
            self._searcher.check()
        except RuntimeError as error:
            raise TrainingError(str(error)) from error
        before, self._before = self._before, self._look()
        return mask_details(self._searcher.method, self._searcher.scores, self._before, before)

    def state_dict(self) -> dict[str, Any]:
        """Return the masks of the last look."""
        return dict(self._before)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the masks of `state_dict`."""
        self._before = dict(state)


def mask_details(
    method: AbstractMethod, scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], before: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return flips between two masks, and of the second one the density, the weights kept and the lowest score kept.

    Layers that keep nothing have no lowest score, and neither have masks that are drawn. Scores are ranked as the
    method ranks them: by magnitude or as they are.
    """
    kept = {name: int(mask.count_nonzero()) for name, mask in masks.items()}
    signed = isinstance(method, GemMiner | Threshold) or (isinstance(method, AbstractTopK) and not method.absolute)
    signed = signed and not isinstance(method, SignedTopK)  # which keeps both ends
    thresholds = {}
    for name, score in scores.items():
        ranks = (score if signed else score.abs())[masks[name] != 0]
        ranks = ranks[ranks.isfinite()]  # frozen weights have no score
        if ranks.numel() and not isinstance(method, Bernoulli):
            thresholds[name] = float(ranks.min())
    return {
        "flips": sum(int((masks[name] != before[name]).sum()) for name in masks),
        "density": sum(kept.values()) / sum(mask.numel() for mask in masks.values()),
        "kept": kept,
        "thresholds": thresholds,
    }
