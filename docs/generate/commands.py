"""The reference of the commands: what `--help` says, because there is one source of help text."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
from collections.abc import Callable, Iterator
from unittest import mock

from generate.rst import code, escape, indent, inline, paragraphs, title

__all__ = ["PROGRAMS", "help_of", "page", "subcommands"]

PROGRAMS = {
    "strongticket": "strongticket.cli",
    "python -m theory": "theory.__main__",
    "python -m experiments": "experiments.__main__",
    "python -m paper_figs": "paper_figs.__main__",
}
"""Each program, and the module whose `main` takes its arguments."""

_WIDTH = 5000  # no line is broken: the page does that


def help_of(program: str, *words: str) -> str:
    """Return what the program prints when asked for help.

    >>> help_of("strongticket").splitlines()[0].startswith("usage: strongticket")
    True
    """
    main: Callable[[list[str]], int] = importlib.import_module(PROGRAMS[program]).main
    text = io.StringIO()
    with _plain(), contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    lines = (line.rstrip() for line in text.getvalue().strip().splitlines())
    return re.sub(r" -{40,}", " ---", "\n".join(lines))


@contextlib.contextmanager
def _plain() -> Iterator[None]:
    """No colours, one width, and a machine with 2 cores: the page must not depend on where it is built."""
    width = {"COLUMNS": str(_WIDTH), "LINES": "60", "NO_COLOR": "1", "TERM": "dumb"}
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, width))
        if hasattr(os, "sched_getaffinity"):
            stack.enter_context(mock.patch("os.sched_getaffinity", return_value={0, 1}))
        yield


def subcommands(text: str) -> list[str]:
    """Return the subcommands that a help text names.

    >>> subcommands("usage: x [-h] {list,run}")
    ['list', 'run']
    """
    usage = re.match(r"usage: [^{]*?\{([a-z][a-z_,\s-]*)\}", text)
    return [word.strip() for word in usage[1].split(",")] if usage else []


def page() -> str:
    """Return the page of all commands."""
    lines = [
        title("Commands"),
        "Printed by the programs themselves when they are asked for ``--help``. The first is installed with the "
        "package (extra ``cli``); the others run from a checkout of the repository. All of them exit with 0 when "
        "done, 1 when the answer is no, 2 on bad input.",
        "",
    ]
    for program in PROGRAMS:
        text = help_of(program)
        lines += [title(escape(program), "-"), typeset(text)]
        for name in subcommands(text):
            inner = help_of(program, name)
            lines += [title(escape(f"{program} {name}"), "~"), typeset(inner)]
            for leaf in subcommands(inner):
                leaves = help_of(program, name, leaf)
                lines += [title(escape(f"{program} {name} {leaf}"), "^"), typeset(leaves)]
    return "\n".join(lines)


def typeset(text: str) -> str:
    """Return a help text as reStructuredText: usage, what it does, and a list of options that wraps on any screen.

    >>> print(typeset("usage: x [-h]\\n\\nDoes.\\n\\n options\\n ---\\n  -h  help\\n  --out PATH\\n        file"))
    .. code-block:: text
    <BLANKLINE>
       usage: x [-h]
    <BLANKLINE>
    Does.
    <BLANKLINE>
    ``-h``
       help
    <BLANKLINE>
    ``--out PATH``
       file
    <BLANKLINE>
    """
    lines = text.split("\n")
    rules = [i for i, line in enumerate(lines) if re.fullmatch(r" -{3,}", line)]
    first = rules[0] - 1 if rules else len(lines)
    usage, _, about = "\n".join(lines[:first]).partition("\n\n")
    made = [code(usage), paragraphs(about.strip()), ""]
    for i, rule in enumerate(rules):
        end = rules[i + 1] - 1 if i + 1 < len(rules) else len(lines)
        for term, words in _entries(lines[rule + 1 : end]):
            made += [f"``{term}``", indent(inline(words) or "|"), ""]
    return "\n".join(made)


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """The entries of a section: what stands at its left, and all that is said of it."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        entry = re.match(r" {2}(\S.*?)(?: {2,}(.*))?$|  {2,4}• (\S+) +(.*)$", line)
        if entry and (entry[1] or entry[3]) != "(required)":
            found.append((entry[1] or entry[3], [entry[2] or entry[4] or ""]))
        elif found and line.strip():
            found[-1][1].append(line.strip())
    for term, words in found:
        yield term, " ".join(filter(None, words))
