"""The tests, one file per capability. `python3 -m unittest` runs them all, several files at a time."""

import collections
import os
import unittest
from typing import Optional


class ResultWithSkips(unittest.TextTestResult):
    """Also lists each reason for skipping a test, with its count."""

    def printErrors(self) -> None:
        super().printErrors()
        for reason, count in collections.Counter(reason for _, reason in self.skipped).most_common():
            self.stream.writeln(f"skipped {count}: {reason}")


unittest.TextTestRunner.resultclass = ResultWithSkips  # For single files too.


def load_tests(
    loader: unittest.TestLoader, standard_tests: unittest.TestSuite, pattern: Optional[str]
) -> unittest.TestSuite:
    """Called when unittest discovers this package."""
    from .parallel import ParallelSuite

    return ParallelSuite(loader.discover(os.path.dirname(__file__), pattern or "test*.py"))
