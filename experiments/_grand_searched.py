"""The grand comparison's found tickets, pruned networks, weak tickets, and the target's own weights in other codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from experiments._grand import Goal, Row, file_of, shape_of
from experiments._pruning import trained_again
from experiments._search import Data, parts_of, validation_accuracy, widened
from experiments._timing import timed
from experiments._weak import stages_folder, weak_data
from experiments.pruning_compare import pruner_named
from experiments.search_methods import ARMS, method_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from strongticket.data import Split
    from strongticket.pruning import AbstractPruner
    from strongticket.search import Found
    from strongticket.ticket import Ticket
    from strongticket.weak import Level, Trunk

__all__ = ["DENSE", "FOUND", "ITERATIVE", "PRUNED", "dense", "found", "iterative", "pruned"]

WIDER: Final = 4
OWN_DENSITY: Final = ("signed-supermask", "bernoulli", "bernoulli, rescaled")
"""Searches that come to a density of their own."""
VALUES: Final = 16
"""Values that the trained weights of a pruned layer are brought down to, for those who pay by the bit."""
FOUND: Final[tuple[str, ...]] = (*(name for name in ARMS if name != "trained"), "edge-popup, 4 times as wide")
"""Searches: those of `search_methods`, and edge-popup in a network with wider hidden layers, keeping as many."""
PRUNED: Final[tuple[str, ...]] = (
    "random",
    "magnitude, layer",
    "magnitude, global",
    "taylor",
    "obd",
    "obd, 16 rounds",
    "layer-obs",
    "sparsegpt",
    "woodfisher",
    "exact-obs",
    "exact-obs, global",
    "network-obs",
)
"""Prunings of the target; "random" is the control."""
Start = Literal["snip", "grasp-abs", "synflow"]
ITERATIVE: Final[Mapping[str, tuple[str, bool]]] = MappingProxyType(
    {
        "imp": ("ticket", False),
        "imp, one shot": ("one-shot", False),
        "imp, fresh weights": ("reinit", True),
        "imp, random mask": ("random-mask", True),
        "snip": ("snip", False),
        "grasp": ("grasp-abs", False),
        "synflow": ("synflow", False),
    }
)
"""{method: (arm, whether it is a control)}: weak tickets, all trained from the same random weights by one recipe."""
DENSE: Final = ("trained", "quantised", "sparse")


def found(goal: Goal, data: Data, method: str, density: float | None, recipe: str, epochs: int, seed: int) -> list[Row]:
    """Return the row of what a search found, with a random mask and its own mask shuffled.

    The learning rate and the epoch are chosen on validation data. No density is for methods that have none.
    """
    from strongticket.search import find, random_mask, search_recipe, shuffled_mask
    from strongticket.storage import ticket_bits
    from strongticket.training import logits

    wide = method not in ARMS
    base: Any = "edge-popup" if wide else method
    arm = ARMS[base]
    assert arm is not None
    network: Any = widened(goal.network, WIDER) if wide else goal.network
    asked = 1.0 if density is None else density
    share = asked * goal.size / network.size if wide else asked
    own = search_recipe(recipe).changed(
        epochs=epochs,
        init=arm.init,
        method=method_of(base, share),
    )
    if not arm.decays:
        own = own.changed(optimiser=replace(own.optimiser, weight_decay=0.0))
    parts = parts_of(data, seed)
    seconds: dict[str, float] = {}
    with timed(seconds, "making"):
        every = [
            find(network, *parts.train, own.changed(lr=lr), seed=seed, validation=parts.validation)
            for lr in arm.rates(data)
        ]
    best: Found = max(every, key=validation_accuracy)
    tickets = {
        "": best.ticket,
        ", random mask": random_mask(best.ticket.source, best.ticket, seed),
        ", shuffled": shuffled_mask(best.ticket, seed),
    }
    rows = []
    for ending, ticket in tickets.items():
        more: dict[str, Any] = {"lr": best.recipe.lr, "plain": ticket.plain}
        if not ending:
            more |= {
                "file": file_of(ticket),
                "strict": ticket.matches(best.module),
                "validation": validation_accuracy(best),
            }
        rows.append(
            Row(
                method + ending, "control" if ending else "found", "strict",
                {} if density is None else {"density": density}, shape_of(network),
                ticket.mask.count, goal.measures(logits(ticket.module(), parts.test[0])), ticket_bits(ticket),
                more=more, seconds={} if ending else seconds,
            )
        )  # fmt: skip
    return rows


def pruned(goal: Goal, method: str, densities: Sequence[float], examples: int, epochs: int, seed: int) -> list[Row]:
    """Return for each density the rows of one pruning: mask only, with the method's update, and trained again."""
    from strongticket.pruning import prune_path
    from strongticket.storage import float_bits

    (inputs, labels), held = _flat(goal.data.train), _flat(goal.data.validation)
    seen = (inputs[:examples], labels[:examples])
    seconds: dict[str, float] = {}
    with timed(seconds, "path to all densities"):
        path = prune_path(goal.target.module(), seen, _pruner(method), densities, seed=seed)
    family: Any = "control" if method == "random" else "pruned"
    rows = []
    for density, one in zip(densities, path, strict=True):
        states: dict[str, tuple[nn.Module, dict[str, Any]]] = {"mask only": (one.module(updated=False), {})}
        if one.updated:
            states["updated"] = (one.module(), {})
        spent = dict(seconds)
        with timed(spent, "training"):
            again = trained_again(one.module(), one.mask, (inputs, labels), held, epochs, seed)
        states["trained"] = (again.module, {"lr": again.recipe.lr})
        for state, (module, more) in states.items():
            weights = _weights(module)
            rows.append(
                Row(
                    method, family, state, {"density": density}, shape_of(goal.network), one.mask.count,
                    goal.measures(goal.outputs_of(module)),
                    float_bits(weights, one.mask, architecture=goal.network),
                    goal.mse_of(weights) if state != "trained" else None,
                    more=more, seconds=spent if state == "trained" else seconds,
                )
            )  # fmt: skip
        rows.append(_few_values(goal, rows[-1], _weights(again.module), goal.outputs_with))
    return rows


