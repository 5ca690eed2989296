"""The tests: one file per capability. `python3 -m unittest` runs them all, several files at once."""

import os


def load_tests(loader, standard_tests, pattern):
    """Called by unittest's discovery for this package."""
    from .parallel import ParallelSuite

    return ParallelSuite(loader.discover(os.path.dirname(__file__), pattern or "test*.py"))
