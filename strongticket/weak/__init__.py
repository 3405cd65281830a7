"""Weak tickets: subnetworks that are trained. Iterative magnitude pruning, its controls, transfer, elastic tickets."""

from __future__ import annotations

from strongticket.weak.blocks import BlockCount, Blocks, block_counts
from strongticket.weak.compare import Speed, speed
from strongticket.weak.connectivity import Connection, PathPoint, connection
from strongticket.weak.controls import CONTROLS, Control
from strongticket.weak.criteria import CRITERIA
from strongticket.weak.descent import Descended, Descent, Look, descend, early_stop
from strongticket.weak.elastic import BlockPlan, elastic, planned_densities, stage_densities
from strongticket.weak.imp import Imp, Level, Trunk, WeakData
from strongticket.weak.initial import beginning, initial_law, random_source, strict_ticket
from strongticket.weak.recipe import STEP_RECIPES, StepRecipe
from strongticket.weak.scope import SCOPES, Scope, counted, kinds, level_counts, level_totals
from strongticket.weak.stages import Stage, Stages
from strongticket.weak.transfer import TRANSFER_ARMS, carried, class_halves, transfer
from strongticket.weak.weak_ticket import AT_START, WeakTicket, at_start, controlled, refilled, train_ticket

__all__ = [
    "AT_START",
    "CONTROLS",
    "CRITERIA",
    "SCOPES",
    "STEP_RECIPES",
    "TRANSFER_ARMS",
    "BlockCount",
    "BlockPlan",
    "Blocks",
    "Connection",
    "Control",
    "Descended",
    "Descent",
    "Imp",
    "Level",
    "Look",
    "PathPoint",
    "Scope",
    "Speed",
    "Stage",
    "Stages",
    "StepRecipe",
    "Trunk",
    "WeakData",
    "WeakTicket",
    "at_start",
    "beginning",
    "block_counts",
    "carried",
    "class_halves",
    "connection",
    "controlled",
    "counted",
    "descend",
    "early_stop",
    "elastic",
    "initial_law",
    "kinds",
    "level_counts",
    "level_totals",
    "planned_densities",
    "random_source",
    "refilled",
    "speed",
    "stage_densities",
    "strict_ticket",
    "train_ticket",
    "transfer",
]
