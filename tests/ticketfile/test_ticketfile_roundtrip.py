from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from strongticket import ticketfile
from strongticket.models import MLP, architecture
from strongticket.testing import check_ticket, check_ticket_file_roundtrip, sources, tickets
from strongticket.ticket import Init, Mask, Source, Ticket
from strongticket.ticketfile import header, tensors

GOLDEN = "07a79fb57509945034b775277d8da61811aed4ece484a45a335e7962395d6409"


def half(source: Source, density: float = 0.5) -> Ticket:
    generator = np.random.default_rng(0)
    return Ticket(source, Mask({name: generator.random(shape) < density for name, shape in source.shapes.items()}))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(tickets(), st.none() | st.dictionaries(st.text(), json_values, max_size=3))
def test_any_ticket_comes_back_the_same(ticket: Ticket, provenance: dict[str, Any] | None) -> None:
    check_ticket_file_roundtrip(ticket, provenance=provenance)


@given(tickets(sources(st.sampled_from([MLP((10**5, 10**5)), MLP((10**17, 10**17)), MLP((3, 10**9, 2), bias=True)]))))
def test_tickets_of_huge_sources_come_back_the_same(ticket: Ticket) -> None:
    check_ticket_file_roundtrip(ticket)
    check_ticket(ticket)


def test_the_safetensors_library_reads_the_file_and_finds_the_mask(ticket: Ticket, data: bytes, tmp_path: Path) -> None:
    loaded = safetensors.numpy.load(data)
    assert sorted(loaded) == sorted(f"{n}.{'mask' if n in ticket.mask else 'dense'}" for n in ticket.source.shapes)
    bits = np.unpackbits(loaded["layers.0.weight.mask"], bitorder="little", count=20).astype(bool)
    assert np.array_equal(bits.reshape(4, 5), ticket.mask["layers.0.weight"].numpy())
    assert loaded["layers.1.weight.mask"].tolist() == [0, 0, 128 + 19, 1, 9]  # 147 = 19 + 128
    assert np.array_equal(loaded["layers.1.bias.dense"], ticket.dense["layers.1.bias"].numpy())
    (tmp_path / "t.slt").write_bytes(data)
    with safetensors.safe_open(tmp_path / "t.slt", "np") as opened:
        assert list(opened.metadata()) == ["slt"]


def test_the_description_says_what_is_in_the_file(ticket: Ticket, data: bytes, forger: Any) -> None:
    _, slt, payloads = forger.unpack(data)
    assert (slt["format"], slt["version"], slt["ticket"]) == ("slt-ticket", 1, ticket.digest)
    assert slt["source"] == ticket.source.to_json()
    encodings = {entry["name"]: entry["encoding"] for entry in slt["parameters"]}
    assert list(encodings) == list(ticket.source.shapes)
    assert encodings["layers.0.weight"] == "bits"
    assert encodings["layers.1.weight"] == encodings["layers.2.bias"] == "gaps"
    assert encodings["layers.1.bias"] == "dense"
    for entry in slt["parameters"]:
        name = entry["name"]
        payload = payloads[f"{name}.{'dense' if name in ticket.dense else 'mask'}"]
        assert entry["sha256"] == hashlib.sha256(payload).hexdigest()
        if name in ticket.mask:
            whole = ticket.source.weight(name)[ticket.mask[name]].numpy()  # the literal meaning
            assert entry["weights"] == hashlib.sha256(whole.astype("<f4").tobytes()).hexdigest()
            assert entry["kept"] == int(ticket.mask[name].sum())


@pytest.mark.parametrize("density", [0.0, 0.004, 0.02, 0.1, 0.24, 0.26, 0.9, 1.0])
@pytest.mark.parametrize("law", ["uniform23", "normal-tab1"])
def test_the_weights_digest_is_that_of_the_literal_definition(law: str, density: float, monkeypatch: Any) -> None:
    monkeypatch.setattr(tensors, "_BLOCK", 1 << 9)  # so that there are many blocks
    ticket = half(Source(MLP((83, 71)), 5, Init(law, 0.5)), density)
    name = "layers.0.weight"
    literal = ticket.source.weight(name)[ticket.mask[name]].numpy().astype("<f4").tobytes()
    assert tensors.weights_digest(ticket, name) == hashlib.sha256(literal).hexdigest()
    assert ticketfile.loads(ticketfile.dumps(ticket)) == ticket


