"""Every score, pruner and mask search of the package passes its conformance check; each kind of defect is noticed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from strongticket.mask import Mask
from strongticket.pruning import (
    METHODS,
    AbstractPruner,
    AbstractScore,
    Magnitude,
    Problem,
    Pruned,
    ScorePruner,
    Taylor,
    register_method,
    score,
)
from strongticket.pruning import prune as prune_door
from strongticket.search import (
    AbstractMethod,
    Bernoulli,
    Biprop,
    CubicRamp,
    EdgePopup,
    Frozen,
    GemMiner,
    IteRand,
    Layer,
    Levels,
    Multicoated,
    ScoreInit,
    SignedSupermask,
    SignedTopK,
    Threshold,
)
from strongticket.search.methods import MethodState
from strongticket.testing import check_pruner, check_score, check_search_method

OWN = list(METHODS)  # before this file registers its own


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS, "_registered", dict(METHODS._registered))  # type: ignore[attr-defined]


@pytest.mark.parametrize("key", OWN)
def test_every_registered_method_conforms(key: str) -> None:
    made = METHODS[key]()
    if isinstance(made, AbstractScore):
        check_score(made)
    else:
        check_pruner(made)


SEARCHES: list[AbstractMethod] = [
    EdgePopup(0.3),
    EdgePopup(0.3, "global"),
    EdgePopup(0.3, "erdos-renyi"),
    EdgePopup(0.3, "supsup"),
    EdgePopup(0.3, levels=3),
    EdgePopup(0.3, annealing=CubicRamp(0.5, 5)),
    EdgePopup(0.3, annealing=Levels(3, dense_first=True)),
    EdgePopup(0.4, frozen=Frozen(0.2, 0.1)),
    EdgePopup(0.4, "global", frozen=Frozen(0.2, 0.1)),
    EdgePopup(0.3, score_transform="identity"),
    Biprop(0.3),
    IteRand(0.3, period=2, rate=0.5),
    SignedTopK(0.3),
    SignedTopK(0.3, "global"),
    Bernoulli(),
    Bernoulli(rescale=True),
    Threshold(),
    SignedSupermask(),
    GemMiner(0.2, stages=3),
    GemMiner(0.2, stages=3, unflag=True),
    Multicoated(),
    Multicoated((0.4, 0.2), allocation="global"),
]


@pytest.mark.parametrize("method", SEARCHES, ids=repr)
def test_every_mask_search_conforms(method: AbstractMethod) -> None:
    check_search_method(method)
    if isinstance(method, EdgePopup) and method.allocation == "layer":
        check_search_method(method, density=method.density, fused=True)


def test_no_mask_search_is_left_out() -> None:
    import strongticket.search as room

    kinds = {
        kind
        for name in room.__all__
        if isinstance(kind := getattr(room, name), type)
        and issubclass(kind, AbstractMethod)
        and not name.startswith("Abstract")
    }
    assert {type(method) for method in SEARCHES} == kinds


# -- scores and pruners with one defect each


@dataclass(frozen=True)
class Bad(AbstractScore):
    """Magnitude, but for a defect."""

    defect: str
    calls: list[int] = field(default_factory=list)
    key: ClassVar[str] = "bad"

    def score(self, problem: Problem) -> dict[str, Tensor]:
        found = {name: w.abs() for name, w in problem.weights.items()}
        first = problem.names[0]
        if self.defect == "shape":
            found[first] = found[first].flatten()
        if self.defect == "NaN":
            found[first] = found[first] * math.nan
        if self.defect == "names":
            del found[first]
        if self.defect == "order":
            found = dict(reversed(list(found.items())))
        if self.defect == "whole":
            found = {name: (100 * value).long() for name, value in found.items()}
        if self.defect == "gradients":
            found = {name: value * torch.ones((), requires_grad=True) for name, value in found.items()}
        if self.defect == "global":
            found = {name: torch.rand_like(value) for name, value in found.items()}
        if self.defect == "peek":
            torch.rand(1)
        if self.defect == "calls":
            self.calls.append(1)
            found[first] = found[first] + torch.arange(found[first].numel()).view_as(found[first]) * len(self.calls)
        if self.defect == "problem":
            problem.module.get_parameter(first).data.mul_(0.5)
        return found

    def score_and_increase(self, problem: Problem) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        found = self.score(problem)
        if self.defect == "other":
            found = {name: value + 1 for name, value in found.items()}
        return found, {name: v / 0 for name, v in found.items()} if self.defect == "increase" else None


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        ("shape", "one per weight"),
        ("NaN", "NaN or infinite saliencies"),
        ("names", "one per weight"),
        ("order", "saliencies come as"),
        ("whole", "floating-point"),
        ("gradients", "detach them"),
        ("global", "other saliencies the second time"),
        ("peek", "generator was drawn from"),
        ("calls", "other saliencies the second time"),
        ("problem", "network of the problem has changed"),
        ("other", "other saliencies"),
        ("increase", "increases are NaN or infinite"),
    ],
)
def test_a_defect_of_a_score_is_noticed(defect: str, said: str) -> None:
    with pytest.raises(AssertionError, match=f"bad on plain: .*{said}"):
        check_score(Bad(defect))
    check_score(Bad("none"))


@dataclass(frozen=True)
class BadPruner(AbstractPruner):
    """The pruner by magnitude, but for a defect."""

    defect: str
    key: ClassVar[str] = "bad pruner"

    def path(self, problem: Problem, densities: Sequence[float]) -> tuple[Pruned, ...]:
        if self.defect == "densities":
            densities = [min(1.0, max(0.0, d)) if d == d else 0.5 for d in densities]
        if self.defect == "start":
            problem = replace(problem, start=Mask({n: torch.ones_like(m) for n, m in problem.start.items()}))
        path = list(ScorePruner(Magnitude()).path(problem, densities))
        first = problem.names[0]
        for i, pruned in enumerate(path):
            weights, mask = dict(pruned.weights), dict(pruned.mask)
            if self.defect == "count" and 0 < pruned.mask.count < 10:
                mask[first] = mask[first].clone()
                mask[first].view(-1)[int((~mask[first]).view(-1).nonzero()[0])] = True
            if self.defect == "zeros":
                weights[first] = weights[first] + 1e-9 * ~mask[first]
            if self.defect == "moved":
                weights[first] = weights[first] * 2
            path[i] = replace(pruned, mask=Mask(mask), weights=weights)
        return tuple(path[:-1] if self.defect == "fewer" and len(path) > 1 else path)


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        ("count", "are kept, expected exactly"),
        ("zeros", "is not 0 outside"),
        ("moved", "survivors of 0.weight have moved"),
        ("fewer", "results for"),
        ("start", "weights that were gone|are kept, expected"),
        ("densities", "is not refused"),
    ],
)
def test_a_defect_of_a_pruner_is_noticed(defect: str, said: str) -> None:
    with pytest.raises(AssertionError, match=f"bad pruner on .*({said})"):
        check_pruner(BadPruner(defect))
    check_pruner(BadPruner("none"))


def test_names_and_scores_are_pruners_too() -> None:
    check_pruner("taylor")
    check_pruner(Taylor())
    with pytest.raises(ValueError, match="unknown method 'tailor'"):
        check_pruner("tailor")


# -- searches with one defect each


@dataclass(frozen=True, repr=False)
class BadSearch(AbstractMethod):
    """Keep the largest |S| of each layer, but for a defect."""

    density: float = 0.3
    defect: str = ""
    score_init: ScoreInit = "kaiming-uniform"
    calls: ClassVar[list[int]] = []
    key = "bad search"

    def masks(self, layers: Sequence[Layer], scores: Sequence[Tensor], state: MethodState) -> list[Tensor]:
        self.calls.append(1)
        made = []
        for score_of in scores:
            count = round(self.density * len(score_of))
            mask = torch.zeros(len(score_of), dtype=torch.bool)
            order = score_of.abs().argsort(descending=True, stable=True)
            if self.defect == "random":
                order = torch.randperm(len(score_of))
            if self.defect == "calls":
                order = order.roll(len(self.calls))
            if self.defect == "ends":
                count = max(1, count)
            if self.defect == "count":
                count += 1
            mask[order[:count]] = True
            if self.defect == "peek":
                torch.rand(1)
            if self.defect == "scores":
                score_of.mul_(0.5)
            made.append(mask[None] if self.defect == "shape" else mask * 0.5 if self.defect == "half" else mask)
        return made

    def slope(self, score: Tensor, weight: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
        if self.defect == "gradient":
            gradient.zero_()
        if self.defect == "slope":
            return (weight * gradient).sum()
        return score.sign() * weight * (gradient / 0 if self.defect == "infinite" else gradient)

    def weigh(self, weight: Tensor, mask: Tensor) -> Tensor:
        return weight * mask + 1e-3 if self.defect == "weigh" else weight * mask


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        ("random", "another mask is chosen"),
        ("calls", "another mask is chosen"),
        ("peek", "generator was drawn from"),
        ("count", "weights are kept at the end, expected"),
        ("ends", "at density 0 "),
        ("scores", "changed the scores"),
        ("shape", "masks have the shapes"),
        ("half", "whole numbers"),
        ("gradient", "slope or weigh changed"),
        ("slope", "slopes have the shape"),
        ("infinite", "NaN or infinite"),
        ("weigh", "something else than 0"),
    ],
)
def test_a_defect_of_a_search_is_noticed(defect: str, said: str) -> None:
    density = 40 / 132  # 23 of 77 and 17 of 55
    with pytest.raises(AssertionError, match=f"bad search: .*{said}"):
        check_search_method(BadSearch(density, defect), density=density)
    check_search_method(BadSearch(density), density=density)
    check_search_method(BadSearch(density))


# -- methods of one's own by name


def test_a_registered_method_is_found_by_its_key() -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(6, 4)

    @register_method
    @dataclass(frozen=True)
    class Columns(AbstractScore):
        key = "own-columns"

        def score(self, problem: Problem) -> dict[str, Tensor]:
            return {name: w.abs() / w.abs().sum(0).clamp_min(1e-30) for name, w in problem.weights.items()}

    assert register_method(Columns) is Columns  # again: nothing
    assert METHODS["own-columns"] is Columns
    assert "own-columns" in METHODS
    assert list(METHODS)[: len(OWN)] == OWN
    assert len(METHODS) == len(list(METHODS))
    assert prune_door(net, None, "own-columns", 0.25).mask == prune_door(net, None, Columns(), 0.25).mask
    assert torch.equal(score(net, None, "own-columns")["weight"], net.weight.abs() / net.weight.abs().sum(0))
    check_pruner("own-columns")


def test_keys_are_of_one_method() -> None:
    @dataclass(frozen=True)
    class One(AbstractScore):
        key = "own-one"

        def score(self, problem: Problem) -> dict[str, Tensor]:
            return {name: w.abs() for name, w in problem.weights.items()}

    class Two(One):
        pass

    class Taken(One):
        key = "magnitude"

    class Nameless(One):
        key = ""

    @dataclass(frozen=True)
    class Needing(One):
        key = "own-needing"
        power: Any = field(kw_only=True)

    register_method(One)
    with pytest.raises(ValueError, match=r"another method 'own-one': .*replace=True"):
        register_method(Two)
    register_method(Two, replace=True)
    assert METHODS["own-one"] is Two
    for replacing in (False, True):
        with pytest.raises(ValueError, match=r"another method 'magnitude': choose another key$"):
            register_method(Taken, replace=replacing)
    with pytest.raises(ValueError, match="Nameless needs a key"):
        register_method(Nameless)
    with pytest.raises(TypeError, match="power"):
        register_method(Needing)
    for strange in (Magnitude(), dict, "magnitude"):
        with pytest.raises(TypeError, match="class under AbstractScore or AbstractPruner"):
            register_method(strange)  # type: ignore[type-var]
