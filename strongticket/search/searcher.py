"""The search itself, shaped like an optimiser: the network's own parameters hold the kept weights, scores move.

Nothing is wrapped and no forward pass is changed. A `Searcher` writes W * M(S) into the parameters of an ordinary
module; the user's own loop computes a loss and calls `backward`; the gradient of the parameters *is* dL/dWe, from which
`step` moves the scores, chooses the mask anew and writes the kept weights, in one pass where the method allows it. So
compiled, distributed, autocast or channels-last modules are searched like any other, and evaluation costs what a dense
network costs.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.reading import Kind, Reading
from strongticket.search.layers import Layer, layers_of
from strongticket.search.methods import (
    AbstractMethod,
    AbstractTopK,
    Bernoulli,
    GemMiner,
    IteRand,
    MethodState,
    Multicoated,
)
from strongticket.search.optimiser import ScoreOptimiser
from strongticket.search.redraws import redrawn
from strongticket.search.units import Unit, units_of
from strongticket.search.updates.choice import Update, update_of
from strongticket.search.updates.plain import PlainUpdate
from strongticket.search.updates.segmented import SegmentedTopK
from strongticket.ticket import Mask, Source, Ticket

__all__ = ["ScoreOptimiser", "Searcher"]


class Searcher:
    """Search for a subnetwork of a module whose random weights a `Source` names.

    Args:
        source: the random network; its architecture makes the module if none is given.
        method: how scores choose, see `strongticket.search.methods`.
        seed: of the scores and of what the method draws.
        module: a network of the source's architecture, on any device and in any memory format; its parameters are
            overwritten. None: a new one, on the CPU.
        optimiser: how scores move.
        names: parameters to search; all matrices and kernels if None, and with a method that searches biases all
            vectors. Random parameters that are not searched are dropped (set to 0) unless they are in `keep`.
        keep: random parameters that are kept whole.
        fused: use the compiled one-pass update where it applies (SGD, all methods but drawn and signed top-K masks);
            False forces plain torch operations, which compute the same.

    Raises:
        ValueError: a module that does not fit the source, or a density that what is frozen does not allow.

    >>> from strongticket.models import MLP
    >>> from strongticket.search import EdgePopup, random_source
    >>> searcher = Searcher(random_source(MLP((8, 16, 2)), seed=0), EdgePopup(density=0.25), seed=0)
    >>> x, y = torch.eye(8), torch.arange(8) % 2
    >>> for _ in range(3):
    ...     loss = nn.functional.cross_entropy(searcher.module(x), y)
    ...     searcher.zero_grad()
    ...     loss.backward()
    ...     searcher.step(lr=0.1)
    >>> searcher.kept
    {'layers.0.weight': 32, 'layers.1.weight': 8}
    >>> searcher.ticket().matches(searcher.module)
    True
    """

    def __init__(
        self,
        source: Source,
        method: AbstractMethod,
        *,
        seed: int = 0,
        module: nn.Module | None = None,
        optimiser: ScoreOptimiser | None = None,
        names: tuple[str, ...] | None = None,
        keep: tuple[str, ...] = (),
        fused: bool = True,
    ) -> None:
        self.source, self.method, self.seed = source, method, seed
        biases = isinstance(method, AbstractTopK) and method.biases
        self.layers = layers_of(source.architecture, names, biases=biases)
        self.kept_whole = tuple(keep)
        self.module = blank(source) if module is None else module
        self._parameters = _bind(self.module, source, self.layers, self.kept_whole)
        self._owners = {name: _owner(self.module, name) for name in self._parameters}
        device = self._parameters[self.layers[0].name].device
        self.weights = [source.weight(layer.name).view(-1).to(device) for layer in self.layers]
        self.state = MethodState(seed=seed)
        self._generations: list[Tensor] | None = None
        self._units = units_of(self.layers, method, seed, device)
        self._unit_weights = [unit.gather(self._of(unit, self.weights)) for unit in self._units]
        scores = [unit.scores(method, seed) for unit in self._units]
        self.optimiser = optimiser or ScoreOptimiser()
        self._update = _update(self, scores, self.optimiser, fused)
        self._choose()
        if isinstance(method, IteRand) and method.period == 1:
            self._redraw(method)
        if isinstance(method, AbstractTopK | Multicoated) and method.allocation != "global":  # others may still recover
            warn_of_empty_layers(method, self.kept, self.source)

    @property
    def scores(self) -> dict[str, Tensor]:
        """The scores of each layer, in its shape; changing them is up to you, `refresh` makes them count.

        Frozen weights have none: where some are frozen these are copies, with infinity for those that are kept and 0
        for those that are dropped.
        """
        return self._by_name(
            [unit.spread(s, math.inf) for unit, s in zip(self._units, self._update.scores, strict=True)]
        )

    def masks(self) -> dict[str, Tensor]:
        """What each weight is multiplied by now: bool for plain masks; made afresh from the scores by the method."""
        masks = zip(self._units, self._unit_masks(), strict=True)
        return self._by_name([unit.spread(mask) for unit, mask in masks])

    def _unit_masks(self) -> list[Tensor]:
        if isinstance(self._update, PlainUpdate):
            return self._update.masks
        return self.method.masks([unit.layer for unit in self._units], self._update.scores, self.state)

    def _by_name(self, parts: list[list[Tensor]]) -> dict[str, Tensor]:
        """The flat tensors of each unit's parts by their parameters, in the order and the shapes of those."""
        flat = {
            self.layers[i].name: part
            for unit, own in zip(self._units, parts, strict=True)
            for i, part in zip(unit.places, own, strict=True)
        }
        return {layer.name: flat[layer.name].view(layer.shape) for layer in self.layers}

    @staticmethod
    def _of(unit: Unit, values: list[Tensor]) -> list[Tensor]:
        return [values[i] for i in unit.places]

    @property
    def kept(self) -> dict[str, int]:
        """Number of weights that each searched layer keeps."""
        return {name: int(mask.count_nonzero()) for name, mask in self.masks().items()}

    def zero_grad(self) -> None:
        """Forget the gradients of the module's parameters."""
        self.module.zero_grad(set_to_none=True)

    @torch.no_grad()
    def step(self, lr: float, *, progress: float | None = None) -> None:
        """Move the scores along the gradients that `backward` left in the parameters, and choose anew.

        Args:
            lr: learning rate of the scores.
            progress: share of the search that is over after this step, in [0, 1]; only methods that change on the way
                (annealed densities, Gem-Miner) need it.

        Raises:
            RuntimeError: a searched parameter has no gradient or was replaced. With the compiled update of edge-popup
                and IteRand also: a score became NaN or infinite. Other updates do not wait to see that, `check` does.
                Either way the search can go on from a saved state alone.
            ValueError: no progress for a method that needs it.
        """
        if progress is None and self.method.moves:
            raise ValueError(f"{self.method.key} changes on the way: give step() the share of the search that is over")
        gradients = [self._gradient(layer) for layer in self.layers]
        before, self.state.progress = self.state.progress, self.state.progress if progress is None else progress
        self.state.step += 1
        self._update.step([unit.gather(self._of(unit, gradients)) for unit in self._units], lr)
        if isinstance(self.method, IteRand) and (self.state.step + 1) % self.method.period == 0:
            self._redraw(self.method)
        self._prune(before)
        self._publish()

    @torch.no_grad()
    def skip(self, *, progress: float) -> None:
        """Move no score, but be so far: for a step that is left out because its gradients overflowed.

        Args:
            progress: see `step`; where the last step is left out, the search is over nevertheless.
        """
        before, self.state.progress = self.state.progress, progress
        self._update.choose()
        self._prune(before)
        self._publish()

    def _prune(self, before: float) -> None:
        """Gem-Miner: make the prunings that fell due since some progress."""
        if isinstance(self.method, GemMiner):
            for _ in range(self.method.prunings(before, self.state.progress)):
                assert self.state.alive is not None
                self.state.alive = self.method.survivors(self._update.scores, self.state.alive)
                self._update.choose()

    def refresh(self) -> None:
        """Choose again, after the scores or the progress were changed from outside."""
        self._choose()

    def _gradient(self, layer: Layer) -> Tensor:
        gradient = self._bound(layer.name).grad
        if gradient is None:
            raise RuntimeError(f"{layer.name} has no gradient: call backward() on a loss of the module before step()")
        gradient = gradient.to_dense() if gradient.is_sparse else gradient
        return gradient.float().contiguous().view(-1)

    def _bound(self, name: str) -> nn.Parameter:
        """The parameter, after a look whether the module still holds it."""
        owner, leaf = self._owners[name]
        parameter = owner._parameters.get(leaf)
        if parameter is not self._parameters[name] or parameter.dtype != torch.float32:
            raise RuntimeError(f"{name} of the module was replaced or converted: make a new Searcher for the module")
        return parameter

    def check(self) -> None:
        """Look for what steps do not wait for: scores that became NaN or infinite, parameters that were replaced.

        Raises:
            RuntimeError: there is such a thing.
        """
        self._update.check()
        for layer in self.layers:
            self._bound(layer.name)

    def _choose(self) -> None:
        with torch.no_grad():
            self._update.choose()
            self._publish()

    def _publish(self) -> None:
        """Write the effective weights into the module."""
        masks: list[Tensor] = []
        places: list[Tensor] = []
        values: list[Tensor] = []
        if self.method.reading != "plain" and not all(unit.whole for unit in self._units):
            masks = self._unit_masks()
        for u, (unit, effective) in enumerate(zip(self._units, self._update.effective, strict=True)):
            parts = [effective]
            if not unit.whole:
                mask = masks[u] if masks else effective
                parts = unit.effective(self.method, effective, mask, self._of(unit, self.weights))
            for layer, part in zip(unit.parts, parts, strict=True):
                places.append(self._parameters[layer.name])
                values.append(part.view(layer.shape))
        torch._foreach_copy_(places, values)
        torch.clear_autocast_cache()  # which would go on handing out the weights of the step before

    def _redraw(self, method: IteRand) -> None:
        """Draw some of the dropped weights anew; what is kept does not change."""
        event = (self.state.step + 1) // method.period
        if self._generations is None:
            self._generations = [torch.zeros(layer.size, dtype=torch.int32) for layer in self.layers]
        masks = self.masks()
        for i, layer in enumerate(self.layers):
            mask = masks[layer.name].view(-1)
            if mask.is_cuda:
                anew, again = redrawn(self.source, self.seed, layer.name, event, method.rate, self.weights[i], ~mask)
                self.weights[i].copy_(anew)
                self._generations[i][again.cpu()] = event
                continue
            draw = random.words(self.seed, f"redraw/{event}/{layer.name}", 0, layer.size, purpose=random.TRIAL)
            again = torch.from_numpy(draw < int(method.rate * 2**32)).to(mask.device) & ~mask
            where = again.nonzero()[:, 0].cpu()
            self._generations[i][where] = event
            self.weights[i][where.to(mask.device)] = self.source.redrawn(layer.name, where, event).to(mask.device)
        self._renew_weights()

    def _renew_weights(self) -> None:
        """Tell the units of weights that changed; whole ones see it by themselves."""
        for unit, own in zip(self._units, self._unit_weights, strict=True):
            if not unit.whole:
                own.copy_(unit.gather(self._of(unit, self.weights)))

    def ticket(self, *, threshold: float | None = None, draw: int | None = None) -> Ticket:
        """Return what was found: the source, the mask and how kept weights are read, with what else the module learned.

        It is the network that the module holds, bit for bit, unless someone else wrote to it since the last step. Of
        Bernoulli masks that is the present sample; with a threshold it is the one network that the probabilities point
        to, and with a draw another sample, of which the module knows nothing (`module.load_state_dict(
        ticket.module().state_dict())` tells it).

        Args:
            threshold: in [0, 1), for Bernoulli masks alone: keep the weights whose probability is above it.
            draw: 0, 1, ..., for Bernoulli masks alone: the number of a sample that was not searched with. (The papers
                report the mean accuracy of ten.)

        Raises:
            ValueError: a threshold or a draw of another method, or out of range, or both.
            RuntimeError: see `check`.
        """
        self.check()
        if threshold is not None and draw is not None:
            raise ValueError("a ticket is chosen by a threshold or drawn, not both")
        masks = self.masks() if threshold is None else self._likely(threshold)
        masks = masks if draw is None else self._drawn(draw)
        masks = {name: mask.cpu() for name, mask in masks.items()}
        kept = {
            name: masks[name] != 0 if name in masks else torch.full(shape, name in self.kept_whole)
            for name, shape in self.source.shapes.items()
        }
        kinds: dict[str, Kind] = {layer.name: self.method.reading for layer in self.layers}
        counted = {name: mask for name, mask in masks.items() if mask.dtype != torch.bool}
        factors = {name: mask[kept[name]].to(torch.int8).numpy() for name, mask in counted.items()}
        redraws = {
            layer.name: event[kept[layer.name].view(-1)].numpy()
            for layer, event in zip(self.layers, self._generations or [], strict=False)
        }
        counts = {layer.name: int(kept[layer.name].sum()) for layer in self.layers}
        warn_of_empty_layers(self.method, counts, self.source)
        state = self.module.state_dict()
        dense = {name: state[name] for name in self.source.architecture.state}
        return Ticket(self.source, Mask(kept), dense, reading=Reading(kinds, factors, redraws))

    def _likely(self, threshold: float) -> dict[str, Tensor]:
        if not isinstance(self.method, Bernoulli):
            raise ValueError(f"{self.method.key} has no probabilities to compare with a threshold: leave it out")
        if not 0 <= threshold < 1:
            raise ValueError(f"expected a threshold in [0, 1), got {threshold}")
        return {name: torch.sigmoid(score) > threshold for name, score in self.scores.items()}

    def _drawn(self, number: int) -> dict[str, Tensor]:
        if not isinstance(self.method, Bernoulli):
            raise ValueError(f"the masks of {self.method.key} are not drawn: leave draw out")
        if number < 0:
            raise ValueError(f"draws are numbered from 0, got {number}")
        apart = replace(self.state, step=-1 - number)  # no step of a search has such a number
        return self._by_name([[mask] for mask in self.method.masks(self.layers, self._update.scores, apart)])

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed search needs besides the arguments of the searcher and the module's own state."""
        state = {
            "update": copy.deepcopy(self._update.state_dict()),  # an optimiser's is a view of what it goes on changing
            "progress": self.state.progress,
            "step": self.state.step,
            "alive": self.state.alive,
            "thresholds": self.state.thresholds,
            "generations": None if self._generations is None else [events.clone() for events in self._generations],
        }
        self.check()
        return {**self._identity(), **state}

    def _identity(self) -> dict[str, Any]:
        return {
            "method": repr(self.method),
            "source": self.source.digest,
            "seed": self.seed,
            "optimiser": repr(self.optimiser),
            "names": [layer.name for layer in self.layers],
            "keep": list(self.kept_whole),
            "kind": type(self._update).__name__,
        }

    def __deepcopy__(self, memo: Any) -> Searcher:
        """Refuse: a search and its module belong together."""
        raise TypeError("a Searcher is not copied: make another one and give it this one's state_dict()")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ValueError: the state is of another search.
        """
        other = {k: (v, state.get(k)) for k, v in self._identity().items() if state.get(k) != v}
        if other:
            told = "; ".join(f"{key} {mine!r} here, {saved!r} in the state" for key, (mine, saved) in other.items())
            raise ValueError(f"the state is of another search: {told}")
        with torch.no_grad():
            self.state.progress, self.state.step = state["progress"], state["step"]
            self.state.alive, self.state.thresholds = state["alive"], state["thresholds"]
            events = state["generations"]
            self._generations = None if events is None else [event.cpu().clone() for event in events]
            for i, layer in enumerate(self.layers):
                weight = self.source.weight(layer.name).view(-1)
                if self._generations is not None:
                    where = self._generations[i].nonzero()[:, 0]
                    weight[where] = self.source.redrawn(layer.name, where, self._generations[i][where])
                self.weights[i].copy_(weight)
            self._renew_weights()
            self._update.load_state_dict(copy.deepcopy(state["update"]))
        self._choose()


def warn_of_empty_layers(method: AbstractMethod, kept: Mapping[str, int], source: Source) -> None:
    """Warn of searched matrices and kernels of which nothing is kept, unless a density of 0 asks for that.

    Args:
        method: what was searched by.
        kept: number of kept weights per searched parameter.
        source: has the shapes.
    """
    empty = [name for name, count in kept.items() if count == 0 and len(source.shapes[name]) > 1]
    said, asked = method.key, False
    if isinstance(method, AbstractTopK | Multicoated):
        density = method.density if isinstance(method, AbstractTopK) else method.densities[0]
        said, asked = f"density {density} ({method.allocation})", density == 0
    if empty and not asked:
        warnings.warn(f"{said} keeps nothing of {empty}: all signals end", stacklevel=3)


def blank(source: Source) -> nn.Module:
    """Return a module of the source's architecture whose random parameters are 0."""
    architecture = source.architecture
    empty = {name: torch.zeros(shape) for name, shape in source.shapes.items()}
    return architecture.module({**empty, **architecture.initial_state()})


