"""Train a network by ordinary means, dependably: the same seed gives the same network, bit for bit.

Targets of the constructions and the dense baselines of every comparison come from here. Nothing is read from a global
random state: initial weights and the order of the data are pure functions of the seed.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.data import Split
from strongticket.ticket import AbstractArchitecture
from strongticket.training.checkpoint import Checkpoint, Keeper, digest
from strongticket.training.data import Examples, check_fit, examples_of
from strongticket.training.initial import initialise
from strongticket.training.log import Log
from strongticket.training.loop import Epoch, Loop, deterministic_noise, thread_count
from strongticket.training.optimiser import WeightOptimiser
from strongticket.training.parallel import Group, Parallel
from strongticket.training.recipe import AbstractRecipe, Recipe, Schedule, resolve

__all__ = ["Trained", "finished", "keeper_of", "train"]


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and how it came about.

    Attributes:
        module: the network, in evaluation mode, its parameters without gradients.
        history: one record per epoch.
        best_epoch: number of the epoch whose weights these are.
        recipe: what was done.
        seed: the seed of the data order, and of the initial weights if an architecture was given.
    """

    module: nn.Module
    history: tuple[Epoch, ...]
    best_epoch: int
    recipe: Recipe
    seed: int


def train(
    module: nn.Module | AbstractArchitecture,
    inputs: Tensor,  # [n, ...] float
    labels: Tensor,  # [n] int64
    recipe: Recipe | str | None = None,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    optimiser: Literal["adam", "sgd"] | None = None,
    weight_decay: float | None = None,
    schedule: Schedule | None = None,
    max_weight: float | None = None,
    keep_best: bool | None = None,
    seed: int = 0,
    validation: tuple[Tensor, Tensor] | Split | None = None,
    progress: Callable[[Epoch], None] | None = None,
    threads: int | None = 1,
    device: str | torch.device | None = None,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    parallel: Parallel = "auto",
) -> Trained:
    """Train a classifier with cross-entropy, and return a new network; the one given stays as it is.

    The result is a pure function of the arguments on one kind of processor and one version of torch: the order of the
    data, augmentation and what dropout draws are functions of (seed, epoch, step). The number of threads changes the
    last bits, which is why it is an argument.

    Args:
        module: the network to start from, as it is; or an architecture, whose weights are then made by `initialise`.
        inputs: training inputs, finite, one example per row.
        labels: their classes, from 0.
        recipe: a `Recipe`, the name of one of `RECIPES`, or None; the arguments below replace parts of it. Without a
            recipe, `epochs`, `batch_size` and `lr` must be given.
        epochs: see `Recipe`.
        batch_size: see `Recipe`.
        lr: see `Recipe`.
        optimiser: see `Recipe`.
        weight_decay: see `Recipe`.
        schedule: see `Recipe`.
        max_weight: see `Recipe`.
        keep_best: see `Recipe`.
        seed: 0 to 2^64 - 1.
        validation: (inputs, labels) to choose the best epoch by; None or empty for none. Never pass test data.
        progress: called with each epoch's record as soon as it is over.
        threads: threads of torch while training, at least 1; None leaves torch's setting. Small networks gain little
            from a second thread, and lose an order of magnitude where another process uses the same core.
        device: where to train; None leaves network and data where they are.
        checkpoint: a folder, or a `Checkpoint` that also says how often; a run that was interrupted goes on there.
        log: a JSONL file that gets each epoch's record; overwritten by a new run.
        tensorboard: folder of event files; needs TensorBoard.
        parallel: see `strongticket.training.parallel`.

    Returns:
        The trained network with its history.

    Raises:
        ValueError: data or parameters that cannot be trained on (shapes, dtypes, NaN, labels beyond the outputs).
        CheckpointError: the checkpoint is of a run with other arguments, or damaged.
        TrainingError: the loss became NaN or infinite.

    >>> x = torch.tensor([[0.0], [0.2], [0.8], [1.0]])
    >>> y = torch.tensor([0, 0, 1, 1])
    >>> net = initialise(nn.Linear(1, 2), seed=0)
    >>> trained = train(net, x, y, epochs=200, batch_size=4, lr=0.1)
    >>> bool((trained.module(x).argmax(1) == y).all()), len(trained.history)
    (True, 200)
    """
    resolved = resolve(
        recipe,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        optimiser=optimiser,
        weight_decay=weight_decay,
        schedule=schedule,
        max_weight=max_weight,
        keep_best=keep_best,
    )
    random.check_seed(seed)
    with deterministic_noise(), thread_count(threads):
        network = _copy_to_train(module, seed)
        examples = examples_of(inputs, labels, validation, resolved, seed)
        check_fit(network, examples)
        group = Group.of(parallel)
        place = group.device(device)
        examples = examples.to(place)
        network = network if place is None else network.to(place)
        start = {"network": digest(network.state_dict())} if checkpoint is not None or group.size > 1 else {}
        loop = Loop(
            network,
            WeightOptimiser(network, resolved),
            examples,
            resolved,
            seed=seed,
            snapshot=lambda: copy.deepcopy(network.state_dict()),
            progress=progress,
            keeper=keeper_of(checkpoint, start, examples, resolved, seed, group),
            log=Log(log, tensorboard) if group.first else None,
            group=group,
        )
        loop.run()
    if loop.best is not None:
        network.load_state_dict(loop.best)
    finished(network)
    return Trained(network, tuple(loop.history), loop.best_epoch, resolved, seed)


def finished(network: nn.Module) -> nn.Module:
    """Put a network to rest: evaluation mode, no gradients."""
    network.eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.grad = None
    return network


def keeper_of(
    checkpoint: Checkpoint | str | os.PathLike[str] | None,
    start: dict[str, Any],
    examples: Examples,
    recipe: AbstractRecipe,
    seed: int,
    group: Group,
) -> Keeper | None:
    """Return what keeps the checkpoint of a run, having made sure that all its processes do the same.

    Args:
        checkpoint: a folder, or more; None for no checkpoint.
        start: what names the network that is started from.
        examples: on the device of the run.
        recipe, seed: of the run.
        group: its processes.

    Raises:
        RuntimeError: the processes of the group have different arguments.
    """
    if checkpoint is None and group.size == 1:
        return None
    device = examples.labels.device
    data = [examples.inputs, examples.labels, examples.validation]
    arguments = {
        **start,
        "recipe": repr(recipe),
        "seed": seed,
        "data": digest(data),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "processes": group.size,
    }
    group.require_equal("the arguments", digest(arguments))
    if checkpoint is None:
        return None
    settings = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    return Keeper(settings, arguments, device, writes=group.first)


def _copy_to_train(module: nn.Module | AbstractArchitecture, seed: int) -> nn.Module:
    if isinstance(module, nn.Module):
        network = copy.deepcopy(module)
    else:
        empty = {name: torch.zeros(shape) for name, shape in module.shapes.items()}
        network = initialise(module.module({**empty, **module.initial_state()}), seed)
    parameters = list(network.parameters())
    if not parameters:
        raise ValueError("the network has no parameters: there is nothing to train")
    for name, parameter in network.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ValueError(f"parameter {name} holds NaN or infinite values: initialise the network first")
    if not any(parameter.requires_grad for parameter in parameters):
        network.requires_grad_(True)  # wholly frozen means a network at rest, not one of which nothing may move
    return network
