"""The commands as dataclasses: their fields are the options, their docstrings the help. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

__all__ = ["COMMANDS", "Bound", "Certify", "Command", "Construct", "DomainOptions", "Find", "Prune", "Show", "Train"]


@dataclass(frozen=True)
class DomainOptions:
    """The inputs that the claim speaks of: low <= x_i <= high, and |x| <= radius if given."""

    low: float = 0.0
    """smallest value of an input coordinate; 0 for pixels"""
    high: float = 1.0
    """largest value of an input coordinate"""
    radius: float | None = None
    """largest Euclidean norm of an input, if known"""


@dataclass(frozen=True)
class Construct:
    """Turn a trained network into a strict strong lottery ticket: an existence proof, run for real.

    Every weight becomes a subset sum of products of two frozen random weights. The ticket (seed + mask) is certified
    before it is written. Options not given take the method's own values; those that a method does not have are refused.
    Exit status 1 if some weight was not reached.
    """

    target: tyro.conf.Positional[Path]
    """trained network: .safetensors, .pt state dict or .npz holding the Linear layers in order"""
    out: Path = Path("ticket.slt")
    """ticket file to write"""
    method: Literal[
        "pensia",
        "malach",
        "orseau",
        "natale",
        "kumar",
        "burkholz",
        "diffenderfer",
        "dacunha",
        "ferbach",
        "burkholz-residual",
    ] = "pensia"
    """whose proof, for an MLP: pensia (exact subset sums), malach (one random pair per weight), orseau (greedy sums of
    hyperbolic weights, any norms), natale (exactly --size products per weight), kumar and diffenderfer (the ticket
    equals a quantised target; sources of few bits, and of signs), burkholz (one layer more than the target, any
    activation); for a network of steps: dacunha (convolutions), ferbach (any bases), burkholz-residual (sums)"""
    weight_eps: Annotated[float | None, tyro.conf.arg(aliases=["--eps"])] = None
    """largest error of any single weight, in (0, 1); 0.01 if neither this nor --network-eps is given; not for kumar and
    diffenderfer"""
    network_eps: float | None = None
    """largest error of the whole network on the domain: the theorem, for targets inside its hypotheses (for most:
    norms <= 1)"""
    delta: float | None = None
    """failure probability that sizes the source, in (0, 1); 0.01 if not given"""
    items: int | Literal["theorem", "information-limit", "paper", "target", "prediction"] | None = None
    """candidates per weight: a number; theorem (the rigorous count); information-limit or prediction (kumar): the
    predicted count; paper (malach): the paper's count; target (orseau): rigorous for this target"""
    assignment: Literal["column-aware", "fixed", "batch", "odd", "digits"] | None = None
    """which neuron serves which input: fixed (the papers' blocks), or the one it is best for: column-aware, or batch
    (orseau); kumar: odd, digits"""
    objective: Literal["sparsest", "min-error", "first-hit"] | None = None
    """sparsest (fewest kept weights within the tolerance), min-error, or first-hit (kumar)"""
    size: int | None = None
    """natale: products kept per weight, 1 to 20"""
    at_most: bool = False
    """natale: keep none where the empty subset is within the tolerance"""
    choose: Literal["nearest", "first", "nearest-pair"] | None = None
    """malach: the nearest product, the first within the tolerance, or the paper's nearest pair"""
    blocks: Literal["shared", "own"] | None = None
    """malach: a block of neurons for each input, or the paper's for each input and output"""
    weights: Literal["hyperbolic", "uniform"] | None = None
    """orseau: law of the random weights"""
    source_bits: int | None = None
    """kumar: bits k of the source's weights, 1 to 11; the target's are multiples of 2^-2k"""
    bits: int | None = None
    """diffenderfer: the target's weights are multiples of 2^-bits"""
    quantise: Path | None = None
    """kumar, diffenderfer: first round the target, its layers rescaled by powers of two, and write it here"""
    edges: float | None = None
    """pensia: probability that an edge of the source is there at all, a multiple of 1/512"""
    locked: float | None = None
    """pensia: share of each second layer's edges that every ticket keeps, in [0, 1)"""
    draws: int | None = None
    """pensia: how often a weight may be tried, each time with other draws of its candidates"""
    domain: Annotated[DomainOptions, tyro.conf.arg(name="")] = field(default_factory=DomainOptions)
    seed: int = 0
    """names the frozen random network"""
    dry_run: bool = False
    """only say what would be built"""
    json: bool = False
    """print the result as JSON"""


