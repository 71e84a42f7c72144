"""Benchmarks: the engine beside its floors and peers, in turns, in one run. `python -m tests.benchmarks --help`."""
