"""Every way a file can be wrong gives one TicketFileError that names the file, the fault and what to do."""

from __future__ import annotations

import json
import os
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from strongticket import _strict_json as strict_json
from strongticket import ticketfile
from strongticket.certificate import Certificate, Domain, Rigor
from strongticket.models import MLP
from strongticket.ticket import Mask, Source, Ticket
from strongticket.ticketfile import TicketFileError, header


def refused(data: bytes, says: str = "", **options: Any) -> str:
    with pytest.raises(TicketFileError) as caught:
        ticketfile.loads(data, name="some.slt", **options)
    message = str(caught.value)
    assert message.startswith("'some.slt' is not a usable ticket file: ")
    assert re.search(says, message), f"{says!r} is not in {message!r}"
    assert re.search("take a fresh copy|give a file|install|run the tests|raise max_bytes", message), message
    assert len(message) < 3000
    return message


# -- the bytes around it


def test_the_forger_is_honest_when_it_changes_nothing(data: bytes, ticket: Ticket, forger: Any) -> None:
    assert forger.forge(data, lambda *_: None) == data
    assert ticketfile.loads(data) == ticket


def test_every_truncation_is_refused(data: bytes) -> None:
    for length in range(len(data)):
        refused(data[:length])


def test_a_tail_is_refused(data: bytes) -> None:
    refused(data + b"\0", "header makes")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes"),
        (b"\x02\0\0\0\0\0\0\0{}", "no ticket in it"),
        (b"PK\x03\x04" + bytes(100), "announces a header"),
        (b"\xff" * 100, "announces a header of 18446744073709551615 bytes"),
        (bytes(100), "not strict JSON"),
        (b"\x05\0\0\0\0\0\0\0[1,2]", "no ticket in it"),
        (b"\x04\0\0\0\0\0\0\0\xff\xff\xff\xff", "not strict JSON"),
        (safetensors.numpy.save({"w": np.ones(3)}), "no metadata key 'slt'"),
        (safetensors.numpy.save({"w": np.ones(3)}, {"slt": "hello"}), "not strict JSON"),
        (safetensors.numpy.save({"w": np.ones(3)}, {"slt": "{}"}), "its format is None"),
        (safetensors.numpy.save({"w": np.ones(3)}, {"slt": "[]"}), r"its format is \[\]"),
        (safetensors.numpy.save({"w": np.ones(3)}, {"slt": "\ud7ff"}), "not strict JSON"),
    ],
)
def test_foreign_files_are_refused(content: bytes, says: str) -> None:
    refused(content, says)


def test_a_header_beyond_the_limit_is_refused_unread(data: bytes) -> None:
    tracemalloc.start()
    refused((65 << 20).to_bytes(8, "little") + data[8:], "announces a header")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_file_beyond_the_limit_is_refused_unread(data: bytes, tmp_path: Path) -> None:
    refused(data, f"the limit is {len(data) - 1}", max_bytes=len(data) - 1)
    path = tmp_path / "huge.slt"
    with path.open("wb") as stream:
        stream.truncate((4 << 30) + 1)  # sparse: takes no room
    for read in (ticketfile.load, ticketfile.describe):
        with pytest.raises(TicketFileError, match=r"huge\.slt.*the limit is 4294967296"):
            read(path)
    with path.open("r+b") as stream:
        stream.truncate(4 << 30)
    with pytest.raises(TicketFileError, match=r"huge\.slt"):
        ticketfile.load(path)


def test_folders_pipes_and_devices_are_refused_and_missing_files_stay_missing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        for read in (ticketfile.load, ticketfile.describe):
            with pytest.raises(TicketFileError, match=re.escape(str(path))):
                read(path)
    with pytest.raises(FileNotFoundError):
        ticketfile.load(tmp_path / "missing.slt")


# -- the container


def repacked(data: bytes, forger: Any, change: Any, metadata: dict[str, str] | None = None) -> bytes:
    container, slt, _ = forger.unpack(data)
    length = int.from_bytes(data[:8], "little")
    change(container)
    return forger.pack(container, forger.canonical(slt), data[8 + length :], metadata)


