"""Strategies for masks, sources, targets and tickets, and checks that any ticket of yours must pass.

A strategy describes every valid value, the awkward ones included: masks that keep nothing or everything, targets all
zero or all at the extreme, seeds at both ends of their range. A check raises AssertionError with what broke it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strongticket import random, ticketfile
from strongticket.certificate import Certificate, Domain, Rigor
from strongticket.models import MLP, Target
from strongticket.reading import KINDS, LARGEST_FACTOR, LARGEST_REDRAW, LARGEST_RESCALE, Reading
from strongticket.testing._promises import must
from strongticket.ticket import Init, Mask, Source, Ticket, tensor_bytes

try:
    from hypothesis import strategies as st
except ImportError as error:  # pragma: no cover - the message is all there is
    raise ImportError("strongticket.testing needs hypothesis: pip install 'strongticket[testing]'") from error

__all__ = [
    "TARGET_KINDS",
    "architectures",
    "certificates",
    "check_ticket",
    "check_ticket_file_roundtrip",
    "inits",
    "masks",
    "readings",
    "seeds",
    "sources",
    "targets",
    "tickets",
]

MASK_KINDS = ("any", "nothing", "everything", "one", "all but one", "thin")
TARGET_KINDS = ("any", "zero", "extreme", "dominant row", "single weight", "tiny", "grid")
_DENSE_LIMIT = 1 << 22  # entries of a parameter up to which checks make dense tensors


def seeds() -> st.SearchStrategy[int]:
    """Describe the seeds of random networks: 0..2^64-1, the ends and the seams of 32-bit words oftener."""
    return st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)


def architectures(*, max_depth: int = 4, max_width: int = 12, bias: bool | None = None) -> st.SearchStrategy[MLP]:
    """Describe MLPs by their sizes.

    Args:
        max_depth: most weight layers, >= 1.
        max_width: largest size of a layer, >= 1.
        bias: with biases, without, or either (None).
    """
    sizes = st.lists(st.integers(1, max_width), min_size=2, max_size=max_depth + 1).map(tuple)
    return st.builds(MLP, sizes, st.booleans() if bias is None else st.just(bias))


@st.composite
def inits(draw: st.DrawFn, names: Sequence[str] = ()) -> Init:
    """Describe the laws of random weights; `names` are the parameters that may have a scale of their own."""
    scale = st.sampled_from([1.0, 0.5, 2.0**-10, 4.0, float(np.float32(0.1)), float(np.float32(1.7))])
    own = draw(st.lists(st.sampled_from(list(names)), unique=True, max_size=3)) if names else []
    law = st.sampled_from(sorted(random.LAWS))
    return Init(draw(law), draw(scale), tuple((name, draw(law), draw(scale)) for name in own))


@st.composite
def sources(draw: st.DrawFn, architecture: st.SearchStrategy[Any] | None = None) -> Source:
    """Describe random networks of an architecture (default: any of `architectures()`)."""
    chosen = draw(architectures() if architecture is None else architecture)
    return Source(chosen, draw(seeds()), draw(inits(tuple(chosen.shapes))))


@st.composite
def masks(draw: st.DrawFn, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Mask:
    """Describe masks: of given shapes, or of a few small parameters with 0 to 3 dimensions.

    Args:
        shapes: {parameter: shape}; a parameter of more than 2^22 entries keeps a few of them only, at any indices.
    """
    if shapes is None:
        shape = st.lists(st.integers(0, 9), max_size=3).map(tuple)
        shapes = draw(st.dictionaries(st.sampled_from(["a", "b.weight", "\u03b2"]), shape, max_size=3))
    parts = [Mask({})]
    for name, size in ((name, math.prod(shape)) for name, shape in shapes.items()):
        kept = _huge(draw, size) if size > _DENSE_LIMIT else _small(draw, size)
        parts.append(Mask.from_indices({name: shapes[name]}, {name: kept}))
    return Mask.merge(*parts)


def _huge(draw: st.DrawFn, size: int) -> NDArray[np.int64]:
    largest = min(size, random.MAX_VALUES) - 1
    edges = st.sampled_from([0, 1, 127, 128, 129, 2**21, largest - 1, largest])
    return np.array(draw(st.lists(edges | st.integers(0, largest), unique=True, max_size=40)), dtype=np.int64)


def _small(draw: st.DrawFn, size: int) -> NDArray[np.int64]:
    kind = draw(st.sampled_from(MASK_KINDS)) if size else "nothing"
    if kind == "any" and size <= 256:
        bits = np.frombuffer(draw(st.binary(min_size=-(-size // 8), max_size=-(-size // 8))), dtype=np.uint8)
        return np.flatnonzero(np.unpackbits(bits, count=size))
    if kind in ("any", "thin"):
        density = draw(st.floats(0, 1)) if kind == "any" else 0.01
        generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        return np.flatnonzero(generator.random(size) < density)
    everything = np.arange(size, dtype=np.int64)
    if kind in ("nothing", "everything"):
        return everything if kind == "everything" else everything[:0]
    one = draw(st.integers(0, size - 1))
    return everything[one : one + 1] if kind == "one" else np.delete(everything, one)


@st.composite
def targets(
    draw: st.DrawFn,
    *,
    sizes: tuple[int, ...] | None = None,
    bias: bool | None = None,
    largest: float = 1.0,
    dtype: torch.dtype | None = None,
    kinds: Sequence[str] = TARGET_KINDS,
    max_depth: int = 3,
    max_width: int = 8,
) -> Target:
    """Describe target networks whose weights and biases have absolute values of at most `largest`.

    Args:
        sizes: layer sizes (default: any within max_depth and max_width).
        bias: with biases, without, or either (None).
        largest: largest absolute weight, positive; values are rounded towards 0 to `dtype` where they must.
        dtype: torch.float32, torch.float64, or either (None).
        kinds: which to draw from: "any" (uniform), "zero", "extreme" (every weight plus or minus the largest),
            "dominant row" (one row at the extreme, the rest small), "single weight", "tiny" (down to 2^-150), "grid"
            (eighths of the largest).
        max_depth: most layers, if no sizes are given.
        max_width: largest layer, if no sizes are given.

    Raises:
        ValueError: an unknown kind, or `largest` not positive and finite.
    """
    unknown = sorted(set(kinds) - set(TARGET_KINDS))
    if unknown or not kinds:
        raise ValueError(f"kinds of targets are {TARGET_KINDS}, got {unknown or 'none'}")
    if not (math.isfinite(largest) and largest > 0):
        raise ValueError(f"the largest weight of a target is positive and finite, got {largest}")
    if sizes is None:
        mlp = draw(architectures(max_depth=max_depth, max_width=max_width, bias=bias))
    else:
        mlp = MLP(sizes, draw(st.booleans()) if bias is None else bias)
    kind = draw(st.sampled_from(list(kinds)))
    chosen = draw(st.sampled_from([torch.float32, torch.float64])) if dtype is None else dtype
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = {name: _weights(generator, kind, shape) * largest for name, shape in mlp.shapes.items()}
    return Target(mlp, {name: _towards_zero(value, chosen) for name, value in weights.items()})


def _weights(generator: np.random.Generator, kind: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    uniform = generator.uniform(-1, 1, shape)
    place = int(generator.integers(shape[0]))
    if kind == "zero":
        return np.zeros(shape)
    if kind == "extreme":
        return np.where(uniform < 0, -1.0, 1.0)
    if kind == "dominant row":
        uniform *= 0.01
        uniform[place] = 1.0
        return uniform
    if kind == "single weight":
        value = np.zeros(math.prod(shape))
        value[int(generator.integers(value.size))] = generator.choice([-1.0, 1.0])
        return np.reshape(value, shape)
    if kind == "tiny":
        return np.asarray(np.ldexp(uniform, -generator.integers(0, 150, shape)), dtype=np.float64)
    return np.asarray(np.round(8 * uniform) / 8 if kind == "grid" else uniform)


def _towards_zero(value: NDArray[np.float64], dtype: torch.dtype) -> Tensor:
    rounded = torch.from_numpy(value).to(dtype)
    beyond = rounded.to(torch.float64).abs() > torch.from_numpy(np.abs(value))
    return torch.where(beyond, torch.nextafter(rounded, torch.zeros_like(rounded)), rounded)


@st.composite
def readings(draw: st.DrawFn, mask: Mask) -> Reading:
    """Describe how the kept weights of a mask are read: plainly oftenest, else any mixture of the ways there are."""
    kinds, factors, redraws = {}, {}, {}
    for name, kept in mask.counts.items():
        if not draw(st.booleans()):
            continue
        scalable = math.prod(mask.shapes[name]) <= LARGEST_RESCALE * kept
        kinds[name] = draw(st.sampled_from(KINDS if scalable else KINDS[:2]))
        generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        values = draw(st.sampled_from([(), (-1, 1), (1, 2, 3), (-1,), (-LARGEST_FACTOR, -2, 1, LARGEST_FACTOR)]))
        if values:
            factors[name] = generator.choice(np.array(values, dtype=np.int8), kept)
        last = min(LARGEST_REDRAW, random.MAX_VALUES // max(1, math.prod(mask.shapes[name])) - 1)
        if last >= 1 and draw(st.booleans()):
            highest = min(last, draw(st.sampled_from([1, 2, 7, 1000, LARGEST_REDRAW])))
            events = generator.integers(1, highest, kept, dtype=np.int32, endpoint=True)
            redraws[name] = np.where(generator.random(kept) < draw(st.sampled_from([0.01, 0.3, 1.0])), events, 0)
    return Reading(kinds, factors, redraws)


@st.composite
def tickets(
    draw: st.DrawFn,
    source: st.SearchStrategy[Source] | None = None,
    *,
    dense: bool = True,
    certified: bool = True,
    plain: bool | None = None,
) -> Ticket:
    """Describe tickets.

    Args:
        source: the random networks (default: `sources()`); one of 10^12 weights is no trouble.
        dense: whether some parameters may hold given values instead of kept random ones.
        certified: whether certificates may come with it.
        plain: whether every kept weight is the source's own; None for either, False for readings that may be plain.
    """
    chosen = draw(sources() if source is None else source)
    small = [name for name, shape in chosen.shapes.items() if math.prod(shape) <= _DENSE_LIMIT]
    given = draw(st.lists(st.sampled_from(small), unique=True, max_size=2)) if dense and small else []
    values = {name: draw(_values(chosen.shapes[name])) for name in given} | chosen.architecture.initial_state()
    statistics = [name for name, (_, dtype) in chosen.architecture.state.items() if dtype == "float32"]
    for name in draw(st.lists(st.sampled_from(statistics), unique=True, max_size=2)) if statistics else []:
        values[name] = draw(_values(chosen.architecture.state[name][0]))
    shapes = {name: shape for name, shape in chosen.shapes.items() if name not in values}
    mask = draw(masks(shapes))
    as_is = draw(st.booleans()) if plain is None else plain
    ticket = Ticket(chosen, mask, values, reading=Reading() if as_is else draw(readings(mask)))
    evidence = draw(st.lists(certificates(ticket), max_size=2)) if certified else []
    return ticket.with_certificates(*evidence)


def _values(shape: tuple[int, ...]) -> st.SearchStrategy[Tensor]:
    def make(seed: int, odd: float) -> Tensor:
        value = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
        value.reshape(-1)[:1] = odd
        return torch.from_numpy(value)

    return st.builds(make, st.integers(0, 2**32 - 1), st.sampled_from([0.0, -0.0, math.inf, math.nan, 1e-45]))


@st.composite
def certificates(draw: st.DrawFn, ticket: Ticket) -> Certificate:
    """Describe well-formed certificates of a ticket; what they claim need not be true."""
    numbers = st.floats(0, 1e6)
    low, high = sorted(draw(st.tuples(st.floats(-5, 5), st.floats(-5, 5))))
    domain = draw(st.sampled_from([Domain.box(low, high), Domain.ball(1.5)]))
    return Certificate(
        norm=draw(st.sampled_from(get_args(get_type_hints(Certificate)["norm"]))),
        domain=domain,
        error=draw(numbers),
        rigor=draw(st.sampled_from(list(Rigor))),
        method=draw(st.text(max_size=20)),
        ticket_digest=ticket.digest,
        target_digest=draw(st.text("0123456789abcdef", min_size=64, max_size=64)),
        bound=draw(st.none() | st.just("pensia2020optimal")),
        per_output=draw(st.none() | st.lists(numbers, max_size=4).map(tuple)),
    )


def check_ticket(ticket: Ticket) -> None:
    """Check that a ticket is what it claims: some of one frozen random network, kept by an exact 0/1 mask.

    If it is not plain, the kept weights are those of the network and of its redraw events, read as `Reading` says.
    Masked parameters of more than 2^22 entries are checked by their indices alone, the others also as dense tensors,
    and the whole network the strict way if every parameter is small.

    Raises:
        AssertionError: naming the parameter and the value that is wrong.
    """
    mask, source = ticket.mask, ticket.source
    both = sorted([*mask, *ticket.dense])
    names = sorted([*source.shapes, *source.architecture.state])
    must(both == names, f"masked and dense are {both}, the source has {names}")
    must(0 <= mask.density <= 1, f"the density is {mask.density}")
    for name in mask:
        index, weights = mask.indices(name), ticket.kept_weights(name)
        must(index.dtype == np.int64, f"{name}: indices of dtype {index.dtype}")
        must(bool((np.diff(index) > 0).all()), f"{name}: kept indices do not rise")
        must(mask.counts[name] == index.size, f"{name}: {mask.counts[name]} kept, {index.size} indices")
        must(weights.dtype == torch.float32, f"{name}: weights of dtype {weights.dtype}")
        events = ticket.reading.redraws.get(name, np.zeros(index.size, dtype=np.int32))
        drawn = source.redrawn(name, index[::-1].copy(), events[::-1].copy()).flip(0)
        must(_same(weights, _literal(ticket, name, drawn)), f"{name}: weights depend on the order of making them")
        blocks = torch.cat([torch.zeros(0), *ticket.weight_blocks(name, 1 + index.size // 3)])
        must(_same(weights, blocks), f"{name}: weights in blocks are others")
        for place in {0, index.size - 1} if index.size else set():
            first, event = int(index[place]), int(events[place])
            alone = (
                source.redrawn(name, np.array([first]), event)
                if event
                else source.weight(name, slice(first, first + 1))
            )
            must(_same(alone, drawn[place : place + 1]), f"{name}: weight {first} depends on its company")
        if math.prod(mask.shapes[name]) <= _DENSE_LIMIT:
            _check_dense(ticket, name, index)
    remade = Mask.from_indices(mask.shapes, {name: mask.indices(name) for name in mask})
    must(remade == mask, "the mask made again from its indices has another digest")
    if all(math.prod(shape) <= _DENSE_LIMIT for shape in source.shapes.values()):
        _check_strict(ticket)


def _literal(ticket: Ticket, name: str, drawn: Tensor) -> Tensor:
    """The slow, literal meaning of a reading: number by number, with the correctly rounded sum of `math.fsum`."""
    kind, kept = ticket.reading.kind(name), drawn.numel()
    if kind == "plain" and name not in ticket.reading.factors:
        return drawn
    values = drawn.tolist()
    if kind == "binary":
        alpha = float(np.float32(math.fsum(abs(w) for w in values) / max(kept, 1)))
        values = [(w > 0) * alpha - (w < 0) * alpha for w in values]
    elif kind == "rescaled":
        values = [float(np.float32(w * math.prod(ticket.mask.shapes[name]) / kept)) for w in values]
    factors = ticket.reading.factors.get(name, np.ones(kept)).tolist()
    return torch.tensor([w * factor for w, factor in zip(values, factors, strict=True)], dtype=torch.float32)


def _check_dense(ticket: Ticket, name: str, index: NDArray[np.int64]) -> None:
    kept = ticket.mask[name]
    must(kept.dtype == torch.bool, f"{name}: a mask of dtype {kept.dtype}")
    must(kept.shape == ticket.source.shapes[name], f"{name}: a mask of shape {tuple(kept.shape)}")
    must(np.array_equal(np.flatnonzero(kept.numpy()), index), f"{name}: indices and booleans differ")
    remade = Mask.from_indices({name: tuple(kept.shape)}, {name: index})
    must(Mask({name: kept}) == remade, f"{name}: the mask from booleans has another digest than from indices")
    # the slow, literal meaning: regenerate everything, then multiply by the mask
    drawn = ticket.source.weight(name)
    if name in ticket.reading.redraws:
        events = torch.zeros(kept.shape, dtype=torch.int32)
        events[kept] = torch.from_numpy(ticket.reading.redraws[name].copy())
        drawn = ticket.source.redrawn(name, torch.arange(kept.numel()).view(kept.shape), events)
    expected = torch.zeros(kept.shape)
    expected[kept] = _literal(ticket, name, drawn[kept])
    must(_same(ticket.weight(name), expected), f"{name}: kept weights are not those of the frozen source")


def _check_strict(ticket: Ticket) -> None:
    module = ticket.module()
    must(ticket.matches(module), "the ticket's own network is refused")
    aliases = ticket.source.architecture.aliases
    state = {name: value.clone() for name, value in module.state_dict().items() if name not in aliases}
    for name, value in state.items():
        if value.numel():
            value.view(-1)[-1:].view(torch.uint8)[0] ^= 1  # the least change that a number can have
            changed = ticket.source.architecture.module(state)
            must(not ticket.matches(changed), f"{name}: a changed bit of the last weight is not seen")
            value.view(-1)[-1:].view(torch.uint8)[0] ^= 1


def check_ticket_file_roundtrip(ticket: Ticket, *, provenance: Mapping[str, Any] | None = None) -> bytes:
    """Check that a ticket survives its file: same digest, certificates and dense bits; same bytes when saved again.

    Args:
        ticket: any ticket.
        provenance: goes into the file and must come back.

    Returns:
        The bytes of the file.

    Raises:
        AssertionError: naming what did not come back.
    """
    data = ticketfile.dumps(ticket, provenance=provenance)
    with tempfile.TemporaryDirectory() as folder:
        path = ticketfile.save(Path(folder) / "ticket.slt", ticket, provenance=provenance)
        must(path.read_bytes() == data, "save and dumps differ")
        loaded, described = ticketfile.load(path), ticketfile.describe(path)
    for other in (loaded, ticketfile.loads(data, verify=False)):
        must(other == ticket, f"the digest {other.digest} came back for {ticket.digest}")
        must(other.source == ticket.source, f"the source {other.source} came back for {ticket.source}")
        must(other.mask == ticket.mask, f"the mask {other.mask} came back for {ticket.mask}")
        must(other.reading == ticket.reading, f"the reading {other.reading} came back for {ticket.reading}")
        must(other.certificates == ticket.certificates, f"the certificates {other.certificates} came back")
        for name, value in ticket.dense.items():
            must(other.dense[name].dtype == value.dtype, f"dense {name} came back as {other.dense[name].dtype}")
            must(_same(other.dense[name], value), f"dense {name} came back with other bits")
    must(ticketfile.dumps(loaded, provenance=provenance) == data, "a loaded ticket is saved as other bytes")
    must(described["ticket"] == ticket.digest, f"described as ticket {described['ticket']}")
    must(described["version"] == (1 if ticket.plain else 2), f"described as of version {described['version']}")
    must(described["kept"] == ticket.mask.count, f"described as keeping {described['kept']}")
    given = None if provenance is None else dict(provenance)
    must(described["provenance"] == given, f"the provenance {described['provenance']} came back for {given}")
    for byte in sorted({0, 8, len(data) // 2, len(data) - 1}):
        broken = bytearray(data)
        broken[byte] ^= 1
        try:
            ticketfile.loads(bytes(broken))
        except ticketfile.TicketFileError:
            continue
        raise AssertionError(f"a changed bit in byte {byte} of {len(data)} is not seen")
    return data


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and tensor_bytes(first) == tensor_bytes(second)