@dataclass(frozen=True)
class Certify:
    """Prove how far a ticket is from its target, and look for the largest difference that can be found.

    Shares no code with the constructions: it regenerates the kept weights, checks the structure of the mask,
    multiplies out exactly and bounds the difference of the two networks with outward rounding.
    """

    ticket: tyro.conf.Positional[Path]
    """ticket file"""
    target: tyro.conf.Positional[Path]
    """the network it is held against"""
    domain: Annotated[DomainOptions, tyro.conf.arg(name="")] = field(default_factory=DomainOptions)
    trials: int = 200
    """inputs from which the search for a large difference starts"""
    seed: int = 0
    """seed of that search"""
    write: bool = False
    """add the certificates to the ticket file"""
    json: bool = False
    """print the result as JSON"""


@dataclass(frozen=True)
class Show:
    """Say what a ticket file holds, after checking it: source, kept weights, digests, certificates."""

    ticket: tyro.conf.Positional[Path]
    """ticket file"""
    quick: bool = False
    """do not regenerate the kept weights to check their digests"""
    json: bool = False
    """print the result as JSON"""


@dataclass(frozen=True)
class Bound:
    """Evaluate a bound of a paper, or the number of random items that a subset sum needs.

    `strongticket bound list` names the bounds; `strongticket bound KEY --set eps=0.1 d=10` evaluates one;
    `strongticket bound items --eps 1e-2 --delta 1e-6 --law product` compares what was measured, what is proved to be
    necessary and to be enough, and what is predicted.
    """

    key: tyro.conf.Positional[str]
    """key of a bound, 'items' or 'list'"""
    set: tuple[str, ...] = ()
    """values of the bound's symbols: name=number ..."""
    eps: float = 0.01
    """items: tolerance of a subset sum"""
    delta: float = 0.01
    """items: failure probability of one target, or of any of --weights targets"""
    law: Literal["uniform", "product", "half_product", "normal", "hyperbolic"] = "uniform"
    """items: law of a candidate: U(-1,1), the product of two such, that with half of the items dead, N(0,1), or a
    magnitude log-uniform on [eps, 1] with a random sign"""
    target: Annotated[float, tyro.conf.arg(aliases=["--max-target"])] = 1.0
    """items: |target|, or its largest value with --averaged"""
    averaged: bool = False
    """items: targets uniform between -TARGET and TARGET, not all at TARGET"""
    size: int | None = None
    """items: only subsets of exactly this many items count"""
    weights: int = 1
    """items: how many targets there are, each with items of its own; --delta is shared equally among them"""
    scale: float = 1.0
    """items: every item is multiplied by this; about twice the largest |target| fails least often"""
    json: bool = False
    """print the result as JSON"""


@dataclass(frozen=True)
class Train:
    """Train a target network on a data set, reproducibly, and write it where `construct` reads it."""

    data: Literal["digits", "mnist", "fashion-mnist", "cifar10"] = "digits"
    """data set; all but digits are read from --folder or STRONGTICKET_DATA"""
    model: str | None = None
    """architecture by name, such as mlp-784-500-10 or lenet-300-100; one that fits the data if left out"""
    epochs: int | None = None
    """passes over the training data; the recipe's number if left out"""
    folder: Path | None = None
    """folder of the data sets"""
    out: Path = Path("target.safetensors")
    """file to write"""
    seed: int = 0
    """seed of initial weights and data order"""
    json: bool = False
    """print the result as JSON"""


Method = Literal[
    "edge-popup",
    "iterand",
    "biprop",
    "bernoulli",
    "signed-supermask",
    "signed-top-k",
    "gem-miner",
    "multicoated",
    "threshold",
]


