"""Timings of the toolkit's own algorithms beside plain ones, in one process."""
