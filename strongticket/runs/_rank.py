"""One of the processes that torchrun starts for a shared run: `torchrun ... -m strongticket.runs._rank FOLDER`."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from strongticket._files import canonical_json, write_atomically
from strongticket.runs._store import unmeasured
from strongticket.runs._worker import Answer, perform, use_one_thread

__all__ = ["ANSWER", "CHECKPOINTS", "FAILED", "TASK", "main"]

TASK: Final = "task.json"
ANSWER: Final = "answer.json"
CHECKPOINTS: Final = "STRONGTICKET_CHECKPOINTS"
"""Variable that names the folder of a shared run's checkpoints: what it keeps there outlives a restart."""
FAILED: Final = ".failed"
_LOOK_S: Final = 0.25
_TOGETHER_S: Final = 10.0  # between the first and the last rank to meet the same error


def main(folder: Path) -> int:
    """Do a task together with the other ranks; rank 0 writes the answer. Return the exit status."""
    task = json.loads((folder / TASK).read_text())
    threading.Thread(target=_end_with, args=(task["parent"], os.getppid()), daemon=True).start()
    use_one_thread()
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=task["collective_s"]))
    rank = dist.get_rank()
    answer = perform(task["function"], task["params"])
    if answer.error and not _all_failed(folder, rank, dist.get_world_size()):
        print(answer.traceback, file=sys.stderr, flush=True)
        return 1  # the others are gone, or wait for this one: no word about the run
    if not answer.error:
        answer = _agreed(answer, dist)
        dist.destroy_process_group()
    if rank == 0:
        answer = replace(answer, environment={**answer.environment, "processes": task["processes"]})
        write_atomically(folder / ANSWER, canonical_json(asdict(answer)))
    return 0


def _all_failed(folder: Path, rank: int, size: int) -> bool:
    """Whether all ranks met an error, and soon: then it is the function's, not that of a rank that was lost."""
    (folder / f"{rank}{FAILED}").touch()
    end = time.monotonic() + _TOGETHER_S
    while len(list(folder.glob(f"*{FAILED}"))) < size:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _agreed(answer: Answer, dist: Any) -> Answer:
    """The answer if it is that of all ranks, but for what was measured; otherwise an error."""
    result = json.loads(answer.result or "{}")
    texts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(texts, canonical_json(unmeasured(result)))
    others = [rank for rank, text in enumerate(texts) if text != texts[0]]
    if not others:
        return answer
    message = f"rank 0 and ranks {others} got different results: a shared run must end in the same state everywhere"
    return replace(answer, result=None, error="RanksDisagree", message=message)


def _end_with(pid: int, parent: int) -> None:
    """End this process when the one that asked for the run, or torchrun, is gone: nobody else would."""
    while os.getppid() == parent:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        time.sleep(_LOOK_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
