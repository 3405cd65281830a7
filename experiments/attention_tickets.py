"""Small trained transformers without normalisation found inside random ones: accuracy, certificates, time and size."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, final

from experiments._experiment import AbstractExperiment

__all__ = ["AttentionTickets"]


@final
@dataclass(frozen=True)
class AttentionTickets(AbstractExperiment):
    """Train a network of attention on images cut into patches, construct its strict ticket, certify and evaluate it.

    Nothing of the embedding is trained: the numbers of a patch are the first coordinates of its token, and a 1 in one
    of the last coordinates tells its place. So everything that was trained becomes a subset of random weights.

    Args:
        data: digits (8 x 8: 8 tokens of one row), or mnist (28 x 28: 49 tokens of 4 x 4), read from STRONGTICKET_DATA.
        layers: blocks.
        dim: coordinates of a token.
        heads: per block; keys and values are 8 wide.
        hidden: width of the feed-forward networks.
        epochs: of training with Adam, weights clipped to [-0.35, 0.35].
        items: candidates per entry.
        objective: exact minimum error, or the sparsest subset within the tolerance.
        weight_eps: tolerance per entry, in (0, 1).
        inputs: test inputs (the first ones) whose predictions are proved equal where they can be.
        seed: of training, of the random network, and of the search for large differences.
    """

    name: ClassVar[str] = "attention_tickets"
    version: ClassVar[int] = 1

    data: Literal["digits", "mnist"] = "digits"
    layers: int = 2
    dim: int = 24
    heads: int = 2
    hidden: int = 48
    epochs: int = 100
    items: int = 30
    objective: Literal["sparsest", "min_error"] = "min_error"
    weight_eps: float = 0.01
    inputs: int = 360
    seed: int = 0

    def run(self) -> dict[str, Any]:
        """Train, construct, certify, and evaluate on the test set, which is read once."""
        import numpy as np

        from strongticket import Domain
        from strongticket.certify import attention_differences, attention_margins, examine_attention, sample_attention
        from strongticket.constructions import Otsuka2025Attention
        from strongticket.data import load
        from strongticket.models import Attention, AttentionTarget
        from strongticket.ticketfile import dumps, loads
        from strongticket.training import logits, train

        seconds: dict[str, float] = {}
        loaded, clock = load(self.data, seed=self.seed), time.perf_counter()
        side, patch = (8, 8) if self.data == "digits" else (7, 4)
        width, length = (8, 8) if self.data == "digits" else (patch * patch, side * side)
        net = Attention(
            self.layers, self.dim, self.heads, 8, 8, (self.hidden,), patch=width, length=length, classes=loaded.classes
        )
        trained = train(
            net,
            _tokens(loaded.train.inputs, self.data),
            loaded.train.labels,
            epochs=self.epochs,
            batch_size=64,
            lr=3e-3,
            optimiser="adam",
            schedule="cosine",
            max_weight=0.35,  # so that an entry of O V, a sum of 8 products, stays below 1
            keep_best=True,
            seed=self.seed,
            validation=(_tokens(loaded.validation.inputs, self.data), loaded.validation.labels),
        )
        target = AttentionTarget.from_module(trained.module)
        clock = _lap(seconds, "train", clock)
        method = Otsuka2025Attention(
            weight_eps=self.weight_eps, items=self.items, objective=self.objective, seed=self.seed
        )
        built = method.construct(target)
        clock = _lap(seconds, "construct", clock)
        report = examine_attention(built.best, target, Domain.box(0, 1))
        clock = _lap(seconds, "certify", clock)
        test, labels = _tokens(loaded.test.inputs, self.data), loaded.test.labels
        chosen = test[: self.inputs].numpy()
        margins = attention_margins(report, chosen)
        clock = _lap(seconds, "margins", clock)
        sampled = sample_attention(report, trials=200, ascent_steps=20, seed=self.seed, inputs=chosen)
        clock = _lap(seconds, "search for a large difference", clock)
        ticket = loads(dumps(built.best.with_certificates(report.maximum, report.euclidean, sampled)))
        strict = ticket == built.best and ticket.matches(ticket.module())
        clock = _lap(seconds, "save, load and check", clock)
        wanted = logits(target.module(), test, batch_size=256)
        found = logits(ticket.module(), test, batch_size=32)  # keys are thousands of numbers wide
        _lap(seconds, "evaluate", clock)
        change = np.abs(attention_differences(report.comparison, chosen)).max(axis=1)
        result = built.to_json()
        result.pop("unreached_weights")
        stages = [layer.pop("seconds") for layer in result["layers"]]
        return {
            "target": target.architecture.id,
            "target_digest": target.digest,
            "target_weights": target.architecture.size,
            "tests": len(labels),
            "target_accuracy": float((wanted.argmax(1) == labels).double().mean()),
            "ticket_accuracy": float((found.argmax(1) == labels).double().mean()),
            "equal_predictions": float((found.argmax(1) == wanted.argmax(1)).double().mean()),
            "inputs": len(chosen),
            "proved_equal_predictions": margins.fraction,
            "largest_proved_change": float(margins.bound.max()),
            "median_proved_change": float(np.median(margins.bound)),
            "largest_change": float(change.max()),
            "largest_proved_over_found": float((margins.bound / np.maximum(change, 1e-300)).max()),
            "proved_error_box": report.maximum.error,
            "sampled_error_box": sampled.error,
            "logit_range": float(wanted.max() - wanted.min()),
            "strict_check": strict,
            "construction": result,
            "measured": {"seconds": seconds, "construction_seconds": stages},
        }

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick: digits, one block; default: digits with one and two blocks, 5 seeds; mnist: one block of 49 tokens."""
        one = cls(layers=1, hidden=64)
        mnist = cls(data="mnist", layers=1, dim=68, hidden=64, epochs=3, inputs=200)
        return {
            "quick": [replace(one, epochs=30, items=24)],
            "default": [
                replace(net, seed=seed)
                for seed in range(5)
                for net in (one, cls(), cls(objective="sparsest", weight_eps=1e-3))
            ],
            "mnist": [replace(mnist, seed=seed) for seed in range(5)],
        }

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per network, in percent and seconds."""
        return [
            {
                "target": result["target"],
                "objective": run.objective,
                "seed": run.seed,
                "target %": 100 * result["target_accuracy"],
                "ticket %": 100 * result["ticket_accuracy"],
                "equal %": 100 * result["equal_predictions"],
                "proved equal %": 100 * result["proved_equal_predictions"],
                "unreached": result["construction"]["unreached"],
                "kept/entry": result["construction"]["kept_per_weight"],
                "proved (box)": result["proved_error_box"],
                "found (box)": result["sampled_error_box"],
                "proved (tests)": result["largest_proved_change"],
                "change (tests)": result["largest_change"],
                "construct s": result["measured"]["seconds"]["construct"],
            }
            for run, result in finished
        ]


def _tokens(images: Any, data: str) -> Any:
    """Cut images into tokens, [n, T, patch]: the rows of digits, squares of 4 x 4 of MNIST."""
    if data == "digits":
        return images.reshape(len(images), 8, 8)
    squares = images.reshape(len(images), 7, 4, 7, 4).transpose(2, 3)
    return squares.reshape(len(images), 49, 16).contiguous()


def _lap(seconds: dict[str, float], stage: str, since: float) -> float:
    now = time.perf_counter()
    seconds[stage] = now - since
    return now
