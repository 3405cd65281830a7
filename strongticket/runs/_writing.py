"""Write answers in threads: a disk takes milliseconds to swear that a file is safe, but swears for many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final, Self

from strongticket.runs._spec import Spec
from strongticket.runs._store import Failure
from strongticket.runs._worker import Answer

__all__ = ["Writing"]

_WRITERS: Final = 8
_AT_ONCE: Final = 2 * _WRITERS
"""Most answers that are being written: what a kill can cost beside what is being computed."""
_LONG_S: Final = 0.1
"""An answer that took this long is on the disk before anything else happens: the wait is cheap then, the loss dear."""


class Writing:
    """Answers on their way to the disk; each is reported when it is safe there, or when its failure is noted.

    Args:
        keep: writes an answer durably and returns the failure, if it is one; called in threads, once for each answer.
    """

    def __init__(self, keep: Callable[[Spec, Answer], Failure | None]) -> None:
        self._keep = keep
        self._threads = ThreadPoolExecutor(_WRITERS, "write-results")
        self._pending: set[Future[Failure | None]] = set()

    def give(self, spec: Spec, answer: Answer) -> Iterator[Failure | None]:
        """Take an answer, and yield for each one that has become safe by now its failure or None.

        Raises:
            OSError: one of them could not be written.
        """
        self._pending.add(self._threads.submit(self._keep, spec, answer))
        if answer.seconds >= _LONG_S:
            yield from self.rest()
            return
        wait(self._pending, None if len(self._pending) >= _AT_ONCE else 0.0, FIRST_COMPLETED)
        for future in [future for future in self._pending if future.done()]:
            self._pending.discard(future)
            yield future.result()

    def rest(self) -> Iterator[Failure | None]:
        """Wait for all, and yield the failure or None of each.

        Raises:
            OSError: one of them could not be written.
        """
        while self._pending:
            for future in wait(self._pending, return_when=FIRST_COMPLETED).done:
                self._pending.discard(future)
                yield future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=True)  # after an interrupt too: what is known is kept
