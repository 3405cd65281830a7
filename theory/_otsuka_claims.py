"""The claims of Otsuka et al. 2025 as experiments: the real construction on networks of attention, and the softmax."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np

from strongticket.bounds import otsuka2025attention as bounds
from strongticket.bounds import pensia2020optimal as gadgets
from theory._claim import AbstractClaim, Outcome, Trial, check_choice, check_factor, check_whole, in_turn
from theory._coverage import decide_targets
from theory._draws import Draws
from theory._targets import KINDS, draw_layers
from theory._tickets import fewer

if TYPE_CHECKING:
    from strongticket.constructions import Construction
    from strongticket.models import AttentionTarget

__all__ = ["AttentionClaim", "SoftmaxClaim"]

CLASSES = 2


@lru_cache(maxsize=64)
def _counted(problems: int, eps: float, delta: float) -> int:
    """Items per entry by the rigorous count, for entries up to 1: of the linear products and of the gadgets."""
    linear = bounds.items_for_matrices(problems, eps, delta)
    gadget = gadgets.items_for_network(problems, eps, delta, mode="theorem")
    return max(linear, gadget)


@final
class AttentionClaim(AbstractClaim):
    """Theorems 3 and 11 with our constants: the construction finds, in random attention, a ticket within eps.

    A trial draws a target (matrices of norm <= 1, inputs of norm <= alpha at each token, a linear head on the mean of
    the tokens), takes the source that the bound sizes, and runs the construction. It succeeds only when a ticket came
    out and `strongticket.certify`, from its seed and mask alone, proved its outputs within eps for every number of
    tokens; inputs of one, two and five tokens are tried as well, and one that is off by more is a
    failure. Where an entry is not met, complete subset sums decide whether a subset of its own units meets it.

    Parameters: eps (of the network's outputs), delta, dim, heads, layers, feed (whether blocks have a feed-forward
    network, of width dim), alpha (None: sqrt(dim), the least the paper allows), kind of target, items (None: by the
    bound), factor (the bound's items are divided by it).
    """

    text = (
        "draw a network of attention whose matrices have norm <= 1 and a random source; the construction finds a "
        "ticket, proved to be within eps for every number of tokens of norm <= alpha"
    )
    by_bound = ("items",)

    def __init__(self, *, feed: bool) -> None:
        self.defaults: Mapping[str, Any] = MappingProxyType(
            {
                "eps": 0.5,
                "delta": 0.01,
                "dim": 2,
                "heads": 1,
                "layers": 1,
                "feed": feed,
                "alpha": None,
                "kind": "mixed",
                "items": None,
                "factor": 1.0,
            }
        )

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with `weight_eps`, `items` and `alpha` as numbers."""
        p = super().resolve(**params)
        for name in ("dim", "heads", "layers"):
            check_whole(p, name, most=16)
        check_choice(p, "kind", ("mixed", *KINDS))
        check_factor(p)
        dim, heads = p["dim"], p["heads"]
        if p["alpha"] is None:
            p["alpha"] = math.sqrt(dim)
        if not p["alpha"] > 0:
            raise ValueError(f"alpha must be positive, got {p['alpha']}")
        layers = (((dim, dim), 1.0), ((dim, dim), 1.0)) if p["feed"] else ()
        block = bounds.BlockNorms((1 / math.sqrt(dim),) * heads, (1.0,) * heads, layers)
        head = [((CLASSES, dim), 1.0)]
        eps = bounds.weight_eps([block] * p["layers"], head, p["eps"], dim=dim, radius=p["alpha"])
        p["weight_eps"] = min(eps, 0.5)
        per_block = 2 * heads * dim * dim + (3 * dim * dim if p["feed"] else 0)
        p["problems"] = p["layers"] * per_block + 2 * CLASSES * dim
        if p["items"] is None:
            p["items"] = fewer(_counted(p["problems"], p["weight_eps"], p["delta"]), p)
        return p

    def describe(self, **params: Any) -> str:
        """Return the parameters in words."""
        p = self.resolve(**params)
        feed = " and a feed-forward network" if p["feed"] else ""
        return (
            f"{p['layers']} blocks of {p['heads']} heads{feed}, dimension "
            f"{p['dim']} ({p['kind']}), eps = {p['eps']:g} for tokens of norm <= {p['alpha']:.3g}, "
            f"{p['weight_eps']:.3g} per entry, n = {p['items']} items per entry, {p['problems']} subset sums, "
            f"delta = {p['delta']:g}"
        )

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw target and source, construct, and check the conclusion on what came out."""
        from strongticket.constructions import Otsuka2025Attention

        p = self.resolve(**params)
        kind = in_turn(p["kind"], KINDS, seed)
        target = _target(kind, p, seed)
        method = Otsuka2025Attention(
            weight_eps=p["weight_eps"], delta=p["delta"], items=p["items"], assignment="fixed", seed=seed
        )
        built = method.construct(target)
        trial = _missed(built, target, p) if built.ticket is None else _judge(built, target, p, seed)
        return Trial(trial.outcome, f"{kind} target: {trial.detail}")


def _target(kind: str, p: Mapping[str, Any], seed: int) -> AttentionTarget:
    import torch

    from strongticket.models import Attention, AttentionTarget

    dim = p["dim"]
    hidden = (dim,) if p["feed"] else ()
    net = Attention(p["layers"], dim, p["heads"], dim, dim, hidden, patch=dim, classes=CLASSES)
    weights = {}
    for i, (name, (rows, columns)) in enumerate(net.shapes.items()):
        parts = [(dim, dim)] * p["heads"] if ".feed." not in name and "blocks" in name else [(rows, columns)]
        # a seed of its own for each matrix, as one of these draws knows no name
        seeds = Draws(seed).bits(f"seeds {i}", len(parts)).tolist()
        drawn = [draw_layers(kind, (n, m), own)[0] for own, (m, n) in zip(seeds, parts, strict=True)]
        weights[name] = torch.from_numpy(np.concatenate(drawn, axis=1 if name.endswith("out.weight") else 0))
    return AttentionTarget(net, weights | net.initial_state())


def _judge(built: Construction, target: AttentionTarget, p: Mapping[str, Any], seed: int) -> Trial:
    """Prove the conclusion on the ticket, or find an input that contradicts it."""
    from strongticket.certificate import Domain
    from strongticket.certify import attention_differences, examine_attention

    report = examine_attention(built.best, target, Domain.ball(p["alpha"]))
    found = 0.0
    for tokens in (1, 2, 5):
        x = Draws(seed).normal(f"inputs {tokens}", (8, tokens, p["dim"]))
        x *= p["alpha"] / np.linalg.norm(x, axis=2, keepdims=True)
        found = max(found, float(np.linalg.norm(attention_differences(report.comparison, x), axis=1).max()))
    proved = report.euclidean.error
    if found > p["eps"] + 1e-9:
        return Trial(Outcome.FAILURE, f"an output is off by {found:.3g}")
    if not found - 1e-9 <= proved <= p["eps"]:
        return Trial(Outcome.UNDECIDED, f"outputs are off by {found:.3g}, proved is {proved:.3g}")
    return Trial(Outcome.SUCCESS, f"outputs proved within {proved:.3g}, off by {found:.3g} at most where tried")


def _missed(built: Construction, target: AttentionTarget, p: Mapping[str, Any]) -> Trial:
    """Decide from the source whether there are subsets for the entries that are not met."""
    from strongticket.constructions.otsuka2025attention import products

    source, all_products, worst = built.plan.source, products(target), Outcome.MISSED
    for entry in built.unreached:
        product = all_products[int(entry["layer"])]
        halves, sign, i = product.halves, int(entry["sign"]), int(entry["input"])
        column = int(np.flatnonzero((halves.inputs == i) & (halves.signs == sign))[0])
        units = slice(column * p["items"], (column + 1) * p["items"])
        u = product.incoming(source)[units, i].astype(np.float64)
        v = product.outgoing(source)[int(entry["row"]), units].astype(np.float64)
        items = np.where(u * sign >= 0, u * v, 0.0) * 2.0**-46
        outcome = decide_targets(items, np.array([float(entry["target"])]), p["weight_eps"])
        if outcome is Outcome.FAILURE:
            return Trial(Outcome.FAILURE, f"no subset of its units meets an entry of {product.place}")
        if outcome is Outcome.UNDECIDED:
            worst = Outcome.UNDECIDED
    return Trial(worst, f"the construction does not meet {len(built.unreached)} entries")


@final
class SoftmaxClaim(AbstractClaim):
    """The softmax lemma: no trial may find a change of the weights beyond 2 tanh(eta / 2) in l1.

    A trial draws logits and changes of at most eta, up to a common constant: random ones, and the worst kind, where a
    random set of tokens, which weighs 1 to e^eta against the others, goes up, and the others down. The optimistic twin
    claims a bound `factor` times smaller.

    Parameters: eta, tokens, factor.
    """

    text = "draw logits and changes of at most eta; the softmax's weights move by more than 2 tanh(eta/2) (never)"

    defaults: Mapping[str, Any] = MappingProxyType({"eta": 0.5, "tokens": 8, "factor": 1.0})

    def resolve(self, **params: Any) -> dict[str, Any]:
        """Return all parameters, with the bound."""
        p = super().resolve(**params)
        check_whole(p, "tokens", least=2)
        check_factor(p)
        if not p["eta"] >= 0:
            raise ValueError(f"eta must be >= 0, got {p['eta']}")
        return {**p, "bound": bounds.softmax_change(p["eta"]) / p["factor"]}

    def failure_probability(self, **params: Any) -> float:
        """Return 0: the lemma holds for all logits."""
        return 0.0

    def describe(self, **params: Any) -> str:
        """Return the parameters in words."""
        p = self.resolve(**params)
        return f"{p['tokens']} tokens, logits change by at most {p['eta']:g}: l1 change at most {p['bound']:.6g}"

    def trial(self, seed: int, **params: Any) -> Trial:
        """Draw logits and changes, and compare."""
        p = self.resolve(**params)
        draws, tokens = Draws(seed), p["tokens"]
        logits = 3.0 * draws.normal("logits", tokens)
        moves = draws.uniform("moves", tokens)
        if seed % 2:  # everyone moves as far as it may, and the odds from e^-eta to e^eta
            up = draws.order("sides", tokens) < max(1, tokens // 2)
            moves = np.where(up, 1.0, -1.0)
            logits[up] -= math.log(np.exp(logits[up]).sum()) + p["eta"]
            logits[~up] -= math.log(np.exp(logits[~up]).sum())
        changed = logits + p["eta"] * moves + float(draws.normal("constant", 1)[0])
        found = float(np.abs(_softmax(changed) - _softmax(logits)).sum())
        detail = f"l1 change {found:.6g}, bound {p['bound']:.6g}"
        return Trial(Outcome.FAILURE if found > p["bound"] + 1e-12 else Outcome.SUCCESS, detail)


def _softmax(logits: Any) -> Any:
    share = np.exp(logits - logits.max())
    return share / share.sum()
