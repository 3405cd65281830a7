"""The command `bound`: bounds of papers, and the numbers of random items of a subset sum. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from strongticket import bounds
from strongticket.cli import _options as options
from strongticket.cli.output import emit

if TYPE_CHECKING:
    from strongticket.bounds.random_subset_sums import Method

__all__ = ["run"]

MOST_WEIGHTS = 10**15
_EVERYWHERE = ("key", "json")
_METHODS: tuple[Method, ...] = ("combined", "saddlepoint", "quenched", "annealed")


def run(command: options.Bound) -> int:
    """Carry out the command and return its exit status."""
    if command.key == "items":
        _refuse_others(command, *(field.name for field in fields(command) if field.name != "set"))
        return _items(command)
    if command.key == "list":
        _refuse_others(command)
        found = bounds.all()
        listed = {bound.key: {"quantity": bound.quantity, "relation": bound.relation.name} for bound in found}
        emit(command.json, listed, "bounds", [(bound.key, bound.quantity) for bound in found])
        return 0
    return _one(command)


def _refuse_others(command: options.Bound, *used: str) -> None:
    """Refuse options that would not be looked at."""
    for field in fields(command):
        if field.name not in (*_EVERYWHERE, *used) and getattr(command, field.name) != field.default:
            belongs = "a bound given by its key" if field.name == "set" else "'bound items'"
            raise ValueError(f"--{field.name} belongs to {belongs}; 'bound {command.key}' does not use it")


def _one(command: options.Bound) -> int:
    try:
        bound = bounds.get(command.key)
    except KeyError as error:
        raise ValueError(error.args[0]) from None
    _refuse_others(command, "set")
    values: dict[str, float] = {}
    for pair in command.set:
        name, _, number = pair.partition("=")
        if name in values:
            raise ValueError(f"--set gives {name} twice")
        try:
            values[name] = float(number)
        except ValueError:
            raise ValueError(f"--set takes name=number, got {pair!r}") from None
    rows: list[tuple[str, object]] = [
        ("quantity", bound.quantity),
        ("relation", bound.relation.value),
        ("reference", bound.reference),
        *(("hypothesis", hypothesis.name) for hypothesis in bound.hypotheses),
        ("formula", str(bound.expression)),
    ]
    value: dict[str, Any] = {
        "key": bound.key,
        "quantity": bound.quantity,
        "relation": bound.relation.name,
        "formula": str(bound.expression),
    }
    if values:
        value["value"] = bound(**values)
        rows.append(("value", f"{value['value']:.6g}"))
    else:
        rows.append(("value", "give its symbols: --set " + " ".join(f"{symbol}=..." for symbol in bound.symbols)))
    emit(command.json, value, bound.key, rows)
    return 0


def _check_items(command: options.Bound) -> None:
    if not 1 <= command.weights <= MOST_WEIGHTS:
        given = command.weights if abs(command.weights) < 10**20 else f"a number of {len(str(command.weights))} digits"
        raise ValueError(f"--weights must be at least 1 and at most {MOST_WEIGHTS:.0e}, got {given}")
    for name, number in (("--target", command.target), ("--scale", command.scale)):
        if not 0.0 < number < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {number}")
    if command.size is not None and command.size < 1:
        raise ValueError(f"--size must be at least 1, got {command.size}")
    if not 0.0 < command.delta < 1.0:
        raise ValueError(f"--delta must lie in (0, 1), got {command.delta}")
    if command.delta / command.weights <= 0.0:
        raise ValueError(f"--delta {command.delta} shared among {command.weights} targets is 0: too small for a double")


def _items(command: options.Bound) -> int:
    from strongticket.bounds import random_subset_sums as sums

    _check_items(command)
    eps, law, size, scale = command.eps, command.law, command.size, command.scale
    enough = command.delta / command.weights  # by the union bound
    needed = -math.expm1(math.log1p(-command.delta) / command.weights)  # of each of so many independent targets
    setting: dict[str, Any] = {"target": command.target, "averaged": command.averaged, "size": size}
    scaled = setting | {"scale": scale}
    floor = sums.floor_items(eps, needed, law, **scaled)
    # in item units, which is all that the table and the theorem know
    unit, reach = eps / scale, command.target / scale
    found = sums.measured_items(unit, enough, law, **setting | {"target": reach}) if unit < 1.0 else None
    value: dict[str, Any] = {
        "eps": eps,
        "delta": command.delta,
        "weights": command.weights,
        "delta_per_target": enough,
        "delta_necessary": needed,
        "law": law,
        **scaled,
        "counting_floor": sums.items_counted(eps, command.target),
        "floor": floor,
        "measured": {name: getattr(found, name, None) for name in ("items", "low", "high", "most", "trials", "note")},
    }
    notes: dict[str, str] = {}
    for method in _METHODS:
        if method != "quenched" or not size:
            known = _predicted(method, eps, enough, law, scaled)
            value[method] = None if isinstance(known, str) else known
            notes[method] = known if isinstance(known, str) else ""
    value["predicted"] = value.pop("combined")
    value["first_moment"] = None if size else math.ceil(sums.first_moment_items(eps, enough, law=law, scale=scale))
    proved = size is None and law != "hyperbolic" and unit < 1.0
    value["proved"] = sums.items_for_range(unit, enough, reach, law=law) if proved else None
    emit(command.json, value, _title(command), _rows(value, notes))
    return 0


def _predicted(method: Method, eps: float, delta: float, law: Any, setting: dict[str, Any]) -> int | str:
    """The number of items, or in words why there is none."""
    from strongticket.bounds import random_subset_sums as sums

    by_draws = method == "saddlepoint" or (method == "combined" and setting["size"] is not None)
    try:
        items = sums.items_predicted(eps, delta, law, method=method, **setting)
        if by_draws and items and not _tells(items, eps, law, setting):
            return f"too rare to be drawn; at least {sums.floor_items(eps, delta, law, **setting)}"
    except ValueError as error:
        return f"not available: {error}"
    return items


def _tells(items: int, eps: float, law: Any, setting: dict[str, Any]) -> bool:
    """Whether the draws of the saddlepoint prediction can tell on both sides of its answer."""
    from strongticket.bounds import random_subset_sums as sums

    fewest = setting["size"] or 0
    around = (max(items - 1, fewest), items)
    return all(sums.saddlepoint_failure(n, eps, law=law, **setting).tells for n in around)


def _title(command: options.Bound) -> str:
    targets = f"z ~ U(-{command.target:g}, {command.target:g})" if command.averaged else f"|z| = {command.target:g}"
    law = command.law if command.scale == 1.0 else f"{command.law} (times {command.scale:g})"
    subsets = "some subset" if command.size is None else f"some subset of exactly {command.size}"
    chance = f"failing with probability at most {command.delta:g}"
    if command.weights > 1:
        chance += f" for all {command.weights:,} targets together, each with items of its own"
    return (
        f"How many random {law} items must there be, so that {subsets} adds up to a target {targets} within "
        f"{command.eps:g}, {chance}?"
    )


_WORDS: tuple[tuple[str, str, Callable[[dict[str, Any]], str]], ...] = (
    (
        "predicted",
        "predicted",
        lambda value: (
            "(no proof: from the mean number of hits and from draws of the items)"
            if value["size"]
            else "(no proof: density of the sums, and reach of the items)"
        ),
    ),
    (
        "saddlepoint",
        "predicted, by a saddlepoint",
        lambda value: (
            "(no proof: from draws of the items)"
            if value["law"] != "hyperbolic"
            else "(no proof: from draws; its failures are up to 40 % too few for this law, so perhaps 1 more)"
        ),
    ),
    ("quenched", "predicted, density alone", lambda value: "(no proof: takes the reach for granted)"),
    ("annealed", "predicted, mean alone", lambda value: "(no proof: too few where failures are rare)"),
)


def _rows(value: dict[str, Any], notes: dict[str, str]) -> list[tuple[str, object]]:
    one = "for this target" if value["weights"] == 1 else "for each of these targets"
    rows: list[tuple[str, object]] = [
        (f"{one}:", ""),
        ("  measured", value["measured"]["note"] or "not measured: the tolerance is as large as an item"),
        ("  necessary", f"{value['floor']} (proved: fewer do not reach so far often enough)"),
    ]
    notes = {**notes, "predicted": notes["combined"]}
    for key, name, words in _WORDS:
        if key in value:
            rows.append((f"  {name}", notes[key] or f"{value[key]} {words(value)}"))
    if value["first_moment"] is not None:
        rows.append(("  rule of thumb", f"{value['first_moment']} (no proof: first moment, at the densest target)"))
    rows.append((f"for every |z| <= {value['target']:g} at once, with the same items:", ""))
    rows.append(("  necessary", f"{value['counting_floor']} (proved, by counting the sums)"))
    if value["proved"] is not None:
        enough = f"{value['proved']} (proved: our explicit constants)"
    elif value["size"] is not None:
        enough = "the theorem does not apply: it chooses the size"
    elif value["law"] == "hyperbolic":
        enough = "the theorem does not apply: no item is nearer to 0 than eps"
    else:
        enough = "the theorem does not apply: the tolerance is as large as an item"
    rows.append(("  enough", enough))
    return rows
