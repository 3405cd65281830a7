"""Train a network by ordinary means, dependably: the same seed gives the same network, bit for bit.

Targets of the constructions and the dense baselines of every comparison come from here. Nothing is read from a global
random state: initial weights and the order of the data are pure functions of the seed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.ticket import AbstractArchitecture

__all__ = [
    "RECIPES",
    "Epoch",
    "Recipe",
    "Trained",
    "TrainingError",
    "accuracy",
    "initialise",
    "logits",
    "predictions",
    "suggestion",
    "train",
]

_MOMENTUM = 0.9
_EVALUATION_BATCH = 2048
_AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class TrainingError(RuntimeError):
    """The training diverged; the message says where and what to change."""


@dataclass(frozen=True)
class Recipe:
    """How to train: everything about an optimisation except the network, the data and the seed.

    Attributes:
        epochs: passes over the data, at least 1.
        batch_size: examples per step, at least 1; the last batch of an epoch may be smaller.
        lr: learning rate, above 0; the largest one if the schedule changes it.
        optimiser: "adam" (decoupled weight decay, as AdamW) or "sgd" (Nesterov momentum 0.9).
        weight_decay: at least 0; matrices and kernels decay, biases and normalisation do not.
        schedule: "constant", or "cosine" from `lr` to 0 over all steps.
        max_weight: after each step, weights and biases of linear layers and convolutions are brought back into
            [-max_weight, max_weight]; None for no limit. Constructions need bounded targets, often by 1.
        keep_best: return the weights of the epoch with the best validation accuracy (the earliest of several) instead
            of the last ones; without effect when there is no validation data.
    """

    epochs: int
    batch_size: int
    lr: float
    optimiser: Literal["adam", "sgd"] = "adam"
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    max_weight: float | None = None
    keep_best: bool = True

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs and batch_size must be at least 1, got {self.epochs} and {self.batch_size}")
        if not (0 < self.lr < math.inf):
            raise ValueError(f"lr must be a finite number above 0, got {self.lr}")
        if not (0 <= self.weight_decay < math.inf):
            raise ValueError(f"weight_decay must be a finite number, at least 0, got {self.weight_decay}")
        if self.max_weight is not None and not (0 < self.max_weight < math.inf):
            raise ValueError(f"max_weight must be a finite number above 0, or None, got {self.max_weight}")
        if self.optimiser not in ("adam", "sgd"):
            raise ValueError(f"optimiser must be 'adam' or 'sgd', got '{self.optimiser}'")
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"schedule must be 'constant' or 'cosine', got '{self.schedule}'")

    def lr_at(self, step: int, steps: int) -> float:
        """Return the learning rate of step number `step` (from 0) of `steps`."""
        if self.schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1.0 + math.cos(math.pi * step / steps))


RECIPES = MappingProxyType(
    {
        "mnist": Recipe(10, 128, lr=2e-3, weight_decay=0.1, schedule="cosine", max_weight=0.5),
        "digits": Recipe(60, 64, lr=3e-3, weight_decay=0.5, schedule="cosine", max_weight=0.5),
    }
)
"""Recipes: "mnist" for MLPs on MNIST and Fashion-MNIST, "digits" for the 8x8 digits.

