"""Pensia et al. 2020, "Optimal lottery tickets via subset sum": every weight of the target becomes a subset sum.

Theorem 1: a random ReLU network of depth 2L, wider than the target by a factor O(log(dL / min(eps, delta))), contains
a subnetwork that is within eps of the target on the unit ball. Here the proof runs: one frozen random network, and for
each target weight the exact subset of its candidate products. See `_gadget` for the two layers that make one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from strongticket import subsetsum
from strongticket.bounds import HypothesisError, lueker1998exponentially
from strongticket.bounds import pensia2020optimal as bounds
from strongticket.bounds.lueker1998exponentially import LawName
from strongticket.certificate import Domain
from strongticket.constructions._construction import (
    UNREACHED,
    AbstractConstruction,
    Construction,
    LayerReport,
    Plan,
    Progress,
)
from strongticket.constructions._gadget import (
    TOGETHER,
    WEAKEST,
    Choice,
    HalfInputs,
    LayerPair,
    Pool,
    PrunedPair,
    assign_column_aware,
    assign_fixed,
    prune_pair,
    spare_neurons,
)
from strongticket.models import MLP, Layer, Target
from strongticket.ticket import Init, Mask, Source, Ticket

__all__ = ["EXACT_ITEMS", "WEAKEST_ITEM", "Pensia2020Optimal", "construct"]

KEY = "pensia2020optimal"
EXACT_ITEMS = TOGETHER
"""Up to this many candidates per weight, an unreached weight has no subset in its tolerance; beyond, none was found."""
WEAKEST_ITEM = WEAKEST
"""Least |u| of a candidate that the column-aware assignment accepts."""
GRID = -46  # exponent of products of two uniform23 weights
FINEST = 2.0 ** (GRID + 1)  # tolerance below which the grid of the products cannot tell hit from miss
MOST_ITEMS = 1 << 20
UNIT_BALL = Domain.ball(1)
REACH = 1.0  # largest |weight| of a target: entries of a matrix of norm <= 1

Assignment = Literal["column-aware", "fixed"]
Items = Literal["theorem", "information-limit"]


@final
@dataclass(frozen=True)
class Pensia2020Optimal(AbstractConstruction):
    """Prune one random ReLU network of depth 2L to a given ReLU network of depth L.

    Args:
        weight_eps: tolerance of every single weight, in (0, 1). Give this or `network_eps`.
        network_eps: tolerance of the whole network on the domain (or the unit ball, if that is larger), in (0, 1), for
            targets with |W_i|_2 <= 1: the theorem, whose domain is the unit ball.
        delta: failure probability that sizes the source, in (0, 1).
        items: candidates per weight: a number >= 1; "theorem" (the explicit rigorous count: a subset for every weight
            exists with probability 1 - delta; beyond 40 candidates the search by groups may miss it, and says so);
            or "information-limit" (the predicted count at which delta weights of *this* target are expected to fail).
        assignment: "column-aware" (neurons serve the half-input they are best for) or "fixed" (the paper's blocks,
            half of whose neurons are dead).
        objective: "sparsest" (fewest kept weights within the tolerance) or "min_error" (the exact minimum error; beyond
            40 candidates, the minimum of the first group of at most 40 that is within the tolerance).
        domain: where inputs live; on nonnegative inputs the first layer needs the positive half only.
        seed: names the random network, 0 <= seed < 2^64. Nothing is ever redrawn.
        backend: subset-sum solver, see `strongticket.subsetsum.solve`.

    Raises:
        ValueError: a parameter outside its range.
    """

    weight_eps: float | None = None
    network_eps: float | None = None
    delta: float = 0.01
    items: int | Items = "information-limit"
    assignment: Assignment = "column-aware"
    objective: Literal["sparsest", "min_error"] = "sparsest"
    domain: Domain = UNIT_BALL
    seed: int = 0
    backend: subsetsum.Backend = "auto"
    key = KEY

    def __post_init__(self) -> None:
        if (self.weight_eps is None) == (self.network_eps is None):
            raise ValueError("give exactly one of weight_eps (per weight) and network_eps (whole network, unit ball)")
        for name in ("weight_eps", "network_eps", "delta"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 < value < 1):
                raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")
        if self.weight_eps is not None:
            _check_tolerance(self.weight_eps)
        if isinstance(self.items, str):
            if self.items not in ("theorem", "information-limit"):
                raise ValueError(f"items is a number, 'theorem' or 'information-limit', got {self.items!r}")
        elif isinstance(self.items, bool) or not isinstance(self.items, int):
            raise TypeError(f"items is a whole number, 'theorem' or 'information-limit', got {self.items!r}")
        elif not 1 <= self.items <= MOST_ITEMS:
            raise ValueError(f"items must be at least 1 and at most {MOST_ITEMS}, got {self.items}")
        if not isinstance(self.domain, Domain):
            raise TypeError(f"the domain is a strongticket.Domain, such as Domain.box(0, 1), got {self.domain!r}")
        if self.assignment not in ("column-aware", "fixed"):
            raise ValueError(f"assignment is 'column-aware' or 'fixed', got {self.assignment!r}")
        if self.objective not in ("sparsest", "min_error"):
            raise ValueError(f"objective is 'sparsest' or 'min_error', got {self.objective!r}")

    def plan(self, target: Target) -> Plan:
        """Check the hypotheses and fix the source network, without doing the work.

        Raises:
            HypothesisError: a weight beyond 1, or with `network_eps` a layer of norm beyond 1.
        """
        if not isinstance(target, Target):
            raise TypeError(f"a target is a strongticket.Target, got {type(target).__name__}: use Target.from_module")
        layers = target.layers
        _check_reach(target)
        tolerances = self._tolerances(target)
        halves = [self._halves(i, layer) for i, layer in enumerate(layers)]
        problems = [layer.weight.shape[0] * len(half) for layer, half in zip(layers, halves, strict=True)]
        items = [
            self._items(layer, half, eps, sum(problems))
            for layer, half, eps in zip(layers, halves, tolerances, strict=True)
        ]
        sizes = [target.architecture.sizes[0]]
        for layer, half, count in zip(layers, halves, items, strict=True):
            spare = spare_neurons(count) if self.assignment == "column-aware" else 0
            sizes += [len(half) * count + spare, layer.weight.shape[0]]
        architecture = MLP(tuple(sizes), bias=target.architecture.bias)
        return Plan(
            Source(architecture, self.seed, Init("uniform23")),
            tuple(tolerances),
            tuple(items),
            tuple(problems),
            tuple(2 if half.signed else 1 for half in halves),
        )

    def construct(self, target: Target, *, progress: Progress | None = None) -> Construction:
        """Run the proof: assign neurons, solve every subset sum exactly, gather the mask.

        Args:
            target: a ReLU MLP of any depth, with or without biases, all |weights| <= 1.
            progress: called with ("weights", problems done, problems in all).

        Raises:
            HypothesisError: see `plan`.
        """
        plan = self.plan(target)
        total, done = sum(plan.problems), 0
        masks: list[Mask] = []
        reports: list[LayerReport] = []
        unreached: list[NDArray[np.void]] = []
        for i, layer in enumerate(target.layers):
            pair = LayerPair(plan.source, i, self._halves(i, layer))
            clock = time.perf_counter()
            assign = assign_column_aware if self.assignment == "column-aware" else assign_fixed
            pool = assign(pair, plan.items[i])
            seconds = time.perf_counter() - clock
            targets, tolerance = _on_grid(pair.halves, layer), _tolerance_on_grid(plan.weight_eps[i])
            pruned = prune_pair(
                pair, pool, targets, tolerance, self._choose(tolerance), _shifted(progress, done, total)
            )
            masks.append(pruned.mask)
            failed = _unreached(i, pair.halves, layer, pruned.errors, tolerance)
            unreached.append(failed)
            reports.append(_report(plan, i, pair, pool, pruned, {"assign": seconds, **pruned.seconds}, len(failed)))
            done += plan.problems[i]
        return Construction(
            KEY, plan, Ticket(plan.source, Mask.merge(*masks)), np.concatenate(unreached), tuple(reports)
        )

    def _halves(self, index: int, layer: Layer) -> HalfInputs:
        signed = index == 0 and not self.domain.nonnegative
        return HalfInputs.of(layer.weight.shape[1], signed=signed, bias=layer.bias is not None)

    def _tolerances(self, target: Target) -> list[float]:
        if self.weight_eps is not None:
            return [float(self.weight_eps)] * len(target.layers)
        assert self.network_eps is not None
        norms = [float(np.linalg.norm(layer.weight, 2)) for layer in target.layers]
        for i, norm in enumerate(norms):
            if norm > 1 + 1e-6:
                raise HypothesisError(
                    f"layer {i} of the target has spectral norm {norm:.6g}; the theorem speaks of norms <= 1. Rescale "
                    "the target, or give weight_eps and certify the ticket afterwards"
                )
        biases = [0.0 if x.bias is None else float(np.linalg.norm(x.bias)) for x in target.layers]
        radius = self.domain.radius_in(target.architecture.sizes[0])
        each = bounds.weight_eps(
            [(x.weight.shape[0], x.weight.shape[1]) for x in target.layers],
            self.network_eps,
            norms=[max(1.0, norm) for norm in norms],
            radius=max(radius, 1.0),
            bias_norms=biases if target.architecture.bias else None,
        )
        _check_tolerance(each)
        # a budget of 1 or more (tiny targets or domains) is no tolerance that items can be counted for
        return [min(each, 0.5)] * len(target.layers)

    def _items(self, layer: Layer, half: HalfInputs, eps: float, problems: int) -> int:
        if not isinstance(self.items, str):
            return int(self.items)
        magnitudes = np.abs(_extended(layer)[:, half.inputs])
        if self.items == "theorem":
            return max(1, bounds.items_for_network(
                problems,
                eps,
                self.delta,
                mode="theorem",
                max_target=float(magnitudes.max(initial=0.0)),
                assignment=self.assignment,
                u_min=WEAKEST,
            ))  # fmt: skip
        fixed = self.assignment == "fixed"
        scale = 1.0 if fixed else max(WEAKEST, 1 - 2 / (len(half) + 1))  # mean of the best of so many uniforms
        share = self.delta * magnitudes.size / problems
        return _predicted_items(magnitudes, eps, share, "half_product" if fixed else "uniform", scale)

    def _choose(self, tolerance: int) -> Choice:
        def choose(items: NDArray[np.int64], targets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            eps = tolerance if self.objective == "sparsest" else None
            sums = subsetsum.solve(items, targets, objective=self.objective, eps=eps, backend=self.backend)
            return sums.mask, sums.error

        return choose


def _extended(layer: Layer) -> NDArray[np.float64]:
    """The layer's matrix with its bias as a last column, [outputs, inputs (+ 1)]."""
    return layer.weight if layer.bias is None else np.column_stack([layer.weight, layer.bias])


