"""Carry enclosures of tokens, of the target's and of the ticket's difference, through a network of attention.

Tokens come in *kinds*: one for each place where tokens have positions, one for each word of a vocabulary. An input is
any sequence of kinds, of any length, each token anywhere in its kind's set, so what holds for kinds holds for inputs.
Or the kinds are the tokens of one input, each of them once; then the target's values are enclosed as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from strongticket.certificate import Domain
from strongticket.certify._attention_reading import AttentionDifference, HeadGap, LayerGap
from strongticket.certify._difference import Inputs, meet, plus
from strongticket.certify._matrix import Matrix
from strongticket.certify._rounding import UNIT, Floats, columns_above, gamma, outward, raised
from strongticket.certify.certifier import Bounds, LayerBound, relu

__all__ = ["Tokens", "embedded", "embedded_input", "walk"]

Interval = tuple[Floats, Floats]
MOST_KINDS = 1 << 14  # beyond, all words of a place are one kind


@final
@dataclass(frozen=True, eq=False)
class Tokens:
    """What is known of one layer's values, by kinds of tokens.

    Args:
        hidden: enclosure of the target's values, (low, high), each [dim, kinds].
        ticket: of the ticket's.
        change: of the difference, ticket - target.
        size: upper bounds of the Euclidean norms of the target's values, [kinds].
        drift: of the differences, [kinds].
    """

    hidden: Interval
    ticket: Interval
    change: Interval
    size: Floats
    drift: Floats

    @classmethod
    def at(cls, hidden: Interval) -> Tokens:
        """Return tokens that are the ticket's as well as the target's."""
        still = np.zeros_like(hidden[0])
        return cls.of(hidden, hidden, (still, still), _lengths(hidden), np.zeros(hidden[0].shape[1]))

    @classmethod
    def of(cls, hidden: Interval, ticket: Interval, change: Interval, size: Floats, drift: Floats) -> Tokens:
        """Return tokens whose bounds of norms are as small as the enclosures allow."""
        return cls(
            hidden, ticket, change, np.minimum(size, _lengths(hidden)), np.minimum(drift, _lengths(change))
        )  # fmt: skip

    @property
    def reach(self) -> Floats:
        """Upper bounds of the norms of the ticket's values, [kinds]."""
        return np.minimum(_up(self.size + self.drift), _lengths(self.ticket))


def embedded(difference: AttentionDifference, domain: Domain) -> Tokens:
    """Return the embedded tokens: of numbers in the domain at each place, or of all words."""
    own, embedding, positions = difference.architecture, difference.embedding, difference.positions
    if own.patch:
        inputs, matrix = Inputs.of(domain, own.patch), Matrix(embedding)
        low, high = matrix.enclose(np.full(own.patch, inputs.low), np.full(own.patch, inputs.high))
        hidden, size = (low[:, None], high[:, None]), np.full(1, _up(_times(matrix.norm, inputs.norm)))
    else:
        words = np.ascontiguousarray(embedding.T)
        if own.vocabulary * max(own.length, 1) > MOST_KINDS:
            hidden, size = (words.min(axis=1)[:, None], words.max(axis=1)[:, None]), columns_above(words).max()[None]
        else:
            hidden, size = (words, words), columns_above(words)
    if positions is not None:
        place = np.repeat(positions.T, len(size), axis=1)  # [dim, places * kinds]
        hidden = plus((np.tile(hidden[0], own.length), np.tile(hidden[1], own.length)), (place, place))
        size = _up(np.tile(size, own.length) + columns_above(place))
    still = np.zeros_like(hidden[0])
    return Tokens.of(hidden, hidden, (still, still), size, np.zeros(hidden[0].shape[1]))


def embedded_input(difference: AttentionDifference, tokens: Floats) -> Tokens:
    """Return the tokens of one input, [T, patch] or whole numbers [T]."""
    if difference.architecture.patch:
        columns = np.ascontiguousarray(tokens.T)
        hidden = Matrix(difference.embedding).enclose(columns, columns)
    else:
        words = np.ascontiguousarray(difference.embedding[tokens.astype(np.int64)].T)
        hidden = (words, words)
    if difference.positions is not None:
        place = difference.positions[: len(tokens)].T
        hidden = plus(hidden, (place, place))
    return Tokens.at(hidden)


