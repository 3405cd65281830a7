"""Iterative magnitude pruning with rewinding: a trunk of levels, each trained from the same weights, and its branches.

Everything of Frankle & Carbin (2019) and its heirs is a function of (trunk, level, control). Each is a stage that is
made once: calling again resumes, and a trunk that is finished takes new branches.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from strongticket import random
from strongticket.mask import Mask
from strongticket.models import architecture
from strongticket.runs import Spec
from strongticket.selection import largest, largest_global
from strongticket.source import AbstractArchitecture, Source
from strongticket.ticket import Ticket
from strongticket.training import Checkpoint, accuracy
from strongticket.training.checkpoint import Keeper, digest
from strongticket.training.data import Examples
from strongticket.training.loop import deterministic_noise, thread_count
from strongticket.weak.controls import Control, control_mask, control_weights
from strongticket.weak.criteria import CRITERIA, PLATEAUS, scores, untied
from strongticket.weak.descent import Descended, Descent, Look, early_stop, keep_on
from strongticket.weak.initial import beginning, random_source, strict_ticket
from strongticket.weak.recipe import StepRecipe
from strongticket.weak.scope import SCOPES, Kind, Scope, counted, kinds, level_counts, level_totals
from strongticket.weak.stages import Stage, Stages

__all__ = ["Imp", "Level", "Trunk", "WeakData"]

VERSION: Final = 1
"""Raised when the same parameters give other stages."""
Family = Literal["iterative", "one-shot"]
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class WeakData:
    """What networks are trained on, stopped by, and judged by in the end.

    Attributes:
        train: (inputs, labels), normalised.
        validation: (inputs, labels): it decides the early stop.
        test: (inputs, labels): read twice per training, after it is over: at the early stop and at the end.
        name: what it is, for people.
    """

    train: Pair
    validation: Pair
    test: Pair
    name: str = ""

    def __post_init__(self) -> None:
        for part in ("train", "validation", "test"):
            inputs, labels = getattr(self, part)  # a `Split` unpacks as a pair
            object.__setattr__(self, part, (inputs, labels))

    @cached_property
    def digest(self) -> str:
        """sha256 of all examples, which is part of what names a stage."""
        return digest([*self.train, *self.validation, *self.test])

    def to(self, device: str | torch.device | None) -> WeakData:
        """Return the same data on a device; None leaves them."""
        if device is None:
            return self
        train, validation, test = [(x.to(device), y.to(device)) for x, y in (self.train, self.validation, self.test)]
        return WeakData(train, validation, test, self.name)


@dataclass(frozen=True)
class Imp:
    """Say everything about a trunk but the data.

    Attributes:
        model: the network, by name; biases start at 0 and are neither pruned nor counted.
        recipe: how each level is trained.
        scope: which weights go, and how many: one of `SCOPES`, or a scope of yours.
        rewind: the step that weights, statistics and counters go back to; 0: the beginning.
        criterion: which weights stay: one of `CRITERIA`. Where a weight began is its rewound value.
        strategy: "reset": each level begins from the rewound weights; "continue": levels go on from where the last one
            ended, and only a branch ("ticket") rewinds, which Frankle & Carbin found to be worse.
        law: of the initial weights, see `initial_law`.
        seed: of everything that is random.
    """

    model: str
    recipe: StepRecipe
    scope: str | Scope = "lth-lenet"
    rewind: int = 0
    criterion: str = "large-final"
    strategy: Literal["reset", "continue"] = "reset"
    law: str = "glorot-normal"
    seed: int = 0

    def __post_init__(self) -> None:
        random.check_seed(self.seed)
        if isinstance(self.scope, str) and self.scope not in SCOPES:
            raise ValueError(f"unknown scope {self.scope!r}: expected one of {', '.join(SCOPES)}, or a Scope")
        if self.criterion not in CRITERIA:
            raise ValueError(f"unknown criterion {self.criterion!r}: expected one of {', '.join(CRITERIA)}")
        if self.strategy not in ("reset", "continue"):
            raise ValueError(f"strategy must be 'reset' or 'continue', got {self.strategy!r}")
        if not 0 <= self.rewind < self.recipe.steps:
            raise ValueError(f"rewind must be a step in 0..{self.recipe.steps - 1}, got {self.rewind}")

    @property
    def rule(self) -> Scope:
        """The scope itself."""
        return self.scope if isinstance(self.scope, Scope) else SCOPES[self.scope]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON, for the names of stages."""
        recipe = asdict(self.recipe)
        return {
            "model": architecture(self.model).id,
            "recipe": {**recipe, "milestones": list(self.recipe.milestones)},
            "scope": self.rule.key,
            "rewind": self.rewind,
            "criterion": self.criterion,
            "strategy": self.strategy,
            "law": self.law,
            "seed": self.seed,
        }


