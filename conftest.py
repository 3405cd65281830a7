"""Where an optional package is missing, its modules are left out of the collection of doctests."""

from importlib.util import find_spec

_TRITON = ["strongticket/subsetsum/_triton_kernels.py", "strongticket/search/updates/_segmented_kernels.py"]

collect_ignore = [] if find_spec("triton") else _TRITON
