"""The main job, once, for the demo and for the experiments: train a target, find it in a random network, certify it."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments._timing import timed
from strongticket import MLP, Domain, Target, Ticket, architecture
from strongticket.certificate import Certificate
from strongticket.certify import Margins, Report, differences, examine, margins, sample
from strongticket.constructions import Construction, Pensia2020Optimal, Progress
from strongticket.data import Dataset
from strongticket.data import load as load_data
from strongticket.models import sparse_module
from strongticket.ticketfile import dumps, loads
from strongticket.training import logits, suggestion, train

__all__ = ["Study", "Trained", "peak_memory", "prepare", "study", "train_target"]


@dataclass(frozen=True)
class Trained:
    """A trained target with its data and its logits on the test set."""

    target: Target
    data: Dataset
    logits: Tensor  # [tests, classes]
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of test inputs classified correctly."""
        return _share(self.logits.argmax(1) == self.data.test.labels)


def prepare(data: str, model: str, *, seed: int, folder: str | None = None) -> tuple[Dataset, MLP]:
    """Read the data and the architecture and see that they fit, before any work is done.

    Raises:
        ValueError: unknown names, missing or damaged data, or a network of other inputs or outputs than the data.
    """
    mlp = architecture(model)
    if not isinstance(mlp, MLP):
        raise ValueError(f"a target is an MLP, got {model}")
    loaded = load_data(data, folder=folder, seed=seed)
    if (mlp.sizes[0], mlp.sizes[-1]) != (loaded.features, loaded.classes):
        raise ValueError(
            f"{data} has {loaded.features} inputs and {loaded.classes} classes, {model} has {mlp.sizes[0]} and "
            f"{mlp.sizes[-1]}: give a model that fits, such as {suggestion(data)[0]}"
        )
    return loaded, mlp


def train_target(loaded: Dataset, mlp: MLP, *, seed: int) -> Trained:
    """Train a target on a data set by its recipe, which keeps the weights within [-1/2, 1/2]."""
    clock = time.perf_counter()
    trained = train(
        mlp,
        loaded.train.inputs,
        loaded.train.labels,
        suggestion(loaded.name)[1],
        seed=seed,
        validation=(loaded.validation.inputs, loaded.validation.labels),
    )
    target = Target.from_module(trained.module)
    return Trained(target, loaded, logits(trained.module, loaded.test.inputs), time.perf_counter() - clock)


@dataclass(frozen=True)
class Study:
    """Everything that the main job found out about one target and its ticket.

    Args:
        trained: the target.
        construction: what the proof gave.
        ticket: the ticket, reloaded from the bytes of its file, with certificates.
        file: those bytes.
        logits: the ticket's outputs on the test set, [tests, classes].
        box, ball: what was proved over the data's box, and over the box cut by the largest norm of a test input.
        sampled: the largest difference found over the box.
        margins: how many test predictions provably cannot differ.
        strict: whether seed times mask, regenerated from the file's bytes, gave the ticket's network bit for bit.
        seconds: wall-clock time by stage.
    """

    trained: Trained
    construction: Construction
    ticket: Ticket
    file: bytes
    logits: Tensor
    box: Report
    ball: Report
    sampled: Certificate
    margins: Margins
    strict: bool
    seconds: dict[str, float]

    @property
    def logit_range(self) -> float:
        """Largest minus smallest logit of the target on the test set."""
        return float(self.trained.logits.max() - self.trained.logits.min())

    @cached_property
    def test_change(self) -> float:
        """Largest change of a logit on the test set, without the rounding of a float32 forward pass."""
        inputs = self.trained.data.test.inputs.flatten(1).numpy()
        return float(np.abs(differences(self.box.comparison, inputs)).max())

    @property
    def accuracy(self) -> float:
        """Share of test inputs that the ticket classifies correctly."""
        return _share(self.logits.argmax(1) == self.trained.data.test.labels)

    @property
    def equal_predictions(self) -> float:
        """Share of test inputs for which ticket and target predict the same class."""
        return _share(self.logits.argmax(1) == self.trained.logits.argmax(1))

    def to_json(self) -> dict[str, Any]:
        """Return every number as JSON; what depends on the machine is under "measured"."""
        trained, data = self.trained, self.trained.data
        found = self.sampled.error
        built = self.construction.to_json()
        stages = [layer.pop("seconds") for layer in built["layers"]]
        return {
            "data": data.name,
            "note": data.note,
            "model": trained.target.architecture.id,
            "target_weights": trained.target.architecture.size,
            "target_digest": trained.target.digest,
            "largest_target_weight": trained.target.largest,
            "target_accuracy": trained.accuracy,
            "ticket_accuracy": self.accuracy,
            "equal_predictions": self.equal_predictions,
            "proved_equal_predictions": self.margins.fraction,
            "tests": len(data.test.labels),
            "largest_logit_change": self.test_change,
            "logit_range": self.logit_range,
            "strict_check": self.strict,
            "proved_error_box": self.box.maximum.error,
            "proved_error_ball": self.ball.maximum.error,
            "ball_radius": self.ball.domain.radius,
            "sampled_error_box": found,
            "proved_over_sampled": self.box.maximum.error / found if found else None,
            "proved_over_logit_range": self.box.maximum.error / self.logit_range,
            "file_bytes": len(self.file),
            "certificates": [certificate.to_json() for certificate in self.ticket.certificates],
            "construction": built,
            "measured": {
                "seconds": self.seconds,
                "construction_seconds": stages,
                "peak_memory_bytes": peak_memory(),
                "torch_threads": torch.get_num_threads(),
            },
        }


def study(
    trained: Trained,
    method: Pensia2020Optimal,
    *,
    searches: int = 64,
    progress: Progress | None = None,
) -> Study:
    """Construct the ticket of a target, save and reload it, check it the strict way, certify it and evaluate it.

    Args:
        trained: the target and its data; inputs lie in the method's domain.
        method: the construction with its parameters; its seed also names the search for large differences.
        searches: random starts of that search, beside the test inputs.
        progress: see `Pensia2020Optimal.construct`.
    """
    box, seed = method.domain, method.seed
    inputs = trained.data.test.inputs.flatten(1)
    radius = float(np.nextafter(inputs.double().norm(dim=1).max().item(), np.inf))
    seconds = {"train": trained.seconds}
    with timed(seconds, "construct"):
        construction = method.construct(trained.target, progress=progress)
    with timed(seconds, "certify"):
        report = examine(construction.best, trained.target, box)
    with timed(seconds, "certify on the ball"):
        ball = examine(construction.best, trained.target, Domain(box.low, box.high, radius))
    with timed(seconds, "search for a large difference"):
        sampled = sample(construction.best, trained.target, box, trials=searches, seed=seed, inputs=inputs.numpy())
    with timed(seconds, "margins"):
        sure = margins(report, trained.target, inputs)
    with timed(seconds, "save and load"):
        certificates = (report.maximum, report.euclidean, ball.maximum, sampled)
        file = dumps(construction.best.with_certificates(*certificates), provenance={"construction": construction.key})
        ticket = loads(file)
    with timed(seconds, "strict check"):
        strict = ticket == construction.best and ticket.matches(ticket.module())
    with timed(seconds, "evaluate"):
        outputs = logits(sparse_module(ticket), inputs)
    return Study(trained, construction, ticket, file, outputs, report, ball, sampled, sure, strict, seconds)


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
