"""Certificates of tickets in networks of attention: an upper bound over every input, for any number of tokens.

Attention's weights are a softmax. If no logit moves by more than eta, up to a constant for each asking token, the
weights move by at most 2 tanh(eta / 2) in l1: the odds of any set of tokens change by a factor of at most e^(2 eta),
and the probability that grows most when its odds grow by K grows by (sqrt K - 1) / (sqrt K + 1) = tanh(eta / 2). The
changes add up to 0, so what tokens hand over is counted from the middle of its range.

Everything is rounded outward; exp and tanh of the mathematical library are taken to be right within 2^-40, relatively,
some thousand times more than any is off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from strongticket.certificate import Certificate, Domain, Rigor
from strongticket.certify._attention_reading import AttentionDifference, compare_attention
from strongticket.certify._attention_walk import embedded, embedded_input, walk
from strongticket.certify._rounding import Floats
from strongticket.certify.certifier import LayerBound
from strongticket.models import AttentionTarget
from strongticket.ticket import Ticket

__all__ = ["AttentionMargins", "AttentionReport", "attention_margins", "certify_attention", "examine_attention"]


@final
@dataclass(frozen=True, eq=False)
class AttentionReport:
    """Everything that was proved of a ticket of attention and its target.

    Args:
        maximum: the certificate of the largest output difference, with the bound of each output.
        euclidean: the certificate of the Euclidean norm of the difference.
        layers: attention and feed-forward network of each block, then the head: largest bounds over all tokens.
        comparison: the two networks side by side, for `sample_attention` to go on with.
    """

    maximum: Certificate
    euclidean: Certificate
    layers: tuple[LayerBound, ...]
    comparison: AttentionDifference = field(repr=False)

    @property
    def per_output(self) -> tuple[float, ...]:
        """The bound of each output's difference."""
        assert self.maximum.per_output is not None
        return self.maximum.per_output

    def __str__(self) -> str:
        lines = [str(self.maximum), str(self.euclidean)]
        for i, layer in enumerate(self.layers, 1):
            lines.append(
                f"step {i}: largest entry's error {layer.largest_error:.3g}, |E| <= {layer.error_norm:.3g}, "
                f"|W| <= {layer.weight_norm:.3g}, |x| <= {layer.hidden:.3g}, |change| <= {layer.difference:.3g}"
            )
        return "\n".join(lines)


def certify_attention(ticket: Ticket, target: AttentionTarget, domain: Domain | None = None) -> Certificate:
    """Prove how far a ticket of attention can be from its target; see `examine_attention`."""
    return examine_attention(ticket, target, domain).maximum


def examine_attention(ticket: Ticket, target: AttentionTarget, domain: Domain | None = None) -> AttentionReport:
    """Prove how far a ticket of attention can be from its target, over all inputs and any number of tokens.

    The ticket is read from its seed and mask alone, in whole units of its grid; the target's matrices are merged with
    every rounding counted. What is compared are the two functions in real arithmetic.

    Args:
        ticket: a ticket made of products, in an `Attention`, with the target's embedding and positions.
        target: the network that it stands for.
        domain: where the numbers of each token lie (before the embedding); for a vocabulary none, all sequences of
            words are covered, and the certificate names the box of their numbers.

    Raises:
        StructureError: the ticket is not made of products; the message names the parameter and the unit.
        ValueError: sizes, embedding or positions differ from the target's; a domain is missing or too many.

    >>> import torch
    >>> from strongticket.models import Attention
    >>> from strongticket.ticket import Mask, Source
    >>> small = Attention(1, 2, 1, 2, 2, patch=2, classes=1)
    >>> wide = Attention(1, 2, 1, 4, 4, (), (4,), patch=2, classes=1)
    >>> source, given = Source(wide, seed=0), wide.initial_state()
    >>> empty = Ticket(source, Mask.full(source.shapes, kept=False), given)  # computes 0
    >>> zeros = {name: torch.zeros(shape) for name, shape in small.shapes.items()}
    >>> target = AttentionTarget(small, zeros | given | {"head.0.weight": torch.tensor([[0.5, 0.25]])})
    >>> round(certify_attention(empty, target, Domain.box(0, 1)).error, 9)  # the mean of tokens lies in the box
    0.75
    """
    with np.errstate(over="ignore", invalid="ignore"):  # then the bound is not finite, and refused below
        comparison = compare_attention(ticket, target)
    own = target.architecture
    if own.patch and not isinstance(domain, Domain):
        raise ValueError(f"say where the {own.patch} numbers of each token lie, for example Domain.box(0, 1)")
    if own.vocabulary:
        if domain is not None:
            raise ValueError("tokens of a vocabulary need no domain: all sequences of words are covered")
        domain = Domain.box(0, own.vocabulary - 1)
    assert domain is not None
    with np.errstate(over="ignore", invalid="ignore"):
        bounds, _ = walk(comparison, embedded(comparison, domain))
    if not (np.isfinite(bounds.per_output).all() and np.isfinite(bounds.l2)):
        raise ValueError(f"the bound overflows float64 on {domain}: the weights or the domain are too large")
    per_output = tuple(float(value) for value in bounds.per_output)
    tokens = f"at most {own.length} tokens" if own.length else "any number of tokens"

    def certificate(norm: Literal["max", "l2"], error: float) -> Certificate:
        return Certificate(
            norm=norm,
            domain=domain,
            error=error,
            rigor=Rigor.PROVED,
            method=f"intervals and norms by kinds of tokens, each in the domain, {tokens}",
            ticket_digest=comparison.ticket_digest,
            target_digest=comparison.target_digest,
            per_output=per_output if norm == "max" else None,
        )

    largest = min(max(per_output), bounds.l2)
    return AttentionReport(certificate("max", largest), certificate("l2", bounds.l2), bounds.layers, comparison)


