"""The one loop over the data, step by step: whatever learns goes through it, from any step to any later one.

Everything random in a step is a function of (seed, step): which examples, in which order, how they are augmented, what
dropout draws. So where a run stands is one number, besides the network and what moves it. How a run is counted, looked
at, and kept is up to its two faces: `Loop` counts epochs, `strongticket.weak.Descent` counts steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.training.augment import Augmenter
from strongticket.training.data import Examples
from strongticket.training.optimiser import Stepper
from strongticket.training.parallel import ALONE, Group
from strongticket.training.precision import LossScale, lower_precision
from strongticket.training.recipe import Augmentation, Autocast

__all__ = ["Step", "Steps", "TrainingError", "deterministic_noise", "diverged", "noise", "order", "reseed"]


class TrainingError(RuntimeError):
    """The training diverged; the message says where and what to change."""


@dataclass(frozen=True, eq=False)
class Step:
    """What a step showed: all of it from before anything moved.

    Attributes:
        loss: mean over this process's part of the batch.
        outputs: of the network for that part, [n, classes].
        labels: of that part, [n].
        whole: whether that part is the whole batch, which other processes then have whole too.
        signal: what the first process wanted all to know.
    """

    loss: Tensor
    outputs: Tensor
    labels: Tensor
    whole: bool
    signal: bool


class Steps:
    """Where a run over the data stands, and what its next step does.

    Args:
        module: the network, which the stepper moves. It runs in the mode that it is in.
        stepper: see `Stepper`.
        examples: on the module's device.
        batch_size: examples per step, of all processes together; the last batch of an epoch may be smaller.
        last: steps of the whole run.
        lr_at: learning rate of a step, counted from 0.
        seed: of the order, the augmentation and dropout.
        augmentation: see `AbstractRecipe`.
        label_smoothing: see `AbstractRecipe`.
        autocast: see `AbstractRecipe`.
        group: the processes that share the batches.
        begin: the step to begin at.

    Attributes:
        step: so many steps were done, counted from the beginning of the run; set it to go on from elsewhere.
        batches: steps of an epoch.
        scale: what losses are scaled by in float16, else None.
    """

    def __init__(
        self,
        module: nn.Module,
        stepper: Stepper,
        examples: Examples,
        *,
        batch_size: int,
        last: int,
        lr_at: Callable[[int], float],
        seed: int,
        augmentation: Augmentation = "none",
        label_smoothing: float = 0.0,
        autocast: Autocast | None = None,
        group: Group = ALONE,
        begin: int = 0,
    ) -> None:
        self._module, self._stepper, self._examples, self._group = module, stepper, examples, group
        self._size, self._last, self._lr_at, self._seed = batch_size, last, lr_at, seed
        self._augmentation, self._smoothing, self._autocast = augmentation, label_smoothing, autocast
        self._device = examples.labels.device
        self._drawn: _Drawn | None = None
        self.batches = math.ceil(len(examples.labels) / batch_size)
        self.scale = LossScale() if autocast == "float16" else None
        self.step = begin

    def take(self, due: Callable[[], bool] | None = None) -> Step:
        """Do the next step.

        Args:
            due: asked once its gradients are known; what the first process answers is the step's `signal`.

        Raises:
            TrainingError: what moves the network refused a loss or gradients that are NaN or infinite.
        """
        at = self.step
        drawn, batch = self._draws(at)
        rows = drawn.visits[batch * self._size : (batch + 1) * self._size]
        reseed(drawn.seeds[batch], self._device)
        mine, weight = self._group.share(rows)
        labels = self._examples.labels[mine]
        with lower_precision(self._autocast, self._device):
            outputs = self._module(drawn.augment(self._examples.inputs[mine], mine))
            loss = nn.functional.cross_entropy(outputs, labels, label_smoothing=self._smoothing)
        self._stepper.zero_grad()
        (loss if self.scale is None else self.scale.scale(loss)).backward()  # type: ignore[no-untyped-call]
        signal = self._group.average(self._module, weight, due is not None and due())
        self._move(at, loss)
        self.step = at + 1
        return Step(loss.detach(), outputs.detach(), labels, len(mine) == len(rows), signal)

    def _draws(self, at: int) -> tuple[_Drawn, int]:
        """What is drawn for the epoch of a step, and which of its batches the step has."""
        number, batch = at // self.batches + 1, at % self.batches
        if self._drawn is None or self._drawn.number != number:
            n = len(self._examples.labels)
            self._drawn = _Drawn(
                number,
                torch.from_numpy(order(self._seed, number, n)).to(self._device),
                noise(self._seed, number, self._group.rank, self.batches).tolist(),
                Augmenter(self._augmentation, self._seed, number, n, self._device),
            )
        return self._drawn, batch

    def _move(self, at: int, loss: Tensor) -> None:
        lr, progress = self._lr_at(at), (at + 1) / self._last
        if self.scale is not None and not self.scale.unscale(self._module.parameters()):
            self._stepper.skip(progress=progress)
            return
        try:
            self._stepper.step(lr, progress=progress)
        except RuntimeError as error:
            if not math.isfinite(float(loss.detach())) or not _finite_gradients(self._module):
                number = at // self.batches + 1
                raise TrainingError(diverged(f"loss became {float(loss.detach())}", number, lr)) from error
            raise


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What is drawn for one pass over the data: its number, from 1, the order, seeds of dropout, augmentation."""

    number: int
    visits: Tensor
    seeds: list[int]
    augment: Augmenter


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


def _finite_gradients(module: nn.Module) -> bool:
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def diverged(what: str, number: int, lr: float) -> str:
    """Return the message of a `TrainingError`."""
    return f"the {what} in epoch {number} (lr {lr:g}): lower lr, or check inputs and initial weights"
