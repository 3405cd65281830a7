"""Damage files at random, and make them lie, from a seed."""

from __future__ import annotations

import random
from typing import Any

from experiments.reliability._forge import canonical, forge, pack, sign, unpack

__all__ = ["STRANGE", "damaged", "lie", "lying"]

STRANGE: list[Any] = [
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


def lying(generator: random.Random, data: bytes) -> bytes:
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
            return forge(data, change)
        except (KeyError, TypeError, AttributeError):  # the forger needs a list of parameters; sign what there is
            pass
    container, slt, payloads = unpack(data)
    if generator.random() < 0.5:
        container = lie(generator, container)
        container = container if isinstance(container, dict) else {"x": container}
    else:
        slt = lie(generator, slt)
    text = canonical(sign(slt) if isinstance(slt, dict) else slt)
    return pack(container, text, b"".join(payloads.values()))
