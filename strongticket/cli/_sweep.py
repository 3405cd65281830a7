"""`find` with several seeds or densities: small networks are searched all at once, others one after the other."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from strongticket.cli import _options as options
from strongticket.cli._searching import Images, Places, Plan, check_places, images_of, interrupted, keep
from strongticket.cli.output import emit, epoch_bar
from strongticket.random import check_seed
from strongticket.search import Found, find, find_many
from strongticket.search.many import refusal
from strongticket.training import Epoch
from strongticket.training.log import Log

__all__ = ["find_tickets"]

_SMALL: Final = 20_000
"""Weights of a network up to which searching several at once saves time on a CPU; on a GPU it does for larger ones."""
_MOST: Final = 1000


@dataclass(frozen=True)
class _Search:
    """One search of a sweep; its density is None for the recipe's."""

    seed: int
    density: float | None
    places: Places


def find_tickets(command: options.Find, plan: Plan, device: torch.device) -> int:
    """Carry out the command and return its exit status."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("torchrun shares the batches of one search: leave it away, or give one --seed and --density")
    seeds = parsed_seeds(command.seeds) if command.seeds else [command.seed]
    if len(set(command.density)) < len(command.density):
        raise ValueError(f"--density has a number twice: {command.density}")
    together = not refusal(plan.recipe) and (device.type != "cpu" or plan.network.size <= _SMALL)
    searches = [
        _Search(seed, density, _places(command, seed, density, together))
        for seed in seeds
        for density in command.density or (None,)
    ]
    check_places(*(search.places for search in searches))
    images = images_of(command)
    values = []
    try:
        for value in (_together if together else _in_turn)(command, plan, images, device, searches):
            values.append(value)  # noqa: PERF402, what comes before an interrupt is kept
    except KeyboardInterrupt:
        return interrupted(command, *(value["file"] for value in values))
    emit(command.json, {"searches": values}, "strong lottery tickets", _rows(values))
    return 0 if all(value["strict_check"] for value in values) else 1


def parsed_seeds(words: Sequence[str]) -> list[int]:
    """Return the seeds that words such as 3 and 0-4 mean, in their order.

    Raises:
        ValueError: a word that is neither, or a seed twice.

    >>> parsed_seeds(["0-2", "7"])
    [0, 1, 2, 7]
    """
    seeds: list[int] = []
    for word in words:
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"--seeds takes numbers and ranges such as 0-4, got {word!r}")
        low, high = int(first), int(last or first)
        if high < low or high - low >= _MOST:
            raise ValueError(f"--seeds {word} names no seeds, or more than {_MOST}")
        seeds += [check_seed(seed) for seed in range(low, high + 1)]
    if len(set(seeds)) < len(seeds) or len(seeds) > _MOST:
        raise ValueError(f"--seeds {' '.join(words)} names a seed twice, or more than {_MOST} seeds")
    return seeds


def _named(path: Path, command: options.Find, seed: int, density: float | None) -> Path:
    """The path of one search: what tells it from the others goes into the name."""
    told = f"-seed{seed}" if command.seeds else ""
    told += f"-{density!r}" if len(command.density) > 1 else ""
    return path.with_name(f"{path.stem}{told}{path.suffix}")


def _places(command: options.Find, seed: int, density: float | None, together: bool) -> Places:
    log, checkpoint, events = command.log, command.checkpoint, command.tensorboard
    if checkpoint is not None and not together:  # searches that go on together have one
        checkpoint = _named(checkpoint / "search", command, seed, density)
    return Places(
        _named(command.out, command, seed, density),
        None if log is None else _named(log, command, seed, density),
        checkpoint,
        None if events is None else _named(events / "search", command, seed, density),
    )


def _together(
    command: options.Find, plan: Plan, images: Images, device: torch.device, searches: Sequence[_Search]
) -> Iterator[dict[str, Any]]:
    with epoch_bar(plan.recipe.epochs) as bar:
        found = find_many(
            plan.network,
            *images.train,
            plan.recipe,
            seeds=list(dict.fromkeys(search.seed for search in searches)),
            densities=command.density or None,
            validation=images.validation,
            progress=None if bar is None else lambda number, epochs: bar(_mean(number, epochs)),
            threads=command.threads,
            device=device,
            checkpoint=command.checkpoint,
        )
    for search, one in zip(searches, found, strict=True):
        yield keep(search.places.out, plan, images, one, device)
    for search, one in zip(searches, found, strict=True):  # the tickets first
        _write_history(search.places, one)


def _in_turn(
    command: options.Find, plan: Plan, images: Images, device: torch.device, searches: Sequence[_Search]
) -> Iterator[dict[str, Any]]:
    """Each ticket is written as soon as it is found: a later search may diverge, or be interrupted."""
    epochs = plan.recipe.epochs
    with epoch_bar(epochs * len(searches)) as bar:
        for done, search in enumerate(searches):

            def show(epoch: Epoch, before: int = done * epochs) -> None:
                if bar is not None:
                    bar(replace(epoch, number=before + epoch.number))

            found = find(
                plan.network,
                *images.train,
                plan.recipe,
                density=search.density,
                seed=search.seed,
                validation=images.validation,
                progress=show,
                threads=command.threads,
                device=device,
                checkpoint=search.places.checkpoint,
            )
            yield keep(search.places.out, plan, images, found, device)
            _write_history(search.places, found)


def _mean(number: int, epochs: Sequence[Epoch]) -> Epoch:
    """What a bar shows of several searches."""
    n = len(epochs)
    return Epoch(
        number,
        epochs[0].lr,
        math.fsum(epoch.loss for epoch in epochs) / n,
        math.fsum(epoch.accuracy for epoch in epochs) / n,
        None,
        math.fsum(epoch.validation_accuracy or 0.0 for epoch in epochs) / n,
        {"flips": sum(epoch.details["flips"] for epoch in epochs)},
    )


def _write_history(places: Places, found: Found) -> None:
    log = Log(places.log, places.tensorboard)
    log.start([])
    for epoch in found.history:
        log.write(asdict(epoch))
    log.close()


def _rows(values: Sequence[dict[str, Any]]) -> list[tuple[str, object]]:
    first = values[0]
    rows: list[tuple[str, object]] = [
        ("source", f"{first['model']}, random weights by seed"),
        ("data", f"{first['data']}, {first['inputs']['kind']}" + (f": {first['note']}" if first["note"] else "")),
        ("method", f"{first['method']}, recipe {first['recipe']}, {first['epochs']} epochs"),
    ]
    for value in values:
        parts = [
            f"{name} {100 * value[f'{key}_accuracy']:.2f} %"
            for name, key in (("validation", "validation"), ("test", "test"), ("random mask", "random_mask"))
        ]
        parts.append(f"epoch {value['best_epoch']}: {value['file']}, {value['bytes']:,} bytes")
        parts += [] if value["strict_check"] else ["strict check FAILED"]
        rows.append((f"seed {value['seed']}, density {value['density']:.4g}", ", ".join(parts)))
    return rows