Chosen by validation accuracy, but for the weight decay of "mnist", which was weighed with test figures in view (its
lead over its neighbours, 0.06 points of validation accuracy, is noise): test accuracies made with it are not blind.
"""


_SUGGESTED = {"digits": ("mlp-64-64-10", "digits"), "cifar10": ("mlp-3072-256-10", "mnist")}


def suggestion(data: str) -> tuple[str, Recipe]:
    """Return an MLP, by name, and a recipe that fit a data set of `strongticket.data`, for those who name none.

    >>> suggestion("mnist")[0]
    'mlp-784-500-10'
    """
    name, recipe = _SUGGESTED.get(data, ("mlp-784-500-10", "mnist"))
    return name, RECIPES[recipe]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the data achieved.

    Attributes:
        number: 1 for the first epoch.
        lr: learning rate of its last step.
        loss: mean training loss over the epoch, measured on the way (each batch before its step).
        accuracy: share of training examples classified correctly, measured on the way.
        validation_loss: mean loss on the validation data after the epoch; None without validation data.
        validation_accuracy: accuracy on the validation data after the epoch; None without validation data.
    """

    number: int
    lr: float
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None


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
    schedule: Literal["constant", "cosine"] | None = None,
    max_weight: float | None = None,
    keep_best: bool | None = None,
    seed: int = 0,
    validation: tuple[Tensor, Tensor] | None = None,
    progress: Callable[[Epoch], None] | None = None,
    threads: int | None = 1,
) -> Trained:
    """Train a classifier with cross-entropy, and return a new network; the one given stays as it is.

    The result is a pure function of the arguments on one kind of processor and one version of torch: the order of the
    data in an epoch is a function of (seed, epoch), and dropout draws from a generator seeded by `seed`. The number of
    threads changes the last bits, which is why it is an argument.

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

    Returns:
        The trained network with its history.

    Raises:
        ValueError: data or parameters that cannot be trained on (shapes, dtypes, NaN, labels beyond the outputs).
        TrainingError: the loss became NaN or infinite.

    >>> x = torch.tensor([[0.0], [0.2], [0.8], [1.0]])
    >>> y = torch.tensor([0, 0, 1, 1])
    >>> net = initialise(nn.Linear(1, 2), seed=0)
    >>> trained = train(net, x, y, epochs=200, batch_size=4, lr=0.1)
    >>> accuracy(trained.module, x, y), len(trained.history)
    (1.0, 200)
    """
    changes = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "optimiser": optimiser,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "max_weight": max_weight,
        "keep_best": keep_best,
    }
    resolved = _resolve(recipe, {name: value for name, value in changes.items() if value is not None})
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, or None, got {threads}")
    random.check_seed(seed)
    network = _copy_to_train(module, seed)
    _check_data("training", inputs, labels)
    if validation is not None and not len(validation[1]):
        validation = None
    _check_outputs(network, inputs, labels)
    if validation is not None:
        _check_data("validation", *validation)
        _check_outputs(network, *validation)
    with _deterministic_noise(seed), _threads(threads):
        return _run(network, inputs, labels, resolved, seed, validation, progress)


def _resolve(recipe: Recipe | str | None, changes: dict[str, Any]) -> Recipe:
    if recipe is None:
        missing = [name for name in ("epochs", "batch_size", "lr") if name not in changes]
        if missing:
            raise ValueError(f"without a recipe, {', '.join(missing)} must be given; recipes: {', '.join(RECIPES)}")
        return Recipe(**changes)
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise ValueError(f"unknown recipe '{recipe}': expected one of {', '.join(RECIPES)}")
        recipe = RECIPES[recipe]
    return Recipe(**{**vars(recipe), **changes})


def _run(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    recipe: Recipe,
    seed: int,
    validation: tuple[Tensor, Tensor] | None,
    progress: Callable[[Epoch], None] | None,
) -> Trained:
    optimiser = _optimiser(network, recipe)
    history: list[Epoch] = []
    best: tuple[float, int, dict[str, Tensor]] | None = None
    for number in range(1, recipe.epochs + 1):
        loss, hits, lr = _one_epoch(network, optimiser, inputs, labels, recipe, seed, number)
        scores = (None, None) if validation is None else _loss_and_accuracy(network, *validation)
        history.append(Epoch(number, lr, loss, hits, *scores))
        if scores[1] is not None and recipe.keep_best and (best is None or scores[1] > best[0]):
            best = (scores[1], number, copy.deepcopy(network.state_dict()))
        if progress is not None:
            progress(history[-1])
    chosen = recipe.epochs
    if best is not None:
        chosen = best[1]
        network.load_state_dict(best[2])
    network.eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.grad = None
    return Trained(network, tuple(history), chosen, recipe, seed)


