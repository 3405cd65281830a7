"""Prove how close a ticket is to its target, from the two alone; no code is shared with what makes tickets."""

from strongticket.certify.attention import (
    AttentionMargins,
    AttentionReport,
    attention_margins,
    certify_attention,
    examine_attention,
)
from strongticket.certify.attention_sampled import attention_differences, sample_attention
from strongticket.certify.certifier import (
    AbstractCertifier,
    Bounds,
    DifferenceIntervals,
    Hybrid,
    LayerBound,
    OperatorNorms,
)
from strongticket.certify.collapse import Collapsed, CollapsedLayer, StructureError, Sums, collapse
from strongticket.certify.copies import certify_copies, compare_copies, examine_copies
from strongticket.certify.graph_collapse import CollapsedGraph, collapse_graph
from strongticket.certify.margins import Margins, margins
from strongticket.certify.report import Report, certify, examine
from strongticket.certify.sampled import attack, differences, sample
from strongticket.certify.telescope import telescopes

__all__ = [
    "AbstractCertifier",
    "AttentionMargins",
    "AttentionReport",
    "Bounds",
    "Collapsed",
    "CollapsedGraph",
    "CollapsedLayer",
    "DifferenceIntervals",
    "Hybrid",
    "LayerBound",
    "Margins",
    "OperatorNorms",
    "Report",
    "StructureError",
    "Sums",
    "attack",
    "attention_differences",
    "attention_margins",
    "certify",
    "certify_attention",
    "certify_copies",
    "collapse",
    "collapse_graph",
    "compare_copies",
    "differences",
    "examine",
    "examine_attention",
    "examine_copies",
    "margins",
    "sample",
    "sample_attention",
    "telescopes",
]