@final
@dataclass(frozen=True, eq=False)
class AttentionMargins:
    """For which inputs it is proved that ticket and target predict the same class.

    Args:
        bound: proved bound of the largest output difference at each input, [n].
        proved: whether the target's largest output stays the ticket's largest, [n].
    """

    bound: Floats
    proved: NDArray[np.bool_]

    @property
    def fraction(self) -> float:
        """Share of inputs for which it is proved."""
        return float(self.proved.mean()) if len(self.proved) else 1.0


def attention_margins(report: AttentionReport, inputs: ArrayLike) -> AttentionMargins:
    """Prove, input by input, how far the ticket's outputs are from the target's, and that predictions are equal.

    The target's values at the input are enclosed step by step, softmax included, so the bounds are those of this input:
    far smaller than over the whole domain.

    Args:
        report: of `examine_attention`.
        inputs: [n, T, patch] or [n, T patch], or whole numbers [n, T] of a vocabulary; they need not be in the domain.

    Raises:
        ValueError: inputs that do not fit.
    """
    comparison = report.comparison
    bound, proved = [], []
    for tokens in as_tokens(comparison, inputs):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # then the bound is infinite, or NaN
            bounds, (low, high) = walk(comparison, embedded_input(comparison, tokens), whole=True)
        top = int(np.argmax(low))
        others = np.delete(np.arange(len(low)), top)
        sound = bool(np.isfinite([low, high, bounds.per_output]).all() and np.isfinite(bounds.l2))
        if not sound:
            bound.append(np.inf)
            proved.append(False)
            continue
        rivals = np.nextafter(high[others] + bounds.per_output[others], np.inf)
        proved.append(bool((np.nextafter(low[top] - bounds.per_output[top], -np.inf) > rivals).all()))
        bound.append(min(float(bounds.per_output.max()), bounds.l2))
    return AttentionMargins(np.array(bound, dtype=np.float64), np.array(proved, dtype=np.bool_))


def as_tokens(comparison: AttentionDifference, inputs: ArrayLike) -> NDArray[Any]:
    """Read inputs: float64 [n, T, patch], or int64 [n, T] of a vocabulary.

    Raises:
        ValueError: numbers that are not finite, words that are not in the vocabulary, or a number of tokens that does
            not fit.
    """
    own, array = comparison.architecture, np.asarray(inputs)
    if own.vocabulary:
        if array.ndim != 2 or array.dtype.kind not in "iu" or not array.shape[1]:
            raise ValueError(
                f"inputs are whole numbers [n, T] of a vocabulary, T >= 1, got {array.dtype} of shape {array.shape}"
            )
        if array.size and (array.min() < 0 or array.max() >= own.vocabulary):
            raise ValueError(f"words are 0..{own.vocabulary - 1}, got {array.min()}..{array.max()}")
        tokens: NDArray[Any] = array.astype(np.int64)
    else:
        if array.ndim < 2:
            raise ValueError(f"inputs are a batch [n, T, {own.patch}] or [n, T * {own.patch}], got shape {array.shape}")
        flat = array.reshape(len(array), math.prod(array.shape[1:])).astype(np.float64)
        if not flat.shape[1] or flat.shape[1] % own.patch or not np.isfinite(flat).all():
            raise ValueError(f"an input is finite numbers, cut into tokens of {own.patch}, got shape {array.shape}")
        tokens = flat.reshape(len(flat), flat.shape[1] // own.patch, own.patch)
    if tokens.shape[1] > own.length > 0:
        raise ValueError(f"an input has at most {own.length} tokens, got {tokens.shape[1]}")
    return tokens
