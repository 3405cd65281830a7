"""`python -m experiments clean`: delete what is ours and of no more use; first it is listed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments._commands_show import say, show, size
from experiments._experiment import find, names
from strongticket.runs import Spec, Store

if TYPE_CHECKING:
    from experiments._commands_options import Clean

__all__ = ["Leftover", "clean", "leftovers"]


@dataclass(frozen=True)
class Leftover:
    """Something that may be deleted.

    Attributes:
        path: a file, or a folder of checkpoints.
        why: in words.
    """

    path: Path
    why: str


def clean(options: Clean) -> int:
    """List what may go, and delete it if told so; 1 if something could not be deleted."""
    store = Store(options.results)
    found = leftovers(store, old_versions=options.old_versions)
    sizes = [_bytes(one.path) for one in found]
    rows: list[dict[str, Any]] = [
        {"path": str(one.path.relative_to(store.folder)), "bytes": count, "why": one.why}
        for one, count in zip(found, sizes, strict=True)
    ]
    if options.json or rows:
        show(rows, f"of no more use in {store.folder}", as_json=options.json)
    total = f"{len(found)} of no more use, {size(sum(sizes))}"
    if not options.yes:
        say(f"{total}; nothing was deleted{': --yes does it' if found else ''}")
        return 0
    failed = [(one, error) for one in found if (error := _delete(one.path)) is not None]
    for one, error in failed:
        say(f"{one.path} could not be deleted: {error}")
    say(f"{total}; {len(found) - len(failed)} deleted")
    return int(bool(failed))


def leftovers(store: Store, *, old_versions: bool = False) -> list[Leftover]:
    """Return what may be deleted: made by us, and provably of no more use.

    Never a result of the current version of an experiment, and nothing of an experiment that is not known here, nor of
    a version that is newer than the code.

    Args:
        store: where to look.
        old_versions: results and failures of versions before the current one too.
    """
    versions = {name: find(name).version for name in names()}

    def old(spec: Spec) -> bool:
        return spec.version < versions.get(spec.name, 0)

    found = [Leftover(path, "temporary file of a writer that is gone") for path in store.leftovers()]
    found += [Leftover(path, "damaged result, set aside") for path in store.aside()]
    for failure in store.failures():
        if store.finished(failure.spec):
            found.append(Leftover(store.failure_path(failure.spec), "failure of a run that has finished since"))
        elif old_versions and old(failure.spec):
            found.append(Leftover(store.failure_path(failure.spec), f"failure of version {failure.spec.version}"))
    found += _checkpoints(store)
    if old_versions:
        for name in store.names():
            if name in versions:
                found += [
                    Leftover(store.path(record.spec), f"result of version {record.spec.version}, now {versions[name]}")
                    for record in store.records(name).records
                    if old(record.spec)
                ]
    return [one for one in found if not one.path.is_symlink()]


def _checkpoints(store: Store) -> list[Leftover]:
    """Folders of checkpoints whose runs have results."""
    folders = {path.name: path for path in sorted(store.checkpoints.glob("*"))}
    found = []
    for name in store.names() if folders else ():
        if folders.keys() & store.keys(name):
            keys = [record.spec.key for record in store.records(name).records if record.spec.key in folders]
            found += [Leftover(folders[key], f"checkpoints of a run of {name} that has finished") for key in keys]
    return found


def _bytes(path: Path) -> int:
    try:
        if path.is_dir():
            return sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file())
        return path.stat().st_size
    except OSError:
        return 0


def _delete(path: Path) -> OSError | None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        return error
    return None
