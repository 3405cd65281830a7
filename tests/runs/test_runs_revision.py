from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from strongticket.runs._worker import _revision

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not there")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    for name in ("code.py", "inner/more.py"):
        (tmp_path / name).write_text("x = 1\n")
    me = ("-c", "user.name=me", "-c", "user.email=me@example.org", "-c", "commit.gpgsign=false")
    for command in (["init", "-q"], ["add", "."], [*me, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_a_revision_tells_changed_checkouts_apart(checkout: Path) -> None:
    inner = checkout / "inner"
    head = _revision(inner)
    assert head is not None
    assert len(head) == 40

    def changed(name: str, text: str | None) -> str | None:
        path, before = checkout / name, (checkout / name).read_text()
        path.unlink() if text is None else path.write_text(text)
        found = _revision(inner)
        path.write_text(before)
        return found

    changes = [("code.py", "x = 2\n"), ("code.py", "x = 3\n"), ("code.py", ""), ("code.py", None)]
    changes += [("inner/more.py", "x = 2\n"), ("inner/more.py", None)]
    found = [changed(*change) for change in changes]
    assert found == [changed(*change) for change in changes]
    assert len({head, *found}) == 1 + len(changes)
    assert all(one is not None and one.startswith(f"{head}+") and len(one) == 53 for one in found)
    assert _revision(inner) == head  # changed back
    (checkout / "code.py").write_text("x = 1\n")  # written, not changed
    (checkout / "untracked.py").write_text("x = 1\n")
    assert _revision(inner) == head


def test_there_is_no_revision_outside_of_a_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(checkout / "none"))
    assert _revision(checkout) is None
