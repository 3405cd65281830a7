"""The training loop as epochs: weights and masks go through it alike, and it can stop anywhere and go on.

Its steps are those of `strongticket.training.steps`, as are those of tickets that are trained step by step. What is
added here is what an epoch is for: its record, validation, the choice of the best one, checkpoints, logs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from strongticket.training.checkpoint import Keeper, digest
from strongticket.training.data import Examples
from strongticket.training.evaluate import judged
from strongticket.training.log import Log
from strongticket.training.optimiser import Stepper
from strongticket.training.parallel import ALONE, Group
from strongticket.training.recipe import AbstractRecipe
from strongticket.training.steps import Step, Steps, TrainingError, deterministic_noise, diverged, noise, order, reseed

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
        batches = math.ceil(len(examples.labels) / recipe.batch_size)
        self._steps = Steps(
            module,
            stepper,
            examples,
            batch_size=recipe.batch_size,
            last=recipe.epochs * batches,
            lr_at=lambda step: recipe.lr_at(step, batches),
            seed=seed,
            augmentation=recipe.augmentation,
            label_smoothing=recipe.label_smoothing,
            autocast=recipe.autocast,
            group=group,
        )
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
            self._log.start([asdict(epoch) for epoch in self.history])
        while len(self.history) < self.recipe.epochs:
            self._epoch(len(self.history) + 1)
        if self.best is None:
            self.best_epoch = self.recipe.epochs

    def _epoch(self, number: int) -> None:
        self.module.train()
        end = number * self._steps.batches
        overdue = None if self._keeper is None else self._keeper.overdue
        while self._steps.step < end:
            done = self._steps.take(overdue)
            self._count(done)
            if done.signal and self._steps.step < end:
                self._save()
        self._finish(number)

    def _count(self, done: Step) -> None:
        if done.whole and not self._group.first:
            return  # the first process counts a batch that all have whole
        self._loss += done.loss * len(done.labels)
        self._hits += (done.outputs.argmax(1) == done.labels).sum()

    def _finish(self, number: int) -> None:
        n = len(self._examples.labels)
        mean = float(self._group.total(self._loss)) / n
        lr = self.recipe.lr_at(number * self._steps.batches - 1, self._steps.batches)
        # Once NaN or infinite, the sum stays so: one look per epoch finds it without stalling every step.
        if not math.isfinite(mean):
            raise TrainingError(diverged(f"loss became {mean}", number, lr))
        hits = int(self._group.total(self._hits)) / n
        valid = self._validate()
        details = {} if self._observer is None else self._observer.observe()
        self.history.append(Epoch(number, lr, mean, hits, valid[0], valid[1], details))
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
        loss, hits = judged(self.module, part, target)
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
            "batch": self._steps.step - len(self.history) * self._steps.batches,
            "loss": self._group.total(self._loss),
            "hits": self._group.total(self._hits),
            "module": self.module.state_dict(),
            "stepper": self.stepper.state_dict(),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "observer": {} if self._observer is None else self._observer.state_dict(),
            "scale": [] if self._steps.scale is None else [self._steps.scale.factor, self._steps.scale.good],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.history = [Epoch(**record) for record in state["history"]]
        self._steps.step = len(self.history) * self._steps.batches + int(state["batch"])
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        for mine, saved in ((self._loss, state["loss"]), (self._hits, state["hits"])):
            mine.copy_(saved if self._group.first else torch.zeros_like(saved))
        self.module.load_state_dict(state["module"])
        self.stepper.load_state_dict(state["stepper"])
        if self._observer is not None:
            self._observer.load_state_dict(state["observer"])
        if self._steps.scale is not None:
            self._steps.scale.factor, self._steps.scale.good = state["scale"]


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