def _check_reach(target: Target) -> None:
    for name, value in target.weights.items():
        largest = float(value.abs().max())
        if largest > REACH:
            place = tuple(np.argwhere(value.abs().numpy() == largest)[0].tolist())
            raise HypothesisError(
                f"{name}{list(place)} of the target is {float(value[place])!r}; the construction reaches weights in "
                f"[-{REACH:g}, {REACH:g}]. Rescale the target: a ReLU layer divided by c > 0 and the next one "
                "multiplied by c are the same network"
            )


def _predicted_items(magnitudes: NDArray[np.float64], eps: float, delta: float, law: LawName, scale: float) -> int:
    """The fewest candidates at which delta weights of these magnitudes are expected to fail, by the prediction."""
    hard = magnitudes[magnitudes > eps]
    if not hard.size:
        return 1
    counts, edges = np.histogram(hard, bins=16, range=(0.0, float(hard.max())))

    def failures(items: int) -> float:
        levels = zip(counts.tolist(), edges[1:].tolist(), strict=True)
        predict = lueker1998exponentially.failure_predicted
        return math.fsum(n * predict(items, eps, law=law, target=z, scale=scale) for n, z in levels if n)

    low, high = 0, 8
    while failures(high) > delta:
        low, high = high, 2 * high
        if high > 1024:
            raise ValueError(
                f"eps = {eps} and delta = {delta} would need more than {high} candidates per weight: loosen them"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if failures(middle) > delta else (low, middle)
    return high


def _on_grid(halves: HalfInputs, layer: Layer) -> NDArray[np.int64]:
    """The wanted weight of each half-input, rounded to the grid of products, [outputs, columns]."""
    return np.rint(np.ldexp(_extended(layer), -GRID)).astype(np.int64)[:, halves.inputs]


def _tolerance_on_grid(eps: float) -> int:
    return math.floor(math.ldexp(eps, -GRID)) - 1  # one unit pays for rounding the target to the grid


def _check_tolerance(eps: float) -> None:
    if eps < FINEST:
        raise ValueError(
            f"a tolerance of {eps:.3g} per weight is finer than the products of two random weights, which are "
            f"multiples of 2^{GRID}; the finest is 2^{GRID + 1} = {FINEST:.3g}"
        )


def _shifted(progress: Progress | None, done: int, total: int) -> Callable[[int], None] | None:
    return None if progress is None else lambda here: progress("weights", done + here, total)


def _unreached(
    index: int, halves: HalfInputs, layer: Layer, errors: NDArray[np.int64], tolerance: int
) -> NDArray[np.void]:
    rows, columns = np.nonzero(np.abs(errors) > tolerance)
    failed = np.zeros(len(rows), dtype=UNREACHED)
    failed["layer"], failed["row"] = index, rows
    failed["input"], failed["sign"] = halves.inputs[columns], halves.signs[columns]
    failed["target"] = _extended(layer)[rows, halves.inputs[columns]]
    failed["error"] = _upward(np.abs(errors[rows, columns]))
    return failed


def _upward(errors: NDArray[np.int64]) -> NDArray[np.float64]:
    """Errors of weights in plain units, never too small: half a unit more for rounding the target to the grid."""
    return np.asarray(np.nextafter(np.ldexp(errors + 0.5, GRID), np.inf))


def _report(
    plan: Plan, index: int, pair: LayerPair, pool: Pool, pruned: PrunedPair, seconds: dict[str, float], failed: int
) -> LayerReport:
    alive = np.abs(pool.u[pool.u != 0])
    exponent = plan.source.grid_exponent(MLP.weight_name(2 * index))
    plain = np.ldexp(pruned.errors.astype(np.float64), GRID)
    return LayerReport(
        layer=index,
        problems=plan.problems[index],
        items=plan.items[index],
        fewest_items=pool.fewest,
        weakest_item=math.ldexp(float(alive.min()) if alive.size else 0.0, exponent),
        width=pair.width,
        kept=pruned.mask.count,
        unreached=failed,
        largest_error=float(_upward(np.abs(pruned.errors).max(initial=0).reshape(1))[0]),
        rms_error=float(np.sqrt(np.mean(plain * plain))),
        seconds=seconds,
    )


def construct(target: Target | nn.Module, **options: object) -> Construction:
    """Turn a trained ReLU network into a strict strong lottery ticket: `Pensia2020Optimal(**options).construct`.

    Args:
        target: the network to find inside a random one; a module is read by `Target.from_module`.
        options: parameters of `Pensia2020Optimal`.

    >>> import torch
    >>> from strongticket.models import Target
    >>> weights = [torch.linspace(-0.5, 0.5, 12).reshape(3, 4), torch.linspace(-0.4, 0.6, 6).reshape(2, 3)]
    >>> target = Target.from_state({"0.weight": weights[0], "1.weight": weights[1]})
    >>> result = construct(target, weight_eps=0.01, items=16, seed=1)
    >>> result.ticket is not None and result.largest_error <= 0.01
    True
    """
    method = Pensia2020Optimal(**options)  # type: ignore[arg-type]
    return method.construct(Target.from_module(target) if isinstance(target, nn.Module) else target)
