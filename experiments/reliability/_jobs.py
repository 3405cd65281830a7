"""Small jobs, one for each way in which the toolkit writes files; each takes a second or less, and can be looked at.

A job is a command: a function of a folder that does what is missing there, however often it was killed before. `look`
reads every file of the folder by the door that users read it with, and fails if one cannot be read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, final

from strongticket._files import canonical_json

__all__ = ["JOBS", "Job", "trial", "warm"]

ROOT: Final = Path(__file__).resolve().parents[2]


@final
@dataclass(frozen=True)
class Job:
    """A command whose end must not depend on how often it was killed.

    Attributes:
        about: what it does.
        run: the command, on a folder.
        looks: pattern of file names -> what a file of them comes to, without what is measured; fails on a damaged one.
            Names that match none are leftovers.
        rewrites: whether files are written again and again with other contents, so that each of these may be found.
        program: whether it becomes another program, in which no faults can be planted.
    """

    about: str
    run: Callable[[Path], None]
    looks: Mapping[str, Callable[[Path], str]]
    rewrites: bool = False
    program: bool = False

    def look(self, folder: Path) -> dict[str, str]:
        """Return what every file comes to, by its path in the folder, but for working files, which must be readable."""
        found = {}
        for path in _files(folder):
            reader = self._reader(path)
            if reader is not None:
                found[str(path.relative_to(folder))] = reader(path)
        return {name: value for name, value in found.items() if value}

    def leftovers(self, folder: Path) -> list[str]:
        """Return the files that no pattern knows: what a killed run left behind."""
        return [str(path.relative_to(folder)) for path in _files(folder) if self._reader(path) is None]

    def _reader(self, path: Path) -> Callable[[Path], str] | None:
        if path.name.startswith(".") or path.parent.name in ("failures", "damaged"):
            return None
        return next((reader for pattern, reader in self.looks.items() if fnmatch(path.name, pattern)), None)


def warm(names: Iterable[str]) -> None:
    """Load what these jobs need, and compute nothing, so that forked children start at once."""
    for module in sorted({module for name in names for module in _NEEDS.get(name, ())}):
        with contextlib.suppress(ImportError):  # the job says what is missing
            importlib.import_module(module)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if not {"training", "search", "stages"}.isdisjoint(names):
        _digits()


_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "training": ("strongticket.training", "strongticket.models"),
    "search": ("strongticket.search.find", "strongticket.ticketfile"),
    "construction": ("strongticket.constructions", "strongticket.certify", "strongticket.ticketfile"),
    "tickets": ("strongticket.ticketfile",),
    "store": ("strongticket.runs",),
    "stages": ("strongticket.weak", "safetensors.torch"),
    "collect": ("strongticket.runs", "experiments.__main__", "pyarrow.parquet", "tyro", "rich.console", "rich.table"),
    "figure": ("paper_figs.fig05_speed", "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg"),
}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _bytes(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def _digits() -> Any:
    """The digits, of which jobs take a few hundred."""
    from strongticket.data import load

    return load("digits", seed=0)


def _few(folder: Path) -> dict[str, Any]:
    """What training and searching are given alike: digits, a checkpoint after every step, a log."""
    from strongticket.training import Checkpoint

    data = _digits()
    return {
        "inputs": data.train.inputs[:300],
        "labels": data.train.labels[:300],
        "recipe": "digits",
        "batch_size": 50,
        "validation": data.validation.take(60),
        "checkpoint": Checkpoint(folder / "run", every_seconds=0.0),
        "log": folder / "log.jsonl",
    }


# -- training, and searching, with a checkpoint after every step


def _log(path: Path) -> str:
    """The epochs of a log, without times; its reader drops a last line that is torn."""
    from strongticket.training.log import _records

    return canonical_json([{k: v for k, v in record.items() if k != "seconds"} for record in _records(path)])


def _checkpoint(path: Path) -> str:
    import torch

    torch.load(path, weights_only=True)
    return ""  # how far a run came is no result


def _train(folder: Path) -> None:
    from strongticket.models import Target, architecture
    from strongticket.training import train

    trained = train(architecture("mlp-64-24-10"), epochs=8, seed=1, **_few(folder))
    Target.from_module(trained.module).save(folder / "target.safetensors")


def _ticket(path: Path) -> str:
    from strongticket import ticketfile

    ticketfile.load(path)
    return _bytes(path)


def _target(path: Path) -> str:
    from strongticket.models import Target

    return Target.load(path).digest + _bytes(path)


def _search(folder: Path) -> None:
    from strongticket import ticketfile
    from strongticket.search.find import find

    found = find("mlp-64-48-10", epochs=6, seed=2, **_few(folder))
    ticketfile.save(folder / "found.slt", found.ticket, provenance={"best_epoch": found.best_epoch})


# -- a construction, and tickets written again and again


def _construct(folder: Path) -> None:
    import torch

    from strongticket import Domain, ticketfile
    from strongticket.certify import examine
    from strongticket.constructions import Pensia2020Optimal
    from strongticket.models import Target

    generator = torch.Generator().manual_seed(3)
    weights = [torch.rand(shape, generator=generator) - 0.5 for shape in ((12, 10), (6, 12))]
    target = Target.from_state({"0.weight": weights[0], "1.weight": weights[1]})
    target.save(folder / "target.safetensors")
    built = Pensia2020Optimal(weight_eps=0.01, items=18, seed=4, domain=Domain.box(0, 1)).construct(target)
    proved = examine(built.best, target, Domain.box(0, 1)).maximum
    ticketfile.save(folder / "ticket.slt", built.best.with_certificates(proved))


def _write(folder: Path) -> None:
    from strongticket import ticketfile
    from strongticket.models import MLP
    from strongticket.ticket import Mask, Source, Ticket

    source = Source(MLP((300, 200)), 5)
    ticket = Ticket(source, Mask.full(source.shapes))
    for i in range(VERSIONS):
        ticketfile.save(folder / "ticket.slt", ticket, provenance={"version": i, "text": "x" * 20_000})


VERSIONS: Final = 60


def _version(path: Path) -> str:
    """Which version a ticket file is: any of them may be found while they are written, whole."""
    from strongticket import ticketfile

    ticketfile.load(path)
    return f"version {ticketfile.describe(path)['provenance']['version']}"


# -- a store of results, written from processes, and by the command


def trial(params: dict[str, Any]) -> dict[str, Any]:
    """Return a number that depends on the parameters alone, after a moment; what workers of the job "store" do."""
    time.sleep(params["seconds"])
    digest = hashlib.sha256(canonical_json(params).encode()).hexdigest()
    return {"value": int(digest[:12], 16) / 2**48, "rows": [digest] * 20, "measured": {"time": time.time()}}


def _store(folder: Path) -> None:
    from strongticket.runs import Spec, Store, execute

    specs = [Spec("trial", 1, {"seed": seed, "seconds": 0.004}) for seed in range(80)]
    summary = execute(specs, "experiments.reliability._jobs:trial", Store(folder / "store"), jobs=2)
    if not summary.complete or summary.damaged:
        raise RuntimeError(f"runs failed or were damaged: {summary.failures} {summary.damaged}")


def _record(path: Path) -> str:
    """The claim of a result: all of it but what is measured."""
    from strongticket.runs import Spec, Store

    return Store(path.parents[2]).read(Spec.from_json(json.loads(path.read_bytes())["spec"])).claim


def _command(*words: str) -> Callable[[Path], None]:
    def become(folder: Path) -> None:
        given = [word.replace("FOLDER", str(folder)) for word in words]
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", *given])

    return become


# -- iterative pruning in stages


def _weak(folder: Path) -> None:
    from strongticket.weak import Imp, StepRecipe, Trunk, WeakData

    data = _digits()
    a, b, c = [(part.inputs[:200].flatten(1), part.labels[:200]) for part in (data.train, data.validation, data.test)]
    imp = Imp("mlp-64-24-10+bias", StepRecipe(16, 20, 0.01, evaluate_every=8), seed=6)
    trunk = Trunk(imp, WeakData(a, b, c), folder / "stages", checkpoint_s=0.0)
    trunk.level(2)
    trunk.export(2, folder)


def _stage(path: Path) -> str:
    import torch

    from strongticket.training.checkpoint import digest

    content = torch.load(path, weights_only=True)
    if "state" in content:
        return ""  # the checkpoint of a level in the making
    if content["digest"] != digest([content["record"], content["tensors"]]):
        raise ValueError(f"{path} is damaged")
    record = {name: value for name, value in json.loads(content["record"]).items() if name != "measured"}
    return digest([canonical_json(record), content["tensors"], content["spec"]])


# -- what is made of results: a table, and a figure


def _collect(folder: Path) -> None:
    _store(folder)
    main = importlib.import_module("experiments.__main__").main
    words = ["collect", "trial", "--results", str(folder / "store"), "--out", str(folder / "trial.parquet")]
    status = main(words)
    if status:
        raise SystemExit(status)


def _table(path: Path) -> str:
    table = importlib.import_module("pyarrow.parquet").read_table(path)
    measured = [name for name in table.column_names if "measured" in name or name in ("seconds", "environment")]
    return hashlib.sha256(repr(table.drop_columns(measured).to_pylist()).encode()).hexdigest()


def _figure(folder: Path) -> None:
    from strongticket.runs import Store

    os.chdir(ROOT)  # above this room, so that it is asked for by name
    importlib.import_module("paper_figs").figure("fig05").draw(Store(ROOT / "results"), folder)


JOBS: Final[Mapping[str, Job]] = MappingProxyType(
    {
        "training": Job(
            "train a network on digits, a checkpoint after every step, a log, and save it",
            _train,
            {"checkpoint.pt": _checkpoint, "log.jsonl": _log, "*.safetensors": _target},
        ),
        "search": Job(
            "search for a ticket on digits by edge-popup, a checkpoint after every step, and save it",
            _search,
            {"checkpoint.pt": _checkpoint, "log.jsonl": _log, "*.slt": _ticket},
        ),
        "construction": Job(
            "construct a ticket by pensia2020optimal, certify it and save it",
            _construct,
            {"*.slt": _ticket, "*.safetensors": _target},
        ),
        "tickets": Job(f"save {VERSIONS} tickets to one file", _write, {"*.slt": _version}, rewrites=True),
        "store": Job("do 80 runs in 2 worker processes, their results to a store", _store, {"*.json": _record}),
        "stages": Job(
            "three levels of iterative pruning on digits, in stages, and export the last",
            _weak,
            {"*.pt": _stage, "*.slt": _ticket, "*.safetensors": _bytes},
        ),
        "collect": Job(
            "do 80 runs and collect them into a parquet file",
            _collect,
            {"*.json": _record, "*.parquet": _table},
        ),
        "figure": Job("draw a figure, as PDF and PNG", _figure, {"*.pdf": _bytes, "*.png": _bytes, "*.svg": _bytes}),
        "command": Job(
            "python -m experiments run, 2 processes, a quick preset",
            _command(
                "experiments",
                "run",
                "quantized_threshold",
                "--preset",
                "quick",
                "--jobs",
                "2",
                "--results",
                "FOLDER/store",
            ),
            {"*.json": _record},
            program=True,
        ),
    }
)
"""The jobs by name."""
