"""Stores with odd things in them: what the commands must not delete, overwrite or stumble over."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.__main__ import main
from experiments._commands_clean import leftovers
from strongticket.runs import Record, Spec, Store

pytest.importorskip("tyro", reason="the extra 'cli' is not installed")


def test_clean_leaves_what_only_looks_like_ours(tmp_path: Path) -> None:
    """Names that end alike, and a folder named like a damaged file, are somebody's."""
    store, key = Store(tmp_path), Spec("bounds", 1, {"seed": 0}).key
    for name in ("runs/bounds/.notes.json.old.part", f"failures/.{key}.json.mine.part", f"damaged/{key}.0.json/deep"):
        path = store.folder / name
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        os.utime(path, (time.time() - 7200,) * 2)
    assert leftovers(store) == []


def test_collect_of_nothing_does_not_empty_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.csv"
    table.write_text("precious")
    assert main(["collect", "bounds", "--results", str(tmp_path / "misspelt"), "--out", str(table)]) == 1
    assert "has no results of bounds to collect" in capsys.readouterr().err
    assert table.read_text() == "precious"


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_collect_writes_rows_that_have_nothing_in_common(tmp_path: Path, ending: str) -> None:
    """Ragged, nested, empty, enormous, and text that is no Unicode, such as the name of a file."""
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    results: list[dict[str, Any]] = [
        {"rows": [{"a": 1}, {"b": [1]}, {}]}, {"rows": []}, {"rows": [1]}, {"rows": {"a": 2}},
        {"a": 10**39, "b": "é,\"\n", "c": {}}, {"a": 0.5, "b": True}, {"": {"": 1}}, {"s": "\udcff", "\udcff": 1},
    ]  # fmt: skip
    store, out = Store(tmp_path / "store"), tmp_path / f"table{ending}"
    for i, result in enumerate(results):
        store.write(Record(Spec("ragged", 1, {"i": i}), result, {}, 0.1))
    assert main(["collect", "ragged", "--results", str(store.folder), "--out", str(out)]) == 0
    assert out.stat().st_size > 0