@dataclass(frozen=True, eq=False)
class Level:
    """A training of a trunk or of one of its branches, finished.

    Attributes:
        record: JSON values: counts, curve, accuracies.
        mask: what was kept of the counted weights.
        final: state dict after training, exactly 0 outside the mask.
    """

    record: Mapping[str, Any]
    mask: Mask
    final: Mapping[str, Tensor] = field(repr=False)

    @property
    def density(self) -> float:
        """Fraction of the counted weights that is kept."""
        return self.mask.density

    @property
    def stop(self) -> Look:
        """The early stop."""
        return early_stop(self.looks)

    @property
    def looks(self) -> tuple[Look, ...]:
        """The looks at the validation data."""
        curve = self.record["curve"]
        rows = zip(*(curve[name] for name in ("step", "loss", "accuracy", "train_loss")), strict=True)
        return tuple(Look(*row) for row in rows)

    @property
    def test_at_stop(self) -> float:
        """Test accuracy of the weights at the early stop."""
        return float(self.record["test_at_stop"])

    @property
    def test_at_end(self) -> float:
        """Test accuracy after the last step."""
        return float(self.record["test_at_end"])

    def wins(self, dense: Level) -> bool:
        """Whether this is a winning ticket beside the dense network: no later early stop, no lower test accuracy."""
        return self.stop.step <= dense.stop.step and self.test_at_stop >= dense.test_at_stop


