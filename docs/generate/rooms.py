"""One page per room: every public name, documented where it belongs and named wherever else it can be imported from."""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from sphinx.pycode import ModuleAnalyzer

import strongticket
from generate.rst import cell, escape, indent, paragraphs, table, title

__all__ = ["entries", "index", "page", "rooms"]

_INNER = ("strongticket.search.methods",)  # rooms inside rooms
_REPOSITORY = ("theory", "experiments", "paper_figs")


def rooms() -> list[str]:
    """Return the names of all modules that have a page: the package, its rooms, and what stands above the library."""
    inside = [
        f"strongticket.{found.name}"
        for found in pkgutil.iter_modules(strongticket.__path__)
        if not found.name.startswith("_")
    ]
    known = ["strongticket", *sorted([*inside, *_INNER]), *_REPOSITORY]
    return [name for name in known if getattr(importlib.import_module(name), "__all__", None)]


def _owner(room: str, name: str, value: Any, homes: Mapping[str, ModuleType]) -> str:
    """The room that documents this name."""
    place = getattr(value, "__module__", None) if _is_defined(name, value) else _defined_in(homes[room], name)
    if not isinstance(place, str):
        return room
    fitting = [
        home
        for home, module in homes.items()
        if (place == home or place.startswith(f"{home}.")) and name in module.__all__
    ]
    return max(fitting, key=len, default=room)


def _is_defined(name: str, value: Any) -> bool:
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__name__ == name


def _defined_in(module: ModuleType, name: str) -> str:
    """The module that a constant was imported from: the one nearest to its definition."""
    seen = {module.__name__}
    while True:
        source = _imports(module).get(name)
        if source is None or source in seen:
            return module.__name__
        seen.add(source)
        module = importlib.import_module(source)


def _imports(module: ModuleType) -> dict[str, str]:
    import ast

    tree = ast.parse(inspect.getsource(module))
    return {
        (alias.asname or alias.name): node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        and node.module
        and node.module.split(".")[0] == module.__name__.split(".")[0]
        for alias in node.names
    }


def entries(room: str) -> dict[str, str]:
    """Return the entry of each public name of a room, as reStructuredText."""
    homes = {name: importlib.import_module(name) for name in rooms()}
    made = {}
    for name in sorted(homes[room].__all__, key=lambda name: (name.lower(), name)):
        value = getattr(homes[room], name)
        owner = _owner(room, name, value, homes)
        made[name] = _entry(room, name, value) if owner == room else _pointer(room, name, owner)
    return made


def _pointer(room: str, name: str, owner: str) -> str:
    return f".. py:data:: {room}.{name}\n\n   The same as :py:obj:`{owner}.{name}`.\n"


def _entry(room: str, name: str, value: Any) -> str:
    if not _is_defined(name, value):
        return _constant(room, name, value)
    if inspect.isfunction(value):
        return f".. autofunction:: {room}.{name}\n"
    if issubclass(value, BaseException):
        return f".. autoexception:: {room}.{name}\n"
    options = ["   :members:"]
    if any(base.__module__.split(".")[0] in ("strongticket", *_REPOSITORY) for base in value.__bases__):
        options.append("   :show-inheritance:")
    if issubclass(value, enum.Enum):
        options.append("   :undoc-members:")
    return "\n".join([f".. autoclass:: {room}.{name}", *options, ""])


def _constant(room: str, name: str, value: Any) -> str:
    """A name that is neither a class nor a function: what is written below its definition, and its contents."""
    place = _defined_in(importlib.import_module(room), name)
    about = ModuleAnalyzer.for_module(place).find_attr_docs().get(("", name))
    lines = [f".. py:data:: {room}.{name}", ""]
    if about:
        lines += [indent(paragraphs("\n".join(about))), ""]
    contents = _contents(value)
    if contents:
        lines += [indent(contents), ""]
    return "\n".join(lines)


def _contents(value: Any) -> str:
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return "Has " + ", ".join(f"``{key}``" for key in value) + "."
    if isinstance(value, tuple | frozenset | list) and all(isinstance(part, str) for part in value):
        parts = value if isinstance(value, tuple | list) else sorted(value)
        return "One of " + ", ".join(f"``{part}``" for part in parts) + "."
    if isinstance(value, int | float | str):
        return f"Its value is ``{value!r}``."
    text = str(value).replace("typing.", "")
    return f"Stands for ``{text}``." if "object at 0x" not in text and "`" not in text and len(text) < 300 else ""


def page(room: str) -> str:
    """Return the page of a room."""
    module = importlib.import_module(room)
    lines = [title(escape(room)), paragraphs(inspect.getdoc(module) or ""), ""]
    if room.split(".")[0] in _REPOSITORY:
        lines += ["Part of the repository, not of the installed package: it runs from a checkout.", ""]
    found = entries(room)
    lines += [" · ".join(f":py:obj:`{name} <{room}.{name}>`" for name in found), ""]
    lines += [title("Public names", "-"), *(f"{entry}\n" for entry in found.values())]
    return "\n".join(lines)


def index() -> str:
    """Return the page that lists the rooms."""
    rows = [
        (f":doc:`{room} <{room}>`", cell((inspect.getdoc(importlib.import_module(room)) or "").split("\n")[0]))
        for room in rooms()
    ]
    words = (
        "Every public name has one entry, in the room where it belongs. Arrows between the rooms, and why they go one "
        "way: :doc:`/design`."
    )
    tree = [".. toctree::", "   :hidden:", "", *(f"   {room}" for room in rooms())]
    return "\n".join(
        [title("Rooms and names"), words, "", table(("room", "what it is for"), rows, "25 75"), "", *tree, ""]
    )
