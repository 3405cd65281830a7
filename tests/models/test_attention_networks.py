"""Networks of attention: names, shapes, what they compute, and targets as exact numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strongticket import random
from strongticket.models import Attention, AttentionTarget, architecture
from strongticket.ticket import Mask, Source, Ticket
from strongticket.ticketfile import dumps, loads


def _weights(net: Attention, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    drawn = {}
    for name, shape in net.shapes.items():
        size = int(np.prod(shape))
        values = random.UNIFORM23.values(seed, name, 0, size, purpose=random.TRIAL).reshape(shape)
        drawn[name] = torch.from_numpy(values * np.float32(0.5)).to(dtype)
    return drawn | net.initial_state()


widths = st.lists(st.integers(1, 10**6), max_size=3).map(tuple)


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.tuples(st.integers(1, 64), st.integers(1, 4096), st.integers(1, 64), *[st.integers(1, 10**6)] * 2),
    hidden=widths,
    head=widths,
    words=st.booleans(),
    tokens=st.integers(1, 4096),
    length=st.integers(0, 1000),
    classes=st.integers(1, 1000),
)
def test_names_are_read_back(
    numbers: tuple[int, int, int, int, int],
    hidden: tuple[int, ...],
    head: tuple[int, ...],
    words: bool,
    tokens: int,
    length: int,
    classes: int,
) -> None:
    kinds = {"vocabulary" if words else "patch": tokens}
    net = Attention(*numbers, hidden, head, length=length, classes=classes, **kinds)
    assert architecture(net.id) == net


@pytest.mark.parametrize("name", ["attention-l1", "attention-l1-d2-h1-k1-v1-p2-w3", "attention-l1-d2-h1-k1-v1-p2+bias"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="attention"):
        architecture(name)


def test_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="one of patch"):
        Attention(1, 2, 1, 2, 2)
    with pytest.raises(ValueError, match="heads"):
        Attention(1, 2, 0, 2, 2, patch=2)


def _literal(net: Attention, w: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The definition, token by token."""
    if net.patch:
        tokens = [w["embedding"] @ x[t] for t in range(len(x))]
    else:
        tokens = [w["embedding"][t] for t in x]
    if net.length:
        tokens = [token + w["positions"][t] for t, token in enumerate(tokens)]
    for b in range(net.layers):
        mixed = []
        for i in tokens:
            out = i.copy()
            for h in range(net.heads):
                keys, values = slice(h * net.key, (h + 1) * net.key), slice(h * net.value, (h + 1) * net.value)
                q = w[f"blocks.{b}.query.weight"][keys] @ i
                logits = np.array([(w[f"blocks.{b}.key.weight"][keys] @ j) @ q / np.sqrt(net.key) for j in tokens])
                share = np.exp(logits - logits.max())
                share /= share.sum()
                for p, j in zip(share, tokens, strict=True):
                    out += p * (w[f"blocks.{b}.out.weight"][:, values] @ (w[f"blocks.{b}.value.weight"][values] @ j))
            mixed.append(out)
        tokens = mixed
        if net.hidden:
            tokens = [t + _mlp(w, f"blocks.{b}.feed", len(net.hidden) + 1, t) for t in tokens]
    return _mlp(w, "head", len(net.head) + 1, np.mean(tokens, axis=0))


def _mlp(w: dict[str, np.ndarray], name: str, count: int, x: np.ndarray) -> np.ndarray:
    for i in range(count):
        matrix = w[f"{name}.{i}.weight"]
        x = matrix @ (np.maximum(x, 0) if i else x)
    return x


@pytest.mark.parametrize(
    "net",
    [
        Attention(2, 6, 2, 3, 5, (7,), patch=4, length=5, classes=3),
        Attention(1, 4, 1, 4, 4, patch=2, classes=2),
        Attention(1, 5, 3, 2, 2, (4, 3), (6,), vocabulary=7, classes=2),
        Attention(1, 5, 1, 2, 2, vocabulary=4, length=6),
    ],
)
def test_networks_compute_the_definition(net: Attention) -> None:
    weights = _weights(net, dtype=torch.float64)
    weights |= {name: value.double() for name, value in net.initial_state().items()}
    module = net.module(weights)
    if net.patch:
        x = random.UNIFORM23.values(3, "x", 0, 3 * 5 * net.patch, dtype="float64").reshape(3, 5, net.patch)
    else:
        x = np.arange(15).reshape(3, 5) * 5 % net.vocabulary
    found = module(torch.from_numpy(x)).numpy()
    exact = {name: value.double().numpy() for name, value in weights.items()}
    np.testing.assert_allclose(found, np.stack([_literal(net, exact, one) for one in x]), atol=1e-12)


