"""Counter-based random numbers: the same bits on every device, library version and thread count.

A number is a function of (seed, purpose, name, position) alone. So a random network of 10^12 weights costs memory only
for the weights that are looked at, any slice can be made alone, and a ticket file needs no weights, only a seed.

>>> from strongticket.random import UNIFORM23
>>> whole = UNIFORM23.values(7, "fc1.weight", 0, 10**6)
>>> bool(whole[123_456] == UNIFORM23.values_at(7, "fc1.weight", 123_456))
True
"""

from strongticket.random.laws import (
    LAWS,
    NORMAL_TAB1,
    SIGN,
    UNIFORM23,
    AbstractLaw,
    NormalTab1,
    Sign,
    Uniform23,
    law,
)
from strongticket.random.streams import (
    AUGMENTATION,
    INIT,
    MAX_VALUES,
    ORDER,
    PURPOSES,
    REINIT,
    SCORES,
    SPLIT,
    TRIAL,
    WEIGHTS,
    check_seed,
    check_streams,
    permutation,
    stream_id,
    words,
    words_at,
)

__all__ = [
    "AUGMENTATION",
    "INIT",
    "LAWS",
    "MAX_VALUES",
    "NORMAL_TAB1",
    "ORDER",
    "PURPOSES",
    "REINIT",
    "SCORES",
    "SIGN",
    "SPLIT",
    "TRIAL",
    "UNIFORM23",
    "WEIGHTS",
    "AbstractLaw",
    "NormalTab1",
    "Sign",
    "Uniform23",
    "check_seed",
    "check_streams",
    "law",
    "permutation",
    "stream_id",
    "words",
    "words_at",
]
