"""Ferbach et al. 2023: tickets of networks whose layers are linear combinations in a basis, equivariant ones first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from theory._graph_claims import GraphTicketClaim
from theory._graph_steps import BASIS_STEPS
from theory._theorem import Assumption, Theorem
from theory.lueker1998exponentially import THEOREMS as SUBSET_SUM_THEOREMS

if TYPE_CHECKING:
    from strongticket.constructions import Ferbach2023General

__all__ = ["THEOREMS"]


def _method() -> type[Ferbach2023General]:
    from strongticket.constructions import Ferbach2023General

    return Ferbach2023General


THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="ferbach2023general.theorem1",
        title="a random network in the same bases contains every equivariant network of norm <= 1",
        statement="Let f be a chain of L layers without biases with ReLU (and pools) between them, each layer "
        "sum_(o,i,k) w[o,i,k] E_oi (x) B_k in a fixed basis B_1..B_K of maps of positions, of norm <= 1 between "
        "maximum norms, |w[o,i,k]| <= 1. Let g be a random network with, for each layer of n_in to n_out channels, a "
        "pointwise layer of n_in to m n_in channels, ReLU, and a layer of m n_in to n_out channels in the same basis, "
        "weights U(-1, 1); m = C log(n_in n_out max(K, norm(B)) L / min(eps, delta)), norm(B) the largest norm of sum "
        "beta_k B_k over |beta_k| <= 1. With probability at least 1 - delta, for all such f at once, masks on g exist "
        "whose network is within eps of f in maximum norm, for inputs in [-1, 1]. If the B_k commute with a group, so "
        "does every such ticket, exactly.",
        hypotheses=(
            "0 < eps < 1, 0 < delta < 1",
            "every layer has norm <= 1 between maximum norms: the weighted |coefficients| that a position takes add up "
            "to 1 at most",
            "no coefficient is beyond 1 in magnitude (which the norm says of basis elements that have an entry of 1)",
            "inputs in [-1, 1]",
            "ReLU; pools are shared with the source; no biases",
            "weights of the source are independent U(-1, 1)",
        ),
        bound_keys=(
            "ferbach2023general.theorem1_width",
            "pensia2020optimal.explicit_items",
            "ferbach2023general.coefficient_eps",
            "ferbach2023general.layer_error",
            "ferbach2023general.source_parameters",
            "pensia2020optimal.network_error",
        ),
        status="The form of the width is the paper's, whose constant is open; the paper works in several norms, here "
        "it is the maximum norm. All numbers that are used are strongticket's: the explicit number of items per "
        "coefficient, and the budget by row sums of the basis. (Biases make hidden values larger than 1, of which "
        "coefficient_eps knows nothing; the construction takes them, where a basis element has row sums 1, and counts "
        "them in its own budget.) The steps below are checked by machine, most on cases, as each says; the rest of the "
        "proof is in words. The claim runs the real construction on circulant, group-convolutional, set and dense "
        "networks and counts a trial as a success only with a proved certificate. It judges that the search, group by "
        "group, finds the ticket. The paper's lower bound, and steerable bases whose entries are not exact in float32, "
        "are not here.",
        steps=BASIS_STEPS,
        lemmas=tuple(theorem for theorem in SUBSET_SUM_THEOREMS if theorem.key == "lueker1998exponentially.explicit"),
        assumptions=(
            Assumption(
                "the width with an unspecified constant C (not needed for our numbers)",
                "Ferbach, Tsirigotis, Gidel and Bose 2023",
            ),
            Assumption(
                "groups, and the union bound over coefficients, as in pensia2020optimal.theorem1", "argued there"
            ),
            Assumption(
                "ReLU, max and average pools and flattening are 1-Lipschitz between maximum norms, and 0 at 0",
                "any textbook of analysis",
            ),
            Assumption(
                "the norms of sum beta_k B_k are at most the largest row sum of sum |B_k|: the triangle inequality, "
                "row by row",
                "argued here",
            ),
        ),
        claim=GraphTicketClaim(("circulant", "group", "sets", "dense"), _method),
    ),
)
