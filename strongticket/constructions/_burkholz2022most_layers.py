"""The layers of `burkholz2022most`: where everything is in the source, and how each layer is solved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from strongticket.constructions._construction import LayerReport, Plan, Progress
from strongticket.constructions._copies import Hidden, Intercept, cancel_intercepts, traits_of
from strongticket.constructions._gadget import (
    TOGETHER,
    Choice,
    HalfInputs,
    LayerPair,
    Pool,
    assign_column_aware,
    prune_in_blocks,
    prune_rows,
    rows_at_once,
    spare_neurons,
    stage,
)
from strongticket.constructions._grid import Grid
from strongticket.models import MLP, Layer, Target
from strongticket.ticket import Init, Mask, Source

__all__ = ["Layout", "Work"]

Integers = NDArray[np.int64]


@final
@dataclass(frozen=True, eq=False)
class Layout:
    """Where everything is in the source.

    Args:
        plan: with the source.
        halves: inputs of each layer of the target, those of the first cut into halves.
        scales: weights of layer i of the target are met by numbers uniform on +-2^scales[i].
        contraction: weights into the first layer are at most 2^-contraction.
        hidden: hidden layers of the source, but the first.
        intercept: what cancels the sigmoid at 0 in the first; None where it is 0.
    """

    plan: Plan
    halves: tuple[HalfInputs, ...]
    scales: tuple[int, ...]
    contraction: int
    hidden: tuple[Hidden, ...]
    intercept: Intercept | None

    @classmethod
    def of(
        cls,
        target: Target,
        seed: int,
        *,
        halves: tuple[HalfInputs, ...],
        scales: tuple[int, ...],
        contraction: int,
        tolerances: list[float],
        items: list[int],
    ) -> Layout:
        mlp, layers = target.architecture, target.layers
        traits = traits_of(mlp.activation)
        candidates = len(halves[0]) * items[0] + spare_neurons(items[0])
        intercept = None
        if traits.intercept:
            # entries of a row that are kept: at most half of them, of variance 1/3, and twice what the weights sum to
            total = 2.0 * float(np.abs(layers[0].weight.sum(axis=1)).max()) * 2.0 ** -scales[0]
            spread = 6.0 * math.sqrt(layers[0].weight.shape[1] * items[0] / 6.0)
            intercept = Intercept(candidates, 4 * math.ceil(total + spread) + 16, min(items[0] + 8, TOGETHER))
        hidden = tuple(
            Hidden.of(size, copies, bias=mlp.bias, activation=mlp.activation)
            for size, copies in zip(mlp.sizes[1:-1], items[1:], strict=True)
        )
        sizes = (mlp.sizes[0], candidates if intercept is None else intercept.stop, *(h.width for h in hidden))
        biased = mlp.bias and not traits.intercept
        source = MLP((*sizes, mlp.sizes[-1]), biased, mlp.activation)
        rows = [h.neurons * h.copies for h in hidden] + [mlp.sizes[-1]]
        columns = [len(each) for each in halves]
        columns[0] += intercept is not None
        plan = Plan(
            Source(source, seed, _init(source, scales, contraction, traits.slope)),
            tuple(tolerances),
            tuple(items),
            tuple(a * b for a, b in zip(rows, columns, strict=True)),
            (2 if halves[0].signed else 1, *(1 for _ in layers[1:])),
        )
        return cls(plan, halves, scales, contraction, hidden, intercept)


def _init(source: MLP, scales: Sequence[int], contraction: int, slope: float) -> Init:
    """Return the law of the source: all uniform, each layer with a power of two of its own."""
    powers = [-contraction, scales[0] + contraction - round(math.log2(slope)), *scales[1:]]
    own = [(MLP.weight_name(i), "uniform23", math.ldexp(1.0, power)) for i, power in enumerate(powers) if power]
    if source.bias and contraction:
        own.append((MLP.bias_name(0), "uniform23", math.ldexp(1.0, -contraction)))
    return Init("uniform23", overrides=tuple(own))


@final
class Work:
    """One construction under way: layers are solved from the last to the first.

    Args:
        layout: where everything is in the source.
        target: what is built.
        choice: the solver of a tolerance.
        progress: called with ("weights", problems done, problems in all).
    """

    def __init__(
        self, layout: Layout, target: Target, choice: Callable[[int], Choice], progress: Progress | None
    ) -> None:
        self.layout, self.target, self.choice, self.progress = layout, target, choice, progress
        # the integers of a source do not depend on its scales: all problems are in units of their layers
        self.source = Source(layout.plan.source.architecture, layout.plan.source.seed, Init("uniform23"))
        self.kept: dict[str, NDArray[np.bool_]] = {}
        self.pair: Mask | None = None
        self.used = np.ones(target.architecture.sizes[-1], dtype=bool)  # neurons of the layer at hand
        self.unreached: list[NDArray[np.void]] = []
        self.reports: list[LayerReport] = []
        self.done = 0

    def masks(self) -> list[Mask]:
        """Return the masks of all parameters."""
        assert self.pair is not None
        shapes = self.source.shapes
        rest = {name: np.zeros(shape, dtype=bool) for name, shape in shapes.items() if name not in self.pair}
        return [self.pair, Mask(rest | self.kept)]

    def plain_layer(self, index: int) -> None:
        """Solve a layer of plain weights between copies: layer index of the target, index + 1 of the source."""
        hidden, seconds = self.layout.hidden[index - 1], {"source": 0.0, "solve": 0.0, "mask": 0.0}
        grid = Grid(self.layout.scales[index] - 46)
        name, width = MLP.weight_name(index + 1), hidden.width
        rows = np.flatnonzero(self.used)
        pool, targets = self._pool(index), self._targets(index, grid, 1.0)[rows]
        tolerance, loss = grid.tolerance(self.layout.plan.weight_eps[index]), np.zeros(len(pool.u), dtype=np.int64)
        if self.target.architecture.activation == "tanh" and hidden.spare:
            loss[-1] = pool.u.shape[1] << 22  # constants are rounded to units of 2^-23, by half a unit
        kept = np.zeros(self.source.shapes[name], dtype=bool)
        errors = np.empty(targets.shape, dtype=np.int64)
        choose = self.choice(max(tolerance - int(loss[-1]), 0))
        step = rows_at_once(8 * len(pool.u) * min(pool.u.shape[1], TOGETHER))
        for start in range(0, len(rows), step):
            here = rows[start : start + step]
            with stage(seconds, "source"):
                drawn = self.source.integers(name, here[:, None] * width + np.arange(width))
            found = prune_rows(drawn, pool, targets[start : start + step], tolerance - int(loss[-1]), choose, seconds)
            kept[here], errors[start : start + step] = found
            self._tell(start + len(here), len(rows), index)
        self.kept[name] = kept
        used = np.asarray(kept.any(axis=0))
        constant = hidden.stands_for < 0
        if MLP.bias_name(index) in self.source.shapes:
            self.kept[MLP.bias_name(index)] = used & constant
        self.used = used & ~constant  # constants keep no weights
        self._report(index, grid, rows, np.abs(errors) + loss, tolerance, pool, int(kept.sum()), seconds)

    def first_pair(self) -> None:
        """Solve the first two layers of the source, which become the first of the target."""
        layout = self.layout
        traits, intercept = traits_of(self.target.architecture.activation), layout.intercept
        halves, grid = layout.halves[0], Grid(layout.scales[0] - 46)
        pair = LayerPair(self.source, 0, halves)
        clock = time.perf_counter()
        pool = assign_column_aware(pair, layout.plan.items[0])
        assigned = time.perf_counter() - clock
        fold = traits.fold if halves.signed else 1.0  # one half alone has nothing added by the other
        tolerance = grid.tolerance(layout.plan.weight_eps[0] / fold)
        targets = self._targets(0, grid, fold)
        rest = np.zeros(len(targets), dtype=np.int64)  # what is left of the intercepts
        choose = self.choice(tolerance)
        unit = Grid(layout.scales[0] + layout.contraction - round(math.log2(traits.slope)) - 24)  # halves of weights
        bias = self.target.layers[0].bias
        wanted = np.zeros(len(rest)) if bias is None else np.repeat(bias, len(rest) // len(bias))
        fine = unit.tolerance(layout.plan.weight_eps[0]) if intercept is not None else 0

        def solve(
            v: NDArray[np.int32], here: slice, seconds: dict[str, float]
        ) -> tuple[NDArray[np.bool_], Integers]:  # fmt: skip
            rows = np.flatnonzero(self.used[: len(targets)][here])
            kept, errors = np.zeros(v.shape, dtype=bool), np.zeros((len(v), len(halves)), dtype=np.int64)
            if rows.size:
                chosen, errors[rows] = prune_rows(v[rows], pool, targets[here][rows], tolerance, choose, seconds)
                if intercept is not None:
                    aim = np.rint(np.ldexp(wanted[here][rows], -unit.exponent)).astype(np.int64)
                    left = cancel_intercepts(v[rows], chosen, aim, intercept, self.choice(fine), seconds)
                    rest[np.arange(len(rest))[here][rows]] = left
                kept[rows] = chosen
            return kept, errors

        step = rows_at_once(8 * len(halves) * min(pool.u.shape[1], TOGETHER))
        pruned = prune_in_blocks(pair, pool, step, solve, lambda done: self._tell(done, targets.size, 0))
        self.pair = Mask.from_packed(
            {name: pruned.mask.shapes[name] for name in pruned.mask if name not in self.kept},
            {name: pruned.mask.packed(name) for name in pruned.mask if name not in self.kept},
        )
        rows = np.flatnonzero(self.used[: len(targets)])
        seconds = {"assign": assigned, **pruned.seconds}
        scaled = np.ceil(np.abs(pruned.errors[rows]) * fold).astype(np.int64)
        full = grid.tolerance(layout.plan.weight_eps[0])
        late = None if intercept is None else (unit, np.abs(rest[rows]), fine)
        self._report(0, grid, rows, scaled, full, pool, pruned.mask.count, seconds, late)

    def _pool(self, index: int) -> Pool:
        return self.layout.hidden[index - 1].pool(self.source, index)

    def _targets(self, index: int, grid: Grid, fold: float) -> Integers:  # [rows, columns]
        """Return the wanted weights of every copy, in units."""
        layer = self.target.layers[index]
        folded = Layer(layer.weight / fold, layer.bias)
        copies = self.layout.hidden[index].copies if index < len(self.layout.hidden) else 1
        return np.repeat(grid.wanted(self.layout.halves[index], folded), copies, axis=0)

    def _tell(self, part: int, whole: int, index: int) -> None:
        """Report progress: part of the whole of layer index, after all layers above it."""
        if self.progress is not None:
            problems = self.layout.plan.problems
            done = sum(problems[index + 1 :]) + problems[index] * min(part, whole) // max(1, whole)
            self.progress("weights", done, sum(problems))

    def _report(
        self,
        index: int,
        grid: Grid,
        rows: Integers,
        errors: Integers,  # magnitudes, [rows, columns]
        tolerance: int,
        pool: Pool,
        kept: int,
        seconds: dict[str, float],
        late: tuple[Grid, Integers, int] | None = None,
    ) -> None:
        """Take down how a layer went; `late` has the errors of biases that are met apart, on a grid of their own."""
        layer, plan = self.target.layers[index], self.layout.plan
        halves, copies = self.layout.halves[index], len(self._rows(index)) // layer.weight.shape[0]
        failed = grid.unreached(index, halves, _repeated(layer, rows // copies), errors, tolerance)
        failed["row"] = rows[failed["row"]] // copies
        worst, plain = float(grid.upward(errors.max(initial=0).reshape(1))[0]), grid.plain(errors)
        if late is not None:
            own, left, most = late
            worst = max(worst, float(own.upward(left.max(initial=0).reshape(1))[0]))
            missed = np.flatnonzero(left > most)
            more = np.zeros(len(missed), dtype=failed.dtype)
            more["layer"], more["row"], more["input"], more["sign"] = index, rows[missed] // copies, halves.dimension, 1
            more["target"] = 0.0 if layer.bias is None else layer.bias[more["row"]]
            more["error"] = own.upward(left[missed])
            failed, plain = np.concatenate([failed, more]), np.column_stack([plain, own.plain(left)])
        self.unreached.append(failed)
        alive = np.abs(pool.u[pool.u != 0])
        self.reports.append(
            LayerReport(
                layer=index,
                problems=plan.problems[index],
                items=plan.items[index],
                fewest_items=pool.fewest,
                weakest_item=math.ldexp(float(alive.min(initial=0 if not alive.size else alive[0])), -23),
                width=self.source.shapes[MLP.weight_name(index)][0],
                kept=kept,
                unreached=len(failed),
                largest_error=worst,
                rms_error=float(np.sqrt(np.mean(plain * plain))) if plain.size else 0.0,
                seconds=seconds,
            )
        )

    def _rows(self, index: int) -> range:
        """Rows of the source's matrix that stand for neurons of the target's layer."""
        hidden = self.layout.hidden
        if index == len(hidden):
            return range(self.target.architecture.sizes[-1])
        return range(hidden[index].neurons * hidden[index].copies)


def _repeated(layer: Layer, rows: Integers) -> Layer:
    """A layer whose rows are these rows of another."""
    return Layer(layer.weight[rows], None if layer.bias is None else layer.bias[rows])
