"""Run a tutorial as a reader would: `python docs/run_tutorial.py docs/tutorials/construct.md`, in an empty folder.

What is fenced as `pycon` is typed into one Python session and as `console` into a shell, and what comes out must be
what the page says; a `python` block with a caption is a file that the reader writes. Everything else is only shown.

A page whose numbers hang on floating-point training says so on a line of its own, "% numbers within 20 %"; words must
agree to the letter everywhere.
"""

from __future__ import annotations

import argparse
import doctest
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "Checker", "blocks", "run", "tolerance"]

_FENCE = re.compile(r"^```(?P<info>[^\n]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?(?![\w])")
_FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Block:
    """One block of a page: `kind` is "pycon", "console" or "file", `text` its lines, `line` where it begins."""

    kind: str
    text: str
    line: int
    name: str = ""


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks that are run, in order.

    >>> [block.kind for block in blocks("```pycon\\n>>> 1\\n1\\n```\\n```text\\nno\\n```\\n")]
    ['pycon']
    """
    for fence in _FENCE.finditer(page):
        info, text, line = fence["info"].strip(), fence["text"], page[: fence.start()].count("\n") + 2
        if info in ("pycon", "console"):
            yield Block(info, text, line)
        elif info == "{code-block} python" and (caption := re.match(r":caption: (\S+)\n+", text)):
            yield Block("file", text[caption.end() :], line, caption[1])


def tolerance(page: str) -> float:
    """Return how far numbers may be from those of the page: 0 unless it says otherwise.

    >>> tolerance("% numbers within 20 %"), tolerance("# A page")
    (0.2, 0.0)
    """
    found = re.search(r"^% numbers within (\d+) %$", page, re.MULTILINE)
    return int(found[1]) / 100 if found else 0.0


class Checker(doctest.OutputChecker):
    """Compare words to the letter and numbers to a relative tolerance.

    >>> Checker(0.1).check_output("kept 100 of 7", "kept 95 of 7", 0), Checker(0).check_output("1.0", "1.1", 0)
    (True, False)
    """

    def __init__(self, relative: float) -> None:
        self._relative = relative

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        """Return whether what was got is what is wanted."""
        if super().check_output(want, got, optionflags | _FLAGS):
            return True
        wanted, found = (_NUMBER.findall(text) for text in (want, got))
        if not self._relative or len(wanted) != len(found):
            return False
        close = all(self._close(one, other) for one, other in zip(wanted, found, strict=True))
        return close and super().check_output(_NUMBER.sub("#", want), _NUMBER.sub("#", got), optionflags | _FLAGS)

    def _close(self, want: str, got: str) -> bool:
        one, other = (float(text.replace(",", "")) for text in (want, got))
        return abs(one - other) <= self._relative * abs(one)


def run(path: Path) -> int:
    """Run a page in the current folder and return how many of its examples went wrong."""
    page = path.read_text(encoding="utf-8")
    checker = Checker(tolerance(page))
    session: dict[str, object] = {"__name__": "__main__"}
    sys.path.insert(0, str(Path.cwd()))  # files that the reader writes are modules
    wrong = 0
    for block in blocks(page):
        if block.kind == "file":
            Path(block.name).write_text(block.text, encoding="utf-8")
            importlib.invalidate_caches()
        elif block.kind == "console":
            wrong += sum(not _command(path, line, words, want, checker) for line, words, want in _commands(block))
        else:
            test = doctest.DocTestParser().get_doctest(block.text, session, path.name, str(path), block.line - 1)
            test.globs = session  # the blocks of a page are one session
            runner = doctest.DocTestRunner(checker, verbose=False, optionflags=_FLAGS)
            wrong += runner.run(test, clear_globs=False).failed
    return wrong


def _commands(block: Block) -> Iterator[tuple[int, str, str]]:
    """The commands of a block, each with its line and what it prints."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    line = block.line
    for part in parts[1:]:
        command, _, want = part.partition("\n")
        yield line, command, want
        line += part.count("\n")


def _command(path: Path, line: int, command: str, want: str, checker: Checker) -> bool:
    """Run one command with this interpreter; whether it prints what the page says."""
    words = shlex.split(command)
    if words[0] in ("python", "strongticket"):
        words = [sys.executable, *(["-m", "strongticket"] if words[0] == "strongticket" else []), *words[1:]]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "100"})
    if checker.check_output(want, done.stdout, 0):
        return True
    print(f"{path}, line {line}: $ {command}\nexpected:\n{want}\ngot:\n{done.stdout}\n{done.stderr}")
    return False


if __name__ == "__main__":
    sys.path.insert(0, str(_ROOT))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("page", type=Path, help="the tutorial, a Markdown file")
    page = parser.parse_args().page
    if not page.is_file():
        parser.error(f"no such file: {page}")
    wrong = run(page.resolve())
    print(f"{page}: {'all as written' if not wrong else f'{wrong} not as written'}")
    sys.exit(min(wrong, 1))
