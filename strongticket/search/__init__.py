"""Find strong tickets: search for subnetworks of random networks by training scores, never weights."""

from strongticket.search.controls import random_mask, shuffled_mask, with_statistics
from strongticket.search.find import Found, find
from strongticket.search.layers import WEIGHT_INITS, Layer, ScoreInit, WeightInit, layers_of, random_source
from strongticket.search.many import find_many
from strongticket.search.methods import (
    AbstractAnnealing,
    AbstractMethod,
    AbstractTopK,
    Bernoulli,
    Biprop,
    CubicRamp,
    EdgePopup,
    Frozen,
    GemMiner,
    IteRand,
    Levels,
    Multicoated,
    SignedSupermask,
    SignedTopK,
    Threshold,
)
from strongticket.search.optimiser import ScoreOptimiser
from strongticket.search.recipes import SEARCH_RECIPES, SearchRecipe, search_recipe
from strongticket.search.searcher import Searcher
from strongticket.search.translate import PublishedInit, translate_init, translate_prune_rate

__all__ = [
    "SEARCH_RECIPES",
    "WEIGHT_INITS",
    "AbstractAnnealing",
    "AbstractMethod",
    "AbstractTopK",
    "Bernoulli",
    "Biprop",
    "CubicRamp",
    "EdgePopup",
    "Found",
    "Frozen",
    "GemMiner",
    "IteRand",
    "Layer",
    "Levels",
    "Multicoated",
    "PublishedInit",
    "ScoreInit",
    "ScoreOptimiser",
    "SearchRecipe",
    "Searcher",
    "SignedSupermask",
    "SignedTopK",
    "Threshold",
    "WeightInit",
    "find",
    "find_many",
    "layers_of",
    "random_mask",
    "random_source",
    "search_recipe",
    "shuffled_mask",
    "translate_init",
    "translate_prune_rate",
    "with_statistics",
]
