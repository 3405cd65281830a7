"""Sweeps: many small networks searched in one program, as one network with an extra leading dimension.

One small network leaves most of a device idle: what its step costs is the starting of operations. Here the searches of
several seeds and densities share each operation; every search keeps its own weights, scores, order of the data and
mask, and does what `find` does alone. The results are the same up to rounding, because the product of a batch of
matrices may add in another order than single products do (and convolutions of many networks become one grouped
convolution): the masks agree at first, and where two scores are close one of them may differ later.

The gain is what the starting of operations costs. On one core of a CPU it is about twofold for 20 networks of 5,000
weights and little for networks of 20,000.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.search.find import Found, mask_details, resolve, source_of
from strongticket.search.fused import FusedTopK
from strongticket.search.layers import Layer, WeightInit, initial_scores, layers_of
from strongticket.search.methods import AbstractMethod, AbstractTopK, EdgePopup, MethodState
from strongticket.search.recipes import SearchRecipe
from strongticket.search.searcher import blank
from strongticket.ticket import AbstractArchitecture, Mask, Source, Ticket
from strongticket.training.augment import Augmenter
from strongticket.training.data import Examples, check_outputs, examples_of
from strongticket.training.dense import finished
from strongticket.training.loop import (
    Epoch,
    TrainingError,
    deterministic_noise,
    diverged,
    noise,
    order,
    reseed,
    thread_count,
)
from strongticket.training.precision import lower_precision

__all__ = ["find_many"]

_EVALUATION_BATCH = 2048


def find_many(
    architecture: AbstractArchitecture | str,
    inputs: Tensor,  # [n, ...] float
    labels: Tensor,  # [n] int64
    recipe: SearchRecipe | str,
    *,
    seeds: Sequence[int] = (0,),
    densities: Sequence[float] | None = None,
    method: AbstractMethod | None = None,
    init: WeightInit | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
    progress: Callable[[int, list[Epoch]], None] | None = None,
    threads: int | None = 1,
    device: str | torch.device = "cpu",
) -> list[Found]:
    """Search with several seeds and densities at once, by edge-popup with counts per layer.

    Args:
        architecture: the network, or its name; small, because all searches are in memory together.
        inputs: training inputs, as for `find`.
        labels: their classes, from 0.
        recipe: as for `find`; it holds nothing out by itself.
        seeds: one search each.
        densities: one search each, for every seed; None: the recipe's.
        method: see `find`; an `EdgePopup` whose allocation is not "global".
        init: see `find`.
        epochs: see `find`.
        batch_size: see `find`.
        lr: see `find`.
        validation: (inputs, labels) to choose each search's epoch by; None or empty: the last one.
        progress: called after each epoch with its number and the records of all searches.
        threads: see `find`.
        device: where to search.

    Returns:
        What was found: for the first seed at each density, for the second seed at each density, and so on.

    Raises:
        ValueError: a method that is not searched in batches (use `find`), or data that do not fit.
        TrainingError: the loss of a search became NaN or infinite.

    >>> x = torch.eye(4).repeat(8, 1)
    >>> found = find_many("mlp-4-32-2", x, x.argmax(1) % 2, "digits", seeds=[0, 1], densities=[0.25, 0.5], epochs=5)
    >>> [(one.seed, one.ticket.mask.density) for one in found]
    [(0, 0.25), (0, 0.5), (1, 0.25), (1, 0.5)]
    """
    base = resolve(recipe, method, None, init=init, epochs=epochs, batch_size=batch_size, lr=lr)
    _check(base, seeds, densities)
    with deterministic_noise(), thread_count(threads):
        examples = examples_of(inputs, labels, validation, base, 0).to(torch.device(device))
        runs = []
        for seed, density in itertools.product(seeds, (None,) if densities is None else densities):
            own = base if density is None else base.with_density(density)
            runs.append(_Run(source_of(architecture, own, random.check_seed(seed)), own, seed))
        return _Sweep(runs, examples, base).run(progress)


def _check(recipe: SearchRecipe, seeds: Sequence[int], densities: Sequence[float] | None) -> None:
    method = recipe.method
    if not isinstance(method, EdgePopup) or method.allocation == "global" or recipe.optimiser.name != "sgd":
        raise ValueError(
            f"searches in batches are those of edge-popup with counts per layer and SGD, got {method} with "
            f"{recipe.optimiser.name}: call find for each"
        )
    if recipe.autocast == "float16" or recipe.held_out:
        raise ValueError("searches in batches neither scale losses (float16) nor hold data out: pass validation data")
    if not seeds or (densities is not None and not densities):
        raise ValueError(f"expected at least one seed and one density, got {list(seeds)} and {densities}")


@dataclass(frozen=True)
class _Run:
    source: Source
    recipe: SearchRecipe
    seed: int


@dataclass(frozen=True)
class _EachOwn(AbstractTopK):
    """The counts of several methods, one behind the other, layer by layer."""

    methods: tuple[EdgePopup, ...] = ()
    key = "edge-popup"
    score_init = "kaiming-uniform"

    @property
    def absolute(self) -> bool:
        return self.methods[0].absolute

    def counts(self, layers: Sequence[Layer], progress: float) -> list[int]:
        """Return the count of each layer of each run, all runs of the first layer first."""
        runs = len(self.methods)
        each = [method.counts(layers[::runs], progress) for method in self.methods]
        return [count for layer in zip(*each, strict=True) for count in layer]

    def columns(self, layers: Sequence[Layer], progress: float, device: torch.device) -> list[Tensor]:
        """Return the counts of each layer as a column [runs, 1]."""
        each = [method.counts(layers, progress) for method in self.methods]
        return [torch.tensor(layer, device=device).view(-1, 1) for layer in zip(*each, strict=True)]

    def ranks(self, score: Tensor) -> Tensor:
        """Return what scores are compared by."""
        return score.abs() if self.absolute else score


class _Plain:
    """Scores [runs, size] per layer, moved and chosen from by operations that treat all runs at once."""

    def __init__(
        self,
        scores: list[Tensor],
        weights: list[Tensor],
        method: _EachOwn,
        layers: Sequence[Layer],
        recipe: SearchRecipe,
    ) -> None:
        self.scores, self._weights, self._method, self._layers = scores, weights, method, layers
        how = recipe.optimiser
        self._optimiser = torch.optim.SGD(
            scores, lr=recipe.lr, momentum=how.momentum, nesterov=how.nesterov, weight_decay=how.weight_decay
        )
        self._at = -1.0
        self._columns: list[Tensor] = []
        self.effective: list[Tensor] = []

    def step(self, gradients: Sequence[Tensor], lr: float, progress: float) -> None:
        for score, weight, gradient in zip(self.scores, self._weights, gradients, strict=True):
            score.grad = self._method.methods[0].slope(score, weight, gradient, weight)
        self._optimiser.param_groups[0]["lr"] = lr
        self._optimiser.step()
        self.choose(progress)

    def choose(self, progress: float) -> None:
        if progress != self._at:
            self._at = progress
            self._columns = self._method.columns(self._layers, progress, self.scores[0].device)
        self.effective = [
            weight * largest_rows(self._method.ranks(score), counts)
            for score, weight, counts in zip(self.scores, self._weights, self._columns, strict=True)
        ]


class _Fused:
    """The compiled update of single searches, told that all runs of all layers are layers of one network."""

    def __init__(
        self,
        scores: list[Tensor],
        weights: list[Tensor],
        method: _EachOwn,
        layers: Sequence[Layer],
        recipe: SearchRecipe,
    ) -> None:
        self._runs, self._state = len(method.methods), MethodState()
        how = recipe.optimiser
        self._update = FusedTopK(
            [layer for layer in layers for _ in range(self._runs)],
            [row for score in scores for row in score], [row for weight in weights for row in weight],
            method, self._state,
            momentum=how.momentum, nesterov=how.nesterov, weight_decay=how.weight_decay,
        )  # fmt: skip
        self.scores, self.effective = self._stacks(self._update.scores), self._stacks(self._update.effective)

    def _stacks(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """[runs, size] per layer: the rows lie one behind the other in the buffer."""
        firsts = parts[:: self._runs]
        return [first.as_strided((self._runs, len(first)), (len(first), 1)) for first in firsts]

    def step(self, gradients: Sequence[Tensor], lr: float, progress: float) -> None:
        self._state.progress = progress
        self._update.step([row for gradient in gradients for row in gradient], lr)

    def choose(self, progress: float) -> None:
        self._state.progress = progress
        self._update.choose()


def largest_rows(values: Tensor, counts: Tensor) -> Tensor:  # [rows, size], [rows, 1] -> [rows, size] bool
    """Mark the largest values of each row, its own number of them, by the rule of `strongticket.selection.largest`.

    >>> largest_rows(torch.tensor([[1.0, 2.0, 2.0], [3.0, 1.0, 2.0]]), torch.tensor([[1], [3]]))
    tensor([[False, False,  True],
            [ True,  True,  True]])
    """
    size = values.shape[1]
    threshold = values.sort(1).values.gather(1, (size - counts).clamp(0, size - 1))
    above, ties = values > threshold, values == threshold
    from_the_end = ties.flip(1).cumsum(1).flip(1)
    return (above | (ties & (from_the_end <= counts - above.sum(1, keepdim=True)))) & (counts > 0)


class _Sweep:
    """Networks that are searched together: parameters, buffers and scores with a leading dimension of runs."""

    def __init__(self, runs: list[_Run], examples: Examples, recipe: SearchRecipe) -> None:
        self.runs, self.examples, self.recipe = runs, examples, recipe
        self.device = examples.labels.device
        self.module = blank(runs[0].source)
        check_outputs(self.module, examples.inputs[:1].cpu(), examples.labels.cpu())
        self.module.to(self.device)
        self.layers = layers_of(runs[0].source.architecture)
        weights, scores = [], []
        for layer in self.layers:
            rows = [run.source.weight(layer.name).view(-1) for run in runs]
            weights.append(torch.stack(rows).to(self.device))
            rows = [initial_scores(layer, run.recipe.method.score_init, run.seed) for run in runs]
            scores.append(torch.stack(rows).to(self.device))
        self.method = _EachOwn(methods=tuple(run.recipe.method for run in runs))  # type: ignore[misc]
        compiled = self.device.type == "cpu" and find_spec("numba") is not None
        self.update = (_Fused if compiled else _Plain)(scores, weights, self.method, self.layers, recipe)
        self.update.choose(0.0)
        searched = {layer.name for layer in self.layers}
        state = self.module.state_dict()
        tied = set(runs[0].source.architecture.aliases)
        self.still = {
            name: torch.stack([value] * len(runs)) for name, value in state.items() if name not in searched | tied
        }
        self.moving = {
            layer.name: torch.zeros((len(runs), *layer.shape), device=self.device, requires_grad=True)
            for layer in self.layers
        }
        self._publish()
        self._progress = 0.0
        self._together = len({run.seed for run in runs}) == 1  # then all see the same batches
        self._masks = self._look()
        self.history: list[list[Epoch]] = [[] for _ in runs]
        self.best: list[dict[str, Tensor]] = [{} for _ in runs]
        self.best_epoch = [0] * len(runs)

    def _publish(self) -> None:
        with torch.no_grad():
            for layer, effective in zip(self.layers, self.update.effective, strict=True):
                self.moving[layer.name].copy_(effective.view(-1, *layer.shape))

    def _look(self) -> dict[str, Tensor]:
        """The masks of all runs, [runs, *shape] bool."""
        columns = self.method.columns(self.layers, self._progress, self.device)
        masks = {}
        for layer, score, counts in zip(self.layers, self.update.scores, columns, strict=True):
            masks[layer.name] = largest_rows(self.method.ranks(score), counts).view(-1, *layer.shape)
        return masks

    def _call(self, inputs: Tensor) -> Tensor:  # [runs or 1, batch, ...] -> [runs, batch, classes]
        def one(moving: Mapping[str, Tensor], still: Mapping[str, Tensor], x: Tensor) -> Tensor:
            outputs: Tensor = torch.func.functional_call(self.module, {**moving, **still}, (x,))
            return outputs

        # not shared by vmap, which would join the weights of all runs to one matrix
        repeated = inputs.expand(len(self.runs), *inputs.shape[1:])
        out: Tensor = torch.func.vmap(one, randomness="different")(self.moving, self.still, repeated)
        return out

    def run(self, progress: Callable[[int, list[Epoch]], None] | None) -> list[Found]:
        for number in range(1, self.recipe.epochs + 1):
            self._epoch(number)
            if progress is not None:
                progress(number, [records[-1] for records in self.history])
        return [self._found(r) for r in range(len(self.runs))]

    def _epoch(self, number: int) -> None:
        recipe, n = self.recipe, len(self.examples.labels)
        batches = math.ceil(n / recipe.batch_size)
        seeds = [run.seed for run in (self.runs[:1] if self._together else self.runs)]
        visits = torch.stack([torch.from_numpy(order(seed, number, n)) for seed in seeds]).to(self.device)
        augment = [Augmenter(recipe.augmentation, seed, number, n, self.device) for seed in seeds]
        draws = noise(seeds[0], number, 0, batches)
        loss = torch.zeros(len(self.runs), dtype=torch.float64, device=self.device)
        hits = torch.zeros(len(self.runs), dtype=torch.int64, device=self.device)
        self.module.train()
        for batch in range(batches):
            rows = visits[:, batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
            at = (number - 1) * batches + batch
            reseed(int(draws[batch]), self.device)
            images = self.examples.inputs[rows]
            if recipe.augmentation != "none":
                images = torch.stack([change(x, r) for change, x, r in zip(augment, images, rows, strict=True)])
            losses, right = self._step(images, self.examples.labels[rows], at, batches)
            loss += losses.double() * rows.shape[1]
            hits += right
        self._finish(number, (loss / n).tolist(), (hits.double() / n).tolist(), recipe.lr_at(at, batches))

    def _step(self, images: Tensor, labels: Tensor, at: int, batches: int) -> tuple[Tensor, Tensor]:
        runs = len(self.runs)
        target = labels.expand(runs, -1)
        with lower_precision(self.recipe.autocast, self.device):
            outputs = self._call(images)
            losses = nn.functional.cross_entropy(
                outputs.flatten(0, 1), target.flatten(), reduction="none", label_smoothing=self.recipe.label_smoothing
            )
        means = losses.view(runs, -1).mean(1)
        gradients = torch.autograd.grad(means.sum(), list(self.moving.values()))
        self._progress = (at + 1) / (self.recipe.epochs * batches)
        lr = self.recipe.lr_at(at, batches)
        flat = [gradient.float().reshape(runs, -1) for gradient in gradients]
        try:
            self.update.step(flat, lr, self._progress)
        except RuntimeError as error:  # the compiled update looks for NaN
            seeds = [run.seed for run, mean in zip(self.runs, means.tolist(), strict=True) if not math.isfinite(mean)]
            raise TrainingError(
                diverged(f"loss of seeds {seeds} was NaN or infinite", at // batches + 1, lr)
            ) from error
        self._publish()
        return means.detach(), (outputs.detach().argmax(2) == target).sum(1)

    def _finish(self, number: int, losses: list[float], accuracies: list[float], lr: float) -> None:
        for run, loss in zip(self.runs, losses, strict=True):
            if not math.isfinite(loss):
                raise TrainingError(diverged(f"loss of seed {run.seed} became {loss}", number, lr))
        valid = self._validate()
        before, self._masks = self._masks, self._look()
        pairs = zip(self.layers, self.update.scores, strict=True)
        scores = {layer.name: score.view(-1, *layer.shape) for layer, score in pairs}
        for r, run in enumerate(self.runs):
            each = [{name: value[r] for name, value in part.items()} for part in (scores, self._masks, before)]
            details = mask_details(run.recipe.method, *each)
            self.history[r].append(Epoch(number, lr, losses[r], accuracies[r], *valid[r], details))
            seen = [epoch.validation_accuracy for epoch in self.history[r]]
            choosing = self.recipe.keep_best and self.examples.validation is not None
            if not choosing or seen.index(max(seen)) == number - 1:  # type: ignore[type-var]
                self.best_epoch[r] = number
                if choosing or number == self.recipe.epochs:
                    state = {name: value[r].clone() for name, value in {**self.moving, **self.still}.items()}
                    self.best[r] = {name: value.detach() for name, value in state.items()}
                    self.best[r] |= {f"mask/{name}": value[r].clone() for name, value in self._masks.items()}

    def _validate(self) -> list[tuple[float | None, float | None]]:
        if self.examples.validation is None:
            return [(None, None)] * len(self.runs)
        inputs, labels = self.examples.validation
        self.module.eval()
        with torch.no_grad():
            outputs = torch.cat([self._call(x[None]) for x in torch.split(inputs, _EVALUATION_BATCH)], 1)
        hits = (outputs.argmax(2) == labels).sum(1).tolist()
        losses = [float(nn.functional.cross_entropy(out.double(), labels)) for out in outputs]
        return [(loss, hit / len(labels)) for loss, hit in zip(losses, hits, strict=True)]

    def _found(self, r: int) -> Found:
        run, best = self.runs[r], {name: value.cpu() for name, value in self.best[r].items()}
        source = run.source
        masks = {layer.name: best[f"mask/{layer.name}"] for layer in self.layers}
        kept = {name: masks.get(name, torch.zeros(shape, dtype=torch.bool)) for name, shape in source.shapes.items()}
        state = {name: best[name] for name in source.architecture.state}
        ticket = Ticket(source, Mask(kept), state)
        module = source.architecture.module({name: best[name] for name in (*source.shapes, *state)})
        return Found(
            ticket, finished(module), masks, tuple(self.history[r]), self.best_epoch[r], run.recipe, source, run.seed
        )
