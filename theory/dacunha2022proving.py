"""da Cunha et al. 2022: a random convolutional network, logarithmically larger, contains every smaller one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from theory._graph_claims import GraphTicketClaim
from theory._graph_steps import CONVOLUTION_STEPS
from theory._theorem import Assumption, Theorem
from theory.lueker1998exponentially import THEOREMS as SUBSET_SUM_THEOREMS

if TYPE_CHECKING:
    from strongticket.constructions import DaCunha2022Proving

__all__ = ["THEOREMS"]


def _method() -> type[DaCunha2022Proving]:
    from strongticket.constructions import DaCunha2022Proving

    return DaCunha2022Proving


THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="dacunha2022proving.theorem",
        title="a logarithmically larger random convolutional network contains every one with kernels of l1 norm <= 1",
        statement="Let f be a convolutional network of L layers without biases, with k parameters, ReLU between the "
        "layers, and kernels of l1 norm <= 1. Let g be a random network with, for each d x d convolution of c_in to "
        "c_out channels, a 1 x 1 convolution of c_in to m c_in channels, ReLU, and a d x d convolution of m c_in to "
        "c_out channels, weights U(-1, 1); in all C k log(k L / min(eps, delta)) parameters. With probability at least "
        "1 - delta, for all such f at once, masks on g exist whose network is within eps of f in maximum norm, for "
        "inputs in [-1, 1].",
        hypotheses=(
            "0 < eps < 1, 0 < delta < 1",
            "the kernel of each output channel has l1 norm <= 1 (weaker than the whole layer's, and enough)",
            "inputs in [-1, 1]",
            "ReLU; max and average pools, strides, paddings, dilations and groups are the source's too; no biases",
            "weights of the source are independent U(-1, 1)",
        ),
        bound_keys=(
            "dacunha2022proving.theorem_parameters",
            "pensia2020optimal.explicit_items",
            "dacunha2022proving.coefficient_eps",
            "dacunha2022proving.source_parameters",
            "ferbach2023general.layer_error",
            "pensia2020optimal.network_error",
        ),
        status="Stated as in the paper's abstract; its constant is open, and so is what stands inside its logarithm in "
        "detail, which is not quoted here. The l1 norm per output channel, inputs in [-1, 1] instead of nonnegative "
        "ones, groups and dilations are covered by our proof: steps below, most on cases, as each says. Biases make "
        "hidden values larger than 1, of which coefficient_eps knows nothing; the construction takes them, where some "
        "place of the kernel never reads the padding, and counts them in its own budget. All numbers that are used are "
        "strongticket's. The claim runs the real construction on small networks with padding, strides, groups, pools "
        "and a dense layer, and counts a trial as a success only with a proved certificate; it judges that the search, "
        "group by group, finds the ticket.",
        steps=CONVOLUTION_STEPS,
        lemmas=tuple(theorem for theorem in SUBSET_SUM_THEOREMS if theorem.key == "lueker1998exponentially.explicit"),
        assumptions=(
            Assumption(
                "the size with an unspecified constant C (not needed for our numbers)",
                "da Cunha, Natale and Viennot 2022",
            ),
            Assumption(
                "groups, and the union bound over coefficients, as in pensia2020optimal.theorem1", "argued there"
            ),
            Assumption(
                "ReLU, max and average pools and flattening are 1-Lipschitz between maximum norms, and 0 at 0",
                "any textbook of analysis",
            ),
        ),
        claim=GraphTicketClaim(("plain", "strided", "grouped"), _method),
    ),
)
