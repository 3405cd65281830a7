"""Whether promises hold when things go wrong: kill -9, full disks, two at once, damaged and hostile files.

`python -m experiments.reliability kill | disk | twice | fuzz | hostile` does it and writes what was counted;
docs/reliability.md tells the promises and the figures.
"""

from __future__ import annotations
