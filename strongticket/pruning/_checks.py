"""Checks of settings that several methods share."""

from __future__ import annotations

import os
from numbers import Integral

import torch

__all__ = ["check_memory", "check_whole"]


def check_whole(least: int = 1, **values: object) -> None:
    """Refuse settings, given by name, that are not whole numbers of at least `least`; None passes.

    Raises:
        ValueError: naming the settings.

    >>> check_whole(samples=3, block=None)
    >>> check_whole(samples=2.5)
    Traceback (most recent call last):
        ...
    ValueError: expected samples as a whole number of at least 1, got 2.5
    """
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
            raise ValueError(f"expected {name} as a whole number of at least {least}, got {value!r}")


def check_memory(needed: int, device: torch.device, what: str, advice: str) -> None:
    """Refuse work that takes more memory than the device has at all, before it begins.

    Args:
        needed: bytes, estimated.
        device: where they are needed.
        what: needs them.
        advice: what to do instead.

    Raises:
        ValueError: naming both numbers.
    """
    there = _memory(device)
    if needed > there:
        raise ValueError(
            f"{what} takes about {needed / 2**30:,.1f} GiB, more than the {there / 2**30:,.1f} GiB of this machine's "
            f"{device.type}: {advice}"
        )


def _memory(device: torch.device) -> int:
    """Return the bytes of a device's memory; without a way to ask, enough for most."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 36
