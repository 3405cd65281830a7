"""Train what pruning left, with the pruned weights at exactly zero throughout."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.data._dataset import Split
from strongticket.mask import Mask
from strongticket.pruning.abstract import Pruned
from strongticket.pruning.hold import hold
from strongticket.training import Checkpoint, Epoch, Loop, Recipe, Stepper, WeightOptimiser
from strongticket.training.checkpoint import digest
from strongticket.training.data import check_fit, examples_of
from strongticket.training.dense import finished, keeper_of
from strongticket.training.log import Log
from strongticket.training.loop import deterministic_noise, thread_count
from strongticket.training.parallel import Group, Parallel
from strongticket.training.recipe import recipe_of, resolve

__all__ = ["Retrained", "Retraining", "retrain", "train_held"]


@dataclass(frozen=True, eq=False)
class Retrained:
    """A pruned network that was trained further.

    Attributes:
        module: the network, in evaluation mode, without gradients; exactly 0 outside the mask.
        mask: what is kept.
        history: one record per epoch.
        best_epoch: number of the epoch whose weights these are.
        recipe: what was done.
        seed: of the data order, augmentation and dropout.
    """

    module: nn.Module
    mask: Mask
    history: tuple[Epoch, ...]
    best_epoch: int
    recipe: Recipe
    seed: int


@dataclass(frozen=True)
class Retraining:
    """Say how a network is trained between two rounds of pruning.

    Attributes:
        recipe: a recipe, or the name of one of `strongticket.training.RECIPES`. The examples are those of the problem;
            the recipe may hold some out to choose the epoch by.
        threads: threads of torch while training.
    """

    recipe: Recipe | str
    threads: int | None = 1

    def __post_init__(self) -> None:
        recipe_of(self.recipe)


def retrain(
    pruned: Pruned,
    inputs: Tensor,  # [n, ...] float
    labels: Tensor,  # [n] int64
    recipe: Recipe | str | None = None,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    updated: bool = True,
    seed: int = 0,
    validation: tuple[Tensor, Tensor] | Split | None = None,
    progress: Callable[[Epoch], None] | None = None,
    threads: int | None = 1,
    device: str | torch.device | None = None,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
    parallel: Parallel = "auto",
) -> Retrained:
    """Train a pruned network, its pruned weights staying exactly zero: the third column of a comparison.

    Args:
        pruned: what pruning left; it stays as it is.
        inputs: training inputs; `retrain(pruned, *data, ...)` unpacks what `prune` was given as (inputs, labels).
        labels: their classes.
        recipe: how; its learning rate is meant for a network that is trained already, so usually lower than at first.
            As for `train`, None if the next three are given, which replace parts of a recipe otherwise.
        epochs: see `Recipe`.
        batch_size: see `Recipe`.
        lr: see `Recipe`.
        updated: start from the values that the method gave the survivors; False: from the trained ones.
        seed: of order, augmentation and dropout.
        validation: (inputs, labels) or a `Split` to choose the best epoch by; None or empty for none. Never test data.
        progress: called with each epoch's record.
        threads: threads of torch while training; None leaves its setting.
        device: where to train; None leaves network and data where they are.
        checkpoint: a folder, or a `Checkpoint`; a run that was interrupted goes on there.
        log: a JSONL file that gets each epoch's record.
        parallel: see `strongticket.training.parallel`.

    Raises:
        ValueError: data or a recipe that do not fit the network.
        CheckpointError: the checkpoint is of a run with other arguments, or damaged.
        TrainingError: the loss became NaN or infinite.

    >>> from strongticket.pruning import Problem
    >>> from strongticket.pruning.magnitude import Magnitude
    >>> from strongticket.pruning.saliency import ScorePruner
    >>> x, y = torch.eye(8), torch.arange(8) % 2
    >>> from strongticket.training import initialise
    >>> net = initialise(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)), 0)
    >>> pruned = ScorePruner(Magnitude()).prune(Problem.of(net), 0.5)
    >>> after = retrain(pruned, x, y, epochs=30, batch_size=8, lr=0.05)
    >>> after.history[-1].accuracy, int(after.module[0].weight.count_nonzero()) == pruned.mask.counts["0.weight"]
    (1.0, True)
    """
    return train_held(
        pruned.module(updated=updated),
        pruned.mask,
        inputs,
        labels,
        resolve(recipe, epochs=epochs, batch_size=batch_size, lr=lr),
        seed=seed,
        validation=validation,
        progress=progress,
        threads=threads,
        device=device,
        checkpoint=checkpoint,
        log=log,
        parallel=parallel,
    )


def train_held(
    module: nn.Module,
    mask: Mask,
    inputs: Tensor,  # [n, ...] float
    labels: Tensor,  # [n] int64
    recipe: Recipe | str,
    *,
    seed: int = 0,
    validation: tuple[Tensor, Tensor] | Split | None = None,
    progress: Callable[[Epoch], None] | None = None,
    threads: int | None = 1,
    device: str | torch.device | None = None,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
    parallel: Parallel = "auto",
    stepper: Callable[[nn.Module, Stepper], Stepper] | None = None,
) -> Retrained:
    """Train any network under a mask; see `retrain` for the arguments that it shares.

    Args:
        module: the network to start from, as it is; it is copied, and all of it is trained unless some of its
            parameters require gradients and others do not.
        mask: what is kept of some of its parameters; the rest of these becomes 0.
        inputs: see `retrain`.
        labels: see `retrain`.
        recipe: see `retrain`.
        seed: see `retrain`.
        validation: see `retrain`.
        progress: see `retrain`.
        threads: see `retrain`.
        device: see `retrain`.
        checkpoint: see `retrain`.
        log: see `retrain`.
        parallel: see `retrain`.
        stepper: given the network and its optimiser, returns what moves the network instead: to look on at each step.
    """
    resolved = recipe_of(recipe)
    random.check_seed(seed)
    with deterministic_noise(), thread_count(threads):
        network = copy.deepcopy(module)
        if not any(parameter.requires_grad for parameter in network.parameters()):
            network.requires_grad_(True)
        examples = examples_of(inputs, labels, validation, resolved, seed)
        check_fit(network, examples)
        group = Group.of(parallel)
        place = group.device(device)
        examples = examples.to(place)
        network = network if place is None else network.to(place)
        with hold(network, mask):
            start = {"network": digest(network.state_dict()), "mask": mask.digest}
            optimiser: Stepper = WeightOptimiser(network, resolved)
            loop = Loop(
                network,
                optimiser if stepper is None else stepper(network, optimiser),
                examples,
                resolved,
                seed=seed,
                snapshot=lambda: copy.deepcopy(network.state_dict()),
                progress=progress,
                keeper=keeper_of(checkpoint, start, examples, resolved, seed, group),
                log=Log(log) if group.first else None,
                group=group,
            )
            loop.run()
            if loop.best is not None:
                network.load_state_dict(loop.best)
    return Retrained(finished(network), mask, tuple(loop.history), loop.best_epoch, resolved, seed)
