"""The one training loop: weights and masks go through it alike, and it can stop anywhere and go on.

Everything random in it is a function of (seed, epoch, step): the order of the examples, their augmentation, and what
dropout draws. So its whole state is a few numbers besides those of the network and of what moves it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.training.augment import Augmenter
from strongticket.training.checkpoint import Keeper, digest
from strongticket.training.data import Examples
from strongticket.training.evaluate import logits
from strongticket.training.log import Log
from strongticket.training.optimiser import Stepper
from strongticket.training.parallel import ALONE, Group
from strongticket.training.precision import LossScale, lower_precision
from strongticket.training.recipe import AbstractRecipe

__all__ = [
    "Epoch",
    "Loop",
    "Observer",
    "TrainingError",
    "best_so_far",
    "deterministic_noise",
    "diverged",
    "noise",
    "order",
    "reseed",
    "thread_count",
]


class TrainingError(RuntimeError):
    """The training diverged; the message says where and what to change."""


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
        details: what an observer saw after the epoch; empty in dense training.
    """

    number: int
    lr: float
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    details: Mapping[str, Any] = field(default_factory=dict)


class Observer(Protocol):
    """Looks at what learns after each epoch, and remembers what it saw."""

    def observe(self) -> dict[str, Any]:
        """Return the details of the epoch that is over: JSON values."""

    def state_dict(self) -> dict[str, Any]:
        """Return what it remembers."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""


class Loop:
    """A run over the data, from wherever it was.

    Args:
        module: the network, which the stepper moves.
        stepper: see `Stepper`.
        examples: on the module's device.
        recipe: how the data are gone through.
        seed: of the order, the augmentation and dropout.
        snapshot: copies what may turn out to be the best epoch: tensors, numbers and texts.
        observer: looks at each epoch.
        progress: called with each epoch's record, in the first process.
        keeper: writes and reads the checkpoint.
        log: writes the records, in the first process.
        group: the processes that share the batches.
        first_choice: number of the first epoch that may be the best one; those before it are on the way only.
    """

    def __init__(
        self,
        module: nn.Module,
        stepper: Stepper,
        examples: Examples,
        recipe: AbstractRecipe,
        *,
        seed: int,
        snapshot: Callable[[], dict[str, Any]],
        observer: Observer | None = None,
        progress: Callable[[Epoch], None] | None = None,
        keeper: Keeper | None = None,
        log: Log | None = None,
        group: Group = ALONE,
        first_choice: int = 1,
    ) -> None:
        self.module, self.stepper, self.recipe, self.seed = module, stepper, recipe, seed
        self._examples, self._snapshot, self._observer, self._group = examples, snapshot, observer, group
        self._progress, self._keeper, self._log = progress, keeper, log
        self._first_choice = first_choice
        self._device = examples.labels.device
        self._scale = LossScale() if recipe.autocast == "float16" else None
        self._batches = math.ceil(len(examples.labels) / recipe.batch_size)
        self._batch = 0
        self._loss = torch.zeros((), dtype=torch.float64, device=self._device)
        self._hits = torch.zeros((), dtype=torch.int64, device=self._device)
        self.history: list[Epoch] = []
        self.best: dict[str, Any] | None = None
        self.best_epoch = 0

    def run(self) -> None:
        """Go to the end; `history`, `best` (None: the last epoch) and `best_epoch` tell what came of it.

        Raises:
            TrainingError: the loss became NaN or infinite.
            CheckpointError: the checkpoint is of another run, or damaged.
        """
        state = None if self._keeper is None else self._keeper.load()
        if state is not None:
            self.load_state_dict(state)
        if self._log is not None and self._group.first:
            self._log.start(len(self.history))
        while len(self.history) < self.recipe.epochs:
            self._epoch(len(self.history) + 1)
        if self.best is None:
            self.best_epoch = self.recipe.epochs

    def _epoch(self, number: int) -> None:
        examples, size = self._examples, self.recipe.batch_size
        visits = torch.from_numpy(order(self.seed, number, len(examples.labels))).to(self._device)
        augment = Augmenter(self.recipe.augmentation, self.seed, number, len(visits), self._device)
        seeds = noise(self.seed, number, self._group.rank, self._batches)
        self.module.train()
        while self._batch < self._batches:
            rows = visits[self._batch * size : (self._batch + 1) * size]
            reseed(int(seeds[self._batch]), self._device)
            due = self._step(number, rows, augment)
            self._batch += 1
            if due and self._batch < self._batches:
                self._save()
        self._finish(number)

    def _step(self, number: int, rows: Tensor, augment: Augmenter) -> bool:
        """One step; True if a checkpoint is due."""
        at = (number - 1) * self._batches + self._batch
        lr = self.recipe.lr_at(at, self._batches)
        mine, weight = self._group.share(rows)
        target = self._examples.labels[mine]
        with lower_precision(self.recipe.autocast, self._device):
            outputs = self.module(augment(self._examples.inputs[mine], mine))
            loss = nn.functional.cross_entropy(outputs, target, label_smoothing=self.recipe.label_smoothing)
        self.stepper.zero_grad()
        (loss if self._scale is None else self._scale.scale(loss)).backward()  # type: ignore[no-untyped-call]
        due = self._group.average(self.module, weight, self._keeper is not None and self._keeper.overdue())
        progress = (at + 1) / (self.recipe.epochs * self._batches)
        if self._scale is None or self._scale.unscale(self.module.parameters()):
            self._move(lr, progress, loss, number)
        else:
            self.stepper.skip(progress=progress)
        if len(mine) == len(rows) and not self._group.first:
            return due  # the first process counts a batch that all have whole
        self._loss += loss.detach() * len(mine)
        self._hits += (outputs.detach().argmax(1) == target).sum()
        return due

    def _move(self, lr: float, progress: float, loss: Tensor, number: int) -> None:
        try:
            self.stepper.step(lr, progress=progress)
        except RuntimeError as error:
            if not math.isfinite(float(loss.detach())) or not _finite_gradients(self.module):
                raise TrainingError(diverged(f"loss became {float(loss.detach())}", number, lr)) from error
            raise

    def _finish(self, number: int) -> None:
        n = len(self._examples.labels)
        mean = float(self._group.total(self._loss)) / n
        lr = self.recipe.lr_at(number * self._batches - 1, self._batches)
        # Once NaN or infinite, the sum stays so: one look per epoch finds it without stalling every step.
        if not math.isfinite(mean):
            raise TrainingError(diverged(f"loss became {mean}", number, lr))
        hits = int(self._group.total(self._hits)) / n
        valid = self._validate()
        details = {} if self._observer is None else self._observer.observe()
        self.history.append(Epoch(number, lr, mean, hits, valid[0], valid[1], details))
        self._batch = 0
        self._loss.zero_()
        self._hits.zero_()
        if self.recipe.keep_best and best_so_far(self.history, self._first_choice):
            self.best, self.best_epoch = self._snapshot(), number
        settings = None if self._keeper is None else self._keeper.settings
        if settings is not None and (number == self.recipe.epochs or number % settings.every_epochs == 0):
            self._save()
        if self._group.first:
            if self._log is not None:
                self._log.write(asdict(self.history[-1]))
            if self._progress is not None:
                self._progress(self.history[-1])

    def _validate(self) -> tuple[float | None, float | None]:
        """Mean loss and accuracy on the validation data, if there are any; each process looks at its part."""
        if self._examples.validation is None:
            return None, None
        inputs, labels = self._examples.validation
        mine, weight = self._group.share(torch.arange(len(labels), device=self._device))
        part, target = (inputs, labels) if self._group.size == 1 else (inputs[mine], labels[mine])
        outputs = logits(self.module, part)
        loss = nn.functional.cross_entropy(outputs.double(), target)
        hits = (outputs.argmax(1) == target).sum()
        if self._group.size == 1:
            return float(loss), int(hits) / len(labels)
        both = self._group.total(torch.stack([loss * weight, hits.double() / len(target) * weight]))
        return float(both[0]), float(both[1])

    def _save(self) -> None:
        assert self._keeper is not None
        state = self.state_dict()
        if not math.isfinite(float(state["loss"])):
            return  # the end of the epoch will say so
        if self._group.size > 1:
            own = digest([state["module"], state["stepper"]])
            self._group.require_equal("networks and scores", own)
        self._keeper.save(state)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs besides the arguments."""
        return {
            "history": [asdict(epoch) for epoch in self.history],
            "batch": self._batch,
            "loss": self._group.total(self._loss),
            "hits": self._group.total(self._hits),
            "module": self.module.state_dict(),
            "stepper": self.stepper.state_dict(),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "observer": {} if self._observer is None else self._observer.state_dict(),
            "scale": [] if self._scale is None else [self._scale.factor, self._scale.good],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.history = [Epoch(**record) for record in state["history"]]
        self._batch, self.best, self.best_epoch = state["batch"], state["best"], state["best_epoch"]
        for mine, saved in ((self._loss, state["loss"]), (self._hits, state["hits"])):
            mine.copy_(saved if self._group.first else torch.zeros_like(saved))
        self.module.load_state_dict(state["module"])
        self.stepper.load_state_dict(state["stepper"])
        if self._observer is not None:
            self._observer.load_state_dict(state["observer"])
        if self._scale is not None:
            self._scale.factor, self._scale.good = state["scale"]


def best_so_far(history: Sequence[Epoch], first_choice: int = 1) -> bool:
    """Whether the last epoch has the best validation accuracy, alone, of those that may be chosen.

    >>> seen = [Epoch(number, 0.1, 0.0, 0.0, None, accuracy) for number, accuracy in ((1, 0.9), (2, 0.8), (3, 0.8))]
    >>> [best_so_far(seen[:n]) for n in (1, 2, 3)], [best_so_far(seen[:n], first_choice=2) for n in (1, 2, 3)]
    ([True, False, False], [False, True, False])
    """
    scores = [
        epoch.validation_accuracy for epoch in history[first_choice - 1 :] if epoch.validation_accuracy is not None
    ]
    return bool(scores) and scores.index(max(scores)) == len(scores) - 1


def order(seed: int, epoch: int, n: int) -> npt.NDArray[np.int64]:  # [n]
    """Return the order in which an epoch, from 1, visits the examples."""
    return np.ascontiguousarray(random.permutation(seed, f"epoch/{epoch}", n, purpose=random.ORDER), dtype=np.int64)


def noise(seed: int, epoch: int, rank: int, batches: int) -> npt.NDArray[np.uint64]:  # [batches]
    """Return seeds for what each step of a process draws from torch's generator."""
    pairs = random.words(seed, f"noise/{epoch}/{rank}", 0, 2 * batches, purpose=random.AUGMENTATION).astype(np.uint64)
    return (pairs[::2] << np.uint64(31)) | (pairs[1::2] >> np.uint64(1))


def reseed(seed: int, device: torch.device) -> None:
    """Seed the generators that dropout draws from."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def deterministic_noise() -> Iterator[None]:
    """Put torch's global generators back afterwards."""
    initialised = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count())) if initialised else []):
        yield


@contextmanager
def thread_count(count: int | None) -> Iterator[None]:
    """Run torch with so many threads; None leaves its setting.

    Raises:
        ValueError: a count below 1.
    """
    if count is not None and count < 1:
        raise ValueError(f"threads must be at least 1, or None, got {count}")
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _finite_gradients(module: nn.Module) -> bool:
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def diverged(what: str, number: int, lr: float) -> str:
    """Return the message of a `TrainingError`."""
    return f"the {what} in epoch {number} (lr {lr:g}): lower lr, or check inputs and initial weights"
