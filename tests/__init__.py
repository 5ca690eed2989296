"""The tests: one file per capability. `python3 -m unittest` runs them all, several files at once."""

import collections
import os
import unittest


class ResultWithSkips(unittest.TextTestResult):
    """Also prints why tests were skipped: each reason once, with its count."""

    def printErrors(self):
        super().printErrors()
        for reason, count in collections.Counter(reason for _, reason in self.skipped).most_common():
            self.stream.writeln(f"skipped {count}: {reason}")


unittest.TextTestRunner.resultclass = ResultWithSkips  # The default, for single files too.


def load_tests(loader, standard_tests, pattern):
    """Called by unittest's discovery for this package."""
    from .parallel import ParallelSuite

    return ParallelSuite(loader.discover(os.path.dirname(__file__), pattern or "test*.py"))