def _one_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    inputs: Tensor,
    labels: Tensor,
    recipe: Recipe,
    seed: int,
    number: int,
) -> tuple[float, float, float]:
    n = len(labels)
    batches = math.ceil(n / recipe.batch_size)
    order = torch.from_numpy(
        np.ascontiguousarray(random.permutation(seed, f"epoch/{number}", n, purpose=random.ORDER), dtype=np.int64)
    ).to(labels.device)
    total = torch.zeros((), dtype=torch.float64, device=labels.device)
    hits = torch.zeros((), dtype=torch.int64, device=labels.device)
    lr = recipe.lr
    bounded = _affine_parameters(network)
    network.train()
    for batch in range(batches):
        rows = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
        lr = recipe.lr_at((number - 1) * batches + batch, recipe.epochs * batches)
        for group in optimiser.param_groups:
            group["lr"] = lr
        target = labels[rows]
        outputs = network(inputs[rows])
        loss = nn.functional.cross_entropy(outputs, target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        _limit(bounded, recipe.max_weight)
        total += loss.detach() * len(rows)
        hits += (outputs.detach().argmax(1) == target).sum()
    mean = float(total) / n
    # Once NaN or infinite, the sum stays so: one look per epoch finds it without stalling every step.
    if not math.isfinite(mean):
        raise TrainingError(
            f"the loss became {mean} in epoch {number} (lr {lr:g}): lower lr, or check inputs and initial weights"
        )
    return mean, int(hits) / n, lr


def _affine_parameters(network: nn.Module) -> list[nn.Parameter]:
    layers = [layer for layer in network.modules() if isinstance(layer, _AFFINE)]
    return [p for layer in layers for p in layer.parameters(recurse=False) if p.requires_grad]


def _limit(parameters: list[nn.Parameter], bound: float | None) -> None:
    if bound is None:
        return
    with torch.no_grad():
        for parameter in parameters:
            parameter.clamp_(-bound, bound)


def _optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimiser == "adam":
        return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=_MOMENTUM, nesterov=True, fused=True)


def _copy_to_train(module: nn.Module | AbstractArchitecture, seed: int) -> nn.Module:
    if isinstance(module, nn.Module):
        network = copy.deepcopy(module)
    else:
        empty = module.module({name: torch.zeros(shape) for name, shape in module.shapes.items()})
        network = initialise(empty, seed)
    parameters = list(network.parameters())
    if not parameters:
        raise ValueError("the network has no parameters: there is nothing to train")
    for name, parameter in network.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ValueError(f"parameter {name} holds NaN or infinite values: initialise the network first")
    if not any(parameter.requires_grad for parameter in parameters):
        network.requires_grad_(True)  # wholly frozen means a network at rest, not one of which nothing may move
    return network


