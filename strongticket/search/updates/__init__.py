"""How scores move and weights are kept: the plain update that does it for any method, and faster ones for most.

`plain` does what any method asks, on any device. On a CPU `fused` and `fused_rest` do it in one compiled pass over each
layer (`_kernels`); on a GPU `segmented` does it for the whole network at once, on `flat` buffers, with the engine of
torch operations or the one of `flat_triton` (`_segmented_kernels`). Which one a search takes: `choice`.
"""

from strongticket.search.updates.fused import FusedTopK
from strongticket.search.updates.fused_rest import FusedCoats, FusedThresholds
from strongticket.search.updates.plain import PlainUpdate
from strongticket.search.updates.segmented import SegmentedTopK

__all__ = ["FusedCoats", "FusedThresholds", "FusedTopK", "PlainUpdate", "SegmentedTopK"]