def iterative(goal: Goal, data: Data, method: str, density: float, recipe: str, steps: int, seed: int) -> list[Row]:
    """Return the rows of a weak ticket: of the level of iterative pruning whose density is nearest by ratio."""
    import strongticket.weak as weak
    from strongticket.storage import float_bits
    from strongticket.training import logits

    arm, control = ITERATIVE[method]
    trunk, parts = _trunk(goal.network.id, data, recipe, steps, seed), weak_data(data, seed)
    number = _level_of(trunk, density)
    level: Level
    if arm in ("ticket", "one-shot"):
        level = trunk.level(number, "one-shot" if arm == "one-shot" else "iterative")
    elif arm in weak.CONTROLS:
        level = trunk.branch(number, weak.CONTROLS[arm])
    else:
        level = weak.train_ticket(trunk, weak.at_start(trunk, number, arm, parts))  # type: ignore[arg-type]

    def outputs(weights: Mapping[str, Tensor]) -> Tensor:
        return logits(goal.network.module(dict(weights)), parts.test[0])

    row = Row(
        method, "control" if control else "iterative", "trained", {"density": density}, shape_of(goal.network),
        level.mask.count, goal.measures(outputs(level.final)),
        float_bits(level.final, level.mask, architecture=goal.network),
        more={"level": number, "early_stop": level.stop.step},
        seconds={"last training": level.record["measured"]["seconds"]},
    )  # fmt: skip
    return [row, _few_values(goal, row, level.final, outputs)]


def _few_values(
    goal: Goal, row: Row, weights: Mapping[str, Tensor], outputs: Callable[[Mapping[str, Tensor]], Tensor]
) -> Row:
    """The same network with the kept weights of each layer rounded to a few values."""
    from strongticket.storage import Bits, sparse_quantised

    kept = sum(int(value.count_nonzero()) for value in weights.values())
    made = sparse_quantised(weights, kept, VALUES)
    bits = Bits(recipe=row.bits.recipe, positions=made.bits.positions, values=made.bits.values)
    return replace(
        row, state=f"trained, {VALUES} values", kept=kept, measures=goal.measures(outputs(made.weights)), bits=bits
    )


