"""Thousands of damaged and lying files: each is refused with a TicketFileError, in little time and memory."""

from __future__ import annotations

import random
import time
import tracemalloc
from typing import Any

import pytest

from experiments.reliability._mutate import damaged, lying
from strongticket import ticketfile
from strongticket.ticket import Ticket
from strongticket.ticketfile import TicketFileError

SECONDS = 0.5  # of processor time for one file; the slowest takes some milliseconds


def outcome(data: bytes) -> Ticket | None:
    start = time.process_time()
    try:
        return ticketfile.loads(data)
    except TicketFileError:
        return None
    finally:
        assert time.process_time() - start < SECONDS


def run(seeds: range, ticket: Ticket, data: bytes, forger: Any) -> tuple[int, int]:
    other = ticketfile.dumps(Ticket(ticket.source, ticket.mask, ticket.dense), provenance={"by": "another"})
    refused = accepted = 0
    for seed in seeds:
        generator = random.Random(seed)
        broken = damaged(generator, data, other)
        if broken not in (data, other):
            assert outcome(broken) is None, f"seed {seed}: a damaged file was accepted"
            refused += 1
        forged = lying(generator, data)
        found = outcome(forged)
        if found is None:
            refused += 1
            continue
        # what is accepted is the honest file of the ticket that it gives (a changed provenance, say)
        accepted += 1
        provenance = forger.unpack(forged)[1]["provenance"]
        assert ticketfile.dumps(found, provenance=provenance) == forged, f"seed {seed}: a lying file was accepted"
        assert found == ticket, f"seed {seed}: a forged ticket was accepted"
    return refused, accepted


def test_thousands_of_damaged_and_lying_files(ticket: Ticket, data: bytes, forger: Any) -> None:
    refused, accepted = run(range(4_000), ticket, data, forger)
    assert refused > 7_000
    assert accepted > 20  # so that the check of what is accepted does check something


def test_damaged_and_lying_files_of_version_2(read: Ticket, read_data: bytes, forger: Any) -> None:
    refused, accepted = run(range(1_000), read, read_data, forger)
    assert refused > 1_700
    assert accepted > 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_damaged_and_lying_files(ticket: Ticket, data: bytes, forger: Any) -> None:
    refused, accepted = run(range(10_000, 110_000), ticket, data, forger)
    print(f"\n{refused} refused, {accepted} honest files accepted")


def test_every_flipped_bit_is_seen(data: bytes) -> None:
    for place in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[place] ^= 1 << bit
            with pytest.raises(TicketFileError):
                ticketfile.loads(bytes(broken), verify=False)


def test_a_flipped_bit_of_any_byte_of_version_2_is_seen(read_data: bytes) -> None:
    for place in range(len(read_data)):
        broken = bytearray(read_data)
        broken[place] ^= 1 << place % 8
        with pytest.raises(TicketFileError):
            ticketfile.loads(bytes(broken), verify=False)


def test_memory_stays_within_ten_times_the_file(ticket: Ticket, data: bytes, forger: Any) -> None:
    generator = random.Random(0)
    ticketfile.loads(data)
    tracemalloc.start()
    try:
        for _ in range(200):
            for broken in (damaged(generator, data, data), lying(generator, data)):
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                outcome(broken)
                used = tracemalloc.get_traced_memory()[1] - before
                assert used < 10 * len(broken) + (1 << 19), f"{used} bytes for a file of {len(broken)}"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("item", [b"[],", b'"a",', b"{},", b"1,", b"1.5,", b'"' + b"x" * 1000 + b'",', b"\\\\,"])
def test_memory_of_large_hostile_headers(item: bytes, forger: Any) -> None:
    body = b"[" + item * (2_000_000 // len(item)) + b"1]"
    for data in (
        len(body).to_bytes(8, "little") + body,
        forger.pack({}, body.decode(), b""),
    ):
        tracemalloc.start()
        start = time.process_time()
        assert outcome(data) is None
        assert time.process_time() - start < SECONDS
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert used < 10 * len(data) + (24 << 20)
