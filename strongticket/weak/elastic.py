"""Elastic tickets: make a ticket deeper or shallower by copying or dropping blocks, mask and weights alike.

Chen, Cheng, Wang, Gan, Liu & Wang (2021), "The Elastic Lottery Ticket Hypothesis". The first block of each stage, what
is before the stages and what is behind them are taken over one to one; nothing is rescaled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal, get_args

from strongticket.mask import Mask
from strongticket.source import AbstractArchitecture
from strongticket.weak.blocks import Blocks, block_counts
from strongticket.weak.scope import counted
from strongticket.weak.weak_ticket import WeakTicket

__all__ = ["BlockPlan", "Order", "elastic", "planned_densities", "stage_densities"]

Order = Literal["append", "interpolate"]
_PAIR: Final = re.compile(r"\s*(\d{1,4})\s*:\s*(\d{1,4}(?:\s*,\s*\d{1,4})*)\s*", re.ASCII)
_LIST: Final = re.compile(r"\s*\d{1,4}(?:[\s,]+\d{1,4})*\s*", re.ASCII)


@dataclass(frozen=True)
class BlockPlan:
    """Say which block of a ticket each block of another network is a copy of.

    A stage (0, 1, 1) makes three blocks of two: the first one, the second, and the second again. It can be written so,
    "0 1 1", or as the authors' code does, "0:0;1:1,2": source, then the targets that it is copied to. Between stages
    stands "|", and a plan of one stage is for all stages alike.

    Attributes:
        stages: for each stage, the source of each target block; the first one is block 0.

    Raises:
        ValueError: no stages, an empty one, or one whose first block is not a copy of the first.

    >>> BlockPlan.parse("0:0;1:1,2;2:3,4").stages
    ((0, 1, 1, 2, 2),)
    >>> BlockPlan.parse("0:0;2:1|0:0;3:1").text
    '0:0;2:1|0:0;3:1'
    """

    stages: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(tuple(int(i) for i in stage) for stage in self.stages))
        if not self.stages or not all(self.stages):
            raise ValueError(f"a plan has at least one stage, each with at least one block, got {self.stages}")
        for stage in self.stages:
            if stage[0] != 0 or min(stage) < 0:
                raise ValueError(
                    f"the first block of a stage changes the shape of what comes in, so it is a copy of block 0, and "
                    f"sources are counted from 0; got {stage}"
                )

    @classmethod
    def parse(cls, text: str) -> BlockPlan:
        """Read a plan.

        Raises:
            ValueError: a text of another form, or targets that leave out a block or name one twice.

        >>> BlockPlan.parse("0 1 1").stages, BlockPlan.parse("0:0;1:1,2").stages
        (((0, 1, 1),), ((0, 1, 1),))
        """
        return cls(tuple(_stage(part, text) for part in text.split("|")))

    @classmethod
    def stretch(
        cls,
        source: Sequence[int],
        target: Sequence[int],
        order: Order = "append",
        *,
        only: Sequence[int] | None = None,
    ) -> BlockPlan:
        """Return the plan that makes a network deeper.

        As many different blocks as possible are copied, each as few times as possible, and the earlier ones if not
        all can be copied equally often. The first one, which usually changes the shape of what comes in, is copied
        only where it is the only one; whether shapes allow that, is seen when the plan is carried out.

        Args:
            source: number of blocks of each stage.
            target: the same of the deeper network.
            order: "append": all blocks in order, then the copied ones in order again; "interpolate": copies right
                behind what they are copies of.
            only: the blocks that may be copied, of every stage; None: all but the first, or that if there is no other.

        Raises:
            ValueError: other numbers of stages, fewer blocks than before, or no block that may be copied.

        >>> BlockPlan.stretch([3], [5]).stages, BlockPlan.stretch([3], [5], "interpolate").stages
        (((0, 1, 2, 1, 2),), ((0, 1, 1, 2, 2),))
        >>> BlockPlan.stretch([4], [6], only=[3]).stages  # partial replication
        ((0, 1, 2, 3, 3, 3),)
        """
        _check_stages(source, target, order)
        return cls(tuple(_stretched(a, b, order, only) for a, b in zip(source, target, strict=True)))

    @classmethod
    def squeeze(cls, source: Sequence[int], target: Sequence[int], order: Order = "append") -> BlockPlan:
        """Return the plan that makes a network shallower: what undoes `stretch` from its lengths to these.

        Args:
            source: number of blocks of each stage.
            target: the same of the shallower network.
            order: "append": the last blocks are dropped, which are consecutive; "interpolate": every other one, or as
                evenly as it comes to.

        Raises:
            ValueError: other numbers of stages, more blocks than before, or none.

        >>> BlockPlan.squeeze([9], [5]).stages, BlockPlan.squeeze([9], [5], "interpolate").stages
        (((0, 1, 2, 3, 4),), ((0, 1, 3, 5, 7),))
        """
        _check_stages(source, target, order)
        stages = []
        for a, b in zip(source, target, strict=True):
            if not 1 <= b <= a:
                raise ValueError(f"a stage of {a} blocks can be squeezed to 1..{a} of them, got {b}; see `stretch`")
            back = _stretched(b, a, order, None) if b > 1 else (0,)
            stages.append(tuple(back.index(i) for i in range(b)))
        return cls(tuple(stages))

    @classmethod
    def between(cls, source: Sequence[int], target: Sequence[int], order: Order = "append") -> BlockPlan:
        """Return the plan from these numbers of blocks to those: each stage is stretched, squeezed or left alone.

        >>> BlockPlan.between([2, 1], [3, 1]).text
        '0:0;1:1,2|0:0'
        """
        _check_stages(source, target, order)
        pairs = zip(source, target, strict=True)
        plans = [(cls.stretch if b >= a else cls.squeeze)([a], [b], order) for a, b in pairs]
        return cls(tuple(plan.stages[0] for plan in plans))

    @property
    def text(self) -> str:
        """The plan as the authors' code writes it; `parse` reads it back."""
        rows = []
        for stage in self.stages:
            targets = {i: [j for j, source in enumerate(stage) if source == i] for i in sorted(set(stage))}
            rows.append(";".join(f"{i}:{','.join(map(str, copies))}" for i, copies in targets.items()))
        return "|".join(rows)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of target blocks of each stage."""
        return tuple(len(stage) for stage in self.stages)

    @property
    def is_identity(self) -> bool:
        """Whether it copies each block to its own place; of a source with more blocks it drops the last ones."""
        return all(stage == tuple(range(len(stage))) for stage in self.stages)

    def over(self, count: int) -> BlockPlan:
        """Return the plan for so many stages: itself, or its one stage for each of them.

        Raises:
            ValueError: it has another number of stages.
        """
        if len(self.stages) not in (1, count):
            raise ValueError(f"the plan {self.text} has {len(self.stages)} stages, and the network has {count}")
        return self if len(self.stages) == count else BlockPlan(self.stages * count)

    def then(self, other: BlockPlan) -> BlockPlan:
        """Return the plan that does what this one does and then, with what has come out, what another one does.

        >>> BlockPlan.stretch([3], [5]).then(BlockPlan.squeeze([5], [3])).stages
        ((0, 1, 2),)
        """
        count = max(len(self.stages), len(other.stages))
        pairs = list(zip(self.over(count).stages, other.over(count).stages, strict=True))
        for first, second in pairs:
            if max(second) >= len(first):
                raise ValueError(f"{other.text} takes block {max(second)} of a stage of {len(first)}: {self.text}")
        return BlockPlan(tuple(tuple(first[i] for i in second) for first, second in pairs))

    def names(
        self,
        source: AbstractArchitecture,
        target: AbstractArchitecture,
        *,
        source_blocks: Blocks | None = None,
        target_blocks: Blocks | None = None,
    ) -> dict[str, str]:
        """Return {target name: source name} of all parameters and buffers: the one map for weights, buffers and masks.

        Args:
            source: network of the ticket.
            target: the other network.
            source_blocks: blocks of the first; None: those that are known of it.
            target_blocks: blocks of the second; None: those that are known of it.

        Raises:
            ValueError: stages that the networks do not have, blocks that are not there, parts of one network without
                their like in the other, or of another shape.

        >>> from strongticket.models import architecture
        >>> small, large = architecture("mlp-8-4-4-2"), architecture("mlp-8-4-4-4-2")
        >>> BlockPlan.parse("0 1 1").names(small, large)["layers.2.weight"]
        'layers.1.weight'
        """
        ours = Blocks.of(source) if source_blocks is None else source_blocks
        theirs = Blocks.of(target) if target_blocks is None else target_blocks
        pairs = self._units(ours, theirs, f"{source.id} -> {target.id}")
        owners = ours.owners(source)
        by_place = {place: name for name, place in owners.items()}
        shapes, wanted = _all_shapes(source), _all_shapes(target)
        found: dict[str, str] = {}
        for name, (unit, leaf) in theirs.owners(target).items():
            origin = by_place.get((pairs[unit], leaf))
            if origin is None:
                raise ValueError(f"{name} of {target.id} has no like in block {pairs[unit]} of {source.id}")
            if shapes[origin] != wanted[name]:
                raise ValueError(
                    f"{name} of {target.id} has shape {wanted[name][0]}, and {origin} of {source.id}, which is to be "
                    f"copied to it, {shapes[origin][0]}: copy blocks between places of the same shape"
                )
            found[name] = origin
        taken, copied = set(found.values()), set(pairs.values())
        if lost := [name for name, (unit, _) in owners.items() if unit in copied and name not in taken]:
            raise ValueError(f"{', '.join(lost[:3])} of {source.id} have no like in {target.id}: build both alike")
        return found

    def copies(
        self, target: AbstractArchitecture, *, target_blocks: Blocks | None = None, whole: bool = False
    ) -> tuple[str, ...]:
        """Return the names of the target's weights that are second copies: of blocks that came out once before.

        With these as its `pruned` a ticket has controls that change the copies alone:
        ``replace(ticket, pruned=plan.copies(target))``.

        Args:
            target: the network that the plan makes.
            target_blocks: its blocks; None: those that are known of it.
            whole: all parts of these blocks: biases, normalisation and statistics too.

        Raises:
            ValueError: stages or numbers of blocks that are not the target's.

        >>> from strongticket.models import architecture
        >>> BlockPlan.parse("0 1 1").copies(architecture("mlp-8-4-4-4-2"))
        ('layers.2.weight',)
        """
        theirs = Blocks.of(target) if target_blocks is None else target_blocks
        plan, owners = self.over(len(theirs.stages)), theirs.owners(target)
        if plan.lengths != theirs.lengths:
            raise ValueError(f"the plan {self.text} makes {plan.lengths} blocks, and {target.id} has {theirs.lengths}")
        second = {
            unit
            for indices, units in zip(plan.stages, theirs.stages, strict=True)
            for place, unit in enumerate(units)
            if indices[place] in indices[:place]
        }
        names = owners if whole else counted(target.shapes)
        return tuple(name for name in names if owners[name][0] in second)

    def _units(self, ours: Blocks, theirs: Blocks, what: str) -> dict[tuple[str, ...], tuple[str, ...]]:
        """{target unit: source unit}."""
        if len(ours.stages) != len(theirs.stages) or len(ours.rest) != len(theirs.rest):
            raise ValueError(f"{what}: {len(ours.stages)} stages cannot become {len(theirs.stages)}")
        plan = self.over(len(theirs.stages))
        if plan.lengths != theirs.lengths:
            raise ValueError(f"{what}: the plan {plan.text} makes {plan.lengths} blocks, not {theirs.lengths}")
        pairs: dict[tuple[str, ...], tuple[str, ...]] = {}
        for stage, (indices, units) in enumerate(zip(plan.stages, theirs.stages, strict=True)):
            have = ours.stages[stage]
            if max(indices) >= len(have):
                raise ValueError(
                    f"{what}: the plan takes block {max(indices)} of stage {stage}, which has blocks 0..{len(have) - 1}"
                )
            pairs |= {unit: have[i] for unit, i in zip(units, indices, strict=True)}
        return pairs | {(b,): (a,) for a, b in zip(ours.rest, theirs.rest, strict=True)}


def elastic(
    ticket: WeakTicket,
    target: AbstractArchitecture,
    plan: BlockPlan | str | None = None,
    *,
    order: Order = "append",
    source_blocks: Blocks | None = None,
    target_blocks: Blocks | None = None,
) -> WeakTicket:
    """Return a ticket of a deeper or shallower network, made of the blocks of another ticket.

    Weights, biases, normalisation (with its running statistics) and masks all go by the same map of names. Densities
    of blocks differ, so that of the outcome does too: report `WeakTicket.density` and `stage_densities`.

    Args:
        ticket: mask and weights, rewound.
        target: the other network.
        plan: which blocks go where; None: `BlockPlan.between` the two numbers of blocks.
        order: of the copies, if there is no plan.
        source_blocks: see `BlockPlan.names`.
        target_blocks: see `BlockPlan.names`.

    Raises:
        ValueError: a plan that does not fit the networks; see `BlockPlan.names`.

    >>> import torch
    >>> from strongticket.models import architecture
    >>> from strongticket.weak import beginning, random_source
    >>> small, large = architecture("mlp-8-4-4-2"), architecture("mlp-8-4-4-4-2")
    >>> values = beginning(random_source(small, 0, "glorot-normal"))
    >>> mask = Mask({name: values[name] > 0 for name in values})
    >>> deeper = elastic(WeakTicket(small, values, mask, tuple(mask)), large)
    >>> torch.equal(deeper.values["layers.2.weight"], values["layers.1.weight"]), deeper.mask.counts
    (True, {'layers.0.weight': 19, 'layers.1.weight': 5, 'layers.2.weight': 5, 'layers.3.weight': 3})
    """
    ours = Blocks.of(ticket.network) if source_blocks is None else source_blocks
    theirs = Blocks.of(target) if target_blocks is None else target_blocks
    if plan is None:
        plan = BlockPlan.between(ours.lengths, theirs.lengths, order)
    elif isinstance(plan, str):
        plan = BlockPlan.parse(plan)
    names = plan.names(ticket.network, target, source_blocks=ours, target_blocks=theirs)
    values = {name: ticket.values[origin].clone() for name, origin in names.items()}
    mask = Mask({name: ticket.mask[origin] for name, origin in names.items() if origin in ticket.mask})
    pruned = tuple(name for name in mask if names[name] in ticket.pruned)
    return WeakTicket(target, values, mask, pruned)


def stage_densities(ticket: WeakTicket, blocks: Blocks | None = None) -> tuple[float, ...]:
    """Return the density of each stage of a ticket, as it is.

    Args:
        ticket: of a network with stages.
        blocks: its blocks; None: those that are known of its network.
    """
    rows = block_counts(ticket.mask, ticket.network, blocks)
    return tuple(sum(one.kept for one in row) / sum(one.size for one in row) for row in rows)


def planned_densities(ticket: WeakTicket, plan: BlockPlan, blocks: Blocks | None = None) -> tuple[float, ...]:
    """Return the density that each stage will have once a plan is carried out: sum n_j d_pi(j) / sum n_j.

    n_j is the size of target block j, which is that of the block it is a copy of, and d the density of that block.

    Args:
        ticket: the source.
        plan: from its blocks.
        blocks: its blocks; None: those that are known of its network.
    """
    rows = block_counts(ticket.mask, ticket.network, blocks)
    stages = zip(plan.over(len(rows)).stages, rows, strict=True)
    return tuple(
        sum(row[i].size * row[i].density for i in indices) / sum(row[i].size for i in indices)
        for indices, row in stages
    )


def _stage(part: str, text: str) -> tuple[int, ...]:
    """The sources of one stage of a plan's text."""
    if _LIST.fullmatch(part):
        return tuple(int(number) for number in re.findall(r"\d+", part))
    sources: dict[int, int] = {}
    for piece in part.split(";"):
        match = _PAIR.fullmatch(piece)
        if match is None:
            raise ValueError(f"{piece!r} of the plan {text!r} is not source:target,target,... nor a list such as 0 1 1")
        for target in map(int, match[2].split(",")):
            if target in sources:
                raise ValueError(f"the plan {text!r} copies two blocks to block {target} of a stage")
            sources[target] = int(match[1])
    if missing := sorted(set(range(max(sources) + 1)) - set(sources)):
        raise ValueError(f"the plan {text!r} copies nothing to block {missing[0]} of a stage: give it a source")
    return tuple(sources[i] for i in range(len(sources)))


