"""Plain text as reStructuredText that says the same, whatever signs it holds; and the shapes that pages are made of.

Docstrings here are written for people: `code` stands in single backticks, |w| is a magnitude and 2*n a product. All
three mean something else in reStructuredText, so a docstring is never handed to Sphinx as it is.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

__all__ = ["cell", "code", "escape", "indent", "inline", "paragraphs", "table", "title"]

_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_ROLE = re.compile(r":[a-z:]+:$")
_STARTS = re.compile(
    r"(\.\.|:[^:]*:|--?\w|\+[-=]|=+(\s|$)|[-+](\s|$)|\(?([A-Za-z]|[ivxlcdmIVXLCDM]+|\d+|#)[.)](\s|$)|[^\w\s]+$)"
)
_BULLET = re.compile(r"(\s*)(-|\d+\.)\s+\S")


def escape(text: str) -> str:
    """Return the text with every sign that reStructuredText would read put behind a backslash.

    >>> escape("|w| <= 2*n, x_")
    '\\\\|w\\\\| <= 2\\\\*n, x\\\\_'
    """
    return re.sub(r"([\\*|`_])", r"\\\1", text)


def _literal(span: str) -> str:
    content = " ".join(span.strip("`").split())
    return f"``{content}``" if content else escape(span)


def inline(text: str) -> str:
    """Return text whose code stands in backticks as reStructuredText; spans may go over the end of a line.

    >>> inline("`a*b` is |c|"), inline("``x``s")
    ('``a*b`` is \\\\|c\\\\|', '``x``\\\\ s')
    """
    parts = _CODE.split(text)
    made: list[str] = []
    for i, part in enumerate(parts):
        if i % 2 == 0:
            made.append(escape(part))
            continue
        before, after = parts[i - 1][-1:], parts[i + 1][:1]
        glue_before = "\\ " if before and not before.isspace() and before not in "([{<-/:'\"" else ""
        glue_after = "\\ " if after and (after.isalnum() or after in "_[({`") else ""
        made.append(glue_before + _literal(part) + glue_after)
    return "".join(made)


def paragraphs(text: str) -> str:
    """Return a docstring's text as reStructuredText: prose, lists and examples keep their shape, nothing else is read.

    Examples become code blocks; a list gets the empty lines around it that reStructuredText wants.
    """
    made: list[str] = []
    block: list[str] = []

    def flush() -> None:
        if block:
            made.extend(_block(block))
            block.clear()

    in_example = False
    for line in textwrap.dedent(text).splitlines():
        example = line.lstrip().startswith(">>>")
        if in_example and line.strip():
            made.append(line)
            continue
        in_example = False
        if not line.strip():
            flush()
            made.append("")
        elif example:
            flush()
            made += ["", line]
            in_example = True
        else:
            block.append(line)
    flush()
    return "\n".join(made)


def _block(lines: Sequence[str]) -> list[str]:
    """One paragraph or list: escaped, with lists apart from what comes before them and items of one indent."""
    made: list[str] = []
    hang = ""  # indent of a list item's text
    for i, line in enumerate(inline("\n".join(lines)).split("\n")):
        depth = line[: len(line) - len(line.lstrip())]
        bullet = _BULLET.match(line)
        if bullet:
            if made and not hang:
                made.append("")
            hang = depth + " " * (len(bullet[2]) + 1)
            made.append(line)
        elif hang and i and len(depth) > 0 and len(depth) >= len(hang) - 1:
            made.append(hang + line.lstrip())
        else:
            if hang and made and len(depth) < len(hang):
                made.append("")
            hang = ""
            made.append(depth + _guarded(line.lstrip()))
    return made


def indent(text: str, depth: int = 3) -> str:
    """Return the text moved to the right, empty lines left empty."""
    return textwrap.indent(text, " " * depth)


def _guarded(line: str) -> str:
    """A line whose beginning is read as the words that it is, and not as an option, a list or a rule."""
    return f"\\{line}" if _STARTS.match(line) else line


def title(text: str, mark: str = "=") -> str:
    """Return a heading."""
    return f"{text}\n{mark * max(3, len(text))}\n"


def code(text: str, language: str = "text") -> str:
    """Return a block of code."""
    return f".. code-block:: {language}\n\n{indent(text.rstrip())}\n"


def cell(text: str) -> str:
    """Return text on one line, for a cell of a table."""
    return _guarded(" ".join(inline(text).split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], widths: str = "auto") -> str:
    """Return a table; cells are reStructuredText already."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in (head, *rows):
        for i, value in enumerate(row):
            lines.append(f"   {'*' if i == 0 else ' '} - {value}")
    return "\n".join(lines) + "\n"
