"""Numbers and names of other repositories, read as what they mean there."""

from __future__ import annotations

import math

import pytest

from strongticket.search import WEIGHT_INITS, PublishedInit, search_recipe, translate_init, translate_prune_rate
from strongticket.search.translate import PRUNE_RATES


@pytest.mark.parametrize(
    ("repository", "value", "option", "density"),
    [
        ("allenai/hidden-networks", 0.3, None, 0.3),
        ("allenai/hidden-networks", 0.5, "sparsity", 0.5),
        ("chrundle/biprop", 0.2, None, 0.2),
        ("dchiji-ntt/iterand", 0.6, None, 0.4),
        ("dchiji-ntt/iterand", 0.7, "conv_sparsity", 0.3),
        ("dchiji-ntt/iterand", 0.0, None, 1.0),
        ("ksreenivasan/pruning_is_enough", 0.59, None, 0.0059),
        ("ksreenivasan/pruning_is_enough", 1.44, "target_sparsity", 0.0144),
        ("RelationalML/PlantNSeek", 0.01, None, 0.01),
        ("Lopez-Angel/hidden-fold-networks", 0.3, None, 0.3),
    ],
)
def test_numbers_mean_what_their_repository_makes_of_them(
    repository: str, value: float, option: str | None, density: float
) -> None:
    assert translate_prune_rate(repository, value, option) == density


@pytest.mark.parametrize(
    ("algorithm", "density"), [("ep", 0.2), ("global_ep", 0.8), ("global_ep_iter", 0.8), ("hc_iter", 0.8)]
)
def test_one_option_means_opposite_things_to_two_algorithms(algorithm: str, density: float) -> None:
    repository = "ksreenivasan/pruning_is_enough"
    assert translate_prune_rate(repository, 0.2, "prune_rate", algorithm=algorithm) == density
    for other in (None, "adam"):
        with pytest.raises(ValueError, match="depends on the algorithm, one of ep, global_ep"):
            translate_prune_rate(repository, 0.2, "prune_rate", algorithm=other)
    with pytest.raises(ValueError, match="leave algorithm out"):
        translate_prune_rate(repository, 0.2, algorithm=algorithm)


def test_the_rate_of_gem_miner_is_that_of_its_recipe() -> None:
    rate = 1 - math.exp(math.log(0.59 / 100) / math.floor((150 - 1) / 5))  # as the released code computes it
    kept = translate_prune_rate("ksreenivasan/pruning_is_enough", rate, "prune_rate", algorithm="hc_iter")
    assert kept**29 == pytest.approx(search_recipe("sreenivasan2022-resnet20").density, rel=1e-12)


def test_recipes_have_the_densities_that_configurations_translate_to() -> None:
    iterand = translate_prune_rate("dchiji-ntt/iterand", 0.6)
    assert search_recipe("chijiwa2021-resnet18").density == iterand
    for value in (0.59, 1.44, 3.72):
        density = translate_prune_rate("ksreenivasan/pruning_is_enough", value)
        assert any(
            search_recipe(f"sreenivasan2022-resnet20{end}").density == density for end in ("", "-0.0144", "-0.0372")
        )


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="is known of"):
        translate_prune_rate("someone/else", 0.5)
    with pytest.raises(ValueError, match="has prune_rate"):
        translate_prune_rate("chrundle/biprop", 0.5, "sparsity")
    for repository in PRUNE_RATES:
        for value in (-0.1, math.nan, math.inf, 101.0):
            with pytest.raises(ValueError, match="of the weights"):
                translate_prune_rate(repository, value)
    with pytest.raises(ValueError, match="kept of the weights"):
        translate_prune_rate("allenai/hidden-networks", 30)


def test_names_of_inits() -> None:
    short = {"sc": "signed-constant", "kn": "kaiming-normal"}
    for name, init in short.items():
        assert init in WEIGHT_INITS
        assert translate_init(name) == PublishedInit(init, True)  # type: ignore[arg-type]
        assert translate_init(f"u{name}") == PublishedInit(init, False)  # type: ignore[arg-type]
        long = init.replace("-", "_")
        for scaled in (True, False):
            assert translate_init(long, scale_fan=scaled) == PublishedInit(init, scaled)  # type: ignore[arg-type]
    for init in ("kaiming-uniform", "xavier-normal", "xavier-constant"):  # which no released builder scales
        assert init in WEIGHT_INITS
        for scaled in (True, False):
            assert translate_init(init.replace("-", "_"), scale_fan=scaled) == PublishedInit(init, False)  # type: ignore[arg-type]
    for wrong in ("unsigned_constant", "xx", "ku", "uku", "xn", "uxn", "uu", "u", "", "usigned_constant"):
        with pytest.raises(ValueError, match="expected an init"):
            translate_init(wrong)
    with pytest.raises(ValueError, match="leave scale_fan out"):
        translate_init("usc", scale_fan=True)