def _stretched(a: int, b: int, order: Order, only: Sequence[int] | None) -> tuple[int, ...]:
    if b < a or a < 1:
        raise ValueError(f"a stage of {a} blocks can be stretched to {a} or more, got {b}; see `squeeze`")
    pool = (list(range(1, a)) or [0]) if only is None else sorted(set(only))
    if only is not None and (any(not 1 <= i < a for i in pool) or (b > a and not pool)):
        raise ValueError(
            f"of a stage of {a} blocks those that may be copied are 1..{a - 1} (the first one changes the shape), and "
            f"{b - a} more are wanted; got {pool}"
        )
    times, more = divmod(b - a, len(pool)) if b > a else (0, 0)
    if order == "append":
        return (*range(a), *pool * times, *pool[:more])
    extra = {i: times + (place < more) for place, i in enumerate(pool)}
    return tuple(chain.from_iterable([i] * (1 + extra.get(i, 0)) for i in range(a)))


def _check_stages(source: Sequence[int], target: Sequence[int], order: str) -> None:
    if order not in get_args(Order):
        raise ValueError(f"expected order in {get_args(Order)}, got {order!r}")
    if len(source) != len(target):
        raise ValueError(f"{len(source)} stages cannot become {len(target)}: blocks are copied within a stage")


def _all_shapes(network: AbstractArchitecture) -> dict[str, tuple[tuple[int, ...], str]]:
    """(shape, type) of every part of the state dict."""
    weights = {name: (tuple(shape), "float32") for name, shape in network.shapes.items()}
    return weights | {name: (tuple(shape), dtype) for name, (shape, dtype) in network.state.items()}
