"""All mask searches side by side: what each finds in the same random networks, beside controls and trained weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, final

from experiments._experiment import AbstractExperiment
from experiments._search import DATA, PLANS, TITLES, Data, gain, parts_of, percent, searched, trained

if TYPE_CHECKING:
    from strongticket.search import AbstractMethod

__all__ = ["METHODS", "Method", "SearchMethods", "by_method", "method_of"]

Method = Literal[
    "edge-popup",
    "edge-popup, global",
    "edge-popup, signed scores",
    "iterand",
    "biprop",
    "multicoated",
    "gem-miner",
    "signed-supermask",
    "bernoulli",
    "bernoulli, rescaled",
    "trained",
]
_STEPS: Final = (0.4, 1.6)
_LOGITS: Final = (20.0, 80.0)
METHODS: Final[Mapping[Method, tuple[float, ...]]] = {
    "edge-popup": _STEPS,
    "edge-popup, global": _STEPS,
    "edge-popup, signed scores": _STEPS,
    "iterand": _STEPS,
    "biprop": _STEPS,
    "multicoated": _STEPS,
    "gem-miner": _STEPS,
    "signed-supermask": _STEPS,
    "bernoulli": _LOGITS,
    "bernoulli, rescaled": _LOGITS,
    "trained": (),
}
"""The arms, with the learning rates that each may choose from on validation data (of the trained twin: see there)."""
_PUBLISHED: Final[Mapping[Method, float]] = {
    "edge-popup": 0.1,
    "edge-popup, global": 0.1,
    "edge-popup, signed scores": 0.3,
    "iterand": 0.3,
    "biprop": 0.1,
    "multicoated": 0.1,
    "gem-miner": 0.1,
    "signed-supermask": 0.05,
    "bernoulli": 200.0,
    "bernoulli, rescaled": 200.0,
}


@final
@dataclass(frozen=True)
class SearchMethods(AbstractExperiment):
    """Search with one method, its learning rate chosen on validation data; or train the same network.

    All methods search in the same weights, the signed constant that is not scaled (but biprop, see `_init`), though
    some were published with scaled ones: what scaling does is in the experiment `search_inits`.

    Args:
        data: data set; all but the digits are read from STRONGTICKET_DATA.
        model: the network, by name.
        recipe: name of the recipe that all methods share, but for the method and the learning rate.
        epochs: passes over the data.
        method: which search.
        density: fraction kept, in (0, 1], of methods that have one.
        lrs: learning rates to choose from.
        init: law of the random weights.
        seed: of everything that is random.
    """

    name: ClassVar[str] = "search_methods"
    version: ClassVar[int] = 1

    data: Data
    model: str
    recipe: str
    epochs: int
    method: Method
    density: float
    lrs: tuple[float, ...]
    init: Literal["signed-constant", "kaiming-normal"]
    seed: int

    def run(self) -> dict[str, Any]:
        """Return the accuracies of the ticket and its controls, or of the trained network."""
        from strongticket.models import architecture
        from strongticket.search import search_recipe

        network, recipe = architecture(self.model), search_recipe(self.recipe).changed(epochs=self.epochs)
        parts = parts_of(self.data, self.seed)
        if self.method == "trained":
            return trained(network, parts, recipe, self.seed)
        recipe = recipe.changed(method=method_of(self.method, self.density), init=self.init)
        return searched(network, parts, [recipe.changed(lr=lr) for lr in self.lrs], self.seed)

    @classmethod
    def presets(cls) -> Mapping[str, Sequence[Self]]:
        """quick (the digits), mnist and fashion-mnist (3 epochs), cifar10 (5 epochs): 5 seeds each."""
        found: dict[str, Sequence[Self]] = {data: cls._of(data) for data in DATA}
        return {"quick": found["digits"], **found}

    @classmethod
    def _of(cls, data: Data) -> list[Self]:
        plan = PLANS[data]
        epochs = {"digits": plan.epochs, "cifar10": 5}.get(data, 3)
        return [
            cls(data, plan.model, plan.recipe, epochs, method, 0.3, _rates(data, method), _init(method), seed)
            for method in METHODS
            for seed in range(5)
        ]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per method: accuracies over the seeds, and what it has over its random mask and over edge-popup."""
        groups, rows = by_method(finished), []
        for (data, method), results in groups.items():
            ours = [result["accuracy"] for result in results]
            row: dict[str, Any] = {"data": TITLES[data], "method": method, "seeds": len(results)}
            row["density"] = sum(result["density"] for result in results) / len(results)
            row |= {"lr": ", ".join(f"{result['lr']:g}" for result in results), "accuracy %": percent(results)}
            if method != "trained":
                row |= {f"{kind} mask %": percent(results, f"{kind}_accuracy") for kind in ("random", "shuffled")}
                row["over random"] = str(gain(ours, [result["random_accuracy"] for result in results]))
            if method != "edge-popup":
                row["over edge-popup"] = str(gain(ours, [one["accuracy"] for one in groups[data, "edge-popup"]]))
            rows.append(row)
        return rows


def _rates(data: Data, method: Method) -> tuple[float, ...]:
    """The learning rates to choose from; one where a run is long.

    MNIST: the best of five on validation data (12,000 examples, 2 epochs, seed 100), the same 1.6 for all but Bernoulli
    masks. CIFAR-10: as published.
    """
    if data == "digits" or method == "trained":
        return METHODS[method]
    if data == "cifar10":
        return (_PUBLISHED[method],)
    return (80.0,) if method.startswith("bernoulli") else (1.6,)


def _init(method: Method) -> Literal["signed-constant", "kaiming-normal"]:
    """Normal weights for biprop, as published: with the signed constant it is edge-popup, to the last bit."""
    return "kaiming-normal" if method == "biprop" else "signed-constant"


def method_of(name: Method, density: float) -> AbstractMethod:
    """Return the method of an arm at a density; those that have none come as they are published.

    What the papers count in hundreds of epochs is brought down to the short runs of these studies: Gem-Miner prunes
    in 7 stages, IteRand redraws every 50 steps.

    Raises:
        ValueError: no search of that name.
    """
    from strongticket.search import Bernoulli, Biprop, EdgePopup, GemMiner, IteRand, Multicoated, SignedSupermask

    found: dict[str, AbstractMethod] = {
        "edge-popup": EdgePopup(density),
        "edge-popup, global": EdgePopup(density, allocation="global"),
        "edge-popup, signed scores": EdgePopup(density, score_transform="identity"),
        "iterand": IteRand(density, period=50),
        "biprop": Biprop(density),
        "multicoated": Multicoated(tuple(density * share for share in (1.0, 0.0788 / 0.3, 0.0315 / 0.3))),
        "gem-miner": GemMiner(density, stages=7),
        "signed-supermask": SignedSupermask(),
        "bernoulli": Bernoulli(),
        "bernoulli, rescaled": Bernoulli(rescale=True),
    }
    if name not in found:
        raise ValueError(f"expected one of {', '.join(found)}, got {name!r}")
    return found[name]


def by_method(
    finished: Sequence[tuple[SearchMethods, dict[str, Any]]],
) -> dict[tuple[Data, Method], list[dict[str, Any]]]:
    """Return the results of all seeds of each (data, method)."""
    groups: dict[tuple[Data, Method], list[dict[str, Any]]] = {}
    for run, result in finished:
        groups.setdefault((run.data, run.method), []).append(result)
    return groups
