"""How many entries to keep and which: exact counts, allocation over layers, and the largest values with ties settled.

Both the search for tickets and pruning select from here, so that a density means the same everywhere.
"""

from strongticket.selection.allocation import ALLOCATIONS, Allocation, allocate
from strongticket.selection.largest import kept_count, largest, largest_global

__all__ = ["ALLOCATIONS", "Allocation", "allocate", "kept_count", "largest", "largest_global"]
