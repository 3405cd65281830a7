"""Look for inputs where a ticket of attention and its target differ most: a lower bound beside the proved upper one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from strongticket import random
from strongticket.certificate import Certificate, Domain, Rigor
from strongticket.certify._attention_reading import AttentionDifference, LayerGap
from strongticket.certify._points import into
from strongticket.certify._rounding import Floats
from strongticket.certify.attention import AttentionReport, as_tokens

__all__ = ["attention_differences", "sample_attention"]

_KEEP = 8  # inputs from which the search climbs, for each output


def attention_differences(comparison: AttentionDifference, inputs: ArrayLike) -> Floats:  # -> [batch, classes]
    """Return ticket - target at each input: plain float64 on the merged matrices, no proof.

    Args:
        comparison: of an `AttentionReport`.
        inputs: [batch, T, patch] or [batch, T patch], or whole numbers [batch, T] of a vocabulary.
    """
    with torch.no_grad():
        return _Pair.of(comparison).difference(torch.from_numpy(as_tokens(comparison, inputs))).numpy()


def sample_attention(
    report: AttentionReport,
    *,
    tokens: int = 0,
    trials: int = 1000,
    seed: int = 0,
    ascent_steps: int = 40,
    inputs: ArrayLike | None = None,
) -> Certificate:
    """Find an input where ticket and target differ a lot: no upper bound below this number can be right.

    Random corners and points of the domain and the given inputs are tried, then gradient ascent climbs from the best
    (for a vocabulary, words are exchanged one at a time). In float64 without proof: its rounding, some 1e-13 of the
    outputs, is in the number.

    Args:
        report: of the ticket and its target.
        tokens: tokens of the inputs that are tried; 0: as many as there are positions, or 8.
        trials: random inputs, half of them corners.
        seed: 0 <= seed < 2^64; the same seed looks at the same inputs.
        ascent_steps: steps of the climb; 0 for none.
        inputs: further inputs to try, see `attention_differences`; patches outside the domain are moved into it.

    Returns:
        A certificate of rigor SAMPLED in the max norm.
    """
    random.check_seed(seed)
    comparison, domain = report.comparison, report.maximum.domain
    own = comparison.architecture
    count = tokens or own.length or 8
    if tokens < 0 or (own.length and count > own.length):
        most = f"1..{own.length}" if own.length else "1 or more"
        raise ValueError(f"an input has {most} tokens (or 0 here, for the usual number), got {tokens}")
    if trials < 1 or ascent_steps < 0:
        raise ValueError(f"trials are at least 1 and steps at least 0, got {trials} and {ascent_steps}")
    pair = _Pair.of(comparison)
    starts = [_random(comparison, domain, trials, count, seed)]
    if inputs is not None:
        starts.append(_inside(comparison, domain, torch.from_numpy(as_tokens(comparison, inputs))))
    best = 0.0
    for start in starts:
        found = pair.difference(start).detach()
        best = max(best, float(found.abs().max()))
        chosen = torch.topk(found.abs(), min(_KEEP, len(found)), dim=0).indices  # [keep, classes]
        for output in range(found.shape[1]):
            points = start[chosen[:, output]]
            signs = torch.sign(found[chosen[:, output], output])
            climb = _climb if own.patch else _exchange
            best = max(best, climb(pair, domain, points, signs, output, ascent_steps, seed))
    method = f"{trials} inputs of {count} tokens, {ascent_steps} steps of ascent, seed {seed}"
    digests = comparison.ticket_digest, comparison.target_digest
    return Certificate("max", domain, best, Rigor.SAMPLED, method, *digests)


def _climb(
    pair: _Pair, domain: Domain, points: Tensor, signs: Tensor, output: int, steps: int, seed: int
) -> float:  # fmt: skip
    best, width = 0.0, domain.high - domain.low
    for step in range(steps):
        points = points.detach().requires_grad_()
        value = (pair.difference(points)[:, output] * signs).sum()
        (slope,) = torch.autograd.grad(value, points)
        size = 0.5 * width * (1.0 - step / steps) ** 2
        if np.isinf(domain.radius):
            move = size * slope.sign()
        else:
            move = size * slope / slope.norm(dim=2, keepdim=True).clamp(min=1e-300)
        points = _inside(pair.comparison, domain, (points + move).detach())
        best = max(best, float(pair.difference(points)[:, output].abs().max()))
    return best


def _exchange(
    pair: _Pair, domain: Domain, points: Tensor, signs: Tensor, output: int, steps: int, seed: int
) -> float:  # fmt: skip
    own = pair.comparison.architecture
    height = pair.difference(points)[:, output].abs()
    for step in range(steps):
        words = random.words(seed, f"exchange {output} {step}", 0, 2 * len(points), purpose=random.TRIAL).astype(int)
        other = points.clone()
        other[range(len(points)), words[0::2] % points.shape[1]] = torch.from_numpy(words[1::2] % own.vocabulary)
        found = pair.difference(other)[:, output].abs()
        better = found > height
        points, height = torch.where(better[:, None], other, points), torch.where(better, found, height)
    return float(height.max())


def _random(comparison: AttentionDifference, domain: Domain, trials: int, tokens: int, seed: int) -> Tensor:
    own = comparison.architecture
    width = own.patch or 1
    words = random.words(seed, "certify attention", 0, trials * tokens * width, purpose=random.TRIAL)
    if own.vocabulary:
        return torch.from_numpy(words.reshape(trials, tokens).astype(np.int64) % own.vocabulary)
    share = (words.reshape(trials, tokens, width) + 0.5) * 2.0**-32
    share[: trials // 2] = np.round(share[: trials // 2])
    return _inside(comparison, domain, torch.from_numpy(domain.low + share * (domain.high - domain.low)))


def _inside(comparison: AttentionDifference, domain: Domain, inputs: Tensor) -> Tensor:
    if comparison.architecture.vocabulary:
        return inputs
    moved = into(inputs.reshape(-1, inputs.shape[2]).numpy(), domain)
    return torch.from_numpy(moved).reshape(inputs.shape)


@final
@dataclass(frozen=True, eq=False)
class _Pair:
    """Target and ticket, merged, as float64 functions that torch can differentiate."""

    comparison: AttentionDifference

    @classmethod
    def of(cls, comparison: AttentionDifference) -> _Pair:
        return cls(comparison)

    def difference(self, inputs: Tensor) -> Tensor:
        """Return ticket - target, [batch, classes]."""
        own = self.comparison.architecture
        if inputs.shape[1] > own.length > 0:
            raise ValueError(f"an input has at most {own.length} tokens, got {inputs.shape[1]}")
        embedding = torch.tensor(self.comparison.embedding)
        tokens = inputs @ embedding.T if own.patch else embedding[inputs]
        if self.comparison.positions is not None:
            tokens = tokens + torch.tensor(self.comparison.positions[: inputs.shape[1]])
        return self._run(tokens, 1.0) - self._run(tokens, 0.0)

    def _run(self, tokens: Tensor, share: float) -> Tensor:
        for heads, feed in zip(self.comparison.heads, self.comparison.feeds, strict=True):
            added = torch.zeros_like(tokens)
            for head in heads:
                logits = torch.from_numpy(head.logits.value + share * head.logits_error.value)
                values = torch.from_numpy(head.values.value + share * head.values_error.value)
                # [batch, asking, answering]
                shares = torch.softmax(tokens @ logits.T @ tokens.transpose(1, 2), dim=2)
                added = added + shares @ tokens @ values.T
            tokens = tokens + added
            if feed:
                tokens = tokens + self._mlp(feed, tokens, share)
        return self._mlp(self.comparison.head, tokens.mean(1), share)

    @staticmethod
    def _mlp(layers: tuple[LayerGap, ...], hidden: Tensor, share: float) -> Tensor:
        for i, layer in enumerate(layers):
            hidden = torch.relu(hidden) if i else hidden
            error = share * torch.tensor(layer.error.value)
            seen = torch.cat([hidden.clamp(min=0), hidden.clamp(max=0)], dim=-1) if layer.split else hidden
            hidden = hidden @ torch.tensor(layer.weight.value).T + seen @ error.T
        return hidden
