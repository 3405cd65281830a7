"""The words of the page."""

from __future__ import annotations

from typing import Final

from paper_figs.report._html import Markup, el
from paper_figs.report._prose import prose

__all__ = ["glossary"]

_WORDS: Final = (
    ("target", "The network that is to be approximated: trained, or drawn inside a theorem's hypotheses."),
    ("source", "The random network that holds the ticket; its weights are drawn from a seed and never trained."),
    (
        "strong lottery ticket",
        "A subnetwork of a random network that computes what is wanted although no weight was trained; which "
        "connections are kept, and the seed, are all there is to it. A weak ticket is one that trains as well.",
    ),
    ("mask", "Which weights are kept: one bit for each weight of the source."),
    ("density", "The fraction of weights that is kept."),
    (
        "eps, ε",
        "Tolerance: how far the ticket may be from its target. Of outputs, or of one weight, as each bound says.",
    ),
    ("delta, δ", "The failure probability that a theorem allows, over the random source."),
    ("items, candidates", "The random numbers of which one target weight is a subset sum."),
    ("construction", "The proof of a theorem as a procedure: it finds the ticket, or says which weights it missed."),
    ("certificate", "Evidence of how far a ticket is from its target, which shares no code with the construction."),
    (
        "claim",
        "What an experiment can contradict: “a trial fails with probability at most δ”. A trial draws everything anew "
        "and counts as failed only if that is certain.",
    ),
    (
        "holds so far",
        "Failures are not more frequent than the theorem allows, as far as these trials can tell. It is not a proof.",
    ),
    ("falsified", "Failures are more frequent than allowed, beyond chance: the p-value is at most alpha."),
    ("inconclusive", "No outcome of these trials could have falsified the claim, or undecided trials could tip it."),
    (
        "missed, undecided",
        "Missed: the construction did not deliver what exists or may exist. Undecided: the arithmetic of the trial "
        "could not tell; it counts neither way.",
    ),
    (
        "p-value, alpha",
        "p-value: the probability of so many failures or more if each trial failed with the probability allowed. "
        "A theorem is called falsified when it is alpha or less, so a true one is with probability alpha at most.",
    ),
    ("99 % interval", "Clopper-Pearson interval of the failure probability: exact, whatever that probability is."),
    (
        "optimistic twin, looseness",
        "The same claim with its bound divided by a factor. The largest factor that trials do not contradict says how "
        "loose the bound may be; it is no proof that the smaller bound holds.",
    ),
    (
        "information limit",
        "A mask of few bits names few functions. To come near to all targets, masks must hold at least so many bits, "
        "whatever the construction: counting proves it.",
    ),
    ("control", "What a ticket is held against: a random mask, or its own mask shuffled, of the same density."),
    (
        "sufficient, necessary, exact, prediction",
        "What a bound's number says: this much is enough; nothing smaller can do; both; or neither is proved, and it "
        "is to be compared with measurements only.",
    ),
)


def glossary() -> Markup:
    """Return the words with what they mean."""
    return el("dl", *(Markup(el("dt", word) + el("dd", prose(said))) for word, said in _WORDS), class_="glossary")
