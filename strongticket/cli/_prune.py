"""The command `prune`: a trained network goes in, a sparse one and an account of what the pruning cost come out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from strongticket import Target, architecture
from strongticket._files import check_writable
from strongticket.cli import _options as options
from strongticket.cli.output import emit, progress_bar
from strongticket.data import load as load_data
from strongticket.models import MLP
from strongticket.pruning import (
    AbstractStructure,
    Iterative,
    Neurons,
    NofM,
    Pruned,
    Unstructured,
    measured_increase,
    prune_path,
    retrain,
)
from strongticket.training import Recipe, accuracy, suggestion, train
from strongticket.training.data import check_outputs

__all__ = ["prune_target"]

_STRUCTURES: dict[str, AbstractStructure] = {"unstructured": Unstructured(), "2:4": NofM(2, 4), "neurons": Neurons()}
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class _Setting:
    """What the network is pruned and judged with."""

    train: Pair
    seen: Pair
    validation: Pair
    test: Pair
    recipe: Recipe | None
    name: str
    note: str


def prune_target(command: options.Prune) -> int:
    """Carry out the command and return its exit status."""
    _check(command)
    target = None if command.target is None else Target.load(command.target)
    setting = _setting(command)
    module = _trained(command, setting) if target is None else target.module()
    _check_fit(module, setting)
    structure = None if command.structure is None else _STRUCTURES[command.structure]
    path = prune_path(
        module,
        setting.seen,
        command.method,
        command.density,
        allocation=command.allocation,
        structure=structure,
        schedule=None if command.rounds == 1 else Iterative(command.rounds),
        names=_hidden(module) if command.structure == "neurons" else None,
        seed=command.seed,
    )
    dense = accuracy(module, *setting.test)
    results = [
        _result(command, setting, pruned, density, file)
        for pruned, density, file in zip(path, command.density, _files(command), strict=True)
    ]
    value: dict[str, Any] = {
        "model": Target.from_module(module).architecture.id,
        "data": setting.name,
        "note": setting.note,
        "method": command.method,
        "examples": len(setting.seen[1]),
        "seed": command.seed,
        "dense_accuracy": dense,
        "results": results,
    }
    emit(command.json, value, "a pruned network", _rows(value))
    return 0


def _check(command: options.Prune) -> None:
    if not command.density:
        raise ValueError("--density takes one number or more")
    if command.rounds < 1 or command.retrain < 0:
        raise ValueError(
            f"--rounds must be at least 1 and --retrain at least 0, got {command.rounds} and {command.retrain}"
        )
    if command.lr is not None and not command.retrain:
        raise ValueError("--lr is of the retraining: give the number of its epochs, --retrain, too")
    if command.target is not None and command.model is not None:
        raise ValueError(f"--model names what is trained first, but {command.target} is trained already: drop one")
    if command.examples is not None and command.examples < 1:
        raise ValueError(f"--examples must be at least 1, got {command.examples}")
    files = _files(command)
    for file in files:
        check_writable(file)
        if command.target is not None and file.resolve() == command.target.resolve():
            raise ValueError(f"--out {file} is the target itself; give another file")
    if len(set(files)) < len(files):
        raise ValueError(f"--density has a number twice: {command.density}")


def _check_fit(module: nn.Module, setting: _Setting) -> None:
    """Refuse a network that is for other data."""
    shape, made = tuple(setting.train[0].shape[1:]), Target.from_module(module).architecture
    if isinstance(made, MLP) and shape != made.sizes[:1]:
        raise ValueError(
            f"the network, {made.id}, takes {made.sizes[0]} inputs, an example of {setting.name} has "
            f"{math.prod(shape)}: give --data the name of what it was trained on"
        )
    check_outputs(module, *setting.train)


def _files(command: options.Prune) -> list[Path]:
    if len(command.density) == 1:
        return [command.out]
    return [command.out.with_name(f"{command.out.stem}-{density!r}{command.out.suffix}") for density in command.density]


def _setting(command: options.Prune) -> _Setting:
    data = load_data(command.data, folder=command.folder, seed=command.seed)
    parts = [(part.inputs, part.labels) for part in (data.train, data.validation, data.test)]
    count = len(parts[0][1]) if command.examples is None else command.examples
    recipe = None
    if command.retrain:
        usual = suggestion(command.data)[1]
        recipe = usual.changed(epochs=command.retrain, lr=command.lr)
    seen = (parts[0][0][:count], parts[0][1][:count])
    return _Setting(parts[0], seen, parts[1], parts[2], recipe, data.name, data.note)


def _trained(command: options.Prune, setting: _Setting) -> nn.Module:
    suggested, recipe = suggestion(command.data)
    with progress_bar() as progress:
        return train(
            architecture(command.model or suggested),
            *setting.train,
            recipe,
            seed=command.seed,
            validation=setting.validation,
            progress=None if progress is None else lambda epoch: progress("training", epoch.number, recipe.epochs),
        ).module


def _hidden(module: nn.Module) -> Sequence[str]:
    """The matrices but for the last one: an output that is removed is a class that is never named."""
    names = [name for name, parameter in module.named_parameters() if parameter.ndim == 2]
    if len(names) < 2:
        raise ValueError("the network has no hidden neurons to remove: prune single weights")
    return names[:-1]


def _result(command: options.Prune, setting: _Setting, pruned: Pruned, density: float, file: Path) -> dict[str, Any]:
    """What became of the network at one density; writes its file."""
    final = pruned.module()
    value: dict[str, Any] = {
        "density": density,
        "kept": dict(pruned.mask.counts),
        "sizes": {name: pruned.mask[name].numel() for name in pruned.mask},
        "mask_only_accuracy": accuracy(pruned.module(updated=False), *setting.test),
        "updated_accuracy": accuracy(final, *setting.test) if pruned.updated else None,
        "retrained_accuracy": None,
        "predicted_increase": pruned.predicted_increase,
        "measured_increase": measured_increase(pruned, setting.seen),
    }
    if setting.recipe is not None:
        recipe = setting.recipe
        with progress_bar() as progress:
            stage = f"retraining at {density:g}"
            final = retrain(
                pruned,
                *setting.train,
                recipe,
                seed=command.seed,
                validation=setting.validation,
                progress=None if progress is None else lambda epoch: progress(stage, epoch.number, recipe.epochs),
            ).module
        value["retrained_accuracy"] = accuracy(final, *setting.test)
    Target.from_module(final).save(file)
    return value | {"file": str(file), "bytes": file.stat().st_size}


def _rows(value: dict[str, Any]) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [
        ("model", value["model"]),
        ("data", f"{value['data']}{': ' + value['note'] if value['note'] else ''}"),
        ("method", f"{value['method']}, {value['examples']:,} training examples seen"),
        ("test accuracy, dense", f"{100 * value['dense_accuracy']:.2f} %"),
    ]
    for result in value["results"]:
        kept, size = sum(result["kept"].values()), sum(result["sizes"].values())
        rows.append((f"density {result['density']:g}", f"{kept:,} of {size:,} weights kept"))
        rows += [(f"  {name}", f"{count:,} of {result['sizes'][name]:,}") for name, count in result["kept"].items()]
        for key in ("mask_only", "updated", "retrained"):
            if result[f"{key}_accuracy"] is not None:
                rows.append((f"  {key.replace('_', ' ')}", f"{100 * result[f'{key}_accuracy']:.2f} %"))
        predicted = result["predicted_increase"]
        told = "not predicted" if predicted is None else f"{predicted:.4g} predicted"
        rows.append(("  increase of the loss", f"{told}, {result['measured_increase']:.4g} measured before retraining"))
        rows.append(("  written", f"{result['file']}, {result['bytes']:,} bytes"))
    return rows
