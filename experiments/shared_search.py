"""One search whose batches several processes share (`run shared_search --torchrun 2`), and what sharing changes.

Gradients are averaged over the processes before each step, so a search over two is that of one with the whole batch,
up to the rounding of sums. A score that is rounded otherwise may fall on the other side of the threshold, and later
steps go on from there: so the number of processes is a parameter, and tickets are compared by their accuracy.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from experiments._search import TITLES, AbstractSearch, Data, Plan, beside_controls, grouped

__all__ = ["SharedSearch"]


@final
@dataclass(frozen=True)
class SharedSearch(AbstractSearch):
    """Search for a ticket with edge-popup, alone or over several processes.

    Args:
        data, model, recipe, epochs, seed: see `AbstractSearch`.
        density: fraction kept, in (0, 1].
        processes: that share each batch; more than one are started by torchrun.
    """

    name: ClassVar[str] = "shared_search"
    version: ClassVar[int] = 1
    spread_by: ClassVar[str | None] = "processes"

    density: float
    processes: int

    def run(self) -> dict[str, Any]:
        """Return the ticket's digest and accuracy beside those of its controls.

        Raises:
            RuntimeError: there are not as many processes as the parameters say.
        """
        from strongticket.runs import checkpoint_folder
        from strongticket.search import find, random_mask, shuffled_mask, with_statistics
        from strongticket.training import accuracy
        from strongticket.training.parallel import Group

        group, parts, started = Group.of("auto"), self.parts(), time.perf_counter()
        if group.size != self.processes:
            raise RuntimeError(
                f"this run is shared by {self.processes} processes, and there are {group.size}: "
                f"python -m experiments run {self.name} --torchrun {self.processes}"
            )
        found = find(
            self.network(), *parts.train, self.how().with_density(self.density), seed=self.seed,
            validation=parts.validation, checkpoint=checkpoint_folder(),
        )  # fmt: skip
        ticket = found.ticket
        random, shuffled = random_mask(ticket.source, ticket, self.seed), shuffled_mask(ticket, self.seed)
        return {
            "note": parts.note,
            "ticket": ticket.digest,
            "best_epoch": found.best_epoch,
            "kept": dict(ticket.mask.counts),
            "strict": ticket.matches(found.module),
            "accuracy": accuracy(found.module, *parts.test),
            **{
                f"{name}_accuracy": accuracy(with_statistics(one, parts.train[0]).module(), *parts.test)
                for name, one in (("random", random), ("shuffled", shuffled))
            },
            "measured": {"seconds": time.perf_counter() - started},
        }

    @classmethod
    def settings(cls, data: Data, plan: Plan) -> Sequence[Mapping[str, Any]]:
        """Half of the weights, one process; `--torchrun` makes it more."""
        return [{"epochs": plan.epochs, "density": 0.5, "processes": 1}]

    @classmethod
    def table(cls, finished: Sequence[tuple[Self, dict[str, Any]]]) -> list[dict[str, Any]]:
        """One row per number of processes."""
        return [
            {
                "data": TITLES[data],
                "processes": processes,
                "seeds": len(results),
                **beside_controls(results),
                "strict": all(result["strict"] for result in results),
            }
            for (data, processes), results in grouped(finished, "data", "processes").items()
        ]
