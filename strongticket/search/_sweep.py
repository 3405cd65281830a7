"""The searches of a sweep, step by step: networks, scores and statistics with a leading dimension of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from strongticket.search._rows import EachOwn, FusedRows, PlainRows, largest_rows
from strongticket.search.find import Found, check_last_batch, first_choice, mask_details
from strongticket.search.layers import initial_scores, layers_of
from strongticket.search.recipes import SearchRecipe
from strongticket.search.searcher import blank, warn_of_empty_layers
from strongticket.ticket import Mask, Source, Ticket
from strongticket.training.augment import Augmenter
from strongticket.training.checkpoint import Keeper
from strongticket.training.data import Examples, check_outputs
from strongticket.training.dense import finished
from strongticket.training.loop import Epoch, TrainingError, best_so_far, diverged, noise, order, reseed
from strongticket.training.precision import lower_precision

__all__ = ["Run", "Sweep"]

_EVALUATION_BATCH = 2048


@dataclass(frozen=True)
class Run:
    """One search of a sweep."""

    source: Source
    recipe: SearchRecipe
    seed: int


class Sweep:
    """Networks that are searched together: parameters, buffers and scores with a leading dimension of runs."""

    def __init__(self, runs: list[Run], examples: Examples, recipe: SearchRecipe, device: torch.device) -> None:
        self.runs, self.recipe, self.device = runs, recipe, device
        self.module = blank(runs[0].source)
        for part in [(examples.inputs, examples.labels), examples.validation]:
            if part is not None:
                check_outputs(self.module, part[0][:1].cpu(), part[1].cpu())
        check_last_batch(self.module, len(examples.labels), recipe.batch_size)
        self.examples = examples.to(device)
        self.module.to(device)
        self.layers = layers_of(runs[0].source.architecture)
        weights, scores = [], []
        for layer in self.layers:
            rows = [run.source.weight(layer.name).view(-1) for run in runs]
            weights.append(torch.stack(rows).to(self.device))
            rows = [initial_scores(layer, run.recipe.method.score_init, run.seed) for run in runs]
            scores.append(torch.stack(rows).to(self.device))
        self.method = EachOwn(methods=tuple(run.recipe.method for run in runs))  # type: ignore[misc]
        compiled = self.device.type == "cpu" and find_spec("numba") is not None
        self.update = (FusedRows if compiled else PlainRows)(scores, weights, self.method, self.layers, recipe)
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
        self._together = len({run.seed for run in runs}) == 1  # then all see the same batches, and the same noise
        self._masks = self._look()
        self._batch, self._batches = 0, math.ceil(len(examples.labels) / recipe.batch_size)
        self._loss = torch.zeros(len(runs), dtype=torch.float64, device=device)
        self._hits = torch.zeros(len(runs), dtype=torch.int64, device=device)
        self._firsts = [first_choice(run.recipe) for run in runs]
        self._keeper: Keeper | None = None
        self.history: list[list[Epoch]] = [[] for _ in runs]
        self.best: list[dict[str, Tensor]] = [{} for _ in runs]
        self.best_epoch = [0] * len(runs)
        self._check_noise()

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

    def _call(self, inputs: Tensor, still: dict[str, Tensor] | None = None) -> Tensor:
        """The outputs [runs, batch, classes] for inputs [runs or 1, batch, ...]."""

        def one(moving: Mapping[str, Tensor], fixed: Mapping[str, Tensor], x: Tensor) -> Tensor:
            outputs: Tensor = torch.func.functional_call(self.module, {**moving, **fixed}, (x,))
            return outputs

        # not shared by vmap, which would join the weights of all runs to one matrix
        repeated = inputs.expand(len(self.runs), *inputs.shape[1:])
        how = "same" if self._together else "error"
        out: Tensor = torch.func.vmap(one, randomness=how)(
            self.moving, self.still if still is None else still, repeated
        )
        return out

    def _check_noise(self) -> None:
        """Refuse a network that draws noise where each run should have its own: try it on two examples."""
        copied = {name: value.clone() for name, value in self.still.items()}  # statistics move
        self.module.train()
        try:
            self._call(self.examples.inputs[:1].repeat_interleave(2, 0)[None], copied)
        except RuntimeError as error:
            if "random" not in str(error):
                raise
            raise ValueError(
                f"{self.runs[0].source.architecture.id} draws noise in training, and in batches several seeds cannot "
                "have noise of their own: call find for each seed, or find_many with one"
            ) from error

    def run(self, progress: Callable[[int, list[Epoch]], None] | None, keeper: Keeper | None) -> list[Found]:
        """Go to the end, from wherever the sweep was."""
        self._keeper = keeper
        state = None if keeper is None else keeper.load()
        if state is not None:
            self.load_state_dict(state)
        for number in range(len(self.history[0]) + 1, self.recipe.epochs + 1):
            self._epoch(number)
            if keeper is not None and (number == self.recipe.epochs or number % keeper.settings.every_epochs == 0):
                self._save(keeper)
            if progress is not None:
                progress(number, [records[-1] for records in self.history])
        return [self._found(r) for r in range(len(self.runs))]

    def _save(self, keeper: Keeper) -> None:
        if bool(self._loss.isfinite().all()):  # if not, the end of the epoch will say so
            keeper.save(self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed sweep needs besides the arguments."""
        return {
            "history": [[asdict(epoch) for epoch in records] for records in self.history],
            "batch": self._batch,
            "loss": self._loss,
            "hits": self._hits,
            "update": self.update.state_dict(),
            "still": self.still,
            "progress": self._progress,
            "masks": self._masks,
            "best": self.best,
            "best_epoch": self.best_epoch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.history = [[Epoch(**record) for record in records] for records in state["history"]]
        self._batch, self._progress, self._masks = state["batch"], state["progress"], state["masks"]
        self._loss, self._hits, self.still = state["loss"], state["hits"], state["still"]
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        with torch.no_grad():
            self.update.load_state_dict(state["update"])
            self.update.choose(self._progress)
        self._publish()

    def _epoch(self, number: int) -> None:
        recipe, n, size = self.recipe, len(self.examples.labels), self.recipe.batch_size
        seeds = [run.seed for run in (self.runs[:1] if self._together else self.runs)]
        visits = torch.stack([torch.from_numpy(order(seed, number, n)) for seed in seeds]).to(self.device)
        augment = [Augmenter(recipe.augmentation, seed, number, n, self.device) for seed in seeds]
        draws = noise(seeds[0], number, 0, self._batches)
        self.module.train()
        while self._batch < self._batches:
            rows = visits[:, self._batch * size : (self._batch + 1) * size]
            reseed(int(draws[self._batch]), self.device)
            images = self.examples.inputs[rows]
            if recipe.augmentation != "none":
                images = torch.stack([change(x, r) for change, x, r in zip(augment, images, rows, strict=True)])
            losses, right = self._step(images, self.examples.labels[rows], (number - 1) * self._batches + self._batch)
            self._loss += losses.double() * rows.shape[1]
            self._hits += right
            self._batch += 1
            if self._keeper is not None and self._batch < self._batches and self._keeper.overdue():
                self._save(self._keeper)
        self._finish(number)

    def _step(self, images: Tensor, labels: Tensor, at: int) -> tuple[Tensor, Tensor]:
        runs = len(self.runs)
        target = labels.expand(runs, -1)
        with lower_precision(self.recipe.autocast, self.device):
            outputs = self._call(images)
            losses = nn.functional.cross_entropy(
                outputs.flatten(0, 1), target.flatten(), reduction="none", label_smoothing=self.recipe.label_smoothing
            )
        means = losses.view(runs, -1).mean(1)
        gradients = torch.autograd.grad(means.sum(), list(self.moving.values()))
        self._progress = (at + 1) / (self.recipe.epochs * self._batches)
        lr = self.recipe.lr_at(at, self._batches)
        flat = [gradient.float().reshape(runs, -1) for gradient in gradients]
        try:
            self.update.step(flat, lr, self._progress)
        except RuntimeError as error:  # the compiled update looks for NaN
            seeds = [run.seed for run, mean in zip(self.runs, means.tolist(), strict=True) if not math.isfinite(mean)]
            raise TrainingError(
                diverged(f"loss of seeds {seeds} was NaN or infinite", at // self._batches + 1, lr)
            ) from error
        self._publish()
        return means.detach(), (outputs.detach().argmax(2) == target).sum(1)

    def _finish(self, number: int) -> None:
        n, lr = len(self.examples.labels), self.recipe.lr_at(number * self._batches - 1, self._batches)
        losses, accuracies = (self._loss / n).tolist(), (self._hits.double() / n).tolist()
        for run, loss in zip(self.runs, losses, strict=True):
            if not math.isfinite(loss):
                raise TrainingError(diverged(f"loss of seed {run.seed} became {loss}", number, lr))
        self._batch = 0
        self._loss.zero_()
        self._hits.zero_()
        valid = self._validate()
        before, self._masks = self._masks, self._look()
        pairs = zip(self.layers, self.update.scores, strict=True)
        scores = {layer.name: score.view(-1, *layer.shape) for layer, score in pairs}
        for r, run in enumerate(self.runs):
            each = [{name: value[r] for name, value in part.items()} for part in (scores, self._masks, before)]
            details = mask_details(run.recipe.method, *each)
            self.history[r].append(Epoch(number, lr, losses[r], accuracies[r], *valid[r], details))
            self._choose_epoch(r, number)

    def _choose_epoch(self, r: int, number: int) -> None:
        """Keep what a run has now if it is the best so far, or the last where none is chosen."""
        choosing = self.recipe.keep_best and self.examples.validation is not None
        if best_so_far(self.history[r], self._firsts[r]) if choosing else number == self.recipe.epochs:
            self.best_epoch[r] = number
            state = {name: value[r].detach().clone() for name, value in {**self.moving, **self.still}.items()}
            self.best[r] = state | {f"mask/{name}": value[r].clone() for name, value in self._masks.items()}

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
        warn_of_empty_layers(run.recipe.method, {name: int(mask.sum()) for name, mask in masks.items()}, source)
        state = {name: best[name] for name in source.architecture.state}
        ticket = Ticket(source, Mask(kept), state)
        module = source.architecture.module({name: best[name] for name in (*source.shapes, *state)})
        return Found(
            ticket, finished(module), masks, tuple(self.history[r]), self.best_epoch[r], run.recipe, source, run.seed
        )
