"""Read the numbers and names of other repositories, where one word means opposite things from place to place.

What is called a prune rate or a sparsity is the kept fraction in some released codes, the removed one in others, and a
percentage in a third kind. Here there is one word, the density: the fraction that is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from strongticket.search.layers import WeightInit

__all__ = ["PRUNE_RATES", "PublishedInit", "translate_init", "translate_prune_rate"]

_READINGS: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "kept": lambda value: value,
        "removed": lambda value: 1 - value,
        "removed at each pruning": lambda value: 1 - value,
        "kept percentage": lambda value: value / 100,
    }
)
_BY_ALGORITHM: Mapping[str, str] = MappingProxyType(  # the option algo of pruning_is_enough
    {"ep": "kept", "global_ep": "removed", "global_ep_iter": "removed", "hc_iter": "removed at each pruning"}
)

PRUNE_RATES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "allenai/hidden-networks": {"prune_rate": "kept", "sparsity": "kept"},
        "chrundle/biprop": {"prune_rate": "kept"},
        "dchiji-ntt/iterand": {"conv_sparsity": "removed"},
        "ksreenivasan/pruning_is_enough": {"target_sparsity": "kept percentage", "prune_rate": "by algorithm"},
        "RelationalML/PlantNSeek": {"sparsity": "kept"},
        "Lopez-Angel/hidden-fold-networks": {"top_k": "kept"},
    }
)
"""What the options of released codes hold: {repository: {option: "kept", "removed" or "kept percentage"}}, the usual
option first. "by algorithm" is another thing for each value of the option algo there: what is kept for ep, what is
removed for global_ep and global_ep_iter, and for hc_iter (Gem-Miner) what is removed, at each pruning, of the weights
that are still alive. (In hidden-networks, biprop and pruning_is_enough the scaled inits take the same number for the
removed fraction: `random_source` does so with compat_scale_bug.)"""


def translate_prune_rate(
    repository: str, value: float, option: str | None = None, *, algorithm: str | None = None
) -> float:
    """Return the density that a number in a configuration of another repository stands for.

    Of a rate at which Gem-Miner prunes it is the density after one pruning; its N-th power is the density after N.

    Args:
        repository: OWNER/NAME, one of `PRUNE_RATES`.
        value: the number.
        option: what it is called there, where the repository has several; None: the usual one.
        algorithm: the algorithm that it is given to there, where that decides; see `PRUNE_RATES`.

    Raises:
        ValueError: an unknown repository or option, a number that is no density there, or an algorithm that is unknown,
            missing, or given where it decides nothing.

    >>> translate_prune_rate("allenai/hidden-networks", 0.3)
    0.3
    >>> translate_prune_rate("dchiji-ntt/iterand", 0.6), translate_prune_rate("ksreenivasan/pruning_is_enough", 0.59)
    (0.4, 0.0059)
    >>> rate = translate_prune_rate("ksreenivasan/pruning_is_enough", 0.16221, "prune_rate", algorithm="hc_iter")
    >>> rate, round(rate**29, 4)
    (0.83779, 0.0059)
    """
    if repository not in PRUNE_RATES:
        raise ValueError(f"what numbers mean is known of {', '.join(PRUNE_RATES)}, not of {repository!r}")
    options = PRUNE_RATES[repository]
    name = next(iter(options)) if option is None else option
    if name not in options:
        raise ValueError(f"{repository} has {', '.join(options)}, got {option!r}")
    reading = options[name]
    if reading == "by algorithm":
        if algorithm is None or algorithm not in _BY_ALGORITHM:
            raise ValueError(
                f"what {name} of {repository} means depends on the algorithm, one of {', '.join(_BY_ALGORITHM)}; "
                f"got {algorithm!r}"
            )
        reading = _BY_ALGORITHM[algorithm]
    elif algorithm is not None:
        raise ValueError(f"{name} of {repository} is the same for every algorithm: leave algorithm out")
    density = _READINGS[reading](float(value)) if math.isfinite(value) else math.nan
    if not 0 <= density <= 1:
        raise ValueError(f"{name} of {repository} is the {reading} of the weights, got {value}")
    return float(f"{density:.15g}")  # 1 - 0.6 is 0.4, not its neighbour


@dataclass(frozen=True)
class PublishedInit:
    """An init by the name that `random_source` and recipes have for it.

    Attributes:
        init: the law.
        scaled: whether weights are scaled by 1 / sqrt(density).
    """

    init: WeightInit
    scaled: bool


_SHORT: Mapping[str, WeightInit] = MappingProxyType({"sc": "signed-constant", "kn": "kaiming-normal"})
_SCALED = frozenset(_SHORT.values())  # the laws that the released builders scale, where they are told to
_LONG: Mapping[str, WeightInit] = MappingProxyType(
    {
        "signed_constant": "signed-constant",
        "kaiming_normal": "kaiming-normal",
        "kaiming_uniform": "kaiming-uniform",
        "xavier_constant": "xavier-constant",
        "xavier_normal": "xavier-normal",
    }
)


def translate_init(name: str, *, scale_fan: bool = False) -> PublishedInit:
    """Return the init that a short name (kn, sc, ukn, usc) or a long one (kaiming_normal, ...) stands for.

    The short names, of configurations of hidden-networks and its descendants, are scaled by the density unless they
    begin with u (unscaled). The long ones say nothing of it: there the option scale_fan does, for signed_constant and
    kaiming_normal; the released code never scales kaiming_uniform, xavier_normal and xavier_constant.

    Args:
        name: of the init.
        scale_fan: that option; for long names alone, and as there without effect on some.

    Raises:
        ValueError: an unknown name, or scale_fan with a short one.

    >>> translate_init("usc")
    PublishedInit(init='signed-constant', scaled=False)
    >>> translate_init("kn") == translate_init("kaiming_normal", scale_fan=True)
    True
    """
    if name in _LONG:
        return PublishedInit(_LONG[name], scale_fan and _LONG[name] in _SCALED)
    if scale_fan:
        raise ValueError(f"the name {name!r} says by itself whether weights are scaled: leave scale_fan out")
    short = name.removeprefix("u")
    if short not in _SHORT:
        known = [*_SHORT, *(f"u{each}" for each in _SHORT), *_LONG]
        raise ValueError(f"expected an init of hidden-networks, one of {', '.join(known)}, got {name!r}")
    return PublishedInit(_SHORT[short], short == name)
