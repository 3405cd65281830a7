"""Version 2 of the format: tickets whose kept weights are read in some other way than plainly."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from strongticket import ticketfile
from strongticket.models import MLP
from strongticket.testing import check_ticket, check_ticket_file_roundtrip, tickets
from strongticket.ticket import Init, Mask, Reading, Source, Ticket
from strongticket.ticketfile import TicketFileError, numbers
from strongticket.ticketfile.numbers import decode_numbers, encode_numbers

GOLDEN_DIGEST = "9e309238072132c01d33913e629ad55b72911adcaab7aa51b169e628fbc6b40c"
GOLDEN_FILE = "3bafb7bbaea9fd945126c42adbaec6c2aaf7ddcb9f360f1c7d47890f1870f2be"
FACTORS, COATS = "layers.0.weight.factors", "layers.2.weight.factors"
REDRAWS, GAPS = "layers.1.weight.redraws", "layers.2.weight.redraws"


@given(tickets(plain=False))
def test_any_reading_is_what_it_claims_and_comes_back(ticket: Ticket) -> None:
    check_ticket(ticket)
    check_ticket_file_roundtrip(ticket)


def test_the_ticket_of_the_fixture_comes_back(read: Ticket, read_data: bytes) -> None:
    check_ticket(read)
    check_ticket_file_roundtrip(read)
    assert ticketfile.loads(read_data) == read


def test_a_reading_that_says_nothing_leaves_file_and_digest_as_they_were(ticket: Ticket, data: bytes) -> None:
    ones = {name: np.ones(count, dtype=int) for name, count in ticket.mask.counts.items()}
    zeros = {name: np.zeros(count, dtype=int) for name, count in ticket.mask.counts.items()}
    silent = Ticket(ticket.source, ticket.mask, ticket.dense, ticket.certificates, Reading({}, ones, zeros))
    assert silent.plain
    assert silent == ticket
    assert ticketfile.dumps(silent, provenance={"by": "a test", "numbers": [1, 2.5, None, True]}) == data


def test_the_golden_file_of_version_2_is_the_same_for_ever(read: Ticket, read_data: bytes) -> None:
    assert read.digest == GOLDEN_DIGEST
    assert hashlib.sha256(read_data).hexdigest() == GOLDEN_FILE


def test_the_safetensors_library_finds_the_numbers(read: Ticket, read_data: bytes) -> None:
    loaded = safetensors.numpy.load(read_data)
    # signs: one bit for each of the 8 kept weights, set for +1
    assert np.unpackbits(loaded[FACTORS], bitorder="little").tolist() == [1, 0, 1, 1, 0, 0, 1, 1]
    # the third weight of four is redrawn, at event 300: the least of them, so 0 in one bit
    assert loaded[REDRAWS].tolist() == [4, 0]
    # three weights of 120, after 5, 3 and 109 others, at events 1, 4 and 2: 0, 3 and 1 in two bits each
    assert loaded[GAPS].tolist() == [5, 3, 109, 0 + 3 * 4 + 1 * 16]
    pairs = np.unpackbits(loaded[COATS], bitorder="little", count=240).reshape(120, 2) @ [1, 2] + 1
    assert pairs.tolist() == read.reading.factors["layers.2.weight"].tolist()


@given(
    st.lists(st.sampled_from([-127, -3, -1, 1, 2, 127]), min_size=1, max_size=40),
    st.lists(st.sampled_from([0, 1, 2, 300, 2**31 - 1]), max_size=40),
)
def test_numbers_come_back(factors: list[int], events: list[int]) -> None:
    record, payload = encode_numbers(np.array(factors, dtype=np.int8), sparse=False)
    assert decode_numbers(record, payload, len(factors)).tolist() == factors
    assert record.fault("factors", len(factors)) is None
    if any(events):
        record, payload = encode_numbers(np.array(events, dtype=np.int32), sparse=True)
        assert decode_numbers(record, payload, len(events)).tolist() == events
        assert record.fault("redraws", len(events)) is None


def test_numbers_come_back_in_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "_BLOCK", 16)
    generator = np.random.default_rng(0)
    for highest in (1, 2, 3, 200, 2**31 - 1):
        for share in (0.01, 0.5, 1.0):
            events = np.where(generator.random(1000) < share, generator.integers(1, highest, 1000, endpoint=True), 0)
            events = events.astype(np.int32)
            record, payload = encode_numbers(events, sparse=True)
            assert np.array_equal(decode_numbers(record, payload, 1000), events)


def refused(data: bytes, says: str) -> None:
    with pytest.raises(TicketFileError) as caught:
        ticketfile.loads(data)
    assert re.search(says, str(caught.value)), str(caught.value)
    assert len(str(caught.value)) < 3000


def record(index: int, role: str, **changes: Any) -> Any:
    return lambda slt: slt["parameters"][index][role].update(changes)


def entry(index: int, **changes: Any) -> Any:
    return lambda slt: slt["parameters"][index].update(changes)


SIGNED, BIAS, BINARY, DENSE, COATED, EMPTY = range(6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.update(version=1), "the keys"),
        (lambda s: s.update(version=3), "reads up to 2; install a newer"),
        (entry(SIGNED, kind="ternary"), "read as 'ternary'; known are"),
        (entry(SIGNED, kind=[]), r"read as \[\]"),
        (entry(SIGNED, kind=None), "read as None"),
        (entry(SIGNED, kind="binary"), "holds ticket"),
        (entry(BINARY, kind="plain"), "holds ticket"),
        (entry(DENSE, kind="plain"), "the keys"),
        (entry(SIGNED, factors=[]), "expected the keys"),
        (entry(SIGNED, factors={}), "expected the keys"),
        (entry(SIGNED, factors=None), "its header has"),
        (
            entry(BIAS, factors={"bytes": 1, "count": 1, "low": 2, "sha256": "0" * 64, "where": "all", "width": 1}),
            "header",
        ),
        (record(SIGNED, "factors", more=1), "expected the keys"),
        (record(SIGNED, "factors", sha256="x"), "the sha256 'x'"),
        (record(SIGNED, "factors", sha256="0" * 64), "the sha256 of its tensor"),
        (record(SIGNED, "factors", where=["all"]), "where"),
        (record(SIGNED, "factors", where="gaps"), "stored for 'gaps'"),
        (record(SIGNED, "factors", count=7), "are 7 for 8 kept weights"),
        (record(SIGNED, "factors", count=True), "count True, not a whole number"),
        (record(SIGNED, "factors", count=10**30), "for 8 kept weights"),
        (record(SIGNED, "factors", low=0), "begin at 0"),
        (record(SIGNED, "factors", low=-128), "begin at -128"),
        (record(SIGNED, "factors", low=127), "is 128, beyond 127"),
        (record(SIGNED, "factors", low=-3), "holds ticket"),
        (record(SIGNED, "factors", low=1.0), "low 1.0, not a whole number"),
        (record(SIGNED, "factors", width=0), "have 0 bits"),
        (record(SIGNED, "factors", width=9), "have 9 bits"),
        (record(SIGNED, "factors", width=2), "cannot be 8 of 2 bits in 1 bytes"),
        (record(SIGNED, "factors", bytes=2), "cannot be 8 of 1 bits in 2 bytes"),
        (record(SIGNED, "factors", bytes=-1), "cannot be"),
        (record(BINARY, "redraws", where="all"), "stored for 'all'"),
        (record(BINARY, "redraws", where="gaps"), "in another way|holds ticket|beyond the last one"),
        (record(COATED, "redraws", where="bits"), "cannot be 3 of 2 bits"),
        (record(BINARY, "redraws", count=0), "are 0 for 4 kept weights"),
        (record(BINARY, "redraws", count=5), "are 5 for 4 kept weights"),
        (record(BINARY, "redraws", low=0), "begin at 0"),
        (record(BINARY, "redraws", low=-1), "begin at -1"),
        (record(BINARY, "redraws", low=2**31), "begin at 2147483648"),
        (record(BINARY, "redraws", low=301), "holds ticket"),
        (record(BINARY, "redraws", width=32), "have 32 bits"),
        (record(COATED, "redraws", count=2), "they are of 3 weights, 2 were announced|no end"),
        (record(COATED, "redraws", count=4), "cannot be 4 of 2 bits in 4 bytes"),
    ],
)
def test_a_description_that_lies_is_refused(read_data: bytes, forger: Any, change: Any, says: str) -> None:
    container, slt, _ = forger.unpack(read_data)
    change(slt)
    length = int.from_bytes(read_data[:8], "little")
    refused(forger.pack(container, forger.canonical(forger.sign(slt)), read_data[8 + length :]), says)


def swap(name: str, payload: bytes, index: int, role: str, **changes: Any) -> Any:
    def change(container: Any, slt: Any, payloads: dict[str, bytes]) -> None:
        payloads[name] = payload
        slt["parameters"][index][role].update(changes)

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (swap(FACTORS, b"\xcc", SIGNED, "factors"), "holds ticket"),
        (swap(FACTORS, b"\xff", SIGNED, "factors"), "saved in another way"),  # all +1, announced as from -1 on
        (swap(FACTORS, b"\x00", SIGNED, "factors", low=1), "all 1"),
        (swap(FACTORS, b"\xff\xff\xff", SIGNED, "factors", width=3, low=122), "is 129, beyond 127"),
        (swap(REDRAWS, b"\x04\x01", BINARY, "redraws"), "saved in another way"),  # as 301 from 300 on
        (swap(REDRAWS, b"\x04\x02", BINARY, "redraws"), "saved in another way"),  # a spare bit
        (swap(REDRAWS, b"\x14\x00", BINARY, "redraws"), "saved in another way"),  # a fifth weight of four
        (swap(REDRAWS, b"\x0c\x00", BINARY, "redraws"), "they are of 2 weights, 1 were announced"),
        (swap(REDRAWS, b"\x02\x00", BINARY, "redraws"), "holds ticket"),
        (swap(REDRAWS, b"\x04\xff\xff\xff\x7f", BINARY, "redraws", width=31), "beyond 2147483647"),
        (swap(GAPS, b"\x05\x03\x6e\x1c", COATED, "redraws"), "keeps entry 120, beyond the last one"),
        (swap(GAPS, b"\x05\x83\x00\x6d\x1c", COATED, "redraws"), "padded"),
        (swap(GAPS, b"\x05\x03\x80\x1c", COATED, "redraws"), "they are of 2|no end|in another way|saved"),
        (swap(GAPS, b"\x05\x03\x6d\x3c", COATED, "redraws"), "holds ticket"),
    ],
)
def test_numbers_that_lie_are_refused(read_data: bytes, forger: Any, change: Any, says: str) -> None:
    refused(forger.forge(read_data, change), says)


def test_a_plain_ticket_in_version_2_is_refused(data: bytes, forger: Any) -> None:
    def change(container: Any, slt: Any, payloads: Any) -> None:
        slt["version"] = 2
        for own in slt["parameters"]:
            if own["encoding"] != "dense":
                own.update(kind="plain", factors=None, redraws=None)

    refused(forger.forge(data, change), "a plain ticket is saved as version 1")


def test_redraws_beyond_the_last_random_number_are_refused(forger: Any) -> None:
    source = Source(MLP((10**9, 10**9)), 1)
    mask = Mask.from_indices(source.shapes, {"layers.0.weight": np.array([5, 10**17])})
    Ticket(source, mask, reading=Reading(redraws={"layers.0.weight": np.array([0, 3])}))
    with pytest.raises(ValueError, match=r"events 1\.\.3, got 4"):
        Ticket(source, mask, reading=Reading(redraws={"layers.0.weight": np.array([0, 4])}))
    data = ticketfile.dumps(Ticket(source, mask, reading=Reading(redraws={"layers.0.weight": np.array([0, 3])})))
    assert ticketfile.loads(data).kept_weights("layers.0.weight").numel() == 2
    refused(forger.forge(data, lambda _, slt, __: record(0, "redraws", low=4)(slt)), "does not hold together.*got 4")


def test_too_few_weights_to_rescale_are_refused() -> None:
    source = Source(MLP((10**9, 10**9)), 1, Init("sign", 2.0**64))
    index = {"layers.0.weight": np.array([7])}
    with pytest.raises(ValueError, match="would overflow"):
        Ticket(source, Mask.from_indices(source.shapes, index), reading=Reading({"layers.0.weight": "rescaled"}))
    index = {"layers.0.weight": np.arange(300)}  # 10^18 / 300 is below 2^52
    ticket = Ticket(source, Mask.from_indices(source.shapes, index), reading=Reading({"layers.0.weight": "rescaled"}))
    check_ticket_file_roundtrip(ticket)
    assert ticket.kept_weights("layers.0.weight").isfinite().all()
