"""Benchmarks: ratios against a named baseline, taken in one run.  `python -m bench all`."""
