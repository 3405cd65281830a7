"""Movement pruning: what counts is where weights go while the network is trained a little further."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from strongticket.pruning.abstract import AbstractScore
from strongticket.pruning.problem import Problem
from strongticket.pruning.retrain import train_held
from strongticket.training import Recipe, Stepper
from strongticket.training.recipe import recipe_of

__all__ = ["Movement", "MovementStepper"]


@final
@dataclass(frozen=True)
class Movement(AbstractScore):
    """Rank weights by -sum_t w_t g_t over the steps of a short fine-tuning: Sanh, Wolf & Rush (2020).

    The score grows where a step takes the weight away from 0 and falls where it takes it towards 0. The paper trains
    weights and scores together, with the mask of the scores so far in the forward pass (hard movement pruning). Here
    the network is fine-tuned whole, and the scores are read off at the end: the paper's rule with every mask open. The
    network that is pruned is the one before the fine-tuning, of which nothing but the scores remains.

    Ties are many where gradients vanish: an input that is always 0 gives its weights the score 0, above every weight
    that shrinks.

    Args:
        recipe: of the fine-tuning; or the name of one of `strongticket.training.RECIPES`.
    """

    recipe: Recipe | str = field(default_factory=lambda: Recipe(2, 64, lr=1e-3, keep_best=False))
    key: ClassVar[str] = "movement"

    def __post_init__(self) -> None:
        recipe_of(self.recipe)

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return -sum w g.

        Raises:
            ValueError: there are no data, or the loss is not the cross-entropy.
            TrainingError: the loss became NaN or infinite.
        """
        if problem.loss != "cross-entropy":
            raise ValueError(f"movement pruning fine-tunes with the cross-entropy, the loss is {problem.loss!r}")
        made: list[MovementStepper] = []

        def watched(network: nn.Module, optimiser: Stepper) -> Stepper:
            made.append(MovementStepper(network, optimiser, problem.names))
            return made[0]

        train_held(problem.module, problem.start, *problem.data, self.recipe, seed=problem.seed, stepper=watched)
        return made[0].scores


class MovementStepper:
    """Add up -w g of each step, as it is before the step; for use with `strongticket.training.Loop`.

    Args:
        network: its parameters have the gradients.
        optimiser: moves them.
        names: parameters that get scores.
    """

    def __init__(self, network: nn.Module, optimiser: Stepper, names: tuple[str, ...]) -> None:
        self._parameters = {name: network.get_parameter(name) for name in names}
        self._optimiser = optimiser
        self.scores = {name: torch.zeros_like(parameter.data) for name, parameter in self._parameters.items()}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._optimiser.zero_grad()

    def step(self, lr: float, *, progress: float = 0.0) -> None:
        """Add up, then move."""
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                self.scores[name] -= parameter.data * parameter.grad
        self._optimiser.step(lr, progress=progress)

    def skip(self, *, progress: float) -> None:
        """Add nothing, move nothing."""
        self._optimiser.skip(progress=progress)

    def state_dict(self) -> dict[str, Any]:
        """Return the optimiser's state and the scores."""
        return {"optimiser": self._optimiser.state_dict(), "scores": dict(self.scores)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._optimiser.load_state_dict(state["optimiser"])
        for name, score in self.scores.items():
            score.copy_(state["scores"][name])
