"""Prove how close a ticket is to its target, from the two alone; no code is shared with what makes tickets."""

from strongticket.certify.certifier import (
    AbstractCertifier,
    Bounds,
    DifferenceIntervals,
    Hybrid,
    LayerBound,
    OperatorNorms,
)
from strongticket.certify.collapse import Collapsed, CollapsedLayer, StructureError, Sums, collapse
from strongticket.certify.margins import Margins, margins
from strongticket.certify.report import Report, certify, examine
from strongticket.certify.sampled import differences, sample

__all__ = [
    "AbstractCertifier",
    "Bounds",
    "Collapsed",
    "CollapsedLayer",
    "DifferenceIntervals",
    "Hybrid",
    "LayerBound",
    "Margins",
    "OperatorNorms",
    "Report",
    "StructureError",
    "Sums",
    "certify",
    "collapse",
    "differences",
    "examine",
    "margins",
    "sample",
]
