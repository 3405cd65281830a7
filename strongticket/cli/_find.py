"""The command `find`: a data set and a recipe go in, a ticket file and its accuracy beside a random mask's come out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
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
from strongticket.search.find import first_choice
from strongticket.ticket import AbstractArchitecture
from strongticket.training import accuracy, process_group, standardise
from strongticket.training.log import Log
from strongticket.training.parallel import Group

__all__ = ["METHODS", "Images", "Places", "Plan", "check_places", "find_ticket", "images_of", "interrupted", "keep"]

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


_SHARED: Final = ("allocation", "levels", "annealing", "frozen", "biases")
"""What recipes say of their method that is no matter of that method alone."""
_LOGIT_RATE: Final = 200.0
"""Learning rate of Bernoulli masks in the comparison of ramanujan2020whats."""


@dataclass(frozen=True)
class Plan:
    """The network, the recipe with what the command replaces in it, and the recipe's name."""

    network: AbstractArchitecture
    recipe: SearchRecipe
    named: str


@dataclass(frozen=True)
class Places:
    """Where a search writes: files for the ticket and the log, folders for the checkpoint and the event files."""

    out: Path
    log: Path | None
    checkpoint: Path | None
    tensorboard: Path | None


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
    check_places(Places(command.out, command.log, command.checkpoint, command.tensorboard))
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


def interrupted(command: options.Find, *written: str) -> int:
    """Say what was written and how to go on, if there is anything to say; else pass the interrupt on."""
    said = [f"the same command goes on from {command.checkpoint}"] if command.checkpoint is not None else []
    if written:
        said.insert(0, f"{', '.join(written)} {'is' if len(written) == 1 else 'are'} written")
    if not said:
        raise KeyboardInterrupt
    print(f"strongticket: interrupted; {'; '.join(said)}", file=sys.stderr)
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
    method, lost = _method(command.method, recipe)
    free = isinstance(method, Bernoulli | GemMiner | Threshold)
    undecayed = replace(recipe.optimiser, weight_decay=0.0) if free else None
    changed = recipe.changed(
        method=method,
        optimiser=undecayed,
        init=command.init,
        epochs=command.epochs,
        batch_size=command.batch_size,
        lr=_LOGIT_RATE if isinstance(method, Bernoulli) and command.lr is None else command.lr,
        deviations=f"{lost} {recipe.deviations}".strip() if lost else None,
    )
    for density in command.density:  # each is looked at before any work is done
        if not 0 < density <= 1:
            raise ValueError(f"--density is the fraction of the weights to keep, in (0, 1], got {density}")
        changed = changed.with_density(density)
    return Plan(network, changed, named)


def _method(key: str | None, recipe: SearchRecipe) -> tuple[AbstractMethod | None, str]:
    """The method of that name, with all that the recipe says of its own and it has too, and what it does not have.

    None and nothing for the recipe's own method.
    """
    own = recipe.method
    if key is None or key == own.key:
        return None, ""
    kind = METHODS[key]
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    said: dict[str, Any] = {}
    if issubclass(kind, AbstractTopK | GemMiner) and recipe.density is not None:
        said["density"] = recipe.density
    lost = []
    for field in fields(own):  # type: ignore[arg-type]
        value = getattr(own, field.name)
        if field.name in _SHARED and value != field.default:
            if field.name in known:
                said[field.name] = value
            else:
                lost.append(f"{field.name}={value!r}")
    return kind(**said), f"{key} has no {', '.join(lost)}, as {own.key} has in this recipe." if lost else ""


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name} is not one that can be used here ({reason}); cpu always is") from error
    return device


def check_places(*searches: Places) -> None:
    """Refuse places that cannot be written, that are taken twice, or that hold something else, before any search."""
    tickets = {places.out.resolve() for places in searches}
    for places in searches:
        check_writable(places.out)
        if places.log is not None and places.log.resolve() in tickets:
            raise ValueError(f"--out and --log are both {places.log}; give two files")
        for name, folder in (("checkpoint", places.checkpoint), ("tensorboard", places.tensorboard)):
            if folder is not None:
                if folder.exists() and not folder.is_dir():
                    raise ValueError(f"--{name} {folder} is a file; give a folder")
                check_writable(folder / "probe")
        Log(places.log, places.tensorboard)  # sees whether it could be written


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
        "best_of": _choice(recipe),
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


def _choice(recipe: SearchRecipe) -> str:
    """Among which epochs the one of the ticket was chosen."""
    first = first_choice(recipe)
    if not recipe.keep_best or 1 < first == recipe.epochs:
        return "the last" + (", where the method comes to its mask" if first > 1 else "")
    late = f" of those from {first} on, where the density is reached" if first > 1 else ""
    return f"the best on validation data{late}"


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
        ("epoch", f"{value['best_epoch']} of {value['epochs']}, {value['best_of']}"),
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
