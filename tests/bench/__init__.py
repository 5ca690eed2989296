"""Benchmarks: `python3 -m tests.bench` runs them all and prints one table."""