def walk(difference: AttentionDifference, tokens: Tokens, *, whole: bool = False) -> tuple[Bounds, Interval]:
    """Return upper bounds on |target - ticket|, and an enclosure of the target's outputs.

    Args:
        difference: target and ticket.
        tokens: as embedded.
        whole: whether these tokens are one input, each of them once; else inputs are any sequences of their kinds.
    """
    rows = []
    for heads, feed in zip(difference.heads, difference.feeds, strict=True):
        tokens = _attend(heads, tokens, whole)
        gaps = [(h.logits, h.logits_error) for h in heads] + [(h.values, h.values_error) for h in heads]
        rows.append(_row(gaps, tokens))
        if feed:
            moved = _layers(feed, tokens)
            tokens = Tokens.of(
                plus(tokens.hidden, moved.hidden),
                plus(tokens.ticket, moved.ticket),
                plus(tokens.change, moved.change),
                _up(tokens.size + moved.size),
                _up(tokens.drift + moved.drift),
            )
            rows.append(_row([(layer.weight, layer.error) for layer in feed], tokens))
    mix = _mean if whole else _hull
    mean = Tokens.of(
        mix(tokens.hidden), mix(tokens.ticket), mix(tokens.change), _most(tokens.size), _most(tokens.drift)
    )  # fmt: skip
    outputs = _layers(difference.head, mean)
    rows.append(_row([(layer.weight, layer.error) for layer in difference.head], outputs))
    bounds = Bounds(_magnitude(outputs.change)[:, 0], float(outputs.drift[0]), tuple(rows))
    return bounds, (outputs.hidden[0][:, 0], outputs.hidden[1][:, 0])


def _attend(heads: tuple[HeadGap, ...], tokens: Tokens, whole: bool) -> Tokens:
    """Add attention: each token gets, from each head, a mixture of what all kinds of tokens hand over."""
    hidden, change = tokens.hidden, tokens.change
    size, drift = tokens.size, tokens.drift
    for head in heads:
        shift = _logit_change(head, tokens)  # [kinds]
        half = np.minimum(np.tanh(0.5 * shift) * (1.0 + 2.0**-40), 0.5 * shift)  # half of the weights' l1 change
        each = head.values.enclose(*tokens.hidden)
        value = _hull(each)
        shown = _hull(_moved(head.values, head.values_error, tokens.change, tokens.ticket))
        spread = _up(value[1] - value[0])  # [dim, 1]
        turned = _times(spread, half[None, :])
        mixed = _mixture(head, tokens.hidden, each) if whole else value
        hidden = plus(hidden, mixed)
        change = plus(change, plus(shown, (-turned, turned)))
        # the weights' change adds up to 0, so what tokens hand over counts from the middle of its range
        around = np.minimum(_lengths((-0.5 * spread, 0.5 * spread)), _times(head.values.norm, _most(tokens.size)))
        carried = _up(_times(head.values.norm, tokens.drift) + _times(head.values_error.norm, tokens.reach))
        size = _up(size + np.minimum(_lengths(mixed), _times(head.values.norm, _most(tokens.size))))
        drift = _up(drift + np.minimum(_lengths(shown), _most(carried)) + _times(2.0 * half, around))
    return Tokens.of(hidden, plus(hidden, change), change, size, drift)


def _mixture(head: HeadGap, hidden: Interval, values: Interval) -> Interval:
    """Enclose what each token of one input gets from one head of the target, [dim, T]."""
    x, y = _middle(hidden), _middle(head.logits.enclose(*hidden))
    logits, away = _products(x, y)  # [answering, asking]
    top = logits.max(axis=0)
    away = _up(away + (np.abs(logits) + np.abs(top)) * (4.0 * UNIT))
    # exp is taken to be right within 2^-40 of its value, far more than any library is off; 2^-1000 where it underflows
    low = np.maximum(np.exp(logits - top - away) * (1.0 - 2.0**-40) - 2.0**-1000, 0.0)
    high = np.exp(logits - top + away) * (1.0 + 2.0**-40) + 2.0**-1000
    least = low / _up(high.sum(axis=0), len(low)) * (1.0 - 2.0**-40)
    most = np.minimum(_up(high / (low.sum(axis=0) * (1.0 - 2.0**-40))), 1.0)
    (weight, slack), value = _middle((least, most)), _middle(values)
    mixed, radius = _products((value[0].T, value[1].T), (weight, slack))
    return outward(mixed, radius)


def _middle(interval: Interval) -> Interval:
    """Return middle and radius."""
    middle = 0.5 * interval[0] + 0.5 * interval[1]
    return middle, _up(np.maximum(interval[1] - middle, middle - interval[0]))


def _products(left: Interval, right: Interval) -> Interval:
    """Return middles and radii of all products of a column of the one [n, a] and a column of the other [n, b]."""
    terms = len(left[0]) + 8
    size, reach = raised(left[0]), raised(right[0])
    spread = size.T @ raised(right[1] + gamma(terms) * reach) + raised(left[1]).T @ raised(reach + right[1])
    return left[0].T @ right[0], _up(spread, terms)


def _logit_change(head: HeadGap, tokens: Tokens) -> Floats:
    """Bound how far the logits of each kind of token move, up to a constant that the softmax does not see, [kinds].

    With token i asking and j answering, W the matrix of logits, E its error, c and c' any constant vectors,
    x'_j (W + E) x'_i - x_j W x_i = (x'_j - c') E x'_i + (x'_j - x_j) W x'_i + (x_j - c) W (x'_i - x_i) + (i alone).
    """
    answers = [_around(tokens.ticket, tokens.reach), _sized(tokens.change, tokens.drift)]
    answers.append(_around(tokens.hidden, tokens.size))
    asked = [
        _sized(head.logits_error.enclose(*tokens.ticket), _times(head.logits_error.norm, tokens.reach)),
        _sized(head.logits.enclose(*tokens.ticket), _times(head.logits.norm, tokens.reach)),
        _sized(head.logits.enclose(*tokens.change), _times(head.logits.norm, tokens.drift)),
    ]
    total = np.zeros(len(tokens.size))
    for (size, length), (other, others) in zip(answers, asked, strict=True):
        furthest = size.max(axis=1)  # of any kind, coordinate by coordinate
        total = total + np.minimum(_up(raised(furthest) @ raised(other), len(other)), _times(_most(length), others))
    return _up(total)


