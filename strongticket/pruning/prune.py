"""The front door of pruning: a network, data, a method and a density go in, the pruned network comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, TypeVar

from torch import Tensor, nn

from strongticket.data._dataset import Split
from strongticket.mask import Mask
from strongticket.pruning._given import Data
from strongticket.pruning.abstract import AbstractPruner, AbstractScore, Pruned
from strongticket.pruning.gradient import mean_loss
from strongticket.pruning.problem import Loss, Problem
from strongticket.pruning.retrain import Retraining
from strongticket.pruning.rounds import Rounds
from strongticket.pruning.saliency import ScorePruner, scores_of
from strongticket.pruning.schedules import AbstractSchedule
from strongticket.pruning.structures import AbstractStructure, NofM, Unstructured
from strongticket.selection import Allocation

__all__ = ["METHODS", "Method", "measured_increase", "prune", "prune_path", "pruner_of", "register_method", "score"]

Method = str | AbstractPruner | AbstractScore
"""How to prune: the name of one of `METHODS`, with its own defaults, or a pruner or score with settings of yours."""


class _Methods(Mapping[str, Callable[[], AbstractPruner | AbstractScore]]):
    """Methods by their key, imported when they are asked for."""

    def __init__(self, places: Mapping[str, tuple[str, str]]) -> None:
        self._places = MappingProxyType(dict(places))
        self._registered: dict[str, Callable[[], AbstractPruner | AbstractScore]] = {}

    def __getitem__(self, key: str) -> Callable[[], AbstractPruner | AbstractScore]:
        if key in self._registered:
            return self._registered[key]
        module, name = self._places[key]
        made: Callable[[], AbstractPruner | AbstractScore] = getattr(
            import_module(f"strongticket.pruning.{module}"), name
        )
        return made

    def __iter__(self) -> Iterator[str]:
        return iter([*self._places, *self._registered])

    def __len__(self) -> int:
        return len(self._places) + len(self._registered)

    def register(self, key: str, kind: Callable[[], AbstractPruner | AbstractScore], replace: bool) -> None:
        if key in self._places:
            raise ValueError(f"there is another method {key!r}: choose another key")
        if not replace and self._registered.get(key, kind) is not kind:
            raise ValueError(f"there is another method {key!r}: choose another key, or give replace=True")
        self._registered[key] = kind


_KNOWN: Final = _Methods(
    {
        "random": ("random_scores", "Random"),
        "magnitude": ("magnitude", "Magnitude"),
        "gradient-magnitude": ("gradient", "GradientMagnitude"),
        "taylor": ("gradient", "Taylor"),
        "snip": ("snip", "SNIP"),
        "grasp": ("grasp", "GraSP"),
        "grasp-abs": ("grasp", "GraSPAbs"),
        "synflow": ("synflow", "SynFlow"),
        "movement": ("movement", "Movement"),
        "obd": ("obd", "OBD"),
        "obs": ("obs", "OBS"),
        "layer-obs": ("layer_obs", "LayerObs"),
        "exact-obs": ("exact_obs", "ExactOBS"),
        "sparsegpt": ("sparsegpt", "SparseGPT"),
        "woodfisher": ("woodfisher", "WoodFisher"),
        "network-obs": ("network_obs", "NetworkObs"),
    }
)
METHODS: Final[Mapping[str, Callable[[], AbstractPruner | AbstractScore]]] = _KNOWN
"""Every method by its key: `METHODS["obd"]()` makes it with its defaults."""

Kind = TypeVar("Kind", bound=type[AbstractPruner] | type[AbstractScore])


def register_method(kind: Kind, *, replace: bool = False) -> Kind:
    """Let a score or pruner of yours be named by its key, for this process: in `prune`, `score` and `METHODS`.

    Args:
        kind: the class, with a `key`, that can be made without arguments.
        replace: take the key from what was registered under it before; never from a method of this package.

    Returns:
        The class, so that this is a decorator too.

    Raises:
        TypeError: no class of scores or pruners, or one that needs arguments.
        ValueError: a key that is taken, or no text.

    >>> from dataclasses import dataclass
    >>> @register_method
    ... @dataclass(frozen=True)
    ... class Least(AbstractScore):
    ...     key = "least-magnitude"
    ...     def score(self, problem):
    ...         return {name: -w.abs() for name, w in problem.weights.items()}
    >>> prune(nn.Linear(4, 4), None, "least-magnitude", 0.5).method
    'least-magnitude'
    """
    if not isinstance(kind, type) or not issubclass(kind, AbstractPruner | AbstractScore):
        raise TypeError(f"expected a class under AbstractScore or AbstractPruner, got {kind!r}")
    key = getattr(kind, "key", None)
    if not isinstance(key, str) or not key:
        raise ValueError(f"{kind.__name__} needs a key, the text that names it, got {key!r}")
    kind()  # refuses abstract classes and those that need arguments
    _KNOWN.register(key, kind, replace)
    return kind


def prune(
    module: nn.Module,
    data: Data,
    method: Method,
    density: float,
    *,
    allocation: Allocation | None = None,
    structure: AbstractStructure | None = None,
    schedule: AbstractSchedule | None = None,
    retraining: Retraining | None = None,
    loss: Loss = "cross-entropy",
    names: Sequence[str] | None = None,
    seed: int = 0,
    start: Mask | None = None,
) -> Pruned:
    """Prune a trained network to a density; the network itself stays as it is.

    Args:
        module: the trained network, on any device.
        data: (inputs, labels) on the same device, or a `Split`: training data, never test data; (inputs, None) for
            methods that need no labels (the layer-wise ones), None for those that need neither.
        method: the key of one of `METHODS`, or a score or pruner.
        density: fraction kept of all weights of the parameters named, in [0, 1]; of all groups for group structures.
        allocation: how layers share the density; None: the method's own, for scores "global".
        structure: what goes together; None: single weights, or the method's own.
        schedule: by which densities; None: at once. Saliencies are computed anew at each.
        retraining: how to train between the rounds of a schedule; None: not at all.
        loss: "cross-entropy", "squared-error", or a function of (outputs, labels) that returns the mean.
        names: parameters that may lose weights; None: all matrices and kernels. Biases have none.
        seed: of whatever is drawn.
        start: what an earlier pruning left; None: the weights that are not 0.

    Returns:
        Mask, weights, and what the method predicts.

    Raises:
        ValueError: a density outside [0, 1], an unknown method, settings that the method does not have, weights,
            inputs or a loss that are NaN or infinite.

    >>> import torch
    >>> x, y = torch.eye(8), torch.arange(8) % 2
    >>> net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> prune(net, (x, y), "taylor", 0.1).mask
    Mask(16 of 160 kept, density 0.1, 2 parameters)
    >>> prune(net, None, "magnitude", 0.1, allocation="layer").mask.counts
    {'0.weight': 13, '2.weight': 3}
    """
    pruner = pruner_of(method, allocation=allocation, structure=structure, schedule=schedule, retraining=retraining)
    return pruner.prune(Problem.of(module, data, names=names, loss=loss, seed=seed, start=start), density)


def prune_path(
    module: nn.Module,
    data: Data,
    method: Method,
    densities: Sequence[float],
    *,
    allocation: Allocation | None = None,
    structure: AbstractStructure | None = None,
    schedule: AbstractSchedule | None = None,
    retraining: Retraining | None = None,
    loss: Loss = "cross-entropy",
    names: Sequence[str] | None = None,
    seed: int = 0,
    start: Mask | None = None,
) -> tuple[Pruned, ...]:
    """Prune a trained network to several densities, computing once what they share; see `prune`.

    >>> net = nn.Linear(4, 4)
    >>> [pruned.mask.count for pruned in prune_path(net, None, "magnitude", (0.5, 0.25))]
    [8, 4]
    """
    pruner = pruner_of(method, allocation=allocation, structure=structure, schedule=schedule, retraining=retraining)
    return pruner.path(Problem.of(module, data, names=names, loss=loss, seed=seed, start=start), densities)


def score(
    module: nn.Module,
    data: Data,
    method: str | AbstractScore,
    *,
    loss: Loss = "cross-entropy",
    names: Sequence[str] | None = None,
    seed: int = 0,
    start: Mask | None = None,
) -> dict[str, Tensor]:
    """Return the saliency of each weight: those with the least go first; arguments as for `prune`.

    Raises:
        ValueError: a method that has no saliencies of single weights.

    >>> sorted(score(nn.Linear(4, 4), None, "magnitude"))
    ['weight']
    """
    made = _method(method)
    if not isinstance(made, AbstractScore):
        raise ValueError(f"{made.key} chooses weights one after the other and has no saliency for each: use prune")
    return scores_of(made, Problem.of(module, data, names=names, loss=loss, seed=seed, start=start))


def measured_increase(
    pruned: Pruned, data: tuple[Tensor, Tensor] | Split, *, updated: bool = True, loss: Loss = "cross-entropy"
) -> float:
    """Return by how much the mean loss has grown from the network that was pruned: what predictions are held against.

    Args:
        pruned: what pruning left.
        data: (inputs, labels).
        updated: see `Pruned.module`.
        loss: see `prune`.

    Raises:
        ValueError: the loss is NaN or infinite.
    """
    names = tuple(pruned.mask)
    after = Problem.of(pruned.module(updated=updated), data, names=names, loss=loss)
    return mean_loss(after) - mean_loss(Problem.of(pruned.original, data, names=names, loss=loss))


def pruner_of(
    method: Method,
    *,
    allocation: Allocation | None = None,
    structure: AbstractStructure | None = None,
    schedule: AbstractSchedule | None = None,
    retraining: Retraining | None = None,
) -> AbstractPruner:
    """Return the pruner that the arguments of `prune` describe.

    Raises:
        ValueError: an unknown method, or settings that it does not have.

    >>> pruner_of("magnitude", allocation="layer")
    ScorePruner(score=Magnitude(), allocation='layer', structure=Unstructured())
    """
    made = _method(method)
    changes: dict[str, Any] = {"allocation": allocation, "structure": structure}
    changes = {name: value for name, value in changes.items() if value is not None}
    if isinstance(made, AbstractScore):
        pruner: AbstractPruner = ScorePruner(made, **changes)
    else:
        pruner = _changed(made, changes)
    if schedule is None:
        if retraining is not None:
            raise ValueError("retraining happens between rounds: give a schedule, such as Iterative(5)")
        return pruner
    return Rounds(pruner, schedule, retraining)


def _changed(pruner: AbstractPruner, changes: dict[str, Any]) -> AbstractPruner:
    known = {field.name for field in fields(pruner)} if changes else set()  # type: ignore[arg-type]
    structure = changes.get("structure")
    if isinstance(structure, Unstructured):
        changes = {name: value for name, value in changes.items() if name != "structure"}
    elif isinstance(structure, NofM) and "n_of_m" in known:
        changes = {**changes, "n_of_m": (structure.n, structure.m)}
        del changes["structure"]
    for name in changes:
        if name not in known:
            raise ValueError(f"{pruner.key} has no {name} to set: it chooses by itself which weights go; leave it out")
    return replace(pruner, **changes) if changes else pruner  # type: ignore[type-var]


def _method(method: object) -> AbstractPruner | AbstractScore:
    if isinstance(method, AbstractPruner | AbstractScore):
        return method
    if not isinstance(method, str):
        told = f"the class {method.__name__}: write {method.__name__}()" if isinstance(method, type) else repr(method)
        raise TypeError(f"expected the name of a method, a score or a pruner, got {told}")
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: expected one of {', '.join(METHODS)}, or a score or pruner")
    return METHODS[method]()