class Trunk:
    """The levels of one run of iterative pruning, and what branches off from them.

    Args:
        imp: what is run.
        data: what on.
        folder: where stages are kept; None: in memory only.
        device: where to train.
        threads: threads of torch.
        checkpoint_s: seconds between two checkpoints of a level in the making.

    Raises:
        ValueError: a network or recipe that does not fit.

    >>> x, y = torch.eye(16), torch.arange(16) % 2
    >>> data = WeakData((x, y), (x, y), (x, y))
    >>> trunk = Trunk(Imp("mlp-16-12-2+bias", StepRecipe(40, 8, 0.01, evaluate_every=20)), data)
    >>> [trunk.level(k).mask.count for k in range(3)]
    [216, 176, 143]
    >>> trunk.branch(2, Control("reinit")).mask == trunk.level(2).mask
    True
    """

    def __init__(
        self,
        imp: Imp,
        data: WeakData,
        folder: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device | None = None,
        threads: int | None = 1,
        checkpoint_s: float = 60.0,
    ) -> None:
        self.imp = imp
        self.network: AbstractArchitecture = architecture(imp.model)
        self.source: Source = random_source(self.network, imp.seed, imp.law)
        self.stages = Stages(folder)
        self._data = data.to(device)
        self._threads, self._checkpoint_s = threads, checkpoint_s
        # the last bits depend on these too
        threads_named = torch.get_num_threads() if threads is None else threads
        self._place = {"data": data.digest, "device": self._device.type, "threads": threads_named}
        self.shapes = counted(self.network.shapes)
        self.layers: dict[str, Kind] = kinds(self.shapes)
        self.pruned = imp.rule.pruned(self.layers)
        if not self.pruned:
            raise ValueError(f"the scope {imp.scope!r} prunes no layer of {imp.model}: it has {self.layers}")

    def rewound(self) -> dict[str, Tensor]:
        """Return the state dict that levels begin from, before their masks: that of the dense network at `rewind`."""
        if not self.imp.rewind:
            return beginning(self.source)
        return dict(self.stages.made(self._spec("start"), self._start).tensors)

    def level(self, number: int, family: Family = "iterative") -> Level:
        """Return a level, made with all those before it if they are not there.

        Args:
            number: 0 for the dense network.
            family: "iterative"; "one-shot": what level 0 left is cut to the counts of this level at once.
        """
        if number < 0 or family not in ("iterative", "one-shot"):
            raise ValueError(f"expected a level >= 0 and 'iterative' or 'one-shot', got {number} and {family!r}")
        family = "iterative" if number == 0 else family
        last = number if family == "iterative" else 1
        first = last
        while first and not self.stages.has(self._spec("level", level=first - 1, family="iterative")):
            first -= 1
        for earlier in range(first, last):  # upwards from what is there, so that no recursion is deep
            self._made(earlier, "iterative")
        return self._made(number, family)

    def branch(self, number: int, control: Control, family: Family = "iterative") -> Level:
        """Return a control of a level: other weights, another mask, or both, trained as the level is.

        Args:
            number: of the level.
            control: what is changed. Nothing (`Control()`) is the level itself, unless the strategy is "continue".
            family: see `level`.
        """
        if control == Control() and self.imp.strategy == "reset":
            return self.level(number, family)
        level, family = self.level(number, family), family if number else "iterative"  # nothing is cut yet
        more = {"level": number, "family": family, "control": asdict(control)}

        def make() -> Stage:
            mask = control_mask(level.mask, control, self.pruned, self.imp.seed)
            fresh = random_source(self.network, self.imp.seed, self.imp.law, control.draw)
            values = control_weights(self.rewound(), mask, control, self.source, fresh, self.imp.seed)
            return self._trained(self._spec("branch", **more), values, mask, more)

        return self._level(self.stages.made(self._spec("branch", **more), make))

    def train(self, values: Mapping[str, Tensor], mask: Mask, **what: str) -> Level:
        """Train other weights under another mask as the levels are trained; a stage, made once.

        Args:
            values: weights at the step of rewinding, by name.
            mask: what is kept of them.
            what: names these weights and this mask among all that the trunk trains, by their digest say.
        """
        spec = self._spec("arm", **what)
        return self._level(self.stages.made(spec, lambda: self._trained(spec, values, mask, what)))

    def mask(self, number: int, family: Family = "iterative") -> Mask:
        """Return the mask of a level: made of what the level before left, which is trained if it is not there."""
        if number == 0:
            return Mask.full(self.shapes)
        if family == "one-shot":
            return self._cut(self.level(0), number)
        return self._cut(self.level(number - 1), number)

    def ticket(self, number: int, family: Family = "iterative") -> Ticket:
        """Return the mask of a level on the random network of the trunk: its strict ticket, untrained."""
        return strict_ticket(self.source, self.mask(number, family))

    def export(self, number: int, folder: str | os.PathLike[str], family: Family = "iterative") -> tuple[Path, Path]:
        """Write the ticket of a level and, beside it, the rewound weights under its mask.

        Returns:
            The ticket file and the file of the weights (safetensors, state dict at `rewind`, 0 outside the mask).
        """
        from safetensors.torch import save

        from strongticket._files import write_atomically
        from strongticket.ticketfile import save as save_ticket

        mask, folder = self.mask(number, family), Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        provenance = {"imp": self.imp.to_json(), "level": number, "family": family, "data": self._place["data"]}
        ticket = save_ticket(folder / f"level{number}.slt", strict_ticket(self.source, mask), provenance=provenance)
        weights = {name: value.contiguous() for name, value in masked(self.rewound(), mask).items()}
        return ticket, write_atomically(folder / f"level{number}.rewound.safetensors", save(weights))

    def _made(self, number: int, family: Family) -> Level:
        more = {"level": number, "family": family}
        return self._level(self.stages.made(self._spec("level", **more), lambda: self._make(number, family)))

    def _make(self, number: int, family: Family) -> Stage:
        mask = self.mask(number, family)
        values = self.rewound()
        if self.imp.strategy == "continue" and number:
            values = dict(self.level(0 if family == "one-shot" else number - 1).final)
        more = {"level": number, "family": family}
        return self._trained(self._spec("level", **more), values, mask, more)

    def _cut(self, level: Level, number: int) -> Mask:
        """What the level of this number keeps of an earlier one."""
        rule, kept = self.imp.rule, {name: level.mask[name] for name in self.pruned}
        found = scores(self.imp.criterion, self.rewound(), level.final, kept, together=rule.competing)
        if self.imp.criterion in PLATEAUS:
            found = untied(found, self.imp.seed)
        if rule.competing:
            outside = sum(level.mask.counts[name] for name in self.shapes if name not in self.pruned)
            marks = largest_global(found, level_totals(self.network.shapes, rule, number)[number] - outside)
        else:
            counts = level_counts(self.network.shapes, rule, number)[number]
            marks = {name: largest(value, counts[name]) for name, value in found.items()}
        return Mask({**level.mask, **marks})

    def _spec(self, kind: str, **more: Any) -> Spec:
        own = self.imp.to_json()
        if kind == "start":  # does not depend on what is pruned
            shared = {name: own[name] for name in ("model", "recipe", "rewind", "law", "seed")}
            return Spec("weak-start", VERSION, {**shared, **self._place})
        if more.get("level") == 0:  # nothing is cut yet, so that all criteria begin from one and the same training
            own |= {"criterion": Imp.criterion, "strategy": Imp.strategy}
        elif self.imp.criterion in PLATEAUS:
            own["ties"] = "drawn"  # stages from when places decided are others
        return Spec(f"weak-{kind}", VERSION, {**own, **self._place, **more})

    @property
    def _device(self) -> torch.device:
        return self._data.train[1].device

    def _start(self) -> Stage:
        result = self._descend(self._spec("start"), beginning(self.source), None, 0, self.imp.rewind)
        return Stage({"step": self.imp.rewind}, _on_cpu(result.final))

    def _trained(self, spec: Spec, values: Mapping[str, Tensor], mask: Mask, more: Mapping[str, Any]) -> Stage:
        started = time.perf_counter()
        result = self._descend(spec, values, mask, self.imp.rewind, self.imp.recipe.steps)
        tests = [self._tested(state) for state in (result.best, result.final)]
        curve = {
            name: [getattr(look, name) for look in result.looks] for name in ("step", "loss", "accuracy", "train_loss")
        }
        record = {
            **more,
            "kept": dict(mask.counts),
            "counted": mask.size,
            "density": mask.density,
            "mask": mask.digest,
            "early_stop": result.stop.step,
            "validation_at_stop": result.stop.accuracy,
            "test_at_stop": tests[0],
            "test_at_end": tests[1],
            "curve": curve,
            "measured": {"seconds": time.perf_counter() - started},
        }
        return Stage(record, _packed(mask, _on_cpu(result.final)))

    def _descend(self, spec: Spec, values: Mapping[str, Tensor], mask: Mask | None, begin: int, end: int) -> Descended:
        examples = Examples(*self._data.train, self._data.validation)
        with deterministic_noise(), thread_count(self._threads):
            module = self._module(values)
            descent = Descent(module, mask, examples, self.imp.recipe, seed=self.imp.seed, begin=begin)
            if self.stages.folder is None:
                descent.to(end)
                return descent.result()
            settings = Checkpoint(self.stages.unfinished(spec), every_seconds=self._checkpoint_s)
            arguments = {
                "stage": spec.key,
                "start": digest(descent.network.state_dict()),
                "threads": torch.get_num_threads(),
            }
            keep_on(descent, end, Keeper(settings, arguments, self._device))
            return descent.result()

    def _module(self, values: Mapping[str, Tensor]) -> nn.Module:
        own = {**self.network.shapes, **self.network.state}
        return self.network.module({name: values[name].detach().cpu().clone() for name in own})

    def _tested(self, state: Mapping[str, Tensor]) -> float:
        module = self._module(state).to(self._device)
        with thread_count(self._threads):
            return accuracy(module, *self._data.test)

    def _level(self, stage: Stage) -> Level:
        mask, final = _unpacked(stage.tensors, self.shapes)
        return Level(stage.record, mask, final)


