"""What the checks of this room are written with: a promise that must hold, and torch's own generator held still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["elsewhere", "must", "undrawn"]


def must(holds: bool, otherwise: str) -> None:
    """Raise an AssertionError that says what was found instead of what was promised.

    >>> must(1 + 1 == 2, "it is not 2")
    """
    if not holds:  # no assert statement: python -O would drop the check
        raise AssertionError(otherwise)


@contextmanager
def undrawn(use: str) -> Iterator[None]:
    """Hold what is done inside to drawing nothing from torch's own generator, and put that back in any case.

    Args:
        use: what to draw from instead.
    """
    with torch.random.fork_rng(devices=[]):
        state = torch.random.get_rng_state()
        yield
        drawn = not torch.equal(torch.random.get_rng_state(), state)
        must(not drawn, f"torch's own generator was drawn from: use {use}")


@contextmanager
def elsewhere() -> Iterator[None]:
    """Have torch's own generator in another state inside, on which no result may depend."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(99)
        yield
