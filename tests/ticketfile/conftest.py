"""A small ticket with every kind of parameter, and a forger: files that are well made and lie."""

from __future__ import annotations

import pytest

from experiments.reliability._forge import canonical, forge, pack, sign, unpack
from experiments.reliability._samples import read_ticket, small_ticket
from strongticket import ticketfile
from strongticket.ticket import Ticket


@pytest.fixture(scope="session")
def ticket() -> Ticket:
    return small_ticket()


@pytest.fixture(scope="session")
def read() -> Ticket:
    return read_ticket()


@pytest.fixture(scope="session")
def read_data(read: Ticket) -> bytes:
    return ticketfile.dumps(read, provenance={"by": "a test", "numbers": [1, 2.5, None, True]})


@pytest.fixture(scope="session")
def data(ticket: Ticket) -> bytes:
    return ticketfile.dumps(ticket, provenance={"by": "a test", "numbers": [1, 2.5, None, True]})


class Forger:
    """The functions above, for test modules (which cannot import each other)."""

    canonical = staticmethod(canonical)
    unpack = staticmethod(unpack)
    sign = staticmethod(sign)
    pack = staticmethod(pack)
    forge = staticmethod(forge)


@pytest.fixture(scope="session")
def forger() -> type[Forger]:
    return Forger
