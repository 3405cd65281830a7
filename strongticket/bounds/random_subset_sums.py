"""The law of random subset sums, in one place: how many random items does a target need, and how sure is that?

Proved, as lower bounds on the failure probability of any method:

- `coverage_floor`, `fixed_size_floor`: the items may not reach the target; `floor_items` turns them into numbers.

Proved, as sufficient numbers of items: `items_needed`, `items_for_range` (our explicit constants; far from the truth).

Predicted, without proof (`failure_predicted`, `items_predicted` with `method=`): "annealed", "quenched", "combined",
"saddlepoint"; for subsets of exactly k items too. Measured: `measured_items`, from the table of simulations that is
shipped.

>>> items_predicted(1e-2, 1e-4, "product", averaged=True), floor_items(1e-2, 1e-4, "product", averaged=True)
(32, 32)
"""

from __future__ import annotations

from strongticket.bounds._fixed_size import fixed_size_failure, fixed_size_hits
from strongticket.bounds._floor import coverage_floor, fixed_size_floor
from strongticket.bounds._information import (
    Combine,
    Method,
    annealed_failure,
    failure_predicted,
    first_moment_items,
    floor_items,
    items_predicted,
    quenched_failure,
)
from strongticket.bounds._laws import LAWS, Hyperbolic, ItemLaw, Law, LawName, get_law
from strongticket.bounds._measured import ENOUGH, Measured, measured_items
from strongticket.bounds._saddlepoint import Estimate, saddlepoint_failure
from strongticket.bounds.lueker1998exponentially import items_counted, items_for_range, items_needed

__all__ = [
    "ENOUGH",
    "LAWS",
    "Combine",
    "Estimate",
    "Hyperbolic",
    "ItemLaw",
    "Law",
    "LawName",
    "Measured",
    "Method",
    "annealed_failure",
    "coverage_floor",
    "failure_predicted",
    "first_moment_items",
    "fixed_size_failure",
    "fixed_size_floor",
    "fixed_size_hits",
    "floor_items",
    "get_law",
    "items_counted",
    "items_for_range",
    "items_needed",
    "items_predicted",
    "measured_items",
    "quenched_failure",
    "saddlepoint_failure",
]