def test_the_smaller_encoding_is_taken() -> None:
    name, source = "layers.0.weight", Source(MLP((100, 80)), 1)
    for kept in [0, 1, 10, 124, 125, 126, 500, 999, 1000, 1001, 8000]:
        spread = np.arange(kept) * (8000 // max(kept, 1))
        for index in (spread, np.arange(kept)):
            entry, payload = tensors.encoded(Ticket(source, Mask.from_indices(source.shapes, {name: index})), name)
            gaps = np.diff(index, prepend=-1) - 1
            literal = sum(max(1, -(-int(gap).bit_length() // 7)) for gap in gaps)
            assert len(payload) == entry.bytes == min(1000, literal)
            assert entry.encoding == ("gaps" if literal < 1000 else "bits")


def test_sizes_are_those_promised() -> None:
    mask_of_266200 = half(Source(MLP((784, 300, 100, 10)), 1))
    assert mask_of_266200.mask.size == 266_200
    assert len(ticketfile.dumps(mask_of_266200)) <= 35_000
    assert len(ticketfile.dumps(half(Source(architecture("lenet-300-100"), 2**64 - 1, Init("normal-tab1"))))) <= 40_000


def test_a_source_of_ten_thousand_million_weights_is_cheap(tmp_path: Path) -> None:
    source = Source(MLP((10**5, 10**5)), 3)
    index = np.unique(np.random.default_rng(1).integers(0, 10**10, 10**4))
    ticket = Ticket(source, Mask.from_indices(source.shapes, {"layers.0.weight": index}))
    start = time.process_time()
    path = ticketfile.save(tmp_path / "t.slt", ticket)
    assert ticketfile.load(path) == ticket
    assert time.process_time() - start < 1.0
    assert path.stat().st_size < 50_000


def test_a_huge_shape_with_nothing_kept_is_cheap_and_legal() -> None:
    source = Source(MLP((10**17, 10**17, 10**17)), 0)
    ticket = Ticket(source, Mask.from_indices(source.shapes, {}))
    data = check_ticket_file_roundtrip(ticket)
    assert len(data) < 2_000


def test_verify_false_makes_no_weights(data: bytes, ticket: Ticket, monkeypatch: Any) -> None:
    def refuse(*_: Any) -> torch.Tensor:
        raise RuntimeError("made weights")

    monkeypatch.setattr(Source, "weight", refuse)
    assert ticketfile.loads(data, verify=False) == ticket
    with pytest.raises(RuntimeError, match="made weights"):
        ticketfile.loads(data)


def test_verifying_makes_no_more_than_four_times_the_kept_weights(monkeypatch: Any) -> None:
    made: list[int] = []
    original = Source.weight

    def counting(self: Source, name: str, index: Any = None) -> torch.Tensor:
        weights = original(self, name, index)
        made.append(weights.numel())
        return weights

    source = Source(MLP((1000, 300)), 3)
    for density in (0.001, 0.1, 0.3, 0.9):
        ticket = half(source, density)
        data = ticketfile.dumps(ticket)
        monkeypatch.setattr(Source, "weight", counting)
        made.clear()
        ticketfile.loads(data)
        monkeypatch.setattr(Source, "weight", original)
        assert ticket.mask.count <= sum(made) <= 4 * ticket.mask.count


DENSE = [
    torch.tensor([1.5, -0.0, math.inf, math.nan], dtype=torch.float64),
    torch.tensor([1.5, -0.0, math.inf, math.nan], dtype=torch.float32),
    torch.tensor([1.5, -0.0, math.inf, math.nan], dtype=torch.float16),
    torch.tensor([1.5, -0.0, math.inf, math.nan], dtype=torch.bfloat16),
    torch.tensor([2**62, -1, 0, 7], dtype=torch.int64),
    torch.tensor([-5, 4, 3, 2], dtype=torch.int32),
    torch.tensor([-5, 4, 3, 2], dtype=torch.int16),
    torch.tensor([-5, 4, 3, 2], dtype=torch.int8),
    torch.tensor([255, 4, 3, 2], dtype=torch.uint8),
    torch.tensor([True, False, False, True]),
]


@pytest.mark.parametrize("value", DENSE, ids=lambda value: str(value.dtype))
def test_dense_tensors_of_every_type_come_back_bit_for_bit(value: torch.Tensor) -> None:
    source = Source(MLP((2, 4, 2), bias=True), 1)
    turned = value.repeat(2).reshape(2, 4).t()  # not contiguous
    dense = {"layers.0.bias": value, "layers.0.weight": turned, "layers.1.weight": torch.ones(2, 4)}
    rest = {name: shape for name, shape in source.shapes.items() if name not in dense}
    data = check_ticket_file_roundtrip(Ticket(source, Mask.full(rest), dense))
    loaded = safetensors.torch.load(data)
    assert all(torch.equal(loaded[f"{name}.dense"].nan_to_num(), dense[name].nan_to_num()) for name in dense)


def test_a_dense_tensor_of_another_type_is_not_saved() -> None:
    source = Source(MLP((2, 2)), 1)
    ticket = Ticket(source, Mask({}), {"layers.0.weight": torch.ones(2, 2, dtype=torch.complex64)})
    with pytest.raises(ValueError, match="complex64"):
        ticketfile.dumps(ticket)


def test_the_file_does_not_depend_on_the_order_of_dictionaries(ticket: Ticket, data: bytes) -> None:
    backwards = Mask.from_indices(
        dict(reversed(ticket.mask.shapes.items())), {name: ticket.mask.indices(name) for name in ticket.mask}
    )
    provenance = {"numbers": [1, 2.5, None, True], "by": "a test"}
    other = Ticket(ticket.source, backwards, ticket.dense, ticket.certificates)
    assert all(ticketfile.dumps(other, provenance=provenance) == data for _ in range(30))


CODE = """
import hashlib, numpy as np, torch
from strongticket import ticketfile
from strongticket.models import MLP
from strongticket.ticket import *
source = Source(MLP((6, 5, 40), bias=True), 42, Init("normal-tab1", 0.5, (("layers.1.weight", "uniform23", 0.25),)))
index = {"layers.0.weight": np.arange(0, 30, 2), "layers.1.weight": np.array([0, 130, 199])}
shapes = {name: shape for name, shape in source.shapes.items() if name != "layers.0.bias"}
ticket = Ticket(source, Mask.from_indices(shapes, index), {"layers.0.bias": torch.arange(5.0)})
data = ticketfile.dumps(ticket, provenance={"b": {"y": 1, "x": 2}, "a": ["\\u00e9"]})
print(hashlib.sha256(data).hexdigest())
"""


def test_the_golden_file_is_the_same_for_ever(capsys: Any) -> None:
    exec(CODE, {})
    assert capsys.readouterr().out.strip() == GOLDEN


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_the_file_does_not_depend_on_the_hash_seed(hash_seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(ticketfile.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == GOLDEN


def test_describe_reads_the_header_alone(ticket: Ticket, data: bytes, tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "t.slt"
    path.write_bytes(data)
    monkeypatch.setattr(Source, "weight", None)
    monkeypatch.setattr("strongticket.ticketfile.file.sha256", None)
    found = ticketfile.describe(path)
    assert found["file"] == str(path)
    assert found["bytes"] == len(data)
    assert (found["kept"], found["size"]) == (ticket.mask.count, ticket.mask.size)
    assert found["density"] == ticket.mask.density
    assert found["ticket"] == ticket.digest
    assert found["provenance"]["by"] == "a test"
    assert found["certificates"] == [certificate.to_json() for certificate in ticket.certificates]
    assert found["format"] == header.FORMAT
