"""Searches in batches: what each finds is what it finds alone, up to rounding."""

from __future__ import annotations

import pytest
import torch

from strongticket.data import load
from strongticket.search import Bernoulli, EdgePopup
from strongticket.search.find import Found, find
from strongticket.search.many import find_many, largest_rows
from strongticket.search.recipes import search_recipe
from strongticket.selection import kept_count, largest
from strongticket.training import TrainingError, accuracy

DATA = load("digits")
X, Y = DATA.train.inputs[:400], DATA.train.labels[:400]
VALIDATION = (DATA.validation.inputs, DATA.validation.labels)


def flips(a: Found, b: Found) -> float:
    differ = sum(int((mask != b.masks[name]).sum()) for name, mask in a.masks.items())
    return differ / sum(mask.numel() for mask in a.masks.values())


def alone(found: Found, network: str, **options: object) -> Found:
    return find(network, X, Y, found.recipe, seed=found.seed, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("transform", ["abs", "identity"])
def test_each_search_is_the_one_that_find_makes(
    compiled: bool, transform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr("strongticket.search.many.find_spec", lambda name: None)
    method = EdgePopup(0.5, score_transform=transform, levels=2)  # type: ignore[arg-type]
    options = {"epochs": 4, "validation": VALIDATION}
    sweep = {"seeds": [3, 4], "densities": [0.1, 0.6], "method": method}
    many = find_many("mlp-64-32-10", X, Y, "digits", **options, **sweep)  # type: ignore[arg-type]
    assert [(one.seed, one.recipe.density) for one in many] == [(3, 0.1), (3, 0.6), (4, 0.1), (4, 0.6)]
    for one in many:
        single = alone(one, "mlp-64-32-10", **options)
        assert one.ticket.matches(one.module)
        assert one.history[-1].details["kept"] == single.history[-1].details["kept"]
        assert one.history[0].loss == pytest.approx(single.history[0].loss, rel=1e-5)
        assert one.history[-1].accuracy == pytest.approx(single.history[-1].accuracy, abs=0.02)
        assert one.history[-1].details["flips"] == pytest.approx(single.history[-1].details["flips"], rel=0.2, abs=20)
        if one.best_epoch == single.best_epoch:
            assert flips(one, single) < 0.02
        score = one.history[one.best_epoch - 1].validation_accuracy
        assert accuracy(one.module, *VALIDATION) == pytest.approx(score, abs=1e-12)


def test_first_masks_agree_exactly() -> None:
    options = {"epochs": 1, "batch_size": 200}
    for one in find_many("mlp-64-32-10", X, Y, "digits", seeds=[0, 1, 2], **options):  # type: ignore[arg-type]
        assert flips(one, alone(one, "mlp-64-32-10", **options)) == 0


def test_convolutions_and_normalisation_are_searched_too() -> None:
    images = X[:64].view(-1, 1, 8, 8)
    recipe = search_recipe("digits").changed(epochs=2, batch_size=32, augmentation="crop-flip", label_smoothing=0.1)
    network = "resnet8x0.25+1x8x8"
    for one in find_many(network, images, Y[:64], recipe, seeds=[0, 1]):
        single = find(network, images, Y[:64], recipe, seed=one.seed)
        assert one.ticket.matches(one.module)
        assert one.history[0].loss == pytest.approx(single.history[0].loss, rel=1e-3)
        for name, value in single.ticket.dense.items():
            torch.testing.assert_close(one.ticket.dense[name], value, rtol=0.02, atol=0.02)


def test_rows_are_selected_by_the_rule_of_a_single_selection() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 6, (40, 50), generator=generator).float()  # ties everywhere
    counts = torch.randint(0, 51, (40, 1), generator=generator)
    counts[:3, 0] = torch.tensor([0, 50, 1])
    got = largest_rows(values, counts)
    for row, count, mask in zip(values, counts.view(-1).tolist(), got, strict=True):
        assert torch.equal(mask, largest(row, count))


def test_densities_are_exact_and_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    densities = [0.0, 0.013, 0.5, 1.0]
    found = find_many(
        "mlp-64-20-10", X, Y, "digits", densities=densities, epochs=2,
        progress=lambda number, epochs: seen.append((number, len(epochs))),
    )  # fmt: skip
    assert seen == [(1, 4), (2, 4)]
    for one, density in zip(found, densities, strict=True):
        assert one.ticket.mask.counts == {
            "layers.0.weight": kept_count(density, 1280), "layers.1.weight": kept_count(density, 200),
        }  # fmt: skip
        assert one.best_epoch == 2


def test_what_is_not_searched_in_batches_is_refused() -> None:
    for method in (Bernoulli(), EdgePopup(0.5, allocation="global")):
        with pytest.raises(ValueError, match="call find for each"):
            find_many("mlp-64-20-10", X, Y, "digits", method=method)
    with pytest.raises(ValueError, match="at least one seed"):
        find_many("mlp-64-20-10", X, Y, "digits", seeds=[])
    with pytest.raises(ValueError, match="hold data out"):
        find_many("mlp-64-20-10", X, Y, search_recipe("digits").changed(held_out=0.1))
    with pytest.raises(TrainingError, match=r"seeds? \[?5"):
        find_many("mlp-64-20-10", X * 1e38, Y, "digits", seeds=[5], epochs=1)