FIRST, SECOND = "layers.0.weight.mask", "layers.0.bias.mask"


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c[FIRST].update(dtype="F99"),
        lambda c: c[FIRST].update(dtype="I8"),
        lambda c: c[FIRST].update(shape=[3, 1]),
        lambda c: c[FIRST].update(shape=[10**30]),
        lambda c: c[FIRST].update(shape="x"),
        lambda c: c[FIRST].update(extra=1),
        lambda c: c[FIRST].update(data_offsets=[0, 10**18]),
        lambda c: c[FIRST].update(data_offsets=[-1, 2]),
        lambda c: c[FIRST].update(data_offsets=[True, 3]),
        lambda c: c[FIRST].update(data_offsets=None),
        lambda c: c[FIRST].update(data_offsets=[value + 1 for value in c[FIRST]["data_offsets"]]),  # gap and overlap
        lambda c: c[FIRST].update(data_offsets=c[SECOND]["data_offsets"]),  # overlap
        lambda c: c.update({FIRST: c[SECOND], SECOND: c[FIRST]}),
        lambda c: c.pop(FIRST),
        lambda c: c.update({"more.mask": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}),
        lambda c: c.update({FIRST: 5}),
    ],
)
def test_a_container_that_lies_is_refused(data: bytes, forger: Any, change: Any) -> None:
    refused(repacked(data, forger, change), "its header has '.*expected")


def test_more_metadata_is_refused(data: bytes, forger: Any) -> None:
    refused(repacked(data, forger, lambda c: None, {"format": "pt"}), "__metadata__")


def raw_header(data: bytes, change: Any) -> bytes:
    length = int.from_bytes(data[:8], "little")
    changed = change(data[8 : 8 + length])
    return len(changed).to_bytes(8, "little") + changed + data[8 + length :]


def test_a_key_twice_is_refused(data: bytes, forger: Any) -> None:
    twice = b'{"__metadata__":{"slt":"{}"},"__metadata__":'
    refused(raw_header(data, lambda h: h.replace(b'{"__metadata__":', twice, 1)), "key twice")
    container, slt, payloads = forger.unpack(data)
    text = forger.canonical(slt).replace('"version":1', '"version":1,"version":1')
    refused(forger.pack(container, text, b"".join(payloads.values())), "key twice")


def test_other_spellings_of_the_same_header_are_refused(data: bytes) -> None:
    for change in (
        lambda h: h.rstrip() + b" " * 16,
        lambda h: h.replace(b":", b": ", 1),
        lambda h: b" " + h[:-1],
        lambda h: h.replace(b"__metadata__", b"\\u005f_metadata__"),
    ):
        refused(raw_header(data, change), "canonical form|header")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "nested|not strict JSON"),
        ("[" * 100_000 + "]" * 100_000, "nested deeper"),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, "nested deeper"),
        ("[" * 66 + "]" * 66, "nested deeper than the limit of 64"),
        ("[" + "1" * 100_000 + "]", "100000 digits"),
        ("[1e999]", "too large"),
        ("[-1e999]", "too large"),
        ("[0." + "1" * 100_000 + "]", "too long"),
        ("[NaN]", "NaN"),
        ("[Infinity]", "Infinity"),
        ("[-Infinity]", "-Infinity"),
        ("[" + "[]," * 300_000 + "[]]", "items"),
        ('{"a":1,"a":1}', "twice"),
        ('{"a":1', "not strict JSON"),
        ("", "not strict JSON"),
        ("'a'", "not strict JSON"),
    ],
    ids=range(16),
)
def test_json_bombs_are_refused_in_both_places(data: bytes, forger: Any, text: str, says: str) -> None:
    refused(raw_header(data, lambda _: text.encode() or b"  "), says)
    refused(forger.pack({}, text, b""), says)


def test_deep_but_legal_json_is_read() -> None:
    assert strict_json.strict_json(b"[" * 64 + b"1" + b"]" * 64)[0]
    with pytest.raises(ValueError, match="deeper"):
        strict_json.strict_json(b"[" * 65 + b"1" + b"]" * 65)


# -- the description


def resigned(data: bytes, forger: Any, change: Any) -> bytes:
    """Change the description and sign it again, leaving tensors and container alone."""
    container, slt, _ = forger.unpack(data)
    slt = change(slt) or slt
    length = int.from_bytes(data[:8], "little")
    return forger.pack(container, forger.canonical(forger.sign(slt)), data[8 + length :])


def parameter(index: int, **changes: Any) -> Any:
    return lambda slt: slt["parameters"][index].update(changes)


