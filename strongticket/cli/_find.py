"""The command `find`: a data set and a recipe go in, a ticket file and its accuracy beside a random mask's come out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from strongticket import Ticket, architecture, save
from strongticket._files import check_writable
from strongticket.cli import _options as options
from strongticket.cli.output import emit, epoch_bar
from strongticket.data import load as load_data
from strongticket.search import (
    AbstractMethod,
    AbstractTopK,
    Bernoulli,
    Biprop,
    EdgePopup,
    Found,
    GemMiner,
    IteRand,
    Multicoated,
    SearchRecipe,
    SignedSupermask,
    SignedTopK,
    Threshold,
    find,
    random_mask,
    search_recipe,
    with_statistics,
)
from strongticket.ticket import AbstractArchitecture
from strongticket.training import accuracy, process_group, standardise
from strongticket.training.parallel import Group

__all__ = ["METHODS", "Images", "Plan", "check_paths", "find_ticket", "images_of", "interrupted", "keep"]

METHODS: Final[dict[str, type[AbstractMethod]]] = {
    method.key: method
    for method in (
        EdgePopup,
        IteRand,
        Biprop,
        Bernoulli,
        SignedSupermask,
        SignedTopK,
        GemMiner,
        Multicoated,
        Threshold,
    )
}
_SUGGESTED: Final = {
    "digits": ("digits", "mlp-64-256-10"),
    "mnist": ("mnist", "lenet-300-100"),
    "fashion-mnist": ("mnist", "lenet-300-100"),
    "cifar10": ("ramanujan2020-conv4", "conv4"),
}


_LOGIT_RATE: Final = 200.0
"""Learning rate of Bernoulli masks in the comparison of ramanujan2020whats."""


@dataclass(frozen=True)
class Plan:
    """The network, the recipe with what the command replaces in it, and the recipe's name."""

    network: AbstractArchitecture
    recipe: SearchRecipe
    named: str


