"""The examples that scores before training are measured on: a few of each class, drawn by a stream of their own."""

from __future__ import annotations

from dataclasses import replace

import torch

from strongticket import random
from strongticket.pruning._checks import check_whole
from strongticket.pruning.problem import Problem

__all__ = ["scoring_problem"]


def scoring_problem(problem: Problem, per_class: int | None) -> Problem:
    """Return the problem with `per_class` examples of each class, in the order of the data; None: with all examples.

    Which ones is a function of (problem.seed, number of examples): in a random order of all, the first of each class.

    Args:
        problem: its labels are classes if `per_class` is given.
        per_class: at least 1.

    Raises:
        ValueError: there are no data, labels are no classes, or a class has fewer examples.

    >>> from torch import nn
    >>> data = torch.arange(12.0)[:, None], torch.arange(12) % 3
    >>> few = scoring_problem(Problem.of(nn.Linear(1, 3), data), 2)
    >>> sorted(few.data[1].tolist())
    [0, 0, 1, 1, 2, 2]
    """
    check_whole(per_class=per_class)
    if per_class is None:
        return problem
    inputs, labels = problem.data
    if labels.dtype != torch.int64 or labels.ndim != 1:
        raise ValueError(
            f"per_class counts examples of classes, and labels of {labels.dtype} and shape {tuple(labels.shape)} are "
            "none: leave it out, and give the examples that are to be used"
        )
    shuffled = torch.from_numpy(random.permutation(problem.seed, "scoring set", len(labels), purpose=random.SPLIT))
    chosen = []
    for label in torch.unique(labels).tolist():
        places = shuffled[(labels.cpu() == label)[shuffled]][:per_class]
        if len(places) < per_class:
            raise ValueError(f"class {label} has {len(places)} examples, and per_class is {per_class}: give more data")
        chosen.append(places)
    index = torch.cat(chosen).sort().values.to(labels.device)
    return replace(problem, inputs=inputs[index], labels=labels[index])