def source(**changes: Any) -> Any:
    return lambda slt: slt["source"].update(changes)


BITS, GAPS, DENSE, EMPTY = 0, 2, 3, 5
PLAIN = {"law": "sign", "scale": 1.0, "overrides": []}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.update(format="other"), "its format is 'other', expected 'slt-ticket'.*give a file"),
        (lambda s: s.update(version=3), "version is 3, and this strongticket reads up to 2; install a newer"),
        (lambda s: s.update(version=2), "the keys"),
        (lambda s: s.update(version=10**30), "install a newer strongticket"),
        (lambda s: s.update(version=0), "version is 0"),
        (lambda s: s.update(version=True), "version is True"),
        (lambda s: s.update(version="1"), "version is '1'"),
        (lambda s: s.update(generator="mt19937"), "made by 'mt19937'"),
        (lambda s: s.update(more=1), "the keys"),
        (lambda s: s.pop("provenance") and None, "the keys"),
        (lambda s: s.update(provenance=[]), "neither an object nor null"),
        (lambda s: s.update(certificates={}), "not a list"),
        (lambda s: s.update(certificates=[1]), "certificate"),
        (lambda s: s.update(ticket="0" * 64), "holds ticket"),
        (lambda s: s.update(ticket=None), "not a sha256"),
        (lambda s: s.update(ticket="A" * 64), "not a sha256"),
        (lambda s: s.update(source=[]), "source cannot be made"),
        (lambda s: s.update(source=None), "source cannot be made"),
        (source(architecture="resnet-9000"), "no architecture is named 'resnet-9000'"),
        (source(architecture="mlp-" + "9" * 5000), "source cannot be made"),
        (source(architecture=["mlp-1-1"]), "source cannot be made"),
        (source(architecture=5), "source cannot be made"),
        (source(architecture="lenet-500", init=PLAIN), "would be saved as"),
        (source(architecture="mlp-5-4-40-3", init=PLAIN), "lists 6 parameters, its architecture has 3"),
        (source(architecture="mlp-5-4-40-4+bias"), "where the architecture has"),
        (source(architecture="mlp-1-999999999999999999", init=PLAIN), "lists 6 parameters"),
        (source(seed=7), "made from seed 7 are not those|holds ticket"),
        (source(seed=-1), "source cannot be made"),
        (source(seed=2**64), "source cannot be made"),
        (source(seed=1.0), "source cannot be made"),
        (source(seed=True), "source cannot be made"),
        (source(seed="1"), "source cannot be made"),
        (source(extra=1), "would be saved as"),
        (source(init={"law": "cauchy", "scale": 1.0, "overrides": []}), "source cannot be made"),
        (source(init={"law": [], "scale": 1.0, "overrides": []}), "source cannot be made"),
        (source(init={"law": "sign", "scale": 0.1, "overrides": []}), "source cannot be made"),
        (source(init={"law": "sign", "scale": 1e39, "overrides": []}), "source cannot be made"),
        (source(init={"law": "sign", "scale": 10**39, "overrides": []}), "source cannot be made"),
        (source(init={"law": "sign", "scale": -1.0, "overrides": []}), "source cannot be made"),
        (source(init={"law": "sign", "scale": None, "overrides": []}), "source cannot be made"),
        (source(init={"law": "sign", "scale": 1.0, "overrides": [["nothing", "sign", 1.0]]}), "source cannot be made"),
        (source(init={"law": "sign", "scale": 1.0, "overrides": [[[], "sign", 1.0]]}), "source cannot be made"),
        (source(init={"law": "sign", "scale": 1.0, "overrides": [1]}), "source cannot be made"),
        (source(init={"law": "sign", "scale": 1.0, "overrides": "ab"}), "source cannot be made"),
        (source(init={"law": "sign", "scale": 1.0}), "source cannot be made"),
        (lambda s: s.update(parameters=None), "lists None parameters"),
        (lambda s: s.update(parameters=s["parameters"][:-1]), "lists 5 parameters"),
        (lambda s: s.update(parameters=s["parameters"][::-1]), "where the architecture has"),
        (lambda s: s["parameters"].__setitem__(0, 5), "the encoding None"),
        (parameter(BITS, encoding="zlib"), "the encoding 'zlib'"),
        (parameter(BITS, encoding=[]), r"the encoding \[\]"),
        (parameter(BITS, encoding="gaps"), "cannot have 8 gaps"),
        (parameter(BITS, encoding="dense"), "the keys"),
        (parameter(BITS, more=1), "the keys"),
        (parameter(BITS, name="w"), "where the architecture has"),
        (parameter(BITS, shape=[5, 4]), "where the architecture has"),
        (parameter(BITS, shape=[4.0, 5]), "where the architecture has"),
        (parameter(BITS, shape=4), "where the architecture has"),
        (parameter(BITS, sha256="0" * 64), "the sha256 of its tensor"),
        (parameter(BITS, sha256="xyz"), "not a sha256"),
        (parameter(BITS, sha256=7), "not a sha256"),
        (parameter(BITS, weights="0" * 64), "made from seed"),
        (parameter(BITS, weights=None), "not a sha256"),
        (parameter(BITS, bytes=2), "has 2 bytes, but bits of shape"),
        (parameter(BITS, bytes=10**30), "bytes, but bits of shape"),
        (parameter(BITS, bytes=3.0), "not a whole number"),
        (parameter(BITS, kept=True), "not a whole number"),
        (parameter(BITS, kept=-1), "not a whole number"),
        (parameter(BITS, kept=7), "keeps 8 entries, its list says 7"),
        (parameter(BITS, kept=21), "keeps 21 entries of 20"),
        (parameter(GAPS, kept=3), "keeps 4 entries, its list says 3"),
        (parameter(GAPS, kept=5), "instead of 5|4 gaps|says 5"),
        (parameter(GAPS, kept=10**30), "keeps 10"),
        (parameter(GAPS, kept=0), "cannot have 0 gaps"),
        (parameter(GAPS, bytes=10**12), "cannot have 4 gaps"),
        (parameter(GAPS, bytes=6), "its header has"),
        (parameter(DENSE, dtype="F99"), "the dtype 'F99'"),
        (parameter(DENSE, dtype=[]), r"the dtype \[\]"),
        (parameter(DENSE, dtype="F16"), "F16 of shape"),
        (parameter(DENSE, dtype="I32"), "its header has"),
        (parameter(EMPTY, kept=1), "cannot have 1 gaps"),
    ],
)
def test_a_description_that_lies_is_refused(data: bytes, forger: Any, change: Any, says: str) -> None:
    refused(resigned(data, forger, change), says)


