"""Where an optional package is missing, its modules are left out of the collection of doctests."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("triton") else ["strongticket/subsetsum/_triton_kernels.py"]
