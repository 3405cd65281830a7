"""Weak tickets: subnetworks that are trained. Iterative magnitude pruning with rewinding, its controls and criteria."""

from __future__ import annotations

from strongticket.weak.compare import Speed, speed
from strongticket.weak.controls import CONTROLS, Control
from strongticket.weak.criteria import CRITERIA
from strongticket.weak.descent import Descended, Descent, Look, descend, early_stop
from strongticket.weak.imp import Imp, Level, Trunk, WeakData
from strongticket.weak.initial import beginning, initial_law, random_source, strict_ticket
from strongticket.weak.recipe import STEP_RECIPES, StepRecipe
from strongticket.weak.scope import SCOPES, Scope, counted, kinds, level_counts, level_totals
from strongticket.weak.stages import Stage, Stages

__all__ = [
    "CONTROLS",
    "CRITERIA",
    "SCOPES",
    "STEP_RECIPES",
    "Control",
    "Descended",
    "Descent",
    "Imp",
    "Level",
    "Look",
    "Scope",
    "Speed",
    "Stage",
    "Stages",
    "StepRecipe",
    "Trunk",
    "WeakData",
    "beginning",
    "counted",
    "descend",
    "early_stop",
    "initial_law",
    "kinds",
    "level_counts",
    "level_totals",
    "random_source",
    "speed",
    "strict_ticket",
]