Sized = tuple[Floats, Floats]
"""Upper bounds of each coordinate's magnitude [dim, kinds], and of the vectors' norms [kinds]."""


def _sized(interval: Interval, norms: Floats) -> Sized:
    return _magnitude(interval), np.minimum(norms, _lengths(interval))


def _around(interval: Interval, norms: Floats) -> Sized:
    """Bound the vectors counted from the middle of the box of all kinds; from 0 their norms may be smaller."""
    low, high = _hull(interval)
    middle = 0.5 * low + 0.5 * high
    away = _up(np.maximum(np.maximum(middle - interval[0], interval[1] - middle), 0.0))
    lengths = columns_above(away)
    return away, lengths if lengths.max() <= norms.max() else norms


def _layers(layers: tuple[LayerGap, ...], tokens: Tokens) -> Tokens:
    """Return what a chain of ReLU layers makes of tokens: the last layer's values, without ReLU."""
    for i, layer in enumerate(layers):
        if i:
            hidden, ticket, change = relu(tokens.hidden, tokens.change)
            tokens = Tokens.of(hidden, ticket, change, tokens.size, tokens.drift)
        seen = tokens.ticket
        if layer.split:
            seen = tuple(  # type: ignore[assignment]
                np.concatenate([np.maximum(end, 0.0), np.minimum(end, 0.0)]) for end in tokens.ticket
            )
        plain = layer.weight.enclose(*tokens.hidden)
        moved = _moved(layer.weight, layer.error, tokens.change, seen)
        # |(max(x, 0), min(x, 0))| = |x|, so the error's norm acts on the token's
        rows = _up(
            _times(layer.weight.rows[:, None], tokens.drift) + _times(layer.error.rows[:, None], tokens.reach)
        )  # fmt: skip
        size = _times(layer.weight.norm, tokens.size)
        drift = _up(_times(layer.weight.norm, tokens.drift) + _times(layer.error.norm, tokens.reach))
        high = _times(layer.weight.rows[:, None], tokens.size)
        plain, moved = meet(plain, (-high, high)), meet(moved, (-rows, rows))
        tokens = Tokens.of(plain, plus(plain, moved), moved, size, drift)
    return tokens


def _moved(weight: Matrix, error: Matrix, change: Interval, ticket: Interval) -> Interval:
    """Enclose (W + E) x' - W x = W (x' - x) + E x'."""
    return plus(weight.enclose(*change), error.enclose(*ticket))


def _row(gaps: list[tuple[Matrix, Matrix]], after: Tokens) -> LayerBound:
    return LayerBound(
        largest_error=max(float(error.size.max(initial=0.0)) for _, error in gaps),
        error_norm=max(error.norm for _, error in gaps),
        weight_norm=max(weight.norm for weight, _ in gaps),
        hidden=float(after.size.max()),
        difference=float(after.drift.max()),
        difference_max=float(_magnitude(after.change).max()),
    )


def _hull(interval: Interval) -> Interval:
    """Return what holds of every kind, and so of every mixture of kinds, [dim, 1]."""
    return interval[0].min(axis=1, keepdims=True), interval[1].max(axis=1, keepdims=True)


def _mean(interval: Interval) -> Interval:
    """Return the mean over the tokens of one input, [dim, 1]."""
    count = interval[0].shape[1]
    middle, radius = _middle(interval)
    slack = _up(np.abs(middle).sum(axis=1) * gamma(count + 8) + radius.sum(axis=1), count) / count
    low, high = outward(middle.sum(axis=1) / count, _up(slack))
    return low[:, None], high[:, None]


def _most(values: Floats) -> Floats:
    most: Floats = values.max(keepdims=True)
    return most


def _magnitude(interval: Interval) -> Floats:
    return np.maximum(np.abs(interval[0]), np.abs(interval[1]))


def _lengths(interval: Interval) -> Floats:
    return columns_above(_magnitude(interval))


def _up(value: Floats | float, terms: int = 0) -> Floats:
    """Return an upper bound of what was computed in a few roundings, and a sum of so many nonnegative products."""
    grown: Floats = np.asarray(value) * (1.0 + (64 + 4 * terms) * UNIT)
    return grown


def _times(one: Floats | float, other: Floats | float) -> Floats:
    """Return an upper bound of the product of nonnegative bounds, 0 only where one of them is."""
    one, other = (raised(np.atleast_1d(np.asarray(bound, dtype=np.float64))) for bound in (one, other))
    return _up(one * other)
