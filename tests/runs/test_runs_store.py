from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongticket.runs import ConflictingResult, DamagedRun, Failure, MissingRun, Record, Spec, Store

ENVIRONMENT: dict[str, Any] = {"python": "3.11"}


def record(x: int = 1, result: dict[str, Any] | None = None) -> Record:
    return Record(Spec("study", 1, {"x": x}), {"y": [0.1, x]} if result is None else result, ENVIRONMENT, 0.5)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "folder")
    with pytest.raises(MissingRun, match="no result of study"):
        store.read(record().spec)
    assert not store.folder.exists()  # reading makes nothing
    assert store.records("study").records == ()
    path = store.write(record())
    assert path == store.path(record().spec) == store.folder / "runs" / "study" / f"{record().spec.key}.json"
    assert store.read(record().spec) == record()
    assert store.records("study").records == (record(),)
    assert sorted(json.loads(path.read_text())["spec"]) == ["name", "params", "version"]


def test_equal_results_may_be_added_twice_and_others_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    before = store.write(record()).read_bytes()
    other_machine = Record(record().spec, record().result, {"python": "3.12"}, 9.0)
    assert store.write(other_machine).read_bytes() == before
    with pytest.raises(ConflictingResult, match="depend on the spec"):
        store.write(record(result={"y": 0}))
    assert store.path(record().spec).read_bytes() == before


@given(st.data())
def test_no_damage_passes_unnoticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    path = store.write(record())
    raw = path.read_bytes()
    place = data.draw(st.integers(0, len(raw) - 1))
    damaged = data.draw(
        st.sampled_from(
            [
                raw[:place],
                raw[:place] + bytes([raw[place] ^ (1 << place % 8)]) + raw[place + 1 :],
                raw + raw,
                b"",
                b"{}",
            ]
        )
    )
    path.write_bytes(damaged)
    try:
        found = store.read(record().spec)
    except DamagedRun:
        # the run counts as missing, the file is kept
        assert store.collect([record().spec]).missing == (record().spec,)
        assert len(store.records("study").damaged) == 1
        assert store.set_aside(record().spec).read_bytes() == damaged
        assert store.write(record()).read_bytes() == raw
    else:
        # only what says nothing about the result may differ: the end of the line, environment, time, version
        assert found.content == record().content


@pytest.mark.parametrize(
    "raw", [b"[" * 100_000, b'{"a":' * 5000, b"\xff\xfe", b'{"x":1e999}', b'{"x":NaN}', b"9" * 5000, b'{"a":1,"a":1}']
)
def test_hostile_files_are_damaged_runs(tmp_path: Path, raw: bytes) -> None:
    store = Store(tmp_path)
    store.write(record()).write_bytes(raw)
    with pytest.raises(DamagedRun):
        store.read(record().spec)


def test_a_file_under_another_key_is_damage(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(record(1)).rename(store.path(record(2).spec))
    with pytest.raises(DamagedRun, match="another run"):
        store.read(record(2).spec)
    assert len(store.records("study").damaged) == 1


def test_files_set_aside_never_replace_each_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept = []
    for content in ("a", "b", "c"):
        store.path(record().spec).parent.mkdir(parents=True, exist_ok=True)
        store.path(record().spec).write_text(content)
        kept.append(store.set_aside(record().spec))
    assert [path.read_text() for path in kept] == ["a", "b", "c"]


def test_finished_is_what_can_be_read_and_no_error_is_taken_for_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, spec = Store(tmp_path), record().spec
    assert not store.finished(spec)
    store.write(record())
    assert store.finished(spec)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", _refused)
        with pytest.raises(PermissionError):
            store.finished(spec)
    store.path(spec).write_text("{")
    assert not store.finished(spec)
    assert store.aside() == ()
    aside = store.set_aside(spec)
    (aside.parent / "notes.json").write_text("{}")
    assert store.aside() == (aside,)


def _refused(path: Path) -> bytes:
    raise PermissionError(f"{path} is another's")


def test_results_that_could_not_be_read_back_are_not_written(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    for result in ({"x": float("nan")}, {"x": deep}):
        with pytest.raises(ValueError):
            Store(tmp_path).write(record(result=result))
    assert list(tmp_path.rglob("*")) == []


def test_failures_are_kept_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    failure = Failure(record().spec, "RuntimeError", "no", "Traceback ...", 2, ENVIRONMENT)
    store.write_failure(failure)
    assert store.read_failure(record().spec) == failure
    assert store.failures() == (failure,)
    with pytest.raises(MissingRun):
        store.read(record().spec)
    store.failure_path(record().spec).write_text("{")
    assert store.read_failure(record().spec) is None
    assert store.failures() == ()
    store.clear_failure(record().spec)
    store.clear_failure(record().spec)


def test_sweep_removes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.write(record())
    old, young, foreign = (
        path.parent / name
        for name in (f".{path.name}.{'a1' * 8}.part", f".{path.name}.{'b2' * 8}.part", ".note.json.a1.part")
    )
    for leftover in (old, young, foreign):
        leftover.write_text("half")
    for leftover in (old, foreign, path):
        os.utime(leftover, (time.time() - 7200,) * 2)
    assert store.sweep() == 1
    assert sorted(path.parent.iterdir()) == sorted([young, foreign, path])
    assert store.records("study").records == (record(),)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser writes everywhere")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        Store(tmp_path / "store").write(record())


def test_keys_and_names_are_read_from_the_folders_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert (store.names(), store.keys("study"), store.leftovers()) == ((), frozenset(), ())
    keys = {store.write(record(x)).stem for x in range(3)}
    store.path(record(0).spec).write_text("torn")  # which only reading would tell
    (tmp_path / "runs" / "study" / "note.json").write_text("{}")
    (tmp_path / "runs" / "study" / f".{'a' * 64}.json.0.part").write_text("half")
    (tmp_path / "runs" / "file").write_text("no folder")
    assert store.keys("study") == keys
    assert store.names() == ("study",)
