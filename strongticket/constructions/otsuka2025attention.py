"""Otsuka et al. 2025: strong lottery tickets in multi-head attention and in transformers without normalisation.

Theorems 3, 11 and 14: random attention, wider than the target's by a logarithmic factor, contains a subnetwork that is
within eps of the target for any number of tokens. Here the proof runs: Q and K of each head, pruned, multiply to the
target's merged logits matrix, O and V to its merged value matrix; feed-forward layers and the head are product gadgets.

The paper draws Q and K from U(-n^(1/4), n^(1/4)), n the width of a key, to cancel the 1/sqrt(n) of attention. Only
products of an entry of Q and one of K, divided by sqrt(n), enter the function. Here n = 4^j; Q is drawn from
U(-2^a, 2^a) and K from U(-2^b, 2^b), a + b = j, both powers of two times uniform23: these products have the paper's
law, product of two uniforms on (-1, 1), every scale is exact, and the weights stay on dyadic grids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from strongticket import subsetsum
from strongticket.bounds import HypothesisError
from strongticket.bounds import otsuka2025attention as bounds
from strongticket.bounds import pensia2020optimal as gadgets
from strongticket.bounds.lueker1998exponentially import LawName
from strongticket.certificate import Domain
from strongticket.constructions._attention import Kept, Product, products, prune, widened
from strongticket.constructions._checks import REACH, check_budget, check_domain, check_items, check_one_of
from strongticket.constructions._construction import AbstractConstruction, Construction, Plan, Progress
from strongticket.constructions._gadget import TOGETHER, WEAKEST, spare_neurons
from strongticket.constructions._grid import PRODUCTS
from strongticket.constructions._prediction import chooser, predicted_items_of
from strongticket.models import Attention, AttentionTarget
from strongticket.ticket import Init, Source, Ticket

__all__ = ["EXACT_ITEMS", "Otsuka2025Attention", "construct", "embedded_radius", "products"]

KEY = "otsuka2025attention"
EXACT_ITEMS = TOGETHER
"""Up to this many candidates per entry, an unreached one has no subset in its tolerance; beyond, none was found."""
MOST_ITEMS = 1 << 16
PIXELS = Domain.box(0, 1)


@final
@dataclass(frozen=True)
class Otsuka2025Attention(AbstractConstruction):
    """Prune one random network of attention to a given one: `AttentionTarget` in, strict ticket out.

    Embedding and positions are given: the ticket holds the target's as dense values. Everything else is random.

    Args:
        weight_eps: tolerance of every entry of every (merged) matrix, in (0, 1). Give this or `network_eps`.
        network_eps: tolerance of the outputs for all inputs whose tokens lie in the domain, in (0, 1); the entries'
            tolerance follows from the norms of the target's matrices (our recursion; the paper asks for norms <= 1).
        delta: failure probability that sizes the source, in (0, 1).
        items: candidates per entry: a number >= 1; "theorem" (the explicit rigorous count: a subset for every entry
            exists with probability 1 - delta; beyond 40 candidates the search by groups may miss it, and says so);
            or "information-limit" (the predicted count at which delta entries of *this* target are expected to fail).
        assignment: "column-aware" (units serve the input they are best for) or "fixed" (the paper's blocks).
        objective: "sparsest" (fewest kept weights within the tolerance) or "min_error" (the exact minimum error).
        domain: of the numbers of each token; used with `network_eps` alone. A vocabulary needs none.
        seed: names the random network, 0 <= seed < 2^64. Nothing is ever redrawn.
        backend: subset-sum solver, see `strongticket.subsetsum.solve`.

    Raises:
        ValueError: a parameter outside its range.
    """

    weight_eps: float | None = None
    network_eps: float | None = None
    delta: float = 0.01
    items: int | Literal["theorem", "information-limit"] = "information-limit"
    assignment: Literal["column-aware", "fixed"] = "column-aware"
    objective: Literal["sparsest", "min_error"] = "sparsest"
    domain: Domain = PIXELS
    seed: int = 0
    backend: subsetsum.Backend = "auto"
    key = KEY

    def __post_init__(self) -> None:
        check_budget(self.weight_eps, self.network_eps, self.delta)
        check_items(self.items, ("theorem", "information-limit"), MOST_ITEMS)
        check_domain(self.domain)
        check_one_of("assignment", self.assignment, ("column-aware", "fixed"))
        check_one_of("objective", self.objective, ("sparsest", "min_error"))

    def plan(self, target: AttentionTarget) -> Plan:  # type: ignore[override]
        """Check the hypotheses and fix the source network, without doing the work.

        The plan has one entry per product of matrices, in the order of `products`: the logits and values of each head,
        the feed-forward layers of each block, and the head's layers.

        Raises:
            TypeError: no `AttentionTarget`.
            HypothesisError: an entry of a (merged) matrix beyond 1.
        """
        found = self._products(target)
        eps = self._tolerance(target)
        problems = [len(each.wanted) * len(each.halves) for each in found]
        items = [self._items(each, eps, sum(problems)) for each in found]
        needs = [self._width(each, count) for each, count in zip(found, items, strict=True)]
        architecture = _source(target.architecture, found, needs)
        halves = tuple(2 if each.halves.signed else 1 for each in found)
        source = Source(architecture, self.seed, _init(architecture))
        return Plan(source, (eps,) * len(found), tuple(items), tuple(problems), halves)

    def construct(self, target: AttentionTarget, *, progress: Progress | None = None) -> Construction:  # type: ignore[override]
        """Run the proof: assign units, solve every subset sum exactly, gather the mask.

        Args:
            target: a network of attention.
            progress: called with ("weights", problems done, problems in all).

        Returns:
            A construction whose `layers` and `unreached` number the products of matrices as the plan does.

        Raises:
            TypeError: no `AttentionTarget`.
            HypothesisError: see `plan`.
        """
        plan = self.plan(target)
        kept, reports, unreached, done = Kept(plan.source), [], [], 0
        for i, product in enumerate(self._products(target)):
            report, failed = prune(
                i,
                product,
                plan.source,
                kept,
                items=plan.items[i],
                assignment=self.assignment,
                eps=plan.weight_eps[i],
                choose=chooser(self.objective, PRODUCTS.tolerance(plan.weight_eps[i]), self.backend),
            )
            reports.append(report)
            unreached.append(failed)
            done += plan.problems[i]
            if progress is not None:
                progress("weights", done, sum(plan.problems))
        given = {name: target.weights[name] for name in target.architecture.state}
        ticket = Ticket(plan.source, kept.mask(), given)
        return Construction(KEY, plan, ticket, np.concatenate(unreached), tuple(reports))

    def _products(self, target: AttentionTarget) -> list[Product]:
        if not isinstance(target, AttentionTarget):
            raise TypeError(f"a target is an AttentionTarget, got {type(target).__name__}: use its from_module")
        found = products(target)
        for each in found:
            largest = float(np.abs(each.wanted).max(initial=0.0))
            if largest > REACH:
                raise HypothesisError(
                    f"the matrix of {each.place} has an entry of magnitude {largest:.6g}; the construction reaches "
                    f"[-{REACH:g}, {REACH:g}]. Train with weight decay, or change the unit of the tokens: "
                    "target.scaled(1) divides the logits' matrices by 4 and the head's by 2"
                )
        return found

    def _tolerance(self, target: AttentionTarget) -> float:
        if self.weight_eps is not None:
            return float(self.weight_eps)
        assert self.network_eps is not None
        norms, head = _norms(target)
        radius = max(1.0, embedded_radius(target, self.domain))
        eps = bounds.weight_eps(norms, head, self.network_eps, dim=target.architecture.dim, radius=radius)
        PRODUCTS.check_tolerance(eps)
        return min(eps, 0.5)

    def _items(self, product: Product, eps: float, problems: int) -> int:
        if not isinstance(self.items, str):
            return int(self.items)
        magnitudes = np.abs(product.wanted[:, product.halves.inputs])
        largest = float(magnitudes.max(initial=0.0))
        fixed = self.assignment == "fixed"
        if self.items == "theorem":
            if product.linear:
                count = bounds.items_for_matrices(
                    problems, eps, self.delta, max_target=largest, assignment=self.assignment, u_min=WEAKEST
                )
            else:
                count = gadgets.item_plan(
                    problems, eps, self.delta, max_target=largest, assignment=self.assignment, u_min=WEAKEST
                ).items
            return max(1, count)
        law: LawName = "uniform"
        if fixed:
            law = "product" if product.linear else "half_product"
        best = (1 if product.linear else 2) / (len(product.halves) + 1)  # mean of the largest of so many is 1 - best
        scale = 1.0 if fixed else max(WEAKEST, 1 - best)
        return predicted_items_of(magnitudes, eps, self.delta * magnitudes.size / problems, law, scale)

    def _width(self, product: Product, items: int) -> int:
        return len(product.halves) * items + (spare_neurons(items) if self.assignment == "column-aware" else 0)


def _source(own: Attention, found: list[Product], needs: list[int]) -> Attention:
    """Return the source's architecture: widths that serve every head and block; the key's is a power of 4."""
    per_block = 2 * own.heads + (len(own.hidden) + 1 if own.hidden else 0)
    blocks = [needs[b * per_block : (b + 1) * per_block] for b in range(own.layers)]
    heads = 2 * own.heads
    key, value = (max(max(block[start:heads:2]) for block in blocks) for start in (0, 1))
    hidden = [max(widths) for widths in zip(*(block[heads:] for block in blocks), strict=True)]
    return widened(own, 4 ** _log4(key), value, hidden, needs[own.layers * per_block :])


def _log4(width: int) -> int:
    """Return the least j with 4^j >= width."""
    return ((width - 1).bit_length() + 1) // 2


def _init(source: Attention) -> Init:
    """Return the law: uniform on (-1, 1), but for Q and K, whose scales multiply to the root of the key's width."""
    j = _log4(source.key)
    scales = {"query": 2.0 ** (j - j // 2), "key": 2.0 ** (j // 2)}
    return Init(
        "uniform23",
        overrides=tuple(
            (source.name(b, part), "uniform23", scale) for b in range(source.layers) for part, scale in scales.items()
        ),
    )


def _norms(
    target: AttentionTarget,
) -> tuple[list[bounds.BlockNorms], list[tuple[tuple[int, int], float]]]:
    """Return the spectral norms of a target's matrices, block by block, and those of its head."""
    own = target.architecture

    def norm(matrix: NDArray[np.float64]) -> float:
        return float(np.linalg.norm(matrix, 2))

    def layer(name: str) -> tuple[tuple[int, int], float]:
        matrix = target.exact[name]
        return (int(matrix.shape[0]), int(matrix.shape[1])), norm(matrix)

    blocks = [
        bounds.BlockNorms(
            tuple(norm(head.logits) for head in heads),
            tuple(norm(head.values) for head in heads),
            tuple(layer(own.name(b, f"feed.{i}")) for i in range(len(own.hidden) + 1)) if own.hidden else (),
        )
        for b, heads in enumerate(target.heads)
    ]
    return blocks, [layer(f"head.{i}.weight") for i in range(len(own.head) + 1)]


def embedded_radius(target: AttentionTarget, domain: Domain) -> float:
    """Return about how long an embedded token can be; for sizing, not proved."""
    own = target.architecture
    embedding = target.exact["embedding"]
    place = float(np.linalg.norm(target.exact["positions"], axis=1).max()) if own.length else 0.0
    if own.vocabulary:
        return float(np.linalg.norm(embedding, axis=1).max()) + place
    return float(np.linalg.norm(embedding, 2)) * domain.radius_in(own.patch) + place


def construct(target: AttentionTarget | nn.Module, **options: object) -> Construction:
    """Turn a trained network of attention into a strict ticket: `Otsuka2025Attention(**options).construct`.

    Args:
        target: the network to find inside a random one; a module is read by `AttentionTarget.from_module`.
        options: parameters of `Otsuka2025Attention`.

    >>> import torch
    >>> net = Attention(1, 4, 1, 4, 4, (6,), patch=4, classes=2)
    >>> weights = {name: torch.linspace(-0.4, 0.5, rows * columns).reshape(rows, columns).contiguous()
    ...            for name, (rows, columns) in net.shapes.items()}
    >>> result = construct(net.module(weights | net.initial_state()), weight_eps=0.01, items=16, seed=1)
    >>> result.ticket is not None and result.largest_error <= 0.01
    True
    >>> result.plan.source.architecture.id
    'attention-l1-d4-h1-k256-v182-f246.6.214-o246-p4-2'
    """
    method = Otsuka2025Attention(**options)  # type: ignore[arg-type]
    return method.construct(AttentionTarget.from_module(target) if isinstance(target, nn.Module) else target)
