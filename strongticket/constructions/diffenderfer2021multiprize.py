"""Diffenderfer & Kailkhura 2021, "Multi-prize lottery ticket hypothesis": one bit for each weight, and one scale.

The paper: a random network of +-1 weights (times a scale for each layer), of depth 2L and width of order
L d^(3/2)/eps + L d log(Ld/eps), contains a binary ticket within eps of every network of depth L and width d. The
construction here is **ours** and exact: with the scale 2^-b for the second layer of each pair, a weight k 2^-b is |k|
candidates of the same sign, so the ticket *equals* the target quantised to b bits, and rounding (by at most 2^-(b+1)
for each weight) is all that is lost. Width grows with 2^b: compare `sreenivasan2022finding`, which pays in depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from strongticket.bounds import HypothesisError
from strongticket.bounds import diffenderfer2021multiprize as bounds
from strongticket.bounds.kumar2025quantized import neurons_to_fill
from strongticket.certificate import Domain
from strongticket.constructions._checks import check_domain, check_items, check_target
from strongticket.constructions._construction import (
    AbstractConstruction,
    Construction,
    Plan,
    Progress,
)
from strongticket.constructions._gadget import (
    LayerPair,
    Pool,
    assign_column_aware,
    prune_in_blocks,
    rows_at_once,
    stage,
)
from strongticket.constructions._grid import Grid, halves_of, lay_out
from strongticket.constructions._layerwise import Gathering
from strongticket.models import MLP, Target
from strongticket.ticket import Init

__all__ = ["Diffenderfer2021Multiprize", "construct"]

KEY = "diffenderfer2021multiprize"
MOST_BITS = 16
MOST_ITEMS = 1 << 20
LARGEST = 1 << 20  # a weight in units of the grid: so many neurons are kept for it
PIXELS = Domain.box(0, 1)


@final
@dataclass(frozen=True)
class Diffenderfer2021Multiprize(AbstractConstruction):
    """Prune one random network of signs, of depth 2L, until it equals a given quantised network of depth L.

    Args:
        bits: b: numbers of the target are multiples of 2^-b; the second layer of each pair has weights +-2^-b; 0..16.
        items: candidates per weight: a number >= 1, or "theorem" (with probability 1 - delta all weights are met,
            proved, by the exact binomial tail).
        delta: failure probability that sizes the source, in (0, 1).
        domain: where inputs live; on nonnegative inputs the first layer needs the positive half only.
        seed: names the random network, 0 <= seed < 2^64. Nothing is ever redrawn.

    Raises:
        ValueError: a parameter outside its range.
    """

    bits: int = 4
    items: int | Literal["theorem"] = "theorem"
    delta: float = 0.01
    domain: Domain = PIXELS
    seed: int = 0
    key = KEY

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int):
            raise TypeError(f"bits is a whole number, got {self.bits!r}")
        if not 0 <= self.bits <= MOST_BITS:
            raise ValueError(f"bits must be in 0..{MOST_BITS}, got {self.bits}")
        check_items(self.items, ("theorem", "theorem"), MOST_ITEMS)
        if not (isinstance(self.delta, int | float) and 0 < self.delta < 1):
            raise ValueError(f"delta must lie strictly between 0 and 1, got {self.delta}")
        check_domain(self.domain)

    @property
    def _grid(self) -> Grid:
        return Grid(-self.bits, exact=True)

    def plan(self, target: Target) -> Plan:
        """Check the hypotheses and fix the source network, without doing the work.

        Raises:
            HypothesisError: a number that is no multiple of 2^-b, or too large.
        """
        check_target(target)
        self._check(target)
        halves = [halves_of(i, layer, self.domain) for i, layer in enumerate(target.layers)]
        wanted = [self._grid.wanted(half, layer) for half, layer in zip(halves, target.layers, strict=True)]
        problems = sum(values.size for values in wanted)
        items = [self._items(values, problems) for values in wanted]
        share = self.delta / (2 * len(halves))  # half of delta pays for missing neurons
        widths = [neurons_to_fill(len(half), count, 0.5, share) for half, count in zip(halves, items, strict=True)]
        names = (MLP.weight_name, *((MLP.bias_name,) if target.architecture.bias else ()))
        seconds = [name(2 * i + 1) for i in range(len(halves)) for name in names] if self.bits else []
        init = Init("sign", overrides=tuple((name, "sign", 2.0**-self.bits) for name in seconds))
        return lay_out(target, halves, (0.0,) * len(halves), items, widths, self.seed, init)

    def construct(self, target: Target, *, progress: Progress | None = None) -> Construction:
        """Assign neurons, keep as many equal signs for each weight as it has units, gather the mask.

        Args:
            target: a ReLU MLP of any depth, with or without biases, all numbers multiples of 2^-b; make one with
                `strongticket.models.quantized.quantise`.
            progress: called with ("weights", problems done, problems in all).

        Raises:
            HypothesisError: see `plan`.
        """
        plan = self.plan(target)
        gathering = Gathering(plan, target, progress)
        for i, layer in enumerate(target.layers):
            pair = LayerPair(plan.source, i, halves_of(i, layer, self.domain))
            seconds = {"assign": 0.0}
            with stage(seconds, "assign"):
                pool = assign_column_aware(pair, plan.items[i])
            wanted = self._grid.wanted(pair.halves, layer)

            def solve(
                v: NDArray[np.int32],
                here: slice,
                seconds: dict[str, float],
                pool: Pool = pool,
                wanted: NDArray[np.int64] = wanted,
            ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
                with stage(seconds, "solve"):
                    return _keep_signs(v, pool, wanted[here])

            pruned = prune_in_blocks(pair, pool, rows_at_once(8 * pool.u.size), solve, gathering.counter())
            gathering.add_pair(self._grid, pair, pool, pruned, 0, seconds)
        return gathering.construction(KEY)

    def _check(self, target: Target) -> None:
        if not target.architecture.rectified:
            raise HypothesisError(f"the construction is one of ReLU networks, got {target.architecture.id}")
        for name, value in target.weights.items():
            numbers = value.double().numpy()
            units = np.ldexp(numbers, self.bits)
            bad = np.argwhere((units != np.rint(units)) | (np.abs(units) > LARGEST))
            if bad.size:
                place = tuple(bad[0].tolist())
                raise HypothesisError(
                    f"{name}{list(place)} of the target is {float(numbers[place])!r}, no multiple of 2^-{self.bits} "
                    f"up to 2^20 of them: use models.quantized.quantise(target, {max(1, self.bits)})"
                )

    def _items(self, wanted: NDArray[np.int64], problems: int) -> int:
        if not isinstance(self.items, str):
            return int(self.items)
        return max(1, bounds.items_exact(int(np.abs(wanted).max(initial=0)), problems, self.delta / 2))


def _keep_signs(
    v: NDArray[np.int32],  # [rows, width]
    pool: Pool,
    wanted: NDArray[np.int64],  # [rows, columns]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Keep for each weight its first |k| candidates of its sign, or all there are; and say what is missing."""
    columns, items = pool.u.shape
    products = v[:, pool.neurons.reshape(-1)].reshape(len(v), columns, items) * pool.u
    sign = np.sign(wanted)[:, :, None]
    equal = (products == sign) & (sign != 0)
    chosen = equal & (equal.cumsum(axis=2) <= np.abs(wanted)[:, :, None])
    kept = np.zeros(v.shape, dtype=bool)
    alive = (pool.u != 0).reshape(-1)
    kept[:, pool.neurons.reshape(-1)[alive]] = chosen.reshape(len(v), -1)[:, alive]
    return kept, wanted - sign[:, :, 0] * chosen.sum(axis=2)


def construct(target: Target | nn.Module, **options: object) -> Construction:
    """Turn a quantised ReLU network into a binary ticket: `Diffenderfer2021Multiprize(**options).construct`.

    Args:
        target: the network, its numbers multiples of 2^-b; a module is read by `Target.from_module`.
        options: parameters of `Diffenderfer2021Multiprize`.

    >>> import torch
    >>> target = Target.from_state({"0.weight": torch.tensor([[0.75, -0.5], [0.25, 0.0]])})
    >>> ticket = construct(target, bits=2).ticket
    >>> {abs(x) for w in ticket.source.weights().values() for x in w.reshape(-1).tolist()} == {1.0, 0.25}
    True
    >>> ticket.module()(torch.tensor([[0.5, 1.0]]))
    tensor([[-0.1250,  0.1250]])
    """
    method = Diffenderfer2021Multiprize(**options)  # type: ignore[arg-type]
    return method.construct(Target.from_module(target) if isinstance(target, nn.Module) else target)
