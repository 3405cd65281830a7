"""Burkholz 2022: residual networks contain tickets; here by doubling each layer and keeping the shortcuts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from theory._graph_claims import GraphTicketClaim
from theory._graph_steps import RESIDUAL_STEPS
from theory._theorem import Assumption, Theorem
from theory.lueker1998exponentially import THEOREMS as SUBSET_SUM_THEOREMS

if TYPE_CHECKING:
    from strongticket.constructions import Burkholz2022Convolutional

__all__ = ["THEOREMS"]


def _method() -> type[Burkholz2022Convolutional]:
    from strongticket.constructions import Burkholz2022Convolutional

    return Burkholz2022Convolutional


THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        key="burkholz2022convolutional.residual",
        title="a random residual network of doubled depth contains those of norm <= 1 (strongticket)",
        statement="Let f be a network without biases of R blocks x -> relu(s(x) + f(x)), each f of D convolutional "
        "layers with ReLU between them, each s the identity or a layer, with M further layers before and behind the "
        "blocks; all layers of norm <= 1 between maximum norms. Let g be the random network in which every layer, "
        "those of the shortcuts too, is a pair (1 x 1 convolution of c_in to m c_in channels, ReLU, convolution of the "
        "target's shape), and shortcuts without weights and sums are f's; weights U(-1, 1). With m the number of items "
        "that our bound asks for at an error per coefficient of eps 2^-(R+1) / ((M + R D) n_in norm(B)), n_in norm(B) "
        "the largest of any layer, with probability at least 1 - delta, for all such f at once, masks on g exist whose "
        "network is within eps of f in maximum norm, for inputs in [-1, 1].",
        hypotheses=(
            "0 < eps < 1, 0 < delta < 1",
            "every layer has norm <= 1 between maximum norms (for a convolution: l1 norm of each output channel's "
            "kernel)",
            "inputs in [-1, 1]",
            "ReLU; pools are shared with the source; no biases",
            "weights of the source are independent U(-1, 1)",
        ),
        bound_keys=(
            "burkholz2022convolutional.residual_coefficient_eps",
            "burkholz2022convolutional.residual_error",
            "pensia2020optimal.explicit_items",
            "dacunha2022proving.source_parameters",
        ),
        status="This is not the paper's theorem, but ours beside it. The paper shows tickets of residual networks "
        "within depth L + 1, by building every neuron many times, for almost any activation; its widths are not "
        "quoted, as their constants are open. Here every layer costs two, activations are ReLU, and no neuron is built "
        "twice, so a source of doubled depth needs a logarithmic factor alone. (The factor 2^-R is what maximum norms "
        "give when nothing is known of the blocks: identity and branch can add up R times. Certificates of real "
        "networks do not pay it.) Normalisation is folded into the layers and leaves biases, which make hidden values "
        "larger than the bound here knows of: the construction takes them, and counts them in its own budget. Steps "
        "below, most on cases, as each says. The claim runs the real construction on an identity and a projection "
        "block, and counts a trial as a success only with a proved certificate.",
        steps=RESIDUAL_STEPS,
        lemmas=tuple(theorem for theorem in SUBSET_SUM_THEOREMS if theorem.key == "lueker1998exponentially.explicit"),
        assumptions=(
            Assumption(
                "tickets in depth L + 1 with logarithmic width, for convolutional and residual networks with most "
                "activations: the paper's claim, not run here",
                "Burkholz 2022",
            ),
            Assumption(
                "groups, and the union bound over coefficients, as in pensia2020optimal.theorem1", "argued there"
            ),
            Assumption(
                "ReLU, max and average pools and flattening are 1-Lipschitz between maximum norms, and 0 at 0",
                "any textbook of analysis",
            ),
            Assumption(
                "one layer becomes a pair as in dacunha2022proving.theorem; a sum of values adds sizes and errors: the "
                "triangle inequality",
                "argued there; any textbook of analysis",
            ),
        ),
        claim=GraphTicketClaim(("identity", "projection"), _method),
    ),
)
