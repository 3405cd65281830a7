"""The one error of this room: which file, what is wrong with it, what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

__all__ = ["DAMAGED", "FOREIGN", "NEWER", "TicketFileError", "blame", "refuse", "short"]

DAMAGED: Final = "the file is damaged or was edited: take a fresh copy, or save the ticket again"
FOREIGN: Final = "give a file that strongticket.ticketfile.save wrote"
NEWER: Final = "install a newer strongticket"


class TicketFileError(ValueError):
    """Say which file is not a usable ticket, what is wrong with it, and what to do."""


def refuse(fault: str, advice: str) -> NoReturn:
    """Raise the error; `blame` adds the file's name."""
    raise TicketFileError(f"{fault}; {advice}")


@contextmanager
def blame(name: str | os.PathLike[str]) -> Iterator[None]:
    """Put the file's name in front of what `refuse` says inside."""
    try:
        yield
    except TicketFileError as error:
        raise TicketFileError(f"{os.fspath(name)!r} is not a usable ticket file: {error}") from error


def short(value: Any) -> str:
    """Return a value as text for a message, whatever a stranger put into it, at most 300 characters."""
    text = str(value) if isinstance(value, Exception) else repr(value)
    return text if len(text) <= 300 else f"{text[:300]}..."
