"""Orseau et al. 2020, "Logarithmic pruning is all you need": every weight becomes a greedy sum, without a solver.

Weights are drawn with density 1/|x| (`strongticket.random.hyperbolic`), so that all geometric bins are equally likely.
A weight needs one product u v in each of k = ceil(log_phi(w_max / eps)) bins, phi the golden ratio; the rule "take it
if it fits" then leaves at most eps. There is no condition on norms, and biases are weights of a constant input.

What is built: ReLU targets of any depth, in a ReLU source of twice the depth, by the two layers of `_gadget`. A hidden
neuron keeps one incoming weight u and serves all outputs, each with a v of its own (the paper gives every neuron to one
weight). In "batch" assignment a neuron serves whichever input it has a large weight for, as the paper's batch sampling
lets masks choose. For other activations the paper's proof needs linear outputs before each activation, which pairs of
ReLU layers give too, but the certified networks here are ReLU networks; `bounds.weight_eps` takes their constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from strongticket import random
from strongticket.bounds import orseau2020logarithmic as bounds
from strongticket.certificate import Domain
from strongticket.constructions._checks import check_domain, check_items, check_one_of, check_target
from strongticket.constructions._construction import (
    AbstractConstruction,
    Construction,
    Plan,
    Progress,
)
from strongticket.constructions._gadget import (
    HalfInputs,
    LayerPair,
    assign_column_aware,
    assign_fixed,
    stage,
)
from strongticket.constructions._greedy import Bins, prune_greedily
from strongticket.constructions._grid import Grid, extended, halves_of, lay_out
from strongticket.constructions._layerwise import Gathering
from strongticket.models import MLP, Layer, Target
from strongticket.ticket import Init

__all__ = ["BinCertificate", "GreedyConstruction", "Orseau2020Logarithmic", "construct"]

KEY = "orseau2020logarithmic"
MOST_ITEMS = 1 << 14
ASSIGNMENT_SHARE = 0.1  # of delta, for the assignment of neurons to inputs
UNIT_BALL = Domain.ball(1)
Weights = Literal["hyperbolic", "uniform"]


@final
@dataclass(frozen=True, eq=False)
class BinCertificate:
    """Say which bins of each weight of a layer were filled, and what that proves of its error.

    Bin i (from 1) holds the products of the right sign whose size is in [ends[i-1] - ends[i], ends[i]], less what bin
    i + 1 holds. A weight with |w| <= ends[i] starts at bin i + 1.

    Args:
        layer: of the target.
        bins: the ends, integers in units of 2^exponent.
        filled: bit i - 1 is set where bin i has a product, [outputs, half-inputs].
        first: number of bins that are not needed, [outputs, half-inputs].
        tolerance: what may be left of a weight, in the same units; the rule stops there.
    """

    layer: int
    bins: Bins
    filled: NDArray[np.uint64]
    first: NDArray[np.int64]
    tolerance: int

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Where every bin that is needed is filled, so that the tolerance is met for certain."""
        return self.first_missing >= self.bins.count

    @property
    def first_missing(self) -> NDArray[np.int64]:
        """Number of bins before the first needed one that is empty; the number of bins where none is."""
        missing = np.full(self.filled.shape, self.bins.count, dtype=np.int64)
        for i in reversed(range(self.bins.count)):
            empty = (self.filled >> np.uint64(i)) & np.uint64(1) == 0
            missing[empty & (self.first <= i)] = i
        return missing

    @property
    def promised(self) -> NDArray[np.float64]:
        """Largest error that the greedy lemma leaves each weight, in plain units, rounded upward."""
        ends = np.maximum(np.array(self.bins.ends, dtype=np.int64)[self.first_missing], self.tolerance)
        return Grid(self.bins.exponent).upward(ends)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: counts by bin, not the table."""
        empty = [(self.filled >> np.uint64(i)) & np.uint64(1) == 0 for i in range(self.bins.count)]
        return {
            "layer": self.layer,
            "bins": self.bins.count,
            "needed": [int((self.first <= i).sum()) for i in range(self.bins.count)],
            "empty": [int((gaps & (self.first <= i)).sum()) for i, gaps in enumerate(empty)],
            "incomplete": int((~self.complete).sum()),
        }


@final
@dataclass(frozen=True)
class GreedyConstruction(Construction):
    """A construction whose layers come with certificates of their bins.

    Args:
        bins: which bins were filled, for each layer.
    """

    bins: tuple[BinCertificate, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of everything but masks and tables."""
        return {**super().to_json(), "bins": [certificate.to_json() for certificate in self.bins]}


