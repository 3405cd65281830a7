"""Find strong tickets: search for subnetworks of random networks by training scores, never weights."""

from strongticket.search.controls import random_mask, shuffled_mask, with_statistics
from strongticket.search.find import Found, find
from strongticket.search.layers import WEIGHT_INITS, Layer, ScoreInit, WeightInit, layers_of, random_source
from strongticket.search.many import find_many
from strongticket.search.methods import (
    AbstractMethod,
    AbstractTopK,
    Bernoulli,
    Biprop,
    EdgePopup,
    GemMiner,
    IteRand,
    Multicoated,
    SignedSupermask,
)
from strongticket.search.recipes import SEARCH_RECIPES, SearchRecipe, search_recipe
from strongticket.search.searcher import ScoreOptimiser, Searcher

__all__ = [
    "SEARCH_RECIPES",
    "WEIGHT_INITS",
    "AbstractMethod",
    "AbstractTopK",
    "Bernoulli",
    "Biprop",
    "EdgePopup",
    "Found",
    "GemMiner",
    "IteRand",
    "Layer",
    "Multicoated",
    "ScoreInit",
    "ScoreOptimiser",
    "SearchRecipe",
    "Searcher",
    "SignedSupermask",
    "WeightInit",
    "find",
    "find_many",
    "layers_of",
    "random_mask",
    "random_source",
    "search_recipe",
    "shuffled_mask",
    "with_statistics",
]