def test_an_unsigned_change_is_refused(data: bytes, forger: Any) -> None:
    container, slt, payloads = forger.unpack(data)
    slt["provenance"]["by"] = "somebody else"
    refused(forger.pack(container, forger.canonical(slt), b"".join(payloads.values())), "checksum")


# -- the tensors


def swap(name: str, payload: bytes, **changes: Any) -> Any:
    def change(container: Any, slt: Any, payloads: dict[str, bytes]) -> None:
        payloads[name] = payload
        next(entry for entry in slt["parameters"] if name.startswith(entry["name"] + ".")).update(changes)

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (swap(FIRST, b"\x2b\x23\x18"), "spare bits"),
        (swap(FIRST, b"\x2b\x23\x00"), "keeps 7 entries, its list says 8"),
        (swap(FIRST, b"\x2b\x23\x04"), "holds ticket"),  # another mask of the same count
        (swap(FIRST, b"\x2b\x23"), "2 bytes, but bits"),
        (swap("layers.1.weight.mask", b"\x00\x00\x93\x01\x0a"), "keeps entry 160, beyond the last one, 159"),
        (swap("layers.1.weight.mask", b"\x00\x00\x93\x01\x89"), "no end|gaps"),
        (swap("layers.1.weight.mask", b"\x00\x00\x93\x81\x00"), "padded|gaps"),
        (swap("layers.1.weight.mask", b"\x00\x00\x13\x01\x09"), "keeps 5|5 gaps"),
        (swap("layers.1.weight.mask", b"\x00\x00\x93\x01\x08"), "holds ticket"),
        (swap("layers.1.weight.mask", (b"\xff" * 8 + b"\x7f") * 4), "beyond the last one"),
        (swap("layers.2.bias.mask", b"\x00"), "cannot have 0 gaps"),
        (swap("layers.1.bias.dense", bytes(160)), "holds ticket"),
        (swap("layers.1.bias.dense", bytes(156)), "F32 of shape"),
    ],
)
def test_tensors_that_lie_are_refused(data: bytes, forger: Any, change: Any, says: str) -> None:
    refused(forger.forge(data, change), says)


