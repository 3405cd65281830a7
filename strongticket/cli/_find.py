"""The command `find`: a data set and a recipe go in, a ticket file and its accuracy beside a random mask's come out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any, Final

import torch
import torch.distributed as dist

from strongticket import Ticket, architecture
from strongticket.cli import _options as options
from strongticket.cli._searching import Images, Places, Plan, check_places, images_of, interrupted, keep
from strongticket.cli._sweep import find_tickets
from strongticket.cli.output import emit, epoch_bar
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
    search_recipe,
)
from strongticket.training import process_group
from strongticket.training.parallel import Group

__all__ = ["METHODS", "find_ticket"]

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


def find_ticket(command: options.Find) -> int:
    """Carry out the command and return its exit status."""
    plan = _plan(command)
    device = _device(command.device)
    if command.seeds or len(command.density) > 1:
        return find_tickets(command, plan, device)
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


def _report(command: options.Find, plan: Plan, images: Images, found: Found, device: torch.device) -> int:
    value = keep(command.out, plan, images, found, device)
    emit(command.json, value, "a strong lottery ticket", _rows(value, found.ticket))
    return 0 if value["strict_check"] else 1


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
