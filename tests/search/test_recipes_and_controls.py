"""Named recipes and the controls beside them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from strongticket.models import MLP, architecture
from strongticket.search import Bernoulli, Biprop, EdgePopup, GemMiner, Multicoated, SignedSupermask
from strongticket.search.controls import random_mask, shuffled_mask, with_statistics
from strongticket.search.find import find
from strongticket.search.recipes import SEARCH_RECIPES, SearchRecipe, search_recipe
from strongticket.ticket import Mask, Source, Ticket

PUBLISHED = {name: recipe for name, recipe in SEARCH_RECIPES.items() if recipe.paper}
IMAGES = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(24) % 3


@pytest.mark.filterwarnings("ignore:.* keeps nothing:UserWarning")  # of a network as small as this
@pytest.mark.parametrize("name", SEARCH_RECIPES)
def test_every_recipe_searches(name: str) -> None:
    found = find(MLP((16, 20, 3)), IMAGES, LABELS, name, epochs=SEARCH_RECIPES[name].warmup + 2)
    assert math.isfinite(found.history[-1].loss)
    assert len(found.history) == SEARCH_RECIPES[name].warmup + 2


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_name_their_paper_network_and_limits(name: str) -> None:
    recipe = PUBLISHED[name]
    assert recipe.architecture is not None
    assert recipe.source(architecture(recipe.architecture), 0).architecture.size > 2e5
    assert name.startswith(re.sub(r"(20\d\d).*", r"\1", recipe.paper) + "-")
    assert "test set" in recipe.deviations
    bibliography = Path(__file__).resolve().parents[2] / "references.bib"
    if bibliography.exists():
        assert f"{{{recipe.paper}," in bibliography.read_text()


def test_kept_weights_of_scaled_recipes_have_the_variance_of_a_dense_layer() -> None:
    for name in ("diffenderfer2021-conv2", "diffenderfer2021-conv4-global", "okoshi2022-resnet18"):
        recipe = PUBLISHED[name]
        assert recipe.density is not None
        weight = recipe.source(MLP((300, 400, 10)), 0).weight("layers.0.weight")
        assert float(weight.std()) == pytest.approx(math.sqrt(2 / (300 * recipe.density)), rel=0.02)
    bug = search_recipe("diffenderfer2021-conv2").changed(compat_scale_bug=True)
    weight = bug.source(MLP((300, 400, 10)), 0).weight("layers.0.weight")
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / (300 * 0.9)), rel=0.02)


def test_gem_miner_prunes_every_five_epochs() -> None:
    recipe = PUBLISHED["sreenivasan2022-resnet20"]
    method = recipe.method
    assert isinstance(method, GemMiner)
    assert 1 - method.density ** (1 / method.stages) == pytest.approx(0.16221, abs=1e-5)
    due = [method.prunings((epoch - 1) / 150, epoch / 150) for epoch in range(1, 151)]
    assert [epoch for epoch, count in enumerate(due, 1) if count] == list(range(5, 150, 5))
    assert sum(due) == 29


def test_densities_of_recipes() -> None:
    plain = SearchRecipe(1, 1, 0.1)
    assert plain.density == 0.5
    assert plain.with_density(0.2).method == EdgePopup(0.2)
    assert plain.changed(method=Multicoated((0.4, 0.1))).density == 0.4
    assert plain.changed(method=Bernoulli()).density is None
    with pytest.raises(ValueError, match="scaled by the density"):
        plain.changed(method=Bernoulli(), scaled=True)
    with pytest.raises(ValueError, match="compat_scale_bug"):
        plain.changed(compat_scale_bug=True)
    with pytest.raises(ValueError, match="expected an init"):
        plain.changed(init="zeros")


def test_random_masks_keep_what_they_are_told() -> None:
    source = Source(MLP((30, 20, 5)), 3)
    counts = {"layers.0.weight": 77, "layers.1.weight": 100}
    ticket = random_mask(source, counts, 1)
    assert ticket.mask.counts == counts
    assert random_mask(source, counts, 1) == ticket
    assert random_mask(source, ticket, 1) == ticket
    other = random_mask(source, counts, 2)
    assert 0.02 < ticket.mask.iou(other.mask) < 0.5
    rows = torch.stack([random_mask(source, counts, seed).mask["layers.0.weight"] for seed in range(200)])
    assert float((rows.float().mean(0) - 77 / 600).abs().max()) < 0.11  # 4.6 standard deviations of 0.024
    for bad in ({"layers.0.weight": 1}, {**counts, "layers.1.weight": 101}, {**counts, "layers.1.weight": -1}):
        with pytest.raises(ValueError, match="count"):
            random_mask(source, bad, 0)


def test_shuffled_masks_move_within_their_layer() -> None:
    found = find("mlp-16-40-3", IMAGES, LABELS, "digits", density=0.2, epochs=2)
    shuffled = shuffled_mask(found.ticket, 0)
    assert shuffled.mask.counts == found.ticket.mask.counts
    assert shuffled.source == found.ticket.source
    assert shuffled.mask.iou(found.ticket.mask) < 0.4
    assert shuffled == shuffled_mask(found.ticket, 0) != shuffled_mask(found.ticket, 1)


def test_signs_are_shuffled_with_their_places() -> None:
    found = find("mlp-16-40-3", IMAGES, LABELS, "digits", method=SignedSupermask(0.5), epochs=3)
    shuffled = shuffled_mask(found.ticket, 0)
    for name, mask in found.masks.items():
        before, after = mask.flatten(), shuffled.reading.factors[name]
        assert sorted(after.tolist()) == sorted(before[before != 0].tolist())
    weights, new = found.ticket.weights(), shuffled.weights()
    for name, weight in weights.items():
        assert int((weight != 0).sum()) == int((new[name] != 0).sum())
    binary = find("mlp-16-40-3", IMAGES, LABELS, "digits", method=Biprop(0.3), epochs=1).ticket
    assert random_mask(binary.source, binary, 0).reading == binary.reading


def test_controls_get_statistics_of_their_own() -> None:
    images = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 2
    net = architecture("resnet8x0.25-3+1x8x8")
    source = SearchRecipe(1, 1, 0.1).source(net, 0)
    ticket = Ticket(source, Mask.full(source.shapes), net.initial_state())
    measured = with_statistics(ticket, images, batch_size=16)
    stem = torch.nn.functional.conv2d(images, source.weight("conv1.weight"), padding=1)
    means = torch.stack([stem[:16].mean((0, 2, 3)), stem[16:32].mean((0, 2, 3))]).mean(0)
    torch.testing.assert_close(measured.dense["bn1.running_mean"], means, rtol=1e-4, atol=1e-5)
    assert measured.mask == ticket.mask
    plain = random_mask(Source(MLP((4, 3, 2)), 0), {"layers.0.weight": 5, "layers.1.weight": 3}, 0)
    assert with_statistics(plain, torch.randn(9, 4)) is plain
    with pytest.raises(ValueError, match="batch_size"):
        with_statistics(ticket, images, batch_size=41)