@dataclass(frozen=True)
class Find:
    """Find a subnetwork of a random network that classifies, training no weight, and write it as a ticket file.

    Scores decide which weights are kept, and the scores are what is trained. The epoch is chosen on examples held out
    of the training data; the test data are read once, at the end, by the ticket and by a random mask that keeps as
    many weights of each layer. A run with --checkpoint that was interrupted goes on where it was. Small networks are
    searched with all --seeds and --densities at once; `torchrun --nproc-per-node N -m -- strongticket find` shares the
    batches of one search among N processes.
    """

    data: Literal["digits", "mnist", "fashion-mnist", "cifar10"] = "digits"
    """data set; all but digits are read from --folder or STRONGTICKET_DATA"""
    model: str | None = None
    """the random network by name, such as lenet-300-100, conv4x0.25 or mlp-64-256-10; the recipe's if left out"""
    recipe: str | None = None
    """how to search, such as digits, mnist or ramanujan2020-conv4; one that fits the data if left out"""
    method: Method | None = None
    """how scores choose; the recipe's if left out. Where the paper has no weight decay, there is none; what the recipe
    says of density, allocation, annealing and biases is kept where the method has it"""
    density: Annotated[tuple[float, ...], tyro.conf.arg(aliases=["--densities"])] = ()
    """fraction of the weights to keep, in (0, 1], for methods that have one; the recipe's if left out. Several: a
    search and a file each, its density in its name"""
    init: (
        Literal["signed-constant", "kaiming-normal", "kaiming-uniform", "xavier-constant", "xavier-normal", "uniform"]
        | None
    ) = None
    """law of the random weights; the recipe's if left out"""
    epochs: int | None = None
    """passes over the training data; the recipe's number if left out"""
    batch_size: int | None = None
    """examples per step; the recipe's if left out"""
    lr: float | None = None
    """learning rate of the scores; the recipe's if left out. With --method bernoulli it is 200: scores are logits"""
    inputs: Literal["raw", "standardised"] | None = None
    """pixels in [0, 1], or with mean 0 and variance 1 over the training data; raw for digits, else standardised"""
    seed: int = 0
    """names the random network, and is the seed of scores, data order, augmentation and control"""
    seeds: tuple[str, ...] = ()
    """several seeds, such as 0-4 or 0 3 7: a search and a file each, on the examples that --seed splits off"""
    folder: Path | None = None
    """folder of the data sets"""
    out: Path = Path("ticket.slt")
    """ticket file to write"""
    checkpoint: Path | None = None
    """folder of a checkpoint, from which the same command goes on"""
    log: Path | None = None
    """JSONL file that gets a record of each epoch"""
    tensorboard: Path | None = None
    """folder of TensorBoard's event files"""
    device: str = "cpu"
    """where to search: cpu, cuda, cuda:1, ..."""
    threads: int = 1
    """threads of the CPU; small networks gain nothing from more"""
    json: bool = False
    """print the result as JSON"""


PruneMethod = Literal[
    "random",
    "magnitude",
    "gradient-magnitude",
    "taylor",
    "snip",
    "grasp",
    "grasp-abs",
    "synflow",
    "movement",
    "obd",
    "obs",
    "layer-obs",
    "exact-obs",
    "sparsegpt",
    "woodfisher",
    "network-obs",
]


@dataclass(frozen=True)
class Prune:
    """Remove weights from a trained network, and say what is left of it: mask only, updated, retrained.

    Saliencies and curvature are measured on training examples, epochs of retraining are chosen on examples held out of
    these, and the test data are read once, at the end. The file that is written is a target like any other, with zeros:
    `strongticket construct` reads it.
    """

    target: tyro.conf.Positional[Path | None] = None
    """trained network, as `train` writes it; if left out, one is trained first"""
    data: Literal["digits", "mnist", "fashion-mnist", "cifar10"] = "digits"
    """data set that it was trained on; all but digits are read from --folder or STRONGTICKET_DATA"""
    model: str | None = None
    """architecture to train first, such as lenet-300-100; one that fits the data if left out"""
    method: PruneMethod = "obd"
    """which weights go, and what becomes of the others"""
    density: tuple[float, ...] = (0.1,)
    """fraction of the weights to keep, in [0, 1]; one or more"""
    allocation: Literal["layer", "global", "erdos-renyi", "erdos-renyi-kernel"] | None = None
    """how layers share the density; the method's own if left out, for scores global"""
    structure: Literal["unstructured", "2:4", "neurons"] | None = None
    """what goes together; single weights, or the method's own, if left out"""
    rounds: int = 1
    """prune in so many rounds, each keeping the same fraction, with saliencies computed anew"""
    retrain: int = 0
    """epochs of training afterwards, pruned weights held at zero; 0 for none"""
    lr: float | None = None
    """learning rate of that training; that of the data set's recipe if left out"""
    examples: int | None = None
    """training examples that saliencies and curvature are measured on, the first ones; all if left out"""
    folder: Path | None = None
    """folder of the data sets"""
    out: Path = Path("pruned.safetensors")
    """file to write: retrained if there was retraining, else updated; of several densities one file each, its density
    in its name"""
    seed: int = 0
    """seed of what is drawn, of the held-out examples and the data order"""
    json: bool = False
    """print the result as JSON"""


Command = Construct | Certify | Show | Bound | Train | Find | Prune
COMMANDS: dict[str, Callable[..., Command]] = {
    "construct": Construct,
    "find": Find,
    "certify": Certify,
    "show": Show,
    "bound": Bound,
    "train": Train,
    "prune": Prune,
}