def _bind(
    module: nn.Module, source: Source, layers: tuple[Layer, ...], keep: tuple[str, ...]
) -> dict[str, nn.Parameter]:
    """The module's searched parameters by name, ready for gradients; the other random ones are kept whole or zeroed."""
    parameters = dict(module.named_parameters())
    _check_module(module, source)
    searched = {layer.name for layer in layers}
    if unknown := [name for name in keep if name not in source.shapes or name in searched]:
        raise ValueError(f"expected random parameters that are not searched in keep, got {unknown}")
    for name in source.shapes:
        parameters[name].requires_grad_(name in searched)
        if name not in searched:
            with torch.no_grad():
                parameters[name].copy_(source.weight(name) if name in keep else torch.zeros(()))
    return {name: parameters[name] for name in searched}


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The submodule that holds a parameter, and the parameter's name there."""
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


def _check_module(module: nn.Module, source: Source) -> None:
    """Refuse a module that is not of the source's architecture: other names, shapes, dtypes or ties."""
    architecture = source.architecture
    expected = {name: (tuple(shape), "float32") for name, shape in architecture.shapes.items()}
    expected |= {name: (tuple(shape), dtype) for name, (shape, dtype) in architecture.state.items()}
    aliases = dict(architecture.aliases)
    state = module.state_dict(keep_vars=True)
    found = {name: (tuple(v.shape), str(v.dtype).removeprefix("torch.")) for name, v in state.items()}
    for name in [*expected, *aliases, *found]:
        wanted = expected.get(aliases.get(name, name))
        if found.get(name) != wanted:
            raise ValueError(
                f"the module is not a {architecture.id}: {name!r} should be {wanted}, is {found.get(name)} (of a "
                "compiled or wrapped module give the inner one; for lower precision use torch.autocast)"
            )
    for alias, name in aliases.items():
        if state[alias] is not state[name]:
            raise ValueError(f"the module is not a {architecture.id}: {alias!r} should be tied to {name!r}")


def _update(searcher: Searcher, scores: list[Tensor], how: ScoreOptimiser, fused: bool) -> Update:
    layers, weights = [unit.layer for unit in searcher._units], searcher._unit_weights
    update = update_of(layers, scores, weights, searcher.method, searcher.state, how, fused)
    if isinstance(update, SegmentedTopK):  # its weights lie in one buffer: redraws have to reach them there
        for i, (unit, own) in enumerate(zip(searcher._units, update.weights, strict=True)):
            searcher._unit_weights[i] = own
            if unit.whole:
                searcher.weights[unit.places[0]] = own
    return update
