"""What Sphinx is given of a docstring: its words, with the shapes that its signature notes in comments."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

from generate.rst import escape, paragraphs

__all__ = ["prepare", "shapes"]

_FIELDS = {"Args:": "param", "Attributes:": "ivar", "Returns:": "returns", "Yields:": "yields", "Raises:": "raises"}
_SHAPE = re.compile(r"\s*(?P<name>\w+):\s.*#\s(?P<shape>\[.*)$")


def shapes(thing: object) -> dict[str, str]:
    """Return what the comments of a signature say about its parameters: {"items": "[batch, n]"}.

    >>> def area(
    ...     sides: list,  # [n, 2]
    ... ) -> float: ...
    >>> shapes(area)
    {'sides': '[n, 2]'}
    """
    try:
        lines = inspect.getsource(thing).splitlines()  # type: ignore[arg-type]
    except (OSError, TypeError):
        return {}
    found = {}
    for line in lines:
        if line.lstrip().startswith(('"""', 'r"""')) and not inspect.isclass(thing):
            break
        if match := _SHAPE.match(line):
            found[match["name"]] = match["shape"]
    return found


def prepare(app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Turn a docstring into reStructuredText, its sections into fields; connected to autodoc."""
    del app, name, options
    noted = shapes(obj) if what in ("function", "method", "class") else {}
    made: list[str] = []
    for head, body in _sections(lines):
        if not head:
            made += paragraphs("\n".join(body)).split("\n")
        elif head in ("Args:", "Attributes:", "Raises:"):
            made += ["", *_entries(_FIELDS[head], body, noted), ""]
        else:
            made += ["", f":{_FIELDS[head]}:", *_shifted(paragraphs("\n".join(body)).strip("\n")), ""]
    lines[:] = [*made, ""]


def _sections(lines: list[str]) -> list[tuple[str, list[str]]]:
    """The docstring cut at its section headings."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    for line in lines:
        if line in _FIELDS:
            parts.append((line, []))
        elif parts[-1][0] and line.strip() and not line.startswith(" "):
            parts.append(("", [line]))
        else:
            parts[-1][1].append(line)
    return parts


def _shifted(text: str) -> list[str]:
    return [f"    {line}" if line else "" for line in text.split("\n")]


def _entries(field: str, body: list[str], noted: dict[str, str]) -> list[str]:
    """Fields ":param name:" of the entries "name: text"; the shape that the signature notes comes first in the text."""
    entries: list[list[str]] = []
    for line in body:
        if re.match(r" {4}\S", line):
            entries.append([line])
        elif entries:
            entries[-1].append(line)
    made: list[str] = []
    for first, *rest in entries:
        name, _, text = first.strip().partition(":")
        shape = f"`{noted[name]}`; " if name in noted else ""
        words = paragraphs("\n".join([f"{shape}{text.strip()}", *textwrap.dedent("\n".join(rest)).split("\n")]))
        names = escape(name.strip()).replace(", ", ",")  # with a space between, the first would be read as a type
        made += [f":{field} {names}:", *_shifted(words.strip("\n"))]
    return made


def connect(app: Any) -> None:
    """Let Sphinx call `prepare`."""
    app.connect("autodoc-process-docstring", prepare)
