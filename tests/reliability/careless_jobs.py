"""Jobs that break what is promised, to see that the studies notice; run in a process of their own by the tests."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from experiments.reliability import _child, _disk, _kill, _twice
from experiments.reliability._jobs import Job

CONTENT = "whole " * 1000


def whole(path: Path) -> str:
    """Reads a file as its user would: a half-written one is an error."""
    text = path.read_text()
    if text and text != CONTENT:
        raise ValueError("torn")
    return "whole" if text else "empty"


def in_place(folder: Path) -> None:
    with (folder / "a.txt").open("w") as stream:
        for word in ("whole ",) * 1000:
            stream.write(word)
            if stream.tell() % 600 == 0:
                stream.flush()
                time.sleep(0.002)


def not_again(folder: Path) -> None:
    """Takes what is there for finished."""
    if not (folder / "a.txt").exists():
        (folder / "a.txt").write_text("")
        time.sleep(0.1)
        (folder / "a.txt").write_text(CONTENT)


def untidy(folder: Path) -> None:
    scratch = folder / f"{time.monotonic_ns()}.tmp"
    scratch.write_text(CONTENT)
    time.sleep(0.05)
    scratch.rename(folder / "a.txt")


def left_alone(folder: Path) -> None:
    """Starts a process that does not end with it."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    time.sleep(0.2)
    (folder / "a.txt").write_text(CONTENT)
    sleeper.kill()
    sleeper.wait()


def timed(folder: Path) -> None:
    """Depends on when it is run."""
    (folder / "a.txt").write_text(CONTENT)
    (folder / "b.txt").write_text(str(time.time_ns()))
    time.sleep(0.05)


def stubborn(folder: Path) -> None:
    """Turns a full disk into an error of its own."""
    from strongticket._files import write_atomically

    try:
        write_atomically(folder / "a.txt", CONTENT)
    except OSError:
        raise KeyError("lost") from None


def main(name: str) -> dict[str, Any]:
    looks = {"a.txt": whole, "b.txt": Path.read_text}
    if name == "twice":
        job = Job("", timed, looks)
        place = Path(sys.argv[2])
        undisturbed = _kill.Undisturbed.of(job, place / "whole")
        return {"what": _twice.twice_of(job, undisturbed, place, 0.0, watch=False)}
    job = Job("", globals()[name], looks, rewrites=name == "in_place")
    if name == "stubborn":
        return _disk.failing_job(job, name, 20)
    _child.GONE_S = 0.0
    return _kill.killed_job(job, name, _kill.at_random(0), 5)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
