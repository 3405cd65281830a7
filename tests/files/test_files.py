"""A crash while a file is written leaves the old file or the new one, never something between."""

from __future__ import annotations

import io
import json
import math
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strongticket
from strongticket import _strict_json, ticketfile
from strongticket._files import canonical_json, check_writable, sha256, write_atomically
from strongticket._strict_json import strict_json
from strongticket.models import MLP
from strongticket.ticket import Mask, Source, Ticket

CALLS = ["open", "fdopen", "write", "flush", "fsync", "replace", "close"]


class Failing:
    """Make the n-th of the calls that reach the disk fail, counting all kinds together."""

    def __init__(self, patch: pytest.MonkeyPatch, n: int, folder: Path) -> None:
        self.left, self.folder, self.seen = n, str(folder), set()
        for name in ("open", "fsync", "replace", "close"):
            patch.setattr(os, name, self.wrapped(name, getattr(os, name)))
        patch.setattr(os, "fdopen", self.fdopen(os.fdopen))

    def count(self, name: str) -> None:
        self.left -= 1
        self.seen.add(name)
        if self.left == 0:
            raise OSError(28, f"No space left on device ({name})")

    def wrapped(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            ours = name in ("fsync", "close") or self.folder in str(args[0])
            if ours:
                self.count(name)
            return original(*args, **kwargs)

        return call

    def fdopen(self, original: Callable[..., Any]) -> Callable[..., Any]:
        outer = self

        class Stream(io.FileIO):
            def write(self, data: Any) -> int:
                half = bytes(data)[: len(data) // 2]
                super().write(half)  # a torn write
                outer.count("write")
                return len(half) + (super().write(bytes(data)[len(half) :]) or 0)

            def flush(self) -> None:
                if not self.closed:
                    outer.count("flush")
                super().flush()

        def call(handle: int, *args: Any, **kwargs: Any) -> Any:
            self.count("fdopen")
            return Stream(handle, "w")

        return call


def fail_everywhere(write: Callable[[Path], object], path: Path, old: bytes, new: bytes) -> set[str]:
    """Let each call in turn fail, and return the kinds of calls seen."""
    seen: set[str] = set()
    for n in range(1, 100):
        path.write_bytes(old)
        with pytest.MonkeyPatch.context() as patch:
            failing = Failing(patch, n, path.parent)
            try:
                write(path)
                failed = False
            except OSError:
                failed = True
        assert failed == (failing.left <= 0), "a failing call is hidden"
        seen |= failing.seen
        assert path.read_bytes() in (old, new), f"call {n} failing leaves something between"
        assert [entry.name for entry in path.parent.iterdir()] == [path.name], f"call {n} failing leaves a file behind"
        if not failed:
            assert path.read_bytes() == new
            return seen
    raise AssertionError("there is no end of calls")


def test_whichever_call_fails_the_file_is_old_or_new(tmp_path: Path) -> None:
    new = bytes(range(256)) * 10
    seen = fail_everywhere(lambda path: write_atomically(path, new), tmp_path / "f", b"old", new)
    assert seen >= {"open", "fdopen", "write", "fsync", "replace", "close"}


def test_whichever_call_fails_the_ticket_file_is_old_or_new(tmp_path: Path) -> None:
    source = Source(MLP((4, 3)), 1)
    first, second = Ticket(source, Mask.full(source.shapes)), Ticket(source, Mask.full(source.shapes, kept=False))
    path = tmp_path / "t.slt"
    fail_everywhere(lambda path: ticketfile.save(path, second), path, ticketfile.dumps(first), ticketfile.dumps(second))
    assert ticketfile.load(path) == second


def test_a_failing_call_without_an_older_file_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(tmp_path / "f", b"new")
    assert not list(tmp_path.iterdir())


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(strongticket.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )


KILLED = """
import sys
from strongticket._files import write_atomically
print("ready", flush=True)
n = 0
while True:
    n += 1
    write_atomically(sys.argv[1], bytes([n % 256]) * 300_000)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for seed in range(3):
        process = child(KILLED, str(path))
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.Random(seed).uniform(0.01, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if path.exists():
            content = path.read_bytes()
            assert len(content) == 300_000
            assert len(set(content)) == 1


FULL = """
import resource, sys
from strongticket._files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(sys.argv[1], bytes(5000))
except OSError as error:
    print("refused", error.errno)
"""


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    out, _ = child(FULL, str(path)).communicate()
    assert out.startswith("refused")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_it_writes_makes_folders_and_leaves_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "f"
    assert write_atomically(str(path), "gr\u00fc\u00df") == path
    assert path.read_text(encoding="utf-8") == "gr\u00fc\u00df"
    (tmp_path / "usual").write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)
    write_atomically(path, b"")
    assert path.read_bytes() == b""
    assert [entry.name for entry in path.parent.iterdir()] == ["f"]


def test_a_folder_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "f", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").is_dir()


# -- canonical JSON and digests

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_canonical_json_says_the_same_in_one_way(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text
    assert text.isascii()
    assert "\n" not in text


@given(st.dictionaries(st.text(), st.integers(), max_size=6))
def test_canonical_json_does_not_depend_on_order(value: dict[str, int]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [math.nan], {"a": math.inf}])
def test_canonical_json_refuses_what_json_does_not_know(value: Any) -> None:
    with pytest.raises(ValueError):
        canonical_json(value)


@pytest.mark.parametrize("value", [{1, 2}, b"a", object(), np.float32(1), np.int64(1)])
def test_canonical_json_refuses_what_is_not_json(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


@given(st.lists(st.binary(max_size=20)))
def test_sha256_is_that_of_the_parts_together(parts: list[bytes]) -> None:
    assert sha256(*parts) == sha256(b"".join(parts))


def test_sha256_of_nothing_is_the_published_one() -> None:
    assert sha256() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_links_stay_links_and_devices_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    for refuse in (check_writable, lambda path: write_atomically(path, "x")):
        with pytest.raises(OSError, match="device or a pipe"):
            refuse(Path("/dev/null"))


def test_a_place_that_cannot_be_written_is_found_out_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "file")
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(IsADirectoryError, match="is a folder"):
        check_writable(tmp_path)
    (tmp_path / "file").write_text("kept")
    check_writable(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
    with pytest.raises(OSError):
        check_writable(tmp_path / "file" / "below")


# -- what killed writers leave


def part(path: Path) -> Path:
    """The temporary file that a writer of this path opens first."""
    return path.parent / f".{path.name}.{sha256(path.name.encode())[:16]}.part"


LEFT = """
import os, signal, sys
from strongticket._files import write_atomically
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(sys.argv[1], b"half")
"""


def test_what_a_killed_writer_leaves_the_next_one_removes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    process = child(LEFT, str(path))
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [entry.name for entry in tmp_path.iterdir()] == [part(path).name]
    write_atomically(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]
    assert path.read_bytes() == b"new"


def test_the_file_of_a_writer_that_is_alive_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, fsync = tmp_path / "f", os.fsync

    def second(handle: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        write_atomically(path, b"second")  # in the middle of the first
        assert part(path).exists()
        fsync(handle)

    monkeypatch.setattr(os, "fsync", second)
    write_atomically(path, b"first")
    assert path.read_bytes() == b"first"  # which was renamed last
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_many_writers_of_one_file_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    contents = [bytes([i]) * 1000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda i: write_atomically(path, contents[i % 8]), range(400)):
            assert path.read_bytes() in contents
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_something_else_under_the_temporary_name_is_left_alone(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "f", tmp_path / "other"
    other.write_bytes(b"kept")
    if kind == "link":
        part(path).symlink_to(other)
    elif kind == "folder":
        part(path).mkdir()
    else:
        os.mkfifo(part(path))
    write_atomically(path, b"new")
    assert (path.read_bytes(), other.read_bytes()) == (b"new", b"kept")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(["f", "other", part(path).name])


def test_without_locks_a_file_left_behind_stays_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    path = tmp_path / "f"
    write_atomically(path, b"first")
    part(path).write_bytes(b"half")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert part(path).read_bytes() == b"half"


def test_a_failure_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/f'$") as failure:
        write_atomically(tmp_path / "f", b"new")
    assert failure.value.errno == 28


def test_a_probe_left_behind_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / ".f.probe").touch()
    check_writable(tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


# -- JSON of strangers


def test_lists_and_objects_are_bounded_by_the_size_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_strict_json, "MAX_CONTAINERS", 1000)
    few = b"[" + b"{}," * 998 + b"1]"
    assert len(strict_json(few)) == 999
    with pytest.raises(ValueError, match="1002 lists and objects, more than the limit of 1000"):
        strict_json(b"[" + b"{}," * 1001 + b"1]")
    wide = b"[" + b'{"a":"0123456789abcdef"},' * 1001 + b"1]"
    assert len(strict_json(wide)) == 1002