def masked(values: Mapping[str, Tensor], mask: Mask) -> dict[str, Tensor]:
    """Return values that are +0.0 wherever a mask keeps nothing.

    >>> masked({"w": torch.tensor([-1.0, 2.0])}, Mask({"w": torch.tensor([False, True])}))
    {'w': tensor([0., 2.])}
    """
    return {name: value.masked_fill(~mask[name], 0.0) if name in mask else value for name, value in values.items()}


def _on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in state.items()}


def _packed(mask: Mask, final: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bits of the mask, kept values, and what is not masked."""
    tensors = {}
    for name, value in final.items():
        if name in mask:
            tensors[f"{name}.mask"] = torch.from_numpy(mask.packed(name))
            value = value.reshape(-1)[torch.from_numpy(mask.indices(name))]
        tensors[name] = value
    return tensors


def _unpacked(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> tuple[Mask, dict[str, Tensor]]:
    mask = Mask.from_packed(shapes, {name: tensors[f"{name}.mask"].numpy() for name in shapes})
    final = {}
    for name, value in tensors.items():
        if name in shapes:
            flat = torch.zeros(math.prod(shapes[name]), dtype=value.dtype)
            flat[torch.from_numpy(mask.indices(name))] = value
            final[name] = flat.view(shapes[name])
        elif not (name.endswith(".mask") and name.removesuffix(".mask") in shapes):
            final[name] = value
    return mask, final
