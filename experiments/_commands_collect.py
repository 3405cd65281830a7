"""`python -m experiments collect`: one flat table of all that an experiment found, for tools that like tables."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from experiments._commands_show import say
from experiments._experiment import command, find, names
from strongticket._files import canonical_json, check_writable, write_atomically
from strongticket.runs import Damage, Record, Store

if TYPE_CHECKING:
    from experiments._commands_options import Collect

__all__ = ["collect", "flat", "rows_of"]

PROVENANCE: Final = ("key", "name", "version", "seconds", "strongticket", "environment")
"""Columns that say where a row comes from: digest of the spec, experiment and version, seconds of computing, version of
the package, and everything else that was recorded, as JSON."""


def collect(options: Collect) -> int:
    """Write the table; 0 when nothing is missing, 1 when something is, or is damaged; the rest is written all the same.

    Without any result nothing is written: an empty table must not replace another because a folder was misspelt.

    Raises:
        ValueError: an unknown name, preset or ending of the file.
        OSError: the file cannot be written.
    """
    out = options.out or Path("out") / f"{options.name}.parquet"
    if out.suffix not in _WRITERS:
        raise ValueError(f"out: expected a name that ends with {', '.join(_WRITERS)}, got {out}")
    store = Store(options.results)
    records, damaged, missing = _records(options, store)
    check_writable(out)
    for damage in damaged:
        say(f"damaged, left out: {damage.reason}")
    if options.preset is not None and missing:
        say(f"{missing} runs of the preset are missing: {command(find(options.name), options.preset, store)}")
    if not records:
        say(f"{store.folder} has no results of {options.name} to collect; {out} was not written")
        return 1
    table = [row for record in records for row in rows_of(record)]
    _WRITERS[out.suffix](out, table)
    say(f"{len(records)} runs, {len(table)} rows -> {out}")
    return int(bool(missing or damaged))


def _records(options: Collect, store: Store) -> tuple[Sequence[Record], Sequence[Damage], int]:
    if options.name not in names() and options.name not in store.names():
        find(options.name)  # says what there is
    if options.preset is not None:
        experiment = find(options.name)
        found = store.collect(run.spec for run in experiment.preset(options.preset))
        return found.records, found.damaged, len(found.missing)
    every = store.records(options.name)
    if options.old_versions or options.name not in names():
        return every.records, every.damaged, 0
    version = find(options.name).version
    return [record for record in every.records if record.spec.version == version], every.damaged, 0


def rows_of(record: Record) -> list[dict[str, Any]]:
    """Return a record as flat rows: one, or one for each of the result's "rows" if it has some.

    >>> from strongticket.runs import Spec
    >>> record = Record(Spec("a", 1, {"n": 3}), {"best": 0.5, "rows": [{"x": 1}, {"x": 2}]}, {}, 0.1)
    >>> for row in rows_of(record):
    ...     print({name: value for name, value in row.items() if "." in name})
    {'params.n': 3, 'result.best': 0.5, 'row.number': 0, 'row.x': 1}
    {'params.n': 3, 'result.best': 0.5, 'row.number': 1, 'row.x': 2}
    """
    spec = record.spec.to_json()
    made = {
        "key": record.spec.key,
        "name": spec["name"],
        "version": spec["version"],
        "seconds": record.seconds,
        "strongticket": record.version,
        "environment": canonical_json(record.environment),
    }
    result = dict(record.result)
    rows = result.get("rows")
    many = isinstance(rows, list) and bool(rows) and all(isinstance(row, dict) for row in rows)
    if many:
        del result["rows"]
    shared = {**made, **flat(spec["params"], "params"), **flat(result, "result")}
    if not many or not isinstance(rows, list):
        return [shared]
    return [{**shared, "row.number": i, **flat(row, "row")} for i, row in enumerate(rows)]


def flat(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return nested dictionaries as one, with dotted names; dots and backslashes in keys get a backslash.

    >>> flat({"a": {"b": 1, "c": [2]}, "d.e": None}, "x")
    {'x.a.b': 1, 'x.a.c': [2], 'x.d\\\\.e': None}
    """
    out: dict[str, Any] = {}
    for key, inner in value.items():
        path = name + "." + key.replace("\\", "\\\\").replace(".", "\\.")
        if isinstance(inner, Mapping) and inner:
            out |= flat(inner, path)
        else:
            out[path] = inner
    return out


def _columns(table: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of all columns: provenance, then parameters, results and rows, each in the order in which they come."""
    found = dict.fromkeys(name for row in table for name in row)
    order = ("params.", "result.", "row.")
    ranks = {name: next((i for i, start in enumerate(order) if name.startswith(start)), -1) for name in found}
    return sorted(found, key=lambda name: ranks[name])  # sorted keeps the order of equals


def _uniform(values: Sequence[Any]) -> list[Any]:
    """A column of one type: booleans, integers, floats or text; whatever is mixed or nested becomes JSON text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and float in kinds:
        return [None if value is None else _float(value) for value in values]
    if kinds == {str}:
        return [None if value is None else _text(value) for value in values]
    whole = kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values)
    if whole or kinds in (set(), {bool}):
        return list(values)
    return [None if value is None else canonical_json(value) for value in values]


def _text(value: str) -> str:
    """Text that every file can hold: halves of surrogate pairs, as names of files may have, become escapes."""
    return value.encode("utf-8", "backslashreplace").decode()


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond every double
        return math.copysign(math.inf, value)


def _parquet(out: Path, table: Sequence[Mapping[str, Any]]) -> None:
    try:
        arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
    except ModuleNotFoundError as error:
        raise ValueError(
            "a parquet file needs pyarrow: pip install 'strongticket[parquet]'; or write .csv or .jsonl"
        ) from error
    columns = {_text(name): _uniform([row.get(name) for row in table]) for name in _columns(table)}
    stream = io.BytesIO()
    parquet.write_table(arrow.table(columns), stream)
    write_atomically(out, stream.getvalue())


def _csv(out: Path, table: Sequence[Mapping[str, Any]]) -> None:
    names_, stream = _columns(table), io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(_text, names_))
    columns = [_uniform([row.get(name) for row in table]) for name in names_]
    writer.writerows(["" if value is None else value for value in line] for line in zip(*columns, strict=True))
    write_atomically(out, stream.getvalue())


def _jsonl(out: Path, table: Sequence[Mapping[str, Any]]) -> None:
    write_atomically(out, "".join(json.dumps(row, allow_nan=False) + "\n" for row in table))


_WRITERS: Final[Mapping[str, Callable[[Path, Sequence[Mapping[str, Any]]], None]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _jsonl,
}
