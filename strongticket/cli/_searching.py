"""What `find` does around every search, of one ticket or of many: places, data, the file and what there is to say."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from strongticket import save
from strongticket._files import check_writable
from strongticket.cli import _options as options
from strongticket.data import load as load_data
from strongticket.search import Found, SearchRecipe, random_mask, with_statistics
from strongticket.search.find import first_choice
from strongticket.ticket import AbstractArchitecture
from strongticket.training import accuracy, standardise
from strongticket.training.log import Log

__all__ = ["Images", "Places", "Plan", "check_places", "images_of", "interrupted", "keep"]


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


def interrupted(command: options.Find, *written: str) -> int:
    """Say what was written and how to go on, if there is anything to say; else pass the interrupt on."""
    said = [f"the same command goes on from {command.checkpoint}"] if command.checkpoint is not None else []
    if written:
        said.insert(0, f"{', '.join(written)} {'is' if len(written) == 1 else 'are'} written")
    if not said:
        raise KeyboardInterrupt
    print(f"strongticket: interrupted; {'; '.join(said)}", file=sys.stderr)
    return 130


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