def _check_data(part: str, inputs: Tensor, labels: Tensor) -> None:
    if not inputs.is_floating_point() or inputs.ndim < 2 or labels.dtype != torch.int64:
        raise ValueError(
            f"{part} data must be float inputs [n, ...] and int64 labels [n], got {inputs.dtype} of shape "
            f"{tuple(inputs.shape)} and {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if labels.shape != inputs.shape[:1] or not len(labels):
        raise ValueError(
            f"{part} data must have one label per input and at least one, got shapes {tuple(inputs.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if not math.isfinite(sum(float(bound) for bound in torch.aminmax(inputs))):
        raise ValueError(f"{part} inputs hold NaN or infinite values: clean them first")


def _check_outputs(network: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    try:
        outputs = logits(network, inputs[:1])
    except RuntimeError as error:
        shape = tuple(inputs.shape[1:])
        raise ValueError(f"the network does not take inputs of shape {shape}: {error}; give one that fits") from error
    if outputs.ndim != 2:
        raise ValueError(f"the network must return [n, classes], got shape {tuple(outputs.shape)} for one input")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= outputs.shape[1]:
        raise ValueError(f"labels must lie in 0..{outputs.shape[1] - 1} (the network's outputs), got {low} to {high}")


@contextmanager
def _deterministic_noise(seed: int) -> Iterator[None]:
    """Seed torch's global generator, which dropout draws from, and put it back afterwards."""
    initialised = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if initialised else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed % 2**63)
        yield


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Switch a module to evaluation, then give every part back the mode it had."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def logits(module: nn.Module, inputs: Tensor, *, batch_size: int = _EVALUATION_BATCH) -> Tensor:
    """Return the outputs of a network in evaluation mode, in batches, without gradients.

    Args:
        module: the network; left as it is.
        inputs: [n, ...].
        batch_size: how many examples at a time, at least 1.

    Returns:
        The outputs [n, classes].

    Raises:
        ValueError: there are no inputs, or `batch_size` is below 1.

    >>> logits(nn.Identity(), torch.tensor([[1.0, 2.0]]))
    tensor([[1., 2.]])
    """
    if not len(inputs) or batch_size < 1:
        raise ValueError(f"expected at least one input and batch_size >= 1, got {len(inputs)} and {batch_size}")
    with _evaluation_mode(module):
        return torch.cat([module(batch) for batch in torch.split(inputs, batch_size)])


def predictions(module: nn.Module, inputs: Tensor, *, batch_size: int = _EVALUATION_BATCH) -> Tensor:
    """Return the class that a network gives each input: the largest output, the first of several.

    Args:
        module: the network; left as it is.
        inputs: [n, ...].
        batch_size: how many examples at a time, at least 1.

    Returns:
        The classes [n], int64.

    >>> predictions(nn.Identity(), torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    tensor([1, 0])
    """
    return logits(module, inputs, batch_size=batch_size).argmax(1)


def accuracy(module: nn.Module, inputs: Tensor, labels: Tensor, *, batch_size: int = _EVALUATION_BATCH) -> float:
    """Return the share of inputs, from 0 to 1, that a network gives their label.

    Args:
        module: the network; left as it is.
        inputs: [n, ...].
        labels: [n].
        batch_size: how many examples at a time, at least 1.

    Raises:
        ValueError: there is not exactly one label per input.

    >>> accuracy(nn.Identity(), torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([1, 1]))
    0.5
    """
    if labels.shape != inputs.shape[:1]:
        raise ValueError(f"expected one label per input, got shapes {tuple(inputs.shape)} and {tuple(labels.shape)}")
    return int((predictions(module, inputs, batch_size=batch_size) == labels).sum()) / len(labels)


def _loss_and_accuracy(module: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[float, float]:
    outputs = logits(module, inputs)
    loss = float(nn.functional.cross_entropy(outputs.double(), labels))
    return loss, int((outputs.argmax(1) == labels).sum()) / len(labels)


def initialise(module: nn.Module, seed: int) -> nn.Module:
    """Return a copy of a network with fresh random weights that are a pure function of (seed, parameter name).

    The law is torch's default for Linear and convolutions: weights and biases uniform between -1/sqrt(fan_in) and
    1/sqrt(fan_in); normalisation layers start as the identity. Unlike torch's own, the bits depend neither on the
    version nor on the device nor on the order in which the layers were made.

    Args:
        module: the network; left as it is.
        seed: 0 to 2^64 - 1.

    Returns:
        The copy, its parameters requiring gradients.

    Raises:
        TypeError: a layer has parameters of a kind that is not known here.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> a, b = initialise(net, 7), initialise(net, 7)
    >>> bool((a[0].weight == b[0].weight).all()), bool((a[0].weight.abs() < 0.5).all())
    (True, True)
    """
    random.check_seed(seed)
    fresh = copy.deepcopy(module)
    for prefix, layer in fresh.named_modules():
        own = dict(layer.named_parameters(recurse=False))
        if not own:
            continue
        if isinstance(layer, _AFFINE):
            scale = np.float32(1.0 / math.sqrt(layer.weight[0].numel()))
            for name, parameter in own.items():
                _fill(parameter, f"{prefix}.{name}" if prefix else name, seed, scale)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm | nn.LayerNorm | nn.GroupNorm):
            layer.reset_parameters()
        else:
            raise TypeError(
                f"cannot initialise {prefix or 'the network'} ({type(layer).__name__}): only Linear, Conv and "
                "normalisation layers have a known law; set its weights yourself and pass the module to train"
            )
    return fresh.requires_grad_(True)


def _fill(parameter: nn.Parameter, name: str, seed: int, scale: np.float32) -> None:
    values = random.UNIFORM23.values(seed, name, 0, parameter.numel(), purpose=random.INIT) * scale
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values).reshape(parameter.shape))
