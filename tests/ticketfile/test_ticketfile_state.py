"""Ticket files of networks with a state."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from strongticket import ticketfile
from strongticket.models import architecture
from strongticket.testing import check_ticket, check_ticket_file_roundtrip
from strongticket.ticket import Init, Mask, Source, Ticket

NAME = "resnet8x0.25+3x8x8+affine"


def with_state(name: str = NAME) -> Ticket:
    source = Source(architecture(name), 2**63 + 5, Init("uniform23", 0.5))
    masks = {key: np.arange(0, math.prod(shape), 3) for key, shape in source.shapes.items()}
    state = source.architecture.initial_state()
    for i, value in enumerate(state.values()):
        value.view(-1)[:] = i if value.dtype == torch.int64 else torch.arange(value.numel()) / 7 + i
    return Ticket(source, Mask.from_indices(source.shapes, masks), state)


@pytest.fixture(scope="module")
def stateful() -> Ticket:
    return with_state()


@pytest.fixture(scope="module")
def written(stateful: Ticket) -> bytes:
    return ticketfile.dumps(stateful)


def test_statistics_and_counts_come_back_bit_for_bit(stateful: Ticket, written: bytes, tmp_path: Path) -> None:
    odd = dict(stateful.dense)
    odd["bn1.running_mean"] = torch.tensor([math.nan, -0.0, math.inf, 1e-45])
    odd["bn1.num_batches_tracked"] = torch.tensor(-(2**63))
    check_ticket_file_roundtrip(Ticket(stateful.source, stateful.mask, odd))
    loaded = ticketfile.load(ticketfile.save(tmp_path / "t.slt", stateful))
    assert loaded == stateful
    assert loaded.matches(stateful.module())
    assert stateful.matches(loaded.module())
    inputs = torch.randn(2, 3, 8, 8)
    assert torch.equal(loaded.module()(inputs), stateful.module()(inputs))
    check_ticket(loaded)
    plain = safetensors.torch.load(written)
    for name, value in stateful.dense.items():
        assert plain[f"{name}.dense"].dtype == value.dtype
        assert torch.equal(plain[f"{name}.dense"], value)


def test_the_list_has_the_random_parameters_and_then_the_state(stateful: Ticket, written: bytes, forger: Any) -> None:
    _, slt, _ = forger.unpack(written)
    assert slt["version"] == 1
    names = [entry["name"] for entry in slt["parameters"]]
    assert names == [*stateful.source.shapes, *stateful.source.architecture.state]
    assert {entry["name"] for entry in slt["parameters"] if entry["encoding"] == "dense"} == set(stateful.dense)


def test_describe_counts_what_is_masked(stateful: Ticket, tmp_path: Path) -> None:
    found = ticketfile.describe(ticketfile.save(tmp_path / "t.slt", stateful))
    assert (found["size"], found["kept"]) == (stateful.source.architecture.size, stateful.mask.count)
    dtypes = {entry["name"]: entry.get("dtype") for entry in found["parameters"]}
    assert dtypes["bn1.num_batches_tracked"] == "I64"
    assert dtypes["bn1.weight"] == "F32"
    assert dtypes["conv1.weight"] is None


def test_the_file_is_the_same_for_ever(written: bytes) -> None:
    assert hashlib.sha256(written).hexdigest() == "799ff01ca4ce917eafaa46d042b7b012f0b2c1ef533a21b4fd67542a7a73e017"


def test_a_real_network_of_many_layers(tmp_path: Path) -> None:
    ticket = with_state("resnet110x0.25")
    path = ticketfile.save(tmp_path / "t.slt", ticket)
    assert ticketfile.load(path) == ticket
    assert path.stat().st_size < 400_000


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"encoding": "dense", "dtype": "F64", "bytes": 32},
            "'bn1.running_mean' as float64 where the architecture has float32 that is not random",
        ),
        (
            {"encoding": "bits", "dtype": None, "bytes": 1, "kept": 0, "weights": "0" * 64},
            "'bn1.running_mean' as a mask of bits where the architecture has float32 that is not random",
        ),
        ({"shape": [5], "bytes": 20}, "where the architecture has 'bn1.running_mean'"),
    ],
)
def test_a_state_that_is_no_state_is_refused(written: bytes, forger: Any, change: Any, says: str) -> None:
    container, slt, _ = forger.unpack(written)
    entry = next(entry for entry in slt["parameters"] if entry["name"] == "bn1.running_mean")
    entry.update(change)
    if entry["dtype"] is None:
        del entry["dtype"]
    length = int.from_bytes(written[:8], "little")
    forged = forger.pack(container, forger.canonical(forger.sign(slt)), written[8 + length :])
    with pytest.raises(ticketfile.TicketFileError, match=says):
        ticketfile.loads(forged)


def test_a_file_without_its_state_is_refused(written: bytes, forger: Any) -> None:
    container, slt, payloads = forger.unpack(written)
    slt["parameters"] = [entry for entry in slt["parameters"] if entry["encoding"] != "dense"]
    forged = forger.pack(container, forger.canonical(forger.sign(slt)), b"".join(payloads.values()))
    with pytest.raises(ticketfile.TicketFileError, match="its architecture has"):
        ticketfile.loads(forged)


def test_another_architecture_than_that_of_its_name_is_not_saved(stateful: Ticket, monkeypatch: Any) -> None:
    other = architecture(NAME.replace("+affine", ""))
    monkeypatch.setattr("strongticket.ticketfile.file.architecture", lambda name: other)
    with pytest.raises(ValueError, match="cannot be read back by its name"):
        ticketfile.dumps(stateful)
