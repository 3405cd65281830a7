"""Bits of masks, words, tickets and weights: each count is that of a code that can be decoded."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strongticket._files import canonical_json
from strongticket.models import MLP
from strongticket.reading import Reading
from strongticket.storage import Bits, file_bits, float_bits, mask_bits, subset_bits, symbol_bits, ticket_bits
from strongticket.ticket import Mask, Source, Ticket
from strongticket.ticketfile import dumps


@pytest.mark.parametrize("size", range(9))
def test_subset_bits_are_the_lengths_of_a_complete_code(size: int) -> None:
    total = sum(2.0 ** -subset_bits(size, sum(kept)) for kept in itertools.product((0, 1), repeat=size))
    assert math.isclose(total, 1.0)


def rank(places: tuple[int, ...]) -> int:
    """Number of a subset among those of its size, in the order of their largest elements: the combinatorial system."""
    return sum(math.comb(place, i + 1) for i, place in enumerate(sorted(places)))


def unrank(number: int, kept: int) -> tuple[int, ...]:
    places = []
    for i in range(kept, 0, -1):
        place = i - 1
        while math.comb(place + 1, i) <= number:
            place += 1
        places.append(place)
        number -= math.comb(place, i)
    return tuple(reversed(places))


def test_a_decoder_gets_every_subset_back_from_a_number_as_small_as_was_counted() -> None:
    for size in range(9):
        for kept in range(size + 1):
            numbers = set()
            for places in itertools.combinations(range(size), kept):
                assert unrank(rank(places), kept) == places
                numbers.add(rank(places))
            assert numbers == set(range(math.comb(size, kept)))
            assert math.isclose(subset_bits(size, kept), math.log2(size + 1) + math.log2(len(numbers)))


@pytest.mark.parametrize(("letters", "symbols"), [(0, 2), (1, 3), (4, 3), (5, 2), (3, 4)])
def test_symbol_bits_are_the_lengths_of_a_complete_code(letters: int, symbols: int) -> None:
    total = 0.0
    for word in itertools.product(range(symbols), repeat=letters):
        total += 2.0 ** -symbol_bits([Counter(word)[s] for s in range(symbols)])
    assert math.isclose(total, 1.0)


def entropy_of(counts: list[int]) -> float:
    """Of the letters of a word, by the counts of its symbols."""
    occurs = np.asarray(counts, dtype=np.float64)
    shares = occurs[occurs > 0] / occurs.sum()
    return float(-(shares * np.log2(shares)).sum())


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=6).filter(any))
def test_symbol_bits_are_at_least_the_entropy_and_not_much_more(counts: list[int]) -> None:
    n, bits = sum(counts), symbol_bits(counts)
    assert bits >= n * entropy_of(counts) - 1e-6
    assert bits <= n * entropy_of(counts) + len(counts) * math.log2(n + len(counts)) + 1e-6


@given(st.integers(4097, 9000), st.data())
def test_large_binomials_equal_the_whole_numbers(size: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, size))
    exact = math.log2(size + 1) + math.log2(math.comb(size, kept))
    assert subset_bits(size, kept) == pytest.approx(exact, rel=1e-9, abs=1e-6)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="0 <= kept <= size"):
        subset_bits(3, 4)
    with pytest.raises(ValueError, match="counts >= 0"):
        symbol_bits([1, -1])
    with pytest.raises(ValueError, match="at least one symbol"):
        symbol_bits([])


def drawn_ticket(reading: Reading | None = None) -> Ticket:
    source = Source(MLP((6, 5, 3)), seed=4)
    generator = torch.Generator().manual_seed(0)
    mask = Mask({name: torch.rand(shape, generator=generator) < 0.4 for name, shape in source.shapes.items()})
    return Ticket(source, mask, reading=reading or Reading())


def test_a_plain_ticket_is_its_seed_its_laws_and_its_mask() -> None:
    ticket = drawn_ticket()
    bits, recipe = ticket_bits(ticket), ticket.source.to_json()
    del recipe["seed"]
    assert bits.seed == 64
    assert bits.recipe == 8 * len(canonical_json(recipe))
    shapes, counts = ticket.mask.shapes, ticket.mask.counts
    assert bits.positions == mask_bits(ticket.mask) == sum(subset_bits(math.prod(shapes[n]), counts[n]) for n in shapes)
    assert bits.values == bits.dense == 0
    assert bits.total == bits.seed + bits.recipe + bits.positions == bits.to_json()["total"]


def test_signs_and_redraws_cost_what_words_over_them_cost() -> None:
    plain = drawn_ticket()
    counts = plain.mask.counts
    name = "layers.0.weight"
    signs = np.where(np.arange(counts[name]) % 2, 1, -1)
    signed = ticket_bits(drawn_ticket(Reading(factors={name: signs})))
    each = [int((signs == value).sum()) for value in (-1, 1)]
    assert signed.values == 3 * 32 + symbol_bits(each)
    assert signed.positions == ticket_bits(plain).positions
    again = ticket_bits(drawn_ticket(Reading({name: "binary"}, redraws={name: np.ones(counts[name], dtype=np.int32)})))
    assert (again.values, again.recipe) == (64, ticket_bits(plain).recipe + 8)


def test_file_bits_are_those_of_the_file() -> None:
    ticket = drawn_ticket()
    found, file = file_bits(ticket), dumps(ticket)
    assert found.file == 8 * len(file)
    assert found.packed == 6 * 5 + 5 * 3
    assert found.header == 8 * int.from_bytes(file[:8], "little") < found.file


def test_float_bits_count_what_is_kept_and_name_the_architecture() -> None:
    weights = {"a": torch.ones(4, 5), "b": torch.ones(3)}
    assert float_bits(weights) == Bits(values=32 * 23)
    mask = Mask({"a": torch.arange(20).view(4, 5) < 7})
    kept = float_bits(weights, mask, architecture=MLP((2, 1)))
    assert kept.values == 32 * (7 + 3)
    assert kept.positions == subset_bits(20, 7)
    assert kept.recipe == 8 * len('{"architecture":"mlp-2-1"}')
    with pytest.raises(ValueError, match="which the weights do not have"):
        float_bits(weights, Mask({"c": torch.ones(2, dtype=torch.bool)}))
    with pytest.raises(ValueError, match="which the weights do not have"):
        float_bits(weights, Mask({"b": torch.ones(2, dtype=torch.bool)}))
