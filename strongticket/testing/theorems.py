"""Hypotheses as strategies, conclusions as checks: what a property test of a theorem on strong tickets is made of.

The hypotheses of a theorem become strategies: tolerances and failure probabilities over decades, targets inside (on the
edge too) and just outside, sources that are hard. Its conclusion becomes a check, which raises AssertionError with the
values that broke it.

>>> from hypothesis import given, settings
>>> from strongticket.constructions import Pensia2020Optimal
>>> @settings(max_examples=3)
... @given(normed_targets(max_width=3), tolerances(least=0.01), seeds())
... def test_mine(target, eps, seed):
...     check_construction(Pensia2020Optimal(network_eps=eps, items=24, seed=seed), target, network_eps=eps, trials=50)
>>> test_mine()
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from strongticket.bounds import HypothesisError
from strongticket.certificate import Domain, Rigor
from strongticket.certify import Report, attack, examine, sample
from strongticket.constructions import AbstractConstruction, Construction
from strongticket.models import MLP, Target
from strongticket.statistics import p_value
from strongticket.testing._promises import must
from strongticket.testing.ticket_strategies import TARGET_KINDS, architectures, check_ticket, seeds, targets
from strongticket.ticket import Ticket

try:
    from hypothesis import strategies as st
except ImportError as error:  # pragma: no cover - the message is all there is
    raise ImportError("strongticket.testing needs hypothesis: pip install 'strongticket[testing]'") from error

__all__ = [
    "check_construction",
    "check_frequency",
    "check_monotone",
    "check_refused",
    "domains",
    "hard_seeds",
    "normed_targets",
    "not_probabilities",
    "off_grid_targets",
    "quantised_targets",
    "targets_beyond",
    "tolerances",
]

SLACK = 1e-9
"""For the rounding of a float64 forward pass, relative to the largest output."""


def tolerances(*, least: float = 1e-6, most: float = 0.5) -> st.SearchStrategy[float]:
    """Describe tolerances or failure probabilities over decades: the decades themselves, the ends, and any in between.

    Args:
        least: smallest value, positive.
        most: largest value, below 1.
    """
    if not 0.0 < least <= most < 1.0:
        raise ValueError(f"0 < least <= most < 1 is needed, got {least} and {most}")
    decades = [10.0**k for k in range(-300, 0) if least <= 10.0**k <= most]
    between = st.floats(math.log(least), math.log(most)).map(lambda x: min(most, max(least, math.exp(x))))
    return st.sampled_from([*decades, least, most]) | between


def not_probabilities() -> st.SearchStrategy[float]:
    """Describe numbers that are no tolerance and no failure probability: all but those strictly between 0 and 1."""
    edges = [0.0, -0.0, 1.0, math.nextafter(1.0, 2.0), -5e-324, math.nan, math.inf, -math.inf, 2.0]
    return st.sampled_from(edges) | st.floats(max_value=0.0) | st.floats(min_value=1.0)


def domains(*, inside_ball: bool = False) -> st.SearchStrategy[Domain]:
    """Describe input domains: balls, boxes and both at once, of either sign or nonnegative.

    Args:
        inside_ball: only those inside the unit ball.
    """
    balls = st.sampled_from([Domain.ball(1), Domain(0.0, 1.0, 1.0), Domain(-0.5, 1.0, 0.5)])
    if inside_ball:
        return balls
    ends = st.tuples(st.floats(-3, 3), st.floats(0, 3)).map(lambda ends: Domain.box(ends[0], ends[0] + ends[1]))
    return balls | st.sampled_from([Domain.box(0, 1), Domain.box(-1, 1), Domain.ball(2.5)]) | ends


@st.composite
def normed_targets(
    draw: st.DrawFn,
    *,
    largest: float = 1.0,
    beyond: bool = False,
    bias: bool | None = False,
    kinds: Sequence[str] = TARGET_KINDS,
    max_depth: int = 3,
    max_width: int = 5,
) -> Target:
    """Describe ReLU networks whose layers have spectral norm at most `largest`; half of the layers lie on the edge.

    Args:
        largest: the hypothesis.
        beyond: exactly one layer breaks it, by a hundred-thousandth at least and to the tenfold at most.
        bias: with biases (of a norm up to 1), without, or either (None).
        kinds: of layers, see `targets`.
        max_depth: most layers.
        max_width: largest size of a layer.
    """
    mlp = draw(architectures(max_depth=max_depth, max_width=max_width, bias=bias))
    depth = len(mlp.sizes) - 1
    breaks = draw(st.integers(0, depth - 1)) if beyond else -1
    weights: dict[str, torch.Tensor] = {}
    for i in range(depth):
        own = MLP(mlp.sizes[i : i + 2], mlp.bias)
        drawn = draw(targets(sizes=own.sizes, bias=mlp.bias, dtype=torch.float64, kinds=kinds)).layers[0]
        norm = float(np.linalg.norm(drawn.weight, 2))
        share = draw(st.sampled_from([1.0, 0.5, 2.0**-20]) | st.floats(0, 1)) if i != breaks else 1.0
        matrix = drawn.weight * (largest * share / norm) if norm > 1e-30 else drawn.weight
        if i == breaks:
            over = draw(st.sampled_from([1e-5, 1e-3, 1.0]) | st.floats(1e-5, 9.0))
            matrix = (matrix if norm > 1e-30 else largest * np.eye(*drawn.weight.shape)) * (1.0 + over)
        weights[MLP.weight_name(i)] = torch.from_numpy((matrix if i == breaks else _shrink(matrix, largest)).copy())
        if drawn.bias is not None:
            weights[MLP.bias_name(i)] = torch.from_numpy(drawn.bias / max(1.0, float(np.linalg.norm(drawn.bias))))
    return Target(mlp, weights)


def _shrink(matrix: NDArray[np.float64], largest: float) -> NDArray[np.float64]:
    """The matrix times a hair less than 1, where rounding would put it over the edge."""
    while float(np.linalg.norm(matrix, 2)) > largest or np.abs(matrix).max(initial=0.0) > largest:
        matrix = matrix * (1.0 - 1e-12)
    return matrix


@st.composite
def targets_beyond(
    draw: st.DrawFn, *, largest: float = 1.0, bias: bool | None = None, max_depth: int = 3, max_width: int = 5
) -> Target:
    """Describe targets of which exactly one number lies beyond `largest`: by the least there is, by some, or far."""
    target = draw(targets(largest=largest, dtype=torch.float64, bias=bias, max_depth=max_depth, max_width=max_width))
    name = draw(st.sampled_from(sorted(target.weights)))
    value = target.weights[name].clone()
    place = draw(st.integers(0, value.numel() - 1))
    over = draw(st.sampled_from([math.nextafter(largest, math.inf), largest * (1 + 1e-9), 2 * largest, 1e6 * largest]))
    value.view(-1)[place] = draw(st.sampled_from([-1.0, 1.0])) * over
    return Target(target.architecture, {**target.weights, name: value})


@st.composite
def quantised_targets(draw: st.DrawFn, /, bits: int, *, largest: float = 1.0, **options: Any) -> Target:
    """Describe targets whose numbers are multiples of 2^-bits, up to `largest`; options as for `targets`."""
    target = draw(targets(largest=largest, dtype=torch.float64, **options))
    unit = 2.0**-bits
    return Target(target.architecture, {n: (w / unit).round() * unit for n, w in target.weights.items()})


@st.composite
def off_grid_targets(draw: st.DrawFn, /, bits: int, *, largest: float = 1.0, **options: Any) -> Target:
    """Describe targets of which exactly one number is no multiple of 2^-bits."""
    target = draw(quantised_targets(bits, largest=largest / 2, **options))
    name = draw(st.sampled_from(sorted(target.weights)))
    value = target.weights[name].clone()
    value.view(-1)[draw(st.integers(0, value.numel() - 1))] += 2.0**-bits * draw(st.sampled_from([0.5, 2.0**-20, 0.25]))
    return Target(target.architecture, {**target.weights, name: value})


@st.composite
def hard_seeds(draw: st.DrawFn, badness: Callable[[int], float], *, tries: int = 8) -> int:
    """Describe seeds of random networks that are hard: the worst of several.

    Args:
        badness: what makes a source hard, such as the number of weights that a construction does not reach in it.
        tries: seeds to choose among.
    """
    found = draw(st.lists(seeds(), min_size=tries, max_size=tries))
    return max(found, key=badness)


def check_construction(
    method: AbstractConstruction,
    target: Target,
    *,
    network_eps: float | None = None,
    trials: int = 10_000,
    restarts: int = 2,
    seed: int = 0,
    certify: Callable[[Ticket, Target, Domain], Report] | None = None,
) -> Construction:
    """Check what every construction of ReLU networks promises, on one target inside its hypotheses.

    The ticket is strict, and the same when it is made again; it is handed over exactly if no weight is unreached; every
    weight that it reaches is within the tolerance planned; the proved certificates lie above what random points,
    corners and an attack find, and above plain forward passes of the two networks; and with a tolerance of the
    whole network, the certificate of a ticket handed over is within it.

    Args:
        method: has the field `domain`.
        target: an MLP of ReLU units.
        network_eps: the tolerance of the whole network, where the method promises one.
        trials: points of the domain that are tried.
        restarts: of the attack by gradient ascent; 0 for none.
        seed: of the points.
        certify: what proves, for tickets that are not made of product gadgets; these are then attacked by plain
            gradients of the two networks alone.

    Returns:
        What the method returned, to go on with.

    Raises:
        AssertionError: saying what was promised and what was found.
    """
    domain: Domain = method.domain  # type: ignore[attr-defined]
    result, plan = method.construct(target), method.plan(target)
    must(result.plan == plan, f"planned {plan}, done {result.plan}")
    must(result.best.source == plan.source, "the ticket is not in the source that was planned")
    must(method.construct(target).best == result.best, "made twice, the ticket is another one")
    must((result.ticket is None) == bool(len(result.unreached)), f"{len(result.unreached)} weights are unreached")
    check_ticket(result.best)
    off, allowed = result.largest_error, max(plan.weight_eps)
    must(result.ticket is None or off <= allowed, f"a weight is off by {off}, the tolerance is {allowed}")
    proved = (certify or examine)(result.best, target, domain)
    for certificate in (proved.maximum, proved.euclidean):
        must(certificate.rigor is Rigor.PROVED, f"{certificate} is {certificate.rigor}")
        must(certificate.ticket_digest == result.best.digest, "the certificate is of another ticket")
        must(certificate.target_digest == target.digest, "the certificate is of another target")
    looked = []
    if certify is None:
        looked.append(sample(result.best, target, domain, trials=trials, seed=seed, ascent_steps=0))
    if certify is None and restarts:
        looked.append(attack(result.best, target, domain, restarts=restarts, steps=40, seed=seed))
    for found in looked:
        must(found.error <= proved.maximum.error, f"{found} is more than {proved.maximum}")
    points = _points(domain, target.architecture.sizes[0], trials if certify else 256, seed)
    _check_forward(result, target, points, proved)
    if restarts and len(points):
        _check_forward(result, target, _ascend(result, target, domain, points), proved)
    if network_eps is not None and result.ticket is not None:
        error = max(proved.maximum.error, proved.euclidean.error)
        must(error <= network_eps, f"proved {error}, the tolerance is {network_eps}")
    return result


def _points(domain: Domain, inputs: int, count: int, seed: int) -> torch.Tensor:  # [<= count, inputs]
    x = np.random.default_rng(seed).uniform(domain.low, domain.high, (count, inputs))
    return _inside(torch.from_numpy(x), domain)


def _inside(points: torch.Tensor, domain: Domain) -> torch.Tensor:
    """Points moved towards the ball and into the box; those that do not lie in both then are left out."""
    norms = torch.linalg.vector_norm(points, dim=1, keepdim=True).clamp(min=1e-300)
    points = (points * (domain.radius * (1.0 - 1e-12) / norms).clamp(max=1.0)).clamp(domain.low, domain.high)
    return points[torch.linalg.vector_norm(points, dim=1) <= domain.radius]


def _ascend(result: Construction, target: Target, domain: Domain, points: torch.Tensor) -> torch.Tensor:
    """Climb on the Euclidean difference of the two networks by plain gradients, from where it is largest."""
    wanted, got = target.module().double(), result.best.module().double()
    with torch.no_grad():
        start = torch.linalg.vector_norm(wanted(points) - got(points), dim=1)
    x = points[start.argsort(descending=True)[:16]]
    seen, width = [x], min(domain.high - domain.low, 2 * domain.radius)
    for step in range(20):
        x = x.detach().clone().requires_grad_()
        torch.linalg.vector_norm(wanted(x) - got(x) + 1e-30, dim=1).sum().backward()
        slope = x.grad if x.grad is not None else torch.zeros_like(x)
        x = _inside(x.detach() + 0.5 * width * (1 - step / 20) ** 2 * slope.sign(), domain)
        seen.append(x)
    return torch.cat(seen)


def _check_forward(result: Construction, target: Target, points: torch.Tensor, proved: Report) -> None:
    """Compare plain forward passes in float64 with the certificates: no code is shared with what made these."""
    if not len(points):
        return
    with torch.no_grad():
        wanted, got = target.module().double()(points), result.best.module().double()(points)
    slack = SLACK * (1.0 + float(wanted.abs().max()))
    largest, length = proved.maximum.error, proved.euclidean.error
    must(float((wanted - got).abs().max()) <= largest + slack, f"an output is off by more than {largest}")
    lengths = torch.linalg.vector_norm(wanted - got, dim=1)
    must(float(lengths.max()) <= length + slack, f"outputs are off by over {length}")


def check_frequency(failures: int, trials: int, delta: float, *, alpha: float = 1e-9) -> None:
    """Check that failures are not more frequent than a probability delta allows, by the exact binomial tail.

    Args:
        failures: how many trials failed.
        trials: how many independent trials there were.
        delta: probability of a failure that is allowed, in [0, 1].
        alpha: a true claim fails this check at most with this probability.

    Raises:
        AssertionError: P[Binomial(trials, delta) >= failures] <= alpha.

    >>> check_frequency(3, 100, 0.01)
    >>> check_frequency(15, 100, 0.01)
    Traceback (most recent call last):
    AssertionError: 15 failures in 100 trials, where 0.01 of them are allowed: P = 1.14e-13
    """
    if not (0 <= failures <= trials and trials >= 1 and 0.0 <= delta <= 1.0):
        raise ValueError(f"0 <= failures <= trials, 0 <= delta <= 1 are needed, got {failures}, {trials}, {delta}")
    tail = p_value(trials, failures, delta)
    must(tail > alpha, f"{failures} failures in {trials} trials, where {delta} of them are allowed: P = {tail:.3g}")


def check_monotone(
    function: Callable[[Any], float], places: Sequence[Any], *, rising: bool, strictly: bool = False
) -> None:
    """Check that a number rises (or falls) along places given in increasing order.

    Raises:
        AssertionError: naming the two places and the two values.

    >>> check_monotone(lambda x: -x, [1, 2, 3], rising=False, strictly=True)
    """
    values = [function(place) for place in places]
    for (a, first), (b, second) in zip(
        zip(places, values, strict=True), zip(places[1:], values[1:], strict=True), strict=False
    ):
        ordered = first <= second if rising else first >= second
        if strictly:
            ordered = ordered and first != second
        must(ordered, f"{first} at {a} and {second} at {b}: not {'rising' if rising else 'falling'}")


def check_refused(call: Callable[[], object], *mentions: str, error: type[Exception] = HypothesisError) -> None:
    """Check that a call is refused by the right kind of error, whose message mentions what it must.

    Args:
        call: what must raise.
        mentions: texts that the message must hold, such as the value that was given.
        error: HypothesisError for values outside a theorem's hypotheses; ValueError for values that make no sense.

    Raises:
        AssertionError: nothing was raised, or the message lacks a text.
    """
    try:
        call()
    except error as problem:
        lacking = [text for text in mentions if text not in str(problem)]
        must(not lacking, f"the refusal does not mention {', '.join(lacking)}: {problem}")
        return
    raise AssertionError(f"not refused: expected {error.__name__}")
