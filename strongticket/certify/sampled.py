"""Look for inputs where ticket and target differ most: a lower bound beside the proved upper one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from strongticket import random
from strongticket.certificate import Certificate, Domain, Rigor
from strongticket.certify._difference import Inputs, offset_interval, plus, shifted
from strongticket.certify._graph_difference import GraphDifference
from strongticket.certify._graph_points import graph_forward
from strongticket.certify._graph_walk import difference_along
from strongticket.certify._points import as_inputs, inside, into
from strongticket.certify._rounding import Floats
from strongticket.certify.certifier import Interval, affine, relu
from strongticket.certify.report import Comparison, compare
from strongticket.models import Target
from strongticket.models.targets import GraphTarget
from strongticket.ticket import Ticket

__all__ = ["attack", "difference_at", "sample"]

_BATCH = 512
_STARTS = 2  # points from which each output is pushed each way
_OUTPUTS = 16  # outputs that are pushed: those that differed most
_ENCLOSED = 16  # points at which the difference is enclosed in the end
_DRAWN = 64  # random points that each restart of an attack begins from


def sample(
    ticket: Ticket,
    target: Target | GraphTarget,
    domain: Domain,
    *,
    trials: int = 1000,
    seed: int = 0,
    ascent_steps: int = 40,
    inputs: ArrayLike | None = None,
) -> Certificate:
    """Find an input where ticket and target differ a lot: no upper bound below this number can be right.

    Tries random corners and uniform points of the domain and the given inputs, then climbs from the best of them along
    the sign of the gradient (along the gradient itself where a ball limits the domain). The difference at the best
    point is enclosed with outward rounding, and the lower end is reported.

    Args:
        ticket: a ticket made of product gadgets.
        target: the network that it stands for.
        domain: the inputs to look at.
        trials: random points, half of them corners.
        seed: 0 <= seed < 2^64; the same seed looks at the same points.
        ascent_steps: steps of the climb; 0 for none.
        inputs: further points to try, [batch, ...]; those outside the domain are moved into it.

    Returns:
        A certificate of rigor SAMPLED in the max norm.

    Raises:
        StructureError: the ticket is not made of product gadgets.
        ValueError: the domain is empty in this dimension or overflows float64, a negative count, or inputs that do not
            fit.

    >>> import torch
    >>> from strongticket.models import MLP
    >>> from strongticket.ticket import Mask, Source
    >>> source = Source(MLP((1, 2, 2)), seed=0)
    >>> empty = Ticket(source, Mask.full(source.shapes, kept=False))  # computes 0
    >>> target = Target(MLP((1, 2)), {"layers.0.weight": torch.tensor([[0.25], [-0.5]])})
    >>> round(sample(empty, target, Domain.box(0, 1), trials=4).error, 9)
    0.5
    """
    if trials < 0 or ascent_steps < 0:
        raise ValueError(f"trials and ascent_steps are at least 0, got {trials} and {ascent_steps}")
    random.check_seed(seed)
    comparison = compare(ticket, target, domain)
    Inputs.of(domain, comparison.inputs)  # refuses what overflows float64
    start = into(_random_points(seed, trials, domain, comparison.inputs), domain)
    if inputs is not None:
        start = np.concatenate([start, into(as_inputs(inputs, comparison.inputs), domain)])
    if not len(start):
        raise ValueError("nothing to look at: ask for at least one trial or give inputs")
    found = _climb(comparison, domain, start, ascent_steps)
    method = f"{len(start)} points, {ascent_steps} steps of gradient ascent, seed {seed}"
    return _certificate(comparison, domain, found, method)


def attack(
    ticket: Ticket,
    target: Target | GraphTarget,
    domain: Domain,
    *,
    restarts: int = 8,
    steps: int = 100,
    seed: int = 0,
    inputs: ArrayLike | None = None,
) -> Certificate:
    """Look for the worst input as an adversary would: gradient ascent on the difference, from many places.

    Each restart draws its own 64 points, half of them corners, picks for each of the outputs that differ most, and for
    each sign, the two points that are best for it, and climbs from those inside the domain. Given inputs are a restart
    of their own. `sample` covers the domain, this digs.

    Args:
        ticket: a ticket made of product gadgets, in an MLP or a graph.
        target: the network that it stands for.
        domain: the inputs to look at: a box, a ball, or where both meet.
        restarts: how often to begin from new random points.
        steps: steps of each climb.
        seed: 0 <= seed < 2^64; the same seed makes the same attack.
        inputs: points to begin from, [batch, ...]; those outside the domain are moved into it.

    Returns:
        A certificate of rigor SAMPLED in the max norm.

    Raises:
        StructureError: the ticket is not made of product gadgets.
        ValueError: the domain is empty in this dimension or overflows float64, a negative count, or inputs that do not
            fit.

    >>> import torch
    >>> from strongticket.models import MLP
    >>> from strongticket.ticket import Mask, Source
    >>> source = Source(MLP((1, 2, 2)), seed=0)
    >>> empty = Ticket(source, Mask.full(source.shapes, kept=False))  # computes 0
    >>> target = Target(MLP((1, 2)), {"layers.0.weight": torch.tensor([[0.25], [-0.5]])})
    >>> round(attack(empty, target, Domain.ball(1), restarts=1, steps=20).error, 6)
    0.5
    """
    if restarts < 0 or steps < 0 or (restarts == 0 and inputs is None):
        raise ValueError(f"an attack has at least one restart, or inputs to begin from; got {restarts=}, {steps=}")
    random.check_seed(seed)
    comparison = compare(ticket, target, domain)
    Inputs.of(domain, comparison.inputs)  # refuses what overflows float64
    starts = [] if inputs is None else [as_inputs(inputs, comparison.inputs)]
    starts += [_random_points(seed, _DRAWN, domain, comparison.inputs, k + 1) for k in range(restarts)]
    found = np.concatenate([_climb(comparison, domain, into(start, domain), steps) for start in starts if len(start)])
    best = np.argsort(-np.abs(differences(comparison, found)).max(axis=1), kind="stable")[:_ENCLOSED]
    method = f"attack by gradient ascent: {restarts} restarts of {steps} steps, seed {seed}"
    return _certificate(comparison, domain, found[best], method)


def _certificate(comparison: Comparison, domain: Domain, points: Floats, method: str) -> Certificate:
    """Enclose the difference at points of the domain, and report the largest lower end."""
    error = 0.0
    for point in points[inside(points, domain)]:
        low, high = difference_at(comparison, point)
        error = max(error, float(low.max()), float(-high.min()))
    return Certificate("max", domain, error, Rigor.SAMPLED, method, comparison.ticket_digest, comparison.target_digest)


def differences(comparison: Comparison, inputs: ArrayLike) -> Floats:
    """Return ticket - target at each input, [batch, outputs]: plain float64, no proof.

    A float32 forward pass of the two networks differs by its own rounding too, which can be larger than what is meant.

    Args:
        comparison: of a `Report` (`report.comparison`).
        inputs: [batch, ...] points of the report's domain.
    """
    return _differences(comparison, as_inputs(inputs, comparison.inputs))


def _differences(comparison: Comparison, points: Floats, *, exploring: bool = False) -> Floats:
    batches = [points[k : k + _BATCH] for k in range(0, len(points), _BATCH)]
    parts = [forward(comparison, batch, exploring=exploring)[0] for batch in batches]
    return np.concatenate(parts) if parts else np.zeros((0, comparison.outputs))


def difference_at(comparison: Comparison, point: Floats) -> Interval:
    """Enclose ticket(x) - target(x) at one point: (low, high), each [outputs]."""
    if isinstance(comparison, GraphDifference):
        return difference_along(comparison, point)
    hidden = ticket = change = (point, point)
    plain = moved = change
    for i, gap in enumerate(comparison.layers):
        if i == 0:
            seen = np.concatenate([np.maximum(point, 0.0), np.minimum(point, 0.0)]) if gap.split else point
            plain = shifted(gap.weight.enclose(point, point), gap.bias)
            moved = plus(gap.error.enclose(seen, seen), offset_interval(gap))
        else:
            hidden, ticket, change = relu(plain, moved)
            plain, moved = affine(gap, hidden, ticket, change)
    return moved


def _random_points(seed: int, trials: int, domain: Domain, dimension: int, restart: int = 0) -> Floats:
    name = f"certify attack {restart}" if restart else "certify sample"
    words = random.words(seed, name, 0, trials * dimension, purpose=random.TRIAL)
    share = (words.reshape(trials, dimension) + 0.5) * 2.0**-32
    share[: trials // 2] = np.round(share[: trials // 2])
    points = domain.low + share * (domain.high - domain.low)
    return points.astype(np.float64)


def _climb(comparison: Comparison, domain: Domain, start: Floats, steps: int) -> Floats:
    """Return the best point found for each of the outputs that differ most, each way."""
    exploring = 2.0**-60 <= domain.radius_in(comparison.inputs) <= 2.0**60  # float32 holds no other scales
    first = _differences(comparison, start, exploring=exploring)
    outputs = np.argsort(-np.abs(first).max(axis=0), kind="stable")[:_OUTPUTS]
    goals = [(int(j), sign) for j in outputs for sign in (1.0, -1.0)]
    picks = [np.argsort(-sign * first[:, j], kind="stable")[:_STARTS] for j, sign in goals]
    points = np.concatenate([start[pick] for pick in picks])
    weights = np.zeros((len(points), comparison.outputs))
    row = 0
    for (j, sign), pick in zip(goals, picks, strict=True):
        weights[row : row + len(pick), j] = sign
        row += len(pick)
    best, height = points.copy(), np.full(len(points), -np.inf)
    width = min(domain.high - domain.low, 2 * domain.radius_in(comparison.inputs))
    for step in range(steps + 1):
        value, gradient = forward(comparison, points, weights, exploring=exploring)
        value = (value * weights).sum(axis=1)
        better = value > height
        best[better], height[better] = points[better], value[better]
        if width == 0:
            break  # the domain is a point
        size = width * 0.5 * (1.0 - step / (steps + 1.0)) ** 2
        if np.isinf(domain.radius):
            points = into(points + size * np.sign(gradient), domain)
        else:
            norm = np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-300)
            points = into(points + 0.5 * size / width * 2 * domain.radius * gradient / norm, domain)
    return best[np.argsort(-height, kind="stable")[:_ENCLOSED]]


def forward(
    comparison: Comparison, points: Floats, weights: Floats | None = None, *, exploring: bool = False
) -> tuple[Floats, Floats]:
    """Return ticket - target at points [batch, outputs], and the gradient of its product with weights [batch, inputs].

    Plain float64, without proof. The difference is carried itself, so that it does not drown in the outputs' rounding.
    Exploring a graph is done in float32, which is several times as fast and good enough to know where to go.
    """
    if isinstance(comparison, GraphDifference):
        return graph_forward(comparison, points, weights, torch.float32 if exploring else torch.float64)
    comparison.check_rectified("a search for differences")
    hidden: Floats = points
    change: Floats = np.zeros_like(points)
    slopes: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []
    moved: Floats = change
    for i, gap in enumerate(comparison.layers):
        ticket = hidden + change
        if i == 0 and gap.split:
            ticket = np.concatenate([np.maximum(points, 0.0), np.minimum(points, 0.0)], axis=1)
        plain = hidden @ gap.weight.value.T + gap.bias
        moved = change @ gap.weight.value.T + ticket @ gap.error.value.T + gap.offset.value[:, 0]
        if i + 1 < len(comparison.layers):
            other = plain + moved
            slopes.append((plain > 0, other > 0))
            both = slopes[-1][0] & slopes[-1][1]
            hidden = np.maximum(plain, 0.0)
            change = np.where(both, moved, np.maximum(other, 0.0) - hidden)
    if weights is None:
        return moved, np.zeros((0, 0))
    to_plain, to_moved = np.zeros_like(weights), weights
    for i in range(len(comparison.layers) - 1, -1, -1):
        gap = comparison.layers[i]
        through_error = to_moved @ gap.error.value
        if i == 0:
            if gap.split:
                n = comparison.inputs
                through_error = np.where(points > 0, through_error[:, :n], through_error[:, n:])
            return moved, to_plain @ gap.weight.value + through_error
        to_hidden = to_plain @ gap.weight.value + through_error
        to_change = to_moved @ gap.weight.value + through_error
        own, others = slopes[i - 1]
        to_plain = own * to_hidden + (others.astype(float) - own) * to_change
        to_moved = others * to_change
    raise AssertionError("a network has at least one layer")