def dense(goal: Goal, method: str, settings: Sequence[float], recipe: str, data: Data, seed: int) -> list[Row]:
    """Return the rows of the target's own weights, or of the random network's, in some code."""
    from strongticket.storage import (
        entropy_coded,
        float_bits,
        kmeans_quantised,
        sparse_float,
        sparse_quantised,
        uniform_quantised,
    )

    if method == "trained":
        whole = float_bits(goal.target.weights, architecture=goal.network)
        own = Row(
            "float32", "dense", "trained", {}, shape_of(goal.network), goal.size,
            goal.measures(goal.outputs), whole, seconds={"training": goal.seconds},
        )  # fmt: skip
        return [own, _random(goal, recipe, data, seed)]
    rows = []
    for setting in settings:
        if method == "quantised":
            levels = int(setting)
            step = 2.0 * goal.target.largest / levels
            made = {"quantised, uniform": uniform_quantised(goal.target, levels)}
            made["quantised, k-means"] = kmeans_quantised(goal.target, levels)
            made["quantised, entropy coded"] = entropy_coded(goal.target, step)
            rows += [_coded(goal, name, {"levels": levels}, one) for name, one in made.items()]
        else:
            kept = round(setting * goal.size)
            made = {
                "sparse": sparse_float(goal.target, kept),
                "sparse, 16 values": sparse_quantised(goal.target, kept, VALUES),
            }
            rows += [_coded(goal, name, {"density": setting}, one) for name, one in made.items()]
    return rows


def _coded(goal: Goal, name: str, setting: Mapping[str, float], made: Any) -> Row:
    kept = sum(int(value.count_nonzero()) for value in made.weights.values())
    return Row(
        name, "dense", "approximated", setting, shape_of(goal.network), kept,
        goal.measures(goal.outputs_with(made.weights)), made.bits, made.mse,
    )  # fmt: skip


def _random(goal: Goal, recipe: str, data: Data, seed: int) -> Row:
    """The random network that searches search in, whole: what a mask has to make something of."""
    from strongticket.mask import Mask
    from strongticket.search import search_recipe
    from strongticket.storage import ticket_bits
    from strongticket.ticket import Ticket as Pair
    from strongticket.training import logits

    source = search_recipe(recipe).source(goal.network, seed)
    ticket: Ticket = Pair(source, Mask.full(source.shapes))
    return Row(
        "random network", "control", "strict", {"density": 1.0}, shape_of(goal.network), goal.size,
        goal.measures(logits(ticket.module(), parts_of(data, seed).test[0])), ticket_bits(ticket),
    )  # fmt: skip


def _pruner(method: str) -> AbstractPruner:
    from strongticket.pruning import pruner_of

    return pruner_of(method) if method in ("taylor", "layer-obs", "sparsegpt") else pruner_named(method)  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def _trunk(model: str, data: Data, recipe: str, steps: int, seed: int) -> Trunk:
    import strongticket.weak as weak

    own = weak.STEP_RECIPES[recipe].changed(steps=steps, evaluate_every=max(1, steps // 30))
    return weak.Trunk(
        weak.Imp(model, own, "lth-lenet", 0, "large-final", seed=seed), weak_data(data, seed), stages_folder()
    )


def _level_of(trunk: Trunk, density: float) -> int:
    """The level whose share of kept weights is nearest to a density, by ratio."""
    from strongticket.weak import level_totals

    totals = level_totals(trunk.network.shapes, trunk.imp.rule, 40)
    return min(
        range(len(totals)), key=lambda n: max(totals[n] / totals[0], density) / min(totals[n] / totals[0], density)
    )


def _flat(part: Split) -> tuple[Tensor, Tensor]:
    return part.inputs.flatten(1), part.labels


def _weights(module: nn.Module) -> dict[str, Tensor]:
    from strongticket.models import Target

    return dict(Target.from_module(module).weights)
