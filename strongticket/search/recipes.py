"""Named recipes: the settings of published mask searches, one name each, with what could not be followed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from strongticket.search._published import published
from strongticket.search._recipe import SearchRecipe
from strongticket.search.optimiser import ScoreOptimiser

__all__ = ["SEARCH_RECIPES", "SearchRecipe", "search_recipe"]

SEARCH_RECIPES: Mapping[str, SearchRecipe] = MappingProxyType(
    {
        "digits": SearchRecipe(40, 64, lr=0.3, schedule="cosine", optimiser=ScoreOptimiser(weight_decay=1e-4)),
        "mnist": SearchRecipe(6, 128, lr=0.4, schedule="cosine", optimiser=ScoreOptimiser(weight_decay=1e-4)),
        **published(),
    }
)
"""Recipes by name: those of papers, "AUTHORyear-network", and two of our own for small MLPs: "digits" for the 8x8
digits (seconds), "mnist" for standardised MNIST and Fashion-MNIST (minutes), both edge-popup at density 0.5.

The learning rates of our own were chosen by validation accuracy: of 0.03, 0.1, 0.3 and 1 on the digits (mlp-64-256-10),
of 0.1, 0.4 and 0.8 on MNIST (lenet-300-100).
"""


def search_recipe(recipe: SearchRecipe | str) -> SearchRecipe:
    """Return a recipe by its name.

    Raises:
        ValueError: an unknown name.

    >>> search_recipe("ramanujan2020-conv4").paper
    'ramanujan2020whats'
    """
    if isinstance(recipe, SearchRecipe):
        return recipe
    if recipe not in SEARCH_RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}: expected one of {', '.join(SEARCH_RECIPES)}")
    return SEARCH_RECIPES[recipe]
