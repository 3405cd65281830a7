"""All mask searches side by side: what each finds in the same random networks, beside controls and trained weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, final

from experiments._percent import percent
from experiments._search import TITLES, AbstractSearch, Data, Plan, beside_controls, grouped, over, searched, trained

if TYPE_CHECKING:
    from strongticket.search import AbstractMethod

__all__ = ["ARMS", "Arm", "Method", "SearchMethods", "method_of"]

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
Init = Literal["signed-constant", "kaiming-normal"]


@dataclass(frozen=True)
class Arm:
    """How a method is run.

    Args:
        digits: learning rates that each run chooses from, on validation data.
        mnist: the same for MNIST and Fashion-MNIST, where a run is longer: mostly one.
        cifar10: the same for CIFAR-10.
        decays: whether scores have the weight decay of the recipe; False where the paper has none.
        init: law of the random weights.
    """

    digits: tuple[float, ...]
    mnist: tuple[float, ...]
    cifar10: tuple[float, ...]
    decays: bool = True
    init: Init = "signed-constant"

    def rates(self, data: Data) -> tuple[float, ...]:
        """Return the learning rates to choose from."""
        return {"digits": self.digits, "cifar10": self.cifar10}.get(data, self.mnist)


_STEPS: Final = (0.4, 1.6)
_SHORT: Final = (0.1, 0.4)
ARMS: Final[Mapping[Method, Arm | None]] = {
    "edge-popup": Arm(_STEPS, (1.6,), _SHORT),
    "edge-popup, global": Arm(_STEPS, (1.6,), _SHORT),
    "edge-popup, signed scores": Arm(_STEPS, (1.6,), _SHORT),
    "iterand": Arm(_STEPS, (1.6,), _SHORT),
    # normal weights, as published: with the signed constant it is edge-popup, to the last bit
    "biprop": Arm(_STEPS, (1.6,), _SHORT, init="kaiming-normal"),
    "multicoated": Arm(_STEPS, (1.6,), _SHORT),
    # below these rates its prunings hit weights that are in use; above, the penalty alone empties the network
    "gem-miner": Arm((0.8, 1.6), (3.2,), (3.2,), decays=False),
    "signed-supermask": Arm(_STEPS, (1.6,), _SHORT),
    # scores are logits, so rates are large; decay at such rates would hold every probability at one half
    "bernoulli": Arm((80.0, 320.0), (320.0,), (200.0, 800.0), decays=False),
    "bernoulli, rescaled": Arm((80.0, 320.0), (40.0, 80.0), (50.0, 200.0), decays=False),
    "trained": None,
}
"""What is compared; the rates of the trained twin are `DENSE_RATES`.

MNIST: of 0.1 to 3.2 (Bernoulli masks: 20 to 1280) in factors of two or four, those with the best validation accuracy,
seeds 100 and up, which are none of the study's. CIFAR-10: the published rate of edge-popup (0.1, for 100 epochs) and
four times that, which was better in 500 steps (seed 100, validation data); of 0.1, 0.8 and 3.2 for Gem-Miner and of 50,
200 and 800 for Bernoulli masks, the better ones in the same steps; with rescaling a quarter of that, as on MNIST.
"""


@final
@dataclass(frozen=True)
class SearchMethods(AbstractSearch):
    """Search with one method, its learning rate chosen on validation data; or train the same network.

    All methods search in the same weights, the signed constant that is not scaled (but biprop, see `ARMS`), though
    some were published with scaled ones: what scaling does is in the experiment `search_inits`.

    Args:
        data, model, recipe, epochs, seed: see `AbstractSearch`; methods share the recipe, but for the learning rate
            and, where a paper has none, the weight decay (see `Arm`).
        method: which search.
        density: fraction kept, in (0, 1], of methods that have one.
        lrs: learning rates to choose from.
        init: law of the random weights.
    """

    name: ClassVar[str] = "search_methods"
    version: ClassVar[int] = 1

    method: Method
    density: float
    lrs: tuple[float, ...]
    init: Init

    def run(self) -> dict[str, Any]:
        """Return the accuracies of the ticket and its controls, or of the trained network."""
        network, recipe, parts = self.network(), self.how(), self.parts()
        arm = ARMS[self.method]
        if arm is None:
            return trained(network, parts, recipe, self.seed)
        recipe = recipe.changed(method=method_of(self.method, self.density), init=self.init)
        if not arm.decays:
            recipe = recipe.changed(optimiser=replace(recipe.optimiser, weight_decay=0.0))
        return searched(network, parts, [recipe.changed(lr=lr) for lr in self.lrs], self.seed)

    @classmethod
    def settings(cls, data: Data, plan: Plan) -> Sequence[Mapping[str, Any]]:
        """Every method at density 0.3; on MNIST and Fashion-MNIST for 3 epochs, on CIFAR-10 for 5."""
        epochs = {"digits": plan.epochs, "cifar10": 5}.get(data, 3)
        found: list[Mapping[str, Any]] = []
        for method, arm in ARMS.items():
            own = {"lrs": (), "init": "signed-constant"} if arm is None else {"lrs": arm.rates(data), "init": arm.init}
            found.append({"epochs": epochs, "method": method, "density": 0.3, **own})
        return found

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per method: accuracies over the seeds, and what it has over its random mask and over edge-popup."""
        groups, rows = grouped(finished, "data", "method"), []
        for (data, method), results in groups.items():
            row: dict[str, Any] = {"data": TITLES[data], "method": method, "seeds": len(results)}
            row["density"] = sum(result["density"] for result in results) / len(results)
            row["lr"] = ", ".join(f"{result['lr']:g}" for result in results)
            row |= {"accuracy %": percent(results)} if method == "trained" else beside_controls(results, "accuracy")
            if method != "edge-popup":
                row["over edge-popup"] = over(results, groups[data, "edge-popup"])
            rows.append(row)
        return rows


def method_of(name: Method, density: float) -> AbstractMethod:
    """Return the method of an arm at a density; those that have none come as they are published.

    What the papers count in hundreds of epochs is brought down to the short runs of these studies: Gem-Miner prunes
    in 7 stages with a tenth of the published penalty, IteRand redraws every 50 steps.

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
        "gem-miner": GemMiner(density, stages=7, penalty=1e-5),
        "signed-supermask": SignedSupermask(),
        "bernoulli": Bernoulli(),
        "bernoulli, rescaled": Bernoulli(rescale=True),
    }
    if name not in found:
        raise ValueError(f"expected one of {', '.join(found)}, got {name!r}")
    return found[name]