@dataclass(frozen=True, eq=False)
class Images:
    """A data set as the search sees it, and how it was made from pixels in [0, 1]."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    name: str
    note: str
    inputs: dict[str, Any]


def find_ticket(command: options.Find) -> int:
    """Carry out the command and return its exit status."""
    plan = _plan(command)
    device = _device(command.device)
    if command.seeds or len(command.density) > 1:
        from strongticket.cli import _sweep

        return _sweep.find_tickets(command, plan, device)
    check_paths(command, command.out)
    images = images_of(command)
    with process_group(command.device) as group:
        try:
            with epoch_bar(plan.recipe.epochs) if group.first else nullcontext() as progress:
                found = find(
                    plan.network,
                    *images.train,
                    plan.recipe,
                    seed=command.seed,
                    validation=images.validation,
                    progress=progress,
                    threads=command.threads,
                    device=device,
                    checkpoint=command.checkpoint,
                    log=command.log,
                    tensorboard=command.tensorboard,
                )
        except KeyboardInterrupt:
            return interrupted(command) if group.first else 130
        own = group.device(device) or device
        return _by_the_first(group, lambda: _report(command, plan, images, found, own))


def interrupted(command: options.Find) -> int:
    """Say how to go on, where there is something to go on from; else pass the interrupt on."""
    if command.checkpoint is None:
        raise KeyboardInterrupt
    print(f"strongticket: interrupted; the same command goes on from {command.checkpoint}", file=sys.stderr)
    return 130


def _by_the_first(group: Group, report: Callable[[], int]) -> int:
    """The first process writes and prints; the others, which found the same, wait for its exit status."""
    status = [2]
    try:
        if group.first:
            status = [report()]
    finally:  # without an answer the others would wait for ever
        if group.size > 1:
            dist.broadcast_object_list(status)
    return status[0]


def _plan(command: options.Find) -> Plan:
    suggested, model = _SUGGESTED[command.data]
    named = suggested if command.recipe is None else command.recipe
    recipe = search_recipe(named)
    network = architecture(command.model or recipe.architecture or model)
    method = _method(command.method, recipe)
    undecayed = replace(recipe.optimiser, weight_decay=0.0) if isinstance(method, Bernoulli | GemMiner) else None
    changed = recipe.changed(
        method=method,
        optimiser=undecayed,
        init=command.init,
        epochs=command.epochs,
        batch_size=command.batch_size,
        lr=_LOGIT_RATE if isinstance(method, Bernoulli) and command.lr is None else command.lr,
    )
    for density in command.density:  # each is looked at before any work is done
        changed = changed.with_density(density)
    return Plan(network, changed, named)


def _method(key: str | None, recipe: SearchRecipe) -> AbstractMethod | None:
    """The method of that name, at the recipe's density if both have one; None for the recipe's own."""
    if key is None or key == recipe.method.key:
        return None
    kind = METHODS[key]
    if issubclass(kind, AbstractTopK | GemMiner) and recipe.density is not None:
        return kind(density=recipe.density)
    return kind()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name} is not one that can be used here ({reason}); cpu always is") from error
    return device


def check_paths(command: options.Find, *files: Path) -> None:
    """Refuse places that cannot be written, or that are taken twice."""
    for file in files:
        check_writable(file)
    if command.log is not None:
        check_writable(command.log)
        if command.log.resolve() in [file.resolve() for file in files]:
            raise ValueError(f"--out and --log are both {command.log}; give two files")
    for name, folder in (("checkpoint", command.checkpoint), ("tensorboard", command.tensorboard)):
        if folder is not None:
            if folder.exists() and not folder.is_dir():
                raise ValueError(f"--{name} {folder} is a file; give a folder")
            check_writable(folder / "probe")


def images_of(command: options.Find) -> Images:
    """Return the data set as the command wants it."""
    data = load_data(command.data, folder=command.folder, seed=command.seed)
    pixels = [data.images(part) for part in ("train", "validation", "test")]
    raw = command.inputs == "raw" or (command.inputs is None and command.data == "digits")
    channels = (0, *range(2, pixels[0].ndim))
    said: dict[str, Any] = {"kind": "raw"}
    if not raw:
        # a ticket is of use only to who knows what it expects: the file says it
        mean, std = pixels[0].double().mean(channels), pixels[0].double().std(channels, correction=0)
        said = {"kind": "standardised", "mean": mean.tolist(), "std": std.tolist()}
        pixels = list(standardise(*pixels))
    labels = (data.train.labels, data.validation.labels, data.test.labels)
    train, validation, test = zip(pixels, labels, strict=True)
    return Images(train, validation, test, data.name, data.note, said)


def _report(command: options.Find, plan: Plan, images: Images, found: Found, device: torch.device) -> int:
    value = keep(command.out, plan, images, found, device)
    emit(command.json, value, "a strong lottery ticket", _rows(value, found.ticket))
    return 0 if value["strict_check"] else 1


def keep(out: Path, plan: Plan, images: Images, found: Found, device: torch.device) -> dict[str, Any]:
    """Test a ticket beside a random mask, write its file and return what there is to say, as JSON."""
    ticket, recipe = found.ticket, found.recipe
    control = with_statistics(random_mask(ticket.source, ticket, found.seed), images.train[0])
    best = found.history[found.best_epoch - 1]
    value: dict[str, Any] = {
        "model": ticket.source.architecture.id,
        "data": images.name,
        "note": images.note,
        "inputs": images.inputs,
        "recipe": plan.named,
        "paper": recipe.paper,
        "deviations": recipe.deviations,
        "method": recipe.method.key,
        "lr": recipe.lr,
        "epochs": recipe.epochs,
        "best_epoch": found.best_epoch,
        "seed": found.seed,
        "validation_accuracy": best.validation_accuracy,
        "test_accuracy": _accuracy(found.module, images.test, device),
        "random_mask_accuracy": _accuracy(control.module(), images.test, device),
    }
    save(out, ticket, provenance={"command": "find", **value})
    return value | {
        "kept": dict(ticket.mask.counts),
        "density": ticket.mask.density,
        "strict_check": ticket.matches(found.module),
        "ticket_digest": ticket.digest,
        "file": str(out),
        "bytes": out.stat().st_size,
    }


def _accuracy(module: nn.Module, test: tuple[Tensor, Tensor], device: torch.device) -> float:
    return accuracy(module.to(device), *(part.to(device) for part in test))


def _rows(value: dict[str, Any], ticket: Ticket) -> list[tuple[str, object]]:
    mask, source = ticket.mask, ticket.source
    law = f"{value['method']}, recipe {value['recipe']}" + (f" ({value['paper']})" if value["paper"] else "")
    return [
        ("source", f"{value['model']}, {source.architecture.size:,} random weights, seed {source.seed}"),
        ("data", f"{value['data']}, {value['inputs']['kind']}" + (f": {value['note']}" if value["note"] else "")),
        ("method", law),
        *([("not as published", value["deviations"])] if value["deviations"] else []),
        ("epoch", f"{value['best_epoch']} of {value['epochs']}, the best on validation data"),
        ("kept", f"{mask.count:,} of {mask.size:,}, density {mask.density:.4g}"),
        *(
            (f"  {name}", f"{count:,} of {'x'.join(map(str, mask.shapes[name]))}")
            for name, count in mask.counts.items()
        ),
        ("validation accuracy", f"{100 * value['validation_accuracy']:.2f} %"),
        ("test accuracy", f"{100 * value['test_accuracy']:.2f} %"),
        ("  of a random mask", f"{100 * value['random_mask_accuracy']:.2f} %, as many weights kept in each layer"),
        ("strict check", "passed: seed x mask, bit for bit" if value["strict_check"] else "FAILED"),
        ("written", f"{value['file']}, {value['bytes']:,} bytes"),
    ]
