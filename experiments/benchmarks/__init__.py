"""Benchmarks: measurements of speed, which depend on the machine and so are no experiments with keyed results."""
