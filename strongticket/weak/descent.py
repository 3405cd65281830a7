"""Train step by step under a mask, from any step to any other, with the same bits however often it is interrupted."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.mask import Mask
from strongticket.training import Checkpoint, TrainingError
from strongticket.training.checkpoint import Keeper, digest
from strongticket.training.data import Examples, check_outputs
from strongticket.training.evaluate import judged
from strongticket.training.initial import AFFINE
from strongticket.training.loop import thread_count
from strongticket.training.optimiser import decay_groups
from strongticket.training.steps import Steps, deterministic_noise
from strongticket.weak.recipe import StepRecipe

__all__ = ["Descended", "Descent", "Look", "descend", "early_stop", "keep_on"]

_BETAS: Final = (0.9, 0.999)


@dataclass(frozen=True)
class Look:
    """What a look at the validation data showed.

    Attributes:
        step: so many steps were done before it.
        loss: mean validation loss.
        accuracy: share of validation examples classified correctly.
        train_loss: mean loss of the training batches since the look before, each before its step.
    """

    step: int
    loss: float
    accuracy: float
    train_loss: float


def early_stop(looks: tuple[Look, ...] | list[Look]) -> Look:
    """Return the look with the least validation loss, the first of several: Frankle & Carbin's early-stop iteration.

    It is decided with hindsight: training always goes on to the end.

    Raises:
        ValueError: there are no looks.

    >>> early_stop([Look(100, 0.5, 0.8, 1.0), Look(200, 0.3, 0.9, 0.5), Look(300, 0.3, 0.95, 0.1)]).step
    200
    """
    if not looks:
        raise ValueError("nobody looked at the validation data: there is no early stop")
    return min(looks, key=lambda look: look.loss)  # min takes the first of equals


@dataclass(frozen=True, eq=False)
class Descended:
    """What a training came to.

    Attributes:
        final: state dict after the last step.
        best: state dict at the early stop; empty if nobody looked at the validation data yet.
        looks: all looks at the validation data.
    """

    final: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    looks: tuple[Look, ...]

    @property
    def stop(self) -> Look:
        """The early stop; see `early_stop`."""
        return early_stop(self.looks)


class Descent:
    """A training that stands at some step: go on `to` a later one, take its state, set it to a state.

    Its steps are those of `strongticket.training.steps`, as are those of `strongticket.training.train`. What is added
    here is a mask, looks at the validation data by the step, and the early stop.

    Everything random is a function of (seed, step), and steps are counted from the beginning of the recipe. So a
    descent that begins at step r visits the examples, with the learning rates, that one from step 0 does from r on. Its
    optimiser is fresh, as rewinding wants it.

    Entries outside the mask are +0.0 at the beginning; their gradients are made 0 before each step, so that no momentum
    and no decay ever moves them.

    Args:
        module: the network to start from; it is copied.
        mask: what is kept of some of its parameters; None: everything.
        examples: with validation data.
        recipe: how.
        seed: of order, augmentation and dropout.
        begin: the step to begin at, 0 to recipe.steps.

    Raises:
        ValueError: no validation data, a network that does not fit the data or the mask, or a begin out of range.
    """

    def __init__(
        self, module: nn.Module, mask: Mask | None, examples: Examples, recipe: StepRecipe, *, seed: int, begin: int = 0
    ) -> None:
        random.check_seed(seed)
        if examples.validation is None:
            raise ValueError("the early stop is defined by validation data: give some")
        if not 0 <= begin <= recipe.steps:
            raise ValueError(f"begin must be a step in 0..{recipe.steps}, got {begin}")
        if recipe.augmentation != "none" and examples.inputs.ndim != 4:
            raise ValueError(f"augmentation {recipe.augmentation} needs images, got {tuple(examples.inputs.shape)}")
        self._device = examples.labels.device
        self.network = copy.deepcopy(module).to(self._device).requires_grad_(True)
        check_outputs(self.network, examples.inputs, examples.labels)
        self._masks = _masked(self.network, {} if mask is None else mask, self._device)
        self._examples, self._recipe, self._seed = examples, recipe, seed
        self._optimiser = _optimiser(self.network, recipe)
        self._steps = Steps(
            self.network,
            _MaskedOptimiser(self._optimiser, self._masks),
            examples,
            batch_size=recipe.batch_size,
            last=recipe.steps,
            lr_at=recipe.lr_at,
            seed=seed,
            augmentation=recipe.augmentation,
            begin=begin,
        )
        self._loss = torch.zeros((), dtype=torch.float64, device=self._device)
        self._since = 0
        self.looks: list[Look] = []
        self.best: dict[str, Tensor] = {}
        if recipe.dropout:
            _drop(self.network, recipe.dropout)

    @property
    def step(self) -> int:
        """So many steps were done, counted from the beginning of the recipe."""
        return self._steps.step

    def to(self, step: int, *, save: Callable[[], None] | None = None, due: Callable[[], bool] | None = None) -> None:
        """Go on to a step.

        Args:
            step: from where it is to recipe.steps.
            save: called when `due` says so.
            due: asked after every step.

        Raises:
            ValueError: a step that is over already, or beyond the recipe.
            TrainingError: the loss became NaN or infinite.
        """
        if not self.step <= step <= self._recipe.steps:
            raise ValueError(f"this descent is at step {self.step} of {self._recipe.steps} and cannot go to {step}")
        with deterministic_noise():
            while self.step < step:
                self._one()
                if self.step % self._recipe.evaluate_every == 0 or self.step == self._recipe.steps:
                    self._look()
                if due is not None and save is not None and due():
                    save()

    def _one(self) -> None:
        if not self.network.training:
            self.network.train()
        self._loss += self._steps.take().loss
        self._since += 1

    def _look(self) -> None:
        """Look at the validation data; keep the network if it never was better."""
        assert self._examples.validation is not None
        inputs, labels = self._examples.validation
        train_loss = float(self._loss) / max(1, self._since)
        mean, hits = judged(self.network, inputs, labels)
        loss = float(mean)
        if not math.isfinite(loss) or not math.isfinite(train_loss):
            raise TrainingError(
                f"the loss became {train_loss} in training and {loss} in validation by step {self.step} "
                f"(lr {self._recipe.lr_at(self.step - 1):g}): lower lr, or check inputs and initial weights"
            )
        if not self.looks or loss < min(look.loss for look in self.looks):
            self.best = _copied(self.network.state_dict())
        self.looks.append(Look(self.step, loss, int(hits) / len(labels), train_loss))
        self._loss.zero_()
        self._since = 0

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a descent needs to go on: tensors, numbers, texts, lists and dictionaries."""
        return {
            "step": self.step,
            "network": _copied(self.network.state_dict()),
            "optimiser": self._optimiser.state_dict(),
            "looks": [asdict(look) for look in self.looks],
            "best": dict(self.best),
            "loss": self._loss.clone(),
            "since": self._since,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where `state_dict` was taken, which must have been of a descent with the same arguments."""
        self._steps.step, self._since = int(state["step"]), int(state["since"])
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        self.looks = [Look(**look) for look in state["looks"]]
        self.best = dict(state["best"])
        self._loss.copy_(state["loss"])

    def result(self) -> Descended:
        """Return what has come of it so far.

        Raises:
            RuntimeError: an entry outside the mask is not 0, which no training should do.
        """
        for parameter, kept in self._masks:
            if bool((parameter.detach()[kept == 0] != 0).any()):
                raise RuntimeError("a pruned weight has moved: the network changes its weights outside the optimiser")
        return Descended(_copied(self.network.state_dict()), dict(self.best), tuple(self.looks))


def descend(
    module: nn.Module,
    mask: Mask | None,
    examples: Examples,
    recipe: StepRecipe,
    *,
    seed: int,
    begin: int = 0,
    until: int | None = None,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    threads: int | None = 1,
) -> Descended:
    """Train under a mask and return what came of it; killed in the middle, the same call goes on from its checkpoint.

    Args:
        module: see `Descent`.
        mask: see `Descent`.
        examples: see `Descent`.
        recipe: see `Descent`.
        seed: see `Descent`.
        begin: see `Descent`.
        until: the step to stop at; None: the recipe's last.
        checkpoint: a folder, or a `Checkpoint` with `every_seconds`; None for none.
        threads: threads of torch; None leaves its setting.

    Raises:
        ValueError: see `Descent`.
        CheckpointError: the checkpoint is of a run with other arguments, or damaged.
        TrainingError: the loss became NaN or infinite.

    >>> x, y = torch.eye(8), torch.arange(8) % 2
    >>> net = nn.Linear(8, 2)
    >>> result = descend(net, None, Examples(x, y, (x, y)), StepRecipe(30, 8, 0.1, evaluate_every=10), seed=0)
    >>> [look.step for look in result.looks], result.stop.accuracy
    ([10, 20, 30], 1.0)
    """
    with deterministic_noise(), thread_count(threads):
        descent = Descent(module, mask, examples, recipe, seed=seed, begin=begin)
        last = recipe.steps if until is None else until
        if checkpoint is None:
            descent.to(last)
            return descent.result()
        settings = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint, every_seconds=30.0)
        arguments = {
            "network": digest(descent.network.state_dict()),
            "mask": None if mask is None else mask.digest,
            "data": digest([examples.inputs, examples.labels, examples.validation]),
            "recipe": repr(recipe),
            "seed": seed,
            "begin": begin,
            "device": str(examples.labels.device.type),
            "threads": torch.get_num_threads(),
        }
        keep_on(descent, last, Keeper(settings, arguments, examples.labels.device))
        return descent.result()


def keep_on(descent: Descent, step: int, keeper: Keeper) -> None:
    """Go on from a checkpoint, if there is one, to a step, writing checkpoints on the way and at the end.

    Raises:
        CheckpointError: the checkpoint is of a run with other arguments, or damaged.
    """
    state = keeper.load()
    if state is not None:
        descent.load_state_dict(state)

    def save() -> None:
        kept = descent.state_dict()
        if math.isfinite(float(kept["loss"])):  # a run that has diverged is not worth going on with
            keeper.save(kept)

    descent.to(step, save=save, due=keeper.overdue)
    save()


class _MaskedOptimiser:
    """An optimiser of torch that never sees a gradient outside the mask: so no momentum moves what is not kept."""

    def __init__(self, optimiser: torch.optim.Optimizer, masks: list[tuple[nn.Parameter, Tensor]]) -> None:
        self._optimiser, self._masks = optimiser, masks

    def zero_grad(self) -> None:
        self._optimiser.zero_grad()

    def step(self, lr: float, *, progress: float = 0.0) -> None:
        for parameter, kept in self._masks:
            if parameter.grad is not None:
                parameter.grad.mul_(kept)
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        self._optimiser.step()

    def skip(self, *, progress: float) -> None:
        """Leave the weights as they are."""

    def state_dict(self) -> dict[str, Any]:
        return self._optimiser.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._optimiser.load_state_dict(state)


def _masked(network: nn.Module, mask: Mapping[str, Tensor], device: torch.device) -> list[tuple[nn.Parameter, Tensor]]:
    """Zero what is not kept; return the parameters of which something is not, with 0 and 1 for each entry."""
    found = []
    parameters = dict(network.named_parameters())
    for name in mask:
        kept = mask[name].to(device)
        if name not in parameters or parameters[name].shape != kept.shape:
            there = tuple(parameters[name].shape) if name in parameters else "no such parameter"
            raise ValueError(f"the mask of {name} has shape {tuple(kept.shape)}, the network has {there}")
        if not bool(kept.all()):
            parameters[name].data.masked_fill_(~kept, 0.0)  # not times 0, which leaves -0.0
            found.append((parameters[name], kept.to(parameters[name].dtype)))
    return found


def _optimiser(network: nn.Module, recipe: StepRecipe) -> torch.optim.Optimizer:
    groups = decay_groups(network, recipe.weight_decay)
    if recipe.optimiser == "adam":
        return torch.optim.Adam(groups, lr=recipe.lr, betas=_BETAS, eps=1e-8, fused=True)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=True)


def _drop(network: nn.Module, share: float) -> None:
    """Drop inputs of linear layers, but for one that sees the data themselves."""
    affine = [part for part in network.modules() if isinstance(part, AFFINE)]

    def dropped(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (nn.functional.dropout(inputs[0], share, layer.training), *inputs[1:])

    for layer in affine[1:]:
        if isinstance(layer, nn.Linear):
            layer.register_forward_pre_hook(dropped)


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}
