"""Test theorems, solvers, scores, searches and tickets of your own: Hypothesis strategies, conformance checks, oracles.

>>> from hypothesis import given
>>> @given(tickets())
... def test_mine(ticket):
...     check_ticket(ticket)
"""

from strongticket.testing.pruning import check_pruner, check_score
from strongticket.testing.searches import check_search_method
from strongticket.testing.subset_sums import (
    BestSubset,
    Instances,
    brute_force,
    brute_force_sizes,
    check_fronts,
    check_subset_sum_solver,
    check_subset_sums,
    float_subset_sums,
    long_subset_sums,
    planted_subset_sums,
    pooled_subset_sums,
    subset_sum_instances,
    widest_subset_sums,
)
from strongticket.testing.theorems import (
    check_construction,
    check_frequency,
    check_monotone,
    check_refused,
    domains,
    hard_seeds,
    normed_targets,
    not_probabilities,
    off_grid_targets,
    quantised_targets,
    targets_beyond,
    tolerances,
)
from strongticket.testing.ticket_strategies import (
    TARGET_KINDS,
    architectures,
    certificates,
    check_ticket,
    check_ticket_file_roundtrip,
    inits,
    masks,
    readings,
    seeds,
    sources,
    targets,
    tickets,
)
from strongticket.testing.weights import unreached_weights, weight_errors

__all__ = [
    "TARGET_KINDS",
    "BestSubset",
    "Instances",
    "architectures",
    "brute_force",
    "brute_force_sizes",
    "certificates",
    "check_construction",
    "check_frequency",
    "check_fronts",
    "check_monotone",
    "check_pruner",
    "check_refused",
    "check_score",
    "check_search_method",
    "check_subset_sum_solver",
    "check_subset_sums",
    "check_ticket",
    "check_ticket_file_roundtrip",
    "domains",
    "float_subset_sums",
    "hard_seeds",
    "inits",
    "long_subset_sums",
    "masks",
    "normed_targets",
    "not_probabilities",
    "off_grid_targets",
    "planted_subset_sums",
    "pooled_subset_sums",
    "quantised_targets",
    "readings",
    "seeds",
    "sources",
    "subset_sum_instances",
    "targets",
    "targets_beyond",
    "tickets",
    "tolerances",
    "unreached_weights",
    "weight_errors",
    "widest_subset_sums",
]
