"""Constructed, found, pruned and trained side by side: one target, one data set, at equal density and at equal bits.

For one trained network: tickets that proofs construct, tickets that searches find, what each pruning leaves of it, weak
tickets, controls, and its own weights in other codes; what each keeps, how accurate and how near to the target it is,
and what it costs to write down, beside the least that any code needs to approximate the target's weights that well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self, final

from experiments._experiment import AbstractExperiment
from experiments._grand import Goal, Row, goal_of, note_of
from experiments._grand_constructed import CONSTRUCTED, constructed
from experiments._grand_searched import DENSE, FOUND, ITERATIVE, OWN_DENSITY, PRUNED, dense, found, iterative, pruned
from experiments._percent import percent
from experiments._search import DATA, TITLES, Data

__all__ = ["FAMILIES", "METHODS", "PLANS", "GrandComparison", "Plan", "by_place", "over_limit"]

FAMILIES: Final = ("constructed", "found", "pruned", "iterative", "control", "dense")
"""In the order of tables."""
METHODS: Final[tuple[str, ...]] = (*CONSTRUCTED, *FOUND, *PRUNED, *ITERATIVE, *DENSE)


@dataclass(frozen=True)
class Plan:
    """What is compared on a data set.

    Attributes:
        model: the target, a ReLU network without biases.
        search_recipe: of the mask searches, by name.
        weak_recipe: of iterative pruning, by name.
        epochs: of a search; after pruning half of them.
        steps: of each training of iterative pruning.
        examples: that saliencies and curvature are measured on.
        densities: of masks on the target's own network.
        tolerances: per weight, of constructions.
        levels: of quantised weights.
        without: methods that are left out, being too slow for so large a network.
    """

    model: str
    search_recipe: str
    weak_recipe: str
    epochs: int
    steps: int
    examples: int
    densities: tuple[float, ...]
    tolerances: tuple[float, ...]
    levels: tuple[float, ...]
    without: frozenset[str] = frozenset()

    def how(self, method: str) -> tuple[tuple[float, ...], str, int, int]:
        """Return settings, recipe, length and examples of a method's runs."""
        if method in CONSTRUCTED:
            exact = CONSTRUCTED[method].options.get("objective") == "min_error"  # whatever the tolerance
            return (min(self.tolerances),) if exact else self.tolerances, "", 0, 0
        if method in FOUND:
            return () if method in OWN_DENSITY else self.densities, self.search_recipe, self.epochs, 0
        if method in PRUNED:
            return self.densities, "", max(1, self.epochs // 2), self.examples
        if method in ITERATIVE:
            return self.densities, self.weak_recipe, self.steps, 0
        settings = {"trained": (), "quantised": self.levels, "sparse": self.densities}[method]
        return settings, self.search_recipe if method == "trained" else "", 0, 0


_LEVELS: Final = (2.0, 4.0, 8.0, 16.0, 64.0, 256.0)
_SLOW: Final = frozenset({"network-obs", "pensia, own blocks", "gadhikar, half the edges"})
_LENET: Final = Plan(
    "lenet-300-100", "mnist", "lth-lenet", 3, 3_000, 2000, (0.5, 0.2, 0.05), (0.03, 0.01, 0.003), _LEVELS, _SLOW
)
PLANS: Final[Mapping[Data, Plan]] = MappingProxyType(
    {
        "digits": Plan(
            "mlp-64-256-10", "digits", "digits", 40, 600, 1000, (0.5, 0.2, 0.05), (0.03, 0.01, 0.003), _LEVELS
        ),
        "mnist": _LENET,
        "fashion-mnist": _LENET,
        "cifar10": Plan(
            "mlp-3072-256-10", "mnist", "lth-lenet", 10, 8_000, 2000, (0.5, 0.2, 0.05), (0.03, 0.01), _LEVELS, _SLOW
        ),
    }
)
QUICK: Final = Plan(
    "mlp-64-64-10", "digits", "digits", 12, 200, 500, (0.5, 0.2, 0.05), (0.01,), (2.0, 4.0, 16.0, 64.0),
    without=frozenset({"pensia, own blocks", "gadhikar, half the edges", "edge-popup, signed scores", "layer-obs"}),
)  # fmt: skip
"""The digits in about a minute: a smaller network, short searches."""


@final
@dataclass(frozen=True)
class GrandComparison(AbstractExperiment):
    """Make one method's subnetworks of a target, or codes of its weights, at several settings, and measure them.

    All methods of a seed share the target (trained by the recipe of `strongticket.training` for the data, its weights
    within [-1/2, 1/2]) and its data; it is trained once and kept as a stage (see the experiment `imp`). Searches and
    weak tickets see standardised pixels, as their recipes ask for: the numbers of that standardisation are not counted
    in bits. Learning rates and epochs are chosen on validation data, by the method that uses them.

    "Equal density" is a comparison of masks on the target's own architecture: those found, pruned and weak. A
    constructed ticket is a mask on a wider network and has a density there; what it keeps per weight of the target is
    beyond 1. A weak ticket is of the level of its pruning whose density is nearest, by ratio, to the one asked for
    (0.54 for 0.5 where a fifth goes each time): `setting` is what was asked, `density` what it has. "Equal bits": each
    row that is no control carries what codes for the target's own weights achieve with at most the bits of that row,
    but for networks trained after pruning while their weights are float32: these cost as much as before (or as a
    pruning of the same density), and stand with codes where they are rounded to 16 values. Test images judge both,
    and the best of four codes is named by them. Methods differ in how long they train: `length` says how long.

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        model: the target, a ReLU network without biases, by name.
        method: one of `METHODS`.
        settings: densities, or tolerances per weight of a construction, or numbers of levels of "quantised"; of no
            effect on "trained".
        recipe: of a search, of weak tickets, or (for "trained") of the random network, by name; "" for others.
        length: epochs of a search and of training after pruning, or steps of a weak ticket; 0 for others.
        examples: training examples that saliencies and curvature are measured on; 0 for others.
        seed: of everything that is random.
    """

    name: ClassVar[str] = "grand_comparison"
    version: ClassVar[int] = 1

    data: Data
    model: str
    method: str
    settings: tuple[float, ...]
    recipe: str
    length: int
    examples: int
    seed: int

    def run(self) -> dict[str, Any]:
        """Return the rows of one method.

        Raises:
            ValueError: an unknown method.
        """
        if self.method not in METHODS:
            raise ValueError(f"expected one of {', '.join(METHODS)}, got {self.method!r}")
        goal = goal_of(self.data, self.model, self.seed)
        rows = self._rows(goal)
        return {
            "note": note_of(goal, self.data),
            "model": goal.network.id,
            "weights": goal.size,
            "target": {**goal.measures(goal.outputs), "digest": goal.target.digest, "range": goal.range},
            "rows": [row.to_json(goal, rivals=_has_rivals(row)) for row in rows],
            "measured": {"seconds": [dict(row.seconds) for row in rows]},
        }

    def _rows(self, goal: Goal) -> list[Row]:
        own, seed = self.method, self.seed
        if own in CONSTRUCTED:
            return [row for eps in self.settings for row in constructed(goal, own, eps, seed)]
        if own in FOUND:
            how = (self.recipe, self.length, seed)
            densities = self.settings or (None,)
            return [row for density in densities for row in found(goal, self.data, own, density, *how)]
        if own in PRUNED:
            return pruned(goal, own, self.settings, self.examples, self.length, seed)
        if own in ITERATIVE:
            how = (self.recipe, self.length, seed)
            return [row for density in self.settings for row in iterative(goal, self.data, own, density, *how)]
        return dense(goal, own, self.settings, self.recipe, self.data, seed)

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick (the digits, a smaller network and fewer methods, 3 seeds), default (the digits), mnist, fashion-mnist.

        Five seeds but for quick. cifar10 is for hours, or a GPU; its images are decoded from JPEG copies.
        """
        small = cls._runs("digits", QUICK, range(3))
        whole = {data: cls._runs(data, plan, range(5)) for data, plan in PLANS.items()}
        return {"quick": small, "default": whole["digits"], **{name: whole[name] for name in whole if name != "digits"}}

    @classmethod
    def _runs(cls, data: Data, plan: Plan, seeds: Sequence[int]) -> list[Self]:
        # one seed after the other: a worker then has the target at hand
        return [
            cls(data, plan.model, method, *how, seed)
            for seed in seeds
            for method in METHODS
            if method not in plan.without
            for how in [plan.how(method)]
        ]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per method, setting and state over the seeds, by family; agreement and bits are means.

        "over the target": accuracy minus the target's, in pairs over the seeds, with Student's 95 % interval.
        "x limit": bits over the least that codes of weights with the target's own law need for this squared error, see
        `strongticket.storage.RateDistortion`; "x normal limit": over Shannon's for normal weights, which is larger.
        "codes with the same bits": the best accuracy of codes of the target's weights that are no longer, and which.
        """
        from strongticket.statistics import gain

        rows = []
        for (data, family, method, state, setting), group in by_place(finished).items():
            mean = {name: _mean([row[name] for row, _ in group]) for name in _MEANS}
            row: dict[str, Any] = {"data": TITLES[data], "family": family, "method": method, "state": state}
            row |= {"setting": setting, "seeds": len(group), "accuracy %": percent([one for one, _ in group])}
            row["over the target"] = str(gain([one["accuracy"] for one, _ in group], [goal for _, goal in group]))
            row["equal %"] = None if mean["agreement"] is None else f"{100 * mean['agreement']:.2f}"
            row["error / range"] = _shown(mean["relative_error"])
            row["proved / range"] = _shown(_mean([one["certified_over_range"] for one, _ in group]))
            row["kept per weight"] = _shown(mean["kept_per_weight"])
            row["density"] = _shown(mean["density"])
            row["bits per weight"] = _shown(_mean([one["bits"]["per_weight"] for one, _ in group]))
            row["x limit"] = _shown(_mean([over_limit(one) for one, _ in group]))
            row["x normal limit"] = _shown(_mean([over_limit(one, "gaussian") for one, _ in group]))
            row["codes with the same bits %"] = _best_rival([one for one, _ in group])
            rows.append(row)
        return rows


_MEANS: Final = ("agreement", "relative_error", "kept_per_weight", "density")


def by_place(
    finished: Sequence[tuple[GrandComparison, dict[str, Any]]],
) -> dict[tuple[Data, str, str, str, str], list[tuple[dict[str, Any], float]]]:
    """Return (row, accuracy of the target) of all seeds for each data, family, method, state and setting, sorted."""
    groups: dict[tuple[Data, str, str, str, str], list[tuple[dict[str, Any], float]]] = {}
    for run, result in finished:
        for row in result["rows"]:
            setting = ", ".join(f"{name} {value:g}" for name, value in row["setting"].items())
            key = (run.data, row["family"], row["method"], row["state"], setting)
            groups.setdefault(key, []).append((row, result["target"]["accuracy"]))
    return dict(sorted(groups.items(), key=lambda item: (DATA.index(item[0][0]), FAMILIES.index(item[0][1]))))


def over_limit(row: Mapping[str, Any], law: str = "empirical") -> float | None:
    """Return a row's bits over the limit for weights of the target's own law, or of normal ones; None without one."""
    limit = row["limit"] and row["limit"][law]
    return row["bits"]["per_weight"] / limit if limit else None


def _has_rivals(row: Row) -> bool:
    """Rows that codes of the same bits stand beside; a pruning's states before training cost the same as after it."""
    return row.family not in ("control", "dense") and row.state not in ("updated", "trained")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) and known else None


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _best_rival(rows: Sequence[Mapping[str, Any]]) -> str:
    names = set.intersection(*(set(row["equal_bits"]) for row in rows))
    means = {name: _mean([row["equal_bits"][name]["accuracy"] for row in rows]) or 0.0 for name in names}
    if not means:
        return ""
    best = max(sorted(means), key=lambda name: means[name])
    return f"{100 * means[best]:.2f} ({best})"
