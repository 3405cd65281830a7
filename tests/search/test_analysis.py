"""Analysis of tickets and searches: every number beside a literal count."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strongticket.models import MLP
from strongticket.search import Bernoulli, find, random_mask, random_source
from strongticket.search.analysis import flips, kept_per_layer, overlap, traces, weight_histograms
from strongticket.ticket import Mask

SHAPES = {"a": (3, 4), "b": (5,)}
masks = st.builds(
    lambda a, b: Mask({"a": torch.tensor(a).view(3, 4), "b": torch.tensor(b)}),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.lists(st.booleans(), min_size=5, max_size=5),
)


@given(masks, masks)
def test_flips_and_overlap_count_entries(before: Mask, after: Mask) -> None:
    changed, (whole, layers) = flips(before, after), overlap(before, after)
    for name in SHAPES:
        pairs = list(zip(before[name].flatten().tolist(), after[name].flatten().tolist(), strict=True))
        assert changed[name].added == sum(new and not old for old, new in pairs)
        assert changed[name].removed == sum(old and not new for old, new in pairs)
        assert changed[name].total == sum(old != new for old, new in pairs)
        assert layers[name].both == sum(old and new for old, new in pairs)
        assert layers[name].either == sum(old or new for old, new in pairs)
        assert kept_per_layer(before)[name].kept == sum(old for old, _ in pairs)
        assert kept_per_layer(before)[name].size == len(pairs)
    assert whole.iou == pytest.approx(before.iou(after))
    assert (whole.both, whole.either) == ((before & after).count, (before | after).count)


def test_chance_is_what_random_masks_share() -> None:
    """All pairs of masks of 5 entries that keep 2 and 3: the mean intersection over the mean union."""
    kept = [[list(c) for c in itertools.combinations(range(5), k)] for k in (2, 3)]
    both, either, chance = 0, 0, 0.0
    for first, second in itertools.product(*kept):
        found, _ = overlap(*(Mask.from_indices({"b": (5,)}, {"b": one}) for one in (first, second)))
        both, either, chance = both + found.both, either + found.either, found.chance
    assert chance == pytest.approx(both / either)


def test_density_of_chance_at_one_half() -> None:
    source = random_source(MLP((40, 50, 20)), seed=0)
    counts = {name: math.prod(shape) // 2 for name, shape in source.shapes.items()}
    whole, layers = overlap(random_mask(source, counts, 0), random_mask(source, counts, 1))
    assert whole.chance == pytest.approx(1 / 3)
    assert [layer.chance for layer in layers.values()] == [pytest.approx(1 / 3)] * 2
    assert whole.iou == pytest.approx(1 / 3, abs=0.03)


def test_masks_of_different_networks_are_refused() -> None:
    a, b = (Mask.full({"w": shape}) for shape in ((2, 3), (3, 2)))
    for compare in (flips, overlap):
        with pytest.raises(ValueError, match="one network"):
            compare(a, b)  # type: ignore[operator]
    assert overlap(~a, ~a)[0].iou == 1.0


def test_histograms_hold_every_weight_once() -> None:
    source = random_source(MLP((30, 20, 10)), 3, "kaiming-normal")
    counts = {"layers.0.weight": 100, "layers.1.weight": 60}
    ticket = random_mask(source, counts, 0)
    found = weight_histograms(ticket, bins=7)
    for name, histogram in found.items():
        weights, kept = source.weight(name).flatten().tolist(), ticket.mask[name].flatten().tolist()
        assert (int(histogram.kept.sum()), len(histogram.edges)) == (counts[name], 8)
        for i, (low, high) in enumerate(itertools.pairwise(histogram.edges.tolist())):
            inside = [low <= w < high or (i == 6 and w == high) for w in weights]
            assert histogram.kept[i] == sum(a and b for a, b in zip(inside, kept, strict=True))
            assert histogram.kept[i] + histogram.dropped[i] == sum(inside)
            assert sum(inside) == 0 or histogram.density[i] == histogram.kept[i] / sum(inside)
    with pytest.raises(ValueError, match="bins"):
        weight_histograms(ticket, bins=0)


def test_a_large_weight_is_what_edge_popup_prefers() -> None:
    x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    found = find(MLP((8, 64, 3)), x, x[:, :3].argmax(1), "digits", init="uniform", density=0.3, epochs=15)
    histogram = weight_histograms(found.ticket, bins=5)["layers.0.weight"]
    assert histogram.density[0] > 1.2 * histogram.density[2] < histogram.density[4]


def test_traces_of_a_log_are_those_of_the_history(tmp_path: Path) -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    args = (MLP((6, 20, 2)), x, x[:, 0].gt(0).long(), "digits")
    found = find(*args, epochs=3, log=tmp_path / "log.jsonl", validation=(x[:10], x[:10, 0].gt(0).long()))
    seen = traces(found.history)
    assert seen == traces(tmp_path / "log.jsonl")
    assert seen.epochs == [1, 2, 3]
    assert seen.flips == [epoch.details["flips"] for epoch in found.history]
    assert seen.kept == {"layers.0.weight": [60] * 3, "layers.1.weight": [20] * 3}
    assert all(np.isfinite(values).all() for values in seen.thresholds.values())
    assert seen.validation_accuracy[-1] is not None
    drawn = traces(find(*args, epochs=2, method=Bernoulli()).history)
    assert all(math.isnan(value) for values in drawn.thresholds.values() for value in values)
    assert drawn.validation_accuracy == [None, None]


def test_other_records_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no json\n")
    (tmp_path / "dense").write_text(json.dumps({"number": 1, "details": {}}) + "\n")
    for name in ("text", "dense"):
        with pytest.raises(ValueError, match=r"records of a mask search|no log of a search"):
            traces(tmp_path / name)