@final
@dataclass(frozen=True)
class Orseau2020Logarithmic(AbstractConstruction):
    """Prune one random ReLU network of depth 2L to a given ReLU network of depth L, of any norms, greedily.

    Args:
        weight_eps: tolerance of every single weight, positive. Give this or `network_eps`.
        network_eps: tolerance of the whole network on the domain (or the unit ball, if that is larger), positive.
        delta: failure probability that sizes the source, in (0, 1).
        items: products per weight: a number >= 1; "target" (explicit and rigorous: all bins that this target needs are
            filled with probability 1 - delta); or "theorem" (all bins of both signs, so that all targets whose layers
            have at most this one's largest weights are reached at once, with probability 1 - delta).
        weights: "hyperbolic" (the paper's law, of 8 octaves where they are enough and else of 16), or "uniform" (the
            corollary, which costs about 1/eps items).
        assignment: "batch" (a neuron serves a half-input for which |u| >= 1/2, whichever that is) or "fixed" (blocks
            of neurons for each half-input; most of them have the wrong sign or a small u).
        domain: where inputs live; on nonnegative inputs the first layer needs the positive half only.
        seed: names the random network, 0 <= seed < 2^64. Nothing is ever redrawn.

    Raises:
        ValueError: a parameter outside its range.
    """

    weight_eps: float | None = None
    network_eps: float | None = None
    delta: float = 0.01
    items: int | Literal["target", "theorem"] = "target"
    weights: Weights = "hyperbolic"
    assignment: Literal["batch", "fixed"] = "batch"
    domain: Domain = UNIT_BALL
    seed: int = 0
    key = KEY

    def __post_init__(self) -> None:
        if (self.weight_eps is None) == (self.network_eps is None):
            raise ValueError("give exactly one of weight_eps (per weight) and network_eps (whole network)")
        for name in ("weight_eps", "network_eps"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if not (isinstance(self.delta, float) and 0 < self.delta < 1):
            raise ValueError(f"delta must lie strictly between 0 and 1, got {self.delta}")
        check_items(self.items, ("target", "theorem"), MOST_ITEMS)
        check_domain(self.domain)
        check_one_of("weights", self.weights, ("hyperbolic", "uniform"))
        check_one_of("assignment", self.assignment, ("batch", "fixed"))
        random.check_seed(self.seed)

    def plan(self, target: Target) -> Plan:
        """Fix the source network, without doing the work.

        Raises:
            ValueError: a tolerance finer than 2^-14 or so of a layer's largest weight, which the law's grid forbids.
        """
        return self._plan(target)[0]

    def _plan(self, target: Target) -> tuple[Plan, tuple[_Recipe, ...]]:
        check_target(target)
        eps = self._tolerance(target)
        recipes = tuple(
            _recipe(i, layer, halves_of(i, layer, self.domain), eps, self.weights)
            for i, layer in enumerate(target.layers)
        )
        total = sum(recipe.targets.size for recipe in recipes)
        shares = [self.delta * (1 - ASSIGNMENT_SHARE) * recipe.targets.size / total for recipe in recipes]
        items = [self._items(recipe, share) for recipe, share in zip(recipes, shares, strict=True)]
        widths = [self._width(recipe, count, len(recipes)) for recipe, count in zip(recipes, items, strict=True)]
        halves = [recipe.halves for recipe in recipes]
        init = _init(recipes, bias=target.architecture.bias)
        return lay_out(target, halves, (eps,) * len(recipes), items, widths, self.seed, init), recipes

    def construct(self, target: Target, *, progress: Progress | None = None) -> GreedyConstruction:
        """Run the proof: assign neurons, sort products into bins, take what fits, gather the mask.

        Args:
            target: a ReLU MLP of any depth and any weights, with or without biases.
            progress: called with ("weights", problems done, problems in all).

        Raises:
            ValueError: see `plan`.
        """
        plan, recipes = self._plan(target)
        gathering = Gathering(plan, target, progress)
        certificates: list[BinCertificate] = []
        for i, recipe in enumerate(recipes):
            pair = LayerPair(plan.source, i, recipe.halves)
            seconds = {"assign": 0.0}
            with stage(seconds, "assign"):
                pool = (assign_column_aware if self.assignment == "batch" else assign_fixed)(pair, plan.items[i])
            found = prune_greedily(pair, pool, recipe.targets, recipe.bins, recipe.tolerance, gathering.counter())
            certificates.append(BinCertificate(i, recipe.bins, found.filled, recipe.first, recipe.tolerance))
            grid = Grid(recipe.bins.exponent)
            gathering.add_pair(grid, pair, pool, found.pruned, recipe.tolerance, seconds)
        made = gathering.construction(KEY)
        return GreedyConstruction(KEY, plan, made.best, made.unreached, made.layers, tuple(certificates))

    def _tolerance(self, target: Target) -> float:
        if self.weight_eps is not None:
            return float(self.weight_eps)
        assert self.network_eps is not None
        biases = [0.0 if x.bias is None else float(np.linalg.norm(x.bias)) for x in target.layers]
        return bounds.weight_eps(
            [(x.weight.shape[0], x.weight.shape[1]) for x in target.layers],
            self.network_eps,
            norms=[float(np.linalg.norm(x.weight, 2)) * (1 + 1e-9) for x in target.layers],
            radius=max(self.domain.radius_in(target.architecture.sizes[0]), 1.0),
            bias_norms=biases if target.architecture.bias else None,
        )

    def _items(self, recipe: _Recipe, delta: float) -> int:
        if not isinstance(self.items, str):
            return self.items
        chance = recipe.usable if self.assignment == "fixed" else 1.0
        masses = [chance * mass for mass in recipe.masses]
        if self.items == "theorem":
            needs = [2 * recipe.targets.size] * recipe.bins.count
        else:
            needs = [int((recipe.first <= i).sum()) for i in range(recipe.bins.count)]
        count = bounds.items_for_bins(needs, masses, delta)
        if count > MOST_ITEMS:
            raise ValueError(
                f"{count} products per weight would be needed in layer {recipe.layer}, more than {MOST_ITEMS}: use a "
                "larger tolerance, or hyperbolic weights"
            )
        return count

    def _width(self, recipe: _Recipe, items: int, layers: int) -> int:
        if self.assignment == "fixed":
            return len(recipe.halves) * items
        return bounds.neurons_for_batch(
            len(recipe.halves), items, recipe.usable, self.delta * ASSIGNMENT_SHARE / layers
        )  # fmt: skip


@final
@dataclass(frozen=True, eq=False)
class _Recipe:
    """What one layer asks of its pair of random layers."""

    layer: int
    halves: HalfInputs
    law: str
    scale: float  # of the second layer's weights, a power of two
    bins: Bins
    tolerance: int  # in units of the bins
    targets: NDArray[np.int64]  # [outputs, half-inputs]
    masses: tuple[float, ...]  # of each bin, given |u| >= 1/2
    usable: float  # probability that a first weight has the right sign and |u| >= 1/2

    @property
    def first(self) -> NDArray[np.int64]:
        """Number of bins that each weight does not need."""
        return self.bins.first(np.abs(self.targets))


def _recipe(index: int, layer: Layer, halves: HalfInputs, eps: float, weights: Weights) -> _Recipe:
    wanted = extended(layer)[:, halves.inputs]
    largest = float(np.abs(wanted).max(initial=0.0))
    # the first bin ends at w_max / phi and must be reached with every |u| >= 1/2
    scale = 2.0 ** math.ceil(math.log2(2.0 * largest / bounds.GOLDEN * (1 + 1e-6))) if largest > eps else 1.0
    laws = ("hyperbolic8", "hyperbolic16") if weights == "hyperbolic" else ("uniform23",)
    for name in laws:
        law = random.law(name)
        assert law.grid_exponent is not None
        exponent = 2 * law.grid_exponent + round(math.log2(scale))
        unit = 2.0**exponent
        tolerance = math.floor(eps / unit) - 1 if eps < largest else math.ceil(largest / unit)
        targets = np.rint(np.ldexp(wanted, -exponent)).astype(np.int64)
        if tolerance < 1 << 20 and largest > eps:
            continue  # so few units in the last bin that rounding its ends would count
        bins = Bins.golden(int(np.abs(targets).max(initial=0)), tolerance, exponent)
        if isinstance(law, random.hyperbolic.AbstractHyperbolic):
            octaves = law.octaves
            # every product in the last bin is one with a v that the law has, for every |u| < 1
            if bins.count and bins.least(bins.count) * unit < scale * 2.0**-octaves:
                continue
            masses = (bounds.hyperbolic_mass(octaves),) * bins.count
            usable = 0.5 / octaves
        else:
            widths = [bins.ends[i] - bins.least(i) for i in range(1, bins.count + 1)]
            masses = tuple(bounds.uniform_mass(width * unit, scale) for width in widths)
            usable = 0.25
        return _Recipe(index, halves, name, scale, bins, tolerance, targets, masses, usable)
    raise ValueError(
        f"layer {index}: a tolerance of {eps:.3g} beside a largest weight of {largest:.3g} is finer than what the "
        f"{weights} law reaches on its grid; use a tolerance of {largest * 2.0**-13:.3g} or more"
    )


def _init(recipes: tuple[_Recipe, ...], *, bias: bool) -> Init:
    default = recipes[0].law
    overrides = []
    for recipe in recipes:
        first, second = 2 * recipe.layer, 2 * recipe.layer + 1
        names = [(MLP.weight_name(first), 1.0), (MLP.weight_name(second), recipe.scale)]
        if bias:
            names += [(MLP.bias_name(first), 1.0), (MLP.bias_name(second), recipe.scale)]
        overrides += [
            (name, recipe.law, scale) for name, scale in names if (recipe.law, scale) != (default, 1.0)
        ]  # fmt: skip
    return Init(default, overrides=tuple(overrides))


def construct(target: Target | nn.Module, **options: object) -> GreedyConstruction:
    """Turn a trained ReLU network of any norms into a strict ticket: `Orseau2020Logarithmic(**options).construct`.

    Args:
        target: the network to find inside a random one; a module is read by `Target.from_module`.
        options: parameters of `Orseau2020Logarithmic`.

    >>> import torch
    >>> from strongticket.models import Target
    >>> weights = [torch.linspace(-3.0, 3.0, 12).reshape(3, 4), torch.linspace(-0.4, 0.6, 6).reshape(2, 3)]
    >>> target = Target.from_state({"0.weight": weights[0], "1.weight": weights[1]})
    >>> result = construct(target, weight_eps=0.05, seed=1)
    >>> result.ticket is not None and all(layer.complete.all() for layer in result.bins)
    True
    """
    method = Orseau2020Logarithmic(**options)  # type: ignore[arg-type]
    return method.construct(Target.from_module(target) if isinstance(target, nn.Module) else target)
