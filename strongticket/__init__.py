"""Find, construct, compare and verify strong lottery tickets: subnetworks of random networks, no weight trained.

>>> import torch, strongticket as st
>>> trained = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
>>> result = st.construct(trained, weight_eps=0.05, items=16, seed=1)
>>> result.best.matches(result.best.module())  # regenerate the random network, multiply by the mask, compare
True

Names are loaded when they are used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from strongticket._version import __version__

if TYPE_CHECKING:
    from strongticket.certificate import Certificate, Domain, Rigor
    from strongticket.constructions import construct
    from strongticket.models import MLP, Target, architecture
    from strongticket.ticket import Init, Mask, Source, Ticket
    from strongticket.ticketfile import load, save

__all__ = [
    "MLP",
    "Certificate",
    "Domain",
    "Init",
    "Mask",
    "Rigor",
    "Source",
    "Target",
    "Ticket",
    "architecture",
    "construct",
    "load",
    "save",
]

_HOME = {
    "Certificate": "certificate",
    "Domain": "certificate",
    "Rigor": "certificate",
    "construct": "constructions",
    "MLP": "models",
    "Target": "models",
    "architecture": "models",
    "Init": "ticket",
    "Mask": "ticket",
    "Source": "ticket",
    "Ticket": "ticket",
    "load": "ticketfile",
    "save": "ticketfile",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'strongticket' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"strongticket.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
