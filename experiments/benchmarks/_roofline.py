"""How fast the exact minimum could be at best on this core: its arithmetic, at the rate that the core can do any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

__all__ = ["Roofline", "roofline"]

_VECTOR_BYTES: Final = 64
_KEY_BYTES: Final = {"numba:int32": 4, "numba:int64": 8}


@dataclass(frozen=True)
class Roofline:
    """The measured rates of vector operations, for each backend with vector keys.

    Attributes:
        rates: minima and maxima, and additions, in vectors of 64 bytes per second, by backend.
        status: why there are none; else empty.
    """

    rates: dict[str, tuple[float, float]]
    status: str = ""

    def microseconds(self, backend: str, n: int) -> float | None:
        """Least microseconds per instance of the kernel of `backend`, counting all that it executes in registers."""
        if backend not in self.rates:
            return None
        from strongticket.subsetsum import _roofline

        lanes: int = _VECTOR_BYTES // _KEY_BYTES[backend]
        return 1e6 / lanes * _roofline.Rates(*self.rates[backend]).seconds(_roofline.operations(n))

    def record(self) -> dict[str, Any]:
        """As JSON."""
        if self.status:
            return {"status": self.status}
        names = ("exchanges_per_second", "additions_per_second")
        rates = {backend: dict(zip(names, rate, strict=True)) for backend, rate in self.rates.items()}
        return {"vector_bytes": _VECTOR_BYTES, "rates": rates}


def roofline(repeats: int = 200) -> Roofline:
    """Measure the rates: of each kind the fastest of some repetitions."""
    try:
        from strongticket.subsetsum import _roofline
    except ImportError as error:
        return Roofline({}, f"no bound: {error}")
    rates = {}
    for backend, size in _KEY_BYTES.items():
        found = _roofline.measure_rates(np.dtype(f"int{8 * size}"), repeats=repeats)
        rates[backend] = (found.exchanges, found.additions)
    return Roofline(rates)
