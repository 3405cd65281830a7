"""The 1,797 handwritten 8x8 digits that come with scikit-learn: real data without any download."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["DIGITS_NOTE", "Digits", "read_digits"]

DIGITS_NOTE = (
    "the 1,797 digits of scikit-learn are the test part (13 writers) of a set that was split by writer; "
    "here every writer may occur in every part, so the test accuracy is not writer-independent"
)


class Digits(NamedTuple):
    """The digits as scikit-learn ships them."""

    images: npt.NDArray[np.uint8]  # [1797, 8, 8], values 0..16
    labels: npt.NDArray[np.int64]  # [1797], values 0..9


def read_digits() -> Digits:
    """Read the 8x8 digits from the installed scikit-learn.

    Returns:
        The images, as integers 0 to 16, and their labels 0 to 9, in scikit-learn's order.

    Raises:
        ImportError: scikit-learn is not installed; the message names the extra that brings it.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the digits come with scikit-learn, which is not installed: pip install 'strongticket[digits]'"
        ) from error
    bunch = load_digits()
    return Digits(np.asarray(bunch.images).astype(np.uint8), np.asarray(bunch.target).astype(np.int64))
