"""Thousands of damaged and lying files: each is refused with a TicketFileError, in little time and memory."""

from __future__ import annotations

import random
import time
import tracemalloc
from typing import Any

import pytest

from strongticket import ticketfile
from strongticket.ticket import Ticket
from strongticket.ticketfile import TicketFileError

SECONDS = 0.5  # of processor time for one file; the slowest takes some milliseconds
STRANGE = [
    0,
    1,
    -1,
    2**31,
    2**63,
    2**64,
    10**39,
    0.5,
    -0.0,
    1e308,
    True,
    None,
    "",
    "\u00e9",
    "layers.0.weight",
    [],
    {},
    [[]],
]


def damaged(generator: random.Random, data: bytes, other: bytes) -> bytes:
    """Return another file than `data`: bits flipped, bytes set, cut, put in, moved, spliced, or the header's length."""
    out = bytearray(data)
    for _ in range(generator.choice([1, 1, 1, 2, 5, 50])):
        kind = generator.randrange(9)
        a, b = sorted(generator.randrange(len(out) + 1) for _ in range(2))
        b = min(b, a + generator.choice([1, 2, 8, 64, len(out)]))
        if not out:
            break
        if kind == 0:
            out[generator.randrange(len(out))] ^= 1 << generator.randrange(8)
        elif kind == 1:
            out[generator.randrange(len(out))] = generator.choice([0, 0x20, 0x22, 0x2C, 0x30, 0x39, 0x7D, 0x80, 0xFF])
        elif kind == 2:
            del out[a:b]
        elif kind == 3:
            out[a:a] = generator.randbytes(generator.choice([1, 2, 8, 100]))
        elif kind == 4:
            out[a:a] = out[a:b]
        elif kind == 5:
            del out[a:]
        elif kind == 6:
            out[a:b] = other[a:b]
        elif kind == 7:
            out[:8] = generator.choice([0, 1, len(data), 2**26, 2**26 + 1, 2**63, 2**64 - 1]).to_bytes(8, "little")
        else:
            middle = (a + b) // 2
            out[a:b] = out[middle:b] + out[a:middle]
    return bytes(out)


def lie(generator: random.Random, value: Any) -> Any:
    """Return a JSON value with one place in it changed, dropped, doubled or swapped for another."""
    if isinstance(value, dict | list) and value and generator.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = generator.choice(keys)
        copy = value.copy()
        kind = generator.random()
        if kind < 0.1:
            copy.pop(key)
        elif kind < 0.2:
            copy[key] = value[generator.choice(keys)]
        elif kind < 0.25 and isinstance(copy, list):
            copy.append(copy[key])
        else:
            copy[key] = lie(generator, value[key])
        return copy
    if type(value) is int and generator.random() < 0.5:
        return value + generator.choice([-1, 1, 8, 2**40])
    if isinstance(value, str) and value and generator.random() < 0.5:
        place = generator.randrange(len(value))
        return value[:place] + generator.choice("0123456789abcdefgz-.") + value[place + 1 :]
    return generator.choice(STRANGE)


def lying(generator: random.Random, data: bytes, forger: Any) -> bytes:
    """Return a well-made file whose description, container or tensors lie, with every checksum right."""

    def change(container: Any, slt: Any, payloads: dict[str, bytes]) -> None:
        kind = generator.random()
        if kind < 0.3:
            name = generator.choice([name for name, payload in payloads.items() if payload])
            payloads[name] = damaged(generator, payloads[name], payloads[name])
        else:
            changed = lie(generator, slt)
            if isinstance(changed, dict):
                slt.clear()
                slt.update(changed)

    if generator.random() < 0.8:
        try:
            return bytes(forger.forge(data, change))
        except (KeyError, TypeError, AttributeError):  # the forger needs a list of parameters; sign what there is
            pass
    container, slt, payloads = forger.unpack(data)
    if generator.random() < 0.5:
        container = lie(generator, container)
        container = container if isinstance(container, dict) else {"x": container}
    else:
        slt = lie(generator, slt)
    text = forger.canonical(forger.sign(slt) if isinstance(slt, dict) else slt)
    return bytes(forger.pack(container, text, b"".join(payloads.values())))


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
        forged = lying(generator, data, forger)
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
            for broken in (damaged(generator, data, data), lying(generator, data, forger)):
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
