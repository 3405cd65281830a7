"""Run a study of one trial or ten thousand so that nothing is lost whatever dies, and running again is resuming.

A *run* is a function of a `Spec` (name, version, parameters) and of nothing else. Its key is a digest of the spec, its
result is one file of a `Store` under that key, and a missing file is work to do. `execute` does the work that is
missing, in this process, in several, or on a dask cluster, with the same bytes as result.

>>> import tempfile
>>> from strongticket.runs import Spec, Store, execute
>>> store = Store(tempfile.mkdtemp())
>>> specs = [Spec("square", 1, {"x": x}) for x in (2, 3)]
>>> execute(specs, "strongticket.runs.examples:square", store).done
2
>>> execute(specs, "strongticket.runs.examples:square", store).reused  # nothing is left to do
2
>>> store.read(specs[1]).result
{'square': 9}
"""

from __future__ import annotations

from strongticket.runs._backends import BACKENDS, AbstractBackend, BackendName, Task
from strongticket.runs._dask import Dask, SchedulerLost
from strongticket.runs._execute import Progress, Summary, execute
from strongticket.runs._fields import from_json, to_json
from strongticket.runs._spec import Spec
from strongticket.runs._store import (
    Collected,
    ConflictingResult,
    Damage,
    DamagedRun,
    Failure,
    MissingRun,
    Record,
    Store,
)
from strongticket.runs._torchrun import Torchrun, checkpoint_folder
from strongticket.runs._worker import Answer, environment, perform

__all__ = [
    "BACKENDS",
    "AbstractBackend",
    "Answer",
    "BackendName",
    "Collected",
    "ConflictingResult",
    "Damage",
    "DamagedRun",
    "Dask",
    "Failure",
    "MissingRun",
    "Progress",
    "Record",
    "SchedulerLost",
    "Spec",
    "Store",
    "Summary",
    "Task",
    "Torchrun",
    "checkpoint_folder",
    "environment",
    "execute",
    "from_json",
    "perform",
    "to_json",
]