def test_inputs_that_are_no_tokens_are_refused() -> None:
    module = (net := Attention(1, 4, 1, 2, 2, patch=3, length=2)).module(_weights(net))
    assert module(torch.zeros(5, 2, 3)).shape == module(torch.zeros(5, 6)).shape == (5, 10)
    with pytest.raises(ValueError, match="tokens of 3"):
        module(torch.zeros(1, 4))
    with pytest.raises(ValueError, match="at most 2 tokens"):
        module(torch.zeros(1, 9))


def test_targets_are_saved_and_damage_is_found(tmp_path: Path) -> None:
    net = Attention(1, 4, 2, 2, 3, (5,), patch=4, length=3, classes=2)
    target = AttentionTarget(net, _weights(net))
    path = target.save(tmp_path / "target.safetensors")
    assert AttentionTarget.load(path).digest == target.digest
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="damaged"):
        AttentionTarget.load(path)


def test_targets_refuse_what_is_no_target() -> None:
    net = Attention(1, 4, 1, 2, 2, patch=4)
    with pytest.raises(ValueError, match="must be finite"):
        AttentionTarget(net, _weights(net) | {"head.0.weight": torch.full((10, 4), float("nan"))})
    with pytest.raises(ValueError, match="more digits"):
        AttentionTarget(net, _weights(net) | {"embedding": torch.full((4, 4), 0.1, dtype=torch.float64)})
    with pytest.raises(ValueError, match="do not fit"):
        AttentionTarget(net, _weights(net) | {"more": torch.zeros(1)})
    with pytest.raises(TypeError, match=r"Attention\.module"):
        AttentionTarget.from_module(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("power", [-2, 1, 3])
def test_scaling_the_unit_of_tokens_changes_nothing(power: int) -> None:
    net = Attention(2, 6, 2, 3, 5, (7,), patch=4, length=5, classes=3)
    target = AttentionTarget(net, _weights(net))
    x = torch.linspace(-1, 1, 40).reshape(2, 5, 4)
    scaled = target.scaled(power)
    torch.testing.assert_close(scaled.module()(x), target.module()(x))
    assert np.array_equal(scaled.heads[0][0].logits, target.heads[0][0].logits * 4.0**-power)
    assert AttentionTarget.from_module(scaled.module()).digest == scaled.digest


def test_tickets_of_attention_are_read_back_from_files() -> None:
    net = Attention(1, 4, 1, 4, 3, (5,), (6,), patch=4, length=3, classes=2)
    source = Source(net, seed=3)
    ticket = Ticket(source, Mask.full(source.shapes), net.initial_state())
    assert loads(dumps(ticket)) == ticket
    assert ticket.matches(ticket.module())


def test_as_many_widths_as_a_source_can_have_are_named_and_more_are_refused() -> None:
    deep = Attention(1, 4, 1, 2, 2, (3,) * 17, (2,) * 64, patch=4)
    assert architecture(deep.id) == deep
    for hidden, head in (((3,) * 65, ()), ((), (3,) * 65)):
        with pytest.raises(ValueError, match="at most 64 hidden widths"):
            Attention(1, 4, 1, 2, 2, hidden, head, patch=4)


@pytest.mark.parametrize("power", [-1000, -130, 130, 1000])
def test_a_change_of_units_that_would_round_is_refused(power: int) -> None:
    net = Attention(1, 4, 1, 2, 2, patch=4, length=2)
    target = AttentionTarget(net, _weights(net))
    with pytest.raises(ValueError, match="is too far"):
        target.scaled(power)
    with pytest.raises(ValueError, match="whole number"):
        target.scaled(10 * power)