def test_a_wrong_seed_is_refused_even_if_everything_else_fits(ticket: Ticket, data: bytes, forger: Any) -> None:
    other = Ticket(Source(ticket.source.architecture, 7, ticket.source.init), ticket.mask, ticket.dense)

    def change(container: Any, slt: Any, payloads: Any) -> None:
        slt["source"]["seed"], slt["ticket"], slt["certificates"] = 7, other.digest, []

    forged = forger.forge(data, change)
    refused(forged, "made from seed 7 are not those it was saved with; it was edited, or")
    assert ticketfile.loads(forged, verify=False) == other  # verify=False skips exactly this


def test_booleans_are_zero_or_one(forger: Any) -> None:
    import torch

    source = Source(MLP((2, 2)), 1)
    data = ticketfile.dumps(Ticket(source, Mask({}), {"layers.0.weight": torch.ones(2, 2, dtype=torch.bool)}))
    refused(forger.forge(data, swap("layers.0.weight.dense", b"\x01\x00\x02\x01")), "bytes other than 0 and 1")


@pytest.mark.parametrize(
    "change",
    [
        {"ticket_digest": "0" * 64},
        {"error": -1.0},
        {"error": 10**38},  # a number, but not in the form that is saved
        {"error": None},
        {"rigor": "CERTAIN"},
        {"rigor": []},
        {"norm": "l7"},
        {"domain": None},
        {"domain": {"low": 1.0, "high": 0.0, "radius": None}},
        {"domain": {"low": 0.0, "high": 1.0, "radius": 0.0}},
        {"per_output": 3},
        {"per_output": [None]},
        {"method": 3},
        {"bound": 3},
        {"more": 1},
    ],
)
def test_certificates_that_lie_are_refused(data: bytes, forger: Any, change: Any) -> None:
    forged = resigned(data, forger, lambda slt: slt["certificates"][0].update(change))
    refused(forged, "would be saved as" if change.get("error") == 10**38 else "a certificate in it is not valid")


# -- saving what could not be loaded


def test_a_certificate_of_another_ticket_is_not_saved(ticket: Ticket) -> None:
    claim = Certificate("max", Domain.box(0, 1), 0.5, Rigor.FLOAT, "guess", "1" * 64, "2" * 64)
    with pytest.raises(ValueError, match="a certificate of ticket"):
        ticketfile.dumps(Ticket(ticket.source, ticket.mask, ticket.dense, (claim,)))


class Nameless(MLP.__bases__[0]):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def id(self) -> str:
        return self.name

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"layers.0.weight": (2, 3)}

    def module(self, weights: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("name", ["my-own-network", "mlp-2-3", "", "lenet-500"])
def test_an_architecture_that_its_name_does_not_bring_back_is_not_saved(name: str, tmp_path: Path) -> None:
    source = Source(Nameless(name), 1)
    with pytest.raises(ValueError, match="cannot be read back by its name"):
        ticketfile.save(tmp_path / "t.slt", Ticket(source, Mask.full(source.shapes)))
    assert not list(tmp_path.iterdir())


def test_an_architecture_with_too_long_a_name_is_not_saved() -> None:
    source = Source(MLP((1,) * 80), 1)
    with pytest.raises(ValueError, match="cannot be read back"):
        ticketfile.dumps(Ticket(source, Mask.full(source.shapes)))


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return {"deep": value}


@pytest.mark.parametrize(
    "provenance",
    [
        {"x": float("nan")},
        {"x": float("inf")},
        {"x": object()},
        {"x": b"bytes"},
        {"x": {1, 2}},
        {"x": 10**50},
        {1: "a", "1": "b"},
        {(1, 2): 3},
        {"x": [[]] * 300_000},
        deep(100),
        deep(5000),
    ],
    ids=range(11),
)
def test_a_provenance_that_would_not_come_back_is_not_saved(ticket: Ticket, provenance: Any) -> None:
    with pytest.raises(ValueError, match=r"provenance|could not be read again"):
        ticketfile.dumps(ticket, provenance=provenance)


def test_the_limits_are_those_documented() -> None:
    assert ticketfile.file.MAX_FILE_BYTES == 4 << 30
    assert header.MAX_HEADER_BYTES == 64 << 20
    assert json.loads(header.header_json({}))["format"] == "slt-ticket"
